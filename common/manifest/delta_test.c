/*
 * Versions written as deltas: whatever a reader is asked, it answers as from a table of its own. Random trees change at random;
 * each version is built twice, over the one before and alone, and the two are compared call by call.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/base/mem.h"
#include "common/base/rng.h"
#include "common/manifest.h"
#include "common/manifest/key.h"
#include "common/manifest/reader.h"
#include "common/manifest/test_store.h"

struct item {
	char path[120], target[16];
	enum manifest_type type;
	uint64_t size;
	int64_t mtime_ns;
	uint16_t mode, source;
	uint8_t validator;
	bool own_key;
};
struct model {
	struct item *items;
	size_t count, size;
};

static struct item *add_item(struct model *m)
{
	if (m->count == m->size) {
		m->size = 2 * m->size + 64;
		m->items = realloc(m->items, m->size * sizeof *m->items);
	}
	memset(&m->items[m->count], 0, sizeof *m->items);
	return &m->items[m->count++];
}

/* Few names, with bytes around '/', so that files and folders meet and order is put to the test. */
static void random_path(struct rng *r, char *out, size_t size)
{
	static const char *const names[] = {"a", "a-b", "a.b", "a!", "a0", "ab", "b", "\xff", "z z", "..."};
	size_t depth = 1 + rng_below(r, 4), len = 0;

	out[0] = 0;
	for (size_t i = 0; i < depth && len + 20 < size; i++)
		len += (size_t)snprintf(out + len, size - len, "%s%s%d", i ? "/" : "",
					names[rng_below(r, LENGTH(names))],
					i + 1 == depth ? (int)rng_below(r, 60) : (int)rng_below(r, 3));
}

static void random_fields(struct rng *r, struct item *it)
{
	it->size = rng_below(r, 1 << 20);
	it->mtime_ns = (int64_t)rng_below(r, 1000) * 1000000007;
	it->mode = rng_below(r, 8) ? 0 : 0640;
	it->source = (uint16_t)rng_below(r, 2);
	it->validator = (uint8_t)rng_below(r, 250);
	it->own_key = rng_below(r, 8) == 0;
	snprintf(it->target, sizeof it->target, "t%d", (int)rng_below(r, 100));
}

static void random_item(struct rng *r, struct model *m)
{
	struct item *it = add_item(m);

	random_path(r, it->path, sizeof it->path);
	it->type = rng_below(r, 12) == 0   ? MANIFEST_DIR
		   : rng_below(r, 12) == 0 ? MANIFEST_SYMLINK
					   : MANIFEST_FILE;
	random_fields(r, it);
}

static void change(struct rng *r, struct model *m, size_t changes)
{
	for (size_t i = 0; i < changes && m->count; i++) {
		size_t at = rng_below(r, m->count);
		switch (rng_below(r, 3)) {
		case 0:
			random_item(r, m);
			break;
		case 1:
			m->items[at] = m->items[--m->count];
			break;
		default:
			random_fields(r, &m->items[at]);
		}
	}
}

static struct hash256 build(const struct model *m, struct store *s, struct manifest *before,
			    uint32_t chunk_bytes, struct manifest_stats *ret_stats)
{
	CLEANUP(manifest_builder_free) struct manifest_builder *b = NULL;
	struct manifest_builder_config c = {
		.temp_dir_fd = AT_FDCWD, .memory_max = 1 << 20, .chunk_bytes = chunk_bytes, .before = before};
	struct manifest_sink sink = {.put = store_put, .ctx = s};
	struct hash256 root;

	assert_int_equal(manifest_builder_new(&c, &b), 0);
	for (size_t i = 0; i < m->count; i++) {
		const struct item *it = &m->items[i];
		struct manifest_entry e = {.type = it->type,
					   .mode = it->mode,
					   .source = it->source,
					   .size = it->size,
					   .mtime_ns = it->mtime_ns,
					   .path = it->path,
					   .path_len = strlen(it->path),
					   .key = it->own_key ? "own key" : NULL,
					   .key_len = it->own_key ? 7 : 0,
					   .target = it->target,
					   .target_len = strlen(it->target)};
		if (it->validator && it->type == MANIFEST_FILE) {
			e.validator.kind = VALIDATOR_STRONG;
			e.validator.len = 16;
			memset(e.validator.bytes, 'a' + it->validator % 26, 16);
			e.validator.bytes[15] = it->validator;
		}
		assert_int_equal(manifest_builder_add(b, &e, NULL), 0);
	}
	assert_int_equal(manifest_builder_finish(b, &sink, &root, ret_stats, NULL), 0);
	return root;
}

static struct manifest *open_root(struct store *s, const struct hash256 *root)
{
	struct manifest_chunks chunks = {.map = store_map, .unmap = store_unmap, .ctx = s};
	struct manifest *m;

	assert_int_equal(manifest_open(root, &chunks, &m, NULL), 0);
	return m;
}

/* ---- the same answers ---- */

static void assert_same(const struct manifest_found *a, const struct manifest_found *b)
{
	size_t a_len, b_len;
	const char *a_key = manifest_key(a, &a_len), *b_key = manifest_key(b, &b_len);

	assert_string_equal(a->e.path, b->e.path);
	assert_int_equal(a->e.type, b->e.type);
	assert_int_equal(a->e.ordinal, b->e.ordinal);
	assert_int_equal(a->e.end, b->e.end);
	assert_int_equal(a->e.size, b->e.size);
	assert_int_equal(a->e.mtime_ns, b->e.mtime_ns);
	assert_int_equal(a->e.mode, b->e.mode);
	assert_int_equal(a->e.source, b->e.source);
	assert_memory_equal(&a->e.validator, &b->e.validator, sizeof a->e.validator);
	assert_int_equal(a_len, b_len);
	assert_memory_equal(a_key, b_key, a_len);
	assert_int_equal(a->e.target_len, b->e.target_len);
	if (a->e.target_len)
		assert_string_equal(a->e.target, b->e.target);
}

struct pair {
	struct manifest *a, *b; /* written alone, and over another */
	struct manifest_found x, y;
};

static int scanned(void *ctx, const struct manifest_found *f)
{
	struct pair *p = ctx;

	assert_int_equal(manifest_at(p->a, f->e.ordinal, &p->x), 0);
	assert_same(&p->x, f);
	return 0;
}

static void compare_children(struct pair *p, uint64_t dir)
{
	uint64_t from = dir + 1;

	p->x.position = p->y.position = (struct manifest_position){0};
	for (int r = 0; r == 0;) {
		r = manifest_next_child(p->a, dir, from, &p->x);
		assert_int_equal(manifest_next_child(p->b, dir, from, &p->y), r);
		if (r == 0) {
			assert_same(&p->x, &p->y);
			from = p->x.e.end;
		} else {
			assert_int_equal(r, -ENOENT);
		}
	}
}

static void compare_stats(const struct pair *p)
{
	struct manifest_stats a, b;

	manifest_stats_get(p->a, &a);
	manifest_stats_get(p->b, &b);
	a.chunks = b.chunks = a.encoded_bytes = b.encoded_bytes = 0;
	assert_memory_equal(&a, &b, sizeof a);
}

static void compare_all(struct pair *p, struct rng *r)
{
	char path[120];
	uint64_t entries = p->a->stats.entries;

	compare_stats(p);
	assert_int_equal(manifest_scan(p->b, 0, UINT64_MAX, scanned, p), 0);
	for (uint64_t i = 0; i < entries; i++) {
		assert_int_equal(manifest_at(p->a, i, &p->x), 0);
		assert_int_equal(manifest_at(p->b, i, &p->y), 0);
		assert_same(&p->x, &p->y);
		assert_int_equal(manifest_lookup(p->b, p->x.e.path, p->x.e.path_len, &p->y), 0);
		assert_same(&p->x, &p->y);
		if (p->x.e.type == MANIFEST_DIR)
			compare_children(p, i);
	}
	assert_int_equal(manifest_at(p->b, entries, &p->y), -ENOENT);
	for (int i = 0; i < 200; i++) {
		random_path(r, path, sizeof path);
		int found = manifest_lookup(p->a, path, strlen(path), &p->x);
		assert_int_equal(manifest_lookup(p->b, path, strlen(path), &p->y), found);
		if (found == 0)
			assert_same(&p->x, &p->y);
	}
	for (int i = 0; i < 50; i++) { /* ranges begin anywhere */
		uint64_t from = rng_below(r, entries);
		assert_int_equal(manifest_scan(p->b, from, from + 20, scanned, p), 0);
	}
}

/* Changes as text, to be compared. */
struct changes {
	char *text;
	size_t len;
};

static int note_change(void *ctx, enum manifest_change kind, const struct manifest_entry *old,
		       const struct manifest_entry *new_)
{
	struct changes *c = ctx;
	char line[400];

	int n = snprintf(
		line, sizeof line, "%d %s %llu %llu %llu %llu\n", (int)kind, (new_ ? new_ : old)->path,
		old ? (unsigned long long)old->ordinal : 0, old ? (unsigned long long)old->size : 0,
		new_ ? (unsigned long long)new_->ordinal : 0, new_ ? (unsigned long long)new_->size : 0);
	c->text = realloc(c->text, c->len + (size_t)n + 1);
	memcpy(c->text + c->len, line, (size_t)n + 1);
	c->len += (size_t)n;
	return 0;
}

static void compare_diffs(const struct pair *old, const struct pair *now)
{
	struct changes alone = {0}, deltas = {0}, mixed = {0};
	struct manifest_diff a = {.change = note_change, .ctx = &alone},
			     b = {.change = note_change, .ctx = &deltas},
			     c = {.change = note_change, .ctx = &mixed};

	assert_int_equal(manifest_diff_run(old->a, now->a, &a, NULL), 0);
	assert_int_equal(manifest_diff_run(old->b, now->b, &b, NULL), 0);
	assert_int_equal(manifest_diff_run(old->a, now->b, &c, NULL), 0);
	assert_string_equal(alone.text ? alone.text : "", deltas.text ? deltas.text : "");
	assert_string_equal(alone.text ? alone.text : "", mixed.text ? mixed.text : "");
	free(alone.text);
	free(deltas.text);
	free(mixed.text);
}

static void close_pair(struct pair *p)
{
	if (!p)
		return;
	manifest_free(p->a);
	manifest_free(p->b);
	free(p);
}

/* One life of a dataset; returns the most deltas that a version had. */
static size_t live(uint64_t seed, size_t files, size_t versions, size_t changes)
{
	struct rng r = rng_seeded(seed);
	struct model m = {0};
	struct store s = {0};
	struct manifest_stats stats;
	struct pair *before = NULL;
	size_t most = 0;

	print_message("seed %llu\n", (unsigned long long)seed);
	for (size_t i = 0; i < files; i++)
		random_item(&r, &m);
	for (size_t i = 0; i < versions; i++) {
		struct pair *now = calloc(1, sizeof *now);
		struct hash256 a = build(&m, &s, NULL, 1024, &stats);
		struct hash256 b = build(&m, &s, before ? before->b : NULL, 1024, &stats);
		now->a = open_root(&s, &a);
		now->b = open_root(&s, &b);
		assert_true(now->b->t.count <= 1 + MANIFEST_DELTAS_MAX);
		most = MAX(most, now->b->t.count - 1);
		compare_all(now, &r);
		if (before) {
			compare_diffs(before, now);
			compare_diffs(now, before);
			close_pair(before);
		}
		before = now;
		change(&r, &m, rng_below(&r, changes));
	}
	close_pair(before);
	free(m.items);
	store_done(&s);
	return most;
}

static void versions_over_others_read_as_if_written_alone(void **state)
{
	size_t most = 0;

	for (uint64_t seed = 1; seed <= 6; seed++)
		most = MAX(most, live(seed, 2500, 14, 40));
	assert_int_equal(most, MANIFEST_DELTAS_MAX);
}

static void small_and_much_changed_trees_are_written_anew(void **state)
{
	for (uint64_t seed = 100; seed < 130; seed++)
		(void)live(seed, 20 + seed % 7, 5, 30);
}

static void the_same_tree_is_the_same_version(void **state)
{
	struct rng r = rng_seeded(7);
	struct model m = {0};
	struct store s = {0};
	struct manifest_stats stats;

	for (size_t i = 0; i < 3000; i++)
		random_item(&r, &m);
	struct hash256 root = build(&m, &s, NULL, 1024, &stats), then;
	for (int i = 0; i < 12; i++) {
		struct manifest *before = open_root(&s, &root);
		then = build(&m, &s, before, 1024, &stats);
		assert_int_equal(hash256_compare(&then, &root), 0);
		change(&r, &m, 10);
		then = build(&m, &s, before, 1024, &stats);
		root = build(&m, &s, before, 1024, &stats);
		assert_int_equal(hash256_compare(&then, &root),
				 0); /* over the same version, the same bytes */
		manifest_free(before);
	}
	free(m.items);
	store_done(&s);
}

static void a_few_changes_add_few_bytes(void **state)
{
	struct rng r = rng_seeded(8);
	struct model m = {0};
	struct store s = {0};
	struct manifest_stats stats;
	char name[64];

	for (int i = 0; i < 100000; i++) {
		struct item *it = add_item(&m);
		snprintf(it->path, sizeof it->path, "dir%03d/file%06d", i / 100, i);
		it->type = MANIFEST_FILE;
		it->validator = (uint8_t)(1 + i % 200);
	}
	struct hash256 root = build(&m, &s, NULL, 0, &stats);
	struct manifest *before = open_root(&s, &root);
	size_t blobs = s.count, bytes = 0;
	for (int i = 0; i < 100; i++) {
		m.items[rng_below(&r, m.count)].size++;
		snprintf(name, sizeof name, "dir%03d/new%d", (int)rng_below(&r, 1000), i);
		snprintf(add_item(&m)->path, sizeof name, "%s", name);
		m.items[m.count - 1].type = MANIFEST_FILE;
	}
	root = build(&m, &s, before, 0, &stats);
	for (size_t i = blobs; i < s.count; i++)
		bytes += s.blobs[i].len;
	assert_true(bytes < 40000);
	assert_int_equal(stats.files, m.count);
	manifest_free(before);
	free(m.items);
	store_done(&s);
}

/* The reader verifies each chunk against its hash, so here what it trusts is changed: the bytes, and the root with them. */
static void a_broken_delta_is_corrupt_never_a_wrong_entry(void **state)
{
	struct rng r = rng_seeded(9);
	struct model m = {0};
	struct store s = {0};
	struct manifest_stats stats;
	struct manifest_found f;

	for (size_t i = 0; i < 2000; i++)
		random_item(&r, &m);
	struct hash256 root = build(&m, &s, NULL, 0, &stats);
	struct manifest *before = open_root(&s, &root);
	change(&r, &m, 20);
	root = build(&m, &s, before, 0, &stats);
	manifest_free(before);
	struct manifest *d = open_root(&s, &root);
	assert_int_equal(d->t.count, 2);
	struct blob *blob = store_find(&s, &d->t.tables[1].chunks[0].hash);
	manifest_free(d);
	for (size_t i = 0; i < blob->len; i += 1 + rng_below(&r, 7)) {
		blob->bytes[i] ^= 1;
		d = open_root(&s, &root);
		assert_int_equal(manifest_at(d, 0, &f), -ERR_CORRUPT);
		assert_int_equal(manifest_lookup(d, "a", 1, &f), -ERR_CORRUPT);
		manifest_free(d);
		blob->bytes[i] ^= 1;
	}
	free(m.items);
	store_done(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(versions_over_others_read_as_if_written_alone),
		cmocka_unit_test(small_and_much_changed_trees_are_written_anew),
		cmocka_unit_test(the_same_tree_is_the_same_version),
		cmocka_unit_test(a_few_changes_add_few_bytes),
		cmocka_unit_test(a_broken_delta_is_corrupt_never_a_wrong_entry),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
