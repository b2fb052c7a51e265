/*
 * sim - policies of a cache under a trace: how many reads find their object there.
 *
 * All but the product's own (cache-node/cache/policy.h) are written for this comparison alone.
 * An object larger than the room passes by.
 */
#ifndef BENCH_POLICY_SIM_H
#define BENCH_POLICY_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/policy/trace.h"
#include "cache-node/cache/policy.h"

/* One policy at work on one trace. */
struct sim_kind {
	const char *name;
	/* For @room units. 0 and *ret is the caller's, or -ENOMEM, -EINVAL. */
	int (*make)(const struct trace *t, uint64_t room, const struct policy_config *config, void **ret);
	bool (*access)(void *sim,
		       uint32_t at); /* read number @at; called for each, in order. True: it was there */
	void *(*end)(void *sim);     /* NULL is fine; returns NULL */
	bool knows_future;           /* a bound, no policy that can be had */
};

extern const struct sim_kind sim_fifo;   /* first in, first out */
extern const struct sim_kind sim_lru;    /* least recently used */
extern const struct sim_kind sim_s3fifo; /* as in the paper */
extern const struct sim_kind sim_larder; /* the product's core, set by @config */
extern const struct sim_kind
	sim_tinylfu; /* W-TinyLFU: Einziger, Friedman, Manes, ACM ToS 13(4), 2017; fixed window of 1 % */
extern const struct sim_kind
	sim_belady; /* what is read again last goes, or does not even enter; exact for equal sizes */

struct sim_result {
	uint64_t reads, hits;
	uint64_t units, hit_units;
};

/* Runs a whole trace. 0, -ENOMEM, -EINVAL. */
MUST_CHECK int sim_run(const struct sim_kind *kind, const struct trace *t, uint64_t room,
		       const struct policy_config *config, struct sim_result *ret);

struct sim_speed {
	uint64_t objects;
	double lookups_per_s; /* policy_touch() of Zipf 0.9 keys under an uncontended lock, as the node does it */
	double evict_ns;      /* a victim and the object in its place */
	double restore_s;     /* all objects, once */
};

/* How fast the product's core is with so many objects. 0, -ENOMEM. */
MUST_CHECK int sim_measure(uint32_t objects, uint64_t seed, struct sim_speed *ret);

#endif
