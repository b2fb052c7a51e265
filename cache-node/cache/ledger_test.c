/* What the policy of a tier is told by a cache at work, seen by who stays and who leaves. */
#include <pthread.h>
#include <sys/stat.h>

#include "cache-node/cache/ledger.h"
#include "cache-node/fill/test_rig.h"

#define SIZE (512 * KB)

/* Opens, reads to the end, closes, forgets; then lets the keeper do what it has to. */
static void use(struct rig *rig, const char *key)
{
	struct cache_object *o = rig_get(rig, key, SIZE);
	cache_open(o);
	rig_read(o, key, 0, SIZE);
	assert_int_equal(rig_load(o), 0); /* waits until it is sealed, or has been for long */
	cache_close(o);
	cache_put(o);
	cache_settle(rig->cache);
}

/* The same without a load, which would say that it is wanted again. */
static void pass(struct rig *rig, const char *key)
{
	struct cache_object *o = rig_get(rig, key, SIZE);
	cache_open(o);
	rig_read(o, key, 0, SIZE);
	while (cache_object_state(o) != CACHE_COMPLETE && !rig_stats(rig).passed_by_bytes)
		sched_yield(); /* the writer ends it */
	cache_close(o);
	cache_put(o);
	cache_settle(rig->cache);
}

static bool is_here(struct rig *rig, const char *key)
{
	struct cache_object *o = rig_get(rig, key, SIZE);
	bool here = cache_object_state(o) == CACHE_COMPLETE;
	cache_put(o);
	return here;
}

static int here_of(struct rig *rig, const char *prefix, int count)
{
	int n = 0;
	for (int i = 0; i < count; i++)
		n += is_here(rig, rig_name(prefix, i));
	return n;
}

static void what_is_opened_again_stays_through_a_scan(void **state)
{
	struct rig *rig = *state;
	rig_resize(rig, 20 * MB);
	for (int round = 0; round < 2; round++)
		for (int i = 0; i < 10; i++)
			pass(rig, rig_name("hot", i));
	for (int i = 0; i < 100; i++)
		pass(rig, rig_name("scan", i));
	assert_int_equal(rig_stats(rig).passed_by_bytes, 0);
	assert_int_equal(here_of(rig, "hot", 10), 10);
	struct cache_tier_stats s = rig_stats(rig).tiers[0];
	assert_true(s.evicted >= 60);
	assert_true(s.bytes_used <= s.bytes_high);
	assert_true(s.newcomers + s.residents + s.held == s.objects);
	assert_true(s.ghosts > 0);
}

static void what_is_loaded_takes_the_place_of_what_was_never_used(void **state)
{
	struct rig *rig = *state;
	rig_resize(rig, 20 * MB);
	for (int i = 0; i < 60; i++)
		pass(rig, rig_name("read once", i));
	for (int i = 0; i < 30; i++)
		use(rig, rig_name("loaded", i));
	assert_int_equal(here_of(rig, "loaded", 30), 30);
}

static void reads_of_an_open_file_beyond_the_first_pass_are_uses(void **state)
{
	struct rig *rig = *state;
	struct cache_object *o = rig_get(rig, "x", SIZE);
	struct {
		int passes;
		bool used;
	} rows[] = {{0, false}, {1, false}, {1, true}, {1, true}};
	for (size_t i = 0; i < LENGTH(rows); i++) {
		uint64_t key = 0;
		for (int k = 0; k < rows[i].passes; k++)
			rig_read(o, "x", 0, SIZE);
		while (rows[i].passes && cache_object_state(o) != CACHE_COMPLETE)
			sched_yield();
		(void)pthread_mutex_lock(&rig->cache->lock);
		uint32_t next = policy_peek(rig->cache->ledger.pools[0].policies[0], &key,
					    1); /* passes over what was used */
		(void)pthread_mutex_unlock(&rig->cache->lock);
		assert_int_equal(next, rows[i].passes && !rows[i].used);
	}
	cache_put(o);
}

static void age(struct rig *rig, const char *key, int seconds)
{
	struct validator none = {.kind = VALIDATOR_NONE};
	struct hash256 id = cache_object_id("domain", key, strlen(key), &none, SIZE);
	char path[TIER_PATH_BYTES];
	tier_path(&id, TIER_DATA, path);
	struct timespec times[2] = {{.tv_sec = 1000000 + seconds}, {.tv_sec = 1000000 + seconds}};
	assert_int_equal(utimensat(AT_FDCWD, test_dir_path(rig->dir, "objects", path), times, 0), 0);
}

static void after_a_restart_the_oldest_go_first(void **state)
{
	enum { N = 30 };
	struct rig *rig = *state;
	for (int i = 0; i < N; i++)
		use(rig, rig_name("old", i));
	for (int i = 0; i < N; i++)
		age(rig, rig_name("old", i), i * 7 % N);
	cache_settle(rig->cache);
	rig_close(rig);
	assert_int_equal(unlink(test_dir_path(rig->dir, ".", "index")), 0); /* which would know better */
	rig->bytes_max = 12 * MB;                                           /* room for about 20 of them */
	rig_open(rig);
	cache_settle(rig->cache);
	assert_int_equal(rig_stats(rig).tiers[0].objects, here_of(rig, "old", N));
	int gone = N - here_of(rig, "old", N);
	assert_true(gone >= 8 && gone <= 14);
	for (int i = 0; i < N; i++)
		assert_int_equal(is_here(rig, rig_name("old", i)), i * 7 % N >= gone);
}

static void after_a_restart_those_not_used_for_longest_go_first_whatever_their_files_say(void **state)
{
	enum { N = 30 };
	struct rig *rig = *state;
	cache_settle(rig->cache); /* so that there is a log */
	for (int i = 0; i < N; i++)
		use(rig, rig_name("old", i * 7 % N));
	for (int i = 0; i < N; i++)
		age(rig, rig_name("old", i), i);
	rig_resize(rig, 12 * MB); /* room for about 20 of them */
	cache_settle(rig->cache);
	int gone = N - here_of(rig, "old", N);
	assert_true(gone >= 8 && gone <= 14);
	for (int i = 0; i < N; i++)
		assert_int_equal(is_here(rig, rig_name("old", i * 7 % N)), i >= gone);
}

static void open_and_pinned_objects_stay_until_they_are_let_go(void **state)
{
	struct rig *rig = *state;
	rig_resize(rig, 20 * MB);
	struct cache_object *held[4];
	for (int i = 0; i < 4; i++) {
		pass(rig, rig_name("held", i));
		held[i] = rig_get(rig, rig_name("held", i), SIZE);
		if (i % 2)
			cache_pin(held[i], true);
		else
			cache_open(held[i]);
	}
	for (int round = 0; round < 3; round++)
		for (int i = 0; i < 60; i++)
			use(rig, rig_name("others", i));
	for (int i = 0; i < 4; i++)
		assert_int_equal(cache_object_state(held[i]), CACHE_COMPLETE);
	for (int i = 0; i < 4; i++) {
		if (i % 2)
			cache_pin(held[i], false);
		else
			cache_close(held[i]);
		cache_put(held[i]);
	}
	assert_int_equal(rig_stats(rig).tiers[0].held, 0);
	for (int round = 0; round < 6; round++)
		for (int i = 0; i < 60; i++)
			use(rig, rig_name("others", i));
	assert_true(here_of(rig, "held", 4) < 4);
}

static void what_left_is_told_with_its_name_and_why(void **state)
{
	struct rig *rig = *state;
	struct cache_departure left[CACHE_DEPARTURES], next[CACHE_NEXT_MAX];
	assert_int_equal(cache_departures(rig->cache, left), 0);
	use(rig, "asked");
	use(rig, "bad");
	struct cache_object *o = rig_get(rig, "asked", SIZE);
	uint64_t freed;
	assert_int_equal(cache_evict(o, false, &freed), 0);
	assert_int_equal(cache_evict(o, false, &freed), 0); /* nothing left: not told */
	cache_put(o);
	struct validator none = {.kind = VALIDATOR_NONE};
	struct hash256 id = cache_object_id("domain", "bad", 3, &none, SIZE);
	char path[TIER_PATH_BYTES];
	tier_path(&id, TIER_SIDE, path);
	assert_int_equal(truncate(test_dir_path(rig->dir, "objects", path), 100), 0);
	rig_wait_for_nobody(rig); /* else it would still be open */
	assert_false(is_here(rig, "bad"));
	assert_int_equal(cache_departures(rig->cache, left), 2);
	assert_string_equal(left[0].key, "bad");
	assert_int_equal(left[0].cause, CACHE_CAUSE_BAD);
	assert_string_equal(left[1].key, "asked");
	assert_int_equal(left[1].cause, CACHE_CAUSE_ASKED);
	assert_int_equal(left[1].bytes, freed ? freed : left[1].bytes);
	assert_int_equal(left[1].dataset, 3);
	assert_true(left[1].when_ns >= left[1].used_ns && left[1].used_ns > 0);

	for (int i = 0; i < 30; i++)
		pass(rig, rig_name("fill", i));
	size_t n = cache_next(rig->cache, 0, next);
	assert_int_equal(n, CACHE_NEXT_MAX);
	rig_resize(rig, 12 * MB); /* restarted: all of it is indexed, and known by its sidecars */
	cache_settle(rig->cache);
	n = cache_departures(rig->cache, left);
	assert_true(n >= 8);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(left[i].cause, CACHE_CAUSE_ROOM);
		assert_memory_equal(left[i].key, "fill/", 5);
		assert_int_equal(left[i].dataset, CACHE_NO_DATASET);
	}
	assert_true(cache_next(rig->cache, 0, next) > 0);
	assert_memory_equal(next[0].key, "fill/", 5);
	for (int i = 0; i < 300; i++)
		pass(rig, rig_name("more", i));
	assert_int_equal(cache_departures(rig->cache, left), CACHE_DEPARTURES);
}

/* ---- many objects ---- */

#ifdef LARDER_SANITIZE
enum { MANY = 100000 };
#else
enum { MANY = 1000000 };
#endif

struct prober {
	struct cache *cache;
	atomic_bool stop;
	int64_t worst_ns;
};

static void *probe(void *arg)
{
	struct prober *p = arg;
	while (!atomic_load(&p->stop)) {
		int64_t from = clock_mono_ns();
		(void)pthread_mutex_lock(&p->cache->lock);
		(void)pthread_mutex_unlock(&p->cache->lock);
		p->worst_ns = MAX(p->worst_ns, clock_mono_ns() - from);
	}
	return NULL;
}

/* Entries of the index without files behind them: what eviction costs beyond the file system. */
static void eviction_among_many_objects_holds_the_lock_for_moments(void **state)
{
	struct rig *rig = *state;
	struct cache *c = rig->cache;
	struct prober p = {.cache = c};
	pthread_t thread;
	cache_settle(c);
	(void)pthread_mutex_lock(&c->lock);
	for (uint64_t i = 0; i < MANY; i++) {
		struct index_entry e = {.id = hash256_of(&i, sizeof i), .bytes = 1024};
		assert_int_equal(index_put(&c->index, &e), 0);
		tier_add(&c->tiers[0], SHARE_NOBODYS, e.bytes);
		tier_came(&c->tiers[0], SHARE_NOBODYS, false);
		assert_int_equal(policy_restore(c->ledger.pools[0].policies[0], index_key(&e.id), e.bytes),
				 0);
	}
	c->tiers[0].bytes_max = MANY * 1024ull;
	(void)pthread_mutex_unlock(&c->lock);
	assert_int_equal(pthread_create(&thread, NULL, probe, &p), 0);
	int64_t from = clock_mono_ns();
	keeper_poke(c);
	cache_settle(c);
	int64_t took = clock_mono_ns() - from;
	atomic_store(&p.stop, true);
	pthread_join(thread, NULL);
	struct cache_tier_stats s = rig_stats(rig).tiers[0];
	print_message("%d objects: %d evicted in %d ms, the lock was waited for %d us at most\n", MANY,
		      (int)s.evicted, (int)(took / NS_PER_MS), (int)(p.worst_ns / 1000));
	assert_true(s.evicted > 0);
	assert_true(s.bytes_used <= s.bytes_low);
	tier_give(&c->tiers[0], SHARE_NOBODYS, s.objects * 1024); /* they never were */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
		T(what_is_opened_again_stays_through_a_scan),
		T(what_is_loaded_takes_the_place_of_what_was_never_used),
		T(reads_of_an_open_file_beyond_the_first_pass_are_uses),
		T(after_a_restart_the_oldest_go_first),
		T(after_a_restart_those_not_used_for_longest_go_first_whatever_their_files_say),
		T(open_and_pinned_objects_stay_until_they_are_let_go),
		T(what_left_is_told_with_its_name_and_why),
		T(eviction_among_many_objects_holds_the_lock_for_moments),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
