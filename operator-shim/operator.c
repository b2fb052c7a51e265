#include "operator-shim/operator.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/fd.h"
#include "common/base/log.h"
#include "common/rpc.h"
#include "operator-shim/files.h"
#include "operator-shim/teller.h"

#define SETTLE_NS (50 * NS_PER_MS) /* editors and `cp` make several events of one change */
#define RESCAN_NS (30 * NS_PER_S)  /* network file systems tell no events */

enum { EVENTS = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CREATE | IN_ATTRIB };

struct loop {
	int dir_fd, watch_fd, signal_fd;
	struct files *files;
	struct teller *teller;
	int64_t scan_ns, tell_ns; /* when each is due, CLOCK_MONOTONIC */
};

static int open_signals(void)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

static int open_watch(const char *dir)
{
	int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (fd < 0)
		return -errno;
	if (inotify_add_watch(fd, dir, EVENTS | IN_ONLYDIR) < 0) {
		int r = -errno;
		(void)fd_close(fd);
		return r;
	}
	return fd;
}

/* Takes all events; their content does not matter, the folder is read as a whole. */
static void drain(int fd)
{
	char events[4096];

	while (read(fd, events, sizeof events) > 0)
		;
}

static void scan(struct loop *l, int64_t now)
{
	int r = files_scan(l->files, (uint64_t)(clock_wall_ns() / NS_PER_MS));

	if (r != 0)
		log_write(LOG_ERROR, "folder cannot be read", LOG_STR("error", err_text(r)), NULL);
	l->scan_ns = now + RESCAN_NS;
	l->tell_ns = now;
}

static int wait_for_events(struct loop *l, int64_t now)
{
	struct pollfd fds[] = {{.fd = l->signal_fd, .events = POLLIN}, {.fd = l->watch_fd, .events = POLLIN}};
	int64_t left = MIN(l->scan_ns, l->tell_ns) - now;
	int ms = left <= 0 ? 0 : (int)(left / NS_PER_MS) + 1;

	if (poll(fds, LENGTH(fds), ms) < 0 && errno != EINTR)
		return -errno;
	if (fds[1].revents) {
		drain(l->watch_fd);
		l->scan_ns = MIN(l->scan_ns, clock_mono_ns() + SETTLE_NS);
	}
	return fds[0].revents != 0;
}

/* Until a signal: 0; or -errno. */
static int run(struct loop *l)
{
	int r = 0;

	while (r == 0) {
		int64_t now = clock_mono_ns();
		if (now >= l->scan_ns)
			scan(l, now);
		if (now >= l->tell_ns)
			l->tell_ns = teller_run(l->teller, now);
		r = wait_for_events(l, clock_mono_ns());
	}
	return r < 0 ? r : 0;
}

int operator_run(const char *dir, const char *node_address, struct err *err)
{
	CLEANUP(reconcile_free) struct reconcile *reconcile = NULL;
	CLEANUP(rpc_client_free) struct rpc_client *client = NULL;
	CLEANUP(files_free) struct files *files = NULL;
	CLEANUP(teller_free) struct teller *teller = NULL;
	CLEANUP(fd_close) int signals = open_signals();
	CLEANUP(fd_close) int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		return err_set(err, -errno, "--files %s: %s", dir, err_text(-errno));
	CLEANUP(fd_close) int watch = open_watch(dir);
	if (watch < 0 || signals < 0)
		return err_set(err, MIN(watch, signals), "cannot watch %s: %s", dir,
			       err_text(MIN(watch, signals)));
	int r = rpc_client_new(node_address, &client, err);
	if (r != 0)
		return err_wrap(err, r, "--node %s", node_address);
	r = reconcile_new(&reconcile);
	if (r == 0)
		r = files_new(dir_fd, reconcile, &files);
	if (r == 0)
		r = teller_new(client, reconcile, (uint64_t)clock_wall_ns(), &teller);
	if (r != 0)
		return err_set(err, r, "out of memory");
	struct loop l = {
		.dir_fd = dir_fd, .watch_fd = watch, .signal_fd = signals, .files = files, .teller = teller};
	r = run(&l);
	return r == 0 ? 0 : err_set(err, r, "cannot wait for events: %s", err_text(r));
}
