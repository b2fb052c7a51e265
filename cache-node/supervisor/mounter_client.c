#include "cache-node/supervisor/mounter_client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/fd.h"
#include "common/base/mem.h"

struct mounter_client {
	char *socket;
	pthread_mutex_t lock; /* guards all below */
	int fd;               /* -1: not connected */
	uint64_t sequence, connections;
	int64_t deadline_ns; /* CLOCK_MONOTONIC: of the call that runs */
	struct mounter_request request;
	struct mounter_reply reply;
};

int mounter_client_new(const char *socket_path, struct mounter_client **ret)
{
	struct mounter_client *c = mem_calloc(1, sizeof *c);

	if (!c)
		return -ENOMEM;
	c->socket = mem_strdup(socket_path);
	if (!c->socket) {
		(void)mem_free(c);
		return -ENOMEM;
	}
	c->fd = -1;
	(void)pthread_mutex_init(&c->lock, NULL); /* cannot fail with default attributes on Linux */
	*ret = c;
	return 0;
}

struct mounter_client *mounter_client_free(struct mounter_client *c)
{
	if (!c)
		return NULL;
	(void)fd_close(c->fd);
	(void)pthread_mutex_destroy(&c->lock);
	(void)mem_free(c->socket);
	return mem_free(c);
}

static int connect_to(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof address.sun_path)
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path) + 1);
	/* connect() would wait for a place in the queue of a mounter that accepts nobody, and sendmsg() for room: for ever. */
	const struct timeval timeout = {.tv_sec = MOUNTER_BACKING_TIMEOUT_MS / 1000};
	CLEANUP(fd_close) int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout) < 0 ||
	    connect(fd, (struct sockaddr *)&address, sizeof address) < 0 || fcntl(fd, F_SETFL, 0) < 0)
		return -errno;
	return fd_take(&fd);
}

/* Waits for the reply of this request; an older one, of a call that timed out, is thrown away. */
static int receive(struct mounter_client *c, int fds[FD_PASS_MAX], size_t *ret_count)
{
	for (;;) {
		int64_t left_ms = (c->deadline_ns - clock_mono_ns()) / NS_PER_MS;
		struct pollfd p = {.fd = c->fd, .events = POLLIN};
		int n = left_ms > 0 ? poll(&p, 1, (int)left_ms) : 0;
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ETIMEDOUT;
		ssize_t len = fd_recv(c->fd, &c->reply, sizeof c->reply, fds, ret_count);
		if (len < 0)
			return (int)len;
		if (len == (ssize_t)sizeof c->reply && c->reply.sequence == c->sequence)
			return 0;
		for (size_t i = 0; i < *ret_count; i++)
			(void)fd_close(fds[i]);
		*ret_count = 0;
		if (len != (ssize_t)sizeof c->reply)
			return -ENOTCONN;
	}
}

/* The lock is held. 0 or -errno. */
static int connect_locked(struct mounter_client *c)
{
	if (c->fd >= 0)
		return 0;
	int fd = connect_to(c->socket);
	c->fd = fd < 0 ? -1 : fd;
	c->connections += fd >= 0;
	return fd < 0 ? fd : 0;
}

/* 0; -ENOTCONN: nobody is there; -ETIMEDOUT: somebody is, and takes nothing. */
static int send_request(struct mounter_client *c, const int *fds, size_t count)
{
	int r = 0;

	for (int tries = 0; tries < 2; tries++) { /* the mounter may have been replaced since the last call */
		r = connect_locked(c);
		if (r)
			break;
		r = fd_send(c->fd, &c->request, sizeof c->request, fds, count);
		if (!r)
			return 0;
		c->fd = fd_close(c->fd);
		if (r == -EAGAIN)
			break;
	}
	return r == -EAGAIN ? -ETIMEDOUT : -ENOTCONN;
}

/* What a request takes along: descriptors that stay the caller's. */
struct parcel {
	const int *fds;
	size_t count;
};
static const struct parcel nothing;

/* One exchange; the lock is held and c->request filled. Descriptors that came are the caller's. */
static int exchange(struct mounter_client *c, struct parcel out, int fds[FD_PASS_MAX], size_t *ret_count,
		    struct err *err)
{
	c->request.version = MOUNTER_VERSION;
	c->request.sequence = ++c->sequence;
	*ret_count = 0;
	int r = send_request(c, out.fds, out.count);
	if (!r)
		r = receive(c, fds, ret_count);
	if (r) {
		c->fd = fd_close(c->fd);
		return err_set(err, r, "larder-mounter does not answer on %s: %s", c->socket, err_text(r));
	}
	if (c->reply.status == 0)
		return 0;
	for (size_t i = 0; i < *ret_count; i++)
		(void)fd_close(fds[i]);
	*ret_count = 0;
	c->reply.text[sizeof c->reply.text - 1] = 0;
	return err_set(err, c->reply.status < 0 ? c->reply.status : -EPROTO, "%s", c->reply.text);
}

/* Empties the request; the lock is held. */
static struct mounter_request *fill(struct mounter_client *c, enum mounter_op op, const uint8_t *session,
				    int64_t deadline_ns)
{
	memset(&c->request, 0, sizeof c->request);
	c->deadline_ns = deadline_ns;
	c->request.op = op;
	if (session)
		memcpy(c->request.session, session, sizeof c->request.session);
	return &c->request;
}

/* Locks and empties the request. */
static struct mounter_request *begin(struct mounter_client *c, enum mounter_op op, const uint8_t *session)
{
	(void)pthread_mutex_lock(&c->lock);
	return fill(c, op, session, clock_mono_ns() + MOUNTER_CLIENT_TIMEOUT_MS * NS_PER_MS);
}

/* The same for a call that a reader waits for: another one may hold the lock while the mounter hangs. */
static int begin_soon(struct mounter_client *c, enum mounter_op op, const uint8_t *session, struct err *err)
{
	int64_t start = clock_mono_ns(), wall = clock_wall_ns() + MOUNTER_BACKING_TIMEOUT_MS * NS_PER_MS;
	struct timespec until = {.tv_sec = wall / NS_PER_S, .tv_nsec = wall % NS_PER_S};

	if (pthread_mutex_timedlock(&c->lock, &until))
		return err_set(err, -ETIMEDOUT, "larder-mounter does not answer another call");
	(void)fill(c, op, session, start + MOUNTER_BACKING_TIMEOUT_MS * NS_PER_MS);
	return 0;
}

/* Runs the request and unlocks; @want descriptors must come back. */
static int finish(struct mounter_client *c, struct parcel out, int *ret_fds, size_t want, struct err *err)
{
	int fds[FD_PASS_MAX];
	size_t count;
	int r = exchange(c, out, fds, &count, err);

	if (!r && count != want) {
		for (size_t i = 0; i < count; i++)
			(void)fd_close(fds[i]);
		r = err_set(err, -EPROTO, "larder-mounter sent %zu descriptors instead of %zu", count, want);
	}
	for (size_t i = 0; !r && i < want; i++)
		ret_fds[i] = fds[i];
	(void)pthread_mutex_unlock(&c->lock);
	return r;
}

static int set_path(struct mounter_client *c, const char *path, struct err *err)
{
	if (strlen(path) < MOUNTER_PATH_MAX) {
		memcpy(c->request.path, path, strlen(path) + 1);
		return 0;
	}
	(void)pthread_mutex_unlock(&c->lock);
	return err_set(err, -ENAMETOOLONG, "a path is over %d bytes", MOUNTER_PATH_MAX - 1);
}

int mounter_mount(struct mounter_client *c, const struct mounter_mount *m, int *ret_dev_fd, struct err *err)
{
	struct mounter_request *q = begin(c, MOUNTER_MOUNT, m->session);

	q->arg = m->max_read;
	q->arg2 = m->read_ahead_kib;
	q->flags = m->flags;
	int r = set_path(c, m->target, err);
	return r ? r : finish(c, nothing, ret_dev_fd, 1, err);
}

int mounter_unmount(struct mounter_client *c, const uint8_t *session, bool lazy, struct err *err)
{
	begin(c, MOUNTER_UNMOUNT, session)->flags = lazy ? MOUNTER_LAZY : 0;
	return finish(c, nothing, NULL, 0, err);
}

int mounter_abort(struct mounter_client *c, const uint8_t *session, struct err *err)
{
	(void)begin(c, MOUNTER_ABORT, session);
	return finish(c, nothing, NULL, 0, err);
}

int mounter_backing_open(struct mounter_client *c, const uint8_t *session, int fd, int32_t *ret_id,
			 struct err *err)
{
	int fds[FD_PASS_MAX];
	size_t count;

	int r = begin_soon(c, MOUNTER_BACKING_OPEN, session, err);
	if (r)
		return r;
	r = exchange(c, (struct parcel){&fd, 1}, fds, &count, err);
	if (!r)
		*ret_id = (int32_t)c->reply.value;
	(void)pthread_mutex_unlock(&c->lock);
	return r;
}

int mounter_backing_close(struct mounter_client *c, const uint8_t *session, int32_t id, struct err *err)
{
	int r = begin_soon(c, MOUNTER_BACKING_CLOSE, session, err);

	if (r)
		return r;
	c->request.arg = (uint32_t)id;
	return finish(c, nothing, NULL, 0, err);
}

int mounter_tier_open(struct mounter_client *c, const char *path, uint64_t dram_bytes, int *ret_dir_fd,
		      struct err *err)
{
	struct mounter_request *q = begin(c, MOUNTER_TIER_OPEN, NULL);

	q->arg = dram_bytes;
	q->flags = path ? 0 : MOUNTER_TIER_DRAM;
	int r = path ? set_path(c, path, err) : 0;
	return r ? r : finish(c, nothing, ret_dir_fd, 1, err);
}

int mounter_root_open(struct mounter_client *c, const char *path, int *ret_dir_fd, struct err *err)
{
	(void)begin(c, MOUNTER_ROOT_OPEN, NULL);
	int r = set_path(c, path, err);
	return r ? r : finish(c, nothing, ret_dir_fd, 1, err);
}

int mounter_keep(struct mounter_client *c, const uint8_t *session, int fd, struct err *err)
{
	(void)begin(c, MOUNTER_KEEP, session);
	return finish(c, (struct parcel){&fd, 1}, NULL, 0, err);
}

int mounter_give(struct mounter_client *c, const uint8_t *session, int dev_fd, int memory_fd, struct err *err)
{
	const int fds[] = {dev_fd, memory_fd};

	(void)begin(c, MOUNTER_GIVE, session);
	return finish(c, (struct parcel){fds, 2}, NULL, 0, err);
}

int mounter_fetch(struct mounter_client *c, const uint8_t *session, struct mounter_kept *ret, struct err *err)
{
	int fds[FD_PASS_MAX];
	size_t count;

	(void)begin(c, MOUNTER_FETCH, session);
	int r = exchange(c, nothing, fds, &count, err);
	if (!r) {
		*ret = (struct mounter_kept){.dev_fd = -1, .memory_fd = -1};
		c->reply.path[sizeof c->reply.path - 1] = 0;
		memcpy(ret->target, c->reply.path, sizeof ret->target);
		size_t next = 0;
		if (session && next < count)
			ret->dev_fd = fds[next++];
		if (next < count)
			ret->memory_fd = fds[next++];
		for (; next < count; next++)
			(void)fd_close(fds[next]);
	}
	(void)pthread_mutex_unlock(&c->lock);
	return r;
}

int mounter_list(struct mounter_client *c, size_t first, uint8_t ret[MOUNTER_LIST_MAX][MOUNTER_SESSION_BYTES],
		 size_t *ret_total, struct err *err)
{
	int fds[FD_PASS_MAX];
	size_t count;

	begin(c, MOUNTER_LIST, NULL)->arg = first;
	int r = exchange(c, nothing, fds, &count, err);
	if (!r) {
		memcpy(ret, c->reply.sessions, sizeof c->reply.sessions);
		*ret_total = (size_t)c->reply.value;
	}
	(void)pthread_mutex_unlock(&c->lock);
	return r;
}

/* ---- the connection ---- */

int mounter_client_connect(struct mounter_client *c)
{
	(void)pthread_mutex_lock(&c->lock);
	int r = connect_locked(c);
	(void)pthread_mutex_unlock(&c->lock);
	return r;
}

int mounter_client_fd(struct mounter_client *c)
{
	(void)pthread_mutex_lock(&c->lock);
	int fd = c->fd;
	(void)pthread_mutex_unlock(&c->lock);
	return fd;
}

void mounter_client_disconnect(struct mounter_client *c)
{
	(void)pthread_mutex_lock(&c->lock);
	c->fd = fd_close(c->fd);
	(void)pthread_mutex_unlock(&c->lock);
}

uint64_t mounter_client_connections(struct mounter_client *c)
{
	(void)pthread_mutex_lock(&c->lock);
	uint64_t n = c->connections;
	(void)pthread_mutex_unlock(&c->lock);
	return n;
}
