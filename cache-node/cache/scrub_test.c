/* The scrubber against one flipped bit at every place that can hold one, at rest and in use. */
#include <sys/stat.h>

#include "cache-node/cache/scrub.h"
#include "cache-node/fill/test_rig.h"

#define SIZE (3 * MB + 100)

static void flip(const char *path, uint64_t at)
{
	uint8_t byte;
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(chmod(path, 0600), 0);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
	byte ^= 0x10;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
	close(fd);
	assert_int_equal(chmod(path, st.st_mode & 07777), 0);
}

struct watched {
	char key[CACHE_KEY_BYTES];
	int code, calls;
	uint64_t stop_after;
};

static void on_found(struct cache_scrub *s, const struct cache_departure *d, int code)
{
	struct watched *w = s->ctx;
	memcpy(w->key, d->key, sizeof w->key);
	w->code = code;
}

static bool on_progress(struct cache_scrub *s)
{
	struct watched *w = s->ctx;
	w->calls++;
	return !w->stop_after || s->objects < w->stop_after;
}

static struct cache_scrub scrub(struct rig *rig, struct watched *w)
{
	struct cache_scrub s = {.found = on_found, .progress = on_progress, .ctx = w};
	assert_int_equal(cache_scrub(rig->cache, &s), 0);
	return s;
}

static void fill(struct rig *rig)
{
	for (int i = 0; i < 20; i++) {
		char key[16];
		(void)snprintf(key, sizeof key, "good%d", i);
		struct cache_object *o = rig_get(rig, key, SIZE);
		assert_int_equal(rig_load(o), 0);
		cache_put(o);
	}
}

static void what_is_good_stays_and_is_counted(void **state)
{
	struct rig *rig = *state;
	struct watched w = {.code = 0};
	fill(rig);
	struct cache_object *part = rig_get(rig, "part", 30 * MB), *empty = rig_get(rig, "empty", 0);
	rig_read(part, "part", 7 * MB, MB);
	while (cache_object_cached_bytes(part) < MB)
		sched_yield(); /* the writer has it */
	int fd = cache_object_file(empty);
	assert_true(fd >= 0);
	close(fd);
	struct cache_scrub s = scrub(rig, &w);
	assert_int_equal(s.objects, 22);
	assert_int_equal(s.objects_total, 22);
	assert_int_equal(s.bad, 0);
	assert_int_equal(w.calls, 22);
	assert_true(s.bytes >= 20 * SIZE + MB && s.bytes <= s.bytes_total);
	assert_int_equal(rig_stats(rig).corrupt_blocks, 0);
	assert_int_equal(rig_stats(rig).scrubbed, 22);
	assert_int_equal(rig_stats(rig).scrubbed_bytes, s.bytes);
	cache_put(part);
	cache_put(empty);
}

/* Where the bit is: a sidecar of SIZE has its bitmap at 256 and its 13 checksums at 264. */
static const struct place {
	const char *key;
	enum tier_file file;
	uint64_t at;
	bool unnamed; /* the sidecar that would tell the name is what is damaged */
} places[] = {
	{"first byte", TIER_DATA, 0, false},       {"middle", TIER_DATA, 2 * MB + 7, false},
	{"last byte", TIER_DATA, SIZE - 1, false}, {"bitmap", TIER_SIDE, 256, false},
	{"first sum", TIER_SIDE, 264, false},      {"last sum", TIER_SIDE, 264 + 12 * 4 + 3, false},
	{"header", TIER_SIDE, 30, true},           {"magic", TIER_SIDE, 0, true},
	{"length", TIER_SIDE, 16, true},
};

static void check_place(struct rig *rig, const struct place *p, bool live)
{
	struct watched w = {.code = 0};
	uint64_t bad = rig_stats(rig).corrupt_blocks, objects = rig_stats(rig).tiers[0].objects;
	struct cache_object *o = rig_get(rig, p->key, SIZE);
	assert_int_equal(rig_load(o), 0);
	if (live)
		cache_open(o);
	else
		o = cache_put(o);
	if (!live)
		rig_wait_for_nobody(rig);
	uint64_t spoiled = atomic_load(&rig->spoiled);
	flip(rig_path(rig, p->key, SIZE, p->file), p->at);
	struct cache_scrub s = scrub(rig, &w);
	assert_int_equal(s.bad, 1);
	assert_true(w.code < 0);
	assert_string_equal(w.key, p->unnamed && !live ? "" : p->key);
	assert_int_equal(rig_stats(rig).corrupt_blocks, bad + 1);
	assert_int_equal(rig_stats(rig).tiers[0].objects, objects);
	assert_int_equal(atomic_load(&rig->spoiled), spoiled + live);
	assert_int_equal(access(rig_path(rig, p->key, SIZE, TIER_DATA), F_OK), -1);
	assert_int_equal(access(rig_path(rig, p->key, SIZE, TIER_SIDE), F_OK), -1);
	if (!live)
		o = rig_get(rig, p->key, SIZE);
	assert_int_equal(cache_object_state(o), CACHE_ABSENT);
	rig_read(o, p->key, 0, SIZE);
	assert_int_equal(rig_load(o), 0);
	assert_int_equal(scrub(rig, &w).bad, 0);
	if (live)
		cache_close(o);
	uint64_t freed;
	assert_int_equal(cache_evict(o, false, &freed), 0);
	cache_put(o);
}

static void a_flipped_bit_anywhere_is_found_and_the_object_fetched_anew(void **state)
{
	struct rig *rig = *state;
	for (size_t i = 0; i < LENGTH(places); i++)
		for (int live = 0; live < 2; live++)
			check_place(rig, &places[i], live);
	struct cache_departure left[CACHE_DEPARTURES];
	assert_int_equal(cache_departures(rig->cache, left), 2 * 2 * LENGTH(places));
	assert_int_equal(left[1].cause, CACHE_CAUSE_BAD);
}

static void of_a_partial_object_in_use_the_bad_block_goes_alone(void **state)
{
	struct rig *rig = *state;
	struct watched w = {.code = 0};
	struct cache_object *o = rig_get(rig, "part", 30 * MB);
	rig_read(o, "part", 9 * MB, MB);
	while (cache_object_cached_bytes(o) < MB)
		sched_yield(); /* the writer has the rest */
	flip(rig_path(rig, "part", 30 * MB, TIER_PART), 9 * MB + 100);
	assert_int_equal(scrub(rig, &w).bad, 1);
	assert_int_equal(cache_object_cached_bytes(o), MB - 256 * KB);
	rig_read(o, "part", 9 * MB, MB);
	cache_put(o);
}

static void a_lost_sidecar_or_a_short_file_is_found(void **state)
{
	struct rig *rig = *state;
	struct watched w = {.code = 0};
	fill(rig);
	assert_int_equal(unlink(rig_path(rig, "good3", SIZE, TIER_SIDE)), 0);
	assert_int_equal(chmod(rig_path(rig, "good4", SIZE, TIER_DATA), 0600), 0);
	assert_int_equal(truncate(rig_path(rig, "good4", SIZE, TIER_DATA), MB), 0);
	assert_int_equal(truncate(rig_path(rig, "good5", SIZE, TIER_SIDE), 100), 0);
	assert_int_equal(scrub(rig, &w).bad, 3);
	assert_int_equal(rig_stats(rig).tiers[0].objects, 17);
	assert_int_equal(scrub(rig, &w).bad, 0);
}

static void the_thread_finds_it_within_one_pass_also_after_a_restart(void **state)
{
	struct rig *rig = *state;
	fill(rig);
	rig_close(rig);
	rig->scrub_ns = 256 * 4 * NS_PER_MS;
	rig_open(rig);
	flip(rig_path(rig, "good7", SIZE, TIER_DATA), MB);
	int64_t from = clock_mono_ns();
	while (!rig_stats(rig).corrupt_blocks && clock_mono_ns() - from < 60 * NS_PER_S)
		sched_yield();
	assert_int_equal(rig_stats(rig).corrupt_blocks, 1);
	cache_settle(rig->cache);
	while (rig_stats(rig).scrubbed < 60)
		sched_yield();
	assert_int_equal(rig_stats(rig).corrupt_blocks, 1);
	assert_int_equal(rig_stats(rig).tiers[0].objects, 19);
}

static void a_limit_holds_and_a_watcher_can_end_it(void **state)
{
	struct rig *rig = *state;
	struct watched w = {.stop_after = 5};
	fill(rig);
	struct cache_scrub s = {.progress = on_progress, .ctx = &w};
	assert_int_equal(cache_scrub(rig->cache, &s), -ECANCELED);
	assert_int_equal(s.objects, 5);
	w.stop_after = 0;
	s = (struct cache_scrub){.bytes_per_second = 200 * MB};
	int64_t from = clock_mono_ns();
	assert_int_equal(cache_scrub(rig->cache, &s), 0);
	assert_true(clock_mono_ns() - from >= (int64_t)(20 * SIZE * 1000 / (200 * MB)) * NS_PER_MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
		T(what_is_good_stays_and_is_counted),
		T(a_flipped_bit_anywhere_is_found_and_the_object_fetched_anew),
		T(of_a_partial_object_in_use_the_bad_block_goes_alone),
		T(a_lost_sidecar_or_a_short_file_is_found),
		T(the_thread_finds_it_within_one_pass_also_after_a_restart),
		T(a_limit_holds_and_a_watcher_can_end_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
