/* Parallel ranges against the origin, which runs in a thread of this test. */
#include "bench/ranges/ranges.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "bench/origin/server.h"
#include "bench/origin/synthetic.h"
#include "common/base/fd.h"
#include "common/base/mem.h"

#define KEY        "bench/made-up"
#define SPEC       "bench/made-up:5M"
#define SIZE_BYTES (5u << 20)

struct fixture {
	struct store *store;
	struct server *server;
	int listen_fd, stop_fd, out_fd;
	pthread_t thread;
	char url[128];
};

static void *serve(void *ctx)
{
	struct fixture *f = ctx;

	assert_int_equal(server_run(f->server, f->listen_fd, f->stop_fd), 0);
	return NULL;
}

static int start(void **state)
{
	struct fixture *f = mem_calloc(1, sizeof *f);
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof a;

	(void)signal(SIGPIPE, SIG_IGN); /* the origin writes to connections that were given up */
	assert_non_null(f);
	assert_int_equal(store_new(NULL, false, &f->store), 0);
	assert_int_equal(store_add(f->store, SPEC), 0);
	const struct server_config config = {
		.connections_max = 64, .access_key = "key", .secret_key = "secret", .store = f->store};
	assert_int_equal(server_new(&config, &f->server), 0);
	f->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(f->listen_fd, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(listen(f->listen_fd, 64), 0);
	assert_int_equal(getsockname(f->listen_fd, (struct sockaddr *)&a, &len), 0);
	(void)snprintf(f->url, sizeof f->url, "http://127.0.0.1:%u/" KEY, ntohs(a.sin_port));
	f->stop_fd = eventfd(0, EFD_CLOEXEC);
	f->out_fd = memfd_create("ranges_test", MFD_CLOEXEC);
	assert_int_equal(pthread_create(&f->thread, NULL, serve, f), 0);
	*state = f;
	return 0;
}

static int stop(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(eventfd_write(f->stop_fd, 1), 0);
	assert_int_equal(pthread_join(f->thread, NULL), 0);
	server_free(f->server);
	store_free(f->store);
	(void)fd_close(f->listen_fd);
	(void)fd_close(f->stop_fd);
	(void)fd_close(f->out_fd);
	(void)mem_free(f);
	return 0;
}

static struct ranges_config config_of(const struct fixture *f)
{
	return (struct ranges_config){.url = f->url,
				      .size = SIZE_BYTES,
				      .connections = 4,
				      .threads = 2,
				      .out_fd = f->out_fd,
				      .access_key = "key",
				      .secret_key = "secret",
				      .region = "us-east-1"};
}

static void assert_right_bytes(int fd)
{
	uint8_t *pattern = mem_alloc(SYNTHETIC_BYTES), *got = mem_alloc(SIZE_BYTES);

	synthetic_fill_pattern(pattern);
	assert_int_equal(fd_pread_full(fd, got, SIZE_BYTES, 0), 0);
	assert_true(synthetic_equal(pattern, synthetic_key(KEY), 0, got, SIZE_BYTES));
	(void)mem_free(got);
	(void)mem_free(pattern);
}

static void any_number_of_connections_brings_the_whole_object(void **state)
{
	static const struct {
		uint32_t connections, threads;
		uint64_t part, requests;
	} rows[] = {{1, 1, 0, 1}, {3, 2, 0, 3}, {32, 2, 0, 32}, {4, 8, 1000000, 6}, {16, 2, 4 << 20, 2}};
	struct fixture *f = *state;

	for (size_t i = 0; i < LENGTH(rows); i++) {
		struct ranges_config config = config_of(f);
		struct ranges_result result;
		struct err err = {0};
		config.connections = rows[i].connections;
		config.threads = rows[i].threads;
		config.part = rows[i].part;
		assert_int_equal(ftruncate(f->out_fd, 0), 0);
		assert_int_equal(ranges_run(&config, &result, &err), 0);
		assert_int_equal(result.bytes, SIZE_BYTES);
		assert_int_equal(result.requests, rows[i].requests);
		assert_true(result.end_ns > result.start_ns);
		assert_right_bytes(f->out_fd);
	}
}

static void what_the_server_refuses_is_an_error_with_its_status(void **state)
{
	struct fixture *f = *state;
	struct ranges_config config = config_of(f);
	struct ranges_result result;
	struct err err = {0};

	config.secret_key = "wrong";
	assert_int_equal(ranges_run(&config, &result, &err), -EIO);
	assert_non_null(strstr(err.text, "403"));
	config = config_of(f);
	config.size = SIZE_BYTES + 1; /* the last range is cut short */
	assert_int_equal(ranges_run(&config, &result, &err), -EIO);
	config = config_of(f);
	config.url = "http://127.0.0.1:1/bench/none";
	assert_int_equal(ranges_run(&config, &result, &err), -ERR_UNREACHABLE);
}

static void a_write_that_fails_is_told(void **state)
{
	struct fixture *f = *state;
	struct ranges_config config = config_of(f);
	struct ranges_result result;
	struct err err = {0};

	config.out_fd = STDIN_FILENO + 1000; /* no such descriptor: every write fails */
	assert_int_equal(ranges_run(&config, &result, &err), -EBADF);
	assert_non_null(strstr(err.text, "offset"));
}

static void wrong_settings_are_refused(void **state)
{
	struct fixture *f = *state;
	struct ranges_result result;

	for (int i = 0; i < 6; i++) {
		struct ranges_config config = config_of(f);
		config.size = i == 0 ? 0 : config.size;
		config.connections = i == 1 ? 0 : i == 2 ? RANGES_CONNECTIONS_MAX + 1 : config.connections;
		config.threads = i == 3 ? 0 : config.threads;
		config.secret_key = i == 4 ? NULL : config.secret_key;
		config.url = i == 5 ? "127.0.0.1/no-scheme" : config.url;
		assert_int_equal(ranges_run(&config, &result, NULL), -EINVAL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_number_of_connections_brings_the_whole_object),
		cmocka_unit_test(what_the_server_refuses_is_an_error_with_its_status),
		cmocka_unit_test(a_write_that_fails_is_told),
		cmocka_unit_test(wrong_settings_are_refused),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
