/*
 * pool - equal buffers, mapped when first needed, reused while warm, given back to the kernel when idle.
 *
 * They are mappings of their own, not memory of the allocator, because that keeps freed megabytes. Threads: the owner's lock.
 */
#ifndef CACHE_NODE_FILL_POOL_H
#define CACHE_NODE_FILL_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/attr.h"

struct pool {
	size_t bytes;            /* of one buffer; a multiple of the page size */
	size_t used, used_max;   /* buffers out; how many may be */
	size_t warm, warm_least; /* buffers kept; the least since the last trim */
	void *first_warm;        /* linked through their first bytes */
};

static inline struct pool pool_of(size_t bytes, size_t used_max)
{
	return (struct pool){.bytes = bytes, .used_max = used_max};
}

/* All buffers must be back. */
void pool_done(struct pool *p);

/* A buffer, when fewer than @limit are out. NULL: none, or no memory. */
MUST_CHECK uint8_t *pool_take(struct pool *p, size_t limit);
void pool_give(struct pool *p, uint8_t *buf);

/* Unmaps the buffers that nobody needed since the last call. True when some are still kept or out. */
bool pool_trim(struct pool *p);

#endif
