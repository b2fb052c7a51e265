/*
 * rng - a small seeded generator (xoshiro256**, Blackman and Vigna 2018) for jitter and tests. Not for secrets.
 */
#ifndef COMMON_BASE_RNG_H
#define COMMON_BASE_RNG_H

#include <stdint.h>

struct rng {
	uint64_t s[4];
};

/* Every @seed, 0 too, gives its own stream. */
struct rng rng_seeded(uint64_t seed);

/* 64 bits, all values alike. */
uint64_t rng_next(struct rng *r);

/* Uniform in [0, @bound); @bound is at least 1. */
uint64_t rng_below(struct rng *r, uint64_t bound);

#endif
