/* Objects over the life of several processes: restarts, damage, reboots, eviction. */
#include <ftw.h>
#include <pthread.h>
#include <sys/stat.h>

#include "cache-node/cache/body.h"
#include "cache-node/fill/test_rig.h"
#include "common/base/mem.h"

static void restart(struct rig *rig)
{
	rig_close(rig);
	rig_open(rig);
}

static void spoil(const char *path, uint64_t at)
{
	uint8_t byte;
	assert_int_equal(chmod(path, 0600), 0);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
	byte ^= 4;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
	close(fd);
}

static void an_id_depends_on_each_of_its_parts(void **state)
{
	struct validator a = {.kind = VALIDATOR_STRONG, .len = 1, .bytes = "a"},
			 b = {.kind = VALIDATOR_WEAK, .len = 1, .bytes = "a"};
	struct hash256 id = cache_object_id("d", "key", 3, &a, 5),
		       other[] = {cache_object_id("e", "key", 3, &a, 5),
				  cache_object_id("d", "kez", 3, &a, 5), cache_object_id("d", "ke", 2, &a, 5),
				  cache_object_id("d", "key", 3, &b, 5),
				  cache_object_id("d", "key", 3, &a, 6)};
	for (size_t i = 0; i < LENGTH(other); i++)
		assert_int_not_equal(hash256_compare(&id, &other[i]), 0);
	struct hash256 same = cache_object_id("d", "key", 3, &a, 5);
	assert_int_equal(hash256_compare(&id, &same), 0);
}

static void two_references_to_one_object_are_the_same_object(void **state)
{
	struct rig *rig = *state;
	struct cache_object *a = rig_get(rig, "x", MB), *b = rig_get(rig, "x", MB),
			    *c = rig_get(rig, "y", MB);
	assert_ptr_equal(a, b);
	assert_ptr_not_equal(a, c);
	assert_int_not_equal(hash256_compare(cache_object_hash(a), cache_object_hash(c)), 0);
	cache_put(a);
	cache_put(b);
	cache_put(c);
}

static void a_restart_keeps_sealed_objects_and_the_blocks_of_partial_ones(void **state)
{
	struct rig *rig = *state;
	struct cache_object *full = rig_get(rig, "full", 3 * MB + 1), *part = rig_get(rig, "part", 30 * MB);
	assert_int_equal(rig_load(full), 0);
	rig_read(part, "part", 7 * MB, MB);
	cache_put(full);
	cache_put(part);
	restart(rig);
	uint64_t before = fake_count(rig->source, &rig->source->delivered);
	full = rig_get(rig, "full", 3 * MB + 1);
	part = rig_get(rig, "part", 30 * MB);
	assert_int_equal(cache_object_state(full), CACHE_COMPLETE);
	assert_int_equal(cache_object_state(part), CACHE_PARTIAL);
	assert_int_equal(cache_object_cached_bytes(part), MB);
	rig_read(full, "full", 0, 3 * MB + 1);
	rig_read(part, "part", 7 * MB, MB);
	assert_int_equal(fake_count(rig->source, &rig->source->delivered), before);
	int fd = cache_object_file(full);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(rig_load(part), 0);
	assert_int_equal(cache_object_state(part), CACHE_COMPLETE);
	cache_put(full);
	cache_put(part);
}

static void a_reboot_drops_partial_objects_and_verifies_sealed_ones(void **state)
{
	struct rig *rig = *state;
	struct cache_object *full = rig_get(rig, "full", 3 * MB), *part = rig_get(rig, "part", 30 * MB);
	struct cache_object *large = rig_get(rig, "large", 20 * MB);
	assert_int_equal(rig_load(full), 0);
	assert_int_equal(rig_load(large), 0);
	rig_read(part, "part", 7 * MB, 2 * MB);
	cache_put(full);
	cache_put(part);
	cache_put(large);
	rig->boot = 2;
	restart(rig);
	full = rig_get(rig, "full", 3 * MB);
	part = rig_get(rig, "part", 30 * MB);
	large = rig_get(rig, "large", 20 * MB);
	assert_int_equal(cache_object_state(part), CACHE_ABSENT);
	assert_int_equal(cache_object_state(full), CACHE_COMPLETE);
	rig_read(full, "full", 5, 100); /* verified by its block */
	int fd = cache_object_file(full);
	assert_true(fd >= 0);
	close(fd);
	atomic_store(&rig->sealed, 0);
	assert_int_equal(cache_object_file(large),
			 -EAGAIN); /* verified in the background, said by sealed() */
	rig_read(large, "large", 10 * MB + 1, 300 * KB);
	while (!atomic_load(&rig->sealed))
		sched_yield();
	fd = cache_object_file(large);
	assert_true(fd >= 0);
	close(fd);
	cache_put(full);
	cache_put(part);
	cache_put(large);
}

static void a_sealed_object_damaged_before_a_reboot_is_fetched_anew(void **state)
{
	struct rig *rig = *state;
	static const char *const keys[] = {"by file", "by read"};
	for (int k = 0; k < 2; k++) {
		struct cache_object *o = rig_get(rig, keys[k], 3 * MB);
		assert_int_equal(rig_load(o), 0);
		cache_put(o);
		spoil(rig_path(rig, keys[k], 3 * MB, TIER_DATA), 2 * MB + 9);
		rig->boot++;
		restart(rig);
		o = rig_get(rig, keys[k], 3 * MB);
		if (k == 0)
			assert_int_equal(cache_object_file(o), -EAGAIN);
		else
			rig_read(o, keys[k], 2 * MB, 100);
		assert_int_not_equal(cache_object_state(o), CACHE_COMPLETE);
		assert_int_equal(rig_stats(rig).corrupt_blocks, 1);
		assert_int_equal(rig_load(o), 0);
		rig_read(o, keys[k], 0, 3 * MB);
		cache_put(o);
	}
}

static void a_damaged_block_is_dropped_counted_and_fetched_anew(void **state)
{
	struct rig *rig = *state;
	struct cache_object *o = rig_get(rig, "bits", 20 * MB);
	rig_read(o, "bits", 8 * MB, 2 * MB);
	cache_put(o);
	restart(rig); /* so that nothing of it is in memory */
	spoil(rig_path(rig, "bits", 20 * MB, TIER_PART), 9 * MB + 100);
	o = rig_get(rig, "bits", 20 * MB);
	rig_read(o, "bits", 9 * MB, MB);
	assert_int_equal(rig_stats(rig).corrupt_blocks, 1);
	rig_read(o, "bits", 8 * MB, 2 * MB);
	assert_int_equal(rig_stats(rig).corrupt_blocks, 1);
	cache_put(o);
}

static void a_truncated_file_or_a_damaged_sidecar_drops_the_object(void **state)
{
	struct rig *rig = *state;
	for (int k = 0; k < 3; k++) {
		struct cache_object *o = rig_get(rig, "hurt", 4 * MB);
		assert_int_equal(rig_load(o), 0);
		cache_put(o);
		rig_close(rig);
		if (k == 0)
			assert_int_equal(truncate(rig_path(rig, "hurt", 4 * MB, TIER_SIDE), 300), 0);
		else if (k == 1)
			spoil(rig_path(rig, "hurt", 4 * MB, TIER_SIDE), 17);
		else {
			assert_int_equal(chmod(rig_path(rig, "hurt", 4 * MB, TIER_DATA), 0600), 0);
			assert_int_equal(truncate(rig_path(rig, "hurt", 4 * MB, TIER_DATA), MB), 0);
		}
		rig_open(rig);
		o = rig_get(rig, "hurt", 4 * MB);
		assert_int_equal(cache_object_state(o), CACHE_ABSENT);
		rig_read(o, "hurt", 0, 4 * MB);
		cache_put(o);
	}
}

static void a_file_cut_short_under_a_running_cache_is_fetched_anew(void **state)
{
	struct rig *rig = *state;
	struct cache_object *o = rig_get(rig, "short", 6 * MB);
	assert_int_equal(rig_load(o), 0);
	assert_int_equal(chmod(rig_path(rig, "short", 6 * MB, TIER_DATA), 0600), 0);
	assert_int_equal(truncate(rig_path(rig, "short", 6 * MB, TIER_DATA), 2 * MB), 0);
	rig_read(o, "short", 5 * MB + 3, 1000);
	assert_true(rig_stats(rig).corrupt_blocks >= 1);
	rig_read(o, "short", 0, 6 * MB);
	assert_int_equal(rig_load(o), 0);
	cache_put(o);
}

static void the_scan_accounts_for_old_objects_and_removes_junk(void **state)
{
	struct rig *rig = *state;
	for (int i = 0; i < 5; i++) {
		char key[8];
		snprintf(key, sizeof key, "old%d", i);
		struct cache_object *o = rig_get(rig, key, MB);
		assert_int_equal(rig_load(o), 0);
		cache_put(o);
	}
	uint64_t used = rig_stats(rig).tiers[0].bytes_used;
	assert_true(used >= 5 * MB && used <= 5 * MB + 5 * 64 * KB);
	rig_close(rig);
	assert_int_equal(unlink(rig_path(rig, "old0", MB, TIER_DATA)), 0); /* a sidecar alone */
	assert_int_equal(unlink(rig_path(rig, "old1", MB, TIER_SIDE)), 0); /* a file alone */
	rig_open(rig);
	cache_settle(rig->cache);
	struct cache_stats s = rig_stats(rig);
	assert_int_equal(s.tiers[0].objects, 3);
	assert_int_equal(s.tiers[0].sealed, 3);
	assert_true(s.tiers[0].bytes_used >= 3 * MB && s.tiers[0].bytes_used <= used * 3 / 5 + 64 * KB);
	assert_int_equal(access(rig_path(rig, "old0", MB, TIER_SIDE), F_OK), -1);
	assert_int_equal(access(rig_path(rig, "old1", MB, TIER_DATA), F_OK), -1);
	struct cache_object *o = rig_get(rig, "old2", MB);
	uint64_t freed;
	assert_int_equal(cache_evict(o, false, &freed), 0);
	assert_true(freed >= MB);
	assert_int_equal(cache_object_state(o), CACHE_ABSENT);
	assert_int_equal(rig_stats(rig).tiers[0].objects, 2);
	cache_put(o);
}

static void eviction_takes_the_oldest_and_spares_openers_and_pins(void **state)
{
	enum { N = 80, SIZE = 256 << 10, LIVE = 6 };
	struct rig *rig = *state;
	struct cache_object *o[LIVE];
	char key[N][8];
	rig_close(rig);
	rig->bytes_max = 10 * MB;
	rig_open(rig);
	for (int i = 0; i < N; i++) { /* in part as live, in part as indexed objects */
		snprintf(key[i], sizeof key[i], "e%d", i);
		struct cache_object *one = rig_get(rig, key[i], SIZE);
		if (i == 0)
			cache_open(one);
		if (i == 1)
			cache_pin(one, true);
		assert_int_equal(rig_load(one), 0);
		if (i < LIVE)
			o[i] = one;
		else
			cache_put(one);
		cache_settle(rig->cache);
	}
	struct cache_stats s = rig_stats(rig);
	assert_true(s.tiers[0].bytes_used <= 10 * MB / 100 * 95);
	assert_int_equal(s.passed_by_bytes, 0);
	assert_true(s.tiers[0].evicted >= 40);
	assert_true(s.tiers[0].evicted_bytes >= s.tiers[0].evicted * SIZE);
	assert_int_equal(cache_object_state(o[0]), CACHE_COMPLETE);
	assert_int_equal(cache_object_state(o[1]), CACHE_COMPLETE);
	assert_int_equal(cache_object_state(o[2]), CACHE_ABSENT);
	struct cache_object *young = rig_get(rig, key[N - 1], SIZE), *old = rig_get(rig, key[LIVE], SIZE);
	assert_int_equal(cache_object_state(young), CACHE_COMPLETE);
	assert_int_equal(cache_object_state(old), CACHE_ABSENT);
	cache_put(young);
	cache_put(old);
	uint64_t freed;
	assert_int_equal(cache_evict(o[0], false, &freed), -EBUSY);
	int fd = cache_object_file(o[0]);
	assert_true(fd >= 0);
	assert_int_equal(cache_evict(o[0], true, &freed), 0);
	uint8_t buf[100];
	assert_int_equal(pread(fd, buf, sizeof buf, 1000), sizeof buf); /* who has it open reads on */
	assert_true(fake_matches(key[0], 1000, buf, sizeof buf));
	close(fd);
	cache_close(o[0]);
	cache_pin(o[1], false);
	for (int i = 0; i < LIVE; i++)
		cache_put(o[i]);
}

static void datasets_and_tiers_count_what_they_hold(void **state)
{
	struct rig *rig = *state;
	struct cache_object *o = rig_get(rig, "n", 2 * MB);
	struct cache_dataset_stats d;
	struct stat st;
	rig_read(o, "n", 0, 2 * MB);
	assert_int_equal(rig_load(o), 0);
	cache_dataset_stats_get(rig->cache, 3, &d);
	assert_int_equal(d.source_bytes, 2 * MB);
	assert_int_equal(d.served_bytes, 2 * MB);
	assert_int_equal(d.cached_objects, 1);
	assert_true(d.cached_bytes >= 2 * MB);
	assert_int_equal(rig_stats(rig).tiers[0].bytes_used, d.cached_bytes);
	assert_int_equal(stat(rig_path(rig, "n", 2 * MB, TIER_DATA), &st), 0);
	assert_true((uint64_t)st.st_blocks * 512 <= d.cached_bytes);
	uint64_t freed;
	assert_int_equal(cache_evict(o, true, &freed), 0);
	assert_int_equal(freed, d.cached_bytes);
	cache_dataset_stats_get(rig->cache, 3, &d);
	assert_int_equal(d.cached_objects, 0);
	assert_int_equal(d.cached_bytes, 0);
	cache_put(o);
}

static void a_wrong_configuration_is_refused_with_words(void **state)
{
	struct cache_config config = {.memory_max = 1 << 20};
	struct cache *c = NULL;
	struct err err = {.code = 0};
	assert_int_equal(cache_new(&config, &c, &err), -EINVAL);
	assert_non_null(strstr(err.text, "16 MiB"));
	struct cache_tier_config tier = {CACHE_TIER_DISK, -1, MB, "nowhere"};
	config = (struct cache_config){.tiers = &tier, .tier_count = 1, .memory_max = 64 * MB};
	assert_int_equal(cache_new(&config, &c, &err), -EBADF);
	assert_non_null(strstr(err.text, "nowhere"));
	config.tier_count = 0;
	assert_int_equal(cache_new(&config, &c, &err), 0); /* no tier: all passes by */
	cache_free(c);
}

static void running_out_of_memory_is_answered_and_leaves_nothing_behind(void **state)
{
	struct rig *rig = *state;
	struct cache_object_spec spec = {.size = 2 * MB, .source = rig->source, .key = "m", .dataset = 3};
	spec.id = cache_object_id("domain", "m", 1, &spec.validator, spec.size);
	int failed = 0;
	for (int n = 0; n < 25; n++) {
		struct cache_object *o = NULL;
		uint64_t freed;
		mem_fail_after(n, 0);
		int r = cache_get(rig->cache, &spec, &o);
		if (r == 0) {
			struct test_read t;
			test_read_start(&t, o, "m", MB - 100, 1000, 1);
			int status = test_read_wait(&t);
			assert_true(status == -EIO || (status == 0 && t.good));
			failed += status != 0;
			mem_fail_after(-1, 0);
			rig_read(o, "m", 0, 2 * MB); /* a later read tries anew */
			assert_int_equal(cache_evict(o, true, &freed), 0);
			cache_put(o);
		} else {
			assert_int_equal(r, -ENOMEM);
			failed++;
		}
		mem_fail_after(-1, 0);
	}
	assert_true(failed > 0); /* how many depends on which thread allocates next */
}

struct churn {
	struct rig *rig;
	uint64_t seed;
	bool good;
	pthread_t thread;
};

static void *churn_run(void *arg)
{
	struct churn *c = arg;
	struct rng rng = rng_seeded(c->seed);
	c->good = true;
	for (int i = 0; i < 60; i++) {
		char key[8];
		struct test_read t;
		uint64_t freed;
		snprintf(key, sizeof key, "c%d", (int)rng_below(&rng, 12));
		struct cache_object *o = rig_get(c->rig, key, 2 * MB + 5);
		uint64_t at = rng_below(&rng, 2 * MB), len = 1 + rng_below(&rng, MB / 2);
		cache_open(o);
		test_read_start(&t, o, key, at, MIN(len, 2 * MB + 5 - at), rng_below(&rng, 3));
		c->good &= test_read_wait(&t) == 0 && t.good;
		int fd = rng_below(&rng, 4) ? -1 : cache_object_file(o);
		if (fd >= 0)
			close(fd);
		cache_close(o);
		if (rng_below(&rng, 6) == 0)
			c->good &= cache_evict(o, true, &freed) == 0;
		cache_put(o);
	}
	return NULL;
}

static void threads_that_get_read_evict_and_put_at_random_always_see_right_bytes(void **state)
{
	struct rig *rig = *state;
	struct churn threads[6];
	rig_close(rig);
	rig->bytes_max = 12 * MB; /* less than the objects need: eviction runs all the time */
	rig->memory_max = 16 * MB;
	rig_open(rig);
	print_message("seeds 500 to 505\n");
	for (uint64_t i = 0; i < LENGTH(threads); i++) {
		threads[i] = (struct churn){.rig = rig, .seed = 500 + i};
		assert_int_equal(pthread_create(&threads[i].thread, NULL, churn_run, &threads[i]), 0);
	}
	for (size_t i = 0; i < LENGTH(threads); i++)
		pthread_join(threads[i].thread, NULL);
	for (size_t i = 0; i < LENGTH(threads); i++)
		assert_true(threads[i].good);
	assert_true(rig_stats(rig).tiers[0].bytes_used <= 12 * MB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
		cmocka_unit_test(an_id_depends_on_each_of_its_parts),
		T(two_references_to_one_object_are_the_same_object),
		T(a_restart_keeps_sealed_objects_and_the_blocks_of_partial_ones),
		T(a_reboot_drops_partial_objects_and_verifies_sealed_ones),
		T(a_sealed_object_damaged_before_a_reboot_is_fetched_anew),
		T(a_damaged_block_is_dropped_counted_and_fetched_anew),
		T(a_truncated_file_or_a_damaged_sidecar_drops_the_object),
		T(a_file_cut_short_under_a_running_cache_is_fetched_anew),
		T(the_scan_accounts_for_old_objects_and_removes_junk),
		T(eviction_takes_the_oldest_and_spares_openers_and_pins),
		T(datasets_and_tiers_count_what_they_hold),
		cmocka_unit_test(a_wrong_configuration_is_refused_with_words),
		T(running_out_of_memory_is_answered_and_leaves_nothing_behind),
		T(threads_that_get_read_evict_and_put_at_random_always_see_right_bytes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
