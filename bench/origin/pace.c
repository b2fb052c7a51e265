#include "bench/origin/pace.h"

#include <errno.h>
#include <time.h>

#include "common/base/attr.h"
#include "common/base/clock.h"

enum { SLICES_PER_S = 500, SLICE_LEAST = 4096 };

/* A sender that woke late may catch up so much, or the mean rate would be below the one asked for. */
#define CATCH_UP_NS (5 * NS_PER_MS)

size_t pace_slice(const struct pace *p, size_t len)
{
	return p->rate ? MIN(len, (size_t)MAX(p->rate / SLICES_PER_S, (uint64_t)SLICE_LEAST)) : len;
}

void pace_wait(struct pace *p, size_t len)
{
	if (!p->rate)
		return;
	int64_t cost_ns = (int64_t)((double)len * 1e9 / (double)p->rate);
	int64_t start_ns, now_ns = clock_mono_ns(), old_ns = atomic_load(&p->free_ns);
	do
		start_ns = MAX(old_ns, now_ns - CATCH_UP_NS);
	while (!atomic_compare_exchange_weak(&p->free_ns, &old_ns, start_ns + cost_ns));
	if (start_ns <= now_ns)
		return;
	struct timespec at = {.tv_sec = start_ns / NS_PER_S, .tv_nsec = start_ns % NS_PER_S};
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
		;
}
