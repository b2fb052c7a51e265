/*
 * boot - the boot a cache lives in, and the way for tests to open one in another boot.
 */
#ifndef CACHE_NODE_CACHE_BOOT_H
#define CACHE_NODE_CACHE_BOOT_H

#include <stdint.h>

#include "cache-node/cache.h"
#include "cache-node/cache/sidecar.h"

/* The boot id of this machine as bytes. 0, -errno, -EINVAL. */
MUST_CHECK int boot_id_read(uint8_t ret[SIDECAR_BOOT_BYTES]);

/* As cache_new(), in the boot @boot. */
MUST_CHECK int cache_new_in_boot(const struct cache_config *config, const uint8_t boot[SIDECAR_BOOT_BYTES],
				 struct cache **ret, struct err *err);

/* Waits until the scan of what a former process left has ended and eviction has nothing to do. For tests. */
void cache_settle(struct cache *c);

#endif
