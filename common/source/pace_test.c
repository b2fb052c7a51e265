#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "common/base/clock.h"
#include "common/source/pace.h"

#define MB    (UINT64_C(1) << 20)
#define LEAST (1 * MB)
#define MOST  (16 * MB)

static uint64_t bytes_of(const struct pace *p)
{
	return pace_bytes(p, LEAST, MOST);
}

/* A read of @bytes at @rate bytes a second behind a first byte after @first_ns. */
static void took(struct pace *p, int64_t now_ns, uint64_t bytes, double rate, int64_t first_ns)
{
	pace_took(p, now_ns, bytes, first_ns, first_ns + (int64_t)((double)bytes / rate * NS_PER_S));
}

static void nothing_known_is_a_middling_request(void **state)
{
	struct pace p = {0};
	assert_int_equal(bytes_of(&p), PACE_UNKNOWN_BYTES);
	assert_int_equal(pace_bytes(&p, 8 * MB, MOST), 8 * MB);
	assert_int_equal(pace_bytes(&p, LEAST, 2 * MB), 2 * MB);
}

static void a_request_is_worth_the_time_to_its_first_byte(void **state)
{
	static const struct {
		double rate;
		int64_t first_ms;
		uint64_t bytes;
	} cases[] = {
		{90e6, 20, 2 * MB},  /* an object store in the same region */
		{90e6, 100, 8 * MB}, /* across an ocean */
		{90e6, 1, 1 * MB},   /* a slow disk beside us: PACE_LEAST_NS of it are less than the least */
		{2e9, 1, 16 * MB},   /* the same machine */
		{600e6, 0, 4 * MB},  {1e6, 30, 1 * MB}, {400e6, 2000, 16 * MB},
	};
	for (size_t i = 0; i < LENGTH(cases); i++) {
		struct pace p = {0};
		took(&p, NS_PER_S, 4 * MB, cases[i].rate, cases[i].first_ms * NS_PER_MS);
		assert_int_equal(bytes_of(&p), cases[i].bytes);
	}
}

static void reads_that_shared_a_line_or_waited_do_not_bend_it(void **state)
{
	struct pace p = {0};
	took(&p, NS_PER_S, 4 * MB, 2e9, NS_PER_MS);
	for (int i = 0; i < 100; i++) {
		took(&p, NS_PER_S + i * NS_PER_MS, 16 * MB, 100e6, 300 * NS_PER_MS);
		assert_int_equal(bytes_of(&p), 16 * MB);
	}
}

static void what_is_long_ago_is_forgotten(void **state)
{
	struct pace p = {0};
	took(&p, NS_PER_S, 4 * MB, 2e9, NS_PER_MS);
	took(&p, NS_PER_S + PACE_WINDOW_NS, 4 * MB, 90e6, 20 * NS_PER_MS);
	assert_int_equal(bytes_of(&p), 16 * MB); /* still the window before */
	took(&p, NS_PER_S + 2 * PACE_WINDOW_NS, 4 * MB, 90e6, 20 * NS_PER_MS);
	assert_int_equal(bytes_of(&p), 2 * MB);
	took(&p, NS_PER_S + 9 * PACE_WINDOW_NS, 4 * MB, 90e6, 100 * NS_PER_MS);
	assert_int_equal(bytes_of(&p), 8 * MB);
}

static void small_reads_tell_the_first_byte_but_no_rate(void **state)
{
	struct pace p = {0};
	took(&p, NS_PER_S, 4096, 50e9, 20 * NS_PER_MS);
	assert_int_equal(bytes_of(&p), PACE_UNKNOWN_BYTES);
	took(&p, NS_PER_S, 4 * MB, 90e6, 50 * NS_PER_MS);
	assert_int_equal(bytes_of(&p), 1 * MB); /* 30 ms of waiting are within the read, not before it */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_known_is_a_middling_request),
		cmocka_unit_test(a_request_is_worth_the_time_to_its_first_byte),
		cmocka_unit_test(reads_that_shared_a_line_or_waited_do_not_bend_it),
		cmocka_unit_test(what_is_long_ago_is_forgotten),
		cmocka_unit_test(small_reads_tell_the_first_byte_but_no_rate),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
