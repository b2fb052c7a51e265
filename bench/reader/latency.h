/*
 * latency - a histogram of durations that is exact enough for percentiles: 16 steps to each power of two (at most 6 % off).
 */
#ifndef BENCH_READER_LATENCY_H
#define BENCH_READER_LATENCY_H

#include <stdint.h>

#define LATENCY_STEPS   16u
#define LATENCY_BUCKETS (60u * LATENCY_STEPS)

struct latency {
	uint64_t total;
	uint64_t counts[LATENCY_BUCKETS];
};

/* Adds @count durations of @ns each. */
void latency_add(struct latency *l, uint64_t ns, uint64_t count);

/* Adds all of @from to @to. */
void latency_merge(struct latency *to, const struct latency *from);

/* The duration (the upper end of its step) that @share of all (0 to 1) do not exceed; 0 when there are none. */
uint64_t latency_at(const struct latency *l, double share);

#endif
