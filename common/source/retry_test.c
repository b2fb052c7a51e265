#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/base/clock.h"
#include "common/source/retry.h"

static void waits_are_spread_below_a_bound_that_doubles_to_the_cap(void **state)
{
	for (uint64_t seed = 1; seed <= 200; seed++) {
		struct retry r;
		int64_t bound_ns = RETRY_BASE_NS;
		retry_init(&r, 0, INT64_MAX, seed);
		for (int i = 0; i < 40; i++) {
			int64_t at_ns = retry_failed(&r, 1000, 0);
			assert_in_range(at_ns, 1000, 1000 + bound_ns);
			bound_ns = MIN(bound_ns * 2, RETRY_CAP_NS);
		}
	}
}

static void the_mean_wait_is_half_the_bound(void **state)
{
	enum { N = 2000 };
	int64_t sum_ns = 0;

	for (uint64_t seed = 1; seed <= N; seed++) {
		struct retry r;
		retry_init(&r, 0, INT64_MAX, seed);
		sum_ns += retry_failed(&r, 0, 0);
	}
	assert_in_range(sum_ns / N, RETRY_BASE_NS * 45 / 100, RETRY_BASE_NS * 55 / 100);
}

static void retry_after_is_a_lower_bound(void **state)
{
	struct retry r;

	retry_init(&r, 0, INT64_MAX, 3);
	assert_int_equal(retry_failed(&r, 5, 20 * NS_PER_S), 20 * NS_PER_S + 5);
}

static void no_try_is_planned_at_or_after_the_deadline(void **state)
{
	for (uint64_t seed = 1; seed <= 200; seed++) {
		struct retry r;
		int64_t now_ns = 0;
		retry_init(&r, 0, NS_PER_S, seed);
		while (now_ns != RETRY_NEVER) {
			assert_in_range(now_ns, 0, NS_PER_S - 1);
			now_ns = retry_failed(&r, now_ns + 1, 0);
		}
		assert_int_equal(retry_failed(&r, NS_PER_S, 0), RETRY_NEVER);
		assert_int_equal(retry_failed(&r, 2 * NS_PER_S, 0), RETRY_NEVER);
	}
}

static void a_retry_after_beyond_the_deadline_ends_it_at_once(void **state)
{
	struct retry r;

	retry_init(&r, 0, NS_PER_S, 1);
	assert_int_equal(retry_failed(&r, 0, NS_PER_S), RETRY_NEVER);
}

static void without_a_deadline_progress_buys_time_and_small_waits(void **state)
{
	struct retry r;

	retry_init(&r, 0, 0, 1);
	assert_int_equal(retry_limit_ns(&r), RETRY_IDLE_MAX_NS);
	for (int i = 0; i < 10; i++)
		(void)retry_failed(&r, 0, 0);
	retry_progress(&r, 25 * NS_PER_S);
	assert_int_equal(retry_limit_ns(&r), 25 * NS_PER_S + RETRY_IDLE_MAX_NS);
	assert_in_range(retry_failed(&r, 25 * NS_PER_S, 0), 25 * NS_PER_S, 25 * NS_PER_S + RETRY_BASE_NS);
	retry_excuse(&r, 30 * NS_PER_S);
	assert_int_equal(r.failures, 1);
	assert_int_equal(retry_limit_ns(&r), 60 * NS_PER_S);
	assert_int_equal(retry_failed(&r, 60 * NS_PER_S, 0), RETRY_NEVER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(waits_are_spread_below_a_bound_that_doubles_to_the_cap),
		cmocka_unit_test(the_mean_wait_is_half_the_bound),
		cmocka_unit_test(retry_after_is_a_lower_bound),
		cmocka_unit_test(no_try_is_planned_at_or_after_the_deadline),
		cmocka_unit_test(a_retry_after_beyond_the_deadline_ends_it_at_once),
		cmocka_unit_test(without_a_deadline_progress_buys_time_and_small_waits),
	};
	return cmocka_run_group_tests_name("retry", tests, NULL, NULL);
}
