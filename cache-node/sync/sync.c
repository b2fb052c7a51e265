#include "cache-node/sync/sync.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cache-node/sync/answer.h"
#include "cache-node/sync/look.h"
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
	struct scope_root *roots;
	size_t root_count;
};

/* One listing on its way: its pages come on the source's thread, the caller waits. */
struct listing {
	const struct build *build;
	const struct dataset_source *source;
	uint16_t index;
	uint64_t found;   /* entries that were taken */
	char *path;       /* where the entry at hand is shown: begins with the mount path */
	size_t mount_len; /* its length, with the "/" at its end unless it is the root's */
	struct answer answer;
	struct err err; /* answer.lock */
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

/* A marker of the folder without a name, the key "/", is the one entry without a name of its own. */
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
			(void)pthread_mutex_lock(&l->answer.lock);
			l->err = err;
			(void)pthread_mutex_unlock(&l->answer.lock);
			return r;
		}
	}
	atomic_fetch_add(&l->build->request->progress->objects, count);
	return 0;
}

static void on_done(void *ctx, int status, const struct err *err)
{
	struct listing *l = ctx;

	(void)pthread_mutex_lock(&l->answer.lock);
	if (status && !l->err.code && err)
		l->err = *err;
	answer_came(&l->answer, status);
	(void)pthread_mutex_unlock(&l->answer.lock);
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
	answer_init(&l.answer);
	r = source_list(q->sources[index], &request, &op);
	if (!r) {
		r = answer_wait(&l.answer, op, &q->progress->stop);
		if (r)
			(void)err_set(err, r, "%s", err_words(&l.err, r));
	}
	answer_over(&l.answer);
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

/* A root of the part, as it was listed of one source. */
struct listed_root {
	char *path;   /* of the tree; NULL: nothing was listed */
	bool with_it; /* what has the root's own name is known too: a file that was not listed is not there */
};

/* The file that the version before has of a source at @path, or beside the folder there. 0, -ENOENT, as manifest_lookup(). */
static int file_before(const struct build *b, size_t index, const char *path, size_t len,
		       struct manifest_found *ret)
{
	char beside[MANIFEST_PATH_MAX + 1];
	size_t beside_len;
	int r = manifest_lookup(b->before, path, len, ret);

	if (r == 0 && ret->e.type == MANIFEST_DIR)
		r = name_beside_folder(path, len, beside, &beside_len) == 0
			    ? manifest_lookup(b->before, beside, beside_len, ret)
			    : -ENOENT;
	return r == 0 && (ret->e.source != index || ret->e.type == MANIFEST_DIR) ? -ENOENT : r;
}

enum beside {
	BESIDE_NONE,  /* there is none */
	BESIDE_KEPT,  /* as in the version before */
	BESIDE_LISTED /* only a listing of the folder above tells */
};

/* What there is of the name of a folder that was found, which a listing of the folder does not show. @path is the folder, as it is
 * in the tree; @skip bytes of it are the source's mount path. */
static enum beside look_beside(const struct build *b, size_t index, const char *path, size_t len, size_t skip)
{
	const struct dataset_source *source = &b->request->dataset->sources[index];
	char key[MANIFEST_PATH_MAX + 2];
	struct manifest_found f = {0};
	int had = file_before(b, index, path, len, &f);

	/* One name is one thing in a file system. A web server answers for a folder with a page, and a list file is read whole for
	 * any part of it. */
	if (source->kind == SOURCE_FILE)
		return BESIDE_NONE;
	if (source->kind == SOURCE_HTTP)
		return had == -ENOENT && source->http.index != SOURCE_INDEX_LIST ? BESIDE_NONE
										 : BESIDE_LISTED;
	if ((had && had != -ENOENT) || prefix_of(source, path + skip, len - skip, key))
		return BESIDE_LISTED;
	key[strlen(key) - 1] = 0; /* the slash */
	bool same = false;
	int r = look_same(b->request->sources[index], key, had ? NULL : &f.e, &b->request->progress->stop,
			  &same);
	if (r == -ENOENT && had)
		return BESIDE_NONE;
	return r == 0 && same ? BESIDE_KEPT : BESIDE_LISTED;
}

/* Lists a part of a source. @root lies below the source's mount path, which is @skip bytes of it. A folder that is not there may be
 * one of the store's that went, or no folder: then the one above it tells, and so it does where the store may have an object of the
 * folder's name. @ret_len: the root that was listed, as that much of @root; @ret_with_it: as in struct listed_root. */
static int list_below(const struct build *b, size_t index, const struct scope_root *root, size_t skip,
		      size_t *ret_len, bool *ret_with_it, struct err *err)
{
	const char *rel = root->path + skip;
	size_t len = root->len - skip;
	bool literal = root->literal;
	char prefix[MANIFEST_PATH_MAX + 2];
	uint64_t found;
	int r;

	*ret_with_it = false;
	for (;; len = scope_parent(rel, len)) {
		r = prefix_of(&b->request->dataset->sources[index], rel, len, prefix);
		if (!r)
			r = list_prefix(b, index, prefix, &found, err);
		bool absent = r == -ENOENT || r == -ENOTDIR || (r == 0 && !found && literal);
		if (len == 0 || (r && !absent))
			break;
		if (!absent && literal) {
			enum beside beside = look_beside(b, index, root->path, skip + len, skip);
			*ret_with_it = beside == BESIDE_NONE;
			absent = beside == BESIDE_LISTED;
		}
		if (!absent)
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

/* One root of the part, as far as it concerns the source. */
static int list_root(const struct build *b, size_t index, const struct scope_root *root,
		     struct listed_root *ret, struct err *err)
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
		ret->path = mem_strdup(mount);
	} else if (scope_is_below(root->path, root->len, mount, at, false) &&
		   can_have(source, root->path + skip, root->len - skip)) {
		r = list_below(b, index, root, skip, &below, &ret->with_it, err);
		ret->path = r ? NULL : mem_strndup(root->path, below ? skip + below : at);
	} else {
		return 0;
	}
	return r || ret->path ? r : err_set(err, -ENOMEM, "out of memory");
}

/* What the version before has that this sync does not list. */
struct keeping {
	const struct build *build;
	uint16_t source;
	const struct listed_root *roots; /* of this source */
	struct err *err;
};

/* Folders that nobody listed are made anew where something is below them. */
static bool is_implied(const struct manifest_entry *e)
{
	return e->type == MANIFEST_DIR && e->end > e->ordinal + 1 && e->mode == 0 && e->mtime_ns == 0 &&
	       e->source == 0 && !e->key;
}

static bool was_listed(const struct keeping *k, const char *path, size_t len, bool is_dir)
{
	/* The marker of a folder is among what has its prefix. */
	bool marker = is_dir && k->build->request->dataset->sources[k->source].kind == SOURCE_S3;

	for (size_t i = 0; i < k->build->root_count; i++) {
		const struct listed_root *root = &k->roots[i];
		if (root->path && scope_is_below(path, len, root->path, strlen(root->path),
						 is_dir ? marker : root->with_it))
			return true;
	}
	return false;
}

/* Of files only those of the part were taken, wherever the listing went. */
static bool is_file_listed(const struct keeping *k, const char *path, size_t len)
{
	return sync_scope_has(&k->build->scope, path, len) && was_listed(k, path, len, false);
}

static int keep_entry(void *ctx, const struct manifest_found *f)
{
	const struct keeping *k = ctx;
	char alone[MANIFEST_PATH_MAX + 1];
	struct manifest_entry e = f->e;

	if (e.ordinal % 65536 == 0 && atomic_load(&k->build->request->progress->stop))
		return -ECANCELED;
	if (e.source != k->source || is_implied(&e))
		return 0;
	/* Whether its name is a folder's too is seen again at the end. */
	if (e.type != MANIFEST_DIR && name_is_beside(e.path, e.path_len) &&
	    name_without_folder(e.path, e.path_len, alone, &e.path_len) == 0)
		e.path = alone;
	if (e.type == MANIFEST_DIR ? was_listed(k, e.path, e.path_len, true)
				   : is_file_listed(k, e.path, e.path_len))
		return 0;
	return manifest_builder_add(k->build->builder, &e, k->err);
}

/* Conflicts that only a listing shows. */
static const enum conflict_kind listed_kinds[] = {CONFLICT_COVERED, CONFLICT_LEFT_OUT};

/* Where all of a kind of the version before are named, those of the source that were not listed are known. */
static int keep_conflicts(const struct keeping *k)
{
	struct conflicts *c = manifest_builder_conflicts(k->build->builder);
	const struct conflicts *before = k->build->request->conflicts;
	int r = 0;

	for (size_t i = 0; i < LENGTH(listed_kinds); i++) {
		enum conflict_kind kind = listed_kinds[i];
		const struct conflicts_of_kind *of = &before->of[kind];
		for (size_t j = 0; j < of->named && !r; j++) {
			const struct conflict *one = &of->first[j];
			if (one->source == k->source && !is_file_listed(k, one->path, one->len))
				r = conflicts_add(c, kind, one->path, one->len, one->source);
		}
	}
	return r;
}

/* Lists the part's roots of one source, then takes over what the version before has of its rest. */
static int list_part(const struct build *b, size_t index, struct err *err)
{
	CLEANUP(mem_free) void *memory = mem_calloc(b->root_count, sizeof(struct listed_root));
	struct listed_root *roots = memory;
	struct keeping k = {.build = b, .source = (uint16_t)index, .roots = roots, .err = err};
	int r = memory ? 0 : err_set(err, -ENOMEM, "out of memory");

	for (size_t i = 0; i < b->root_count && !r; i++)
		r = list_root(b, index, &b->roots[i], &roots[i], err);
	if (!r)
		r = manifest_scan(b->before, 0, UINT64_MAX, keep_entry, &k);
	if (!r)
		r = keep_conflicts(&k);
	for (size_t i = 0; roots && i < b->root_count; i++)
		(void)mem_free(roots[i].path);
	return r && !err->code ? err_set(err, r, "the version before: %s", err_text(r)) : r;
}

/* ---- building ---- */

/* Opens the version before, if there is one that can be read: little that changed is written as a delta over it, and it has what
 * a sync of a part does not list. Versions of before notes of conflicts have paths by another rule (0055). */
static int open_before(struct build *b, struct err *err)
{
	const struct sync_request *q = b->request;
	struct manifest_chunks chunks = catalog_chunks(q->catalog);
	struct catalog_head head = {0};
	int r = catalog_head_get(q->catalog, b->name, &head);

	if (!r)
		r = manifest_open(&head.root, &chunks, &b->before, NULL);
	b->whole = r || !q->scope.count || !q->conflicts || head.config != dataset_config_hash(q->dataset);
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

/* Where not all of a kind are named, what was known stays, marked: those outside the part cannot be told from the others. */
static int keep_unnamed_conflicts(const struct build *b, struct err *err)
{
	struct conflicts *c = manifest_builder_conflicts(b->builder);
	const struct conflicts *before = b->request->conflicts;
	int r = 0;

	for (size_t i = 0; i < LENGTH(listed_kinds) && !r; i++)
		if (!conflicts_all_named(before, listed_kinds[i]))
			r = conflicts_keep(c, listed_kinds[i], before);
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
		r = keep_unnamed_conflicts(b, err);
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
