#include "cache-node/sync/sync.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "cache-node/sync/put_ahead.h"
#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/manifest/key.h"
#include "common/manifest/name.h"

#define PAGE_TIMEOUT_NS (30 * NS_PER_S) /* a page of a listing, with its retries */

/* A tree while it is built. */
struct build {
	const struct sync_request *request;
	const char *name; /* of the dataset */
	struct manifest_builder *builder;
	struct sync_scope scope; /* what is listed; all: count 0 */
	bool whole;              /* else of a part */
	struct manifest *before;
	struct manifest_stats before_stats;
	struct scope_root *roots;
	size_t root_count;
};

/* One listing on its way: its pages come on the source's thread, the caller waits. */
struct listing {
	const struct build *build;
	const struct dataset_source *source;
	uint16_t index;
	uint64_t found;       /* entries that were taken */
	char *path;           /* where the entry at hand is shown: begins with the mount path */
	size_t mount_len;     /* its length, with the "/" at its end unless it is the root's */
	pthread_mutex_t lock; /* guards done, status, err */
	pthread_cond_t ended;
	bool done;
	int status;
	struct err err;
};

#define PATH_ROOM (MANIFEST_PATH_MAX + 1 + SOURCE_KEY_MAX + 1) /* also for what is too long to be shown */

/* The mount path as it is shown, without slashes at its ends: @ret has MANIFEST_PATH_MAX + 1 bytes. 0 or -ENAMETOOLONG. */
static int shown_mount(const struct dataset_source *s, char *ret, size_t *ret_len)
{
	const char *mount = s->mount_path + 1; /* "" for "/" */

	*ret_len = 0;
	ret[0] = 0;
	return *mount ? name_of_key(mount, strlen(mount), false, ret, ret_len) : 0;
}

/* The path of an entry of the listing, in l->path. False: it has none; then that is what the source calls it. */
static bool place(struct listing *l, const char *name, size_t name_len, size_t *ret_len)
{
	int r = name_of_key(name, name_len, false, l->path + l->mount_len, ret_len);

	*ret_len += r == 0 ? l->mount_len : 0;
	if (r == 0 && *ret_len <= MANIFEST_PATH_MAX)
		return true;
	memcpy(l->path + l->mount_len, name, name_len);
	*ret_len = l->mount_len + name_len;
	return false;
}

/* A marker of the folder without a name, "//", is the one entry without a name of its own. */
static bool has_name(const struct listing *l, const struct source_entry *e, size_t len)
{
	return len > 0 || (e->type == SOURCE_TYPE_DIR && l->source->kind == SOURCE_S3);
}

static int add_entry(struct listing *l, const struct source_entry *e, struct err *err)
{
	static const enum manifest_type types[] = {[SOURCE_TYPE_FILE] = MANIFEST_FILE,
						   [SOURCE_TYPE_DIR] = MANIFEST_DIR,
						   [SOURCE_TYPE_SYMLINK] = MANIFEST_SYMLINK};

	const char *path = e->path ? e->path : e->key;
	size_t path_len = e->path ? e->path_len : e->key_len;

	size_t len;

	if (!has_name(l, e, path_len) || !dataset_source_takes(l->source, path, path_len))
		return 0;
	bool shown = place(l, path, path_len, &len);
	if (e->type != SOURCE_TYPE_DIR && !sync_scope_has(&l->build->scope, l->path, len))
		return 0;
	l->found++;
	if (!shown)
		return manifest_builder_leave_out(l->build->builder, l->path, len, l->index, err);
	if (e->type == SOURCE_TYPE_FILE)
		atomic_fetch_add(&l->build->request->progress->bytes, e->size);
	bool own_key = len != e->key_len || memcmp(l->path, e->key, len) != 0;
	struct manifest_entry m = {
		.type = types[e->type],
		.mode = (uint16_t)(e->mode & 07777),
		.source = l->index,
		.size = e->type == SOURCE_TYPE_FILE ? e->size : 0,
		.mtime_ns = e->mtime_ns,
		.validator = e->type == SOURCE_TYPE_FILE ? e->validator : (struct validator){0},
		.path = l->path,
		.path_len = len,
		.key = own_key ? e->key : NULL,
		.key_len = own_key ? e->key_len : 0,
		.target = e->target,
		.target_len = e->target_len,
	};
	return manifest_builder_add(l->build->builder, &m, err);
}

static bool is_wanted(void *ctx, const char *path, size_t len)
{
	struct listing *l = ctx;

	if (!dataset_source_takes(l->source, path, len))
		return false;
	size_t shown;
	(void)place(l, path, len, &shown);
	return sync_scope_has(&l->build->scope, l->path, shown);
}

static int on_entries(void *ctx, const struct source_entry *entries, size_t count)
{
	struct listing *l = ctx;
	struct err err = {0};

	if (atomic_load(&l->build->request->progress->stop))
		return -ECANCELED;
	for (size_t i = 0; i < count; i++) {
		int r = add_entry(l, &entries[i], &err);
		if (r) {
			(void)pthread_mutex_lock(&l->lock);
			l->err = err;
			(void)pthread_mutex_unlock(&l->lock);
			return r;
		}
	}
	atomic_fetch_add(&l->build->request->progress->objects, count);
	return 0;
}

static void on_done(void *ctx, int status, const struct err *err)
{
	struct listing *l = ctx;

	(void)pthread_mutex_lock(&l->lock);
	l->status = status;
	if (status && !l->err.code && err)
		l->err = *err;
	l->done = true;
	(void)pthread_cond_signal(&l->ended);
	(void)pthread_mutex_unlock(&l->lock);
}

static void wait_done(struct listing *l, struct source_op *op)
{
	bool told = false;

	(void)pthread_mutex_lock(&l->lock);
	while (!l->done) {
		clock_cond_wait(&l->ended, &l->lock, 200 * NS_PER_MS);
		if (!l->done && !told && atomic_load(&l->build->request->progress->stop)) {
			source_op_cancel(op); /* done() needs our lock, so the operation is alive */
			told = true;
		}
	}
	(void)pthread_mutex_unlock(&l->lock);
}

/* Lists what lies below @prefix of a source ("" or with a slash at its end). What was taken in *ret_found. */
static int list_prefix(const struct build *b, size_t index, const char *prefix, uint64_t *ret_found,
		       struct err *err)
{
	const struct sync_request *q = b->request;
	struct listing l = {.build = b, .source = &q->dataset->sources[index], .index = (uint16_t)index};
	struct source_list_request request = {.prefix = prefix,
					      .deadline_ns = PAGE_TIMEOUT_NS,
					      .wanted = is_wanted,
					      .entries = on_entries,
					      .done = on_done,
					      .ctx = &l};
	CLEANUP(free_str) char *path = mem_alloc(PATH_ROOM);
	struct source_op *op;

	if (!path)
		return err_set(err, -ENOMEM, "out of memory");
	l.path = path;
	int r = shown_mount(l.source, path, &l.mount_len);
	if (r)
		return err_set(err, r, "the mount path is too long");
	if (l.mount_len)
		path[l.mount_len++] = '/';
	(void)pthread_mutex_init(&l.lock, NULL);
	(void)pthread_cond_init(&l.ended, NULL);
	r = source_list(q->sources[index], &request, &op);
	if (!r) {
		wait_done(&l, op);
		r = l.status;
		if (r)
			(void)err_set(err, r, "%s", err_words(&l.err, r));
	}
	(void)pthread_mutex_destroy(&l.lock);
	(void)pthread_cond_destroy(&l.ended);
	*ret_found = l.found;
	return r;
}

/* ---- parts ---- */

/* The prefix under which a source has the folder @path below its root, "" for that, into @ret. 0, or -ENOENT: it can have
 * nothing there. */
static int prefix_of(const struct dataset_source *s, const char *path, size_t len,
		     char ret[MANIFEST_PATH_MAX + 2])
{
	size_t key_len = 0;
	bool beside = false;
	int r = len ? name_to_key(path, len, ret, &key_len, &beside) : 0;

	/* What is a file system itself, or is read like one, has no other names than those. */
	if (r || beside || (s->kind != SOURCE_S3 && !manifest_path_valid(ret, key_len)))
		return -ENOENT;
	if (len)
		ret[key_len++] = '/';
	ret[key_len] = 0;
	return 0;
}

/* Lists a part of a source, whose root lies @len bytes into @rel below the source's. A folder that is not there may be one of
 * the store's that went, or no folder: then the one above it tells. @ret_len: how far the listed root is into @rel. */
static int list_below(const struct build *b, size_t index, const char *rel, size_t len, bool literal,
		      size_t *ret_len, struct err *err)
{
	char prefix[MANIFEST_PATH_MAX + 2];
	uint64_t found;
	int r;

	for (;; len = scope_parent(rel, len)) {
		r = prefix_of(&b->request->dataset->sources[index], rel, len, prefix);
		if (!r)
			r = list_prefix(b, index, prefix, &found, err);
		bool absent = r == -ENOENT || r == -ENOTDIR || (r == 0 && !found && literal);
		if (!absent || len == 0)
			break;
		literal = false; /* once: the object itself stands beside, not further up */
	}
	*ret_len = len;
	return r;
}

/* Whether a root of the part is one that the source can have something at. */
static bool can_have(const struct dataset_source *s, const char *rel, size_t len)
{
	char prefix[MANIFEST_PATH_MAX + 2];

	return prefix_of(s, rel, len, prefix) == 0;
}

/* One root of the part, as far as it concerns the source: the listed root as a path of the tree in *ret, "-" where it does
 * not. */
static int list_root(const struct build *b, size_t index, const struct scope_root *root, char **ret,
		     struct err *err)
{
	const struct dataset_source *source = &b->request->dataset->sources[index];
	char mount[MANIFEST_PATH_MAX + 1];
	size_t at, below;
	uint64_t found;
	int r = shown_mount(source, mount, &at);

	if (r || root->len > MANIFEST_PATH_MAX)
		return err_set(err, -ENAMETOOLONG, "a path of %zu bytes", root->len);
	size_t skip = at ? at + 1 : 0;
	if (scope_is_below(mount, at, root->path, root->len, true)) {
		r = list_prefix(b, index, "", &found, err);
		*ret = mem_strdup(mount);
	} else if (scope_is_below(root->path, root->len, mount, at, false) &&
		   can_have(source, root->path + skip, root->len - skip)) {
		r = list_below(b, index, root->path + skip, root->len - skip, root->literal, &below, err);
		*ret = r ? NULL : mem_strndup(root->path, below ? skip + below : at);
	} else {
		*ret = mem_strdup("-");
	}
	return r || *ret ? r : err_set(err, -ENOMEM, "out of memory");
}

/* Entries of the version before that this sync does not list. */
struct keeping {
	const struct build *build;
	uint16_t source;
	char *const *roots; /* listed of this source: paths of the tree, "-" for none */
	struct err *err;
};

/* Folders that nobody listed are made anew where something is below them. */
static bool is_implied(const struct manifest_entry *e)
{
	return e->type == MANIFEST_DIR && e->end > e->ordinal + 1 && e->mode == 0 && e->mtime_ns == 0 &&
	       e->source == 0 && !e->key;
}

static bool is_listed_anew(const struct keeping *k, const struct manifest_entry *e)
{
	if (e->type != MANIFEST_DIR)
		return sync_scope_has(&k->build->scope, e->path, e->path_len);
	for (size_t i = 0; i < k->build->root_count; i++)
		if (strcmp(k->roots[i], "-") != 0 &&
		    scope_is_below(e->path, e->path_len, k->roots[i], strlen(k->roots[i]), false))
			return true;
	return false;
}

static int keep_entry(void *ctx, const struct manifest_found *f)
{
	const struct keeping *k = ctx;
	char alone[MANIFEST_PATH_MAX + 1];
	struct manifest_entry e = f->e;

	if (e.source != k->source || is_implied(&e))
		return 0;
	/* Whether its name is a folder's too is seen again at the end. */
	if (e.type != MANIFEST_DIR && name_is_beside(e.path, e.path_len) &&
	    name_without_folder(e.path, e.path_len, alone, &e.path_len) == 0)
		e.path = alone;
	if (is_listed_anew(k, &e))
		return 0;
	if (e.ordinal % 65536 == 0 && atomic_load(&k->build->request->progress->stop))
		return -ECANCELED;
	return manifest_builder_add(k->build->builder, &e, k->err);
}

/* Lists the part's roots of one source, then takes over what the version before has of its rest. */
static int list_part(const struct build *b, size_t index, struct err *err)
{
	CLEANUP(mem_free) void *memory = mem_calloc(b->root_count, sizeof(char *));
	struct keeping k = {.build = b, .source = (uint16_t)index, .roots = memory, .err = err};
	char **roots = memory;
	int r = memory ? 0 : err_set(err, -ENOMEM, "out of memory");

	for (size_t i = 0; i < b->root_count && !r; i++)
		r = list_root(b, index, &b->roots[i], &roots[i], err);
	if (!r)
		r = manifest_scan(b->before, 0, UINT64_MAX, keep_entry, &k);
	for (size_t i = 0; roots && i < b->root_count; i++)
		(void)mem_free(roots[i]);
	return r && !err->code ? err_set(err, r, "the version before: %s", err_text(r)) : r;
}

/* ---- building ---- */

/* Opens the version before, if there is one that can be read: little that changed is written as a delta over it, and it has what
 * a sync of a part does not list. */
static int open_before(struct build *b, struct err *err)
{
	const struct sync_request *q = b->request;
	struct manifest_chunks chunks = catalog_chunks(q->catalog);
	struct catalog_head head = {0};
	int r = catalog_head_get(q->catalog, b->name, &head);

	if (!r)
		r = manifest_open(&head.root, &chunks, &b->before, NULL);
	if (!r)
		manifest_stats_get(b->before, &b->before_stats);
	b->whole = r || !q->scope.count || head.config != dataset_config_hash(q->dataset);
	if (b->whole)
		return 0;
	b->roots = mem_calloc(q->scope.count, sizeof *b->roots);
	if (!b->roots)
		return err_set(err, -ENOMEM, "out of memory");
	b->root_count = sync_scope_roots(&q->scope, b->roots);
	b->scope = q->scope;
	return 0;
}

static int list_all(const struct build *b, struct err *err)
{
	uint64_t found;
	int r = 0;

	for (size_t i = 0; i < b->request->dataset->source_count && !r; i++)
		r = b->whole ? list_prefix(b, i, "", &found, err) : list_part(b, i, err);
	return r;
}

/* Conflicts that only a listing shows: where all of the version before are named, those outside the part are known. Else what was
 * known stays, marked. */
static int keep_conflicts(const struct build *b, enum conflict_kind kind, const struct conflicts *before)
{
	struct conflicts *c = manifest_builder_conflicts(b->builder);
	const struct conflicts_of_kind *k = &before->of[kind];
	int r = 0;

	if (!conflicts_all_named(before, kind))
		return conflicts_keep(c, kind, before);
	for (size_t i = 0; i < k->named && !r; i++)
		if (!sync_scope_has(&b->scope, k->first[i].path, k->first[i].len))
			r = conflicts_add(c, kind, k->first[i].path, k->first[i].len, k->first[i].source);
	return r;
}

/* Of what is outside the part nothing is listed. */
static int keep_all_conflicts(const struct build *b, struct err *err)
{
	CLEANUP(conflicts_free) struct conflicts *none = NULL;
	const struct conflicts *before = b->request->conflicts;

	if (!before) {
		before = none = conflicts_new();
		if (!none)
			return err_set(err, -ENOMEM, "out of memory");
		none->of[CONFLICT_LEFT_OUT].count = b->before_stats.skipped;
		none->of[CONFLICT_LEFT_OUT].earlier = none->of[CONFLICT_COVERED].earlier = true;
	}
	int r = keep_conflicts(b, CONFLICT_COVERED, before);
	if (!r)
		r = keep_conflicts(b, CONFLICT_LEFT_OUT, before);
	return r ? err_set(err, r, "%s", err_text(r)) : 0;
}

/* The manifest of what was listed: stored whole when this returns. */
static int finish(struct build *b, struct sync_result *ret, struct hash256 *root, struct err *err)
{
	const struct manifest_sink store = catalog_chunk_sink(b->request->catalog);
	CLEANUP(put_ahead_free) struct put_ahead *ahead = NULL;
	int r = put_ahead_new(&store, &ahead);

	if (r)
		return err_set(err, r, "storing a manifest: %s", err_text(r));
	const struct manifest_sink sink = put_ahead_sink(ahead);
	r = manifest_builder_finish(b->builder, &sink, root, &ret->stats, err);
	if (!r)
		r = put_ahead_wait(ahead, err);
	if (!r)
		ret->conflicts = manifest_builder_take_conflicts(b->builder);
	return r;
}

static int run_build(struct build *b, struct sync_result *ret, struct hash256 *root, struct err *err)
{
	const struct sync_request *q = b->request;
	/* The same tree must give the same root, so directories that nobody listed have no time of their own. */
	struct manifest_builder_config config = {.temp_dir_fd = q->temp_dir_fd, .memory_max = q->memory_max};
	int r = open_before(b, err);

	if (r)
		return r;
	config.before = b->before;
	r = manifest_builder_new(&config, &b->builder);
	if (r)
		return err_set(err, r, "manifest builder: %s", err_text(r));
	if (!b->whole)
		r = keep_all_conflicts(b, err);
	if (!r)
		r = list_all(b, err);
	return r ? r : finish(b, ret, root, err);
}

static int build_once(const struct sync_request *q, const char *name, struct sync_result *ret,
		      struct hash256 *root, struct err *err)
{
	struct build b = {.request = q, .name = name};

	atomic_store(&q->progress->objects, 0);
	atomic_store(&q->progress->bytes, 0);
	int r = run_build(&b, ret, root, err);

	(void)manifest_builder_free(b.builder);
	(void)manifest_free(b.before);
	(void)mem_free(b.roots);
	return r;
}

/* Anew where a source said that what it gave cannot be relied on: each does so once. */
static int build(const struct sync_request *q, const char *name, struct sync_result *ret,
		 struct hash256 *root, struct err *err)
{
	int r = build_once(q, name, ret, root, err);

	for (size_t i = 0; i < q->dataset->source_count && r == -EAGAIN; i++) {
		*err = (struct err){0};
		r = build_once(q, name, ret, root, err);
	}
	return r;
}

static int move(const struct sync_request *q, const char *name, const struct hash256 *root,
		struct catalog_lease lease, struct sync_result *ret, struct err *err)
{
	struct catalog_head old = {0};
	int r = catalog_head_get(q->catalog, name, &old);

	if (r && r != -ENOENT)
		return err_set(err, r, "head of %s: %s", name, err_text(r));
	ret->head = (struct catalog_head){.version = old.version + 1,
					  .root = *root,
					  .committed_ns = clock_wall_ns(),
					  .config = dataset_config_hash(q->dataset)};
	ret->moved = !old.version || hash256_compare(&old.root, root) != 0 || old.config != ret->head.config;
	if (ret->moved)
		return catalog_head_move(q->catalog, name, old.version, &ret->head, lease, err);
	ret->head = old;
	return 0;
}

int sync_run(const struct sync_request *request, struct sync_result *ret, struct err *err)
{
	char name[DATASET_FULL_MAX];
	struct catalog_lease lease;
	struct hash256 root;

	dataset_full_name(request->dataset, name);
	*ret = (struct sync_result){.moved = false};
	int r = catalog_lease_take(request->catalog, name, &lease, err);
	if (r)
		return r;
	r = build(request, name, ret, &root, err);
	if (!r)
		r = move(request, name, &root, lease, ret, err);
	if (r)
		ret->conflicts = conflicts_free(ret->conflicts);
	catalog_lease_drop(request->catalog, name, lease);
	return r;
}
