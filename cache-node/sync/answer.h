/*
 * answer - waits on one thread for what a source says on its own.
 */
#ifndef CACHE_NODE_SYNC_ANSWER_H
#define CACHE_NODE_SYNC_ANSWER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "common/base/attr.h"
#include "common/source.h"

struct answer {
	pthread_mutex_t lock; /* guards the rest, and what comes with the answer */
	pthread_cond_t ended;
	bool done;
	int status;
};

/* Around a question. */
void answer_init(struct answer *a);
void answer_over(struct answer *a);

/* It came. Under a->lock. */
void answer_came(struct answer *a, int status);

/* Waits for it; once *stop is set, @op is told to end. The status. */
MUST_CHECK int answer_wait(struct answer *a, struct source_op *op, const _Atomic bool *stop);

#endif
