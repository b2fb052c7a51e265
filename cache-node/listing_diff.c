/*
 * The versions of a dataset, and what changed between two of them.
 */
#include <errno.h>

#include "cache-node/fuse/ino.h"
#include "cache-node/listing.h"
#include "common/base/mem.h"

/* ---- versions ---- */

static void describe_version(struct node_dataset *d, const struct catalog_head *head, Larder__V1__Version *v)
{
	CLEANUP(manifest_free) struct manifest *m = NULL;
	struct manifest_stats stats = {0};
	struct err err = {0};

	if (node_dataset_open(d, &head->root, &m, &err)) {
		char *text = mem_strdup(err.text);
		if (text)
			v->message = text;
	} else {
		manifest_stats_get(m, &stats);
	}
	v->version = head->version;
	v->committed_ns = head->committed_ns;
	v->files = stats.files;
	v->bytes = stats.bytes;
	v->root.data = mem_dup(head->root.bytes, HASH256_BYTES);
	v->root.len = v->root.data ? HASH256_BYTES : 0;
}

static int add_versions(struct node_dataset *d, Larder__V1__VersionsReply *reply)
{
	struct catalog_head *list;
	size_t count;
	uint64_t pinned;
	int r = node_dataset_versions(d, &list, &count, &pinned);

	if (r)
		return r;
	reply->versions = count ? mem_calloc(count, sizeof *reply->versions) : NULL;
	for (size_t i = 0; reply->versions && i < count; i++) {
		Larder__V1__Version *v = mem_calloc(1, sizeof *v);
		if (!v)
			break;
		larder__v1__version__init(v);
		describe_version(d, &list[i], v);
		v->latest = i == 0;
		v->pinned = pinned == v->version;
		reply->versions[reply->n_versions++] = v;
	}
	(void)mem_free(list);
	return reply->n_versions == count ? 0 : -ENOMEM;
}

int listing_versions(struct node_dataset *d, Larder__V1__VersionsReply **ret, struct err *err)
{
	Larder__V1__VersionsReply *reply = mem_calloc(1, sizeof *reply);

	if (!reply)
		return err_set(err, -ENOMEM, "out of memory");
	larder__v1__versions_reply__init(reply);
	int r = add_versions(d, reply);
	if (r) {
		larder__v1__versions_reply__free_unpacked(reply, NULL);
		return err_set(err, r, "versions of %s: %s", node_dataset_name(d), err_text(r));
	}
	*ret = reply;
	return 0;
}

/* ---- changes ---- */

struct differ {
	bool (*send)(void *ctx, const Larder__V1__ChangeBatch *batch);
	void *ctx;
	struct catalog_head from, to;
	uint8_t ino_key[INO_KEY_BYTES];
	Larder__V1__Change *changes[LISTING_BATCH];
	size_t count;
	bool refused;
};

static void flush(struct differ *x)
{
	Larder__V1__ChangeBatch batch = LARDER__V1__CHANGE_BATCH__INIT;

	batch.n_changes = x->count;
	batch.changes = x->changes;
	if (x->count && !x->refused && !x->send(x->ctx, &batch))
		x->refused = true;
	for (size_t i = 0; i < x->count; i++)
		larder__v1__change__free_unpacked(x->changes[i], NULL);
	x->count = 0;
}

/* Borrows from @e. */
static void borrow(const struct differ *x, const struct manifest_entry *e, uint64_t version,
		   Larder__V1__Entry *out)
{
	larder__v1__entry__init(out);
	listing_describe(e, out);
	if (e->type == MANIFEST_FILE) {
		out->key.data = (uint8_t *)(uintptr_t)(e->key ? e->key : e->path);
		out->key.len = e->key ? e->key_len : e->path_len;
	}
	out->inode = ino_of_path(x->ino_key, e->path, e->path_len);
	out->version = version;
}

static int on_change(void *ctx, enum manifest_change kind, const struct manifest_entry *old,
		     const struct manifest_entry *new_)
{
	static const Larder__V1__Change__Kind kinds[] = {
		[MANIFEST_ADDED] = LARDER__V1__CHANGE__KIND__ADDED,
		[MANIFEST_REMOVED] = LARDER__V1__CHANGE__KIND__REMOVED,
		[MANIFEST_CHANGED] = LARDER__V1__CHANGE__KIND__CHANGED,
	};
	struct differ *x = ctx;
	Larder__V1__Change c = LARDER__V1__CHANGE__INIT;
	Larder__V1__Entry from, to;

	c.kind = kinds[kind];
	if (old) {
		borrow(x, old, x->from.version, &from);
		c.from = &from;
	}
	if (new_) {
		borrow(x, new_, x->to.version, &to);
		c.to = &to;
	}
	size_t len = larder__v1__change__get_packed_size(&c);
	uint8_t *bytes = mem_alloc(len);
	if (!bytes)
		return -ENOMEM;
	(void)larder__v1__change__pack(&c, bytes);
	x->changes[x->count] = larder__v1__change__unpack(NULL, len, bytes);
	(void)mem_free(bytes);
	if (!x->changes[x->count])
		return -ENOMEM;
	if (++x->count == LISTING_BATCH)
		flush(x);
	return x->refused ? -ECANCELED : 0;
}

int listing_diff(struct node_dataset *d, const Larder__V1__DiffRequest *q,
		 bool (*send)(void *ctx, const Larder__V1__ChangeBatch *batch), void *ctx, struct err *err)
{
	CLEANUP(manifest_free) struct manifest *from = NULL;
	CLEANUP(manifest_free) struct manifest *to = NULL;
	CLEANUP(mem_free) void *memory = mem_calloc(1, sizeof(struct differ));
	struct differ *x = memory;

	if (!x)
		return err_set(err, -ENOMEM, "out of memory");
	x->send = send;
	x->ctx = ctx;
	ino_key_of(node_dataset_name(d), x->ino_key);
	int r = node_dataset_version(d, q->from, &x->from, err);
	if (!r)
		r = node_dataset_version(d, q->to, &x->to, err);
	if (!r)
		r = node_dataset_open(d, &x->from.root, &from, err);
	if (!r)
		r = node_dataset_open(d, &x->to.root, &to, err);
	struct manifest_diff diff = {.change = on_change, .ctx = x};
	if (!r)
		r = manifest_diff_run(from, to, &diff, err);
	flush(x);
	return !r && x->refused ? -ECANCELED : r;
}
