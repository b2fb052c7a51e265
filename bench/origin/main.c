/* larder-origin - a small S3-like server for benchmarks and fault tests. See usage() and fault.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/origin/server.h"
#include "bench/origin/store.h"
#include "common/base/err.h"
#include "common/base/fd.h"

enum { SYNTHETIC_MAX = 64, CONNECTIONS_MAX = 4096, BACKLOG = 1024 };

static void usage(FILE *to)
{
	(void)fputs("usage: larder-origin --listen 127.0.0.1:PORT [options]\n"
		    "  --root DIR               serve files; the first folder is the bucket\n"
		    "  --synthetic B/KEY:SIZE   serve a made-up object (64M, 2G ...); SIZExCOUNT for many\n"
		    "  --order bytes|folders    of listings; folders: as a walk of them (default bytes)\n"
		    "  --first-byte-ms N        wait before every answer\n"
		    "  --rate N                 body bytes a second in all\n"
		    "  --connection-rate N      body bytes a second of each connection\n"
		    "  --max-connections N      (default 256)\n"
		    "  --require-auth KEY:SECRET   refuse requests not signed with it\n"
		    "control: PUT or DELETE /_control/fault, GET /_control/stats, POST /_control/reset,\n"
		    "  POST /_control/change/COUNT/SEED: so many made-up objects get another size and etag\n",
		    to);
}

struct options {
	const char *listen, *root;
	const char *synthetic[SYNTHETIC_MAX];
	size_t synthetic_count;
	char auth[256]; /* KEY NUL SECRET */
	bool by_folders;
	struct server_config server;
};

static int bad(const char *option, const char *value)
{
	(void)fprintf(stderr, "larder-origin: --%s \"%s\" is not valid\n", option, value);
	return -EINVAL;
}

static int take_number(const char *option, const char *text, uint64_t max, uint64_t *ret)
{
	char *end;

	errno = 0;
	uint64_t v = strtoull(text, &end, 10);
	if (errno || end == text || *end || *text == '-' || v > max)
		return bad(option, text);
	*ret = v;
	return 0;
}

static int take_auth(struct options *o, const char *text)
{
	size_t key_len = strcspn(text, ":");

	if (!text[key_len] || strlen(text) >= sizeof o->auth)
		return bad("require-auth", "...");
	(void)snprintf(o->auth, sizeof o->auth, "%s", text);
	o->auth[key_len] = '\0';
	o->server.access_key = o->auth;
	o->server.secret_key = o->auth + key_len + 1;
	return 0;
}

static int take_option(struct options *o, int c, const char *name, const char *value)
{
	uint64_t n = 0;
	int rc = 0;

	switch (c) {
	case 'l':
		o->listen = value;
		break;
	case 'r':
		o->root = value;
		break;
	case 's':
		if (o->synthetic_count == SYNTHETIC_MAX)
			return bad(name, value);
		o->synthetic[o->synthetic_count++] = value;
		break;
	case 'f':
		rc = take_number(name, value, 60000, &n);
		o->server.first_byte_ms = (uint32_t)n;
		break;
	case 'R':
		rc = take_number(name, value, UINT64_C(1) << 40, &o->server.rate);
		break;
	case 'C':
		rc = take_number(name, value, UINT64_C(1) << 40, &o->server.connection_rate);
		break;
	case 'm':
		rc = take_number(name, value, CONNECTIONS_MAX, &n);
		o->server.connections_max = (uint32_t)n;
		break;
	case 'o':
		o->by_folders = strcmp(value, "folders") == 0;
		return o->by_folders || strcmp(value, "bytes") == 0 ? 0 : bad(name, value);
	case 'a':
		return take_auth(o, value);
	default:
		return -EINVAL;
	}
	return rc;
}

static int parse_options(int argc, char **argv, struct options *ret)
{
	static const struct option options[] = {
		{"listen", required_argument, NULL, 'l'},
		{"root", required_argument, NULL, 'r'},
		{"synthetic", required_argument, NULL, 's'},
		{"order", required_argument, NULL, 'o'},
		{"first-byte-ms", required_argument, NULL, 'f'},
		{"rate", required_argument, NULL, 'R'},
		{"connection-rate", required_argument, NULL, 'C'},
		{"max-connections", required_argument, NULL, 'm'},
		{"require-auth", required_argument, NULL, 'a'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int c, index = 0, rc = 0;

	*ret = (struct options){.server.connections_max = 256};
	while (rc == 0 && (c = getopt_long(argc, argv, "", options, &index)) != -1) {
		if (c == 'h') {
			usage(stdout);
			exit(0);
		}
		rc = take_option(ret, c, c == '?' ? "" : options[index].name, optarg);
	}
	return rc == 0 && (!ret->listen || optind < argc || ret->server.connections_max == 0) ? -EINVAL : rc;
}

/* Binds "ADDRESS:PORT" and says on stdout which port it became. A descriptor or -errno. */
static int listen_on(const char *text)
{
	char host[64] = "";
	unsigned port = 0;
	struct sockaddr_in a = {.sin_family = AF_INET};
	socklen_t len = sizeof a;
	int one = 1;

	if (sscanf(text, "%63[0-9.]:%5u", host, &port) != 2 || port > 65535 ||
	    inet_pton(AF_INET, host, &a.sin_addr) != 1)
		return bad("listen", text);
	a.sin_port = htons((uint16_t)port);
	CLEANUP(fd_close) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, BACKLOG) < 0 ||
	    getsockname(fd, (struct sockaddr *)&a, &len) < 0)
		return -errno;
	(void)printf("listening on %s:%u\n", host, (unsigned)ntohs(a.sin_port));
	(void)fflush(stdout);
	return fd_take(&fd);
}

static int stop_signals(void)
{
	sigset_t set;

	(void)signal(SIGPIPE, SIG_IGN);
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &set, NULL); /* threads inherit it */
	int fd = signalfd(-1, &set, SFD_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int serve(struct options *o)
{
	CLEANUP(store_free) struct store *store = NULL;
	CLEANUP(server_free) struct server *server = NULL;
	CLEANUP(fd_close) int stop_fd = stop_signals();

	if (stop_fd < 0)
		return stop_fd;
	int rc = store_new(o->root, o->by_folders, &store);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < o->synthetic_count; i++) {
		rc = store_add(store, o->synthetic[i]);
		if (rc < 0)
			return rc == -EINVAL ? bad("synthetic", o->synthetic[i]) : rc;
	}
	o->server.store = store;
	rc = server_new(&o->server, &server);
	if (rc < 0)
		return rc;
	CLEANUP(fd_close) int listen_fd = listen_on(o->listen);
	return listen_fd < 0 ? listen_fd : server_run(server, listen_fd, stop_fd);
}

int main(int argc, char **argv)
{
	struct options o;

	if (parse_options(argc, argv, &o) < 0) {
		usage(stderr);
		return 2;
	}
	int rc = serve(&o);
	if (rc < 0)
		(void)fprintf(stderr, "larder-origin: %s\n", err_text(rc));
	return rc < 0;
}
