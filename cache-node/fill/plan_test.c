#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "cache-node/fill/plan.h"
#include "common/base/mem.h"
#include "common/base/rng.h"

#define KB       1024ull
#define MB       (1024ull * KB)
#define BLOCK    (256 * KB)
#define SPAN     (8 * MB)
#define ROOM_ALL (1ull << 40)

static struct plan *make(uint64_t size)
{
	struct plan *p = NULL;
	assert_int_equal(plan_new(size, BLOCK, &p), 0);
	plan_span_bytes(p, SPAN);
	return p;
}

static void a_reader_that_jumps_fetches_only_its_own_blocks(void **state)
{
	static const struct {
		uint64_t offset, length, first, count;
	} cases[] = {
		{50 * MB, 4 * KB, 200, 1}, {10 * MB + 255 * KB, 2 * KB, 40, 2}, {90 * MB, 1 * MB, 360, 4}};
	struct plan *p = make(100 * MB);
	for (size_t i = 0; i < LENGTH(cases); i++) {
		struct plan_span s;
		bool more;
		plan_read(p, cases[i].offset, cases[i].length, 1);
		assert_true(plan_next_read(p, cases[i].offset, cases[i].length, ROOM_ALL, &s));
		assert_int_equal(s.first, cases[i].first);
		assert_int_equal(s.count, cases[i].count);
		assert_false(plan_next_read(p, cases[i].offset, cases[i].length, ROOM_ALL, &s));
		assert_false(plan_next(p, ROOM_ALL, &s, &more));
		plan_check(p);
	}
	plan_free(p);
}

/* Reads all of an object in order; every span arrives at once. Returns the number of spans. */
static int read_through(struct plan *p, uint64_t size, uint64_t step, uint64_t stream,
			uint64_t *longest_ahead)
{
	int spans = 0;
	uint64_t high = 0;
	for (uint64_t at = 0; at < size; at += step) {
		struct plan_span s;
		bool more;
		uint64_t len = MIN(step, size - at);
		plan_read(p, at, len, stream);
		while (plan_next_read(p, at, len, ROOM_ALL, &s) || plan_next(p, ROOM_ALL, &s, &more)) {
			spans++;
			high = MAX(high, (s.first + s.count) * BLOCK);
			plan_here(p, s.first, s.count);
			plan_ended(p, &s);
		}
		*longest_ahead = MAX(*longest_ahead, high > at ? high - at : 0);
		plan_check(p);
	}
	return spans;
}

static void a_sequential_reader_gets_a_window_that_grows_to_its_limit(void **state)
{
	uint64_t size = 1024 * MB, ahead = 0;
	struct plan *p = make(size);
	int spans = read_through(p, size, 128 * KB, 5, &ahead);
	assert_true(ahead >= 60 * MB && ahead <= 97 * MB);
	assert_in_range(spans, 128, 160);
	plan_free(p);
}

static void a_reader_without_a_stream_number_is_recognised_by_its_offsets(void **state)
{
	uint64_t ahead = 0;
	struct plan *p = make(256 * MB);
	assert_in_range(read_through(p, 256 * MB, 64 * KB, 0, &ahead), 32, 60);
	assert_true(ahead >= 32 * MB);
	plan_free(p);
}

static void two_readers_in_one_object_do_not_disturb_each_other(void **state)
{
	struct plan *p = make(512 * MB);
	struct plan_span s;
	bool more;
	int spans = 0;
	for (uint64_t at = 0; at < 200 * MB; at += MB)
		for (uint64_t k = 0; k < 2; k++) {
			uint64_t offset = at + k * 256 * MB;
			plan_read(p, offset, MB, 1 + k);
			while (plan_next_read(p, offset, MB, ROOM_ALL, &s) ||
			       plan_next(p, ROOM_ALL, &s, &more)) {
				spans++;
				plan_here(p, s.first, s.count);
				plan_ended(p, &s);
			}
		}
	assert_in_range(spans, 50, 100);
	plan_free(p);
}

static void a_block_in_flight_is_not_fetched_again_until_its_fetch_failed(void **state)
{
	struct plan *p = make(10 * MB);
	struct plan_span s, again;
	assert_true(plan_next_read(p, 5 * MB, MB, 0, &s));
	assert_false(plan_next_read(p, 5 * MB, MB, 0, &again));
	plan_here(p, s.first, 1);
	plan_ended(p, &s);
	assert_true(plan_next_read(p, 5 * MB, MB, 0, &again));
	assert_int_equal(again.first, s.first + 1);
	assert_int_equal(again.count, s.count - 1);
	plan_free(p);
}

static void a_load_takes_all_that_is_absent_with_few_fetches_at_once(void **state)
{
	uint64_t size = 100 * MB + 1;
	struct plan *p = make(size);
	struct plan_span s, flying[PLAN_LOAD_BYTES / SPAN];
	bool more;
	plan_here(p, 3, 5);
	assert_false(plan_next(p, ROOM_ALL, &s, &more));
	plan_loads(p, 1);
	for (uint64_t i = 0; i < PLAN_LOAD_BYTES / SPAN; i++)
		assert_true(plan_next(p, ROOM_ALL, &flying[i], &more));
	assert_false(plan_next(p, ROOM_ALL, &s, &more));
	assert_false(more);
	for (uint64_t i = 0; i < PLAN_LOAD_BYTES / SPAN; i++) {
		plan_here(p, flying[i].first, flying[i].count);
		plan_ended(p, &flying[i]);
	}
	while (plan_next(p, ROOM_ALL, &s, &more)) {
		plan_here(p, s.first, s.count);
		plan_ended(p, &s);
	}
	for (uint64_t b = 0; b <= 400; b++)
		assert_true(plan_is_here(p, b));
	plan_lost(p, 7, 2);
	assert_true(plan_next(p, ROOM_ALL, &s, &more));
	assert_int_equal(s.first, 7);
	assert_int_equal(s.count, 2);
	plan_free(p);
}

static void what_is_fetched_ahead_stays_within_the_room(void **state)
{
	struct plan *p = make(100 * MB);
	struct plan_span s;
	bool more;
	plan_loads(p, 1);
	assert_false(plan_next(p, 0, &s, &more));
	assert_true(more);
	assert_false(plan_next(p, SPAN - 1, &s, &more)); /* rather later than in small pieces */
	assert_true(more);
	assert_true(plan_next(p, SPAN, &s, &more));
	assert_int_equal(s.count, SPAN / BLOCK);
	plan_read(p, 50 * MB, MB, 1);
	plan_read(p, 51 * MB, MB, 1);
	assert_true(plan_next_read(p, 51 * MB, MB, 0, &s));
	assert_int_equal(s.count, 4);
	plan_free(p);
}

static void after_a_failure_nothing_is_read_ahead_until_somebody_reads(void **state)
{
	struct plan *p = make(100 * MB);
	struct plan_span s;
	bool more;
	plan_read(p, 0, MB, 1);
	plan_read(p, MB, MB, 1);
	assert_true(plan_wants(p, 8, 4));
	plan_calm(p);
	assert_false(plan_wants(p, 8, 4));
	assert_false(plan_next(p, ROOM_ALL, &s, &more));
	plan_free(p);
}

static void blocks_are_read_soon_from_just_behind_a_stream_to_the_end_of_its_window(void **state)
{
	struct plan *p = make(100 * MB);
	plan_read(p, 10 * MB, MB, 1); /* begins in the middle: not known to go on */
	assert_false(plan_reads_soon(p, 11 * 4, 4));
	plan_read(p, 11 * MB, MB, 1); /* next 12 MB, window 1 MB */
	assert_true(plan_reads_soon(p, 12 * 4, 4));
	assert_true(plan_reads_soon(p, 10 * 4 + 1, 4)); /* late requests */
	assert_false(plan_reads_soon(p, 9 * 4, 4));
	assert_false(plan_reads_soon(p, 13 * 4, 4));
	plan_calm(p);
	assert_false(plan_reads_soon(p, 12 * 4, 4));
	plan_free(p);
}

static void running_out_of_memory_is_an_error_and_leaks_nothing(void **state)
{
	for (int n = 0; n < 3; n++) {
		struct plan *p = NULL;
		mem_fail_after(n, 0);
		assert_int_equal(plan_new(MB, BLOCK, &p), -ENOMEM);
		mem_fail_after(-1, 0);
	}
}

struct history {
	struct plan *p;
	struct rng rng;
	uint64_t size, blocks;
	struct plan_span flying[64];
	unsigned count;
	uint8_t covered[4096]; /* spans in flight over each block: never more than one */
};

static void add(struct history *h, const struct plan_span *s)
{
	assert_true(h->count < LENGTH(h->flying));
	assert_true(s->count >= 1 && s->first + s->count <= h->blocks);
	assert_true(s->count * BLOCK <= SPAN);
	for (uint64_t b = s->first; b < s->first + s->count; b++) {
		assert_int_equal(h->covered[b]++, 0);
		assert_false(plan_is_here(h->p, b));
	}
	h->flying[h->count++] = *s;
}

static void end_one(struct history *h)
{
	if (!h->count)
		return;
	unsigned i = (unsigned)rng_below(&h->rng, h->count);
	struct plan_span s = h->flying[i];
	h->flying[i] = h->flying[--h->count];
	uint64_t arrived = rng_below(&h->rng, 3) ? s.count : rng_below(&h->rng, s.count + 1);
	for (uint64_t b = s.first; b < s.first + s.count; b++)
		h->covered[b]--;
	plan_here(h->p, s.first, arrived);
	plan_ended(h->p, &s);
}

static void one_event(struct history *h, uint64_t *at)
{
	struct plan_span s;
	bool more;
	switch (rng_below(&h->rng, 8)) {
	case 0:
		plan_lost(h->p, rng_below(&h->rng, h->blocks), 1);
		break;
	case 1:
		plan_loads(h->p, (uint32_t)rng_below(&h->rng, 2));
		break;
	case 2:
		*at = rng_below(&h->rng, h->size);
		break;
	case 3:
	case 4:
		end_one(h);
		break;
	default: {
		uint64_t len = 1 + rng_below(&h->rng, MB);
		len = MIN(len, h->size - *at);
		plan_read(h->p, *at, len, rng_below(&h->rng, 4));
		while (h->count < 50 && plan_next_read(h->p, *at, len, rng_below(&h->rng, 10 * MB), &s))
			add(h, &s);
		*at = (*at + len) % h->size;
	}
	}
	if (h->count < 50 && plan_next(h->p, rng_below(&h->rng, 32 * MB), &s, &more))
		add(h, &s);
	plan_check(h->p);
}

static void random_histories_keep_single_flight_and_end_complete(void **state)
{
	for (uint64_t seed = 1; seed <= 40; seed++) {
		struct history h = {.rng = rng_seeded(seed)};
		h.size = 1 + rng_below(&h.rng, 200 * MB);
		h.blocks = (h.size + BLOCK - 1) / BLOCK;
		h.p = make(h.size);
		uint64_t at = 0;
		print_message("seed %llu\n", (unsigned long long)seed);
		for (int i = 0; i < 3000; i++)
			one_event(&h, &at);
		plan_loads(h.p, 1);
		for (;;) { /* left alone, a load completes the object */
			struct plan_span s;
			bool more;
			while (h.count < 50 && plan_next(h.p, ROOM_ALL, &s, &more))
				add(&h, &s);
			if (!h.count)
				break;
			end_one(&h);
		}
		for (uint64_t b = 0; b < h.blocks; b++)
			assert_true(plan_is_here(h.p, b));
		plan_free(h.p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_reader_that_jumps_fetches_only_its_own_blocks),
		cmocka_unit_test(a_sequential_reader_gets_a_window_that_grows_to_its_limit),
		cmocka_unit_test(a_reader_without_a_stream_number_is_recognised_by_its_offsets),
		cmocka_unit_test(two_readers_in_one_object_do_not_disturb_each_other),
		cmocka_unit_test(a_block_in_flight_is_not_fetched_again_until_its_fetch_failed),
		cmocka_unit_test(a_load_takes_all_that_is_absent_with_few_fetches_at_once),
		cmocka_unit_test(what_is_fetched_ahead_stays_within_the_room),
		cmocka_unit_test(after_a_failure_nothing_is_read_ahead_until_somebody_reads),
		cmocka_unit_test(blocks_are_read_soon_from_just_behind_a_stream_to_the_end_of_its_window),
		cmocka_unit_test(running_out_of_memory_is_an_error_and_leaks_nothing),
		cmocka_unit_test(random_histories_keep_single_flight_and_end_complete),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
