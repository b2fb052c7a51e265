/*
 * test_supervisor - the supervisor's end of the control socket, played by a thread: a mount's device is one end of a
 * socket pair, its memory a real one. The test keeps the kernel's end. Included by tests only.
 */
#ifndef CACHE_NODE_TEST_SUPERVISOR_H
#define CACHE_NODE_TEST_SUPERVISOR_H

#include <errno.h>
#include <sys/socket.h>

#include "cache-node/mounts.h"
#include "cache-node/test_node.h"

#define TEST_MOUNTS_MAX 16

struct test_mount {
	struct kept_session kept;
	int kernel; /* -1: unmounted */
	char target[SHM_TARGET_MAX];
};

struct test_supervisor {
	int ours;
	struct control control; /* the worker's end */
	pthread_t thread;
	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t changed;
	struct test_mount mounts[TEST_MOUNTS_MAX];
	size_t count;
	int mounting; /* requests that came, held or not */
	bool hold;    /* MOUNT waits until this is false */
	int fail;     /* answer of MOUNT, when not 0 */
	bool busy;    /* UNMOUNT answers -EBUSY unless lazy */
};

static inline void test_serve_mount(struct test_supervisor *s, const struct control_request *q,
				    struct control_reply *reply, int fds[2])
{
	static const struct fuse_init_in offered = {.major = 7, .minor = 38, .max_readahead = 1 << 17};
	int pair[2];

	pthread_mutex_lock(&s->lock);
	s->mounting++;
	pthread_cond_broadcast(&s->changed);
	while (s->hold)
		pthread_cond_wait(&s->changed, &s->lock);
	assert_true(s->count < TEST_MOUNTS_MAX);
	reply->status = s->fail;
	struct test_mount *m = &s->mounts[s->count];
	m->kept.id[0] = (uint8_t)(s->count + 1);
	struct shm_config c = {.session = m->kept.id,
			       .dataset = q->dataset,
			       .target = q->target,
			       .offered = &offered,
			       .max_read = q->max_read};
	if (!reply->status) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
		assert_int_equal(shm_create(&c, &m->kept.memory_fd), 0);
		snprintf(m->target, sizeof m->target, "%s", q->target);
		m->kept.dev_fd = fds[0] = pair[0];
		m->kernel = pair[1];
		fds[1] = m->kept.memory_fd;
		memcpy(reply->session, m->kept.id, sizeof reply->session);
		s->count++;
	}
	pthread_mutex_unlock(&s->lock);
}

/* The mount goes: its device answers end of file here, ENODEV in life. */
static inline void test_end_mount(struct test_mount *m)
{
	if (m->kernel < 0)
		return;
	(void)shutdown(m->kernel, SHUT_RDWR);
	m->kernel = fd_close(m->kernel);
	fd_close(m->kept.dev_fd);
	fd_close(m->kept.memory_fd);
}

static inline void test_serve_unmount(struct test_supervisor *s, const struct control_request *q,
				      struct control_reply *reply)
{
	pthread_mutex_lock(&s->lock);
	if (s->busy && !q->lazy)
		reply->status = -EBUSY;
	for (size_t i = 0; i < s->count && !reply->status; i++)
		if (memcmp(s->mounts[i].kept.id, q->session, sizeof q->session) == 0)
			test_end_mount(&s->mounts[i]);
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

static inline void *test_supervisor_main(void *arg)
{
	struct test_supervisor *s = arg;
	struct control_request q;
	int in[FD_PASS_MAX], fds[2];
	size_t count;

	while (fd_recv(s->ours, &q, sizeof q, in, &count) == (ssize_t)sizeof q) {
		struct control_reply reply = {.sequence = q.sequence};
		if (q.op == CONTROL_MOUNT)
			test_serve_mount(s, &q, &reply, fds);
		else
			test_serve_unmount(s, &q, &reply);
		(void)snprintf(reply.text, sizeof reply.text, "%s",
			       reply.status ? err_text(reply.status) : "");
		if (fd_send(s->ours, &reply, sizeof reply, fds,
			    q.op == CONTROL_MOUNT && !reply.status ? 2 : 0))
			break;
	}
	return NULL;
}

static inline struct test_supervisor *test_supervisor_new(void)
{
	struct test_supervisor *s = calloc(1, sizeof *s);
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	s->ours = pair[0];
	control_init(&s->control, pair[1]);
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	assert_int_equal(pthread_create(&s->thread, NULL, test_supervisor_main, s), 0);
	return s;
}

/* No mount may be served any more. */
static inline void test_supervisor_free(struct test_supervisor *s)
{
	(void)shutdown(s->control.fd, SHUT_RDWR);
	pthread_join(s->thread, NULL);
	for (size_t i = 0; i < s->count; i++)
		test_end_mount(&s->mounts[i]);
	fd_close(s->control.fd);
	fd_close(s->ours);
	free(s);
}

/* Holds MOUNT requests back, or lets them go. */
static inline void test_supervisor_hold(struct test_supervisor *s, bool hold)
{
	pthread_mutex_lock(&s->lock);
	s->hold = hold;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

/* Waits until @count MOUNT requests came. */
static inline void test_supervisor_asked(struct test_supervisor *s, int count)
{
	pthread_mutex_lock(&s->lock);
	while (s->mounting < count)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

#endif
