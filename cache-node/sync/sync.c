#include "cache-node/sync/sync.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/mem.h"

#define PAGE_TIMEOUT_NS (30 * NS_PER_S) /* a page of a listing, with its retries */

/* One listing on its way: its pages come on the source's thread, the caller waits. */
struct listing {
	const struct sync_request *request;
	const struct dataset_source *source;
	uint16_t index;
	struct manifest_builder *builder;
	char *path;           /* MANIFEST_PATH_MAX and room to see that it is too long */
	pthread_mutex_t lock; /* guards done, status, err */
	pthread_cond_t ended;
	bool done;
	int status;
	struct err err;
};

#define PATH_ROOM (2 * MANIFEST_PATH_MAX + 2)

/* mount_path + "/" + path, without slashes at its ends. The length, or 0 when it does not fit. */
static size_t join_path(struct listing *l, const char *path, size_t len)
{
	const char *mount = l->source->mount_path + 1; /* "" for "/" */
	size_t at = strlen(mount);

	if (at + 1 + len >= PATH_ROOM)
		return 0;
	memcpy(l->path, mount, at);
	if (at)
		l->path[at++] = '/';
	memcpy(l->path + at, path, len);
	l->path[at + len] = 0;
	return at + len;
}

static int add_entry(struct listing *l, const struct source_entry *e, struct err *err)
{
	static const enum manifest_type types[] = {[SOURCE_TYPE_FILE] = MANIFEST_FILE,
						   [SOURCE_TYPE_DIR] = MANIFEST_DIR,
						   [SOURCE_TYPE_SYMLINK] = MANIFEST_SYMLINK};

	const char *path = e->path ? e->path : e->key;
	size_t path_len = e->path ? e->path_len : e->key_len;

	if (!path_len || !dataset_source_takes(l->source, path, path_len))
		return 0;
	size_t len = join_path(l, path, path_len);
	bool own_key = l->source->mount_path[1] != 0 || path_len != e->key_len ||
		       memcmp(path, e->key, path_len) != 0;
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
	return manifest_builder_add(l->builder, &m, err);
}

static bool is_wanted(void *ctx, const char *path, size_t len)
{
	return dataset_source_takes(((const struct listing *)ctx)->source, path, len);
}

static int on_entries(void *ctx, const struct source_entry *entries, size_t count)
{
	struct listing *l = ctx;
	struct err err = {0};

	if (atomic_load(&l->request->progress->stop))
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
	atomic_fetch_add(&l->request->progress->objects, count);
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
		if (!l->done && !told && atomic_load(&l->request->progress->stop)) {
			source_op_cancel(op); /* done() needs our lock, so the operation is alive */
			told = true;
		}
	}
	(void)pthread_mutex_unlock(&l->lock);
}

static int list_source(const struct sync_request *q, uint16_t index, struct manifest_builder *b,
		       struct err *err)
{
	struct listing l = {
		.request = q, .source = &q->dataset->sources[index], .index = index, .builder = b};
	struct source_list_request request = {.prefix = "",
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
	(void)pthread_mutex_init(&l.lock, NULL);
	(void)pthread_cond_init(&l.ended, NULL);
	int r = source_list(q->sources[index], &request, &op);
	if (!r) {
		wait_done(&l, op);
		r = l.status;
		if (r)
			(void)err_set(err, r, "%s", err_words(&l.err, r));
	}
	(void)pthread_mutex_destroy(&l.lock);
	(void)pthread_cond_destroy(&l.ended);
	return r;
}

static int build(const struct sync_request *q, struct sync_result *ret, struct hash256 *root, struct err *err)
{
	CLEANUP(manifest_builder_free) struct manifest_builder *b = NULL;
	/* The same tree must give the same root, so directories that nobody listed have no time of their own. */
	struct manifest_builder_config config = {.temp_dir_fd = q->temp_dir_fd, .memory_max = q->memory_max};

	int r = manifest_builder_new(&config, &b);
	if (r)
		return err_set(err, r, "manifest builder: %s", err_text(r));
	for (size_t i = 0; i < q->dataset->source_count; i++) {
		r = list_source(q, (uint16_t)i, b, err);
		if (r)
			return r;
	}
	struct manifest_sink sink = catalog_chunk_sink(q->catalog);
	return manifest_builder_finish(b, &sink, root, &ret->stats, err);
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
	r = build(request, ret, &root, err);
	if (!r)
		r = move(request, name, &root, lease, ret, err);
	catalog_lease_drop(request->catalog, name, lease);
	return r;
}
