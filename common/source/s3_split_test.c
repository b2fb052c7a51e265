/* Ranges of a listing against simulated stores: every key once, whatever the keys, and not many more pages than needed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/mem.h"
#include "common/base/rng.h"
#include "common/source/s3_split.h"

/* ---- a store ---- */

struct store {
	char **keys; /* in the store's own order */
	size_t count, room, page;
	unsigned *given;
	bool skips_by_bytes; /* "start after" leaves out what is before by bytes, in whatever order */
	int (*order)(const void *a, const void *b);
};

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Folder by folder: '/' is before every other byte. */
static int by_folders(const void *a, const void *b)
{
	const unsigned char *x = *(unsigned char *const *)a, *y = *(unsigned char *const *)b;

	while (*x && *x == *y) {
		x++;
		y++;
	}
	int p = *x == '/' ? 1 : *x ? *x + 1 : 0, q = *y == '/' ? 1 : *y ? *y + 1 : 0;
	return p - q;
}

static void add(struct store *s, char *key)
{
	if (s->count == s->room) {
		s->room = MAX(s->room * 2, 64u);
		s->keys = mem_resize(s->keys, s->room, sizeof *s->keys);
	}
	s->keys[s->count++] = key;
}

static void settle(struct store *s)
{
	if (s->count > 0)
		qsort(s->keys, s->count, sizeof *s->keys, s->order);
	size_t n = 0;
	for (size_t i = 0; i < s->count; i++) {
		if (n > 0 && strcmp(s->keys[n - 1], s->keys[i]) == 0)
			mem_free(s->keys[i]);
		else
			s->keys[n++] = s->keys[i];
	}
	s->count = n;
	mem_free(s->given);
	s->given = mem_calloc(MAX(n, 1u), sizeof *s->given);
}

static void store_done(struct store *s)
{
	for (size_t i = 0; i < s->count; i++)
		mem_free(s->keys[i]);
	mem_free(s->keys);
	mem_free(s->given);
}

/* The first key from @from on that comes after @after. */
static size_t place_after(const struct store *s, const char *after)
{
	size_t low = 0, high = s->count;

	while (low < high) {
		size_t mid = (low + high) / 2;
		if (s->order(&s->keys[mid], &after) <= 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* ---- a listing of it ---- */

struct slot {
	bool asked;
	char after[256]; /* of the page on its way; begun by "start after" or by the store's token */
	bool by_token;
	uint64_t due;
};

struct run {
	struct store *store;
	struct s3_split *split;
	struct slot slots[S3_SPLIT_SLOTS_MAX];
	size_t slot_count, pages, clock;
	bool disorder;
	struct rng *rng;
	void (*meanwhile)(struct run *r);
};

static void ask(struct run *r, size_t slot, const char *after, size_t len, bool by_token)
{
	struct slot *s = &r->slots[slot];

	assert_false(s->asked);
	assert_true(len < sizeof s->after);
	memcpy(s->after, after, len);
	s->after[len] = 0;
	s->asked = true;
	s->by_token = by_token;
	s->due = r->clock + 100 + (r->rng ? rng_below(r->rng, 60) : 0);
	r->pages++;
}

static struct s3_key key_at(const struct store *s, size_t i)
{
	return (struct s3_key){s->keys[i], strlen(s->keys[i])};
}

/* What the keys [@from, @to) are for a range that ends with @end. */
static struct s3_seen look(const struct run *r, size_t slot, size_t from, size_t to)
{
	const struct store *s = r->store;
	struct s3_seen seen = {.ordered = true, .more = to < s->count};
	struct s3_key before = s3_split_after(r->split, slot), end = s3_split_end(r->split, slot);

	for (size_t i = from; i < to; i++) {
		struct s3_key k = key_at(s, i);
		if (i == from)
			seen.first = k;
		seen.ordered &= !before.bytes || s3_key_compare(before, k) < 0;
		if (!seen.beyond.bytes && s3_key_compare(k, end) > 0)
			seen.beyond = k;
		before = seen.last = k;
	}
	return seen;
}

static void answer(struct run *r, size_t slot)
{
	struct store *s = r->store;
	struct slot *w = &r->slots[slot];
	size_t from = *w->after ? place_after(s, w->after) : 0, stop, to;
	enum s3_split_then then;

	while (s->skips_by_bytes && !w->by_token && from < s->count && strcmp(s->keys[from], w->after) <= 0)
		from++;
	to = MIN(from + s->page, s->count);
	w->asked = false;
	struct s3_seen seen;
	for (;;) {
		seen = look(r, slot, from, to);
		then = s3_split_page(r->split, slot, &seen, &stop);
		if (then != S3_SPLIT_FURTHER)
			break;
		if (stop != SIZE_MAX)
			r->slots[stop].asked = false;
	}
	assert_int_not_equal(then, S3_SPLIT_MEMORY);
	if (then == S3_SPLIT_DISORDER) {
		r->disorder = true;
		return;
	}
	s3_split_check(r->split);
	for (size_t i = from; i < to; i++)
		if (!seen.beyond.bytes || s3_key_compare(key_at(s, i), seen.beyond) < 0)
			s->given[i]++;
	if (then == S3_SPLIT_ON)
		ask(r, slot, s->keys[to - 1], strlen(s->keys[to - 1]), true);
}

/* Lists @store with @slots; the pages it took and, in r->clock, the time. */
static void list(struct run *r, struct store *store, size_t slots, size_t base)
{
	size_t slot;
	struct s3_key after;

	r->store = store;
	r->slot_count = slots;
	assert_int_equal(s3_split_new(slots, base, &r->split), 0);
	ask(r, 0, "", 0, false);
	while (!r->disorder) {
		size_t next = SIZE_MAX;
		for (size_t i = 0; i < slots; i++)
			if (r->slots[i].asked && (next == SIZE_MAX || r->slots[i].due < r->slots[next].due))
				next = i;
		if (next == SIZE_MAX)
			break;
		r->clock = r->slots[next].due;
		answer(r, next);
		while (!r->disorder && s3_split_steal(r->split, &slot, &after)) {
			s3_split_check(r->split);
			ask(r, slot, after.bytes, after.len, false);
		}
		if (r->meanwhile)
			r->meanwhile(r);
	}
	assert_true(r->disorder || s3_split_over(r->split));
	s3_split_free(r->split);
}

static void assert_each_once(const struct store *s)
{
	for (size_t i = 0; i < s->count; i++)
		if (s->given[i] != 1)
			fail_msg("%s was given %u times", s->keys[i], s->given[i]);
}

/* ---- trees as they are ---- */

struct shape {
	const char *name;
	void (*fill)(struct store *s, struct rng *rng);
	double waste_max, rounds_max; /* times the pages that hold keys; times what 16 slots need at best */
};

static void numbers(struct store *s, struct rng *rng)
{
	for (int i = 0; i < 1000000; i++)
		add(s, mem_printf("p/train/x-%07d", i));
}

static void uuids(struct store *s, struct rng *rng)
{
	for (int i = 0; i < 300000; i++) {
		uint64_t a = rng_next(rng), b = rng_next(rng);
		add(s, mem_printf("p/%08x-%04x-4%03x-%04x-%012llx", (unsigned)(a >> 32),
				  (unsigned)(a >> 16 & 0xffff), (unsigned)(a & 0xfff), (unsigned)(b >> 48),
				  (unsigned long long)(b & 0xffffffffffffull)));
	}
}

static void base64s(struct store *s, struct rng *rng)
{
	static const char abc[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	for (int i = 0; i < 200000; i++) {
		char name[23] = "";
		for (int k = 0; k < 22; k++)
			name[k] = abc[rng_below(rng, 64)];
		add(s, mem_printf("p/%s", name));
	}
}

static void imagenet(struct store *s, struct rng *rng)
{
	for (int class = 0; class < 1000; class ++) {
		unsigned id = 1440764 + (unsigned)class * 14000 + (unsigned)rng_below(rng, 9000);
		for (unsigned i = 0; i < 300; i++)
			add(s, mem_printf("p/train/n%08u/n%08u_%llu.JPEG", id, id,
					  (unsigned long long)rng_below(rng, 20000)));
	}
}

static void dates(struct store *s, struct rng *rng)
{
	for (int day = 0; day < 365 * 3; day++)
		for (int part = 0; part < 150; part++)
			add(s,
			    mem_printf("p/logs/year=%d/month=%02d/day=%02d/part-%05d-%08llx.snappy.parquet",
				       2022 + day / 365, day % 365 / 31 + 1, day % 31 + 1, part,
				       (unsigned long long)(rng_next(rng) >> 32)));
}

static void deep(struct store *s, struct rng *rng)
{
	static const char *const words[] = {"src",  "lib",   "include", "docs", "test",
					    "data", "model", "a",       "core", "util"};
	for (int i = 0; i < 120000; i++) {
		char path[256] = "p";
		size_t depth = 2 + (size_t)rng_below(rng, 8);
		for (size_t d = 0; d < depth; d++) {
			size_t len = strlen(path);
			snprintf(path + len, sizeof path - len, "/%s",
				 words[rng_below(rng, 10) * rng_below(rng, 10) / 10]);
		}
		add(s, mem_printf("%s/file%llu.txt", path, (unsigned long long)rng_below(rng, 3000)));
	}
}

static void one_big_among_small(struct store *s, struct rng *rng)
{
	for (int i = 0; i < 300; i++)
		add(s, mem_printf("p/meta/%d.json", i));
	for (int i = 0; i < 400000; i++)
		add(s, mem_printf("p/very/long/chain/of/folders/that/leads/to/shard-%06d.tar", i));
	for (int i = 0; i < 5000; i++)
		add(s, mem_printf("p/zz/%05d", i));
}

static void han(struct store *s, struct rng *rng)
{
	for (int i = 0; i < 60000; i++) {
		uint32_t a = 0x4e00 + (uint32_t)rng_below(rng, 0x5000),
			 b = 0x4e00 + (uint32_t)rng_below(rng, 0x5000);
		add(s, mem_printf("p/%c%c%c%c%c%c.txt", 0xe0 | (int)(a >> 12), 0x80 | (int)(a >> 6 & 63),
				  0x80 | (int)(a & 63), 0xe0 | (int)(b >> 12), 0x80 | (int)(b >> 6 & 63),
				  0x80 | (int)(b & 63)));
	}
}

static const struct shape shapes[] = {
	{"numbers", numbers, 1.1, 1.3},
	{"uuids", uuids, 1.15, 1.5},
	{"base64", base64s, 1.3, 1.8},
	{"imagenet", imagenet, 1.2, 1.8},
	{"dates", dates, 1.4, 2.5},
	{"deep", deep, 1.6, 2.5},
	{"one big folder among small", one_big_among_small, 1.2, 1.5},
	{"han", han, 1.4, 2.5},
};

static void trees_are_listed_by_all_slots_with_few_empty_pages(void **state)
{
	enum { SLOTS = 16 };

	for (size_t i = 0; i < LENGTH(shapes); i++) {
		struct store s = {.page = 1000, .order = by_bytes};
		struct rng rng;
		rng = rng_seeded(i + 1);
		struct run r = {.rng = &rng};
		shapes[i].fill(&s, &rng);
		settle(&s);
		list(&r, &s, SLOTS, 2);
		assert_each_once(&s);
		size_t full = (s.count + s.page - 1) / s.page;
		double least = (double)full, best = least / SLOTS * 130;
		print_message("%-28s %4.0f pages hold it: %4zu asked for (%.2f), time %.2f of the best\n",
			      shapes[i].name, least, r.pages, (double)r.pages / least,
			      (double)r.clock / best);
		assert_true((double)r.pages <= least * shapes[i].waste_max);
		assert_true((double)r.clock <= best * shapes[i].rounds_max);
		store_done(&s);
	}
}

static void small_trees_cost_what_they_must(void **state)
{
	static const size_t counts[] = {0, 1, 999, 1000, 1001, 2000, 3500, 10000},
			    most[] = {1, 1, 1, 1, 4, 4, 8, 22};

	for (size_t i = 0; i < LENGTH(counts); i++) {
		struct store s = {.page = 1000, .order = by_bytes};
		struct run r = {0};
		for (size_t k = 0; k < counts[i]; k++)
			add(&s, mem_printf("f%05zu", k));
		settle(&s);
		list(&r, &s, 16, 0);
		assert_each_once(&s);
		print_message("%zu keys: %zu pages\n", counts[i], r.pages);
		assert_in_range(r.pages, 1, most[i]);
		store_done(&s);
	}
}

/* ---- any keys, any store ---- */

static void add_random(struct store *s, struct rng *rng)
{
	static const char *const pieces[] = {
		"a", "b", "0", "1", "9", "/", "-", ".", "~", "Z", "\xc3\xa9", "\xe6\xbc\xa2", "\xff"};
	char key[64] = "p/";
	size_t n = 1 + (size_t)rng_below(rng, 6);

	for (size_t i = 0; i < n; i++)
		(void)snprintf(key + strlen(key), sizeof key - strlen(key), "%s",
			       pieces[rng_below(rng, LENGTH(pieces))]);
	add(s, mem_strdup(key));
}

static void every_key_of_any_tree_is_given_once(void **state)
{
	for (uint64_t seed = 1; seed <= 20000; seed++) {
		struct rng rng;
		rng = rng_seeded(seed);
		struct store s = {.page = 1 + (size_t)rng_below(&rng, 5), .order = by_bytes};
		struct run r = {.rng = &rng};
		for (size_t n = (size_t)rng_below(&rng, 150); n > 0; n--)
			add_random(&s, &rng);
		settle(&s);
		list(&r, &s, 1 + (size_t)rng_below(&rng, 8), 2);
		assert_false(r.disorder);
		assert_each_once(&s);
		assert_in_range(r.pages, 1, 3 * (s.count / s.page + 1) + 40);
		store_done(&s);
	}
}

/* Each key was given, unless disorder was told. */
static void assert_none_missing(const struct store *s, const struct run *r, uint64_t seed)
{
	for (size_t i = 0; i < s->count && !r->disorder; i++)
		if (s->given[i] == 0)
			fail_msg("seed %llu: %s is missing", (unsigned long long)seed, s->keys[i]);
}

/* The walk of the store's folders is what tokens follow; "start after" goes to the key's place in it, or leaves out what is
 * before it by bytes. Whoever is not told of disorder has every key. */
static void a_store_in_another_order_loses_no_key_or_is_told_from_others(void **state)
{
	size_t told = 0, whole = 0;

	for (uint64_t seed = 1; seed <= 20000; seed++) {
		struct rng rng;
		rng = rng_seeded(seed);
		struct store s = {.page = 1 + (size_t)rng_below(&rng, 7),
				  .order = by_folders,
				  .skips_by_bytes = rng_below(&rng, 2)};
		struct run r = {.rng = &rng};
		for (size_t n = (size_t)rng_below(&rng, 100); n > 0; n--)
			add_random(&s, &rng);
		settle(&s);
		list(&r, &s, 2 + (size_t)rng_below(&rng, 7), 2);
		assert_none_missing(&s, &r, seed);
		told += r.disorder;
		whole += !r.disorder;
		store_done(&s);
	}
	print_message("%zu told, %zu whole\n", told, whole);
	assert_true(told > 1000 && whole > 1000);
}

/* A single slot believes nothing: it gives what the store gives. */
static void one_slot_needs_no_order(void **state)
{
	struct rng rng;
	rng = rng_seeded(5);
	struct store s = {.page = 3, .order = by_folders};
	struct run r = {.rng = &rng};

	for (size_t n = 500; n > 0; n--)
		add_random(&s, &rng);
	settle(&s);
	list(&r, &s, 1, 2);
	assert_false(r.disorder);
	assert_each_once(&s);
	store_done(&s);
}

static void come_and_go(struct run *r)
{
	struct store *s = r->store;

	if (rng_below(r->rng, 10) > 0 || s->count == 0)
		return;
	size_t at = (size_t)rng_below(r->rng, s->count);
	if (rng_below(r->rng, 2)) { /* a key that came later may be missed or not */
		char *key = mem_printf("%s!", s->keys[at]);
		s->keys = mem_resize(s->keys, s->count + 1, sizeof *s->keys);
		s->given = mem_resize(s->given, s->count + 1, sizeof *s->given);
		memmove(s->keys + at + 2, s->keys + at + 1, (s->count - at - 1) * sizeof *s->keys);
		memmove(s->given + at + 2, s->given + at + 1, (s->count - at - 1) * sizeof *s->given);
		s->keys[at + 1] = key;
		s->given[at + 1] = 1;
		s->room = ++s->count;
	} else {
		mem_free(s->keys[at]);
		memmove(s->keys + at, s->keys + at + 1, (s->count - at - 1) * sizeof *s->keys);
		memmove(s->given + at, s->given + at + 1, (s->count - at - 1) * sizeof *s->given);
		s->count--;
	}
}

static void keys_that_stay_are_given_whatever_comes_and_goes(void **state)
{
	size_t told = 0;

	for (uint64_t seed = 1; seed <= 5000; seed++) {
		struct rng rng;
		rng = rng_seeded(seed);
		struct store s = {.page = 1 + (size_t)rng_below(&rng, 5), .order = by_bytes};
		struct run r = {.rng = &rng, .meanwhile = come_and_go};
		for (size_t n = (size_t)rng_below(&rng, 150); n > 0; n--)
			add_random(&s, &rng);
		settle(&s);
		list(&r, &s, 2 + (size_t)rng_below(&rng, 7), 2);
		assert_none_missing(&s, &r, seed);
		told += r.disorder;
		store_done(&s);
	}
	print_message("%zu of 5000 gave up\n", told);
	assert_in_range(told, 0, 250);
}

static void running_out_of_memory_leaks_nothing(void **state)
{
	struct s3_split *s = NULL;
	int rc = -1;

	for (int n = 0; rc < 0; n++) {
		assert_true(n < 10);
		mem_fail_after(n, 0);
		rc = s3_split_new(4, 0, &s);
		mem_fail_after(-1, 0);
	}
	const struct s3_seen seen = {.ordered = true, .more = true, .first = {"a", 1}, .last = {"a9", 2}};
	size_t slot;
	struct s3_key after;
	mem_fail_after(0, 0);
	assert_int_equal(s3_split_page(s, 0, &seen, &slot), S3_SPLIT_MEMORY);
	mem_fail_after(-1, 0);
	s3_split_free(s);
	assert_int_equal(s3_split_new(4, 0, &s), 0);
	assert_int_equal(s3_split_page(s, 0, &seen, &slot), S3_SPLIT_ON);
	for (int n = 0; n < 3; n++) {
		mem_fail_after(n, 0);
		bool stolen = s3_split_steal(s, &slot, &after);
		mem_fail_after(-1, 0);
		assert_false(stolen);
		s3_split_check(s);
	}
	s3_split_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(trees_are_listed_by_all_slots_with_few_empty_pages),
		cmocka_unit_test(small_trees_cost_what_they_must),
		cmocka_unit_test(every_key_of_any_tree_is_given_once),
		cmocka_unit_test(a_store_in_another_order_loses_no_key_or_is_told_from_others),
		cmocka_unit_test(one_slot_needs_no_order),
		cmocka_unit_test(keys_that_stay_are_given_whatever_comes_and_goes),
		cmocka_unit_test(running_out_of_memory_leaks_nothing),
	};
	return cmocka_run_group_tests_name("s3_split", tests, NULL, NULL);
}
