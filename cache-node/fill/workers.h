/*
 * workers - a few threads that run jobs in the order they came.
 *
 * Threads: all calls from any thread. A job is part of what it works on, so queueing one allocates nothing and the
 * queue is bounded by what there is to work on.
 */
#ifndef CACHE_NODE_FILL_WORKERS_H
#define CACHE_NODE_FILL_WORKERS_H

#include <pthread.h>
#include <stdbool.h>

#include "common/base/attr.h"
#include "common/base/list.h"

#define WORKERS_MAX 4

struct job {
	struct list link;
	void (*run)(struct job *job); /* @job may be freed or queued again in it */
};

struct workers {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct list jobs; /* lock */
	bool stopping;    /* lock */
	pthread_t threads[WORKERS_MAX];
	int thread_count;
};

/* Starts @threads (at most WORKERS_MAX) of the given name (at most 15 bytes). 0, -errno; nothing to end after a failure. */
MUST_CHECK int workers_init(struct workers *w, int threads, const char *name);

/* Runs what is queued, then joins the threads. */
void workers_done(struct workers *w);

/* Queues @job behind the others; any thread. It runs once; its owner keeps it until then. */
void workers_add(struct workers *w, struct job *job);

#endif
