#include "cache-node/listing.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "cache-node/fuse/ino.h"
#include "common/base/mem.h"
#include "common/dataset/glob.h"

#define CAT_CHUNK (1u << 20)

/* A version opened for looking at it. */
struct view {
	struct node_dataset *dataset;
	struct catalog_head head;
	struct manifest *manifest;
	struct manifest_found *found;
	uint8_t ino_key[INO_KEY_BYTES];
};

static int view_open(struct view *v, struct node_dataset *d, struct err *err)
{
	*v = (struct view){.dataset = d};
	ino_key_of(node_dataset_name(d), v->ino_key);
	v->found = mem_alloc(sizeof *v->found);
	int r = v->found ? node_dataset_head(d, &v->head, err) : err_set(err, -ENOMEM, "out of memory");
	return r ? r : node_dataset_open(d, &v->head.root, &v->manifest, err);
}

static void view_close(struct view *v)
{
	(void)manifest_free(v->manifest);
	(void)mem_free(v->found);
}

static int look_up(struct view *v, const ProtobufCBinaryData *path, struct err *err)
{
	int r = manifest_lookup(v->manifest, (const char *)path->data, path->len, v->found);

	if (r == -ENOENT)
		return err_set(err, r, "there is no \"%.*s\" in %s", (int)MIN(path->len, (size_t)200),
			       (const char *)path->data, node_dataset_name(v->dataset));
	return r ? err_set(err, r, "reading the manifest: %s", err_text(r)) : 0;
}

/* ---- entries ---- */

static void set_cached(struct view *v, Larder__V1__Entry *out)
{
	static const char *const states[] = {
		[CACHE_ABSENT] = "absent", [CACHE_PARTIAL] = "partial", [CACHE_COMPLETE] = "complete"};
	CLEANUP(cache_put) struct cache_object *o = NULL;

	if (v->found->e.type != MANIFEST_FILE)
		return;
	if (!v->found->e.size) {
		out->cache_state = (char *)(uintptr_t)states[CACHE_COMPLETE];
		return;
	}
	if (node_dataset_object(v->dataset, v->head.config, v->found, &o, NULL))
		return;
	out->cache_state = (char *)(uintptr_t)states[cache_object_state(o)];
	out->cached_bytes = cache_object_cached_bytes(o);
	out->tier = (char *)(uintptr_t)cache_object_tier(o);
}

void listing_describe(const struct manifest_entry *e, Larder__V1__Entry *out)
{
	static const char *const kinds[] = {"none", "weak", "strong"};

	out->path.data = (uint8_t *)(uintptr_t)e->path;
	out->path.len = e->path_len;
	out->type = e->type == MANIFEST_FILE      ? LARDER__V1__ENTRY__TYPE__FILE
		    : e->type == MANIFEST_SYMLINK ? LARDER__V1__ENTRY__TYPE__SYMLINK
						  : LARDER__V1__ENTRY__TYPE__DIR;
	out->size = e->size;
	out->mtime_ns = e->mtime_ns;
	out->mode = e->mode;
	out->source = e->source;
	if (e->type == MANIFEST_FILE) {
		out->validator.data = (uint8_t *)(uintptr_t)e->validator.bytes;
		out->validator.len = e->validator.len;
		out->validator_kind = (char *)(uintptr_t)
			kinds[e->validator.kind <= VALIDATOR_STRONG ? e->validator.kind : 0];
	}
	if (e->type == MANIFEST_SYMLINK) {
		out->target.data = (uint8_t *)(uintptr_t)e->target;
		out->target.len = e->target_len;
	}
}

/* Points into the view: valid until the next entry is found. */
static void describe(struct view *v, Larder__V1__Entry *out)
{
	const struct manifest_entry *e = &v->found->e;
	size_t key_len;

	larder__v1__entry__init(out);
	listing_describe(e, out);
	out->inode = ino_of_path(v->ino_key, e->path, e->path_len);
	out->version = v->head.version;
	if (e->type == MANIFEST_FILE) {
		const char *key = manifest_key(v->found, &key_len);
		out->key.data = (uint8_t *)(uintptr_t)key;
		out->key.len = key_len;
	}
	set_cached(v, out);
}

static Larder__V1__Entry *copy_entry(const Larder__V1__Entry *e)
{
	size_t len = larder__v1__entry__get_packed_size(e);
	uint8_t *bytes = mem_alloc(len);

	if (!bytes)
		return NULL;
	(void)larder__v1__entry__pack(e, bytes);
	Larder__V1__Entry *copy = larder__v1__entry__unpack(NULL, len, bytes);
	(void)mem_free(bytes);
	return copy;
}

int listing_stat(struct node_dataset *d, const Larder__V1__PathRequest *q, Larder__V1__Entry **ret,
		 struct err *err)
{
	struct view v;
	Larder__V1__Entry e;

	int r = view_open(&v, d, err);
	if (!r)
		r = look_up(&v, &q->path, err);
	if (!r) {
		describe(&v, &e);
		*ret = copy_entry(&e);
		r = *ret ? 0 : err_set(err, -ENOMEM, "out of memory");
	}
	view_close(&v);
	return r;
}

/* ---- lists ---- */

struct lister {
	struct view v;
	bool (*send)(void *ctx, const Larder__V1__EntryBatch *batch);
	void *ctx;
	Larder__V1__Entry *entries[LISTING_BATCH];
	size_t count;
	uint64_t sent;
	bool refused;
};

static void flush(struct lister *l)
{
	Larder__V1__EntryBatch batch = LARDER__V1__ENTRY_BATCH__INIT;

	batch.n_entries = l->count;
	batch.entries = l->entries;
	if (l->count && !l->refused && !l->send(l->ctx, &batch))
		l->refused = true;
	for (size_t i = 0; i < l->count; i++)
		larder__v1__entry__free_unpacked(l->entries[i], NULL);
	l->count = 0;
}

static int add(struct lister *l)
{
	Larder__V1__Entry e;

	describe(&l->v, &e);
	l->entries[l->count] = copy_entry(&e);
	if (!l->entries[l->count])
		return -ENOMEM;
	l->count++;
	l->sent++;
	if (l->count == LISTING_BATCH)
		flush(l);
	return l->refused ? -ECANCELED : 0;
}

static int list_children(struct lister *l, uint64_t dir)
{
	uint64_t from = dir + 1;
	int r;

	while ((r = manifest_next_child(l->v.manifest, dir, from, l->v.found)) == 0) {
		from = l->v.found->e.end;
		r = add(l);
		if (r)
			return r;
	}
	return r == -ENOENT ? 0 : r;
}

/* All entries of a range of ordinals that match @glob (NULL: all). */
static int list_range(struct lister *l, uint64_t first, uint64_t end, const char *glob)
{
	for (uint64_t i = first; i < end; i++) {
		int r = manifest_at(l->v.manifest, i, l->v.found);
		if (r)
			return r == -ENOENT ? 0 : r;
		const struct manifest_entry *e = &l->v.found->e;
		if (glob && (!e->path_len || !glob_match(glob, e->path, e->path_len)))
			continue;
		r = add(l);
		if (r)
			return r;
	}
	return 0;
}

static int list_glob(struct lister *l, const ProtobufCBinaryData *pattern, struct err *err)
{
	CLEANUP(free_str) char *glob = mem_strndup((const char *)pattern->data, pattern->len);
	const char *wrong = glob ? glob_error(glob) : NULL;

	if (!glob)
		return err_set(err, -ENOMEM, "out of memory");
	if (wrong)
		return err_set(err, -EINVAL, "glob \"%s\": %s", glob, wrong);
	int r = list_range(l, 0, UINT64_MAX, glob);
	return r || l->sent ? r
			    : err_set(err, -ENOENT, "nothing in %s matches \"%s\"",
				      node_dataset_name(l->v.dataset), glob);
}

static int list_path(struct lister *l, const Larder__V1__PathRequest *q, struct err *err)
{
	int r = look_up(&l->v, &q->path, err);

	if (r)
		return r;
	uint64_t at = l->v.found->e.ordinal, end = l->v.found->e.end;
	if (l->v.found->e.type != MANIFEST_DIR)
		return add(l);
	return q->recursive ? list_range(l, at + 1, end, NULL) : list_children(l, at);
}

int listing_run(struct node_dataset *d, const Larder__V1__PathRequest *q,
		bool (*send)(void *ctx, const Larder__V1__EntryBatch *batch), void *ctx, struct err *err)
{
	struct lister *l = mem_calloc(1, sizeof *l);

	if (!l)
		return err_set(err, -ENOMEM, "out of memory");
	l->send = send;
	l->ctx = ctx;
	int r = view_open(&l->v, d, err);
	if (!r)
		r = q->glob ? list_glob(l, &q->path, err) : list_path(l, q, err);
	flush(l);
	if (!r && l->refused)
		r = -ECANCELED;
	view_close(&l->v);
	(void)mem_free(l);
	return r;
}

/* ---- bytes ---- */

/* One read on its way: the cache's thread copies it, the calling thread waits. */
struct cat_read {
	struct cache_read read;
	pthread_mutex_t lock; /* guards done, status, err */
	pthread_cond_t ended;
	bool done;
	int status;
	struct err err;
	uint8_t *bytes;
};

static void cat_done(struct cache_read *read, int status, const struct iovec *iov, int iov_count,
		     const struct err *err)
{
	struct cat_read *c = read->ctx;
	size_t at = 0;

	for (int i = 0; !status && i < iov_count; i++) {
		memcpy(c->bytes + at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	(void)pthread_mutex_lock(&c->lock);
	c->status = status;
	if (status && err)
		c->err = *err;
	c->done = true;
	(void)pthread_cond_signal(&c->ended);
	(void)pthread_mutex_unlock(&c->lock);
}

static int cat_one(struct cat_read *c, struct cache_object *o, uint64_t offset, uint32_t length,
		   struct err *err)
{
	c->read = (struct cache_read){.offset = offset,
				      .length = length,
				      .stream = (uint64_t)(uintptr_t)c,
				      .done = cat_done,
				      .ctx = c};
	c->done = false;
	c->err = (struct err){0};
	cache_read_start(o, &c->read);
	(void)pthread_mutex_lock(&c->lock);
	while (!c->done)
		(void)pthread_cond_wait(&c->ended, &c->lock);
	(void)pthread_mutex_unlock(&c->lock);
	return c->status ? err_set(err, c->status, "%s", err_words(&c->err, c->status)) : 0;
}

static int cat_range(struct cat_read *c, struct cache_object *o, uint64_t from, uint64_t end,
		     bool (*send)(void *ctx, const Larder__V1__DataChunk *chunk), void *ctx, struct err *err)
{
	Larder__V1__DataChunk chunk = LARDER__V1__DATA_CHUNK__INIT;

	for (uint64_t at = from; at < end; at += chunk.data.len) {
		uint32_t length = (uint32_t)MIN(end - at, (uint64_t)CAT_CHUNK - at % CAT_CHUNK);
		int r = cat_one(c, o, at, length, err);
		if (r)
			return r;
		chunk.data.data = c->bytes;
		chunk.data.len = length;
		if (!send(ctx, &chunk))
			return -ECANCELED;
	}
	return 0;
}

static int cat_file(struct view *v, const Larder__V1__CatRequest *q,
		    bool (*send)(void *ctx, const Larder__V1__DataChunk *chunk), void *ctx, struct err *err)
{
	CLEANUP(cache_put) struct cache_object *o = NULL;
	uint64_t size = v->found->e.size, from = MIN(q->offset, size);
	uint64_t end = q->length && q->length < size - from ? from + q->length : size;

	if (v->found->e.type != MANIFEST_FILE)
		return err_set(err, -EISDIR, "\"%s\" is not a file", v->found->e.path);
	if (from == end)
		return 0;
	int r = node_dataset_object(v->dataset, v->head.config, v->found, &o, err);
	struct cat_read *c = r ? NULL : mem_calloc(1, sizeof *c);
	if (c)
		c->bytes = mem_alloc(CAT_CHUNK);
	if (!r && (!c || !c->bytes))
		r = err_set(err, -ENOMEM, "out of memory");
	if (!r) {
		(void)pthread_mutex_init(&c->lock, NULL);
		(void)pthread_cond_init(&c->ended, NULL);
		cache_open(o);
		r = cat_range(c, o, from, end, send, ctx, err);
		cache_close(o);
		(void)pthread_mutex_destroy(&c->lock);
		(void)pthread_cond_destroy(&c->ended);
	}
	if (c)
		(void)mem_free(c->bytes);
	(void)mem_free(c);
	return r;
}

int listing_cat(struct node_dataset *d, const Larder__V1__CatRequest *q,
		bool (*send)(void *ctx, const Larder__V1__DataChunk *chunk), void *ctx, struct err *err)
{
	struct view v;

	int r = view_open(&v, d, err);
	if (!r)
		r = look_up(&v, &q->path, err);
	if (!r)
		r = cat_file(&v, q, send, ctx, err);
	view_close(&v);
	return r;
}
