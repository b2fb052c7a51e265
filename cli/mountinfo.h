/*
 * mountinfo - what /proc/self/mountinfo says of one path. Asking it touches no file system, so a dead or hung mount cannot
 * hold the caller (proc_pid_mountinfo(5)).
 */
#ifndef CLI_MOUNTINFO_H
#define CLI_MOUNTINFO_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/attr.h"

struct mount_entry {
	int id; /* mnt_id of fdinfo */
	uint32_t major, minor;
	char type[32];
	char point[PATH_MAX];
	bool read_only;
};

/* Reads one line of mountinfo. 0 or -EINVAL. */
MUST_CHECK int mount_entry_parse(const char *line, struct mount_entry *ret);

/* The topmost mount exactly at @path (absolute, clean) in the table at @proc_fd's self/mountinfo. 0; -ENOENT: none; -errno. */
MUST_CHECK int mount_at(int proc_fd, const char *path, struct mount_entry *ret);

/* The mount that @path lies in, by the longest prefix. 0 or -errno. */
MUST_CHECK int mount_of(int proc_fd, const char *path, struct mount_entry *ret);

/* Whether the mount is a FUSE file system, ours ("fuse.larder") or another. */
bool mount_is_fuse(const struct mount_entry *m);
bool mount_is_larder(const struct mount_entry *m);

#endif
