/*
 * supervisor - PID 1 of the node: holds what must outlive the worker, starts a new one within milliseconds of a death,
 * and makes mounts by asking the mounter. It forks the worker without exec, so a restart costs no loading; to keep that
 * possible it starts no thread and uses no library that does.
 *
 * Exit status of a worker: 0 after SIGTERM, SUPERVISOR_CANNOT_START when it can never serve (a message was logged);
 * anything else, and any signal, is a crash.
 */
#ifndef CACHE_NODE_SUPERVISOR_SUPERVISOR_H
#define CACHE_NODE_SUPERVISOR_SUPERVISOR_H

#include <stdint.h>

#include "cache-node/fuse/shm.h"
#include "cache-node/node_config.h"
#include "common/base/attr.h"

#define SUPERVISOR_CANNOT_START 3
#define SUPERVISOR_SESSIONS_MAX 1024

/* A mount that is kept. */
struct kept_session {
	uint8_t id[SHM_SESSION_BYTES];
	int dev_fd, memory_fd;
};

/* What a worker begins with: all of it inherited by fork. */
struct worker_start {
	const struct node_config *config;
	int control_fd;      /* socket pair to the supervisor */
	int memory_fd;       /* node memory */
	const int *tier_fds; /* a directory for each disk of the config, then DRAM if there is any */
	size_t tier_count;
	const struct kept_session *sessions;
	size_t session_count;
	int64_t died_ns; /* CLOCK_MONOTONIC when the former worker's death was seen; 0: there was none */
};

/* Runs until SIGTERM or SIGINT. @worker is called in the child and never returns to the supervisor: its value is the exit
 * status. Returns the exit status of the program. */
MUST_CHECK int supervisor_run(const struct node_config *config,
			      int (*worker)(const struct worker_start *start));

#endif
