/*
 * control - what a worker asks its supervisor over their socket pair: make a mount, end a mount. Fixed structs; both ends
 * are one program of one version.
 */
#ifndef CACHE_NODE_SUPERVISOR_CONTROL_H
#define CACHE_NODE_SUPERVISOR_CONTROL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "cache-node/fuse/shm.h"
#include "common/base/attr.h"
#include "common/base/err.h"

enum control_op { CONTROL_MOUNT = 1, CONTROL_UNMOUNT = 2 };

struct control_request {
	uint32_t op; /* enum control_op */
	uint32_t lazy, max_read, features;
	uint64_t sequence;
	uint8_t session[SHM_SESSION_BYTES]; /* UNMOUNT */
	char dataset[SHM_DATASET_MAX];      /* MOUNT */
	char target[SHM_TARGET_MAX];        /* MOUNT */
};

struct control_reply {
	uint64_t sequence;
	int32_t status;
	uint32_t pad;
	uint8_t session[SHM_SESSION_BYTES];
	char text[256]; /* words when status is not 0 */
};

/* The worker's end. */
struct control {
	int fd;
	pthread_mutex_t lock; /* one exchange at a time */
	uint64_t sequence;
};

/* @fd: the worker's end of the socket pair; borrowed. */
void control_init(struct control *c, int fd);

struct control_mount {
	const char *dataset, *target;
	uint32_t max_read, features; /* features: enum shm_features */
};
/* The two descriptors are the caller's. 0 or a negative code with words. */
MUST_CHECK int control_mount(struct control *c, const struct control_mount *m, int *ret_dev_fd,
			     int *ret_memory_fd, struct err *err);
MUST_CHECK int control_unmount(struct control *c, const uint8_t *session, bool lazy, struct err *err);

#endif
