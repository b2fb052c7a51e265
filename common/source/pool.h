/* pool - a few threads that run tasks which may block: the calls of file systems. */
#ifndef COMMON_SOURCE_POOL_H
#define COMMON_SOURCE_POOL_H

#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/list.h"

struct pool;

/* A task runs once each time it is submitted, never twice at a time: submitted while it runs, it runs again after. */
struct pool_task {
	struct list node;
	bool running, again; /* guarded by the pool's lock */
	void (*run)(struct pool_task *task);
};

/* 0, -ENOMEM, -EAGAIN. @name: of the threads, at most 15 bytes. */
MUST_CHECK int pool_new(const char *name, uint32_t threads, struct pool **ret);

/* Runs what was submitted, then joins the threads. NULL is fine; returns NULL. */
struct pool *pool_free(struct pool *pool);

/* A task is its owner's; it must stay until run() was called, on a thread of the pool. */
void pool_task_init(struct pool_task *task, void (*run)(struct pool_task *task));
void pool_submit(struct pool *pool, struct pool_task *task);

/* From inside run(): the task has ended, the pool forgets it and its memory may be freed. */
void pool_task_done(struct pool *pool, struct pool_task *task);

#endif
