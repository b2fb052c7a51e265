/*
 * tier_status - what the tiers of the cache hold, what left them and what would, as the service sends it.
 */
#ifndef CACHE_NODE_TIER_STATUS_H
#define CACHE_NODE_TIER_STATUS_H

#include <stdbool.h>

#include "api/larder/v1/node.pb-c.h"
#include "cache-node/cache.h"
#include "cache-node/datasets.h"
#include "common/base/attr.h"

/* Adds the tiers to @reply, with @objects also what left last and what would go next. All of it is from the heap, as
 * free_unpacked() expects. 0, -ENOMEM: @reply is whole as far as it goes. */
MUST_CHECK int tier_status_add(struct cache *cache, struct datasets *datasets, bool objects,
			       Larder__V1__StatusReply *reply);

#endif
