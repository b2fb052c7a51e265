/*
 * handshake - answers the kernel's INIT once in the life of a mount, without libfuse. libfuse of every later worker is fed
 * a copy of it (session.h), so that starting and restarting are the same code.
 */
#ifndef CACHE_NODE_FUSE_HANDSHAKE_H
#define CACHE_NODE_FUSE_HANDSHAKE_H

#include <linux/fuse.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/err.h"

struct handshake {
	uint32_t max_read;           /* bytes of one READ, as given to the mount */
	uint32_t features;           /* enum shm_features: in: wanted; out: those the kernel has */
	struct fuse_init_in offered; /* out: the kernel's INIT */
};

/* Reads INIT from a fresh /dev/fuse descriptor and answers it. Waits at most @timeout_ms. 0, -ETIMEDOUT, -EPROTO, -errno
 * with words. */
MUST_CHECK int fuse_handshake(int dev_fd, int timeout_ms, struct handshake *h, struct err *err);

#endif
