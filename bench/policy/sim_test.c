/* The simulator's policies on traces that can be followed by hand. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "bench/policy/sim.h"

static uint64_t hits_of(const struct sim_kind *kind, const struct trace *t, uint64_t room)
{
	struct sim_result s;
	assert_int_equal(sim_run(kind, t, room, &POLICY_DEFAULT, &s), 0);
	assert_int_equal(s.reads, t->count);
	return s.hits;
}

static void each_policy_has_the_hits_that_were_counted_by_hand(void **state)
{
	static const struct {
		const char *reads; /* a digit an object */
		uint64_t room;
		const struct sim_kind *kind;
		uint64_t hits;
	} table[] = {
		{"1213141", 2, &sim_fifo, 2},   /* 1 2 [1] 3 1 4 [1] */
		{"1213141", 2, &sim_lru, 3},    /* 1 is always the younger one */
		{"1213141", 2, &sim_belady, 3}, /* 1 stays */
		{"123123123", 2, &sim_fifo, 0}, /* a loop */
		{"123123123", 2, &sim_lru, 0},
		{"123123123", 2, &sim_belady, 4},    /* 3 passes by each time */
		{"123412341234", 3, &sim_larder, 4}, /* two stay for good: 1 and 2 in each of two rounds */
		{"111222111", 1, &sim_lru, 6},
		{"1111", 0, &sim_lru, 0}, /* no room: all pass by */
		{"1111", 0, &sim_belady, 0},
	};
	for (size_t i = 0; i < LENGTH(table); i++) {
		uint64_t numbers[32];
		struct trace t;
		size_t n = strlen(table[i].reads);
		for (size_t k = 0; k < n; k++)
			numbers[k] = (uint64_t)table[i].reads[k];
		assert_int_equal(trace_of_numbers(numbers, (uint32_t)n, &t), 0);
		uint64_t hits = hits_of(table[i].kind, &t, table[i].room);
		if (hits != table[i].hits)
			fail_msg("%s of %s in %llu: %llu hits, not %llu", table[i].kind->name, table[i].reads,
				 (unsigned long long)table[i].room, (unsigned long long)hits,
				 (unsigned long long)table[i].hits);
		trace_done(&t);
	}
}

static void none_is_better_than_belady_and_all_hit_when_all_fits(void **state)
{
	static const struct sim_kind *const kinds[] = {&sim_fifo, &sim_lru, &sim_s3fifo, &sim_larder,
						       &sim_tinylfu};
	struct trace t[3];
	assert_int_equal(trace_zipf(500, 20000, 0.9, 1, &t[0]), 0);
	assert_int_equal(trace_shuffle(500, 20, 2, &t[1]), 0);
	assert_int_equal(trace_zipf_scan(500, 20000, 0.9, 300, 3, &t[2]), 0);
	print_message("seeds 1 to 3\n");
	for (size_t i = 0; i < LENGTH(t); i++) {
		for (size_t k = 0; k < LENGTH(kinds); k++) {
			uint64_t room = 100;
			assert_true(hits_of(kinds[k], &t[i], room) <= hits_of(&sim_belady, &t[i], room));
			if (i != 1)
				continue;
			assert_int_equal(hits_of(kinds[k], &t[i], 600), t[i].count - t[i].objects);
		}
		trace_done(&t[i]);
	}
}

static void the_same_seed_makes_the_same_trace(void **state)
{
	struct trace a, b, c;
	assert_int_equal(trace_sizes(1000, 5000, 0.9, 7, &a), 0);
	assert_int_equal(trace_sizes(1000, 5000, 0.9, 7, &b), 0);
	assert_int_equal(trace_sizes(1000, 5000, 0.9, 8, &c), 0);
	assert_memory_equal(a.keys, b.keys, a.count * sizeof *a.keys);
	assert_memory_equal(a.sizes, b.sizes, a.objects * sizeof *a.sizes);
	assert_memory_not_equal(a.keys, c.keys, a.count * sizeof *a.keys);
	for (uint32_t i = 0; i < a.objects; i++)
		assert_in_range(a.sizes[i], 1, TRACE_SIZE_MAX);
	trace_done(&a);
	trace_done(&b);
	trace_done(&c);
}

static void an_epoch_reads_everything_once(void **state)
{
	struct trace t;
	uint8_t seen[64] = {0};
	assert_int_equal(trace_shuffle(64, 3, 5, &t), 0);
	for (uint32_t i = 0; i < t.count; i++)
		assert_int_equal(seen[t.keys[i]]++, i / 64);
	trace_done(&t);
	assert_int_equal(trace_shift(64, 4, 5, &t), 0);
	for (uint32_t i = 0; i < t.count; i++)
		assert_int_equal(t.keys[i] >= 32, i >= t.count / 2);
	trace_done(&t);
}

static void a_file_without_numbers_is_refused(void **state)
{
	struct trace t;
	struct err err = {0};
	assert_int_equal(trace_load("/dev/null", &t, &err), -EINVAL);
	assert_non_null(strstr(err.text, "no numbers"));
	assert_int_equal(trace_load("/nonexistent/trace", &t, &err), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_policy_has_the_hits_that_were_counted_by_hand),
		cmocka_unit_test(none_is_better_than_belady_and_all_hit_when_all_fits),
		cmocka_unit_test(the_same_seed_makes_the_same_trace),
		cmocka_unit_test(an_epoch_reads_everything_once),
		cmocka_unit_test(a_file_without_numbers_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
