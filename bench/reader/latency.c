#include "bench/reader/latency.h"

/* Durations below LATENCY_STEPS have a bucket each; above, the four bits after the first choose the step. */
static unsigned bucket_of(uint64_t ns)
{
	if (ns < LATENCY_STEPS)
		return (unsigned)ns;
	unsigned top = 63u - (unsigned)__builtin_clzll(ns);
	unsigned bucket = (top - 3) * LATENCY_STEPS + (unsigned)(ns >> (top - 4) & (LATENCY_STEPS - 1));
	return bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1;
}

static uint64_t bucket_end(unsigned bucket)
{
	if (bucket < LATENCY_STEPS)
		return bucket;
	unsigned shift = bucket / LATENCY_STEPS - 1;
	return ((uint64_t)(LATENCY_STEPS + bucket % LATENCY_STEPS + 1) << shift) - 1;
}

void latency_add(struct latency *l, uint64_t ns, uint64_t count)
{
	l->counts[bucket_of(ns)] += count;
	l->total += count;
}

void latency_merge(struct latency *to, const struct latency *from)
{
	for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
		to->counts[i] += from->counts[i];
	to->total += from->total;
}

uint64_t latency_at(const struct latency *l, double share)
{
	uint64_t want = (uint64_t)((double)l->total * share), seen = 0;

	if (l->total == 0)
		return 0;
	for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
		seen += l->counts[i];
		if (seen > want || seen == l->total)
			return bucket_end(i);
	}
	return bucket_end(LATENCY_BUCKETS - 1);
}
