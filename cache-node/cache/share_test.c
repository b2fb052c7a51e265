/* Shares and their limits, without a cache. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cache-node/cache/share.h"
#include "common/base/mem.h"
#include "common/base/rng.h"

#define MB (UINT64_C(1) << 20)
#define GB (UINT64_C(1) << 30)

static int setup(void **state)
{
	struct shares *s = mem_calloc(1, sizeof *s);
	assert_int_equal(shares_init(s, 100 * GB), 0);
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct shares *s = *state;
	shares_done(s);
	(void)mem_free(s);
	return 0;
}

static void a_name_found_on_disk_is_the_share_of_the_dataset_told_later(void **state)
{
	struct shares *s = *state;
	uint64_t name = share_name("team/images");
	uint16_t found = share_of_name(s, name);
	share_add(s, found, 5 * MB);
	assert_int_equal(share_get(s, found).dataset, CACHE_NO_DATASET);
	assert_int_equal(share_tell(s, name, 7), found);
	assert_int_equal(share_get(s, found).dataset, 7);
	assert_int_equal(share_get(s, found).used, 5 * MB);
	assert_int_not_equal(share_tell(s, share_name("team/image"), 8), found);
	assert_int_equal(share_of_name(s, 0), SHARE_NOBODYS);
}

static void a_number_is_given_again_only_when_nothing_is_held_under_it(void **state)
{
	struct shares *s = *state;
	uint16_t a = share_tell(s, 1, 1), b = share_tell(s, 2, 2);
	share_add(s, a, 1);
	assert_true(share_forget(s, a, 1));
	assert_false(share_forget(s, b, 1)); /* is another's */
	assert_true(share_forget(s, b, 2));
	assert_int_equal(share_tell(s, 3, 3), b);
	assert_int_not_equal(share_tell(s, 4, 4), a);
	share_give(s, a, 1);
	assert_int_equal(share_tell(s, 5, 5), a);
	assert_int_equal(share_get(s, a).used, 0);
}

static void a_quota_is_never_exceeded_and_eviction_runs_between_watermarks(void **state)
{
	struct shares *s = *state;
	uint16_t a = share_tell(s, 1, 1);
	share_limit(s, a, &(const struct cache_limits){.quota = 10 * GB});
	assert_true(share_fits(s, a, 10 * GB));
	assert_false(share_fits(s, a, 10 * GB + 1));
	assert_true(share_take(s, a, watermark_high(10 * GB)));
	assert_int_equal(share_over(s, a), SHARE_WITHIN);
	assert_true(share_take(s, a, 1));
	assert_int_equal(share_over(s, a), SHARE_OVER_QUOTA);
	share_give(s, a, watermark_high(10 * GB) - watermark_low(10 * GB));
	assert_int_equal(share_over(s, a), SHARE_OVER_QUOTA);
	share_give(s, a, 1);
	assert_int_equal(share_over(s, a), SHARE_WITHIN);
	assert_false(share_take(
		s, a, 2 * GB)); /* would go beyond: nothing was taken, and room is made for so much */
	assert_int_equal(share_get(s, a).used, watermark_low(10 * GB));
	assert_int_equal(share_over(s, a), SHARE_OVER_QUOTA);
	share_give(s, a, watermark_low(10 * GB) - 8 * GB);
	assert_int_equal(share_over(s, a), SHARE_WITHIN);
	assert_true(share_take(s, a, 2 * GB));
	share_give(s, a, 2 * GB);
	share_add(s, a, 20 * GB); /* found on disk */
	assert_int_equal(share_over(s, a), SHARE_OVER_QUOTA);
	share_give(s, a, 20 * GB);
}

static void a_floor_protects_to_the_byte(void **state)
{
	struct shares *s = *state;
	uint16_t a = share_tell(s, 1, 1);
	share_add(s, a, 10 * MB);
	assert_false(share_is_protected(s, a, 1));
	share_limit(s, a, &(const struct cache_limits){.floor = 8 * MB});
	assert_false(share_is_protected(s, a, 2 * MB));
	assert_true(share_is_protected(s, a, 2 * MB + 1));
	assert_true(share_forget(s, a, 1));
	assert_false(share_is_protected(s, a, 10 * MB));
}

static void who_has_its_floor_leaves_room_to_who_has_not(void **state)
{
	struct shares *s = *state;
	uint16_t a = share_tell(s, 1, 1), b = share_tell(s, 2, 2);
	assert_int_equal(share_reserve(s, a, 100 * GB), 0); /* nothing is promised */
	share_limit(s, a, &(const struct cache_limits){.floor = 8 * MB});
	assert_int_equal(share_reserve(s, a, 100 * GB), 0);
	assert_int_equal(share_reserve(s, b, 100 * GB), (100 * GB - watermark_high(100 * GB)) / 2);
	share_add(s, a, 8 * MB);
	assert_int_equal(share_reserve(s, a, 100 * GB), share_reserve(s, b, 100 * GB));
	share_group_limit(s, 3, 9 * MB, 0);
	share_limit(s, a, &(const struct cache_limits){.group = 3});
	assert_int_equal(share_reserve(s, a, 100 * GB), 0);
	assert_true(share_reserve(s, b, 100 * GB) > 0);
}

static void floors_that_do_not_fit_count_in_proportion(void **state)
{
	struct shares *s = *state;
	uint16_t a = share_tell(s, 1, 1), b = share_tell(s, 2, 2), c = share_tell(s, 3, 3);
	share_limit(s, a, &(const struct cache_limits){.floor = 60 * GB});
	share_limit(s, b, &(const struct cache_limits){.floor = 40 * GB});
	assert_int_equal(share_floor(s, a), 60 * GB);
	share_limit(s, c, &(const struct cache_limits){.floor = 100 * GB});
	assert_int_equal(share_floor(s, a), 30 * GB);
	assert_int_equal(share_floor(s, b), 20 * GB);
	assert_int_equal(share_floor(s, c), 50 * GB);
	assert_true(share_forget(s, c, 3));
	assert_int_equal(share_floor(s, b), 40 * GB);
}

static void a_group_counts_its_members_and_their_floors_once(void **state)
{
	struct shares *s = *state;
	uint16_t a = share_tell(s, 1, 1), b = share_tell(s, 2, 2);
	share_add(s, a, 3 * GB);
	share_group_limit(s, 4, 70 * GB, 80 * GB);
	share_limit(s, a, &(const struct cache_limits){.floor = 20 * GB, .group = 4});
	share_limit(s, b, &(const struct cache_limits){.floor = 30 * GB, .group = 4});
	assert_int_equal(share_floor(s, a), 20 * GB); /* 70 are promised, not 120 */
	assert_int_equal(share_group_get(s, 4).used, 3 * GB);
	assert_true(share_take(s, b, 50 * GB));
	assert_true(share_is_protected(s, b, 50 * GB)); /* by the group, which holds less than its floor */
	assert_false(share_take(s, a, 28 * GB));
	assert_true(share_take(s, a, 27 * GB));
	assert_int_equal(share_over(s, b), SHARE_OVER_GROUP);
	share_limit(s, b, &(const struct cache_limits){0});
	assert_int_equal(share_group_get(s, 4).used, 30 * GB);
	assert_int_equal(share_over(s, a), SHARE_WITHIN);
}

/* Random changes against sums made anew; the seed is printed. */
static void sums_are_right_after_any_history(void **state)
{
	enum { SHARES = 40, STEPS = 20000 };
	struct shares *s = *state;
	struct rng rng = rng_seeded(11);
	uint16_t number[SHARES];
	print_message("seed 11\n");
	for (uint32_t i = 0; i < SHARES; i++)
		number[i] = share_tell(s, i + 1, i);
	for (int step = 0; step < STEPS; step++) {
		uint16_t a = number[rng_below(&rng, SHARES)], b = number[rng_below(&rng, SHARES)];
		uint64_t bytes = rng_below(&rng, 10 * MB);
		switch (rng_below(&rng, 4)) {
		case 0:
			if (share_take(s, a, bytes))
				share_count(s, a, 1);
			break;
		case 1:
			share_give(s, a, MIN(bytes, share_get(s, a).used));
			break;
		case 2:
			share_limit(s, a,
				    &(const struct cache_limits){.quota = rng_below(&rng, 2) * 100 * MB,
								 .group = (uint16_t)rng_below(&rng, 5)});
			break;
		default:
			if (share_get(s, a).objects)
				share_move(s, a, b, MIN(bytes, share_get(s, a).used));
			break;
		}
	}
	uint64_t groups[5] = {0}, all = 0;
	for (size_t i = 0; i < SHARES; i++) {
		struct share share = share_get(s, number[i]);
		groups[share.limits.group] += share.used;
		all += share.used;
	}
	assert_true(all > 0);
	for (size_t g = 0; g < LENGTH(groups); g++)
		assert_int_equal(share_group_get(s, (uint16_t)g).used, groups[g]);
}

static void without_memory_what_cannot_be_named_is_nobodys(void **state)
{
	struct shares *s = *state;
	uint64_t name = 1;
	while (s->count < s->room)
		share_add(s, share_tell(s, name++, 1), 1);
	mem_fail_after(0, 0);
	assert_int_equal(share_tell(s, name, 1), SHARE_NOBODYS);
	mem_fail_after(-1, 0);
	assert_int_not_equal(share_tell(s, name, 1), SHARE_NOBODYS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(a_name_found_on_disk_is_the_share_of_the_dataset_told_later),
		T(a_number_is_given_again_only_when_nothing_is_held_under_it),
		T(a_quota_is_never_exceeded_and_eviction_runs_between_watermarks),
		T(a_floor_protects_to_the_byte),
		T(who_has_its_floor_leaves_room_to_who_has_not),
		T(floors_that_do_not_fit_count_in_proportion),
		T(a_group_counts_its_members_and_their_floors_once),
		T(sums_are_right_after_any_history),
		T(without_memory_what_cannot_be_named_is_nobodys),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
