#include "common/source/pace.h"

#include <stdbool.h>

#include "common/base/clock.h"

#define RATE_BYTES_MIN (UINT64_C(256) << 10) /* what is shorter came in one burst and tells no rate */

static void turn(struct pace *p, int64_t now_ns)
{
	int64_t age = now_ns - p->began_ns;
	if (age < PACE_WINDOW_NS)
		return;
	bool next = age < 2 * PACE_WINDOW_NS;
	p->rate[1] = next ? p->rate[0] : 0;
	p->first_ns[1] = next ? p->first_ns[0] : 0;
	p->rate[0] = 0;
	p->first_ns[0] = 0;
	p->began_ns = now_ns;
}

static int64_t shortest_first(const struct pace *p)
{
	if (p->first_ns[0] && p->first_ns[1])
		return MIN(p->first_ns[0], p->first_ns[1]);
	return MAX(p->first_ns[0], p->first_ns[1]);
}

void pace_took(struct pace *p, int64_t now_ns, uint64_t bytes, int64_t first_ns, int64_t whole_ns)
{
	CHECK(bytes > 0);
	turn(p, now_ns);
	first_ns = MAX(first_ns, 1);
	p->first_ns[0] = p->first_ns[0] ? MIN(p->first_ns[0], first_ns) : first_ns;
	if (bytes < RATE_BYTES_MIN)
		return;
	/* Not from the first byte on: what a slow reader left in the socket comes at the speed of memory. */
	int64_t took_ns = MAX(whole_ns - shortest_first(p), NS_PER_MS / 10);
	uint64_t rate = (uint64_t)((double)bytes * NS_PER_S / (double)took_ns);
	p->rate[0] = MAX(p->rate[0], rate);
}

uint64_t pace_bytes(const struct pace *p, uint64_t least, uint64_t most)
{
	uint64_t rate = MAX(p->rate[0], p->rate[1]);
	double worth = (double)PACE_UNKNOWN_BYTES;
	if (rate)
		worth = (double)rate * (double)MAX(shortest_first(p), PACE_LEAST_NS) / NS_PER_S;
	uint64_t bytes = least;
	while (bytes < most && (double)bytes * 1.5 < worth) /* the power of two that is nearest */
		bytes *= 2;
	return bytes;
}
