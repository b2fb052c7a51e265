/*
 * Closing what clients sent. To close a file on a FUSE mount asks its server (FLUSH), who may be that very client and never
 * answer; a socket may linger. So what is not known to close at once is closed by a thread of its own, which shares the
 * table of descriptors, and the loop goes on. A client whose descriptors hang so is heard no more until they end.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/log.h"
#include "csi-driver/mounter/state.h"

struct closing {
	int fd;
	_Atomic unsigned *count; /* of its client */
};

static void *close_one(void *arg)
{
	struct closing c = *(struct closing *)arg;

	free(arg);
	(void)close(c.fd); /* however it ended, it is closed */
	(void)atomic_fetch_sub(c.count, 1);
	return NULL;
}

/* Files of file systems that ask nobody, names without a file behind them, and the FUSE device itself. */
static bool closes_at_once(const struct mounter *m, int fd)
{
	struct stat st = {0};
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || flags & O_PATH || is_shared_memory(fd))
		return true;
	if (examine(fd, &st) < 0)
		return false;
	if (S_ISCHR(st.st_mode))
		return st.st_rdev == FUSE_DEVICE;
	for (size_t i = 0; S_ISREG(st.st_mode) && i < m->tier_count; i++)
		if (m->tiers[i].dev && m->tiers[i].dev == st.st_dev)
			return true;
	return false;
}

/* 0 or -errno; then the descriptor stays open. */
static int close_elsewhere(struct client *c, int fd)
{
	struct closing *job = malloc(sizeof *job);
	pthread_attr_t attributes;
	pthread_t thread;

	if (!job)
		return -ENOMEM;
	*job = (struct closing){.fd = fd, .count = &c->closing};
	(void)pthread_attr_init(&attributes); /* neither fails for these values */
	(void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	(void)pthread_attr_setstacksize(&attributes, (size_t)PTHREAD_STACK_MIN + 65536);
	(void)atomic_fetch_add(&c->closing, 1);
	int r = -pthread_create(&thread, &attributes, close_one, job);
	(void)pthread_attr_destroy(&attributes);
	if (r) {
		(void)atomic_fetch_sub(&c->closing, 1);
		free(job);
	}
	return r;
}

bool client_is_stuck(const struct client *c)
{
	return atomic_load(&c->closing) >= MOUNTER_CLOSING_MAX;
}

void close_received(struct mounter *m, size_t client, const int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int r = 0;
		if (closes_at_once(m, fds[i]))
			(void)close(fds[i]); /* a failed close has closed it all the same */
		else
			r = close_elsewhere(&m->clients[client], fds[i]);
		if (r)
			log_write(LOG_WARN, "a descriptor that a client sent stays open",
				  LOG_INT("client", client), LOG_STR("error", strerrordesc_np(-r)), NULL);
	}
}
