#include "cache-node/supervisor/control.h"

#include <errno.h>
#include <string.h>

#include "common/base/fd.h"

void control_init(struct control *c, int fd)
{
	c->fd = fd;
	c->sequence = 0;
	(void)pthread_mutex_init(&c->lock, NULL);
}

/* The supervisor bounds every step of its own, so the answer comes; a dead supervisor takes this process with it. */
static int exchange(struct control *c, struct control_request *q, int fds[FD_PASS_MAX], size_t *count,
		    struct err *err)
{
	struct control_reply reply = {0};

	(void)pthread_mutex_lock(&c->lock);
	q->sequence = ++c->sequence;
	*count = 0;
	int r = fd_send(c->fd, q, sizeof *q, NULL, 0);
	ssize_t n = r ? r : fd_recv(c->fd, &reply, sizeof reply, fds, count);
	(void)pthread_mutex_unlock(&c->lock);
	if (n != (ssize_t)sizeof reply || reply.sequence != q->sequence) {
		for (size_t i = 0; i < *count; i++)
			(void)fd_close(fds[i]);
		return err_set(err, -EPIPE, "the supervisor does not answer");
	}
	reply.text[sizeof reply.text - 1] = 0;
	return reply.status ? err_set(err, reply.status < 0 ? reply.status : -EPROTO, "%s", reply.text) : 0;
}

int control_mount(struct control *c, const struct control_mount *m, int *ret_dev_fd, int *ret_memory_fd,
		  struct err *err)
{
	struct control_request q = {.op = CONTROL_MOUNT, .max_read = m->max_read, .features = m->features};
	int fds[FD_PASS_MAX];
	size_t count;

	if (strlen(m->dataset) >= sizeof q.dataset || strlen(m->target) >= sizeof q.target)
		return err_set(err, -ENAMETOOLONG, "the mount point's path is over %d bytes",
			       SHM_TARGET_MAX - 1);
	memcpy(q.dataset, m->dataset, strlen(m->dataset));
	memcpy(q.target, m->target, strlen(m->target));
	int r = exchange(c, &q, fds, &count, err);
	if (r)
		return r;
	CHECK(count == 2);
	*ret_dev_fd = fds[0];
	*ret_memory_fd = fds[1];
	return 0;
}

int control_unmount(struct control *c, const uint8_t *session, bool lazy, struct err *err)
{
	struct control_request q = {.op = CONTROL_UNMOUNT, .lazy = lazy};
	int fds[FD_PASS_MAX];
	size_t count;

	memcpy(q.session, session, sizeof q.session);
	return exchange(c, &q, fds, &count, err);
}
