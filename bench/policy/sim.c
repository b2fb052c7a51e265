#include "bench/policy/sim.h"

#include <errno.h>
#include <pthread.h>

#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/base/rng.h"

int sim_run(const struct sim_kind *kind, const struct trace *t, uint64_t room,
	    const struct policy_config *config, struct sim_result *ret)
{
	void *sim = NULL;
	int r = kind->make(t, room, config, &sim);
	if (r)
		return r;
	*ret = (struct sim_result){.reads = t->count};
	for (uint32_t at = 0; at < t->count; at++) {
		uint32_t size = t->sizes[t->keys[at]];
		bool hit = kind->access(sim, at);
		ret->hits += hit;
		ret->units += size;
		ret->hit_units += hit ? size : 0;
	}
	(void)kind->end(sim);
	return 0;
}

/* ---- speed ---- */

enum { PASSES = 5, LOOKUPS = 4 << 20, EVICTIONS = 200000 };

/* Ids are hashes: so must the keys be here, or caches and branches would be kinder than they are. */
static uint64_t key_of(uint64_t n)
{
	return rng_seeded(n).s[0];
}

static double lookups_per_s(struct policy *p, const uint64_t *keys)
{
	pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	int64_t best_ns = INT64_MAX;
	uint64_t here = 0;
	for (int pass = 0; pass < PASSES; pass++) {
		int64_t start_ns = clock_mono_ns();
		for (uint32_t i = 0; i < LOOKUPS; i++) {
			(void)pthread_mutex_lock(&lock);
			here += policy_touch(p, keys[i]);
			(void)pthread_mutex_unlock(&lock);
		}
		best_ns = MIN(best_ns, clock_mono_ns() - start_ns);
	}
	CHECK(here == (uint64_t)PASSES * LOOKUPS);
	return (double)LOOKUPS * 1e9 / (double)best_ns;
}

static enum policy_answer go(void *ctx, uint64_t key)
{
	(void)ctx;
	(void)key;
	return POLICY_GO;
}

static int evict_ns(struct policy *p, uint32_t objects, double *ret)
{
	int64_t start_ns = clock_mono_ns();
	int r = 0;
	for (uint32_t i = 0; r == 0 && i < EVICTIONS; i++) {
		uint64_t victim;
		while ((r = policy_evict(p, go, NULL, 256, &victim)) == -EAGAIN)
			;
		if (r == 0)
			r = policy_put(p, key_of((uint64_t)objects + i), 1);
	}
	*ret = (double)(clock_mono_ns() - start_ns) / (double)EVICTIONS;
	return r;
}

static int measure(struct policy *p, uint32_t objects, const struct trace *reads, struct sim_speed *ret)
{
	uint64_t *keys = mem_calloc(reads->count, sizeof *keys);
	int r = keys ? 0 : -ENOMEM;
	int64_t start_ns = clock_mono_ns();
	for (uint32_t i = 0; r == 0 && i < objects; i++)
		r = policy_restore(p, key_of(i), 1);
	ret->restore_s = (double)(clock_mono_ns() - start_ns) / 1e9;
	for (uint32_t i = 0; r == 0 && i < reads->count; i++)
		keys[i] = key_of(reads->keys[i]);
	if (r == 0) {
		ret->objects = objects;
		ret->lookups_per_s = lookups_per_s(p, keys);
		r = evict_ns(p, objects, &ret->evict_ns);
	}
	(void)mem_free(keys);
	return r;
}

int sim_measure(uint32_t objects, uint64_t seed, struct sim_speed *ret)
{
	struct trace reads = {.keys = NULL};
	struct policy *p = NULL;
	int r = trace_zipf(objects, LOOKUPS, 0.9, seed, &reads);
	if (r == 0)
		r = policy_new(&POLICY_DEFAULT, &p);
	if (r == 0)
		r = measure(p, objects, &reads, ret);
	trace_done(&reads);
	(void)policy_free(p);
	return r;
}
