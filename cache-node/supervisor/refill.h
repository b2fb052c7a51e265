/*
 * refill - gives a new mounter what the former one held (design 5.1): the node memory, the tiers, and the descriptors of the
 * sessions. In a process of its own, so that a mounter that hangs again holds up nobody.
 */
#ifndef CACHE_NODE_SUPERVISOR_REFILL_H
#define CACHE_NODE_SUPERVISOR_REFILL_H

#include <stddef.h>

#include "cache-node/node_config.h"
#include "cache-node/supervisor/mounter_client.h"
#include "cache-node/supervisor/supervisor.h"
#include "common/base/attr.h"
#include "common/base/err.h"

/* Over a connection of its own; what is there already is left. 0, or -errno after a log line: try again. */
MUST_CHECK int refill_mounter(const struct node_config *config, int memory_fd,
			      const struct kept_session *sessions, size_t count);

/* Opens the tiers of the config: disks first, then DRAM if there is any. On failure those opened so far are the caller's:
 * *ret_count. 0, -errno with words. */
MUST_CHECK int refill_open_tiers(struct mounter_client *c, const struct node_config *config,
				 int fds[NODE_DISKS_MAX + 1], size_t *ret_count, struct err *err);

#endif
