/* pace - a byte rate, smooth down to a millisecond or two: every slice books the next free moment and sleeps until then. */
#ifndef BENCH_ORIGIN_PACE_H
#define BENCH_ORIGIN_PACE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct pace {
	uint64_t rate;           /* bytes a second; 0: without limit */
	_Atomic int64_t free_ns; /* CLOCK_MONOTONIC */
};

/* How many of @len bytes to send at once: about two milliseconds' worth, at least one. */
size_t pace_slice(const struct pace *p, size_t len);

/* Waits until @len more bytes may go. */
void pace_wait(struct pace *p, size_t len);

#endif
