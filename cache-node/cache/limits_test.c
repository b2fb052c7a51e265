/* Floors and quotas of datasets in a cache at work. */
#include <errno.h>
#include <math.h>

#include "cache-node/cache/ledger.h"
#include "cache-node/fill/test_rig.h"
#include "common/base/mem.h"
#include "common/base/rng.h"

#define SIZE (64 * KB)
#define HELD (SIZE + 4 * KB) /* with its sidecar */

enum { VICTIM = 1, NEIGHBOUR = 2 };

static struct cache_object *get_of(struct rig *rig, uint32_t dataset, const char *key)
{
	struct cache_object_spec spec = {.size = SIZE, .source = rig->source, .key = key, .dataset = dataset};
	struct cache_object *o = NULL;
	spec.id = cache_object_id("domain", key, strlen(key), &spec.validator, SIZE);
	assert_int_equal(cache_get(rig->cache, &spec, &o), 0);
	return o;
}

/* Whether what came of it was written, or passed by. */
static bool is_done(struct cache_object *o)
{
	(void)pthread_mutex_lock(&o->lock);
	bool done = list_empty(&o->segments) && list_empty(&o->ops);
	(void)pthread_mutex_unlock(&o->lock);
	return done;
}

/* One read of a whole object; whether it was there. */
static bool use(struct rig *rig, uint32_t dataset, const char *key)
{
	struct cache_object *o = get_of(rig, dataset, key);
	bool hit = cache_object_state(o) == CACHE_COMPLETE;
	cache_open(o);
	rig_read(o, key, 0, SIZE);
	cache_close(o);
	while (!is_done(o))
		sched_yield(); /* the writer ends it */
	cache_put(o);
	return hit;
}

static void tell_all(struct rig *rig, uint32_t dataset, const char *full_name, struct cache_limits limits)
{
	assert_int_equal(cache_dataset_tell(rig->cache, dataset, full_name, &limits), 0);
}

static void tell(struct rig *rig, uint32_t dataset, const char *full_name, uint64_t floor, uint64_t quota,
		 uint32_t group)
{
	tell_all(rig, dataset, full_name,
		 (struct cache_limits){.floor = floor, .quota = quota, .group = group});
}

static struct cache_dataset_stats stats_of(struct rig *rig, uint32_t dataset)
{
	struct cache_dataset_stats s;
	cache_dataset_stats_get(rig->cache, dataset, &s);
	return s;
}

static void a_quota_evicts_the_datasets_own_objects_and_no_others(void **state)
{
	struct rig *rig = *state;
	rig_resize(rig, 100 * MB);
	tell(rig, VICTIM, "a/limited", 0, 10 * MB, 0);
	for (int i = 0; i < 200; i++) {
		use(rig, NEIGHBOUR, rig_name("free", (uint64_t)i));
		use(rig, VICTIM, rig_name("limited", (uint64_t)i));
		assert_true(stats_of(rig, VICTIM).cached_bytes <= 10 * MB);
	}
	cache_settle(rig->cache);
	assert_int_equal(stats_of(rig, NEIGHBOUR).cached_objects, 200);
	struct cache_dataset_stats s = stats_of(rig, VICTIM);
	assert_true(s.cached_bytes <= watermark_high(10 * MB) && s.cached_bytes >= 8 * MB);
	assert_int_equal(s.cached_bytes, s.cached_objects * HELD);
	struct cache_departure left[CACHE_DEPARTURES];
	size_t n = cache_departures(rig->cache, left);
	assert_true(n > 0);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(left[i].cause, CACHE_CAUSE_QUOTA);
		assert_int_equal(left[i].dataset, VICTIM);
	}
}

static void a_quota_lowered_later_takes_effect_at_once(void **state)
{
	struct rig *rig = *state;
	tell(rig, VICTIM, "a/limited", 0, 0, 0);
	for (int i = 0; i < 100; i++)
		use(rig, VICTIM, rig_name("limited", (uint64_t)i));
	tell(rig, VICTIM, "a/limited", 0, 50 * HELD, 0);
	cache_settle(rig->cache);
	assert_true(stats_of(rig, VICTIM).cached_objects <= 50);
	assert_true(stats_of(rig, VICTIM).cached_objects >= 40);
}

static void what_is_larger_than_its_quota_is_read_and_not_kept(void **state)
{
	struct rig *rig = *state;
	tell(rig, VICTIM, "a/tiny", 0, SIZE, 0); /* the sidecar does not fit */
	assert_false(use(rig, VICTIM, "x"));
	assert_false(use(rig, VICTIM, "x"));
	assert_int_equal(stats_of(rig, VICTIM).cached_bytes, 0);
	struct cache_object *o = get_of(rig, VICTIM, "x");
	struct test_load t;
	test_load_start(&t, o);
	assert_int_equal(test_load_wait(&t), -EDQUOT);
	assert_non_null(strstr(t.words, "the quota of its dataset or namespace is used up"));
	cache_put(o);
}

static void a_group_stays_within_its_limit_and_who_has_most_gives(void **state)
{
	struct rig *rig = *state;
	cache_group_limit(rig->cache, 7, 0, 100 * HELD);
	tell(rig, VICTIM, "a/small", 20 * HELD, 0, 7);
	tell(rig, NEIGHBOUR, "a/large", 0, 0, 7);
	for (int i = 0; i < 20; i++)
		use(rig, VICTIM, rig_name("small", (uint64_t)i));
	for (int i = 0; i < 300; i++) {
		use(rig, NEIGHBOUR, rig_name("large", (uint64_t)i));
		assert_true(cache_group_bytes(rig->cache, 7) <= 100 * HELD);
	}
	cache_settle(rig->cache);
	assert_int_equal(stats_of(rig, VICTIM).cached_objects, 20);
	assert_true(stats_of(rig, NEIGHBOUR).cached_objects >= 60);
}

static void after_a_restart_bytes_are_their_datasets_before_anybody_reads_them(void **state)
{
	struct rig *rig = *state;
	tell(rig, VICTIM, "a/one", 0, 0, 0);
	tell(rig, NEIGHBOUR, "a/two", 0, 0, 0);
	for (int i = 0; i < 30; i++)
		use(rig, i % 3 ? VICTIM : NEIGHBOUR, rig_name("o", (uint64_t)i));
	rig_resize(rig, rig->bytes_max);
	cache_settle(rig->cache);
	tell(rig, 11, "a/two", 0, 0, 0); /* another number this time */
	tell(rig, 12, "a/one", 0, 5 * HELD, 0);
	assert_int_equal(stats_of(rig, 11).cached_bytes, 10 * HELD);
	cache_settle(rig->cache);
	assert_true(stats_of(rig, 12).cached_objects <= 5);
	assert_int_equal(stats_of(rig, 11).cached_objects, 10);
}

static void what_a_forgotten_dataset_left_is_counted_to_who_reads_it(void **state)
{
	struct rig *rig = *state;
	tell(rig, VICTIM, "a/gone", 0, 0, 0);
	tell(rig, NEIGHBOUR, "a/stays", 0, 100 * HELD, 0);
	for (int i = 0; i < 10; i++)
		use(rig, VICTIM, rig_name("o", (uint64_t)i));
	cache_dataset_forget(rig->cache, VICTIM);
	rig_wait_for_nobody(rig);
	for (int i = 0; i < 4; i++)
		assert_true(use(rig, NEIGHBOUR, rig_name("o", (uint64_t)i)));
	assert_int_equal(stats_of(rig, NEIGHBOUR).cached_bytes, 4 * HELD);
	struct cache_stats s = rig_stats(rig);
	assert_int_equal(s.tiers[0].objects, 10);
	assert_int_equal(s.tiers[0].newcomers + s.tiers[0].residents + s.tiers[0].held, 10);
}

static void what_is_pinned_makes_no_room_for_others_whatever_they_need(void **state)
{
	struct rig *rig = *state;
	rig_resize(rig, 200 * HELD);
	tell_all(rig, VICTIM, "a/pinned", (struct cache_limits){.pin = true});
	for (int i = 0; i < 100; i++)
		use(rig, VICTIM, rig_name("pinned", (uint64_t)i));
	for (int i = 0; i < 600; i++)
		use(rig, NEIGHBOUR, rig_name("others", (uint64_t)i));
	cache_settle(rig->cache);
	assert_int_equal(stats_of(rig, VICTIM).cached_objects, 100);
	for (int i = 100; i < 400; i++) /* beyond what there is, it is passed by; all reads are answered */
		use(rig, VICTIM, rig_name("pinned", (uint64_t)i));
	assert_true(rig_stats(rig).tiers[0].bytes_used <= 200 * HELD);
	for (int i = 0; i < 100; i++)
		assert_true(use(rig, VICTIM, rig_name("pinned", (uint64_t)i)));
}

static void what_is_not_used_for_its_ttl_goes(void **state)
{
	struct rig *rig = *state;
	struct cache_object *open = get_of(rig, VICTIM, "open");
	cache_open(open);
	rig_read(open, "open", 0, SIZE);
	assert_int_equal(rig_load(open), 0);
	for (int i = 0; i < 20; i++) {
		use(rig, VICTIM, rig_name("o", (uint64_t)i));
		use(rig, NEIGHBOUR, rig_name("p", (uint64_t)i));
	}
	tell_all(rig, NEIGHBOUR, "a/stays", (struct cache_limits){.ttl_ns = 3600 * NS_PER_S});
	assert_int_equal(cache_object_state(open), CACHE_COMPLETE);
	tell_all(rig, VICTIM, "a/goes", (struct cache_limits){.ttl_ns = NS_PER_MS});
	use(rig, VICTIM, "late");                    /* the first that is counted under the name */
	while (stats_of(rig, VICTIM).cached_objects) /* the keeper looks by itself */
		sched_yield();
	struct cache_departure left[CACHE_DEPARTURES];
	assert_int_equal(cache_departures(rig->cache, left), 1);
	assert_int_equal(left[0].cause, CACHE_CAUSE_UNUSED);
	assert_string_equal(left[0].key, "late");
	assert_int_equal(cache_object_state(open), CACHE_COMPLETE);
	cache_close(open);
	cache_put(open);
}

/* ---- the proof of floors ---- */

enum { TIER_OBJECTS = 600, FLOOR_OBJECTS = 250, READS = 3000 };

/* Zipf over @count objects by the inverse of its distribution. */
static uint64_t zipf(struct rng *rng, const double *cumulated, uint64_t count)
{
	double at = (double)(rng_next(rng) >> 11) / (double)(UINT64_C(1) << 53) * cumulated[count - 1];
	uint64_t low = 0, high = count - 1;
	while (low < high) {
		uint64_t middle = (low + high) / 2;
		if (cumulated[middle] < at)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The victim reads Zipf 0.9 over 80 % of its floor; the neighbour scans five times the tier meanwhile. The victim's hits. */
static int play(struct rig *rig, bool neighbour, uint64_t *scanned)
{
	enum { OBJECTS = FLOOR_OBJECTS * 8 / 10 };
	struct rng rng = rng_seeded(23);
	double cumulated[OBJECTS], sum = 0;
	uint64_t most = 0;
	int hits = 0;
	for (int i = 0; i < OBJECTS; i++)
		cumulated[i] = sum += pow(i + 1, -0.9);
	for (int i = 0; i < READS; i++) {
		hits += use(rig, VICTIM, rig_name("victim", zipf(&rng, cumulated, OBJECTS)));
		for (int k = 0; neighbour && k < 5 * TIER_OBJECTS / READS; k++)
			use(rig, NEIGHBOUR, rig_name("scan", (*scanned)++));
		cache_settle(rig->cache); /* a machine too busy to evict passes by */
		uint64_t held = stats_of(rig, VICTIM).cached_bytes;
		assert_true(held >= most); /* nothing was taken from it */
		most = held;
	}
	return hits;
}

static void tell_floors(struct rig *rig)
{
	tell(rig, VICTIM, "a/victim", FLOOR_OBJECTS * HELD, 0, 0);
	tell(rig, NEIGHBOUR, "a/neighbour", FLOOR_OBJECTS * HELD, 0, 0);
}

static void a_neighbours_scan_costs_who_stays_below_its_floor_nothing(void **state)
{
	struct rig *rig = *state;
	uint64_t scanned = 0;
	rig_resize(rig, TIER_OBJECTS * HELD);
	tell_floors(rig);
	int alone = play(rig, false, &scanned);
	rig_close(rig);
	test_dir_free(rig->dir);
	rig->dir = test_dir_new();
	rig_open(rig);
	tell_floors(rig);
	int beside = play(rig, true, &scanned);
	assert_true(rig_stats(rig).tiers[0].evicted > 4 * TIER_OBJECTS);
	rig_resize(rig, rig->bytes_max);
	tell_floors(rig);
	cache_settle(rig->cache);
	int restarted = play(rig, true, &scanned);
	print_message("seed 23: hits of %d reads: alone %d, beside a scan %d, after a restart %d\n", READS,
		      alone, beside, restarted);
	assert_true(beside >= alone - READS * 2 / 100);
	assert_int_equal(restarted, READS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
		T(a_quota_evicts_the_datasets_own_objects_and_no_others),
		T(a_quota_lowered_later_takes_effect_at_once),
		T(what_is_larger_than_its_quota_is_read_and_not_kept),
		T(a_group_stays_within_its_limit_and_who_has_most_gives),
		T(after_a_restart_bytes_are_their_datasets_before_anybody_reads_them),
		T(what_a_forgotten_dataset_left_is_counted_to_who_reads_it),
		T(what_is_pinned_makes_no_room_for_others_whatever_they_need),
		T(what_is_not_used_for_its_ttl_goes),
		T(a_neighbours_scan_costs_who_stays_below_its_floor_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
