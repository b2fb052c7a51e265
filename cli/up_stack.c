#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/node_client.h"
#include "cli/up.h"
#include "common/base/clock.h"
#include "common/base/fd.h"
#include "common/base/log.h"

#define READY_NS      (30 * NS_PER_S)
#define STOP_MS       10000
#define PING_NS       (500 * NS_PER_MS)
#define READY_POLL_MS 20

/* ---- command lines ---- */

static void log_args(const struct up *u, struct child *c)
{
	if (u->o->json_log)
		child_arg(c, "--log-format=json");
	if (!u->o->daemon)
		child_arg(c, "--log-level=warn"); /* the terminal belongs to the user */
}

static void describe_mounter(struct up *u, struct child *c)
{
	const struct up_options *o = u->o;

	child_arg(c, "--client=%s/mounter/mounter.sock:%u:%u", u->run, o->uid, o->gid);
	child_arg(c, "--mount-root=%s", o->mount);
	for (size_t i = 0; i < o->disk_count; i++)
		child_arg(c, "--tier=%s", o->disks[i].path);
	if (o->dram_bytes)
		child_arg(c, "--dram=%s/dram", u->run);
	child_arg(c, "--file-root=/");
	log_args(u, c);
}

static void describe_node(struct up *u, struct child *c)
{
	const struct up_options *o = u->o;

	child_arg(c, "--mounter=%s/mounter/mounter.sock", u->run);
	child_arg(c, "--state=%s", o->state);
	child_arg(c, "--listen=unix:%s/node/node.sock", u->run);
	if (o->port_base)
		child_arg(c, "--listen=127.0.0.1:%u", o->port_base + 1);
	for (size_t i = 0; i < o->disk_count; i++)
		child_arg(c, "--disk=%s:%llu", o->disks[i].path, (unsigned long long)o->disks[i].bytes_max);
	if (o->dram_bytes)
		child_arg(c, "--dram=%llu", (unsigned long long)o->dram_bytes);
	if (o->memory)
		child_arg(c, "--memory=%s", o->memory);
	if (o->scrub_days)
		child_arg(c, "--scrub-days=%s", o->scrub_days);
	if (o->metrics)
		child_arg(c, "--metrics=%s", o->metrics);
	if (o->without)
		child_arg(c, "--without=%s", o->without);
	child_arg(c, "--run-as=%u:%u", o->uid, o->gid); /* it drops to them itself */
	log_args(u, c);
}

static void describe_operator(struct up *u, struct child *c)
{
	c->uid = u->o->uid;
	c->gid = u->o->gid;
	child_arg(c, "--files=%s/files", u->run);
	child_arg(c, "--node=unix:%s/node/node.sock", u->run);
	log_args(u, c);
}

/* ---- readiness ---- */

/* Whether somebody listens at a socket of the instance. */
static bool listens(const struct up *u, const char *socket_path, int type)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	CLEANUP(fd_close) int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	(void)snprintf(address.sun_path, sizeof address.sun_path, "%s/%s", u->run, socket_path);
	return fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
}

static int wait_mounter(struct up *u, struct err *err)
{
	int64_t deadline = clock_mono_ns() + READY_NS;

	while (!listens(u, "mounter/mounter.sock", SOCK_SEQPACKET)) {
		int r = up_turn(u, READY_POLL_MS, err);
		if (r)
			return r;
		if (clock_mono_ns() > deadline)
			return err_set(err, -ETIMEDOUT, "larder-mounter does not answer");
	}
	return 0;
}

static int wait_node(struct up *u, struct err *err)
{
	int64_t deadline = clock_mono_ns() + READY_NS;
	char address[INSTANCE_PATH_MAX + 32];
	int r;

	(void)snprintf(address, sizeof address, "unix:%s/node/node.sock", u->run);
	if (!u->node) {
		r = rpc_client_new(address, &u->node, err);
		if (r)
			return r;
	}
	/* gRPC waits for a fifth of a second and more before it tries to connect again. */
	while (!listens(u, "node/node.sock", SOCK_STREAM) || node_ping(u->node, PING_NS, NULL)) {
		r = up_turn(u, READY_POLL_MS, err);
		if (r)
			return r;
		if (clock_mono_ns() > deadline)
			return err_set(err, -ETIMEDOUT, "larder-node does not answer within %d s",
				       (int)(READY_NS / NS_PER_S));
	}
	return 0;
}

int up_start(struct up *u, struct err *err)
{
	describe_mounter(u, &u->children[UP_MOUNTER]);
	describe_node(u, &u->children[UP_NODE]);
	describe_operator(u, &u->children[UP_OPERATOR]);
	for (size_t i = 0; i < UP_CHILDREN; i++)
		u->children[i].error_fd = u->log_fd;
	int r = child_start(&u->children[UP_MOUNTER], u->run_fd, err);
	if (!r)
		r = wait_mounter(u, err);
	if (!r)
		r = child_start(&u->children[UP_NODE], u->run_fd, err);
	if (!r)
		r = wait_node(u, err);
	return r ? r : child_start(&u->children[UP_OPERATOR], u->run_fd, err);
}

/* ---- life ---- */

static int reap(struct up *u, struct err *err)
{
	int result = 0;

	for (size_t i = 0; i < UP_CHILDREN; i++) {
		struct child *c = &u->children[i];
		int status = 0;
		if (c->pid <= 0 || waitpid(c->pid, &status, WNOHANG) != c->pid)
			continue;
		child_died(c, clock_mono_ns());
		if (u->starting)
			result = err_set(err, -ECHILD, "%s ended while starting (%s %d)%s", c->name,
					 WIFSIGNALED(status) ? "signal" : "status",
					 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
					 u->log_fd < 0 ? "; its message is above" : "");
		else
			log_write(LOG_WARN, "a program died and is started again",
				  LOG_STR("program", c->name),
				  LOG_INT("status",
					  WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status)),
				  LOG_STR("by", WIFSIGNALED(status) ? "signal" : "exit"),
				  LOG_INT("delay_ms", c->delay_ms), NULL);
	}
	return result;
}

static void restart_due(struct up *u)
{
	int64_t now = clock_mono_ns();
	struct err err = {0};

	for (size_t i = 0; i < UP_CHILDREN && !u->starting; i++) {
		struct child *c = &u->children[i];
		if (c->pid || !c->restart_ns || c->restart_ns > now)
			continue;
		if (child_start(c, u->run_fd, &err)) {
			log_write(LOG_ERROR, "cannot start it again", LOG_STR("program", c->name),
				  LOG_STR("error", err.text), NULL);
			if (!c->pid)
				child_died(c, now);
		}
	}
}

static int next_timeout(const struct up *u, int timeout_ms)
{
	int64_t now = clock_mono_ns();

	for (size_t i = 0; i < UP_CHILDREN && !u->starting; i++) {
		const struct child *c = &u->children[i];
		int64_t left = c->restart_ns ? MAX(c->restart_ns - now, 0) / NS_PER_MS + 1 : timeout_ms;
		if (left < timeout_ms || timeout_ms < 0)
			timeout_ms = c->restart_ns ? (int)left : timeout_ms;
	}
	return timeout_ms;
}

int up_turn(struct up *u, int timeout_ms, struct err *err)
{
	struct pollfd p = {.fd = u->signal_fd, .events = POLLIN};
	struct signalfd_siginfo info;
	int r = 0;

	(void)poll(&p, 1,
		   next_timeout(u, timeout_ms)); /* an error shows as no signal; the next turn polls again */
	while (p.revents && read(u->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
		if (info.ssi_signo == SIGCHLD)
			r = reap(u, err);
		else if (info.ssi_signo == SIGUSR1)
			u->stops += 2; /* larder down --force */
		else
			u->stops++;
	}
	restart_due(u);
	return r ? r : u->starting && u->stops ? err_set(err, -ECANCELED, "interrupted") : 0;
}

void up_stop(struct up *u)
{
	u->starting = true; /* nothing is restarted any more */
	child_stop(&u->children[UP_OPERATOR], STOP_MS);
	child_stop(&u->children[UP_NODE], STOP_MS);
	child_stop(&u->children[UP_MOUNTER], STOP_MS);
}
