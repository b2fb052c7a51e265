/*
 * fd - descriptors: closing, whole reads and writes, and passing them over a socket.
 */
#ifndef COMMON_BASE_FD_H
#define COMMON_BASE_FD_H

#include <stdint.h>
#include <stddef.h>
#include <sys/types.h>

#include "common/base/attr.h"

/* Closes @fd unless negative, keeps errno; returns -1. */
int fd_close(int fd);
DEFINE_CLEANUP(int, fd_close)

/* Moves a descriptor out of a CLEANUP(fd_close) variable. */
static inline int fd_take(int *fd)
{
	int taken = *fd;
	*fd = -1;
	return taken;
}

/* Reads or writes exactly @len bytes, retrying on EINTR. 0 or -errno; a short file is -ENODATA. */
MUST_CHECK int fd_pread_full(int fd, void *buf, size_t len, uint64_t offset);
MUST_CHECK int fd_pwrite_full(int fd, const void *buf, size_t len, uint64_t offset);
MUST_CHECK int fd_write_full(int fd, const void *buf, size_t len);

/* Reads a whole file below @dir_fd (AT_FDCWD for the working folder) of at most @bytes_max. The text is NUL-ended and
 * handed to the caller. 0, -errno, -EFBIG. */
MUST_CHECK int fd_read_file(int dir_fd, const char *path, size_t bytes_max, char **ret, size_t *ret_len);

/* Writes @path below @dir_fd whole or not at all: a temporary name, fsync, rename, fsync of the folder. */
MUST_CHECK int fd_write_file(int dir_fd, const char *path, const void *bytes, size_t len, mode_t mode);

#define FD_PASS_MAX 8

/* Sends @len bytes with @count descriptors as one SEQPACKET message; the descriptors stay the caller's. 0 or -errno. */
MUST_CHECK int fd_send(int sock, const void *msg, size_t len, const int *fds, size_t count);

/* Receives one message of at most @len bytes with at most FD_PASS_MAX descriptors, close-on-exec, owned by the caller.
 * *ret_count is set also on failure (to 0). Returns the length, 0 at the end of the stream, or -errno; -EMSGSIZE when
 * message or descriptors were cut (what came was closed). */
MUST_CHECK ssize_t fd_recv(int sock, void *msg, size_t len, int fds[FD_PASS_MAX], size_t *ret_count);

/* The same, but what came with a message that was cut is the caller's to close: *ret_count may be above 0 with -EMSGSIZE. For
 * those who cannot trust the sender: to close what somebody else opened may take for ever. */
MUST_CHECK ssize_t fd_recv_raw(int sock, void *msg, size_t len, int fds[FD_PASS_MAX], size_t *ret_count);

#endif
