/*
 * The supervisor against a mounter played by a thread of the test. The supervisor runs in a child, as in life.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "cache-node/supervisor/supervisor.h"
#include "common/base/fd.h"
#include "csi-driver/mounter.h"

#define NOBODY   65534
#define SESSIONS 200u /* more than one reply to LIST holds */
#define PEERS    8

struct mounter {
	char folder[64], socket[80];
	int listener, stop[2], drop[2]; /* a byte in drop: all connections end, as when it dies */
	pthread_t thread;
	size_t count; /* sessions */
	uint8_t ids[SESSIONS][MOUNTER_SESSION_BYTES];
	uint8_t unfinished[MOUNTER_SESSION_BYTES]; /* nothing was kept for this one */
	uint8_t lost[MOUNTER_SESSION_BYTES];       /* its descriptors died with a former mounter */
	_Atomic int kept, given, aborted,
		refusals; /* KEEP, GIVE and ABORT; how many of GIVE are refused first */
};

static void remove_session(struct mounter *m, const uint8_t *id)
{
	for (size_t i = 0; i < m->count; i++)
		if (memcmp(m->ids[i], id, sizeof m->ids[i]) == 0) {
			memmove(m->ids[i], m->ids[i + 1], (--m->count - i) * sizeof m->ids[i]);
			return;
		}
}

static void answer(struct mounter *m, const struct mounter_request *q, size_t in_count,
		   struct mounter_reply *r, int fds[2], size_t *count)
{
	static const uint8_t zero[MOUNTER_SESSION_BYTES];

	switch (q->op) {
	case MOUNTER_LIST:
		r->value = m->count;
		for (size_t i = q->arg; i < m->count && i - q->arg < MOUNTER_LIST_MAX; i++)
			memcpy(r->sessions[i - q->arg], m->ids[i], sizeof m->ids[i]);
		break;
	case MOUNTER_FETCH:
		if (memcmp(q->session, zero, sizeof zero) == 0) {
			r->status = -ENOENT;
			break;
		}
		if (m->lost[0] && memcmp(q->session, m->lost, sizeof m->lost) == 0) {
			r->status = -ENODATA;
			break;
		}
		fds[(*count)++] = memfd_create("device", MFD_CLOEXEC);
		if (memcmp(q->session, m->unfinished, sizeof q->session) != 0)
			fds[(*count)++] = memfd_create("memory", MFD_CLOEXEC);
		break;
	case MOUNTER_ABORT:
		atomic_fetch_add(&m->aborted, 1);
		remove_session(m, q->session);
		break;
	case MOUNTER_KEEP:
		atomic_fetch_add(&m->kept, 1);
		break;
	case MOUNTER_GIVE:
		r->status = in_count != 2 ? -EINVAL : atomic_fetch_sub(&m->refusals, 1) > 0 ? -EBUSY : 0;
		if (!r->status)
			atomic_fetch_add(&m->given, 1);
		break;
	default:
		break;
	}
}

static bool serve(struct mounter *m, int peer)
{
	struct mounter_request q;
	struct mounter_reply r = {.version = MOUNTER_VERSION};
	int in[FD_PASS_MAX], out[2];
	size_t in_count, out_count = 0;

	if (fd_recv(peer, &q, sizeof q, in, &in_count) != (ssize_t)sizeof q)
		return false;
	r.sequence = q.sequence;
	answer(m, &q, in_count, &r, out, &out_count);
	bool sent = fd_send(peer, &r, sizeof r, out, out_count) == 0;
	for (size_t i = 0; i < in_count; i++)
		fd_close(in[i]);
	for (size_t i = 0; i < out_count; i++)
		fd_close(out[i]);
	return sent;
}

static void serve_peers(struct mounter *m, int peers[PEERS], size_t *count, const struct pollfd *polls)
{
	size_t polled = *count;

	*count = 0;
	for (size_t i = 0; i < polled; i++) {
		int peer = peers[i];
		if (polls[i].revents && !serve(m, peer))
			fd_close(peer);
		else
			peers[(*count)++] = peer;
	}
}

static void *mounter_main(void *arg)
{
	struct mounter *m = arg;
	int peers[PEERS] = {0};
	size_t count = 0;
	char byte;

	for (;;) {
		struct pollfd p[3 + PEERS] = {{.fd = m->stop[0], .events = POLLIN},
					      {.fd = m->drop[0], .events = POLLIN},
					      {.fd = m->listener, .events = POLLIN}};
		for (size_t i = 0; i < count; i++)
			p[3 + i] = (struct pollfd){.fd = peers[i], .events = POLLIN};
		(void)poll(p, 3 + count, -1);
		if (p[0].revents)
			break;
		serve_peers(m, peers, &count, p + 3);
		while (p[1].revents && count)
			fd_close(peers[--count]);
		if (p[1].revents)
			(void)!read(m->drop[0], &byte, 1);
		else if (p[2].revents && count < PEERS)
			peers[count++] = accept4(m->listener, NULL, NULL, SOCK_CLOEXEC);
	}
	while (count)
		fd_close(peers[--count]);
	return NULL;
}

static int setup(void **state)
{
	struct mounter *m = calloc(1, sizeof *m);
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	snprintf(m->folder, sizeof m->folder, "/tmp/supervisor-test.XXXXXX");
	assert_non_null(mkdtemp(m->folder));
	snprintf(m->socket, sizeof m->socket, "%s/s", m->folder);
	memcpy(a.sun_path, m->socket, strlen(m->socket) + 1);
	m->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(m->listener, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(listen(m->listener, 4), 0);
	assert_int_equal(chmod(m->folder, 0755), 0); /* the child is nobody when root tests */
	assert_int_equal(chmod(m->socket, 0777), 0);
	assert_int_equal(pipe2(m->stop, O_CLOEXEC), 0);
	assert_int_equal(pipe2(m->drop, O_CLOEXEC), 0);
	*state = m;
	return 0;
}

static int teardown(void **state)
{
	struct mounter *m = *state;

	fd_close(m->stop[1]);
	pthread_join(m->thread, NULL);
	fd_close(m->stop[0]);
	fd_close(m->drop[0]);
	fd_close(m->drop[1]);
	fd_close(m->listener);
	unlink(m->socket);
	rmdir(m->folder);
	free(m);
	return 0;
}

static int told; /* where the worker says that it runs; it has no other way to know */

static int worker(const struct worker_start *start)
{
	uint32_t sessions = (uint32_t)start->session_count;
	sigset_t signals;
	int number;

	(void)!write(told, &sessions, sizeof sessions);
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigwait(&signals, &number);
	return 0;
}

#define NO_FORK_MS 400

static void allow_fork(int number)
{
	struct rlimit limit;

	/* Both are system calls and nothing else on Linux. */
	(void)getrlimit(RLIMIT_NPROC, &limit); /* NOLINT(bugprone-signal-handler,cert-sig30-c) */
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NPROC, &limit); /* NOLINT(bugprone-signal-handler,cert-sig30-c) */
}

/* No more processes for this one, for a while. */
static void forbid_fork(void)
{
	struct itimerval later = {.it_value = {.tv_usec = NO_FORK_MS * 1000}};
	struct rlimit limit;

	(void)getrlimit(RLIMIT_NPROC, &limit);
	limit.rlim_cur = 0;
	(void)setrlimit(RLIMIT_NPROC, &limit);
	(void)signal(SIGALRM, allow_fork);
	(void)setitimer(ITIMER_REAL, &later, NULL);
}

/* Starts a supervisor as an ordinary user: a limit on processes does not count for root. */
static pid_t start(struct mounter *m, bool may_fork, int *ret_told)
{
	struct node_config c = {.mounter = m->socket, .level = LOG_ERROR};
	int pipe_fds[2];

	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	pid_t pid = fork();
	if (pid == 0) {
		told = pipe_fds[1];
		fd_close(m->stop[1]);
		if (geteuid() == 0 && setresuid(NOBODY, NOBODY, NOBODY) < 0)
			_exit(9);
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (!may_fork)
			forbid_fork();
		_exit(supervisor_run(&c, worker));
	}
	assert_true(pid > 0);
	assert_int_equal(pthread_create(&m->thread, NULL, mounter_main, m),
			 0); /* after the fork: no thread is copied */
	fd_close(pipe_fds[1]);
	*ret_told = pipe_fds[0];
	return pid;
}

static bool readable(int fd, int timeout_ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, timeout_ms) == 1 && p.revents & POLLIN;
}

static void stop(pid_t pid)
{
	int status;

	assert_int_equal(kill(pid, SIGTERM), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void a_supervisor_that_may_not_fork_tries_again_until_it_may(void **state)
{
	uint32_t sessions;
	int fd;
	pid_t pid = start(*state, false, &fd);

	assert_false(readable(fd, NO_FORK_MS / 2));
	assert_true(readable(fd, 20000));
	assert_int_equal(read(fd, &sessions, sizeof sessions), sizeof sessions);
	stop(pid);
	fd_close(fd);
}

static void an_unfinished_mount_that_is_taken_away_costs_no_other_mount(void **state)
{
	struct mounter *m = *state;
	uint32_t sessions = 0;
	int fd;

	m->count = SESSIONS;
	for (size_t i = 0; i < SESSIONS; i++)
		m->ids[i][0] = (uint8_t)(i + 1);
	memcpy(m->unfinished, m->ids[3], sizeof m->unfinished);
	pid_t pid = start(m, true, &fd);
	assert_true(readable(fd, 20000));
	assert_int_equal(read(fd, &sessions, sizeof sessions), sizeof sessions);
	assert_int_equal(sessions, SESSIONS - 1);
	stop(pid);
	fd_close(fd);
}

static void a_new_mounter_is_given_what_the_former_one_held(void **state)
{
	struct mounter *m = *state;
	uint32_t sessions = 0;
	int fd;

	m->count = 3;
	for (size_t i = 0; i < m->count; i++)
		m->ids[i][0] = (uint8_t)(i + 1);
	m->refusals = 1; /* and tries again when that fails */
	pid_t pid = start(m, true, &fd);
	assert_true(readable(fd, 20000));
	assert_int_equal(read(fd, &sessions, sizeof sessions), sizeof sessions);
	assert_int_equal(sessions, 3);
	assert_int_equal(atomic_load(&m->given), 0);
	int kept = atomic_load(&m->kept);
	assert_int_equal(write(m->drop[1], "", 1), 1);
	for (int tries = 0; atomic_load(&m->given) < 3 && tries < 20000; tries++)
		(void)usleep(1000);
	assert_int_equal(atomic_load(&m->given), 3);
	assert_true(atomic_load(&m->kept) > kept); /* the node memory too */
	assert_false(readable(fd, 0));             /* no worker was started for that */
	stop(pid);
	fd_close(fd);
}

static void a_mount_whose_descriptors_are_all_lost_is_not_replaced_by_an_empty_folder(void **state)
{
	struct mounter *m = *state;
	uint32_t sessions = 0;
	int fd;

	m->count = 2;
	m->ids[0][0] = 1;
	m->ids[1][0] = m->lost[0] = 2;
	pid_t pid = start(m, true, &fd);
	assert_true(readable(fd, 20000));
	assert_int_equal(read(fd, &sessions, sizeof sessions), sizeof sessions);
	assert_int_equal(sessions, 1);
	assert_int_equal(atomic_load(&m->aborted), 0);
	stop(pid);
	fd_close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(a_supervisor_that_may_not_fork_tries_again_until_it_may),
		T(an_unfinished_mount_that_is_taken_away_costs_no_other_mount),
		T(a_new_mounter_is_given_what_the_former_one_held),
		T(a_mount_whose_descriptors_are_all_lost_is_not_replaced_by_an_empty_folder),
#undef T
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
