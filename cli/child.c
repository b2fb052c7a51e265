#include "cli/child.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/instance.h"
#include "common/base/clock.h"
#include "common/base/fd.h"
#include "common/base/mem.h"

#define KILL_TIMEOUT_MS 5000

void child_arg(struct child *c, const char *fmt, ...)
{
	char *text = NULL;
	va_list args;

	va_start(args, fmt);
	char line[2 * PATH_MAX];
	int n = vsnprintf(line, sizeof line, fmt, args);
	va_end(args);
	if (n >= 0 && (size_t)n < sizeof line && c->arg_count < CHILD_ARGS_MAX)
		text = mem_strdup(line);
	if (text)
		c->args[c->arg_count++] = text;
	else
		c->truncated = true;
}

/* Between fork and exec only what is async-signal-safe: threads of gRPC may hold any lock. */
NORETURN static void become(const struct child *c)
{
	sigset_t none;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)setpgid(0, 0);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	if (c->error_fd >= 0 && dup2(c->error_fd, STDERR_FILENO) < 0)
		_exit(126);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
		_exit(126);
	if (c->uid &&
	    (syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresgid, c->gid, c->gid, c->gid) < 0 ||
	     syscall(SYS_setresuid, c->uid, c->uid, c->uid) < 0))
		_exit(126);
	(void)execv(c->program, c->args);
	_exit(127);
}

int child_start(struct child *c, int dir_fd, struct err *err)
{
	if (c->truncated)
		return err_set(err, -E2BIG, "the command line of %s is too long", c->name);
	if (access(c->program, X_OK) < 0)
		return err_set(err, -errno,
			       "%s: %s; the programs of Larder belong together, install them again",
			       c->program, err_text(-errno));
	c->args[c->arg_count] = NULL;
	pid_t pid = fork();
	if (pid < 0)
		return err_set(err, -errno, "starting %s: %s", c->name, err_text(-errno));
	if (pid == 0)
		become(c);
	(void)setpgid(pid, pid); /* whichever of the two comes first */
	c->pid = pid;
	c->started_ns = clock_mono_ns();
	c->restart_ns = 0;
	int r = instance_pid_write(dir_fd, c->pid_file, pid);
	return r ? err_set(err, r, "writing %s: %s", c->pid_file, err_text(r)) : 0;
}

void child_died(struct child *c, int64_t now_ns)
{
	bool steady = now_ns - c->started_ns >= CHILD_STEADY_NS;

	c->pid = 0;
	c->delay_ms = steady || !c->delay_ms ? CHILD_DELAY_MS : MIN(2 * c->delay_ms, CHILD_DELAY_MS_MAX);
	c->restart_ns = now_ns + c->delay_ms * NS_PER_MS;
}

static bool ended_within(int pidfd, int timeout_ms)
{
	int64_t deadline = clock_mono_ns() + timeout_ms * NS_PER_MS;
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	for (;;) {
		int64_t left = (deadline - clock_mono_ns()) / NS_PER_MS;
		int n = poll(&p, 1, left > 0 ? (int)left : 0);
		if (n > 0 || (n == 0 && left <= 0) || (n < 0 && errno != EINTR))
			return n > 0;
	}
}

int process_stop(int pidfd, int timeout_ms)
{
	CLEANUP(fd_close) int fd = pidfd;

	if (syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0) < 0)
		return errno == ESRCH ? 0 : -errno;
	if (ended_within(fd, timeout_ms))
		return 0;
	if (syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0) < 0)
		return errno == ESRCH ? 0 : -errno;
	return ended_within(fd, KILL_TIMEOUT_MS) ? 0 : -ETIMEDOUT;
}

void child_stop(struct child *c, int timeout_ms)
{
	if (c->pid <= 0)
		return;
	int pidfd = (int)syscall(SYS_pidfd_open, c->pid, 0);
	bool ended = pidfd >= 0 && process_stop(pidfd, timeout_ms) == 0;
	/* One that even SIGKILL does not end hangs in the kernel; waiting for it would hang us too. */
	(void)waitpid(c->pid, NULL, ended ? 0 : WNOHANG);
	c->pid = 0;
}

void child_done(struct child *c)
{
	for (int i = 0; i < c->arg_count; i++)
		(void)mem_free(c->args[i]);
	c->arg_count = 0;
}

int libexec_folder(char ret[PATH_MAX], struct err *err)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);

	if (n < 0)
		return err_set(err, -errno, "/proc/self/exe: %s", err_text(-errno));
	path[n] = 0;
	for (int i = 0; i < 2; i++) { /* the program's name, then its folder */
		char *slash = strrchr(path, '/');
		if (slash)
			*slash = 0;
	}
	if (snprintf(ret, PATH_MAX, "%s/libexec/larder", path) >= PATH_MAX)
		return err_set(err, -ENAMETOOLONG, "the path of this program is too long");
	return 0;
}
