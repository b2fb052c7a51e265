/*
 * proc - processes as /proc shows them: is a recorded pid still our program, and who holds a mount.
 *
 * All functions take a descriptor of the root of a proc file system, so that tests bring their own.
 */
#ifndef CLI_PROC_H
#define CLI_PROC_H

#include <stdbool.h>
#include <sys/types.h>

#include "cli/mountinfo.h"
#include "common/base/attr.h"

/* Whether process @pid runs a program whose file is called @program and has @argument in its command line (NULL: any): a recycled
 * pid does not. */
bool proc_is(int proc_fd, pid_t pid, const char *program, const char *argument);

/* Whether @pid has @path open. */
bool proc_has_open(int proc_fd, pid_t pid, const char *path);

#define HOLDERS_MAX 16

struct holder {
	pid_t pid;
	char name[32]; /* comm */
	char how[PATH_MAX +
		 32]; /* "working folder /mnt/x", "file /mnt/x/y", "map of /mnt/x/y", "root folder" */
};

/* Who keeps @mount busy, without touching it: at most HOLDERS_MAX, one reason a process. Returns how many were found. */
size_t proc_holders(int proc_fd, const struct mount_entry *mount, struct holder ret[HOLDERS_MAX]);

#endif
