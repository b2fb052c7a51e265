/*
 * What a killed mounter leaves: mounts in the table of the kernel, and descriptors in the hands of its clients. The next one
 * finds the former by their marks, before anybody can talk to it, and takes the latter back: each for a session that it
 * knows to be the caller's already, so that nobody can claim a mount, name a path or choose a device.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "common/base/log.h"
#include "csi-driver/mounter/state.h"

#define FUSE_DEVICE makedev(10, 229) /* as the kernel's list of devices has it */

/* ---- the mounts ---- */

static bool is_below_a_root(const struct mounter *m, const char *path)
{
	for (size_t i = 0; i < m->mount_root_count; i++)
		if (path_below(m->mount_roots[i], path))
			return true;
	return false;
}

static void adopt(struct mounter *m, const struct marked_mount *mark)
{
	struct session *s = session_free_slot(m);
	size_t client = 0;

	while (client < m->client_count && strcmp(m->clients[client].socket, mark->socket) != 0)
		client++;
	/* The first line of a session is its mount; others are copies that somebody made of it. */
	if (client == m->client_count || !s || session_id_taken(m, mark->session) ||
	    !path_is_clean(mark->path, MOUNTER_PATH_MAX) || !is_below_a_root(m, mark->path))
		return;
	*s = (struct session){
		.used = true, .client = client, .dev_fd = -1, .memory_fd = -1, .minor = mark->minor};
	memcpy(s->id, mark->session, sizeof s->id);
	memcpy(s->path, mark->path, strlen(mark->path) + 1);
	log_write(LOG_INFO, "a mount of a former mounter", LOG_STR("path", s->path), NULL);
}

void adopt_marked_mounts(struct mounter *m)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t size = 0;

	while (f && getline(&line, &size, f) > 0) {
		struct marked_mount mark;
		if (mark_read(line, &mark))
			adopt(m, &mark);
	}
	free(line);
	if (f)
		(void)fclose(f);
	else
		log_write(LOG_WARN, "mounts of a former mounter are not known: /proc/self/mountinfo",
			  LOG_STR("error", strerrordesc_np(errno)), NULL);
}

/* ---- the descriptors ---- */

/* The connection of a FUSE descriptor, where the kernel tells (6.12 does not, 6.18 does); -1: not. It is the mount's device. */
static long connection_of(int fd)
{
	static const char key[] = "fuse_connection:";
	char path[40], text[512];

	(void)snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
	CLEANUP(fd_close) int info = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = info < 0 ? -1 : read(info, text, sizeof text - 1);
	if (n < 0)
		return -1;
	text[n] = 0;
	const char *at = strstr(text, key);
	return at ? strtol(at + sizeof key - 1, NULL, 10) : -1;
}

/* NULL when @fd may be the device of @s, else why not. Where the kernel does not tell whose it is, another connection of the
 * same client can be given for it: then the client's own checked files are registered there, with which it gains nothing. */
static const char *device_refusal(const struct session *s, int fd)
{
	struct pollfd p = {.fd = fd, .events = 0};
	struct stat st;
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || examine(fd, &st))
		return "it cannot be examined";
	if (flags & O_PATH)
		return "it was opened with O_PATH";
	if (!S_ISCHR(st.st_mode) || st.st_rdev != FUSE_DEVICE)
		return "it is not /dev/fuse";
	if ((flags & O_ACCMODE) != O_RDWR)
		return "it is not opened for reading and writing";
	if (poll(&p, 1, 0) < 0 || p.revents & (POLLERR | POLLNVAL))
		return "it serves no mount";
	long connection = connection_of(fd);
	if (connection >= 0 && connection != (long)s->minor)
		return "it serves another mount";
	return NULL;
}

int give_back(struct mounter *m, struct exchange *x)
{
	struct session *s = session_find(m, x->client, x->request->session);

	if (!s)
		return exchange_fail(x, -ENOENT, "no such session of this client");
	if (s->dev_fd >= 0)
		return exchange_fail(x, -EEXIST, "the descriptors of that session are here");
	if (x->fd_count != 2)
		return exchange_fail(x, -EINVAL, "device and memory are given back together, %zu came",
				     x->fd_count);
	const char *why = device_refusal(s, x->fds[0]);
	if (why)
		return exchange_fail(x, -EACCES, "the descriptor is refused: %s", why);
	if (!is_shared_memory(x->fds[1]))
		return exchange_fail(x, -EACCES, "only shared memory (memfd) is kept");
	CLEANUP(fd_close) int device = fcntl(x->fds[0], F_DUPFD_CLOEXEC, 3);
	CLEANUP(fd_close) int memory = fcntl(x->fds[1], F_DUPFD_CLOEXEC, 3);
	if (device < 0 || memory < 0)
		return exchange_fail(x, -errno, "keeping a descriptor: %s", strerrordesc_np(errno));
	(void)fd_close(s->memory_fd);
	s->dev_fd = fd_take(&device);
	s->memory_fd = fd_take(&memory);
	return 0;
}
