#include "common/base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/mem.h"

int fd_close(int fd)
{
	int saved = errno;

	if (fd >= 0)
		(void)close(fd); /* nothing to do about it: Linux frees the number whatever it answers */
	errno = saved;
	return -1;
}

int fd_pread_full(int fd, void *buf, size_t len, uint64_t offset)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = pread(fd, (char *)buf + done, len - done, (off_t)(offset + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		done += (size_t)n;
	}
	return 0;
}

int fd_pwrite_full(int fd, const void *buf, size_t len, uint64_t offset)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = pwrite(fd, (const char *)buf + done, len - done, (off_t)(offset + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	return 0;
}

int fd_write_full(int fd, const void *buf, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = write(fd, (const char *)buf + done, len - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	return 0;
}

static int read_all(int fd, size_t bytes_max, char **ret, size_t *ret_len)
{
	size_t len = 0, room = 4096;
	CLEANUP(free_str) char *text = mem_alloc(room + 1);

	while (text) {
		ssize_t n = read(fd, text + len, room - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		len += (size_t)n;
		if (len > bytes_max)
			return -EFBIG;
		if (n == 0) {
			text[len] = 0;
			*ret = TAKE(text);
			*ret_len = len;
			return 0;
		}
		if (len == room) {
			char *more = mem_resize(text, 2 * room + 1, 1);
			if (!more)
				return -ENOMEM;
			text = more;
			room *= 2;
		}
	}
	return -ENOMEM;
}

int fd_read_file(int dir_fd, const char *path, size_t bytes_max, char **ret, size_t *ret_len)
{
	CLEANUP(fd_close) int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -errno : read_all(fd, bytes_max, ret, ret_len);
}

int fd_write_file(int dir_fd, const char *path, const void *bytes, size_t len, mode_t mode)
{
	/* A name for each thread: two that write the same file at once must not share it. */
	CLEANUP(free_str) char *temp = mem_printf("%s.tmp%d", path, (int)gettid());
	CLEANUP(free_str) char *folder = mem_strdup(path);
	if (!temp || !folder)
		return -ENOMEM;
	char *slash = strrchr(folder, '/');
	if (slash)
		slash[slash == folder] = 0;
	CLEANUP(fd_close) int dir = openat(dir_fd, slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	(void)unlinkat(dir_fd, temp, 0); /* of a process that was killed here; usually there is none */
	CLEANUP(fd_close) int fd = openat(dir_fd, temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	if (dir < 0 || fd < 0)
		return -errno;
	int r = fd_write_full(fd, bytes, len);
	if (!r && fsync(fd) < 0)
		r = -errno;
	if (!r && renameat(dir_fd, temp, dir_fd, path) < 0)
		r = -errno;
	if (r) {
		(void)unlinkat(dir_fd, temp, 0); /* best effort: the error is already being reported */
		return r;
	}
	return fsync(dir) < 0 ? -errno : 0;
}

int fd_send(int sock, const void *msg, size_t len, const int *fds, size_t count)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(FD_PASS_MAX * sizeof(int))];
	} control = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)msg, .iov_len = len};
	struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1};

	CHECK(count <= FD_PASS_MAX);
	if (count) {
		h.msg_control = control.bytes;
		h.msg_controllen = CMSG_SPACE(count * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&h);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(c), fds, count * sizeof(int));
	}
	ssize_t n;
	do
		n = sendmsg(sock, &h, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EMSGSIZE;
}

ssize_t fd_recv_raw(int sock, void *msg, size_t len, int fds[FD_PASS_MAX], size_t *ret_count)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(FD_PASS_MAX * sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = msg, .iov_len = len};
	struct msghdr h = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = control.bytes,
			   .msg_controllen = sizeof control};
	ssize_t n;

	*ret_count = 0;
	do
		n = recvmsg(sock, &h, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&h); c; c = CMSG_NXTHDR(&h, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count && *ret_count < FD_PASS_MAX; i++)
			memcpy(&fds[(*ret_count)++], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
	}
	return h.msg_flags & (MSG_TRUNC | MSG_CTRUNC) ? -EMSGSIZE : n;
}

ssize_t fd_recv(int sock, void *msg, size_t len, int fds[FD_PASS_MAX], size_t *ret_count)
{
	ssize_t n = fd_recv_raw(sock, msg, len, fds, ret_count);

	for (; n < 0 && *ret_count > 0; --*ret_count)
		(void)fd_close(fds[*ret_count - 1]);
	return n;
}
