/*
 * expire - what was not used for as long as its dataset's ttl goes, whether room is needed or not.
 *
 * The last use is known while the process lives; what a former one left counts as used when this one began.
 */
#ifndef CACHE_NODE_CACHE_EXPIRE_H
#define CACHE_NODE_CACHE_EXPIRE_H

#include "cache-node/cache/internal.h"

/* Lets go what is due. Under no lock; the keeper's thread alone. When to look again, CLOCK_MONOTONIC; INT64_MAX: no dataset has a
 * ttl. */
MUST_CHECK int64_t expire_run(struct cache *c);

#endif
