#include <errno.h>
#include <stdalign.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/manifest.h"
#include "common/manifest/chunk.h"
#include "common/manifest/root.h"
#include "common/manifest/sorter.h"
#include "common/manifest/tree.h"

enum { CHUNK_TARGET = 4 << 20, CHUNK_TARGET_MAX = 64 << 20, ENTRY_BYTES_TYPICAL = 40, MEMORY_MIN = 1 << 20 };

struct manifest_builder {
	struct manifest_builder_config config;
	struct sorter *sorter;
	struct tree *tree;
	bool finished;
	uint64_t skipped;
	/* The second pass. */
	struct chunk_writer chunk;
	struct root_writer root;
	uint64_t cut_mask;
	struct manifest_stats stats;
	alignas(8) uint8_t held[RECORD_MAX]; /* the last of equal keys, until the next key is seen */
};

/* The greatest power of two that is not over @v (at least 1). */
static uint64_t power_below(uint64_t v)
{
	uint64_t p = 1;

	while (p * 2 <= v)
		p *= 2;
	return p;
}

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
	/* A quarter of the target is the least, the mean of the rest decides the cut. */
	b->cut_mask = power_below(b->config.chunk_bytes / 4 * 3 / ENTRY_BYTES_TYPICAL) - 1;
	chunk_writer_init(&b->chunk);
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
	(void)sorter_free(b->sorter);
	(void)tree_free(b->tree);
	chunk_writer_done(&b->chunk);
	root_writer_done(&b->root);
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

int manifest_builder_add(struct manifest_builder *b, const struct manifest_entry *e, struct err *err)
{
	CHECK(!b->finished);
	if (!is_well_formed(e))
		return err_set(err, -EINVAL, "manifest: entry of unknown type or with a malformed validator");
	if (!can_be_shown(e)) {
		b->skipped++;
		return 0;
	}
	struct manifest_entry n = normal_form(e);
	int r = sorter_add(b->sorter, &n);
	return r == 0 ? 0 : err_set(err, r, "manifest: cannot sort entries: %s", err_text(r));
}

/* ---- first pass: from the sorter into the tree ---- */

static int make_tree(struct manifest_builder *b)
{
	struct record *held = (struct record *)(void *)b->held;
	const struct record *rec;
	bool holds = false;
	int r = sorter_finish(b->sorter);

	while (r == 0 && (r = sorter_next(b->sorter, &rec)) == 1) {
		struct path_key now = record_key(rec), then = record_key(held);
		r = holds && path_key_compare(&then, &now) != 0 ? tree_add(b->tree, held) : 0;
		memcpy(held, rec, rec->bytes);
		holds = true;
	}
	if (r == 0 && holds)
		r = tree_add(b->tree, held);
	return r == 0 ? tree_finish(b->tree) : r;
}

/* ---- second pass: from the tree into chunks ---- */

static void count(struct manifest_stats *s, const struct manifest_entry *e)
{
	s->entries++;
	s->dirs += e->type == MANIFEST_DIR;
	s->symlinks += e->type == MANIFEST_SYMLINK;
	if (e->type != MANIFEST_FILE)
		return;
	s->files++;
	s->no_validator += e->validator.kind == VALIDATOR_NONE;
	if (__builtin_add_overflow(s->bytes, e->size, &s->bytes))
		s->bytes = UINT64_MAX;
	size_t bits = e->size ? 64 - (size_t)__builtin_clzll(e->size) : 0;
	s->size_histogram[MIN(bits, LENGTH(s->size_histogram) - 1)]++;
}

static int end_chunk(struct manifest_builder *b, const struct manifest_sink *sink, struct err *err)
{
	const uint8_t *bytes;
	size_t len;
	int r = chunk_writer_end(&b->chunk, &bytes, &len);
	if (r != 0)
		return r;
	struct root_chunk c = {
		.first = {b->chunk.first, b->chunk.first_len, b->chunk.first_is_dir},
		.hash = hash256_of(bytes, len),
		.entries = b->chunk.entries,
		.bytes = (uint32_t)len,
	};
	r = sink->put(sink->ctx, &c.hash, bytes, len, err);
	if (r == 0)
		r = root_writer_add(&b->root, &c);
	chunk_writer_clear(&b->chunk);
	return r;
}

/* Whether a chunk shall begin at @e. What decides is e's own name, so that a change elsewhere moves few cuts. */
static bool cut_before(const struct manifest_builder *b, const struct manifest_entry *e)
{
	static const uint8_t key[16] = "larder manifest"; /* part of the format's habit, not a secret */
	size_t bytes = chunk_writer_bytes(&b->chunk), target = b->config.chunk_bytes;

	if (b->chunk.entries == 0 || bytes < target / 4)
		return false;
	return bytes >= target * 2 || (siphash24(key, e->path, e->path_len) & b->cut_mask) == 0;
}

static int write_chunks(struct manifest_builder *b, const struct manifest_sink *sink, struct err *err)
{
	const struct record *rec;
	uint64_t descendants;
	int r;

	while ((r = tree_next(b->tree, &rec, &descendants)) == 1) {
		struct manifest_entry e;
		record_read(rec, &e);
		count(&b->stats, &e);
		r = cut_before(b, &e) ? end_chunk(b, sink, err) : 0;
		if (r == 0)
			r = chunk_writer_add(&b->chunk, &e, descendants);
		if (r != 0)
			return r;
	}
	return r == 0 ? end_chunk(b, sink, err) : r;
}

static int write_root(struct manifest_builder *b, const struct manifest_sink *sink, struct hash256 *ret,
		      struct err *err)
{
	uint8_t *bytes;
	size_t len;

	b->stats.skipped = b->config.of_part ? b->config.of_part->skipped : b->skipped + tree_lost(b->tree);
	int r = root_writer_end(&b->root, &b->stats, &bytes, &len);
	if (r != 0)
		return r;
	struct hash256 hash = hash256_of(bytes, len);
	r = sink->put(sink->ctx, &hash, bytes, len, err);
	(void)mem_free(bytes);
	if (r == 0)
		*ret = hash;
	return r;
}

int manifest_builder_finish(struct manifest_builder *b, const struct manifest_sink *sink,
			    struct hash256 *ret_root, struct manifest_stats *ret_stats, struct err *err)
{
	struct err words = {0};

	CHECK(!b->finished);
	b->finished = true;
	int r = tree_new(b->config.temp_dir_fd, b->config.dir_mtime_ns, &b->tree);
	if (r == 0)
		r = make_tree(b);
	b->sorter = sorter_free(b->sorter); /* its memory and files are not needed for the rest */
	if (r == 0)
		r = write_chunks(b, sink, &words);
	if (r == 0)
		r = write_root(b, sink, ret_root, &words);
	if (r != 0)
		return err_set(err, r, "manifest: cannot build: %s", err_words(&words, r));
	*ret_stats = b->stats;
	return 0;
}
