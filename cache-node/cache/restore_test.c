/* What a process that ended, or was killed, leaves to the next: by its log at once, by its files in the end. */
#include <sys/stat.h>
#include <sys/wait.h>

#include "cache-node/cache/restore.h"
#include "cache-node/fill/test_rig.h"
#include "common/base/rng.h"

static void wait_taken_over(struct rig *rig)
{
	while (!atomic_load(&rig->cache->taken_over))
		sched_yield();
}

static struct cache_tier_stats tier_of(struct rig *rig)
{
	return rig_stats(rig).tiers[0];
}

static void reopen(struct rig *rig)
{
	rig_close(rig);
	rig_open(rig);
	wait_taken_over(rig);
}

static const char *index_path(const struct rig *rig)
{
	return test_dir_path(rig->dir, ".", "index");
}

/* Opens the tier as it is and without its log: what is known in the end must be the same. Its stats by the log alone. */
static struct cache_tier_stats assert_same_without_log(struct rig *rig)
{
	reopen(rig);
	struct cache_tier_stats first = tier_of(rig);
	cache_settle(rig->cache);
	struct cache_tier_stats settled = tier_of(rig);
	rig_close(rig);
	assert_int_equal(unlink(index_path(rig)), 0);
	rig_open(rig);
	cache_settle(rig->cache);
	struct cache_tier_stats scanned = tier_of(rig);
	assert_int_equal(scanned.claimed, 0);
	assert_int_equal(settled.objects, scanned.objects);
	assert_int_equal(settled.sealed, scanned.sealed);
	assert_int_equal(settled.bytes_used, scanned.bytes_used);
	return first;
}

static void fill(struct rig *rig, const char *prefix, int count)
{
	for (int i = 0; i < count; i++) {
		struct cache_object *o = rig_get(rig, rig_name(prefix, (uint64_t)i), 1000 + (uint64_t)i);
		assert_int_equal(rig_load(o), 0);
		cache_put(o);
	}
}

static void what_a_process_held_is_known_to_the_next_before_it_looks_at_a_file(void **state)
{
	enum { N = 300 };
	struct rig *rig = *state;
	uint64_t freed;
	cache_settle(rig->cache);
	fill(rig, "o", N);
	struct cache_object *part = rig_get(rig, "part", 30 * MB), *gone = rig_get(rig, "o/7", 1007);
	rig_read(part, "part", 7 * MB, MB);
	assert_int_equal(cache_evict(gone, false, &freed), 0);
	cache_put(part);
	cache_put(gone);
	rig_wait_for_nobody(rig);
	struct cache_tier_stats before = tier_of(rig);
	struct cache_tier_stats first = assert_same_without_log(rig);
	assert_int_equal(first.claimed, N); /* one is gone, one is partial */
	assert_int_equal(first.objects, N);
	assert_int_equal(first.sealed, N - 1);
	assert_int_equal(first.bytes_used, before.bytes_used);
}

static void a_log_that_is_damaged_or_of_another_boot_costs_a_look_at_all_files_and_no_more(void **state)
{
	enum { N = 40 };
	struct rig *rig = *state;
	fill(rig, "o", N);
	for (int way = 0; way < 2; way++) {
		rig_wait_for_nobody(rig);
		cache_settle(rig->cache);
		rig_close(rig);
		if (way == 0) {
			int fd = open(index_path(rig), O_RDWR | O_CLOEXEC);
			assert_true(fd >= 0);
			assert_int_equal(pwrite(fd, "x", 1, 20 * JOURNAL_RECORD_BYTES + 3), 1);
			close(fd);
		} else {
			rig->boot++;
		}
		rig_open(rig);
		cache_settle(rig->cache);
		struct cache_tier_stats s = tier_of(rig);
		assert_int_equal(s.claimed, 0);
		assert_int_equal(s.objects, N);
		reopen(rig); /* it was made anew */
		assert_int_equal(tier_of(rig).claimed, N);
	}
}

static void what_was_deleted_behind_its_back_is_not_thought_to_be_there(void **state)
{
	struct rig *rig = *state;
	cache_settle(rig->cache);
	fill(rig, "o", 20);
	rig_wait_for_nobody(rig);
	rig_close(rig);
	assert_int_equal(unlink(rig_path(rig, "o/3", 1003, TIER_DATA)), 0);
	assert_int_equal(unlink(rig_path(rig, "o/4", 1004, TIER_SIDE)), 0);
	rig_open(rig);
	cache_settle(rig->cache);
	assert_int_equal(tier_of(rig).claimed, 20);
	assert_int_equal(tier_of(rig).objects, 18);
	assert_int_equal(access(rig_path(rig, "o/3", 1003, TIER_SIDE), F_OK), -1);
	assert_int_equal(access(rig_path(rig, "o/4", 1004, TIER_DATA), F_OK), -1);
	(void)assert_same_without_log(rig);
}

/* ---- killed, and at work while the log is made anew ---- */

/* Gets, fills in whole or in part, evicts and lets go of objects; tells of each step by a byte to @fd, if that is not -1. */
static void work(struct rig *rig, uint64_t seed, int steps, int fd)
{
	struct rng rng = rng_seeded(seed);
	for (int i = 0; i < steps; i++) {
		char key[32];
		uint64_t n = rng_below(&rng, 150), size = n * 9000, freed;
		(void)snprintf(key, sizeof key, "w/%llu", (unsigned long long)n);
		struct cache_object *o = rig_get(rig, key, size);
		switch (rng_below(&rng, 4)) {
		case 0:
			(void)!cache_evict(o, false, &freed);
			break;
		case 1:
			if (size)
				rig_read(o, key, rng_below(&rng, size), 1);
			break;
		default:
			(void)rig_load(o); /* an eviction may be faster */
		}
		cache_put(o);
		if (fd >= 0)
			assert_int_equal(write(fd, "", 1), 1);
	}
}

static void after_kill_9_at_any_step_the_log_says_what_the_files_say(void **state)
{
	struct rig *rig = *state;
	const char *text = getenv("SEED");
	uint64_t seed = text ? strtoull(text, NULL, 10) : 1;
	struct rng rng = rng_seeded(seed);
	print_message("seed %llu: SEED=%llu repeats it\n", (unsigned long long)seed,
		      (unsigned long long)seed);
	rig->bytes_max = 40 * MB; /* the tier's own eviction takes part */
	rig_close(rig);
	fake_free(rig->source); /* no thread at the fork */
	rig->source = NULL;
	for (int kill_count = 0; kill_count < 12; kill_count++) {
		int fds[2], steps = (int)rng_below(&rng, 120);
		char byte;
		assert_int_equal(pipe(fds), 0);
		pid_t pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			rig->source = fake_new(4711);
			rig_open(rig);
			if (kill_count % 2) /* every other one makes its log anew all the time */
				atomic_store(&rig->cache->tiers[0].slack, 0);
			work(rig, seed + (uint64_t)kill_count, INT32_MAX, fds[1]);
			_exit(1);
		}
		close(fds[1]);
		for (int i = 0; i <= steps; i++)
			assert_int_equal(read(fds[0], &byte, 1), 1);
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		close(fds[0]);
		rig_open(rig);
		struct cache_tier_stats first = assert_same_without_log(rig);
		print_message("killed after %d steps: %llu of %llu objects by the log\n", steps,
			      (unsigned long long)first.claimed, (unsigned long long)tier_of(rig).objects);
		rig_close(rig);
	}
	rig->source = fake_new(4711);
	rig_open(rig);
}

struct worker {
	struct rig *rig;
	uint64_t seed;
	pthread_t thread;
};

static void *worker_run(void *arg)
{
	struct worker *w = arg;
	work(w->rig, w->seed, 300, -1);
	return NULL;
}

static void a_log_that_is_made_anew_while_objects_come_and_go_misses_none(void **state)
{
	struct rig *rig = *state;
	struct worker workers[3];
	cache_settle(rig->cache);
	fill(rig, "o", 500);
	atomic_store(&rig->cache->tiers[0].slack, 0);
	for (size_t i = 0; i < LENGTH(workers); i++) {
		workers[i] = (struct worker){rig, 900 + i, 0};
		assert_int_equal(pthread_create(&workers[i].thread, NULL, worker_run, &workers[i]), 0);
	}
	for (size_t i = 0; i < LENGTH(workers); i++)
		pthread_join(workers[i].thread, NULL);
	rig_wait_for_nobody(rig);
	cache_settle(rig->cache);
	uint64_t objects = tier_of(rig).objects, used = tier_of(rig).bytes_used;
	uint64_t records = journal_records(rig->cache->tiers[0].journal);
	assert_true(records <= 2 * objects + 3 * 2 + 1 && records > objects);
	reopen(rig);
	assert_int_equal(tier_of(rig).claimed, objects);
	assert_int_equal(tier_of(rig).bytes_used, used);
	(void)assert_same_without_log(rig);
}

/* Sealed objects without the rest of a cache, which takes longer; the tier is nobody else's meanwhile. */
static void stock(const struct rig *rig, int count)
{
	static uint8_t bytes[1000];
	struct tier t;
	struct err err = {0};
	int fd = open(rig->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct cache_tier_config config = {CACHE_TIER_DISK, fd, UINT64_C(1) << 40, "disk"};
	struct body_spec spec = {.size = sizeof bytes};
	memset(spec.boot, rig->boot, sizeof spec.boot);
	assert_int_equal(tier_init(&t, &config, &err), 0);
	assert_int_equal(tier_remember(&t, fd, spec.boot), 0);
	assert_int_equal(journal_begin(t.journal), 0);
	for (int i = 0; i < count; i++) {
		struct body *b;
		spec.key = rig_name("m", (uint64_t)i);
		spec.id = cache_object_id("domain", spec.key, strlen(spec.key), &spec.validator, spec.size);
		assert_int_equal(body_create(&t, &spec, &b), 0);
		assert_int_equal(body_write(b, 0, bytes, sizeof bytes), 0);
		assert_int_equal(body_seal(b), 0);
		(void)body_unref(b);
	}
	journal_commit(t.journal);
	tier_done(&t);
	close(fd);
}

static void a_million_objects_are_known_within_two_seconds(void **state)
{
	struct rig *rig = *state;
	const char *text = getenv("LARDER_OBJECTS");
	int count = text ? (int)strtol(text, NULL, 10) : 5000;
	rig_close(rig);
	rig->bytes_max = UINT64_C(1) << 40;
	(void)unlink(index_path(rig)); /* there is none if it was closed that soon */
	stock(rig, count);
	int64_t start_ns = clock_mono_ns();
	rig_open(rig);
	int64_t open_ns = clock_mono_ns();
	struct cache_object *o = rig_get(rig, "m/1", 1000);
	assert_int_equal(cache_object_state(o), CACHE_COMPLETE);
	int64_t read_ns = clock_mono_ns();
	wait_taken_over(rig);
	int64_t known_ns = clock_mono_ns();
	cache_put(o);
	cache_settle(rig->cache);
	print_message(
		"%d objects: opened in %.1f ms, one usable after %.1f ms, all known after %.1f ms, all files looked "
		"at after %.1f ms\n",
		count, (double)(open_ns - start_ns) / 1e6, (double)(read_ns - start_ns) / 1e6,
		(double)(known_ns - start_ns) / 1e6, (double)(clock_mono_ns() - start_ns) / 1e6);
	assert_true(tier_of(rig).claimed >= (uint64_t)count - 1);
	assert_int_equal(tier_of(rig).objects, count);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		T(what_a_process_held_is_known_to_the_next_before_it_looks_at_a_file),
		T(a_log_that_is_damaged_or_of_another_boot_costs_a_look_at_all_files_and_no_more),
		T(what_was_deleted_behind_its_back_is_not_thought_to_be_there),
		T(after_kill_9_at_any_step_the_log_says_what_the_files_say),
		T(a_log_that_is_made_anew_while_objects_come_and_go_misses_none),
		T(a_million_objects_are_known_within_two_seconds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
