/*
 * plan - decides what to fetch of one object, and when.
 *
 * It knows no clock, lock, file or socket: its caller tells it of reads, arrivals and ends, and asks for the next span.
 * A block is absent, in flight (one span covers it: single flight) or here. Readers that go forward get a window ahead
 * of them that doubles from PLAN_WINDOW_MIN to PLAN_WINDOW_MAX each time half of it was read; readers that jump get
 * their own blocks alone. A load gets all that is absent, from the front.
 *
 * Threads: the owner's lock. Memory: two bits a block.
 */
#ifndef CACHE_NODE_FILL_PLAN_H
#define CACHE_NODE_FILL_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/attr.h"

#define PLAN_WINDOW_MIN (UINT64_C(1) << 20)  /* bytes */
#define PLAN_WINDOW_MAX (UINT64_C(64) << 20) /* bytes */
#define PLAN_SPAN_MAX   (UINT64_C(16) << 20) /* bytes */
#define PLAN_STREAMS    16 /* readers told apart; the one that read longest ago is forgotten */
#define PLAN_LOAD_BYTES (UINT64_C(32) << 20) /* what a load keeps in flight, ... */
#define PLAN_LOAD_SPANS 2                    /* ... and so many fetches at least */

struct plan;

enum plan_kind { PLAN_READ = 1, PLAN_AHEAD, PLAN_LOAD };

struct plan_span {
	uint64_t first; /* block */
	uint64_t count; /* blocks, at least 1 */
	enum plan_kind kind;
};

/* A plan for an object of @size bytes (at least 1) in blocks of @block_bytes (a power of two, at most PLAN_WINDOW_MIN),
 * all absent. 0 and *ret is the caller's, or -ENOMEM. */
MUST_CHECK int plan_new(uint64_t size, uint32_t block_bytes, struct plan **ret);
struct plan *plan_free(struct plan *p); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct plan *, plan_free)

/* From now on one fetch takes @bytes at most (PLAN_WINDOW_MIN, the value at first, to PLAN_SPAN_MAX, a multiple of the former)
 * and ends at a multiple of them. */
void plan_span_bytes(struct plan *p, uint64_t bytes);

/* These blocks came, or went. */
void plan_here(struct plan *p, uint64_t first, uint64_t count);
void plan_lost(struct plan *p, uint64_t first, uint64_t count);

/* A reader of @stream (0: guessed by where it reads) reads here. Only tells streams apart; length is at least 1. */
void plan_read(struct plan *p, uint64_t offset, uint64_t length, uint64_t stream);

/* Loads that want the object; none at first. */
void plan_loads(struct plan *p, uint32_t loads);

/* Readers went, or a fetch failed: nothing more is read ahead until somebody reads again. */
void plan_calm(struct plan *p);

/* The next span that the read of @length bytes at @offset lacks, marked as in flight; false when all is here or in flight.
 * Up to @room bytes more are taken along where a stream will want them. */
MUST_CHECK bool plan_next_read(struct plan *p, uint64_t offset, uint64_t length, uint64_t room,
			       struct plan_span *ret);

/* The next span to read ahead or to load within @room bytes, marked as in flight. False: none. *ret_short says that there
 * would be one with more room. */
MUST_CHECK bool plan_next(struct plan *p, uint64_t room, struct plan_span *ret, bool *ret_short);

/* The fetch of @span ended: what of it did not arrive is absent again. */
void plan_ended(struct plan *p, const struct plan_span *span);

/* Whether a stream or a load still wants some of these blocks. */
bool plan_wants(const struct plan *p, uint64_t first, uint64_t count);

/* Whether a stream that goes forward is about to read some of these blocks, or just did: requests come out of order. */
bool plan_reads_soon(const struct plan *p, uint64_t first, uint64_t count);

/* For tests and checks: the state of one block. */
bool plan_is_here(const struct plan *p, uint64_t block);
bool plan_in_flight(const struct plan *p, uint64_t block);

/* Ends the process if an invariant is broken. */
void plan_check(const struct plan *p);

#endif
