#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "api/larder/v1/node.pb-c.h"
#include "common/base/clock.h"
#include "common/rpc.h"

#define SECOND NS_PER_S

/* The service of these tests: Stat answers or fails as its path says, List streams, Cat never ends by itself. */
struct service {
	char dir[64], address[96];
	struct rpc_server *server;
	struct rpc_client *client;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct rpc_call *parked; /* a call answered later */
	bool cancelled_seen;
	pthread_t streamer;
	bool streamer_started;
};

static void handle_stat(void *ctx, struct rpc_call *call, const ProtobufCMessage *request)
{
	const Larder__V1__PathRequest *q = (const void *)request;
	struct service *s = ctx;
	Larder__V1__Entry entry = LARDER__V1__ENTRY__INIT;
	struct err err = {0};

	if (q->path.len == 5 && memcmp(q->path.data, "stale", 5) == 0) {
		err_set(&err, -ESTALE, "the object \"x\" was replaced");
		rpc_finish(call, -ESTALE, &err);
	} else if (q->path.len == 4 && memcmp(q->path.data, "park", 4) == 0) {
		pthread_mutex_lock(&s->lock);
		s->parked = call;
		pthread_cond_broadcast(&s->changed);
		pthread_mutex_unlock(&s->lock);
	} else {
		entry.path = q->path;
		entry.size = 42;
		rpc_reply(call, &entry.base);
	}
}

struct stream_job {
	struct service *s;
	struct rpc_call *call;
	uint64_t count;
};

static void *stream_main(void *arg)
{
	struct stream_job *j = arg;
	uint8_t bytes[5000] = {0};
	Larder__V1__DataChunk chunk = LARDER__V1__DATA_CHUNK__INIT;
	int r = 0;

	chunk.data.data = bytes;
	chunk.data.len = sizeof bytes;
	for (uint64_t i = 0; i < j->count && !r; i++) {
		memcpy(bytes, &i, sizeof i);
		r = rpc_send(j->call, &chunk.base);
	}
	pthread_mutex_lock(&j->s->lock);
	j->s->cancelled_seen = r == -ECANCELED;
	pthread_cond_broadcast(&j->s->changed);
	pthread_mutex_unlock(&j->s->lock);
	rpc_finish(j->call, r, NULL);
	free(j);
	return NULL;
}

static void handle_cat(void *ctx, struct rpc_call *call, const ProtobufCMessage *request)
{
	const Larder__V1__CatRequest *q = (const void *)request;
	struct service *s = ctx;
	struct stream_job *j = malloc(sizeof *j);

	*j = (struct stream_job){.s = s, .call = call, .count = q->length};
	if (s->streamer_started)
		pthread_join(s->streamer, NULL);
	s->streamer_started = true;
	pthread_create(&s->streamer, NULL, stream_main, j);
}

static const struct rpc_method methods[] = {
	{.path = "/larder.v1.Node/Stat",
	 .request = &larder__v1__path_request__descriptor,
	 .reply = &larder__v1__entry__descriptor,
	 .handle = handle_stat},
	{.path = "/larder.v1.Node/Cat",
	 .request = &larder__v1__cat_request__descriptor,
	 .reply = &larder__v1__data_chunk__descriptor,
	 .streams = true,
	 .handle = handle_cat},
};

static int start_service(struct service *s, const char *address)
{
	const char *addresses[] = {address, NULL};
	struct rpc_server_config c = {.methods = methods,
				      .method_count = LENGTH(methods),
				      .ctx = s,
				      .addresses = addresses,
				      .threads = 2};

	return rpc_server_new(&c, &s->server, NULL);
}

static int setup(void **state)
{
	struct service *s = calloc(1, sizeof *s);

	(void)snprintf(s->dir, sizeof s->dir, "/tmp/larder-rpc-XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	snprintf(s->address, sizeof s->address, "unix:%s/s.sock", s->dir);
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	assert_int_equal(start_service(s, s->address), 0);
	assert_int_equal(rpc_client_new(s->address, &s->client, NULL), 0);
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct service *s = *state;
	char path[128];

	rpc_client_free(s->client);
	rpc_server_free(s->server, SECOND);
	if (s->streamer_started)
		pthread_join(s->streamer, NULL);
	snprintf(path, sizeof path, "%s/s.sock.lock", s->dir);
	unlink(path);
	snprintf(path, sizeof path, "%s/s.sock", s->dir);
	assert_int_equal(access(path, F_OK), -1); /* a clean shutdown removes its socket */
	assert_int_equal(rmdir(s->dir), 0);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->changed);
	free(s);
	return 0;
}

static int stat_path(struct rpc_client *c, const char *path, int64_t timeout, Larder__V1__Entry **ret,
		     struct err *err)
{
	Larder__V1__PathRequest q = LARDER__V1__PATH_REQUEST__INIT;

	q.path.data = (uint8_t *)(uintptr_t)path;
	q.path.len = strlen(path);
	return rpc_unary(c, "/larder.v1.Node/Stat", &q.base, &larder__v1__entry__descriptor, timeout, true,
			 (ProtobufCMessage **)ret, err);
}

static void a_unary_call_brings_its_reply(void **state)
{
	struct service *s = *state;
	Larder__V1__Entry *e;

	assert_int_equal(stat_path(s->client, "a/b", 10 * SECOND, &e, NULL), 0);
	assert_int_equal(e->size, 42);
	assert_memory_equal(e->path.data, "a/b", 3);
	larder__v1__entry__free_unpacked(e, NULL);
}

static void an_error_keeps_its_exact_code_and_words(void **state)
{
	struct service *s = *state;
	Larder__V1__Entry *e;
	struct err err = {0};

	assert_int_equal(stat_path(s->client, "stale", 10 * SECOND, &e, &err), -ESTALE);
	assert_string_equal(err.text, "the object \"x\" was replaced");
}

static void an_unknown_method_is_enosys(void **state)
{
	struct service *s = *state;
	Larder__V1__Empty q = LARDER__V1__EMPTY__INIT;
	ProtobufCMessage *reply;

	assert_int_equal(rpc_unary(s->client, "/larder.v1.Node/None", &q.base, &larder__v1__empty__descriptor,
				   10 * SECOND, true, &reply, NULL),
			 -ENOSYS);
}

static void a_request_that_does_not_parse_is_einval(void **state)
{
	struct service *s = *state;
	/* A DataChunk's bytes field is number 1, a PathRequest's number 1 is a message: these bytes are none. */
	Larder__V1__DataChunk q = LARDER__V1__DATA_CHUNK__INIT;
	ProtobufCMessage *reply;

	q.data.data = (uint8_t *)(uintptr_t) "\xff\xff\xff";
	q.data.len = 3;
	assert_int_equal(rpc_unary(s->client, "/larder.v1.Node/Stat", &q.base, &larder__v1__entry__descriptor,
				   10 * SECOND, true, &reply, NULL),
			 -EINVAL);
}

static void a_call_answered_by_nobody_ends_at_its_deadline(void **state)
{
	struct service *s = *state;
	Larder__V1__Entry *e, late = LARDER__V1__ENTRY__INIT;

	assert_int_equal(stat_path(s->client, "park", SECOND / 5, &e, NULL), -ETIMEDOUT);
	pthread_mutex_lock(&s->lock);
	while (!s->parked)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
	rpc_reply(s->parked, &late.base); /* nobody listens: harmless */
	s->parked = NULL;
}

static void nobody_at_the_address_is_unreachable_at_once(void **state)
{
	struct service *s = *state;
	struct rpc_client *c;
	Larder__V1__PathRequest q = LARDER__V1__PATH_REQUEST__INIT;
	ProtobufCMessage *reply;
	char address[160], want[200];
	struct err err = {0};

	snprintf(address, sizeof address, "unix:%s/none.sock", s->dir);
	snprintf(want, sizeof want, "nobody answers at %s", address);
	assert_int_equal(rpc_client_new(address, &c, NULL), 0);
	assert_int_equal(rpc_unary(c, "/larder.v1.Node/Stat", &q.base, &larder__v1__entry__descriptor,
				   20 * SECOND, false, &reply, &err),
			 -ERR_UNREACHABLE);
	assert_string_equal(err.text, want);
	rpc_client_free(c);
}

/* Stands before the server and lets nothing through at first. */
struct relay {
	const struct service *s;
	struct sockaddr_un at;
	int listening;
	pthread_t thread;
};

static int unix_socket(const char *path, struct sockaddr_un *ret)
{
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(ret->sun_path, sizeof ret->sun_path, "%s", path);
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

/* False at the end of either side. */
static bool pass_on(int from, int to)
{
	char bytes[4096];
	ssize_t n = read(from, bytes, sizeof bytes);
	return n > 0 && write(to, bytes, (size_t)n) == n;
}

static void *relay_main(void *arg)
{
	struct relay *r = arg;
	struct sockaddr_un to;
	struct timespec delay = {.tv_nsec = 400 * NS_PER_MS};
	int client = accept(r->listening, NULL, NULL),
	    server = unix_socket(r->s->address + strlen("unix:"), &to);
	nanosleep(&delay, NULL); /* what a busy machine does */
	struct pollfd fds[2] = {{client, POLLIN, 0}, {server, POLLIN, 0}};
	bool open = connect(server, (struct sockaddr *)&to, sizeof to) == 0;
	while (open && poll(fds, 2, -1) > 0)
		for (int i = 0; i < 2 && open; i++)
			if (fds[i].revents)
				open = pass_on(fds[i].fd, fds[!i].fd);
	close(client);
	close(server);
	return NULL;
}

static void a_server_that_is_slow_to_greet_is_not_called_nobody(void **state)
{
	struct service *s = *state;
	struct relay r = {.s = s};
	struct rpc_client *c;
	Larder__V1__PathRequest q = LARDER__V1__PATH_REQUEST__INIT;
	ProtobufCMessage *reply;
	char path[96], address[160];

	snprintf(path, sizeof path, "%s/slow.sock", s->dir);
	snprintf(address, sizeof address, "unix:%s", path);
	r.listening = unix_socket(path, &r.at);
	assert_int_equal(bind(r.listening, (struct sockaddr *)&r.at, sizeof r.at), 0);
	assert_int_equal(listen(r.listening, 4), 0);
	assert_int_equal(pthread_create(&r.thread, NULL, relay_main, &r), 0);
	assert_int_equal(rpc_client_new(address, &c, NULL), 0);
	assert_int_equal(rpc_unary(c, "/larder.v1.Node/Stat", &q.base, &larder__v1__entry__descriptor,
				   20 * SECOND, false, &reply, NULL),
			 0);
	protobuf_c_message_free_unpacked(reply, NULL);
	rpc_client_free(c);
	close(r.listening);
	pthread_join(r.thread, NULL);
	unlink(path);
}

static int open_cat(struct service *s, uint64_t count, struct rpc_stream **ret)
{
	Larder__V1__CatRequest q = LARDER__V1__CAT_REQUEST__INIT;

	q.length = count;
	return rpc_stream_open(s->client, "/larder.v1.Node/Cat", &q.base, &larder__v1__data_chunk__descriptor,
			       60 * SECOND, true, ret, NULL);
}

static void a_stream_brings_every_message_in_order(void **state)
{
	struct service *s = *state;
	struct rpc_stream *t;
	ProtobufCMessage *m;
	uint64_t n = 0;
	int r;

	assert_int_equal(open_cat(s, 2000, &t), 0);
	while ((r = rpc_stream_next(t, &m, NULL)) == 1) {
		Larder__V1__DataChunk *c = (Larder__V1__DataChunk *)m;
		assert_int_equal(c->data.len, 5000);
		assert_memory_equal(c->data.data, &n, sizeof n);
		n++;
		larder__v1__data_chunk__free_unpacked(c, NULL);
	}
	assert_int_equal(r, 0);
	assert_int_equal(n, 2000);
	rpc_stream_free(t);
}

static void a_client_that_goes_away_stops_the_server_side(void **state)
{
	struct service *s = *state;
	struct rpc_stream *t;
	ProtobufCMessage *m;

	assert_int_equal(open_cat(s, UINT64_MAX, &t), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(rpc_stream_next(t, &m, NULL), 1);
		protobuf_c_message_free_unpacked(m, NULL);
	}
	rpc_stream_free(t);
	pthread_mutex_lock(&s->lock);
	while (!s->cancelled_seen)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

static void a_second_server_on_a_socket_is_refused(void **state)
{
	struct service *s = *state;
	const char *addresses[] = {s->address, NULL};
	struct rpc_server_config c = {.methods = methods, .method_count = 1, .addresses = addresses};
	struct rpc_server *second;
	Larder__V1__Entry *e;
	struct err err = {0};

	assert_int_equal(rpc_server_new(&c, &second, &err), -EADDRINUSE);
	assert_non_null(strstr(err.text, "is served by another process"));
	assert_int_equal(stat_path(s->client, "x", 10 * SECOND, &e, NULL),
			 0); /* the first one was not silenced */
	larder__v1__entry__free_unpacked(e, NULL);
}

static void a_taken_port_is_refused(void **state)
{
	struct service *s = *state;
	char address[32];
	const char *addresses[] = {address, NULL};
	struct rpc_server_config c = {
		.methods = methods, .method_count = 2, .ctx = s, .addresses = addresses};
	struct rpc_server *first = NULL, *second;
	struct rpc_client *client;
	Larder__V1__Entry *e;

	for (int port = 20000 + getpid() % 10000; !first;
	     port++) { /* somebody else's ports are stepped over */
		snprintf(address, sizeof address, "127.0.0.1:%d", port);
		(void)!rpc_server_new(&c, &first, NULL);
	}
	assert_int_equal(rpc_server_new(&c, &second, NULL), -EADDRINUSE);
	assert_int_equal(rpc_client_new(address, &client, NULL), 0);
	assert_int_equal(stat_path(client, "x", 10 * SECOND, &e, NULL), 0);
	larder__v1__entry__free_unpacked(e, NULL);
	rpc_client_free(client);
	rpc_server_free(first, SECOND);
}

static void *caller_main(void *arg)
{
	struct service *s = arg;
	Larder__V1__Entry *e;
	intptr_t good = 0;

	for (int i = 0; i < 200; i++)
		if (stat_path(s->client, "many", 30 * SECOND, &e, NULL) == 0) {
			good++;
			larder__v1__entry__free_unpacked(e, NULL);
		}
	return (void *)good;
}

static void many_threads_share_one_client(void **state)
{
	struct service *s = *state;
	pthread_t threads[8];
	void *good;

	for (size_t i = 0; i < LENGTH(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, caller_main, s), 0);
	for (size_t i = 0; i < LENGTH(threads); i++) {
		pthread_join(threads[i], &good);
		assert_int_equal((intptr_t)good, 200);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(a_unary_call_brings_its_reply),
		T(an_error_keeps_its_exact_code_and_words),
		T(an_unknown_method_is_enosys),
		T(a_request_that_does_not_parse_is_einval),
		T(a_call_answered_by_nobody_ends_at_its_deadline),
		T(nobody_at_the_address_is_unreachable_at_once),
		T(a_server_that_is_slow_to_greet_is_not_called_nobody),
		T(a_stream_brings_every_message_in_order),
		T(a_client_that_goes_away_stops_the_server_side),
		T(a_second_server_on_a_socket_is_refused),
		T(a_taken_port_is_refused),
		T(many_threads_share_one_client),
#undef T
	};
	rpc_init();
	int r = cmocka_run_group_tests(tests, NULL, NULL);
	rpc_done();
	return r;
}
