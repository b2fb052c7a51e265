/*
 * up - the parts of `larder up`: prepare its folder, start its programs, mount the datasets, supervise, and undo all that.
 *
 *   up.c        the order of things, and the daemon's two processes
 *   up_setup.c  folders, Secrets, the operator's check of the files
 *   up_stack.c  the three programs: command lines, readiness, death and restart
 *   up_mount.c  waiting for datasets, publishing, unmounting
 *
 * One thread; signals come through a signalfd.
 */
#ifndef CLI_UP_H
#define CLI_UP_H

#include "cli/child.h"
#include "cli/instance.h"
#include "cli/record.h"
#include "cli/terminal.h"
#include "cli/up_options.h"
#include "common/rpc.h"

enum { UP_MOUNTER, UP_NODE, UP_OPERATOR, UP_CHILDREN };

struct up {
	struct up_options *o; /* owned */
	char run[INSTANCE_PATH_MAX];
	int root_fd, run_fd, lock_fd, proc_fd, signal_fd,
		log_fd;    /* -1: not open; log_fd: of a daemon's programs */
	bool made_run;     /* the folder below /run/larder is ours to remove */
	bool disk_default; /* the tier below the state folder was chosen */
	struct child children[UP_CHILDREN];
	bool starting; /* a program that dies ends the start */
	struct rpc_client *node;
	struct record record;
	bool *published; /* one for each target of the record; owned */
	int stops; /* signals that asked for the end so far; from the second on mounts are detached although busy */
	struct progress_line line;
};

/* ---- up_setup.c ---- */

/* Checks mount point, disks, ports; makes the run folder with all in it, and the state folder. */
MUST_CHECK int up_prepare(struct up *u, struct err *err);

/* Runs `larder-operator --check`, prints its notes, plans the mounts. -EINVAL with no words when its own messages said it. */
MUST_CHECK int up_read_datasets(struct up *u, struct err *err);

/* Removes the run folder. */
void up_clean(struct up *u);

/* ---- up_stack.c ---- */

/* Starts the three programs, each once the one before it is ready. */
MUST_CHECK int up_start(struct up *u, struct err *err);

/* Waits up to @timeout_ms for signals, reaps and restarts programs. 0; -ECANCELED with words while starting and asked to stop;
 * -ECHILD with words while starting and a program died. */
MUST_CHECK int up_turn(struct up *u, int timeout_ms, struct err *err);

/* Ends the programs in the reverse order. */
void up_stop(struct up *u);

/* ---- up_mount.c ---- */

/* Waits until each dataset has a version, and mounts it; prints a line for each. */
MUST_CHECK int up_mount_all(struct up *u, struct err *err);

/* Unmounts what is mounted. A busy mount is waited for, after its holders were named, until the next stop signal; @lazy: it is
 * detached at once. */
void up_unmount_all(struct up *u, bool lazy);

/* Says on standard error who holds the mount at @target. Returns how many were found. */
size_t tell_holders(int proc_fd, const char *target);

/* Unmounts @target if a mount of Larder sits there. 0, -EBUSY, -errno. */
MUST_CHECK int unmount_here(int proc_fd, const char *target, bool lazy);

#endif
