/*
 * Any bytes as the one chunk of a delta over a small base, behind a root that vouches for them: every question that a reader is
 * asked ends, and what it answers lies inside the tables.
 *
 * Decoders: common/manifest/chunk_read.c common/manifest/edits.c common/manifest/reader.c
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/manifest/output.h"
#include "common/manifest/reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BLOBS = 16, BASE_CHUNK_BYTES = 64 };

struct blobs {
	struct {
		struct hash256 hash;
		uint8_t *bytes;
		size_t len;
	} list[BLOBS];
	size_t count;
};

static int put(void *ctx, const struct hash256 *hash, const void *bytes, size_t len, struct err *err)
{
	struct blobs *b = ctx;

	(void)err;
	if (b->count == BLOBS)
		return -ENOSPC;
	b->list[b->count].bytes = mem_dup(bytes, len);
	b->list[b->count].len = len;
	b->list[b->count].hash = *hash;
	return b->list[b->count++].bytes ? 0 : -ENOMEM;
}

static int map(void *ctx, const struct hash256 *hash, const uint8_t **ret, size_t *ret_len, struct err *err)
{
	const struct blobs *b = ctx;

	(void)err;
	for (size_t i = 0; i < b->count; i++)
		if (hash256_compare(&b->list[i].hash, hash) == 0) {
			*ret = b->list[i].bytes;
			*ret_len = b->list[i].len;
			return 0;
		}
	return -ENOENT;
}

static void unmap(void *ctx, const uint8_t *bytes, size_t len)
{
	(void)ctx;
	(void)bytes;
	(void)len;
}

/* A root, three folders, and files in each. */
static int write_base(struct output *o)
{
	static const char *const names[] = {"", "a", "a/1", "a/2", "b", "b/c", "b/c/1", "b/c/2", "d"};
	static const uint64_t below[] = {8, 2, 0, 0, 3, 2, 0, 0, 0};
	int r = 0;

	for (size_t i = 0; i < LENGTH(names) && r == 0; i++) {
		struct manifest_entry e = {.type = below[i] ? MANIFEST_DIR : MANIFEST_FILE,
					   .path = names[i],
					   .path_len = strlen(names[i])};
		r = output_entry(o, &e, below[i], NULL);
	}
	return r == 0 ? output_end(o, NULL) : r;
}

/* The entries of the table that the delta makes: as the last of its edits has it. */
static uint64_t entries_of(const struct chunk_view *v, uint64_t base, struct manifest_found *f,
			   struct root_chunk *c)
{
	struct manifest_cursor cursor = {0};
	struct chunk_entry x;
	uint64_t entries = base;

	for (uint32_t i = 0; chunk_next(v, &cursor, f->path, &x) == 0; i++) {
		if (x.place.kind > EDIT_REMOVE)
			abort();
		if (i == 0) {
			c->first_ordinal = x.place.ordinal;
			c->first_below = x.place.below;
		}
		if (edit_next_below(&x.place) <= base)
			entries = base - edit_next_below(&x.place) + edit_next_ordinal(&x.place);
	}
	return entries;
}

static int seen(void *ctx, const struct manifest_found *f)
{
	const struct manifest *m = ctx;

	if (f->e.ordinal >= m->stats.entries || f->e.path_len > MANIFEST_PATH_MAX)
		abort();
	return 0;
}

static int changed(void *ctx, enum manifest_change kind, const struct manifest_entry *old,
		   const struct manifest_entry *new_)
{
	(void)ctx;
	if ((kind == MANIFEST_ADDED) != !old || (kind == MANIFEST_REMOVED) != !new_)
		abort();
	return 0;
}

static void ask_children(struct manifest *m, uint64_t most, struct manifest_found *f)
{
	static const char *const names[] = {"a", "1", "c", "no", "", "a/1"};

	for (uint64_t dir = 0; dir < most; dir++)
		for (size_t i = 0; i < LENGTH(names); i++) {
			size_t len;
			if (manifest_child(m, dir, names[i], strlen(names[i]), f) == 0 &&
			    (f->e.ordinal >= m->stats.entries || !manifest_key(f, &len) ||
			     len > MANIFEST_PATH_MAX))
				abort();
		}
}

/* Without its deltas the version is its base. */
static void ask_base(struct manifest *m, const struct manifest *base)
{
	struct manifest_stats stats;
	struct hash256 root;

	manifest_root(m, &root);
	reader_only_base(m);
	manifest_stats_get(m, &stats);
	if (hash256_compare(&root, &base->root) == 0 || stats.entries != base->stats.entries ||
	    manifest_scan(m, 0, stats.entries, seen, m) != 0)
		abort();
}

static void ask(struct manifest *m, struct manifest *base, struct manifest_found *f)
{
	struct manifest_diff diff = {.change = changed};
	uint64_t most = MIN(m->stats.entries, (uint64_t)200);

	(void)!manifest_scan(m, 0, most, seen, m);
	for (uint64_t i = 0; i < most; i++) {
		if (manifest_at(m, i, f) == 0 && f->e.ordinal != i)
			abort();
		uint64_t from = i + 1;
		for (int n = 0; n < 50 && manifest_next_child(m, i, from, f) == 0 && f->e.end > from - 1; n++)
			from = f->e.end;
	}
	static const char *const names[] = {"", "a", "a/1", "a/3", "b/c/2", "d", "e", "0"};
	for (size_t i = 0; i < LENGTH(names); i++)
		if (manifest_lookup(m, names[i], strlen(names[i]), f) == 0 && strcmp(f->path, names[i]) != 0)
			abort();
	ask_children(m, most, f);
	(void)!manifest_diff_run(base, m, &diff, NULL);
	(void)!manifest_diff_run(m, base, &diff, NULL);
}

/* Opens a version of @count tables. */
static struct manifest *open_tables(struct blobs *b, const struct root_writer *tables, size_t count,
				    uint64_t entries)
{
	struct manifest_sink sink = {.put = put, .ctx = b};
	struct manifest_chunks chunks = {.map = map, .unmap = unmap, .ctx = b};
	struct manifest_stats stats = {.entries = entries, .dirs = entries};
	struct manifest *m = NULL;
	struct hash256 root;

	if (output_root(&sink, tables, count, &stats, &root, NULL) != 0 ||
	    manifest_open(&root, &chunks, &m, NULL) != 0)
		return NULL;
	return m;
}

static void run(struct blobs *b, const struct chunk_view *v, size_t size, struct output *o,
		struct manifest_found *f)
{
	struct root_writer tables[2] = {{.list = NULL}, {.delta = true}};
	struct root_chunk c = {
		.entries = v->entries, .bytes = (uint32_t)size, .hash = hash256_of(v->bytes, size)};
	char first[MANIFEST_PATH_MAX + 1];

	if (chunk_block_key(v, 0, &c.first) != 0 || c.first.len > MANIFEST_PATH_MAX)
		return;
	memcpy(first, c.first.path, c.first.len);
	c.first.path = first;
	tables[1].entries = entries_of(v, 9, f, &c);
	if (put(b, &c.hash, v->bytes, size, NULL) != 0 || root_writer_add(&tables[1], &c) != 0)
		return;
	tables[0] = o->list;
	struct manifest *base = open_tables(b, tables, 1, 9);
	struct manifest *m = open_tables(b, tables, 2, tables[1].entries);
	if (base && m) {
		ask(m, base, f);
		ask_base(m, base);
	}
	(void)manifest_free(m);
	(void)manifest_free(base);
	root_writer_done(&tables[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct blobs b = {.count = 0};
	struct manifest_sink sink = {.put = put, .ctx = &b};
	struct manifest_found *f = mem_calloc(1, sizeof *f);
	struct output o;
	struct chunk_view v;

	output_init(&o, &sink, BASE_CHUNK_BYTES, false);
	if (f && chunk_view_parse(data, size, &v) == 0 && v.delta && write_base(&o) == 0)
		run(&b, &v, size, &o, f);
	output_done(&o);
	for (size_t i = 0; i < b.count; i++)
		(void)mem_free(b.list[i].bytes);
	(void)mem_free(f);
	return 0;
}
