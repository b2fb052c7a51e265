/*
 * checks - what must be right before `larder up` starts anything. Each answers 0, or a negative code with one sentence that
 * says what is wrong and what to do. None of them can hang on a dead file system.
 */
#ifndef CLI_CHECKS_H
#define CLI_CHECKS_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/err.h"

#define CHECK_DISK_LEAST (64ULL << 20) /* bytes free that a disk tier needs to begin with */

/* @path made absolute and clean: "." and ".." and double slashes resolved as text, symlinks left. 0; -ENAMETOOLONG, -errno of
 * getcwd. */
MUST_CHECK int path_absolute(const char *path, char ret[PATH_MAX], struct err *err);

/* As path_absolute(), with the symlinks of the folders above resolved; the last component is not looked at. */
MUST_CHECK int path_resolve_parent(const char *path, char ret[PATH_MAX], struct err *err);

/* @path (absolute, clean) is a folder to mount on: exists, is a folder, is empty, is no mount point. */
MUST_CHECK int check_mount_point(int proc_fd, const char *path, struct err *err);

/* /dev/fuse is there. @path: tests name another. */
MUST_CHECK int check_fuse_device(const char *path, struct err *err);

/* @path is a folder on a writable file system with room. */
MUST_CHECK int check_disk(const char *path, struct err *err);

/* Nobody listens on @address, "ADDR:PORT" or "[ADDR]:PORT"; @option names it in the sentence. */
MUST_CHECK int check_port(const char *option, const char *address, struct err *err);

#endif
