/*
 * limit - the four rules by which a source holds itself back. All pure: now is an argument, in nanoseconds of one clock.
 *
 * bucket: so many units a second (requests, bytes). throttle: how many requests at once a store that says "slow down" gets.
 * budget: retries and second requests are a share of the requests, so that a store in trouble is not asked ever more.
 * latency: the moving 98th percentile of the time to the first byte.
 */
#ifndef COMMON_SOURCE_LIMIT_H
#define COMMON_SOURCE_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/attr.h"

/* ---- bucket: a generic cell rate algorithm ---- */

struct bucket {
	uint64_t rate;    /* units a second; 0: no limit */
	int64_t burst_ns; /* so much of the rate may go at once after a pause */
	int64_t free_ns;  /* when all that was taken has been paid for */
};

/* Full, so that a burst may go at once. */
void bucket_init(struct bucket *b, uint64_t rate, int64_t burst_ns);

/* Takes @units. The moment from which they may be used: @now_ns, or later. What is taken stays taken. */
int64_t bucket_take(struct bucket *b, int64_t now_ns, uint64_t units);

/* ---- throttle: additive increase, multiplicative decrease of the requests at once ---- */

struct throttle {
	uint32_t max;
	uint32_t window_milli; /* requests at once, in thousandths */
	int64_t cut_ns;        /* when it was last cut */
	int64_t hold_ns;       /* nothing is sent before: the store's Retry-After */
};

/* Open to its most. */
void throttle_init(struct throttle *t, uint32_t max);

/* The store said "slow down" to a request sent at @sent_ns; @after_ns: its Retry-After as a duration, or 0. Halves the
 * window, but once for all requests that were on their way together. */
void throttle_slow(struct throttle *t, int64_t now_ns, int64_t sent_ns, int64_t after_ns);

/* A request was answered well: the window grows by one for each window of such answers. */
void throttle_good(struct throttle *t);

/* Requests at once, 1 to max. */
uint32_t throttle_window(const struct throttle *t);

/* ---- budget ---- */

struct budget {
	uint32_t share_milli; /* of each request, in thousandths of a token */
	uint32_t floor;       /* tokens a second that come in any case */
	uint64_t cap_micro, tokens_micro;
	int64_t last_ns;
};

/* Starts full, with @cap tokens. */
void budget_init(struct budget *b, uint32_t share_milli, uint32_t floor, uint32_t cap);

/* A request was sent that is no repetition. */
void budget_request(struct budget *b);

/* Takes a token. 0: taken. Else nanoseconds until the floor brings one, or INT64_MAX if it never does. */
int64_t budget_take(struct budget *b, int64_t now_ns);

/* ---- latency ---- */

#define LATENCY_BUCKETS     80  /* four to each doubling, from 64 us to 67 s */
#define LATENCY_SAMPLES_MIN 64  /* before that there is no opinion */
#define LATENCY_SAMPLES_MAX 512 /* then all counts are halved, so that old times fade */

struct latency {
	uint16_t counts[LATENCY_BUCKETS];
	uint32_t total;
};

/* One more sample. */
void latency_add(struct latency *l, int64_t ns);

/* The upper end of the bucket that holds the 98th percentile; INT64_MAX while there are too few samples. */
int64_t latency_p98(const struct latency *l);

/* When a request sent at @sent_ns without a first byte deserves a second one beside it: not before 5 ms. INT64_MAX: never. */
int64_t hedge_at(const struct latency *l, int64_t sent_ns);

#endif
