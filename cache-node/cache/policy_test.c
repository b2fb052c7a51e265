/* The policy by small histories told in words, by random ones, and by what a scan and a loop must not do. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "cache-node/cache/policy.h"
#include "common/base/mem.h"
#include "common/base/rng.h"

static enum policy_answer all_go(void *ctx, uint64_t key)
{
	return POLICY_GO;
}

static struct policy *fresh(void)
{
	struct policy *p = NULL;
	assert_int_equal(policy_new(&POLICY_DEFAULT, &p), 0);
	return p;
}

static struct policy_stats stats_of(const struct policy *p)
{
	struct policy_stats s;
	policy_stats_get(p, &s);
	return s;
}

/* ---- histories in words ---- */

struct answers {
	uint64_t hold, later; /* bits by key */
};

static enum policy_answer by_bits(void *ctx, uint64_t key)
{
	const struct answers *a = ctx;
	return a->hold >> key & 1 ? POLICY_HOLD : a->later >> key & 1 ? POLICY_LATER : POLICY_GO;
}

/* A history: pK put (10 bytes; pK:B for B), oK restore, tK touch, rK remove, hK hold from now, lK later from now, fK free of
 * both and released, e evict. Answers the victims, "-" where none may go. */
static void play(struct policy *p, const char *history, char *ret, size_t size)
{
	struct answers answers = {0, 0};
	size_t len = 0;
	ret[0] = 0;
	for (const char *at = history; *at; at += *at == ' ') {
		char what = *at++, *end;
		uint64_t key = strtoull(at, &end, 10), bytes = 10;
		if (*end == ':')
			bytes = strtoull(end + 1, &end, 10);
		at = end;
		if (what == 'p') {
			assert_int_equal(policy_put(p, key, bytes), 0);
		} else if (what == 'o') {
			assert_int_equal(policy_restore(p, key, bytes), 0);
		} else if (what == 't') {
			(void)policy_touch(p, key);
		} else if (what == 'r') {
			policy_remove(p, key);
		} else if (what == 'h') {
			answers.hold |= UINT64_C(1) << key;
		} else if (what == 'l') {
			answers.later |= UINT64_C(1) << key;
		} else if (what == 'f') {
			answers.hold &= ~(UINT64_C(1) << key);
			answers.later &= ~(UINT64_C(1) << key);
			policy_release(p, key);
		} else {
			assert_int_equal(what, 'e');
			uint64_t victim;
			int r = policy_evict(p, by_bits, &answers, 1000, &victim);
			assert_true(r == 0 || r == -ENOENT);
			len += (size_t)snprintf(ret + len, size - len, r ? "%s-" : "%s%llu", len ? " " : "",
						(unsigned long long)victim);
		}
		policy_check(p);
	}
}

static void small_histories_have_these_victims(void **state)
{
	static const struct {
		const char *what, *history, *victims;
	} table[] = {
		{"nothing there", "e", "-"},
		{"in the first fill what is old stays and what is new goes", "p1 p2 p3 e p4 e e e e",
		 "3 4 1 2 -"},
		{"while it fills, the old ones go to the main queue", "p1:80 p2:10 p3:10 e e", "3 1"},
		{"what was used when new displaces what was not used", "p1:90 p2:10 t2 e", "1"},
		{"what was used since its last turn is not displaced", "p1:90 t1 p2:10 t2 e", "2"},
		{"but its next turn comes", "p1:90 t1 p2:10 t2 e p3:10 t3 e", "2 1"},
		{"a ghost that comes back displaces what was not used", "p1:90 p2:10 e p2:10 e", "2 1"},
		{"a ghost that comes back waits for what was used", "p1:90 t1 p2:10 e p2:10 e", "2 2"},
		{"a ghost too old is forgotten", "p1:30 p2:30 p3:10 e e e p3:10 p1:30 e", "3 1 2 3"},
		{"what is removed leaves no ghost", "p1:90 p2:10 r2 p2:10 e", "2"},
		{"removing a ghost leaves it", "p1:90 p2:10 e r2 p2:10 e", "2 1"},
		{"held ones wait to be released", "p1 p2 h1 e e f1 e", "2 - 1"},
		{"those of later take their turn behind", "p1 p2 p3 l3 e f3 e e", "1 3 2"},
		{"when all that is new must stay, the old goes", "p1:90 t1 p2:10 l2 e", "1"},
		{"nobody may go", "p1 p2 l1 l2 e e f2 e", "- - 2"},
		{"told from the youngest, the oldest goes first", "o3 o2 o1 e e e", "1 2 3"},
		{"what is there is not told again", "p1:10 o1:50 p2:10 e e e", "2 1 -"},
		{"what was left is not pushed out by what is new", "o3:40 o2:50 p7:10 e p8:10 e p9:10 e e",
		 "7 8 9 2"},
	};
	for (size_t i = 0; i < LENGTH(table); i++) {
		CLEANUP(policy_free) struct policy *p = fresh();
		char victims[200];
		play(p, table[i].history, victims, sizeof victims);
		if (strcmp(victims, table[i].victims) != 0)
			fail_msg("%s: victims are %s, not %s", table[i].what, victims, table[i].victims);
	}
}

static void the_threshold_and_the_shares_are_what_they_were_set_to(void **state)
{
	static const struct {
		struct policy_config config;
		const char *history, *victims;
	} table[] = {
		{{.small_of_100 = 10, .ghost_of_100 = 60, .promote_at = 1}, "p1:90 p2:10 t2 e", "1"},
		{{.small_of_100 = 10, .ghost_of_100 = 60, .promote_at = 2}, "p1:90 p2:10 t2 e", "2"},
		{{.small_of_100 = 10, .ghost_of_100 = 60, .promote_at = 2}, "p1:90 p2:10 t2 t2 e", "1"},
		{{.small_of_100 = 10, .ghost_of_100 = 0, .promote_at = 1}, "p1:90 p2:10 e p2:10 e", "2 2"},
		{{.small_of_100 = 100, .ghost_of_100 = 60, .promote_at = 1}, "p1:90 p2:10 e e", "1 2"},
		{{.small_of_100 = 10, .ghost_of_100 = 0, .promote_at = 1, .idle_of_100 = 20},
		 "p1:90 p2:10 e p3:10 e p4:10 e",
		 "2 3 1"},
		{{.small_of_100 = 10, .ghost_of_100 = 0, .promote_at = 1, .idle_of_100 = 20},
		 "p1:90 p2:10 e p3:10 e t1 p4:10 e",
		 "2 3 4"},
	};
	for (size_t i = 0; i < LENGTH(table); i++) {
		struct policy *p = NULL;
		char victims[200];
		assert_int_equal(policy_new(&table[i].config, &p), 0);
		play(p, table[i].history, victims, sizeof victims);
		assert_string_equal(victims, table[i].victims);
		(void)policy_free(p);
	}
}

static void wrong_settings_are_refused(void **state)
{
	static const struct policy_config wrong[] = {
		{.small_of_100 = 0, .ghost_of_100 = 90, .promote_at = 1},
		{.small_of_100 = 101, .ghost_of_100 = 90, .promote_at = 1},
		{.small_of_100 = 10, .ghost_of_100 = 90, .promote_at = 0},
		{.small_of_100 = 10, .ghost_of_100 = 90, .promote_at = POLICY_USES_MAX + 1},
	};
	struct policy *p = NULL;
	for (size_t i = 0; i < LENGTH(wrong); i++)
		assert_int_equal(policy_new(&wrong[i], &p), -EINVAL);
	mem_fail_after(0, 0);
	assert_int_equal(policy_new(&POLICY_DEFAULT, &p), -ENOMEM);
	mem_fail_after(-1, 0);
	assert_null(p);
}

/* ---- random histories ---- */

enum { KEYS = 300, EVENTS = 4000 };

/* What must be so whatever the policy decides. */
struct model {
	uint64_t bytes[KEYS]; /* 0: not there */
	bool stays[KEYS];     /* not to be a victim */
	struct rng rng;
};

static enum policy_answer ask_model(void *ctx, uint64_t key)
{
	struct model *m = ctx;
	assert_true(m->bytes[key] > 0); /* only what is there is asked about */
	return !m->stays[key] ? POLICY_GO : rng_below(&m->rng, 2) ? POLICY_HOLD : POLICY_LATER;
}

static void agrees(const struct policy *p, const struct model *m)
{
	struct policy_stats s = stats_of(p);
	uint64_t count = 0, bytes = 0;
	for (int i = 0; i < KEYS; i++) {
		count += m->bytes[i] > 0;
		bytes += m->bytes[i];
	}
	assert_int_equal(s.small + s.main + s.held, count);
	assert_int_equal(s.bytes, bytes);
	policy_check(p);
}

static void random_put(struct policy *p, struct model *m, uint64_t key)
{
	uint64_t bytes = 1 + rng_below(&m->rng, 100);
	bool old = rng_below(&m->rng, 10) == 0;
	mem_fail_after(rng_below(&m->rng, 4) ? -1 : 0, 0);
	int r = old ? policy_restore(p, key, bytes) : policy_put(p, key, bytes);
	mem_fail_after(-1, 0);
	assert_true(r == 0 || (r == -ENOMEM && m->bytes[key] == 0));
	if (r == 0 && !(old && m->bytes[key]))
		m->bytes[key] = bytes;
}

static void random_evict(struct policy *p, struct model *m)
{
	uint64_t victim = KEYS;
	int r = policy_evict(p, ask_model, m, 1 + (uint32_t)rng_below(&m->rng, 50), &victim);
	if (r == 0) {
		assert_true(victim < KEYS && m->bytes[victim] > 0 && !m->stays[victim]);
		m->bytes[victim] = 0;
		return;
	}
	assert_true(r == -EAGAIN || r == -ENOENT);
	for (int i = 0; r == -ENOENT && i < KEYS; i++) /* none may go: so it says the truth */
		assert_true(m->bytes[i] == 0 || m->stays[i]);
}

static void random_event(struct policy *p, struct model *m)
{
	uint64_t key = rng_below(&m->rng, KEYS), what = rng_below(&m->rng, 16);
	if (what < 5) {
		random_put(p, m, key);
	} else if (what < 9) {
		assert_int_equal(policy_touch(p, key), m->bytes[key] > 0);
	} else if (what < 12) {
		random_evict(p, m);
	} else if (what == 12) {
		policy_remove(p, key);
		m->bytes[key] = 0;
	} else if (what == 13) {
		m->stays[key] = true;
	} else {
		m->stays[key] = false;
		policy_release(p, key);
	}
}

static void random_histories_keep_the_books_whatever_fails(void **state)
{
	print_message("seeds 1 to 12\n");
	for (uint64_t seed = 1; seed <= 12; seed++) {
		struct model m = {.rng = rng_seeded(seed)};
		struct policy_config config = {.small_of_100 = 1 + (uint32_t)rng_below(&m.rng, 100),
					       .ghost_of_100 = (uint32_t)rng_below(&m.rng, 200),
					       .promote_at =
						       1 + (uint32_t)rng_below(&m.rng, POLICY_USES_MAX)};
		struct policy *p = NULL;
		assert_int_equal(policy_new(&config, &p), 0);
		for (int i = 0; i < EVENTS; i++) {
			random_event(p, &m);
			agrees(p, &m);
		}
		(void)policy_free(p);
	}
}

/* ---- what it is for ---- */

/* An object of 1 byte is read; true when it was there. */
static bool access_one(struct policy *p, uint64_t key, uint64_t room)
{
	uint64_t victim;
	if (policy_touch(p, key))
		return true;
	while (stats_of(p).bytes >= room)
		assert_int_equal(policy_evict(p, all_go, NULL, 1000, &victim), 0);
	assert_int_equal(policy_put(p, key, 1), 0);
	return false;
}

static void a_scan_does_not_push_out_what_is_read_again_and_again(void **state)
{
	enum { ROOM = 1000, HOT = 500, SCAN = 20 * ROOM };
	CLEANUP(policy_free) struct policy *p = fresh();
	struct rng rng = rng_seeded(3);
	int hits = 0, reads = 0;
	for (int turn = 0; turn < 4; turn++)
		for (uint64_t i = 0; i < HOT; i++)
			(void)access_one(p, i, ROOM);
	for (uint64_t i = 0; i < SCAN; i++) {
		(void)access_one(p, 1000000 + i, ROOM);
		if (i % 10)
			continue;
		hits += access_one(p, rng_below(&rng, HOT), ROOM);
		reads++;
	}
	print_message("%d of %d reads hit during a scan of 20 times the room\n", hits, reads);
	assert_true(hits * 100 >= reads * 97);
	policy_check(p);
}

static void ghosts_are_bounded_and_counted(void **state)
{
	enum { ROOM = 100 };
	CLEANUP(policy_free) struct policy *p = fresh();
	for (uint64_t i = 0; i < 50 * ROOM; i++)
		(void)access_one(p, i, ROOM);
	struct policy_stats s = stats_of(p);
	assert_true(s.ghosts <= ROOM * POLICY_DEFAULT.ghost_of_100 / 100);
	assert_true(s.ghosts >= ROOM * POLICY_DEFAULT.ghost_of_100 / 100 - 1);
	assert_int_equal(s.ghost_hits, 0);
	assert_int_equal(s.evicted, 49 * ROOM);
	assert_true(access_one(p, 50 * ROOM - 1, ROOM));
	assert_int_equal(stats_of(p).ghost_hits, 0); /* it is still there */
	policy_check(p);
}

static enum policy_answer later(void *ctx, uint64_t key)
{
	(*(int *)ctx)++;
	return POLICY_LATER;
}

static void one_call_looks_at_no_more_than_it_is_told(void **state)
{
	enum { N = 1000, TURNS = 10 };
	CLEANUP(policy_free) struct policy *p = fresh();
	uint64_t victim = N;
	int calls = 0, r = -EAGAIN;
	for (uint64_t i = 0; i < N; i++)
		assert_int_equal(policy_put(p, i, 1), 0);
	while (r == -EAGAIN) {
		int asked = 0;
		r = policy_evict(p, later, &asked, TURNS, &victim);
		assert_in_range(asked, 0, TURNS);
		calls++;
		policy_check(p);
	}
	assert_int_equal(r, -ENOENT); /* it comes to an end */
	assert_int_equal(victim, N);
	assert_in_range(calls, N / TURNS, 10 * N / TURNS);
}

static void at_the_bound_ghosts_give_way_and_then_objects_are_refused(void **state)
{
	CLEANUP(policy_free) struct policy *p = fresh();
	uint64_t victim, n = 0;
	for (; n < POLICY_ENTRIES_MAX; n++)
		assert_int_equal(policy_put(p, n, 1), 0);
	assert_int_equal(policy_put(p, n, 1), -EBUSY);
	assert_false(policy_touch(p, n));
	assert_int_equal(policy_put(p, 5, 2), 0); /* it is there */
	assert_int_equal(policy_evict(p, all_go, NULL, 1, &victim), 0);
	assert_int_equal(stats_of(p).ghosts, 1);
	assert_int_equal(policy_put(p, n, 1), 0);
	assert_int_equal(stats_of(p).ghosts, 0);
	assert_int_equal(policy_put(p, n + 1, 1), -EBUSY);
	policy_check(p);
}

static void what_is_foretold_is_what_goes(void **state)
{
	uint64_t next[20], key;
	CLEANUP(policy_free) struct policy *p = fresh();
	assert_int_equal(policy_peek(p, next, LENGTH(next)), 0);
	for (uint64_t i = 0; i < 40; i++)
		assert_int_equal(policy_put(p, i, 10), 0);
	for (uint64_t i = 0; i < 30; i += 3)
		assert_true(policy_touch(p, i));
	uint32_t n = policy_peek(p, next, LENGTH(next));
	assert_int_equal(n, LENGTH(next));
	for (uint32_t i = 0; i < n; i++)
		assert_true(next[i] % 3 != 0 || next[i] >= 30);
	assert_int_equal(policy_evict(p, all_go, NULL, 1000, &key), 0);
	assert_int_equal(key, next[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(small_histories_have_these_victims),
		cmocka_unit_test(the_threshold_and_the_shares_are_what_they_were_set_to),
		cmocka_unit_test(wrong_settings_are_refused),
		cmocka_unit_test(random_histories_keep_the_books_whatever_fails),
		cmocka_unit_test(a_scan_does_not_push_out_what_is_read_again_and_again),
		cmocka_unit_test(ghosts_are_bounded_and_counted),
		cmocka_unit_test(one_call_looks_at_no_more_than_it_is_told),
		cmocka_unit_test(what_is_foretold_is_what_goes),
		cmocka_unit_test(at_the_bound_ghosts_give_way_and_then_objects_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
