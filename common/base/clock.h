/*
 * clock - the one place that reads a clock. Cores never include it: time comes to them in their events.
 */
#ifndef COMMON_BASE_CLOCK_H
#define COMMON_BASE_CLOCK_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

#define NS_PER_S  1000000000LL
#define NS_PER_MS 1000000LL

/* Nanoseconds of CLOCK_MONOTONIC: for deadlines and durations. */
static inline int64_t clock_mono_ns(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail for this clock */
	return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

/* Nanoseconds since 1970 of CLOCK_REALTIME: for time stamps that people read. */
static inline int64_t clock_wall_ns(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

/* Nanoseconds of processors that all threads of this process used, its own and the kernel's for it. */
static inline int64_t clock_cpu_ns(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); /* cannot fail for this clock */
	return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

/* Waits on @cond (default attributes; @lock held) for at most @ns. Wakes for no reason too: look at the condition. */
static inline void clock_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t ns)
{
	int64_t at = clock_wall_ns() + ns;
	struct timespec t = {.tv_sec = at / NS_PER_S, .tv_nsec = at % NS_PER_S};

	(void)pthread_cond_timedwait(cond, lock, &t);
}

/* Waits on @cond (its clock is CLOCK_MONOTONIC; @lock held) until @at_ns of that clock, INT64_MAX: for ever. Wakes for no reason
 * too. */
static inline void clock_cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t at_ns)
{
	struct timespec t = {.tv_sec = at_ns / NS_PER_S, .tv_nsec = at_ns % NS_PER_S};

	if (at_ns == INT64_MAX)
		(void)pthread_cond_wait(cond, lock);
	else
		(void)pthread_cond_timedwait(cond, lock, &t);
}

#endif
