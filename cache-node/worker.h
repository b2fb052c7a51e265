/*
 * worker - the process that serves: the parts of a node put together. Started by the supervisor, again and again.
 */
#ifndef CACHE_NODE_WORKER_H
#define CACHE_NODE_WORKER_H

#include "cache-node/supervisor/supervisor.h"

/* Serves until SIGTERM or SIGINT (both must be blocked). Returns the exit status (supervisor.h). */
int worker_main(const struct worker_start *start);

#endif
