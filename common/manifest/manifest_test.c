#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/base/rng.h"
#include "common/manifest.h"
#include "common/manifest/key.h"
#include "common/manifest/name.h"
#include "common/manifest/test_store.h"

/* ---- a naive model: an array, sorted with written-out keys ---- */

struct item {
	char *path, *key, *target;
	size_t path_len, key_len;
	enum manifest_type type;
	uint64_t size;
	int64_t mtime_ns;
	uint16_t mode, source;
	struct validator validator;
	bool dead;
};
struct model {
	struct item *items;
	size_t count, size;
};

static struct item *model_add(struct model *m, const char *path, size_t len, enum manifest_type type)
{
	if (m->count == m->size) {
		m->size = m->size * 2 + 64;
		m->items = realloc(m->items, m->size * sizeof *m->items);
	}
	struct item *it = &m->items[m->count++];
	*it = (struct item){.path_len = len, .type = type};
	it->path = malloc(len + 1);
	memcpy(it->path, path, len);
	it->path[len] = 0;
	return it;
}

static void model_done(struct model *m)
{
	for (size_t i = 0; i < m->count; i++) {
		free(m->items[i].path);
		free(m->items[i].key);
		free(m->items[i].target);
	}
	free(m->items);
	*m = (struct model){0};
}

static struct item *model_find(const struct model *m, const char *path, size_t len)
{
	for (size_t i = 0; i < m->count; i++)
		if (!m->items[i].dead && m->items[i].path_len == len &&
		    memcmp(m->items[i].path, path, len) == 0)
			return &m->items[i];
	return NULL;
}

static int item_compare(const void *a, const void *b)
{
	const struct item *x = a, *y = b;
	char p[MANIFEST_PATH_MAX + 2], q[MANIFEST_PATH_MAX + 2];
	(void)snprintf(p, sizeof p, "%s%s", x->path, x->type == MANIFEST_DIR && x->path_len ? "/" : "");
	(void)snprintf(q, sizeof q, "%s%s", y->path, y->type == MANIFEST_DIR && y->path_len ? "/" : "");
	return strcmp(p, q); /* bytes are compared unsigned; no NUL stands in a path */
}

/* The directories above the first @given items that nobody listed. */
static void model_add_parents(struct model *m, size_t given)
{
	for (size_t i = 0; i < given; i++) {
		for (size_t n = 0; n < m->items[i].path_len; n++) {
			if (n > 0 && m->items[i].path[n] != '/')
				continue;
			bool known = false;
			for (size_t j = 0; j < m->count && !known; j++)
				known = !m->items[j].dead && m->items[j].type == MANIFEST_DIR &&
					m->items[j].path_len == n &&
					memcmp(m->items[j].path, m->items[i].path, n) == 0;
			if (!known) {
				struct item *it = model_add(m, m->items[i].path, n, MANIFEST_DIR);
				it->mtime_ns = 77;
			}
		}
	}
}

static void item_set_beside(struct item *it)
{
	char path[MANIFEST_PATH_MAX + 1];
	size_t len;
	int r = name_beside_folder(it->path, it->path_len, path, &len);
	assert_int_equal(r, 0);
	if (it->key) {
		free(it->path);
	} else {
		it->key = it->path;
		it->key_len = it->path_len;
	}
	it->path = strdup(path);
	it->path_len = len;
}

/* What the builder promises, done the slow way: the higher source wins, in one source what came later, parents are made, a file
 * beside a directory has another name. */
static void model_close(struct model *m)
{
	for (size_t i = 0; i < m->count; i++)
		for (size_t j = i + 1; j < m->count; j++)
			if (m->items[i].path_len == m->items[j].path_len &&
			    memcmp(m->items[i].path, m->items[j].path, m->items[i].path_len) == 0 &&
			    (m->items[i].type == MANIFEST_DIR) == (m->items[j].type == MANIFEST_DIR))
				m->items[m->items[i].source <= m->items[j].source ? i : j].dead = true;
	model_add_parents(m, m->count);
	size_t given = m->count;
	for (size_t i = 0; i < given; i++)
		for (size_t j = 0; j < given; j++)
			if (m->items[j].type == MANIFEST_DIR && m->items[i].type != MANIFEST_DIR &&
			    m->items[i].path_len == m->items[j].path_len && !m->items[j].dead &&
			    !m->items[i].dead &&
			    memcmp(m->items[i].path, m->items[j].path, m->items[j].path_len) == 0)
				item_set_beside(&m->items[i]);
	model_add_parents(m, given);
	size_t live = 0;
	for (size_t i = 0; i < m->count; i++) {
		if (m->items[i].dead) {
			free(m->items[i].path);
			free(m->items[i].key);
			free(m->items[i].target);
		} else {
			m->items[live++] = m->items[i];
		}
	}
	m->count = live;
	qsort(m->items, m->count, sizeof *m->items, item_compare);
}

/* ---- random trees ---- */

/* Few names, so that they meet; many bytes around '/', so that order is put to the test. */
static size_t random_name(struct rng *r, char *out)
{
	static const char *const odd[] = {"a", "a-b",   "a.b",  "a!",  "a0",    "ab",
					  "b", "b\x01", "\xff", "z z", "a-b.c", "..."};
	size_t kind = rng_below(r, 4);
	if (kind < 3) {
		const char *name = odd[rng_below(r, LENGTH(odd))];
		memcpy(out, name, strlen(name));
		return strlen(name);
	}
	size_t len = rng_below(r, 40) == 0 ? MANIFEST_NAME_MAX : 1 + rng_below(r, 6);
	for (size_t i = 0; i < len; i++)
		do
			out[i] = (char)(1 + rng_below(r, 255));
		while (out[i] == '/' || out[i] == '.');
	return len;
}

static size_t random_path(struct rng *r, char *out)
{
	size_t depth = 1 + rng_below(r, 5), len = 0;
	for (size_t d = 0; d < depth; d++) {
		if (d)
			out[len++] = '/';
		len += random_name(r, out + len);
	}
	return len;
}

static struct validator random_validator(struct rng *r)
{
	static const char *const texts[] = {"\"d41d8cd98f00b204e9800998ecf8427e\"",
					    "d41d8cd98f00b204e9800998ecf8427e",
					    "\"d41d8cd98f00b204e9800998ecf8427e-12\"",
					    "\"\"",
					    "W/\"abc\"",
					    "ABCDEF",
					    "abc",
					    "\"",
					    "d41d8cd98f00b204e9800998ecf8427ed41d8cd98f00b204e9800998ecf842"};
	struct validator v = {.kind = (uint8_t)rng_below(r, 3)};
	if (v.kind == VALIDATOR_NONE)
		return v;
	const char *text = texts[rng_below(r, LENGTH(texts))];
	v.len = (uint8_t)strlen(text);
	memcpy(v.bytes, text, v.len);
	return v;
}

static void random_model(struct rng *r, struct model *m, size_t count)
{
	char path[MANIFEST_PATH_MAX + 1];
	for (size_t i = 0; i < count; i++) {
		size_t len = random_path(r, path);
		if (!manifest_path_valid(path, len))
			continue;
		struct item *it = model_add(m, path, len, (enum manifest_type)(1 + rng_below(r, 3)));
		it->mtime_ns = (int64_t)rng_next(r) >> rng_below(r, 40);
		if (rng_below(r, 2))
			it->mtime_ns = it->mtime_ns / 1000000000 * 1000000000;
		it->mode = (uint16_t)(rng_below(r, 3) ? 0 : rng_below(r, 4096));
		it->source = (uint16_t)(rng_below(r, 3) ? 0 : rng_below(r, 65536));
		if (it->type == MANIFEST_DIR)
			continue;
		it->validator = random_validator(r);
		if (it->type == MANIFEST_FILE)
			it->size = rng_next(r) >> (1 + rng_below(r, 63));
		else
			it->target = strdup("../to/somewhere");
		if (rng_below(r, 4) == 0 && len > 2) {
			it->key = rng_below(r, 2) ? strdup(it->path + 1) : strdup("other/key");
			it->key_len = strlen(it->key);
		}
	}
}

/* ---- building and checking ---- */

static struct manifest_entry entry_of(const struct item *it)
{
	return (struct manifest_entry){
		.type = it->type,
		.mode = it->mode,
		.source = it->source,
		.size = it->size,
		.mtime_ns = it->mtime_ns,
		.validator = it->validator,
		.path = it->path,
		.path_len = it->path_len,
		.key = it->key,
		.key_len = it->key_len,
		.target = it->target,
		.target_len = it->target ? strlen(it->target) : 0,
	};
}

static int build(const struct model *m, struct store *store, uint32_t chunk_bytes, bool backwards,
		 struct hash256 *ret, struct manifest_stats *ret_stats)
{
	struct err err = {0};
	int dir = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct manifest_builder_config config = {
		.temp_dir_fd = dir, .memory_max = 1 << 20, .dir_mtime_ns = 77, .chunk_bytes = chunk_bytes};
	struct manifest_sink sink = {store_put, store};
	struct manifest_builder *b = NULL;
	int r = manifest_builder_new(&config, &b);
	for (size_t i = 0; i < m->count && r == 0; i++) {
		struct manifest_entry e = entry_of(&m->items[backwards ? m->count - 1 - i : i]);
		r = manifest_builder_add(b, &e, &err);
	}
	if (r == 0)
		r = manifest_builder_finish(b, &sink, ret, ret_stats, &err);
	(void)manifest_builder_free(b);
	(void)close(dir);
	return r;
}

static struct manifest *open_in(struct store *store, const struct hash256 *root)
{
	struct manifest_chunks chunks = {store_map, store_unmap, store};
	struct manifest *m = NULL;
	struct err err = {0};
	int r = manifest_open(root, &chunks, &m, &err);
	if (r != 0)
		print_error("%s\n", err_words(&err, r));
	assert_int_equal(r, 0);
	return m;
}

static void assert_same(const struct item *it, const struct manifest_found *f)
{
	assert_int_equal(f->e.type, it->type);
	assert_int_equal(f->e.path_len, it->path_len);
	assert_memory_equal(f->e.path, it->path, it->path_len + 1);
	assert_true(f->e.size == (it->type == MANIFEST_SYMLINK ? strlen(it->target) : it->size));
	assert_true(f->e.mtime_ns == it->mtime_ns);
	assert_int_equal(f->e.mode, it->mode);
	assert_int_equal(f->e.source, it->source);
	assert_true(validator_equal(&f->e.validator, &it->validator));
	size_t key_len;
	const char *key = manifest_key(f, &key_len);
	assert_string_equal(key, it->key ? it->key : it->path);
	assert_int_equal(key_len, strlen(key));
	if (it->type == MANIFEST_SYMLINK)
		assert_string_equal(f->e.target, it->target);
	else
		assert_null(f->e.target);
}

/* The first item after the subtree of @i. */
static size_t model_end(const struct model *m, size_t i)
{
	size_t n = i + 1, len = m->items[i].path_len;
	if (m->items[i].type != MANIFEST_DIR)
		return n;
	while (n < m->count && (len == 0 || (m->items[n].path_len > len && m->items[n].path[len] == '/' &&
					     memcmp(m->items[n].path, m->items[i].path, len) == 0)))
		n++;
	return n;
}

static void assert_children(struct manifest *m, const struct model *model, size_t dir)
{
	struct manifest_found f = {0}, g;
	uint64_t from = dir + 1, end = model_end(model, dir);
	size_t skip = model->items[dir].path_len ? model->items[dir].path_len + 1 : 0;
	while (from < end) {
		assert_int_equal(manifest_next_child(m, dir, from, &f), 0);
		assert_same(&model->items[from], &f);
		memset(&g.position, 0, sizeof g.position);
		assert_int_equal(manifest_next_child(m, dir, from, &g), 0); /* with nothing remembered */
		assert_true(g.e.ordinal == f.e.ordinal);
		assert_int_equal(manifest_child(m, dir, f.path + skip, f.e.path_len - skip, &g), 0);
		assert_true(g.e.ordinal == from);
		assert_true(f.e.end == model_end(model, from));
		from = f.e.end;
	}
	assert_int_equal(manifest_next_child(m, dir, from, &f), -ENOENT);
	assert_int_equal(manifest_child(m, dir, "no such", 7, &g), -ENOENT);
	assert_int_equal(manifest_child(m, dir, "", 0, &g), -ENOENT);
	assert_int_equal(manifest_child(m, dir, "a/b", 3, &g), -ENOENT);
}

static void assert_equals_model(struct manifest *m, const struct model *model)
{
	struct manifest_found f;
	for (size_t i = 0; i < model->count; i++) {
		const struct item *it = &model->items[i];
		assert_int_equal(manifest_at(m, i, &f), 0);
		assert_same(it, &f);
		assert_true(f.e.ordinal == i);
		assert_int_equal(manifest_lookup(m, it->path, it->path_len, &f), 0);
		assert_same(it, &f);
		assert_true(f.e.ordinal == i);
		assert_true(f.e.end == model_end(model, i));
		if (it->type == MANIFEST_DIR)
			assert_children(m, model, i);
		else
			assert_int_equal(manifest_child(m, i, "a", 1, &f), -ENOTDIR);
	}
	assert_int_equal(manifest_at(m, model->count, &f), -ENOENT);
}

static void random_trees_read_back_like_a_naive_sorted_table(void **state)
{
	static const uint32_t sizes[] = {1, 200, 1000, 20000, 0};
	for (uint64_t seed = 1; seed <= 40; seed++) {
		struct rng r = rng_seeded(seed);
		struct model model = {0};
		struct store store = {0};
		struct hash256 root, again;
		struct manifest_stats stats, seen;
		random_model(&r, &model, 1 + rng_below(&r, 400));
		size_t given = model.count;
		uint32_t chunk = sizes[seed % LENGTH(sizes)];
		print_message("seed %u, %zu entries, chunks of %u bytes\n", (unsigned)seed, given, chunk);
		assert_int_equal(build(&model, &store, chunk, false, &root, &stats), 0);
		model_close(&model);
		assert_int_equal(stats.entries, model.count);
		struct manifest *m = open_in(&store, &root);
		manifest_stats_get(m, &seen);
		assert_memory_equal(&seen, &stats, sizeof seen);
		assert_equals_model(m, &model);
		(void)manifest_free(m);
		/* The closed model holds no conflicts any more, so any order of it must give the same table; only the count of
		 * skipped ones differs. */
		struct manifest_stats forth, back;
		assert_int_equal(build(&model, &store, chunk, false, &root, &forth), 0);
		assert_int_equal(build(&model, &store, chunk, true, &again, &back), 0);
		assert_int_equal(hash256_compare(&root, &again), 0);
		assert_memory_equal(&forth, &back, sizeof back);
		model_done(&model);
		store_done(&store);
	}
}

static void an_empty_builder_makes_a_root_directory(void **state)
{
	struct model none = {0};
	struct store store = {0};
	struct hash256 root;
	struct manifest_stats stats;
	struct manifest_found f = {0};
	assert_int_equal(build(&none, &store, 0, false, &root, &stats), 0);
	assert_int_equal(stats.entries, 1);
	assert_int_equal(stats.dirs, 1);
	struct manifest *m = open_in(&store, &root);
	assert_int_equal(manifest_lookup(m, "", 0, &f), 0);
	assert_int_equal(f.e.type, MANIFEST_DIR);
	assert_int_equal(f.e.mtime_ns, 77);
	assert_int_equal(manifest_lookup(m, "/", 1, &f), -ENOENT);
	assert_int_equal(manifest_lookup(m, "a", 1, &f), -ENOENT);
	assert_int_equal(manifest_next_child(m, 0, 1, &f), -ENOENT);
	(void)manifest_free(m);
	store_done(&store);
}

/* 60,000 entries in a mebibyte of memory: dozens of runs, so that runs are merged in several passes. */
static void sorting_in_little_memory_gives_the_same_table(void **state)
{
	enum { N = 60000 };
	struct rng r = rng_seeded(5);
	struct model model = {0};
	struct store store = {0};
	struct hash256 sorted, shuffled;
	struct manifest_stats stats;
	char path[512];
	char pad[201];
	memset(pad, 'p', sizeof pad - 1);
	pad[sizeof pad - 1] = 0;
	for (size_t i = 0; i < N; i++) {
		int len = snprintf(path, sizeof path, "d%02zu/%s/%08zu", i % 37, pad, i);
		struct item *it = model_add(&model, path, (size_t)len, MANIFEST_FILE);
		it->size = i;
	}
	qsort(model.items, model.count, sizeof *model.items, item_compare);
	assert_int_equal(build(&model, &store, 0, false, &sorted, &stats), 0);
	for (size_t i = N; i > 1; i--) {
		size_t j = rng_below(&r, i);
		struct item t = model.items[i - 1];
		model.items[i - 1] = model.items[j];
		model.items[j] = t;
	}
	assert_int_equal(build(&model, &store, 0, false, &shuffled, &stats), 0);
	assert_int_equal(hash256_compare(&sorted, &shuffled), 0);
	assert_int_equal(stats.files, N);
	model_done(&model);
	store_done(&store);
}

static void the_entry_added_last_wins_also_across_runs(void **state)
{
	struct model model = {0};
	struct store store = {0};
	struct hash256 root;
	struct manifest_stats stats;
	struct manifest_found f = {0};
	char path[64];
	for (size_t i = 0; i < 30000; i++) {
		int len = snprintf(path, sizeof path, "file-%03zu", i % 300);
		model_add(&model, path, (size_t)len, MANIFEST_FILE)->size = i;
	}
	assert_int_equal(build(&model, &store, 0, false, &root, &stats), 0);
	assert_int_equal(stats.files, 300);
	struct manifest *m = open_in(&store, &root);
	for (size_t i = 0; i < 300; i++) {
		int len = snprintf(path, sizeof path, "file-%03zu", i);
		assert_int_equal(manifest_lookup(m, path, (size_t)len, &f), 0);
		assert_int_equal(f.e.size, 29700 + i);
	}
	(void)manifest_free(m);
	model_done(&model);
	store_done(&store);
}

/* Sources may be listed side by side: what wins does not hang on who was faster. */
static void a_later_source_covers_an_earlier_one_in_whatever_order_they_are_listed(void **state)
{
	struct hash256 roots[2];
	for (size_t order = 0; order < 2; order++) {
		struct model model = {0};
		struct store store = {0};
		struct manifest_stats stats;
		struct manifest_found f = {0};
		for (size_t i = 0; i < 3; i++) {
			uint16_t source = (uint16_t)(order ? 2 - i : i);
			struct item *it = model_add(&model, "a/b", 3, MANIFEST_FILE);
			it->source = source;
			it->size = 100 + source;
			it = model_add(&model, "a", 1, source == 1 ? MANIFEST_DIR : MANIFEST_FILE);
			it->source = source;
			it->mode = (uint16_t)(source == 1 ? 0755 : 0);
		}
		assert_int_equal(build(&model, &store, 0, false, &roots[order], &stats), 0);
		assert_int_equal(stats.files, 2);
		struct manifest *m = open_in(&store, &roots[order]);
		assert_int_equal(manifest_lookup(m, "a/b", 3, &f), 0);
		assert_int_equal(f.e.source, 2);
		assert_int_equal(f.e.size, 102);
		assert_int_equal(manifest_lookup(m, "a", 1, &f), 0);
		assert_int_equal(f.e.type, MANIFEST_DIR); /* files of its name stand beside, of any source */
		assert_int_equal(manifest_lookup(m, "a%~f", 4, &f), 0);
		assert_int_equal(f.e.source, 2);
		(void)manifest_free(m);
		model_done(&model);
		store_done(&store);
	}
	assert_int_equal(hash256_compare(&roots[0], &roots[1]), 0);
}

/* ---- differences ---- */

struct changes {
	struct manifest *old, *new_;
	size_t added, removed, changed;
	const struct model *a, *b;
};

static int note_change(void *ctx, enum manifest_change kind, const struct manifest_entry *old,
		       const struct manifest_entry *new_)
{
	struct changes *c = ctx;
	const struct manifest_entry *e = kind == MANIFEST_REMOVED ? old : new_;
	const struct item *x = model_find(c->a, e->path, e->path_len),
			  *y = model_find(c->b, e->path, e->path_len);
	assert_true((old != NULL) == (kind != MANIFEST_ADDED) &&
		    (new_ != NULL) == (kind != MANIFEST_REMOVED));
	if (kind == MANIFEST_ADDED) {
		assert_non_null(y);
		assert_true(!x || (x->type == MANIFEST_DIR) != (y->type == MANIFEST_DIR));
	} else if (kind == MANIFEST_REMOVED) {
		assert_non_null(x);
		assert_true(!y || (x->type == MANIFEST_DIR) != (y->type == MANIFEST_DIR));
	} else {
		assert_true(x && y);
	}
	c->added += kind == MANIFEST_ADDED;
	c->removed += kind == MANIFEST_REMOVED;
	c->changed += kind == MANIFEST_CHANGED;
	return 0;
}

static bool items_differ(const struct item *x, const struct item *y)
{
	if (x->type == MANIFEST_DIR)
		return false;
	return x->type != y->type || x->size != y->size || x->mtime_ns != y->mtime_ns || x->mode != y->mode ||
	       x->source != y->source || !validator_equal(&x->validator, &y->validator) ||
	       strcmp(x->key ? x->key : x->path, y->key ? y->key : y->path) != 0;
}

static void a_diff_names_exactly_what_changed(void **state)
{
	for (uint64_t seed = 100; seed < 120; seed++) {
		struct rng r = rng_seeded(seed);
		struct model a = {0}, b = {0};
		struct store store = {0};
		struct hash256 root_a, root_b;
		struct manifest_stats stats;
		print_message("seed %u\n", (unsigned)seed);
		random_model(&r, &a, 300);
		random_model(&r, &b, rng_below(&r, 20));
		for (size_t i = 0; i < a.count; i++) {
			if (rng_below(&r, 10) == 0)
				continue;
			struct item *it = model_add(&b, a.items[i].path, a.items[i].path_len,
						    a.items[i].type),
				    from = a.items[i];
			from.path = it->path;
			from.key = from.key ? strdup(from.key) : NULL;
			from.target = from.target ? strdup(from.target) : NULL;
			*it = from;
			if (rng_below(&r, 10) == 0)
				it->mtime_ns++;
		}
		assert_int_equal(build(&a, &store, 300, false, &root_a, &stats), 0);
		assert_int_equal(build(&b, &store, 300, false, &root_b, &stats), 0);
		model_close(&a);
		model_close(&b);
		size_t added = 0, removed = 0, changed = 0;
		for (size_t i = 0; i < a.count; i++) {
			const struct item *y = model_find(&b, a.items[i].path, a.items[i].path_len);
			if (!y || (y->type == MANIFEST_DIR) != (a.items[i].type == MANIFEST_DIR))
				removed++;
			else
				changed += items_differ(&a.items[i], y);
		}
		for (size_t i = 0; i < b.count; i++) {
			const struct item *x = model_find(&a, b.items[i].path, b.items[i].path_len);
			added += !x || (x->type == MANIFEST_DIR) != (b.items[i].type == MANIFEST_DIR);
		}
		struct changes c = {
			.old = open_in(&store, &root_a), .new_ = open_in(&store, &root_b), .a = &a, .b = &b};
		struct manifest_diff diff = {note_change, &c};
		struct err err;
		assert_int_equal(manifest_diff_run(c.old, c.new_, &diff, &err), 0);
		assert_int_equal(c.added, added);
		assert_int_equal(c.removed, removed);
		assert_int_equal(c.changed, changed);
		(void)manifest_free(c.old);
		(void)manifest_free(c.new_);
		model_done(&a);
		model_done(&b);
		store_done(&store);
	}
}

static int no_change(void *ctx, enum manifest_change kind, const struct manifest_entry *old,
		     const struct manifest_entry *new_)
{
	++*(size_t *)ctx;
	return *(size_t *)ctx > 3 ? 42 : 0;
}

static void a_diff_reads_only_the_chunks_that_differ(void **state)
{
	struct model model = {0};
	struct store store = {0};
	struct hash256 a, b, c;
	struct manifest_stats stats;
	struct err err;
	size_t calls = 0;
	char path[64];
	for (size_t i = 0; i < 20000; i++) {
		int len = snprintf(path, sizeof path, "dir%02zu/%06zu", i / 1000, i);
		model_add(&model, path, (size_t)len, MANIFEST_FILE);
	}
	assert_int_equal(build(&model, &store, 4096, false, &a, &stats), 0);
	model.items[12345].size = 1;
	assert_int_equal(build(&model, &store, 4096, false, &b, &stats), 0);
	for (size_t i = 0; i < model.count; i++)
		model.items[i].size = 7;
	assert_int_equal(build(&model, &store, 4096, false, &c, &stats), 0);
	struct manifest *x = open_in(&store, &a), *y = open_in(&store, &b), *z = open_in(&store, &c);
	struct manifest_diff diff = {no_change, &calls};
	store.maps = 0;
	assert_int_equal(manifest_diff_run(x, y, &diff, &err), 0);
	assert_int_equal(calls, 1);
	assert_int_equal(store.maps, 2);
	assert_true(stats.chunks > 50);
	calls = 0;
	assert_int_equal(manifest_diff_run(x, z, &diff, &err), 42);
	(void)manifest_free(x);
	(void)manifest_free(y);
	(void)manifest_free(z);
	model_done(&model);
	store_done(&store);
}

static void a_small_change_rewrites_few_chunks(void **state)
{
	struct model model = {0};
	struct store store = {0};
	struct hash256 a, b;
	struct manifest_stats stats;
	char path[64];
	for (size_t i = 0; i < 20000; i++) {
		int len = snprintf(path, sizeof path, "d/%06zu", i * 2);
		model_add(&model, path, (size_t)len, MANIFEST_FILE);
	}
	assert_int_equal(build(&model, &store, 8192, false, &a, &stats), 0);
	size_t before = store.count, fresh = 0;
	model_add(&model, "d/020001", 8, MANIFEST_FILE);
	assert_int_equal(build(&model, &store, 8192, false, &b, &stats), 0);
	for (size_t i = before; i < store.count; i++)
		fresh += store_find(&store, &store.blobs[i].hash) == &store.blobs[i];
	assert_true(stats.chunks > 20);
	assert_in_range(fresh, 2,
			6); /* the first (its directories grew), the changed, the root; a moved cut or two */
	model_done(&model);
	store_done(&store);
}

/* ---- what cannot be trusted ---- */

/* Reads everything through a manifest that may be broken; counts entries that could be read. */
static size_t read_all(const struct hash256 *root, struct store *store)
{
	struct manifest_chunks chunks = {store_map, store_unmap, store};
	struct manifest *m;
	struct manifest_found f = {0};
	struct manifest_stats stats;
	size_t good = 0;
	if (manifest_open(root, &chunks, &m, NULL) != 0)
		return 0;
	manifest_stats_get(m, &stats);
	for (uint64_t i = 0; i < MIN(stats.entries, (uint64_t)200); i++) {
		good += manifest_at(m, i, &f) == 0;
		char path[MANIFEST_PATH_MAX + 1];
		memcpy(path, f.path, sizeof path);
		good += manifest_lookup(m, path, strlen(path), &f) == 0;
		uint64_t from = i + 1;
		for (int n = 0; n < 200 && manifest_next_child(m, i, from, &f) == 0; n++)
			from = f.e.end;
	}
	(void)manifest_free(m);
	return good;
}

static void no_broken_byte_is_believed_or_crashes_the_reader(void **state)
{
	struct rng r = rng_seeded(9);
	struct model model = {0};
	struct store store = {0};
	struct hash256 root;
	struct manifest_stats stats;
	random_model(&r, &model, 40);
	assert_int_equal(build(&model, &store, 0, false, &root, &stats), 0);
	assert_int_equal(store.count, 2);
	size_t whole = read_all(&root, &store);
	assert_int_equal(whole, 2 * stats.entries);
	for (size_t b = 0; b < store.count; b++) {
		for (size_t i = 0; i < store.blobs[b].len; i++) {
			uint8_t *p = &store.blobs[b].bytes[i], kept = *p;
			*p = (uint8_t)(kept ^ (1 + rng_below(&r, 255)));
			assert_int_equal(read_all(&root, &store), 0); /* the hash tells */
			*p = kept;
		}
	}
	/* Now somebody who can compute hashes: the root names the broken chunk, and is named itself. */
	struct blob *chunk = &store.blobs[0], *top = &store.blobs[1];
	size_t at = 0;
	while (memcmp(top->bytes + at, chunk->hash.bytes, HASH256_BYTES) != 0)
		at++;
	for (size_t i = 0; i < chunk->len + top->len; i++) {
		uint8_t *p = i < chunk->len ? &chunk->bytes[i] : &top->bytes[i - chunk->len], kept = *p;
		*p = (uint8_t)(kept ^ (1 + rng_below(&r, 255)));
		chunk->hash = hash256_of(chunk->bytes, chunk->len);
		memcpy(top->bytes + at, chunk->hash.bytes, HASH256_BYTES);
		top->hash = hash256_of(top->bytes, top->len);
		(void)read_all(&top->hash, &store);
		*p = kept;
	}
	model_done(&model);
	store_done(&store);
}

static void a_missing_chunk_is_an_error_and_not_a_missing_file(void **state)
{
	struct model model = {0};
	struct store store = {0};
	struct hash256 root, zero = {{0}};
	struct manifest_stats stats;
	struct manifest_found f = {0};
	model_add(&model, "a", 1, MANIFEST_FILE);
	assert_int_equal(build(&model, &store, 0, false, &root, &stats), 0);
	struct hash256 kept = store.blobs[0].hash;
	struct manifest *m = open_in(&store, &root);
	store.blobs[0].hash = zero;
	assert_int_equal(manifest_lookup(m, "a", 1, &f), -EIO);
	store.blobs[0].hash = kept;
	assert_int_equal(manifest_lookup(m, "a", 1, &f), 0);
	(void)manifest_free(m);
	struct manifest_chunks chunks = {store_map, store_unmap, &store};
	assert_int_equal(manifest_open(&zero, &chunks, &m, NULL), -ENOENT);
	model_done(&model);
	store_done(&store);
}

static void running_out_of_memory_anywhere_is_answered_with_enomem(void **state)
{
	struct rng r = rng_seeded(3);
	struct model model = {0};
	struct hash256 root = {{0}};
	struct manifest_stats stats;
	random_model(&r, &model, 50);
	int status = -ENOMEM;
	for (int64_t n = 0; status != 0; n++) {
		struct store store = {0};
		struct manifest *m = NULL;
		struct manifest_found f = {0};
		struct manifest_chunks chunks = {store_map, store_unmap, &store};
		mem_fail_after(n, 0);
		status = build(&model, &store, 500, false, &root, &stats);
		if (status == 0)
			status = manifest_open(&root, &chunks, &m, NULL);
		if (status == 0)
			status = manifest_lookup(m, "", 0, &f);
		mem_fail_after(-1, 0);
		assert_true(status == 0 || status == -ENOMEM);
		assert_true(n < 1000);
		(void)manifest_free(m);
		store_done(&store);
	}
	model_done(&model);
}

static void a_builder_refuses_what_only_a_bug_could_add(void **state)
{
	struct manifest_builder *b;
	struct err err;
	int dir = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct manifest_builder_config config = {.temp_dir_fd = dir, .memory_max = (1 << 20) - 1};
	assert_int_equal(manifest_builder_new(&config, &b), -EINVAL);
	config.memory_max = 1 << 20;
	config.chunk_bytes = 65 << 20;
	assert_int_equal(manifest_builder_new(&config, &b), -EINVAL);
	config.chunk_bytes = 0;
	assert_int_equal(manifest_builder_new(&config, &b), 0);
	struct manifest_entry e = {.type = MANIFEST_UNLISTED, .path = "a", .path_len = 1};
	assert_int_equal(manifest_builder_add(b, &e, &err), -EINVAL);
	e.type = MANIFEST_FILE;
	e.validator = (struct validator){.kind = VALIDATOR_NONE, .len = 1};
	assert_int_equal(manifest_builder_add(b, &e, &err), -EINVAL);
	(void)manifest_builder_free(b);
	(void)close(dir);
}

static void a_temporary_folder_that_cannot_be_written_is_an_error_with_words(void **state)
{
	struct manifest_builder *b;
	struct store store = {0};
	struct manifest_sink sink = {store_put, &store};
	struct hash256 root;
	struct manifest_stats stats;
	struct err err = {0};
	struct manifest_builder_config config = {.temp_dir_fd = -1, .memory_max = 1 << 20};
	assert_int_equal(manifest_builder_new(&config, &b), 0);
	assert_int_equal(manifest_builder_finish(b, &sink, &root, &stats, &err), -EBADF);
	assert_string_equal(err.text, "manifest: cannot build: Bad file descriptor");
	(void)manifest_builder_free(b);
	store_done(&store);
}

/* ---- threads ---- */

struct reading {
	struct manifest *m;
	uint64_t seed, entries;
	size_t failed;
};

static void *read_at_random(void *arg)
{
	struct reading *t = arg;
	struct rng r = rng_seeded(t->seed);
	struct manifest_found *f = calloc(2, sizeof *f);
	for (int i = 0; i < 500; i++) {
		t->failed += manifest_at(t->m, rng_below(&r, t->entries), &f[0]) != 0;
		t->failed += manifest_lookup(t->m, f[0].path, f[0].e.path_len, &f[1]) != 0;
		t->failed += f[0].e.ordinal != f[1].e.ordinal;
	}
	free(f);
	return NULL;
}

static void many_threads_read_one_manifest(void **state)
{
	struct rng r = rng_seeded(11);
	struct model model = {0};
	struct store store = {0};
	struct hash256 root;
	struct manifest_stats stats;
	struct reading readings[4];
	pthread_t threads[4];
	random_model(&r, &model, 1000);
	assert_int_equal(build(&model, &store, 500, false, &root, &stats), 0);
	struct manifest *m = open_in(&store, &root);
	for (size_t i = 0; i < 4; i++) {
		readings[i] = (struct reading){m, i, stats.entries, 0};
		assert_int_equal(pthread_create(&threads[i], NULL, read_at_random, &readings[i]), 0);
	}
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_int_equal(readings[i].failed, 0);
	}
	(void)manifest_free(m);
	model_done(&model);
	store_done(&store);
}

/* ---- sizes; and, on request (MANIFEST_BENCH=entries), speed ---- */

static void measure(size_t count, bool shout, double *ret_bytes_per_file)
{
	struct store store = {0};
	struct manifest_sink sink = {store_put, &store};
	struct manifest_builder *b;
	struct hash256 root;
	struct manifest_stats stats;
	struct err err;
	struct rng r = rng_seeded(1);
	char path[128];
	int dir = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct manifest_builder_config config = {.temp_dir_fd = dir, .memory_max = 64 << 20};
	assert_int_equal(manifest_builder_new(&config, &b), 0);
	int64_t t0 = clock_mono_ns();
	for (size_t i = 0; i < count; i++) {
		struct manifest_entry e = {
			.type = MANIFEST_FILE, .path = path, .size = 50000 + rng_below(&r, 200000)};
		e.path_len = (size_t)snprintf(path, sizeof path, "train/n%08zu/n%08zu_%06zu.JPEG", i / 1300,
					      i / 1300, i % 1300 * 7);
		e.mtime_ns = (1700000000 + (int64_t)rng_below(&r, 100000)) * NS_PER_S;
		e.validator.kind = VALIDATOR_STRONG;
		e.validator.len = 34;
		(void)snprintf((char *)e.validator.bytes, 36, "\"%016lx%016lx\"", (unsigned long)rng_next(&r),
			       (unsigned long)rng_next(&r));
		assert_int_equal(manifest_builder_add(b, &e, &err), 0);
	}
	assert_int_equal(manifest_builder_finish(b, &sink, &root, &stats, &err), 0);
	(void)manifest_builder_free(b);
	int64_t t1 = clock_mono_ns();
	struct manifest *m = open_in(&store, &root);
	struct manifest_found f = {0}, g = {0};
	for (uint64_t i = 0; i < stats.entries; i += 1000)
		assert_int_equal(manifest_at(m, i, &f), 0); /* maps all */
	int64_t t2 = clock_mono_ns();
	for (int i = 0; i < 100000; i++) {
		assert_int_equal(manifest_at(m, rng_below(&r, stats.entries), &f), 0);
		assert_int_equal(manifest_lookup(m, f.path, f.e.path_len, &g), 0);
	}
	int64_t t3 = clock_mono_ns();
	uint64_t listed = 0;
	for (uint64_t d = 0; d < stats.entries; d++) {
		assert_int_equal(manifest_at(m, d, &g), 0);
		if (g.e.type != MANIFEST_DIR)
			break;
		for (uint64_t from = d + 1; manifest_next_child(m, d, from, &f) == 0; from = f.e.end)
			listed++;
	}
	int64_t t4 = clock_mono_ns();
	*ret_bytes_per_file = (double)stats.encoded_bytes / (double)count;
	if (shout)
		print_message(
			"%zu files: %.1f bytes/file, build %.2f M/s, verify+map %.1f ms, at+lookup %.2f us, list %.1f M/s\n",
			count, *ret_bytes_per_file, (double)count * 1e3 / (double)(t1 - t0),
			(double)(t2 - t1) / 1e6, (double)(t3 - t2) / 1e5 / 1e3,
			(double)listed * 1e3 / (double)(t4 - t3));
	(void)manifest_free(m);
	(void)close(dir);
	store_done(&store);
}

static void regular_names_with_etags_take_at_most_44_bytes_a_file(void **state)
{
	const char *count = getenv("MANIFEST_BENCH");
	double bytes;
	measure(count ? strtoul(count, NULL, 10) : 20000, count != NULL, &bytes);
	assert_true(bytes <= 44);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_trees_read_back_like_a_naive_sorted_table),
		cmocka_unit_test(an_empty_builder_makes_a_root_directory),
		cmocka_unit_test(sorting_in_little_memory_gives_the_same_table),
		cmocka_unit_test(the_entry_added_last_wins_also_across_runs),
		cmocka_unit_test(a_later_source_covers_an_earlier_one_in_whatever_order_they_are_listed),
		cmocka_unit_test(a_diff_names_exactly_what_changed),
		cmocka_unit_test(a_diff_reads_only_the_chunks_that_differ),
		cmocka_unit_test(a_small_change_rewrites_few_chunks),
		cmocka_unit_test(no_broken_byte_is_believed_or_crashes_the_reader),
		cmocka_unit_test(a_missing_chunk_is_an_error_and_not_a_missing_file),
		cmocka_unit_test(running_out_of_memory_anywhere_is_answered_with_enomem),
		cmocka_unit_test(a_builder_refuses_what_only_a_bug_could_add),
		cmocka_unit_test(a_temporary_folder_that_cannot_be_written_is_an_error_with_words),
		cmocka_unit_test(many_threads_read_one_manifest),
		cmocka_unit_test(regular_names_with_etags_take_at_most_44_bytes_a_file),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
