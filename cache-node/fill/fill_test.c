/* The fill engine with real files and a scripted source. */
#include <sched.h>

#include "cache-node/cache/internal.h"
#include "cache-node/fill/test_rig.h"
#include "common/base/clock.h"

static void a_read_of_an_absent_object_is_answered_and_the_rest_follows_by_a_load(void **state)
{
	struct rig *rig = *state;
	struct cache_object *o = rig_get(rig, "a", 10 * MB + 13);
	assert_int_equal(cache_object_state(o), CACHE_ABSENT);
	rig_read(o, "a", 5 * MB + 1, 100 * KB);
	assert_int_equal(cache_object_state(o), CACHE_PARTIAL);
	assert_int_equal(cache_object_file(o), -EAGAIN);
	assert_int_equal(rig_load(o), 0);
	assert_int_equal(cache_object_state(o), CACHE_COMPLETE);
	assert_int_equal(cache_object_cached_bytes(o), 10 * MB + 13);
	assert_string_equal(cache_object_tier(o), "disk");
	assert_int_equal(fake_count(rig->source, &rig->source->delivered), 10 * MB + 13);
	rig_read(o, "a", 0, 10 * MB + 13);
	int fd = cache_object_file(o);
	assert_true(fd >= 0);
	uint8_t buf[4096];
	assert_int_equal(pread(fd, buf, sizeof buf, 9 * MB + 5), sizeof buf);
	assert_true(fake_matches("a", 9 * MB + 5, buf, sizeof buf));
	close(fd);
	assert_int_equal(rig_load(o), 0);
	cache_put(o);
}

static void a_fetch_asks_for_what_its_source_says_a_request_is_worth(void **state)
{
	static const uint64_t worth[] = {1 * MB, 2 * MB, 8 * MB, 16 * MB};
	struct rig *rig = *state;
	for (size_t i = 0; i < LENGTH(worth); i++) {
		char key[] = "0";
		key[0] = (char)('0' + i);
		pthread_mutex_lock(&rig->source->lock);
		rig->source->request_bytes = worth[i];
		rig->source->requests = 0;
		pthread_mutex_unlock(&rig->source->lock);
		struct cache_object *o = rig_get(rig, key, 64 * MB);
		assert_int_equal(rig_load(o), 0);
		assert_int_equal(fake_count(rig->source, &rig->source->requests), 64 * MB / worth[i]);
		cache_put(o);
	}
	assert_int_equal(fake_count(rig->source, &rig->source->took_bytes), LENGTH(worth) * 64 * MB);
	assert_int_equal(fake_count(rig->source, &rig->source->took_odd), 0);
}

static void an_empty_object_is_complete_without_a_fetch(void **state)
{
	struct rig *rig = *state;
	struct cache_object *o = rig_get(rig, "empty", 0);
	assert_int_equal(cache_object_state(o), CACHE_COMPLETE);
	int fd = cache_object_file(o);
	assert_true(fd >= 0);
	assert_int_equal(lseek(fd, 0, SEEK_END), 0);
	close(fd);
	assert_int_equal(rig_load(o), 0);
	assert_int_equal(fake_count(rig->source, &rig->source->requests), 0);
	cache_put(o);
}

static void a_waiter_is_answered_when_its_own_bytes_came_not_when_the_fetch_ends(void **state)
{
	struct rig *rig = *state;
	struct cache_object *o = rig_get(rig, "cut", 64 * MB);
	struct test_read first, second;
	fake_allow(rig->source, 128 * KB);
	test_read_start(&first, o, "cut", 0, 128 * KB, 1);
	assert_int_equal(test_read_wait(&first), 0); /* its block is not complete, and never was */
	assert_true(first.good);
	test_read_start(&second, o, "cut", 128 * KB, 64 * KB, 1);
	assert_false(test_read_is_done(&second));
	fake_allow(rig->source, UINT64_MAX);
	assert_int_equal(test_read_wait(&second), 0);
	assert_true(second.good);
	cache_put(o);
}

static void a_hit_does_not_wait_behind_a_miss(void **state)
{
	struct rig *rig = *state;
	struct cache_object *o = rig_get(rig, "hit", 32 * MB);
	struct test_read hit, miss;
	rig_read(o, "hit", 20 * MB, 256 * KB);
	fake_allow(rig->source, 0);
	test_read_start(&miss, o, "hit", 10 * MB, 64 * KB, 0);
	test_read_start(&hit, o, "hit", 20 * MB + 5, 128 * KB, 0);
	assert_true(test_read_is_done(&hit)); /* inside the call */
	assert_int_equal(test_read_wait(&hit), 0);
	assert_true(hit.good);
	assert_false(test_read_is_done(&miss));
	fake_allow(rig->source, UINT64_MAX);
	assert_int_equal(test_read_wait(&miss), 0);
	cache_put(o);
}

struct reader {
	struct cache_object *o;
	const char *key;
	uint64_t size, seed;
	uint32_t reads; /* 0: all of it in order */
	bool good;
	pthread_t thread;
};

static void *reader_run(void *arg)
{
	struct reader *r = arg;
	struct rng rng = rng_seeded(r->seed);
	uint64_t at = 0;
	r->good = true;
	for (uint32_t i = 0; r->reads ? i < r->reads : at < r->size; i++) {
		struct test_read t;
		uint64_t n = 1 + rng_below(&rng, MB);
		if (r->reads)
			at = rng_below(&rng, r->size);
		n = MIN(n, r->size - at);
		test_read_start(&t, r->o, r->key, at, n, r->reads ? 0 : r->seed);
		r->good &= test_read_wait(&t) == 0 && t.good;
		at += n;
	}
	return NULL;
}

static void run_readers(struct reader *readers, size_t count)
{
	for (size_t i = 0; i < count; i++)
		assert_int_equal(pthread_create(&readers[i].thread, NULL, reader_run, &readers[i]), 0);
	for (size_t i = 0; i < count; i++)
		pthread_join(readers[i].thread, NULL);
	for (size_t i = 0; i < count; i++)
		assert_true(readers[i].good);
}

static void thirty_two_readers_of_one_object_fetch_each_byte_once(void **state)
{
	struct rig *rig = *state;
	uint64_t size = 64 * MB;
	struct reader readers[32];
	struct cache_object *o = rig_get(rig, "many", size);
	for (uint64_t i = 0; i < 32; i++)
		readers[i] = (struct reader){
			.o = o, .key = "many", .size = size, .seed = i + 1, .reads = i % 4 ? 0 : 40};
	run_readers(readers, 32);
	assert_int_equal(rig_load(o), 0);
	assert_int_equal(fake_count(rig->source, &rig->source->delivered), size);
	struct cache_stats s = rig_stats(rig);
	assert_int_equal(s.fetched_bytes, size);
	assert_int_equal(s.sealed, 1);
	assert_int_equal(s.corrupt_blocks, 0);
	assert_int_equal(s.hit_bytes + s.miss_bytes, s.read_bytes);
	cache_put(o);
}

static void random_readers_of_eight_objects_get_by_with_little_memory(void **state)
{
	struct rig *rig = *state;
	enum { N = 8 };
	static const char *const keys[N] = {"0", "1", "2", "3", "4", "5", "6", "7"};
	struct cache_object *o[N];
	struct reader readers[2 * N];
	struct test_load loads[N];
	rig_close(rig);
	rig->memory_max = 16 * MB;
	rig_open(rig);
	print_message("seeds 100 to 115\n");
	for (int i = 0; i < N; i++) {
		o[i] = rig_get(rig, keys[i], 12 * MB + 77);
		test_load_start(&loads[i], o[i]);
	}
	for (int i = 0; i < 2 * N; i++)
		readers[i] = (struct reader){.o = o[i % N],
					     .key = keys[i % N],
					     .size = 12 * MB + 77,
					     .seed = 100 + i,
					     .reads = i < N ? 0 : 30};
	run_readers(readers, 2 * N);
	for (int i = 0; i < N; i++) {
		assert_int_equal(test_load_wait(&loads[i]), 0);
		cache_put(o[i]);
	}
	assert_int_equal(rig_stats(rig).fetched_bytes, N * (12 * MB + 77));
	assert_int_equal(rig_stats(rig).buffers_max, 16 * MB);
}

static void a_foreground_read_gets_buffers_while_a_load_holds_the_pool(void **state)
{
	struct rig *rig = *state;
	struct test_load load;
	struct test_read t;
	rig_close(rig);
	rig->memory_max = 16 * MB;
	rig_open(rig);
	struct source *slow = rig->source, *fast = fake_new(5);
	struct cache_object *a = rig_get(rig, "loaded", 60 * MB);
	fake_allow(slow, 7 * MB + 100 * KB); /* stops with buffers half full */
	test_load_start(&load, a);
	rig->source = fast;
	struct cache_object *b = rig_get(rig, "read", 10 * MB);
	for (int i = 0; i < 10; i++) {
		test_read_start(&t, b, "read", (uint64_t)i * MB, MB, 9);
		assert_int_equal(test_read_wait(&t), 0);
		assert_true(t.good);
	}
	rig->source = slow;
	fake_allow(slow, UINT64_MAX);
	assert_int_equal(test_load_wait(&load), 0);
	cache_put(a);
	cache_source_gone(rig->cache, fast);
	cache_put(b);
	fake_free(fast);
}

static void a_failed_fetch_is_told_to_each_waiter_once_and_the_next_read_tries_anew(void **state)
{
	static const struct {
		int status, seen;
	} cases[] = {{-EACCES, -EACCES},
		     {-ESTALE, -ESTALE},
		     {-ERR_UNREACHABLE, -EIO},
		     {-ERR_CORRUPT, -EIO},
		     {-ETIMEDOUT, -EIO}};
	struct rig *rig = *state;
	struct cache_object *o = rig_get(rig, "bad", 40 * MB);
	for (size_t i = 0; i < LENGTH(cases); i++) {
		struct test_read t[3];
		uint64_t at = i * 4 * MB + MB;
		fake_allow(rig->source, 0);
		for (int k = 0; k < 3; k++)
			test_read_start(&t[k], o, "bad", at, MB, 0);
		fake_fail(rig->source, cases[i].status, 300 * KB, UINT64_MAX);
		fake_allow(rig->source, UINT64_MAX);
		for (int k = 0; k < 3; k++) {
			assert_int_equal(test_read_wait(&t[k]), cases[i].seen);
			assert_non_null(strstr(t[k].words, "fake: bad: status"));
		}
		fake_fail(rig->source, 0, 0, 0);
		rig_read(o, "bad", at, MB);
	}
	cache_put(o);
}

static void a_load_that_fails_says_so_and_can_be_started_again(void **state)
{
	struct rig *rig = *state;
	struct cache_object *o = rig_get(rig, "load", 40 * MB);
	fake_fail(rig->source, -ERR_UNREACHABLE, 3 * MB, UINT64_MAX);
	assert_int_equal(rig_load(o), -EIO);
	fake_fail(rig->source, 0, 0, 0);
	assert_int_equal(rig_load(o), 0);
	rig_read(o, "load", 0, 40 * MB);
	cache_put(o);
}

static void a_read_ends_at_its_deadline_with_words(void **state)
{
	struct rig *rig = *state;
	struct cache_object *o = rig_get_for(rig, "late", 4 * MB, 20 * NS_PER_MS);
	struct test_read t;
	fake_allow(rig->source, 0);
	test_read_start(&t, o, "late", MB + 1, MB, 0);
	assert_int_equal(test_read_wait(&t), -EIO);
	assert_non_null(strstr(t.words, "late: the source did not deliver the bytes within 20 ms"));
	fake_allow(rig->source, UINT64_MAX);
	cache_put(o);
	rig_close(rig); /* the fetch nobody wanted was cancelled, or is now */
	assert_int_equal(fake_count(rig->source, &rig->source->running), 0);
	rig_open(rig);
}

static void a_cancelled_read_ends_once_and_others_of_the_same_bytes_go_on(void **state)
{
	struct rig *rig = *state;
	struct cache_object *o = rig_get(rig, "cancel", 4 * MB);
	struct test_read a, b;
	fake_allow(rig->source, 0);
	test_read_start(&a, o, "cancel", MB, MB, 0);
	test_read_start(&b, o, "cancel", MB + 5, 1000, 0);
	cache_read_cancel(&a.r);
	assert_true(test_read_is_done(&a));
	assert_int_equal(test_read_wait(&a), -ECANCELED);
	cache_read_cancel(&a.r); /* too late: nothing happens */
	assert_int_equal(fake_count(rig->source, &rig->source->cancelled), 0);
	fake_allow(rig->source, UINT64_MAX);
	assert_int_equal(test_read_wait(&b), 0);
	assert_true(b.good);
	cache_put(o);
}

static void when_the_last_reader_gives_up_the_fetch_is_cancelled(void **state)
{
	struct rig *rig = *state;
	struct cache_object *o = rig_get(rig, "alone", 4 * MB);
	struct test_read t;
	fake_allow(rig->source, 0);
	test_read_start(&t, o, "alone", MB, MB, 0);
	cache_read_cancel(&t.r);
	assert_int_equal(test_read_wait(&t), -ECANCELED);
	cache_source_gone(rig->cache, rig->source);
	assert_int_equal(fake_count(rig->source, &rig->source->cancelled), 1);
	fake_allow(rig->source, UINT64_MAX);
	test_read_start(&t, o, "alone", MB, MB, 0);
	assert_int_equal(test_read_wait(&t), -EIO); /* its source is gone */
	struct cache_object *again = rig_get(rig, "alone", 4 * MB);
	assert_ptr_equal(again, o);
	rig_read(again, "alone", MB, MB); /* and came back with cache_get() */
	cache_put(again);
	cache_put(o);
}

static void random_cancels_never_lose_or_repeat_an_answer(void **state)
{
	struct rig *rig = *state;
	enum { N = 24 };
	static struct test_read t[N];
	struct rng rng = rng_seeded(99);
	print_message("seed 99\n");
	for (int round = 0; round < 30; round++) {
		struct cache_object *o = rig_get(rig, "storm", 30 * MB);
		uint64_t freed;
		if (round % 3 == 0)
			assert_int_equal(cache_evict(o, true, &freed), 0);
		for (int i = 0; i < N; i++)
			test_read_start(&t[i], o, "storm", rng_below(&rng, 29 * MB), 1 + rng_below(&rng, MB),
					rng_below(&rng, 3));
		for (int i = 0; i < N; i++)
			if (rng_below(&rng, 2))
				cache_read_cancel(&t[i].r);
		if (round % 5 == 0)
			assert_int_equal(cache_evict(o, true, &freed), 0);
		for (int i = 0; i < N; i++) {
			int status = test_read_wait(&t[i]);
			assert_true(status == -ECANCELED || (status == 0 && t[i].good));
		}
		cache_put(o);
	}
}

static void when_no_tier_has_room_bytes_pass_by(void **state)
{
	struct rig *rig = *state;
	struct reader readers[6];
	rig_close(rig);
	rig->bytes_max = 1 * MB;
	rig->memory_max = 16 * MB;
	rig_open(rig);
	struct cache_object *o = rig_get(rig, "big", 20 * MB);
	rig_read(o, "big", 0, 20 * MB);
	for (uint64_t i = 0; i < LENGTH(readers); i++)
		readers[i] =
			(struct reader){.o = o, .key = "big", .size = 20 * MB, .seed = i + 1, .reads = 20};
	run_readers(readers, LENGTH(readers));
	assert_int_equal(rig_load(o), -ENOSPC);
	struct cache_stats s = rig_stats(rig);
	assert_true(s.passed_by_bytes >= 20 * MB);
	assert_int_equal(s.tiers[0].bytes_used, 0);
	cache_put(o);
}

static void a_cache_that_ends_tells_those_who_wait(void **state)
{
	struct rig *rig = *state;
	struct cache_object *o = rig_get(rig, "end", 40 * MB);
	struct test_read t;
	struct test_load load;
	fake_allow(rig->source, 0);
	test_read_start(&t, o, "end", MB, MB, 0);
	test_load_start(&load, o);
	cache_put(o);
	rig_close(rig);
	assert_int_equal(test_read_wait(&t), -ECANCELED);
	assert_int_equal(test_load_wait(&load), -ECANCELED);
	rig_open(rig);
}

/* What stays for a reader stays as long as the reader is slow. */
static void be_patient(struct rig *rig)
{
	pthread_mutex_lock(&rig->cache->fetch_lock);
	rig->cache->unread_max_ns = NS_PER_S * 3600;
	pthread_mutex_unlock(&rig->cache->fetch_lock);
}

/* Waits until so many bytes of buffers are out: whoever answered a reader gives its back after that reader was told. */
static void wait_buffers(struct rig *rig, uint64_t bytes)
{
	int64_t deadline = clock_mono_ns() + 20 * NS_PER_S;
	while (rig_stats(rig).buffers_used != bytes) {
		assert_true(clock_mono_ns() < deadline);
		sched_yield();
	}
}

/* Waits until all of a small object was fetched and stands on the tier, while its reader has read little. */
static struct cache_object *fetch_before_its_reader(struct rig *rig, const char *key, uint64_t size)
{
	struct cache_object *o = rig_get(rig, key, size);
	uint64_t sealed = atomic_load(&rig->sealed);
	cache_open(o);
	rig_read(o, key, 0, 2 * MB); /* goes forward: the rest is read ahead */
	assert_int_equal(rig_load(o), 0);
	while (atomic_load(&rig->sealed) == sealed)
		sched_yield();
	return o;
}

static void a_reader_behind_the_fetch_is_answered_from_memory_not_from_the_tier(void **state)
{
	struct rig *rig = *state;
	be_patient(rig);
	struct cache_object *o = fetch_before_its_reader(rig, "behind", 4 * MB);
	rig_read(o, "behind", 2 * MB, 2 * MB);
	assert_int_equal(rig_stats(rig).reread_bytes, 0);
	wait_buffers(rig, 0); /* served whole: nothing stays */
	rig_read(o, "behind", 0, MB);
	assert_int_equal(rig_stats(rig).reread_bytes, MB);
	cache_close(o);
	cache_put(o);
}

static void what_no_reader_comes_for_does_not_stay_in_memory(void **state)
{
	struct rig *rig = *state;
	struct cache_object *o = fetch_before_its_reader(rig, "expires", 4 * MB);
	wait_buffers(rig, 0); /* UNREAD_NS later */
	rig_read(o, "expires", 2 * MB, 2 * MB);
	assert_int_equal(rig_stats(rig).reread_bytes, 2 * MB);
	cache_close(o);
	cache_put(o);
}

static void what_stays_for_a_reader_goes_with_its_last_opener(void **state)
{
	struct rig *rig = *state;
	be_patient(rig);
	struct cache_object *o = fetch_before_its_reader(rig, "closed", 4 * MB);
	cache_close(o);
	wait_buffers(rig, 0);
	cache_put(o);
}

static void what_stays_for_slow_readers_is_given_up_when_others_need_buffers(void **state)
{
	struct rig *rig = *state;
	rig_close(rig);
	rig->memory_max = 16 * MB;
	rig_open(rig);
	be_patient(rig);
	struct cache_object *slow[2] = {fetch_before_its_reader(rig, "slow", 4 * MB),
					fetch_before_its_reader(rig, "slower", 4 * MB)};
	struct reader readers[16];
	struct cache_object *o = rig_get(rig, "others", 60 * MB);
	for (uint64_t i = 0; i < 16; i++)
		readers[i] =
			(struct reader){.o = o, .key = "others", .size = 60 * MB, .seed = i + 1, .reads = 20};
	run_readers(readers, 16);
	for (int i = 0; i < 2; i++) {
		cache_close(slow[i]);
		cache_put(slow[i]);
	}
	cache_put(o);
}

static void evicting_an_object_lets_go_what_stays_of_it(void **state)
{
	struct rig *rig = *state;
	uint64_t freed = 0;
	be_patient(rig);
	struct cache_object *o = fetch_before_its_reader(rig, "evicted", 4 * MB);
	assert_int_equal(cache_evict(o, true, &freed), 0);
	wait_buffers(rig, 0);
	rig_read(o, "evicted", 0, 4 * MB);
	cache_close(o);
	cache_put(o);
}

/* A reader of an object of its own whose segments take all the room to read ahead, with nothing on its way any more. */
static struct cache_object *fill_the_room(struct rig *rig, const char *key)
{
	struct cache_object *o = rig_get(rig, key, 13 * MB);
	uint64_t sealed = atomic_load(&rig->sealed);
	cache_open(o);
	rig_read(o, key, 0, 5 * MB); /* its window is 8 MiB now, which is half of the memory */
	while (atomic_load(&rig->sealed) == sealed)
		sched_yield();
	wait_buffers(rig, 8 * MB);
	return o;
}

static void a_load_that_waits_for_room_goes_on_when_what_a_reader_left_is_let_go(void **state)
{
	struct rig *rig = *state;
	struct test_load load;
	rig_close(rig);
	rig->memory_max = 16 * MB;
	rig_open(rig);
	be_patient(rig);
	struct cache_object *slow = fill_the_room(rig, "slow"), *o = rig_get(rig, "loaded", 4 * MB);
	test_load_start(&load, o);
	cache_close(slow); /* its segments go, and nothing else ends */
	assert_int_equal(test_load_wait(&load), 0);
	cache_put(slow);
	cache_put(o);
}

static void a_load_that_waits_for_room_is_not_forgotten_behind_readers_that_left(void **state)
{
	enum { N = 6 };
	static const char *const keys[N] = {"0", "1", "2", "3", "4", "5"};
	struct rig *rig = *state;
	struct test_load load;
	struct cache_object *left[N];
	rig_close(rig);
	rig->memory_max = 16 * MB;
	rig_open(rig);
	be_patient(rig);
	struct cache_object *slow = fill_the_room(rig, "slow"), *o = rig_get(rig, "loaded", 4 * MB);
	for (int i = 0; i < N; i++) {
		left[i] = rig_get(rig, keys[i], 20 * MB);
		cache_open(left[i]);
		rig_read(left[i], keys[i], 0, 256 * KB); /* would read ahead, had it room */
	}
	for (int i = 0; i < N; i++)
		cache_close(left[i]);
	test_load_start(&load, o);
	cache_close(slow);
	assert_int_equal(test_load_wait(&load), 0);
	for (int i = 0; i < N; i++)
		cache_put(left[i]);
	cache_put(slow);
	cache_put(o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
		T(a_read_of_an_absent_object_is_answered_and_the_rest_follows_by_a_load),
		T(a_fetch_asks_for_what_its_source_says_a_request_is_worth),
		T(an_empty_object_is_complete_without_a_fetch),
		T(a_waiter_is_answered_when_its_own_bytes_came_not_when_the_fetch_ends),
		T(a_hit_does_not_wait_behind_a_miss),
		T(thirty_two_readers_of_one_object_fetch_each_byte_once),
		T(random_readers_of_eight_objects_get_by_with_little_memory),
		T(a_foreground_read_gets_buffers_while_a_load_holds_the_pool),
		T(a_failed_fetch_is_told_to_each_waiter_once_and_the_next_read_tries_anew),
		T(a_load_that_fails_says_so_and_can_be_started_again),
		T(a_read_ends_at_its_deadline_with_words),
		T(a_cancelled_read_ends_once_and_others_of_the_same_bytes_go_on),
		T(when_the_last_reader_gives_up_the_fetch_is_cancelled),
		T(random_cancels_never_lose_or_repeat_an_answer),
		T(when_no_tier_has_room_bytes_pass_by),
		T(a_cache_that_ends_tells_those_who_wait),
		T(a_reader_behind_the_fetch_is_answered_from_memory_not_from_the_tier),
		T(what_no_reader_comes_for_does_not_stay_in_memory),
		T(what_stays_for_a_reader_goes_with_its_last_opener),
		T(what_stays_for_slow_readers_is_given_up_when_others_need_buffers),
		T(evicting_an_object_lets_go_what_stays_of_it),
		T(a_load_that_waits_for_room_goes_on_when_what_a_reader_left_is_let_go),
		T(a_load_that_waits_for_room_is_not_forgotten_behind_readers_that_left),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
