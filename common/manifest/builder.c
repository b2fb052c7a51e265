#include <errno.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/manifest.h"
#include "common/manifest/delta.h"
#include "common/manifest/output.h"
#include "common/manifest/tree.h"

enum { CHUNK_TARGET = 4 << 20, CHUNK_TARGET_MAX = 64 << 20, MEMORY_MIN = 1 << 20 };

#define BESIDE_SHARE 8 /* of the memory for sorting, once more, for files that have the name of a folder */

struct manifest_builder {
	struct manifest_builder_config config;
	struct sorter *sorter;
	struct tree *tree;
	bool finished;
	struct conflicts *conflicts;
	struct manifest_stats stats;
};

int manifest_builder_new(const struct manifest_builder_config *config, struct manifest_builder **ret)
{
	if (config->memory_max < MEMORY_MIN || config->memory_max > SIZE_MAX / 2 ||
	    config->chunk_bytes > CHUNK_TARGET_MAX)
		return -EINVAL;
	CLEANUP(manifest_builder_free) struct manifest_builder *b = mem_calloc(1, sizeof *b);
	if (!b)
		return -ENOMEM;
	b->config = *config;
	if (b->config.chunk_bytes == 0)
		b->config.chunk_bytes = CHUNK_TARGET;
	b->conflicts = conflicts_new();
	if (!b->conflicts)
		return -ENOMEM;
	int r = sorter_new(config->temp_dir_fd, (size_t)config->memory_max, &b->sorter);
	if (r != 0)
		return r;
	*ret = TAKE(b);
	return 0;
}

struct manifest_builder *manifest_builder_free(struct manifest_builder *b)
{
	if (!b)
		return NULL;
	(void)tree_free(b->tree);
	(void)sorter_free(b->sorter);
	(void)conflicts_free(b->conflicts);
	return mem_free(b);
}

/* Whether a table can hold the entry's names; the store decides those, so a bad one is no error. */
static bool can_be_shown(const struct manifest_entry *e)
{
	if (!manifest_path_valid(e->path, e->path_len) || (e->path_len == 0 && e->type != MANIFEST_DIR))
		return false;
	if (e->key_len > MANIFEST_PATH_MAX || (e->key_len && memchr(e->key, 0, e->key_len)))
		return false;
	if (e->type == MANIFEST_SYMLINK)
		return e->target_len > 0 && e->target_len <= MANIFEST_PATH_MAX &&
		       !memchr(e->target, 0, e->target_len);
	return e->size <= INT64_MAX;
}

static bool is_well_formed(const struct manifest_entry *e)
{
	const struct validator *v = &e->validator;

	return e->type >= MANIFEST_FILE && e->type <= MANIFEST_SYMLINK && v->kind <= VALIDATOR_STRONG &&
	       v->len <= VALIDATOR_BYTES_MAX && (v->kind != VALIDATOR_NONE || v->len == 0);
}

/* Fields that mean nothing for the type are dropped, so that equal trees are equal bytes. */
static struct manifest_entry normal_form(const struct manifest_entry *e)
{
	const int64_t mtime_min = INT64_MIN / 1000000000 * 1000000000;
	struct manifest_entry n = *e;

	n.mode &= 07777;
	n.mtime_ns = MAX(e->mtime_ns, mtime_min);
	if (e->type != MANIFEST_FILE)
		n.size = 0;
	if (e->type != MANIFEST_SYMLINK)
		n.target_len = 0;
	return n;
}

int manifest_builder_leave_out(struct manifest_builder *b, const char *path, size_t len, uint16_t source,
			       struct err *err)
{
	CHECK(!b->finished);
	int r = conflicts_add(b->conflicts, CONFLICT_LEFT_OUT, path, len, source);
	return r == 0 ? 0 : err_set(err, r, "manifest: %s", err_text(r));
}

struct conflicts *manifest_builder_conflicts(struct manifest_builder *b)
{
	return b->conflicts;
}

struct conflicts *manifest_builder_take_conflicts(struct manifest_builder *b)
{
	CHECK(b->finished);
	(void)tree_free(b->tree); /* borrows them */
	b->tree = NULL;
	return TAKE(b->conflicts);
}

int manifest_builder_add(struct manifest_builder *b, const struct manifest_entry *e, struct err *err)
{
	CHECK(!b->finished);
	if (!is_well_formed(e))
		return err_set(err, -EINVAL, "manifest: entry of unknown type or with a malformed validator");
	if (!can_be_shown(e))
		return manifest_builder_leave_out(b, e->path, e->path_len, e->source, err);
	struct manifest_entry n = normal_form(e);
	int r = sorter_add(b->sorter, &n);
	return r == 0 ? 0 : err_set(err, r, "manifest: cannot sort entries: %s", err_text(r));
}

/* ---- from the tree into chunks ---- */

static int write_table(struct manifest_builder *b, const struct manifest_sink *sink, struct hash256 *ret,
		       struct err *err)
{
	struct output o;
	const struct record *rec;
	uint64_t descendants;
	int r;

	output_init(&o, sink, b->config.chunk_bytes, false);
	while ((r = tree_next(b->tree, &rec, &descendants)) == 1) {
		struct manifest_entry e;
		record_read(rec, &e);
		output_count(&b->stats, &e);
		r = output_entry(&o, &e, descendants, err);
		if (r != 0)
			break;
	}
	if (r == 0)
		r = output_end(&o, err);
	if (r == 0)
		r = output_root(sink, &o.list, 1, &b->stats, ret, err);
	output_done(&o);
	return r;
}

/* As a delta over the version before where that is worth it, else as a table of its own. */
static int write_tree(struct manifest_builder *b, const struct manifest_sink *sink, struct hash256 *ret,
		      struct err *err)
{
	const struct delta_request q = {.before = b->config.before,
					.tree = b->tree,
					.sink = sink,
					.target = b->config.chunk_bytes,
					.skipped = b->conflicts->of[CONFLICT_LEFT_OUT].count};
	int r = q.before ? delta_write(&q, ret, &b->stats, err) : 1;

	if (r <= 0)
		return r;
	tree_rewind(b->tree);
	b->stats = (struct manifest_stats){.skipped = q.skipped};
	return write_table(b, sink, ret, err);
}

static int make_tree(struct manifest_builder *b)
{
	const struct tree_config config = {
		.dir_fd = b->config.temp_dir_fd,
		.dir_mtime_ns = b->config.dir_mtime_ns,
		.sorter = b->sorter,
		.memory_max = (size_t)MAX(b->config.memory_max / BESIDE_SHARE, (uint64_t)MEMORY_MIN),
		.conflicts = b->conflicts,
	};

	return tree_new(&config, &b->tree);
}

int manifest_builder_finish(struct manifest_builder *b, const struct manifest_sink *sink,
			    struct hash256 *ret_root, struct manifest_stats *ret_stats, struct err *err)
{
	struct err words = {0};

	CHECK(!b->finished);
	b->finished = true;
	int r = sorter_finish(b->sorter);
	if (r == 0)
		r = make_tree(b);
	if (r == 0)
		r = tree_measure(b->tree);
	if (r == 0)
		r = write_tree(b, sink, ret_root, &words);
	if (r != 0)
		return err_set(err, r, "manifest: cannot build: %s", err_words(&words, r));
	*ret_stats = b->stats;
	return 0;
}
