/*
 * child - a program that `larder up` starts, watches and starts again when it dies.
 *
 * Children live in process groups of their own: Ctrl-C is for `larder up`, which ends them in order. They outlive an `up` that
 * is killed, so that its mounts go on; `larder down` finds them by their pid files.
 */
#ifndef CLI_CHILD_H
#define CLI_CHILD_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/base/attr.h"
#include "common/base/err.h"

#define CHILD_ARGS_MAX     64
#define CHILD_DELAY_MS     100 /* before the first restart */
#define CHILD_DELAY_MS_MAX 5000
#define CHILD_STEADY_NS    10000000000LL /* one that lived so long starts anew without delay growing */

struct child {
	const char *name; /* "larder-node"; also its pid file, NAME.pid in the instance's folder */
	const char *pid_file;
	char program[PATH_MAX];
	char *args[CHILD_ARGS_MAX + 1]; /* owned, NULL-ended */
	int arg_count;
	bool truncated; /* an argument was lost: more than fit, or no memory */
	uid_t uid;      /* 0: stays root */
	gid_t gid;
	int error_fd;       /* standard error of the program; -1: ours */
	pid_t pid;          /* 0: does not run */
	int64_t started_ns; /* CLOCK_MONOTONIC */
	int64_t restart_ns; /* when to start it again; 0: not planned */
	int delay_ms;       /* of the last restart */
};

/* Appends an argument; it is copied. child_start() tells when one was lost. */
void child_arg(struct child *c, const char *fmt, ...) PRINTF(2, 3);

/* Starts it; its standard error is ours, its pid lands in its pid file below @dir_fd. 0 or -errno with words. */
MUST_CHECK int child_start(struct child *c, int dir_fd, struct err *err);

/* It was reaped at @now_ns: plans the restart. */
void child_died(struct child *c, int64_t now_ns);

/* Sends SIGTERM, waits up to @timeout_ms, then kills and waits. Reaps it. */
void child_stop(struct child *c, int timeout_ms);

/* Frees the arguments. */
void child_done(struct child *c);

/* The same for a process that is not our child, checked by its pidfd's owner beforehand: 0, or -ETIMEDOUT when even SIGKILL
 * did not end it within @timeout_ms. Takes @pidfd. */
MUST_CHECK int process_stop(int pidfd, int timeout_ms);

/* "/usr/local/libexec/larder" beside the folder of the running program. 0 or -errno with words. */
MUST_CHECK int libexec_folder(char ret[PATH_MAX], struct err *err);

#endif
