/*
 * file - internal to the file source: opening below a root, validators, and the walk of a listing.
 *
 * Names are resolved by the kernel beneath the root (openat2(2), RESOLVE_BENEATH), so no link or ".." leads out of it.
 */
#ifndef COMMON_SOURCE_FILE_H
#define COMMON_SOURCE_FILE_H

#include <stdbool.h>
#include <sys/stat.h>

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/source.h"

/* Opens @path below @root_fd for reading; "" is the root. @flags: O_DIRECTORY, O_PATH or 0. @follow: also through a symbolic
 * link at its end, if that leads to a place below the root. A descriptor owned by the caller, or -errno. */
MUST_CHECK int file_open(int root_fd, const char *path, int flags, bool follow);

/* Weak: inode, size, mtime and ctime, as four little-endian 64-bit numbers. */
struct validator file_validator(const struct stat *st);

/* Fills type, size, mode, time and validator. False for what is no file, folder or symbolic link. */
bool file_entry(const struct stat *st, struct source_entry *ret);

/* The code of the contract in source.h for an errno of a file system. @gone: what a missing file answers. */
int file_code(int rc, int gone);

/* What a walk asks and tells; all on the thread that walks. */
struct file_walk {
	int root_fd;
	const char *prefix;
	enum source_symlinks symlinks;
	bool (*canceled)(void *ctx);
	int (*entries)(void *ctx, const struct source_entry *entries, size_t count);
	void *ctx;
};

/* Everything below the prefix, folder by folder. *ret_left_out: what was no file, folder or link to be shown. 0, -ENOENT (no
 * such prefix), -EACCES, -ECANCELED, what entries() answered. */
MUST_CHECK int file_walk_run(const struct file_walk *w, uint64_t *ret_left_out, struct err *err);

#endif
