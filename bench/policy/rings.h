/*
 * rings - queues of the objects of a trace, in arrays: the others' policies are made of them.
 */
#ifndef BENCH_POLICY_RINGS_H
#define BENCH_POLICY_RINGS_H

#include <stdint.h>

#include "bench/policy/trace.h"

#define RINGS_MAX 4 /* queues; 0 is that of what is not there */

struct rings {
	const struct trace *trace;
	uint32_t *prev, *next; /* of each object, and behind them of each queue's ends */
	uint8_t *where;        /* which queue; 0: none */
	uint64_t units[RINGS_MAX];
};

/* All objects are in no queue. 0, -ENOMEM; rings_done() ends it also after a failure. */
MUST_CHECK int rings_init(struct rings *r, const struct trace *t);
void rings_done(struct rings *r);

/* Takes @key out of the queue it is in and puts it at the young end of @queue; 0: into none. */
void rings_move(struct rings *r, uint32_t key, uint8_t queue);

/* The oldest of a queue that is not empty. */
uint32_t rings_oldest(const struct rings *r, uint8_t queue);

#endif
