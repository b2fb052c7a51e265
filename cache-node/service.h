/*
 * service - larder.v1.Node: what the operator and the CLI may ask of a node. Calls that wait or stream run on threads of
 * their own, a bounded number at once.
 */
#ifndef CACHE_NODE_SERVICE_H
#define CACHE_NODE_SERVICE_H

#include <stdint.h>

#include "cache-node/cache.h"
#include "cache-node/datasets.h"
#include "cache-node/mounts.h"
#include "cache-node/node_config.h"
#include "cache-node/supervisor/node_memory.h"
#include "common/base/attr.h"
#include "common/base/err.h"

struct service;

struct service_config {
	const struct node_config *node;
	struct datasets *datasets;
	struct mounts *mounts;
	struct cache *cache;
	struct node_memory *memory;
	int64_t started_ns; /* wall clock */
};

/* Starts serving on the node's addresses. 0, -EADDRINUSE and the like with words. */
MUST_CHECK int service_new(const struct service_config *config, struct service **ret, struct err *err);

/* Refuses new calls, ends running ones within @grace_ns. */
struct service *service_free(struct service *s, int64_t grace_ns);

#endif
