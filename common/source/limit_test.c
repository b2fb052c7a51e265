#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/rng.h"
#include "common/source/limit.h"

#define MS NS_PER_MS

static void a_bucket_gives_its_rate_after_a_burst(void **state)
{
	static const struct {
		int64_t now_ms;
		uint64_t units;
		int64_t at_ms;
	} rows[] = {
		/* 100 a second, 50 ms of burst: five units at once, then one each 10 ms. */
		{1000, 5, 1000}, {1000, 1, 1000},  {1000, 1, 1010}, {1000, 1, 1020},
		{1025, 1, 1030}, {1200, 10, 1200}, {1200, 1, 1250}, {5000, 1, 5000},
		{5000, 4, 5000}, {5000, 1, 5000},  {5000, 1, 5010},
	};
	struct bucket b;

	bucket_init(&b, 100, 50 * MS);
	for (size_t i = 0; i < LENGTH(rows); i++)
		assert_int_equal(bucket_take(&b, rows[i].now_ms * MS, rows[i].units), rows[i].at_ms * MS);
	bucket_init(&b, 0, 0);
	assert_int_equal(bucket_take(&b, 7, UINT64_MAX), 7);
	bucket_init(&b, UINT64_C(1) << 50, 0);
	assert_int_equal(bucket_take(&b, 7, UINT64_C(1) << 49), 7);
	assert_in_range(bucket_take(&b, 7, 1), 499 * MS, 501 * MS);
	bucket_init(&b, 1, 0);
	(void)bucket_take(&b, 0, UINT64_MAX); /* no overflow: an hour is the most */
	assert_int_equal(bucket_take(&b, 0, 1), 3600 * NS_PER_S);
}

static void a_throttle_halves_once_a_flight_and_grows_by_one_a_window(void **state)
{
	struct throttle t;

	throttle_init(&t, 16);
	assert_int_equal(throttle_window(&t), 16);
	throttle_slow(&t, 1000, 900, 0);
	assert_int_equal(throttle_window(&t), 8);
	throttle_slow(&t, 1001, 950, 0); /* was under way when the first answer came */
	assert_int_equal(throttle_window(&t), 8);
	throttle_slow(&t, 1100, 1050, 500);
	assert_int_equal(throttle_window(&t), 4);
	assert_int_equal(t.hold_ns, 1600);
	throttle_slow(&t, 1101, 1060, 10);
	assert_int_equal(t.hold_ns, 1600);
	for (int i = 0; i < 4; i++)
		throttle_good(&t);
	assert_int_equal(throttle_window(&t), 4); /* 4.9: not quite one */
	throttle_good(&t);
	assert_int_equal(throttle_window(&t), 5);
	for (int64_t at = 2000; at < 3000; at += 100)
		throttle_slow(&t, at, at - 1, 0);
	assert_int_equal(throttle_window(&t), 1);
	for (int i = 0; i < 1000; i++)
		throttle_good(&t);
	assert_int_equal(throttle_window(&t), 16);
}

static void retries_are_a_share_of_requests_plus_a_floor(void **state)
{
	struct budget b;
	int64_t now_ns = NS_PER_S;
	int taken = 0;

	budget_init(&b, 200, 10, 100);
	while (budget_take(&b, now_ns) == 0)
		taken++;
	assert_int_equal(taken, 100);
	assert_int_equal(budget_take(&b, now_ns), 100001 * 1000); /* a tenth of a second, rounded up */
	for (int i = 0; i < 10; i++)
		budget_request(&b);
	assert_int_equal(budget_take(&b, now_ns), 0);
	assert_int_equal(budget_take(&b, now_ns), 0);
	assert_true(budget_take(&b, now_ns) > 0);
	now_ns += NS_PER_S;
	for (taken = 0; budget_take(&b, now_ns) == 0; taken++)
		;
	assert_int_equal(taken, 10);
	budget_init(&b, 20, 0, 1);
	assert_int_equal(budget_take(&b, 1), 0);
	assert_int_equal(budget_take(&b, 1 << 30), INT64_MAX);
	for (int i = 0; i < 50; i++)
		budget_request(&b);
	assert_int_equal(budget_take(&b, 1), 0);
}

static void the_percentile_is_right_within_a_bucket(void **state)
{
	static const int64_t scale_us[] = {100, 3000, 250000, 9000000};

	for (size_t k = 0; k < LENGTH(scale_us); k++) {
		struct latency l = {0};
		struct rng rng = rng_seeded(k + 1);
		assert_int_equal(latency_p98(&l), INT64_MAX);
		assert_int_equal(hedge_at(&l, 5), INT64_MAX);
		/* Uniform up to 100 units: the 98th percentile is 98 units. */
		for (int i = 0; i < 20000; i++)
			latency_add(&l, (int64_t)rng_below(&rng, (uint64_t)scale_us[k] * 1000));
		int64_t p98_ns = latency_p98(&l), true_ns = scale_us[k] * 980;
		assert_in_range(p98_ns, true_ns * 9 / 10, true_ns * 13 / 10);
		assert_int_equal(hedge_at(&l, 7), 7 + MAX(p98_ns, 5 * MS));
	}
}

static void old_times_fade(void **state)
{
	struct latency l = {0};

	for (int i = 0; i < 10000; i++)
		latency_add(&l, NS_PER_S);
	for (int i = 0; i < 4000; i++)
		latency_add(&l, 10 * MS);
	assert_in_range(latency_p98(&l), 10 * MS, 13 * MS);
	latency_add(&l, INT64_MAX);
	latency_add(&l, -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bucket_gives_its_rate_after_a_burst),
		cmocka_unit_test(a_throttle_halves_once_a_flight_and_grows_by_one_a_window),
		cmocka_unit_test(retries_are_a_share_of_requests_plus_a_floor),
		cmocka_unit_test(the_percentile_is_right_within_a_bucket),
		cmocka_unit_test(old_times_fade),
	};
	return cmocka_run_group_tests_name("limit", tests, NULL, NULL);
}
