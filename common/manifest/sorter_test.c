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
#include "common/manifest/sorter.h"

enum { MEMORY = 1 << 20, NAMES_MAX = 64 };

/* A record as it was added; `number` tells equal keys apart and stands in the entry's size. */
struct added {
	char path[NAMES_MAX];
	uint16_t source;
	uint64_t number;
};

static int folder(void)
{
	int fd = open("/tmp", O_PATH | O_DIRECTORY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static int compare_added(const void *a, const void *b)
{
	const struct added *x = a, *y = b;
	int c = strcmp(x->path, y->path); /* of files without slashes the same as the tree's order */

	if (c == 0)
		c = (int)x->source - (int)y->source;
	return c != 0 ? c : x->number < y->number ? -1 : 1;
}

static struct manifest_entry entry_of(const struct added *a)
{
	return (struct manifest_entry){.type = MANIFEST_FILE,
				       .source = a->source,
				       .size = a->number,
				       .path = a->path,
				       .path_len = strlen(a->path)};
}

/* Adds all, and expects them sorted, twice. */
static void check_sorted(struct added *list, size_t count)
{
	const struct record *rec;
	struct sorter *s;
	int dir = folder();

	assert_int_equal(sorter_new(dir, MEMORY, &s), 0);
	for (size_t i = 0; i < count; i++) {
		list[i].number = i;
		struct manifest_entry e = entry_of(&list[i]);
		assert_int_equal(sorter_add(s, &e), 0);
	}
	qsort(list, count, sizeof *list, compare_added);
	assert_int_equal(sorter_finish(s), 0);
	for (int pass = 0; pass < 2; pass++) {
		for (size_t i = 0; i < count; i++) {
			assert_int_equal(sorter_next(s, &rec), 1);
			if (rec->path_len != strlen(list[i].path) ||
			    memcmp(rec->text, list[i].path, rec->path_len) != 0 ||
			    rec->source != list[i].source || rec->size != list[i].number)
				fail_msg("record %zu of %zu is %.*s, not %s", i, count, rec->path_len,
					 rec->text, list[i].path);
		}
		assert_int_equal(sorter_next(s, &rec), 0);
		sorter_rewind(s);
		if (count > 0) /* a rewind in the middle */
			assert_int_equal(sorter_next(s, &rec), 1);
		sorter_rewind(s);
	}
	sorter_free(s);
	close(dir);
}

static struct added *room_for(size_t count)
{
	struct added *list = mem_calloc(count, sizeof *list);

	assert_non_null(list);
	return list;
}

/* As 16 ranges of a listing give their pages: in turns, each in order, none over another. */
static void pages_of_ranges_are_sorted(void **state)
{
	static const size_t counts[] = {1, 100, 3000, 10000, 60000}; /* up to some 12 runs */
	struct rng rng = rng_seeded(1);

	for (size_t c = 0; c < LENGTH(counts); c++) {
		size_t count = counts[c], next[16] = {0}, n = 0, width = count / 16 + 1;
		struct added *list = room_for(count);
		while (n < count) {
			size_t range = rng_below(&rng, 16), page = 1 + rng_below(&rng, 200);
			for (; page > 0 && n < count && next[range] < width; page--, n++)
				snprintf(list[n].path, NAMES_MAX, "k-%07zu", range * width + next[range]++);
		}
		check_sorted(list, count);
		mem_free(list);
	}
}

/* Whatever the order, with many equal keys from several sources. */
static void any_order_is_sorted_and_equal_keys_keep_theirs(void **state)
{
	static const struct {
		size_t count;
		uint64_t names, sources;
	} rows[] = {{2, 1, 1},
		    {500, 50, 3},
		    {9000, 1u << 30, 1},
		    {9000, 100, 2},
		    {60000, 1u << 30, 1},
		    {60000, 3000, 4},
		    {200000, 1u << 30, 1}};
	struct rng rng = rng_seeded(2);

	for (size_t r = 0; r < LENGTH(rows); r++) {
		struct added *list = room_for(rows[r].count);
		for (size_t i = 0; i < rows[r].count; i++) {
			snprintf(list[i].path, NAMES_MAX, "%llx",
				 (unsigned long long)rng_below(&rng, rows[r].names));
			list[i].source = (uint16_t)rng_below(&rng, rows[r].sources);
		}
		check_sorted(list, rows[r].count);
		mem_free(list);
	}
}

/* Two listings of the same keys: every stretch lies over another; and one that ends with the key the next begins with. */
static void stretches_that_overlap_are_sorted(void **state)
{
	struct added *list = room_for(40000);

	for (size_t i = 0; i < 40000; i++)
		snprintf(list[i].path, NAMES_MAX, "k-%05zu", i % 20000);
	check_sorted(list, 40000);
	for (size_t i = 0; i < 4000; i++) /* the second page before the first, and both hold k-02000 */
		snprintf(list[i].path, NAMES_MAX, "k-%05zu", i < 2000 ? 2000 + i : i - 1999);
	check_sorted(list, 4000);
	mem_free(list);
}

/* More runs than are merged at once: each is merged with its neighbours first. */
static void many_runs_are_merged_in_passes(void **state)
{
	enum { COUNT = 420000 };
	struct added *list = room_for(COUNT);

	for (size_t i = 0; i < COUNT; i++) /* backwards, so that no run goes on from the one before */
		snprintf(list[i].path, NAMES_MAX, "a-name-that-makes-the-records-long-%08zu",
			 (size_t)COUNT - i);
	check_sorted(list, COUNT);
	mem_free(list);
}

static void what_the_writer_fails_with_is_told(void **state)
{
	const struct added a = {.path = "a-name"};
	struct sorter *s;
	int dir = open("/dev/null", O_RDONLY | O_CLOEXEC), r = 0; /* no folder: no spool */

	assert_int_equal(sorter_new(dir, MEMORY, &s), 0);
	struct manifest_entry e = entry_of(&a);
	for (int i = 0; i < 100000 && r == 0; i++)
		r = sorter_add(s, &e);
	assert_int_equal(r, -ENOTDIR);
	assert_int_equal(sorter_finish(s), -ENOTDIR);
	sorter_free(s);
	close(dir);
}

static void a_sorter_may_go_while_it_writes(void **state)
{
	for (int arenas = 0; arenas < 4; arenas++) {
		struct added a = {.path = "a-name"};
		struct sorter *s;
		int dir = folder();
		assert_int_equal(sorter_new(dir, MEMORY, &s), 0);
		struct manifest_entry e = entry_of(&a);
		for (int i = 0; i < arenas * 8000; i++)
			assert_int_equal(sorter_add(s, &e), 0);
		sorter_free(s);
		close(dir);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pages_of_ranges_are_sorted),
		cmocka_unit_test(any_order_is_sorted_and_equal_keys_keep_theirs),
		cmocka_unit_test(stretches_that_overlap_are_sorted),
		cmocka_unit_test(many_runs_are_merged_in_passes),
		cmocka_unit_test(what_the_writer_fails_with_is_told),
		cmocka_unit_test(a_sorter_may_go_while_it_writes),
	};
	return cmocka_run_group_tests_name("sorter", tests, NULL, NULL);
}
