/*
 * Life: take over what the mounter kept -> open the tiers -> fork a worker -> serve its requests and wait for its death ->
 * fork the next. A worker that dies at once again and again is started ever more slowly, up to one a second.
 */
#include "cache-node/supervisor/supervisor.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache-node/fuse/handshake.h"
#include "cache-node/supervisor/control.h"
#include "cache-node/supervisor/mounter_client.h"
#include "cache-node/supervisor/node_memory.h"
#include "cache-node/supervisor/refill.h"
#include "common/base/clock.h"
#include "common/base/fd.h"
#include "common/base/log.h"
#include "common/base/mem.h"

#define INIT_TIMEOUT_MS 5000
#define READ_AHEAD_KIB  1024
#define QUICK_DEATH_NS  (200 * NS_PER_MS) /* a worker that lived shorter counts as a crash loop */
#define STOP_TIMEOUT_MS 10000

struct supervisor {
	const struct node_config *config;
	int (*worker_main)(const struct worker_start *start);
	struct mounter_client *mounter;
	int memory_fd;
	struct node_memory *memory;
	int tier_fds[NODE_DISKS_MAX + 1];
	size_t tier_count;
	struct kept_session sessions[SUPERVISOR_SESSIONS_MAX];
	size_t session_count;
	int signal_fd, control_fd;
	pid_t worker;
	pid_t refiller; /* gives a new mounter what it lacks; 0: none runs */
	uint64_t refilled,
		refilling; /* connection (counted) whose mounter has all; that the refiller works for */
	int64_t refill_ns; /* not before this time */
	int64_t started_ns, died_ns;
	int delay_ms;
	bool stopping;
};

/* ---- taking over ---- */

static void adopt_session(struct supervisor *s, const uint8_t *id)
{
	struct mounter_kept kept;
	struct err err = {0};

	int r = mounter_fetch(s->mounter, id, &kept, &err);
	if (r) {
		/* A dead mount answers errors until somebody unmounts it: an empty folder must not take its place. */
		log_write(LOG_ERROR,
			  r == -ENODATA ? "a mount died with all who held its descriptors; unmount it"
					: "a kept mount cannot be fetched",
			  LOG_STR("error", err.text), NULL);
		return;
	}
	if (kept.memory_fd < 0 || s->session_count == SUPERVISOR_SESSIONS_MAX) {
		/* Its maker died between mount and first request: nobody can have read from it. */
		log_write(LOG_WARN, "an unfinished mount is taken away", LOG_STR("target", kept.target),
			  NULL);
		(void)!mounter_abort(s->mounter, id, NULL);
		(void)fd_close(kept.dev_fd);
		(void)fd_close(kept.memory_fd);
		return;
	}
	struct kept_session *k = &s->sessions[s->session_count++];
	memcpy(k->id, id, sizeof k->id);
	k->dev_fd = kept.dev_fd;
	k->memory_fd = kept.memory_fd;
}

/* All ids are asked for before any session is touched: taking one away would shift those not yet listed. */
static int adopt_sessions(struct supervisor *s, struct err *err)
{
	uint8_t(*ids)[MOUNTER_SESSION_BYTES] =
		mem_calloc(SUPERVISOR_SESSIONS_MAX + MOUNTER_LIST_MAX, sizeof *ids);
	size_t total = 0, at = 0;
	int r = ids ? 0 : err_set(err, -ENOMEM, "out of memory");

	do {
		if (!r)
			r = mounter_list(s->mounter, at, ids + at, &total, err);
		at += MOUNTER_LIST_MAX;
	} while (!r && at < MIN(total, (size_t)SUPERVISOR_SESSIONS_MAX));
	for (size_t i = 0; !r && i < MIN(total, (size_t)SUPERVISOR_SESSIONS_MAX); i++)
		adopt_session(s, ids[i]);
	(void)mem_free(ids);
	return r;
}

static int adopt_memory(struct supervisor *s, struct err *err)
{
	struct mounter_kept kept = {.memory_fd = -1};
	int r = mounter_fetch(s->mounter, NULL, &kept, err);

	if (!r && kept.memory_fd >= 0 && node_memory_map(kept.memory_fd, &s->memory, err) == 0) {
		s->memory_fd = kept.memory_fd;
		return 0;
	}
	(void)fd_close(r ? -1 : kept.memory_fd);
	if (r && r != -ENOENT)
		return r;
	r = node_memory_create(&s->memory_fd);
	if (r)
		return err_set(err, r, "node memory: %s", err_text(r));
	r = node_memory_map(s->memory_fd, &s->memory, err);
	return r ? r : mounter_keep(s->mounter, NULL, s->memory_fd, err);
}

/* ---- what the worker asks for ---- */

static int make_session(struct supervisor *s, const struct control_request *q, struct kept_session *k,
			struct err *err)
{
	struct mounter_mount m = {.session = k->id,
				  .target = q->target,
				  .max_read = q->max_read,
				  .read_ahead_kib = READ_AHEAD_KIB};
	struct handshake h = {.max_read = q->max_read, .features = q->features};

	if (getrandom(k->id, sizeof k->id, 0) != (ssize_t)sizeof k->id)
		return err_set(err, -EIO, "no random numbers");
	int r = mounter_mount(s->mounter, &m, &k->dev_fd, err);
	/* A mounter that answers too late has mounted all the same, and nobody would ever answer that mount's INIT. */
	if (r == -ETIMEDOUT || r == -EPROTO || r == -EMSGSIZE)
		(void)!mounter_abort(s->mounter, k->id, NULL);
	if (r)
		return r;
	r = fuse_handshake(k->dev_fd, INIT_TIMEOUT_MS, &h, err);
	struct shm_config c = {.session = k->id,
			       .dataset = q->dataset,
			       .target = q->target,
			       .offered = &h.offered,
			       .max_read = q->max_read,
			       .features = h.features};
	if (!r) {
		r = shm_create(&c, &k->memory_fd);
		if (r)
			(void)err_set(err, r, "session memory: %s", err_text(r));
	}
	if (!r)
		r = mounter_keep(s->mounter, k->id, k->memory_fd, err);
	if (r) {
		(void)!mounter_abort(s->mounter, k->id,
				     NULL); /* the error of the step that failed is reported */
		k->dev_fd = fd_close(k->dev_fd);
		k->memory_fd = fd_close(k->memory_fd);
	}
	return r;
}

static int serve_mount(struct supervisor *s, const struct control_request *q, struct control_reply *reply,
		       int fds[2], struct err *err)
{
	struct kept_session k = {.dev_fd = -1, .memory_fd = -1};

	if (s->session_count == SUPERVISOR_SESSIONS_MAX)
		return err_set(err, -ENFILE, "%d mounts are the limit of a node", SUPERVISOR_SESSIONS_MAX);
	int r = make_session(s, q, &k, err);
	if (r)
		return r;
	s->sessions[s->session_count++] = k;
	memcpy(reply->session, k.id, sizeof reply->session);
	fds[0] = k.dev_fd;
	fds[1] = k.memory_fd;
	return 0;
}

static int serve_unmount(struct supervisor *s, const struct control_request *q, struct err *err)
{
	int r = mounter_unmount(s->mounter, q->session, q->lazy, err);

	if (r && r != -ENOENT)
		return r;
	for (size_t i = 0; i < s->session_count; i++) {
		if (memcmp(s->sessions[i].id, q->session, sizeof q->session) != 0)
			continue;
		(void)fd_close(s->sessions[i].dev_fd);
		(void)fd_close(s->sessions[i].memory_fd);
		s->sessions[i] = s->sessions[--s->session_count];
		break;
	}
	return 0;
}

static void serve_control(struct supervisor *s)
{
	struct control_request q;
	struct control_reply reply = {0};
	struct err err = {0};
	int in_fds[FD_PASS_MAX], fds[2];
	size_t count;

	ssize_t n = fd_recv(s->control_fd, &q, sizeof q, in_fds, &count);
	for (size_t i = 0; i < count; i++)
		(void)fd_close(in_fds[i]);
	if (n != (ssize_t)sizeof q) { /* the worker is gone; its death is told by SIGCHLD */
		s->control_fd = fd_close(s->control_fd);
		return;
	}
	q.dataset[sizeof q.dataset - 1] = q.target[sizeof q.target - 1] = 0;
	reply.sequence = q.sequence;
	reply.status = q.op == CONTROL_MOUNT     ? serve_mount(s, &q, &reply, fds, &err)
		       : q.op == CONTROL_UNMOUNT ? serve_unmount(s, &q, &err)
						 : -EINVAL;
	(void)snprintf(reply.text, sizeof reply.text, "%s", err.text);
	(void)!fd_send(s->control_fd, &reply, sizeof reply, fds,
		       q.op == CONTROL_MOUNT && !reply.status ? 2 : 0);
}

/* ---- the worker's life ---- */

static int run_worker(struct supervisor *s, int control_fd)
{
	sigset_t none;
	struct worker_start start = {.config = s->config,
				     .control_fd = control_fd,
				     .memory_fd = s->memory_fd,
				     .tier_fds = s->tier_fds,
				     .tier_count = s->tier_count,
				     .sessions = s->sessions,
				     .session_count = s->session_count,
				     .died_ns = s->died_ns};

	(void)prctl(PR_SET_NAME, "larder-node-w");
	log_setup("larder-node-w", s->config->level, s->config->json);
	(void)fd_close(s->signal_fd);
	(void)fd_close(s->control_fd);
	(void)sigemptyset(&none);
	(void)sigaddset(&none, SIGTERM); /* the worker waits for these itself */
	(void)sigaddset(&none, SIGINT);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	return s->worker_main(&start);
}

static int start_worker(struct supervisor *s)
{
	int pair[2];

	s->control_fd = fd_close(s->control_fd);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	pid_t supervisor = getpid();
	s->control_fd = pair[0];
	s->started_ns = clock_mono_ns();
	pid_t pid = fork();
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != supervisor) /* it died before the line above: two workers must never serve */
			_exit(1);
		_exit(run_worker(s, pair[1]));
	}
	int r = pid < 0 ? -errno : 0;
	(void)fd_close(pair[1]);
	s->worker = pid > 0 ? pid : 0;
	return r;
}

/* How many requests the dead worker left, over all sessions. */
static void count_left(const struct supervisor *s, uint32_t *ret_all, uint32_t *ret_reads)
{
	*ret_all = *ret_reads = 0;
	for (size_t i = 0; i < s->session_count; i++) {
		struct shm shm;
		uint32_t all, reads;
		if (shm_map(s->sessions[i].memory_fd, &shm, NULL))
			continue;
		shm_count_requests(&shm, &all, &reads);
		*ret_all += all;
		*ret_reads += reads;
		shm_unmap(&shm);
	}
}

static void note_death(struct supervisor *s, int status)
{
	uint32_t all, reads;

	s->died_ns = clock_mono_ns();
	count_left(s, &all, &reads);
	atomic_fetch_add(&s->memory->worker_restarts, 1);
	atomic_fetch_add(&s->memory->kills_with_read, reads > 0);
	atomic_fetch_add(&s->memory->recovered, all);
	atomic_fetch_add(&s->memory->recovered_reads, reads);
	s->delay_ms = s->died_ns - s->started_ns > QUICK_DEATH_NS
			      ? 0
			      : MIN(s->delay_ms ? s->delay_ms * 2 : 1, 1000);
	log_write(LOG_WARN, "worker died, starting another",
		  LOG_INT("signal", WIFSIGNALED(status) ? WTERMSIG(status) : 0),
		  LOG_INT("status", WIFEXITED(status) ? WEXITSTATUS(status) : 0),
		  LOG_INT("requests_in_flight", all), LOG_INT("reads_in_flight", reads),
		  LOG_INT("delay_ms", s->delay_ms), NULL);
}

/* ---- the mounter's life ---- */

#define REFILL_RETRY_NS (100 * NS_PER_MS) /* while there is none */
#define REFILL_LATER_NS (1 * NS_PER_S)    /* after one refused something */

/* Watches for another mounter, and has it refilled. */
static void watch_mounter(struct supervisor *s)
{
	int64_t now = clock_mono_ns();

	if (s->refiller || s->stopping || now < s->refill_ns)
		return;
	s->refill_ns = now + REFILL_RETRY_NS;
	if (mounter_client_connect(s->mounter))
		return;
	uint64_t connection = mounter_client_connections(s->mounter);
	if (connection == s->refilled)
		return;
	pid_t supervisor = getpid(), pid = fork();
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != supervisor)
			_exit(1);
		_exit(refill_mounter(s->config, s->memory_fd, s->sessions, s->session_count) ? 1 : 0);
	}
	s->refiller = pid > 0 ? pid : 0;
	s->refilling = connection;
}

static void note_refiller(struct supervisor *s, int status)
{
	s->refiller = 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		s->refilled = s->refilling;
	else
		s->refill_ns = clock_mono_ns() + REFILL_LATER_NS;
}

/* Whether the mounter is known to be there and to have all. */
static bool mounter_is_whole(struct supervisor *s)
{
	return mounter_client_fd(s->mounter) >= 0 && mounter_client_connections(s->mounter) == s->refilled;
}

/* Reaps children. Returns -1 to go on, or the exit status of the program. */
static int reap(struct supervisor *s)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == s->refiller)
			note_refiller(s, status);
		if (pid != s->worker)
			continue;
		s->worker = 0;
		if (s->stopping)
			return 0;
		if (WIFEXITED(status) && WEXITSTATUS(status) == SUPERVISOR_CANNOT_START)
			return 1;
		note_death(s, status);
	}
	return -1;
}

static int handle_signal(struct supervisor *s)
{
	struct signalfd_siginfo info;

	if (read(s->signal_fd, &info, sizeof info) != (ssize_t)sizeof info)
		return -1;
	if (info.ssi_signo == SIGCHLD)
		return reap(s);
	s->stopping = true;
	if (!s->worker)
		return 0;
	(void)kill(s->worker, SIGTERM);
	return -1;
}

static int ms_until(int64_t at)
{
	int64_t left = (at - clock_mono_ns() + NS_PER_MS - 1) / NS_PER_MS;

	return left > 0 ? (int)left : 0;
}

/* Poll timeout: until the next start of a worker, or until a stopping one is killed. */
static int next_timeout(const struct supervisor *s, int64_t stop_ns)
{
	if (s->worker && !s->stopping)
		return -1;
	return ms_until(s->stopping ? stop_ns : s->died_ns + s->delay_ms * NS_PER_MS);
}

/* The same, and until the mounter is looked for again. */
static int poll_timeout(struct supervisor *s, int64_t stop_ns)
{
	int timeout = next_timeout(s, stop_ns);

	if (s->stopping || s->refiller || mounter_is_whole(s))
		return timeout;
	int refill = ms_until(s->refill_ns);
	return timeout < 0 || refill < timeout ? refill : timeout;
}

static int loop(struct supervisor *s)
{
	int64_t stop_ns = 0;

	for (;;) {
		if (!s->worker && !s->stopping && next_timeout(s, 0) == 0 && start_worker(s)) {
			s->died_ns = clock_mono_ns();
			s->delay_ms = 1000; /* no process to be had: try again */
		}
		watch_mounter(s);
		struct pollfd polls[] = {{.fd = s->signal_fd, .events = POLLIN},
					 {.fd = s->control_fd, .events = POLLIN},
					 {.fd = mounter_client_fd(s->mounter)}};
		int n = poll(polls, 3, poll_timeout(s, stop_ns));
		if (n > 0 && polls[2].revents)
			mounter_client_disconnect(s->mounter);
		if (polls[0].revents && n > 0) {
			int status = handle_signal(s);
			if (status >= 0)
				return status;
		}
		if (s->stopping && !stop_ns)
			stop_ns = clock_mono_ns() + STOP_TIMEOUT_MS * NS_PER_MS;
		else if (s->stopping && clock_mono_ns() >= stop_ns && s->worker)
			(void)kill(s->worker, SIGKILL);
		if (n > 0 && polls[1].revents)
			serve_control(s);
	}
}

static int prepare(struct supervisor *s, struct err *err)
{
	sigset_t signals;

	(void)sigemptyset(&signals);
	(void)sigaddset(&signals, SIGTERM);
	(void)sigaddset(&signals, SIGINT);
	(void)sigaddset(&signals, SIGCHLD);
	(void)signal(SIGPIPE, SIG_IGN);
	if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0)
		return err_set(err, -errno, "signals: %s", err_text(errno));
	s->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);
	if (s->signal_fd < 0)
		return err_set(err, -errno, "signals: %s", err_text(errno));
	int r = mounter_client_new(s->config->mounter, &s->mounter);
	if (!r)
		r = adopt_memory(s, err);
	if (!r)
		r = adopt_sessions(s, err);
	if (!r)
		r = refill_open_tiers(s->mounter, s->config, s->tier_fds, &s->tier_count, err);
	s->refilled = 1; /* the first connection's mounter told us of all it has */
	return r;
}

static void close_all(struct supervisor *s)
{
	for (size_t i = 0; i < s->session_count; i++) {
		(void)fd_close(s->sessions[i].dev_fd);
		(void)fd_close(s->sessions[i].memory_fd);
	}
	for (size_t i = 0; i < s->tier_count; i++)
		(void)fd_close(s->tier_fds[i]);
	(void)node_memory_unmap(s->memory);
	(void)fd_close(s->memory_fd);
	(void)fd_close(s->signal_fd);
	(void)fd_close(s->control_fd);
	(void)mounter_client_free(s->mounter);
}

int supervisor_run(const struct node_config *config, int (*worker)(const struct worker_start *start))
{
	struct supervisor *s = mem_calloc(1, sizeof *s);
	struct err err = {0};

	if (!s)
		return 1;
	s->config = config;
	s->worker_main = worker;
	s->memory_fd = s->signal_fd = s->control_fd = -1;
	int r = prepare(s, &err);
	if (r)
		log_write(LOG_ERROR, "the node cannot start", LOG_STR("error", err_words(&err, r)), NULL);
	else
		log_write(LOG_INFO, "supervisor ready", LOG_INT("sessions", s->session_count),
			  LOG_INT("tiers", s->tier_count), NULL);
	int status = r ? 1 : loop(s);
	close_all(s);
	(void)mem_free(s);
	return status;
}
