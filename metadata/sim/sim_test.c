/* The judge of histories against trying all orders; and a short storm of each kind, so that every build runs some. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>

#include "metadata/sim/sim.h"

#define OPS 7

/* Whether the operations not in @done can follow, the register holding @value: all orders are tried. */
static bool try_orders(const struct operation *ops, uint32_t count, uint32_t done, uint64_t value)
{
	int64_t first_end = INT64_MAX;
	bool all = true;
	for (uint32_t i = 0; i < count; i++)
		if (!(done >> i & 1)) {
			first_end = MIN(first_end, ops[i].end);
			all = all && ops[i].end == HISTORY_PENDING; /* these need never happen */
		}
	if (all)
		return true;
	for (uint32_t i = 0; i < count; i++) {
		if (done >> i & 1 || ops[i].begin > first_end)
			continue;
		if (!ops[i].is_write && ops[i].value != value)
			continue;
		if (try_orders(ops, count, done | 1u << i, ops[i].value))
			return true;
	}
	return false;
}

static void random_history(struct rng *rng, struct history *h)
{
	uint32_t count = 1 + (uint32_t)rng_below(rng, OPS), at;
	uint64_t writes = 0;
	int64_t times[2 *
		      OPS]; /* all differ: who is told at the very moment another asks is not our question */
	for (int i = 0; i < 2 * OPS; i++)
		times[i] = i;
	for (int i = 2 * OPS; i-- > 1;) {
		uint64_t k = rng_below(rng, (uint64_t)i + 1);
		int64_t t = times[i];
		times[i] = times[k];
		times[k] = t;
	}
	assert_int_equal(history_restart(h, 0), 0);
	for (uint32_t i = 0; i < count; i++) {
		int64_t a = times[2 * i], b = times[2 * i + 1];
		struct operation op = {.begin = MIN(a, b), .end = MAX(a, b), .is_write = rng_below(rng, 2)};
		op.value = op.is_write ? ++writes : rng_below(rng, writes + 1);
		if (op.is_write && rng_below(rng, 4) == 0)
			op.end = HISTORY_PENDING;
		assert_int_equal(history_add(h, &op, &at), 0);
	}
}

static void judged_as_by_all_orders(void **state)
{
	struct rng rng = rng_seeded(7);
	struct history h = {0};
	uint32_t good = 0, bad = 0;
	for (int i = 0; i < 200000; i++) {
		const char *why;
		uint64_t value;
		random_history(&rng, &h);
		bool is_good = try_orders(h.ops, h.count, 0, UINT64_MAX);
		int rc = history_check(&h, &why, &value);
		if (rc != (is_good ? 0 : -EINVAL))
			fail_msg("history %d: judged %d, but all orders say %d", i, rc, is_good);
		good += is_good;
		bad += !is_good;
	}
	assert_true(good > 20000 && bad > 20000);
	history_done(&h);
}

static void void_operations_count_for_nothing(void **state)
{
	struct history h = {0};
	const char *why;
	uint64_t value;
	uint32_t at;
	assert_int_equal(history_check(&h, &why, &value), 0);
	assert_int_equal(history_restart(&h, 5), 0);
	assert_int_equal(history_add(&h, &(struct operation){1, 2, 6, true, true}, &at), 0);
	assert_int_equal(history_add(&h, &(struct operation){3, 4, 5, false, false}, &at), 0);
	assert_int_equal(history_check(&h, &why, &value), 0);
	assert_int_equal(history_add(&h, &(struct operation){5, 6, 6, false, false}, &at), 0);
	assert_int_equal(history_check(&h, &why, &value), -EINVAL);
	assert_string_equal(why, "was read, but never written");
	history_done(&h);
}

static void storms(void **state)
{
	static const char *const names[] = {"calm", "network", "crash", "disk", "churn", "clock", "mixed"};
	struct sim *s = calloc(1, sizeof *s);
	for (size_t i = 0; i < LENGTH(names); i++) {
		sim_run(s, 1, profile_find(names[i]), 20000, UINT64_MAX);
		if (sim_failed(s))
			fail_msg("%s: %s", names[i], s->failure);
		assert_true(s->acked_writes > 0 && s->answered_reads > 0);
		sim_done(s);
	}
	assert_null(profile_find("none"));
	free(s);
}

/* The same seed is the same history. */
static void seeds_repeat(void **state)
{
	struct sim *s = calloc(1, sizeof *s);
	uint64_t hash[2];
	for (int i = 0; i < 2; i++) {
		sim_run(s, 42, profile_find("mixed"), 20000, UINT64_MAX);
		hash[i] = s->order ^ rng_next(&s->rng);
		sim_done(s);
	}
	assert_true(hash[0] == hash[1]);
	free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(judged_as_by_all_orders),
		cmocka_unit_test(void_operations_count_for_nothing),
		cmocka_unit_test(storms),
		cmocka_unit_test(seeds_repeat),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
