/*
 * retry - when to try again, and when to give up.
 *
 * Full jitter (M. Brooker, "Exponential Backoff And Jitter", AWS 2015): each wait is uniform between 0 and a bound that
 * doubles from 50 ms to 2 s with every failure since the last progress. A store's Retry-After is a lower bound. Pure.
 */
#ifndef COMMON_SOURCE_RETRY_H
#define COMMON_SOURCE_RETRY_H

#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/rng.h"

#define RETRY_BASE_NS     50000000LL
#define RETRY_CAP_NS      2000000000LL /* a reader with a short deadline must meet a try after the store is back */
#define RETRY_IDLE_MAX_NS 30000000000LL /* without a deadline: give up so long after the last progress */
#define RETRY_NEVER       (-1LL)

struct retry {
	int64_t deadline_ns; /* absolute, or 0: see RETRY_IDLE_MAX_NS */
	int64_t progress_ns; /* when there last was progress; at first: the start */
	uint32_t failures;   /* since then */
	struct rng rng;
};

/* @deadline_ns: absolute, the clock of @now_ns. @seed: of the jitter. */
void retry_init(struct retry *r, int64_t now_ns, int64_t deadline_ns, uint64_t seed);

/* Bytes came: waits start small again. */
void retry_progress(struct retry *r, int64_t now_ns);

/* Time passed that is not the store's fault (a full queue, a reader without room). */
void retry_excuse(struct retry *r, int64_t now_ns);

/* The moment to give up, if there is no progress until then. */
int64_t retry_limit_ns(const struct retry *r);

/* A try failed: the moment of the next one, or RETRY_NEVER when it would not come before the limit.
 * @after_ns: the store's Retry-After as a duration, 0 if it gave none. */
int64_t retry_failed(struct retry *r, int64_t now_ns, int64_t after_ns);

#endif
