/*
 * instance - the folder /run/larder/NAME of a running `larder up`: who holds it, what is in it.
 *
 *   lock           held by `larder up` as long as it lives (an open-file-description lock, fcntl(2))
 *   instance.json  mount points, state folder, tiers: what `down` needs when `up` was killed
 *   mounter/ node/ sockets; files/ the Datasets as given; dram/ the DRAM tier; *.pid; log with --daemon
 */
#ifndef CLI_INSTANCE_H
#define CLI_INSTANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "cli/names.h"
#include "common/base/attr.h"
#include "common/base/err.h"

#define INSTANCE_ROOT     "/run/larder"
#define INSTANCE_PATH_MAX 108 /* of a socket's path, sun_path */
#define INSTANCES_MAX     64
#define INSTANCE_DEFAULT  "default"

enum instance_state {
	INSTANCE_ABSENT,  /* no folder */
	INSTANCE_RUNNING, /* its lock is held */
	INSTANCE_LEFT,    /* a folder without an owner: its `up` was killed */
};

/* "/run/larder/NAME" or "/run/larder/NAME/REST" into @out; @name is valid. */
void instance_path(const char *name, const char *rest, char out[INSTANCE_PATH_MAX]);

/* @root_fd: INSTANCE_ROOT, or -1 where there is none. */
enum instance_state instance_look(int root_fd, const char *name);

/* Names of the instances in @state, at most INSTANCES_MAX, sorted. Returns how many. */
size_t instance_list(int root_fd, enum instance_state state, char ret[INSTANCES_MAX][NAME_LABEL_MAX + 1]);

/* Chooses the instance a command is about: @wanted, or the only running one, or the only one left behind, or "default".
 * 0; -EINVAL with words: the name is no label, or several run. */
MUST_CHECK int instance_choose(int root_fd, const char *wanted, char ret[NAME_LABEL_MAX + 1],
			       struct err *err);

/* INSTANCE_ROOT opened, or -1. The caller closes it. */
int instance_root_open(void);

/* Takes the lock in @dir_fd, the instance's folder, made just now or found. 0 with *ret_fd to keep open; -EAGAIN: somebody
 * has it; -errno. */
MUST_CHECK int instance_lock(int dir_fd, int *ret_fd);

/* Reads or writes a pid in DIR/FILE. 0 or -errno; a file with no pid in it is -EINVAL. */
MUST_CHECK int instance_pid_read(int dir_fd, const char *file, pid_t *ret);
MUST_CHECK int instance_pid_write(int dir_fd, const char *file, pid_t pid);

/* Removes everything below the folder @name of @parent_fd and the folder; stops at mount points. 0 or the first -errno. */
MUST_CHECK int instance_remove_tree(int parent_fd, const char *name);

#endif
