/* testing_origin - for tests of sources: larder-origin as a child on a port of its own, and its control path. */
#ifndef COMMON_SOURCE_TESTING_ORIGIN_H
#define COMMON_SOURCE_TESTING_ORIGIN_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "common/base/fd.h"
#include "common/source/testing.h"

static inline const char *origin_path(void)
{
	static char path[4096];
	const char *given = getenv("LARDER_ORIGIN");

	if (given)
		return given;
	ssize_t n = readlink("/proc/self/exe", path, sizeof path - 64);
	assert_true(n > 0);
	path[n] = '\0';
	for (int i = 0; i < 3; i++) /* BUILD/common/source/NAME_test */
		*strrchr(path, '/') = '\0';
	size_t used = strlen(path);
	(void)snprintf(path + used, sizeof path - used, "/bench/larder-origin");
	return path;
}

/* Starts it with @words, ended by NULL, behind --listen @listen. */
static inline void origin_start(const char *listen, const char *const *words, pid_t *ret_pid,
				unsigned *ret_port)
{
	const char *args[24] = {"larder-origin", "--listen", listen};
	int out[2];
	char line[128] = "";
	size_t len = 0;

	for (size_t i = 0; words[i]; i++) {
		assert_true(i + 4 < LENGTH(args));
		args[i + 3] = words[i];
	}
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	const char *path = origin_path();
	*ret_pid = fork();
	if (*ret_pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(out[1], 1);
		execv(path, (char *const *)(uintptr_t)args);
		perror(path);
		_exit(127);
	}
	assert_true(*ret_pid > 0);
	close(out[1]);
	while (len + 1 < sizeof line && !strchr(line, '\n')) {
		ssize_t n = read(out[0], line + len, sizeof line - 1 - len);
		assert_true(n > 0); /* else: is the origin built? */
		len += (size_t)n;
	}
	close(out[0]);
	assert_int_equal(sscanf(line, "listening on 127.0.0.%*u:%u", ret_port), 1);
}

static inline void origin_stop(pid_t pid)
{
	int status;

	kill(pid, SIGTERM);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* One request over a connection of its own; the answer's body goes to @ret. The status. */
static inline int origin_ask(unsigned port, const char *method, const char *path, const char *body, char *ret,
			     size_t size)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	char buf[8192];
	size_t len = 0;
	int status = 0, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
	int n = snprintf(buf, sizeof buf,
			 "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
			 method, path, strlen(body), body);
	assert_int_equal(fd_write_full(fd, buf, (size_t)n), 0);
	for (ssize_t got; (got = read(fd, buf + len, sizeof buf - 1 - len)) > 0;)
		len += (size_t)got;
	close(fd);
	buf[len] = '\0';
	assert_int_equal(sscanf(buf, "HTTP/1.1 %d", &status), 1);
	const char *end = strstr(buf, "\r\n\r\n");
	if (ret && end)
		snprintf(ret, size, "%s", end + 4);
	return status;
}

/* A number of the origin's counters. */
static inline unsigned long long origin_stat(unsigned port, const char *name)
{
	char body[4096] = "";
	unsigned long long v = 0;

	origin_ask(port, "GET", "/_control/stats", "", body, sizeof body);
	const char *at = strstr(body, name);
	return at && sscanf(at + strlen(name), "\": %llu", &v) == 1 ? v : 0;
}

#endif
