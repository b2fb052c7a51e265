/*
 * The server: one completion queue, a few threads on it. Life of a call: armed -> came (its close is watched, its request
 * read) -> with its handler -> ended (status on its way) -> freed when no batch of it is outstanding.
 *
 * Any thread may send on a call, so each has a lock; rpc_call.pending counts its batches.
 */
#include <errno.h>
#include <fcntl.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/support/time.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/fd.h"
#include "common/base/mem.h"
#include "common/rpc.h"
#include "common/rpc/handover.h"
#include "common/rpc/wire.h"

#define ARMED_PER_THREAD 8
#define THREADS_MAX      8
#define ADDRESSES_MAX    16

enum step { STEP_NEW, STEP_CLOSED, STEP_REQUEST, STEP_SENT, STEP_ENDED, STEPS };

struct tag {
	struct rpc_call *call;
	enum step step;
};

struct rpc_call {
	struct rpc_server *server;
	struct tag tags[STEPS];
	grpc_call *call;
	grpc_call_details details;
	grpc_metadata_array metadata;
	const struct rpc_method *method; /* NULL: unknown */
	grpc_byte_buffer *in;
	ProtobufCMessage *request;
	int close_flag; /* written by the library */

	pthread_mutex_t lock; /* guards all below, and starting batches */
	pthread_cond_t sent;
	grpc_byte_buffer *out;
	struct wire_code code;
	int pending;
	bool cancelled, ending, ended, sending, send_ok;
};

struct rpc_server {
	struct rpc_server_config config;
	grpc_server *server;
	grpc_completion_queue *queue, *stop;
	pthread_t threads[THREADS_MAX];
	uint32_t thread_count;
	int lock_fds[ADDRESSES_MAX];
	char *sockets[ADDRESSES_MAX]; /* paths of unix sockets */
	size_t address_count;
	pthread_mutex_t lock; /* guards live */
	pthread_cond_t idle;
	uint32_t live; /* calls armed or not freed yet */
};

static gpr_timespec forever(void)
{
	return gpr_inf_future(GPR_CLOCK_MONOTONIC);
}

/* ---- calls ---- */

static void call_free(struct rpc_call *c)
{
	struct rpc_server *s = c->server;

	if (c->request)
		protobuf_c_message_free_unpacked(c->request, NULL);
	grpc_byte_buffer_destroy(c->in);
	grpc_byte_buffer_destroy(c->out);
	grpc_call_details_destroy(&c->details);
	grpc_metadata_array_destroy(&c->metadata);
	if (c->call)
		grpc_call_unref(c->call);
	(void)pthread_mutex_destroy(&c->lock);
	(void)pthread_cond_destroy(&c->sent);
	(void)mem_free(c);
	(void)pthread_mutex_lock(&s->lock);
	if (--s->live == 0)
		(void)pthread_cond_broadcast(&s->idle);
	(void)pthread_mutex_unlock(&s->lock);
}

/* A refused batch changed nothing and yields no event: only a bug of ours can cause it. The call's lock is held. */
static void start(struct rpc_call *c, enum step step, const grpc_op *ops, size_t count)
{
	c->pending++;
	handover_give(&c->tags[step]);
	CHECK(grpc_call_start_batch(c->call, ops, count, &c->tags[step], NULL) == GRPC_CALL_OK);
}

static struct rpc_call *call_new(struct rpc_server *s)
{
	struct rpc_call *c = mem_calloc(1, sizeof *c);

	if (!c)
		return NULL;
	c->server = s;
	for (enum step i = STEP_NEW; i < STEPS; i++)
		c->tags[i] = (struct tag){.call = c, .step = i};
	grpc_call_details_init(&c->details);
	grpc_metadata_array_init(&c->metadata);
	(void)pthread_mutex_init(&c->lock, NULL);
	(void)pthread_cond_init(&c->sent, NULL);
	(void)pthread_mutex_lock(&s->lock);
	s->live++;
	(void)pthread_mutex_unlock(&s->lock);
	return c;
}

/* Asks the library for one more call. Without memory there is one less in advance. */
static void arm(struct rpc_server *s)
{
	struct rpc_call *c = call_new(s);

	if (c)
		handover_give(&c->tags[STEP_NEW]);
	if (c && grpc_server_request_call(s->server, &c->call, &c->details, &c->metadata, s->queue, s->queue,
					  &c->tags[STEP_NEW]) != GRPC_CALL_OK)
		call_free(c);
}

/* Ends the call. @reply NULL: status alone. The lock is held. */
static void end(struct rpc_call *c, const ProtobufCMessage *reply, int status, const char *words,
		bool headers)
{
	grpc_op ops[3];
	size_t n = 0;
	grpc_slice text = grpc_slice_from_copied_string(words);

	CHECK(!c->ending);
	c->ending = true;
	if (headers)
		ops[n++] = (grpc_op){.op = GRPC_OP_SEND_INITIAL_METADATA};
	if (reply) {
		grpc_byte_buffer_destroy(c->out);
		c->out = wire_encode(reply);
		ops[n] = (grpc_op){.op = GRPC_OP_SEND_MESSAGE};
		ops[n++].data.send_message.send_message = c->out;
	}
	ops[n] = (grpc_op){.op = GRPC_OP_SEND_STATUS_FROM_SERVER};
	ops[n].data.send_status_from_server.status = (grpc_status_code)err_to_grpc(status);
	ops[n].data.send_status_from_server.status_details = &text;
	if (status) {
		wire_code_set(&c->code, status);
		ops[n].data.send_status_from_server.trailing_metadata_count = 1;
		ops[n].data.send_status_from_server.trailing_metadata = &c->code.metadata;
	}
	start(c, STEP_ENDED, ops, n + 1);
	grpc_slice_unref(text); /* not kept past start_batch */
}

void rpc_reply(struct rpc_call *c, const ProtobufCMessage *reply)
{
	(void)pthread_mutex_lock(&c->lock);
	end(c, reply, 0, "", false);
	(void)pthread_mutex_unlock(&c->lock);
}

void rpc_finish(struct rpc_call *c, int status, const struct err *err)
{
	(void)pthread_mutex_lock(&c->lock);
	end(c, NULL, status, status ? err_words(err, status) : "", false);
	(void)pthread_mutex_unlock(&c->lock);
}

int rpc_send(struct rpc_call *c, const ProtobufCMessage *message)
{
	grpc_byte_buffer *bytes = wire_encode(message);
	grpc_op op = {.op = GRPC_OP_SEND_MESSAGE};

	if (!bytes)
		return -ENOMEM;
	(void)pthread_mutex_lock(&c->lock);
	CHECK(!c->sending && !c->ending);
	bool ok = !c->cancelled;
	if (ok) {
		grpc_byte_buffer_destroy(c->out);
		c->out = bytes;
		bytes = NULL;
		op.data.send_message.send_message = c->out;
		c->sending = true;
		start(c, STEP_SENT, &op, 1);
		while (c->sending)
			(void)pthread_cond_wait(&c->sent, &c->lock);
		ok = c->send_ok && !c->cancelled;
	}
	(void)pthread_mutex_unlock(&c->lock);
	grpc_byte_buffer_destroy(bytes);
	return ok ? 0 : -ECANCELED;
}

bool rpc_cancelled(const struct rpc_call *call)
{
	struct rpc_call *c = (struct rpc_call *)(uintptr_t)call;

	(void)pthread_mutex_lock(&c->lock);
	bool cancelled = c->cancelled;
	(void)pthread_mutex_unlock(&c->lock);
	return cancelled;
}

/* ---- events ---- */

static const struct rpc_method *find_method(const struct rpc_server *s, grpc_slice path)
{
	for (size_t i = 0; i < s->config.method_count; i++)
		if (grpc_slice_str_cmp(path, s->config.methods[i].path) == 0)
			return &s->config.methods[i];
	return NULL;
}

static void on_new_call(struct rpc_call *c)
{
	grpc_op close = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER};
	grpc_op ops[2] = {{.op = GRPC_OP_SEND_INITIAL_METADATA}, {.op = GRPC_OP_RECV_MESSAGE}};

	arm(c->server);
	(void)pthread_mutex_lock(&c->lock);
	close.data.recv_close_on_server.cancelled = &c->close_flag;
	start(c, STEP_CLOSED, &close, 1); /* alone and first: it completes only at the end of the call */
	c->method = find_method(c->server, c->details.method);
	if (c->method) {
		ops[1].data.recv_message.recv_message = &c->in;
		start(c, STEP_REQUEST, ops, 2);
	} else {
		end(c, NULL, -ENOSYS, "there is no such method in this version", true);
	}
	(void)pthread_mutex_unlock(&c->lock);
}

static void on_request(struct rpc_call *c)
{
	c->request = wire_decode(c->method->request, c->in);
	if (c->request) {
		c->method->handle(c->server->config.ctx, c, c->request);
		return;
	}
	(void)pthread_mutex_lock(&c->lock);
	end(c, NULL, -EINVAL, "the request does not parse", false);
	(void)pthread_mutex_unlock(&c->lock);
}

/* Returns whether this was the last event of the call. */
static bool note_event(struct rpc_call *c, enum step step, bool ok)
{
	(void)pthread_mutex_lock(&c->lock);
	c->pending -= step != STEP_NEW;
	if (step == STEP_NEW && !ok)
		c->ended = true; /* the server shuts down: nothing was filled in */
	if (step == STEP_CLOSED)
		c->cancelled = c->close_flag;
	if (step == STEP_SENT) {
		c->sending = false;
		c->send_ok = ok;
		(void)pthread_cond_signal(&c->sent);
	}
	if (step == STEP_ENDED)
		c->ended = true;
	bool last = c->ended && c->pending == 0;
	(void)pthread_mutex_unlock(&c->lock);
	return last;
}

static void on_event(struct rpc_call *c, enum step step, bool ok)
{
	if (note_event(c, step, ok))
		call_free(c);
	else if (step == STEP_NEW)
		on_new_call(c);
	else if (step == STEP_REQUEST)
		on_request(c);
}

static void *queue_main(void *arg)
{
	struct rpc_server *s = arg;

	for (;;) {
		grpc_event e = grpc_completion_queue_next(s->queue, forever(), NULL);
		if (e.type == GRPC_QUEUE_SHUTDOWN)
			return NULL;
		if (e.type == GRPC_OP_COMPLETE) {
			const struct tag *t = e.tag;
			handover_take(e.tag);
			on_event(t->call, t->step, e.success);
		}
	}
}

/* ---- listening ---- */

/* The library unlinks a socket that is there and so silences its owner: a lock beside it tells that one lives. */
static int lock_socket(struct rpc_server *s, const char *path, size_t i, struct err *err)
{
	CLEANUP(free_str) char *lock = mem_printf("%s.lock", path);
	if (!lock)
		return err_set(err, -ENOMEM, "out of memory");
	s->lock_fds[i] = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (s->lock_fds[i] < 0)
		return err_set(err, -errno, "%s: %s", lock, err_text(errno));
	if (flock(s->lock_fds[i], LOCK_EX | LOCK_NB) < 0)
		return err_set(err, -EADDRINUSE, "%s is served by another process", path);
	s->sockets[i] = mem_strdup(path);
	return s->sockets[i] ? 0 : err_set(err, -ENOMEM, "out of memory");
}

static int listen_at(struct rpc_server *s, size_t i, struct err *err)
{
	const char *address = s->config.addresses[i];
	const char *path = strncmp(address, "unix:", 5) == 0 ? address + 5 : NULL;
	mode_t mode = s->config.socket_mode ? s->config.socket_mode : 0600;

	int r = path ? lock_socket(s, path, i, err) : 0;
	if (r)
		return r;
	grpc_server_credentials *insecure = grpc_insecure_server_credentials_create();
	mode_t old = umask(0777 & ~mode);
	int port = grpc_server_add_http2_port(s->server, address, insecure);
	(void)umask(old);
	grpc_server_credentials_release(insecure);
	if (port <= 0)
		return err_set(err, -EADDRINUSE,
			       "cannot listen on %s: it is taken, or not an address of this machine",
			       address);
	return 0;
}

static int listen_all(struct rpc_server *s, struct err *err)
{
	for (size_t i = 0; s->config.addresses[i]; i++) {
		if (i == ADDRESSES_MAX)
			return err_set(err, -EINVAL, "%d addresses are the limit", ADDRESSES_MAX);
		s->address_count = i + 1;
		int r = listen_at(s, i, err);
		if (r)
			return r;
	}
	return 0;
}

/* ---- life ---- */

static grpc_server *make_server(void)
{
	grpc_arg args[] = {
		{.type = GRPC_ARG_INTEGER,
		 .key = (char *)(uintptr_t)GRPC_ARG_ALLOW_REUSEPORT,
		 .value.integer = 0},
		{.type = GRPC_ARG_INTEGER,
		 .key = (char *)(uintptr_t)GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
		 .value.integer = RPC_MESSAGE_MAX},
	};
	grpc_channel_args channel = {.num_args = LENGTH(args), .args = args};

	return grpc_server_create(&channel, NULL);
}

static int start_threads(struct rpc_server *s, struct err *err)
{
	uint32_t wanted = s->config.threads ? MIN(s->config.threads, THREADS_MAX) : 1;

	for (; s->thread_count < wanted; s->thread_count++) {
		int r = pthread_create(&s->threads[s->thread_count], NULL, queue_main, s);
		if (r && s->thread_count == 0)
			return err_set(err, -r, "no thread for the server: %s", err_text(r));
		if (r)
			break;
	}
	return 0;
}

int rpc_server_new(const struct rpc_server_config *config, struct rpc_server **ret, struct err *err)
{
	struct rpc_server *s = mem_calloc(1, sizeof *s);

	if (!s)
		return err_set(err, -ENOMEM, "out of memory");
	s->config = *config;
	for (size_t i = 0; i < ADDRESSES_MAX; i++)
		s->lock_fds[i] = -1;
	(void)pthread_mutex_init(&s->lock, NULL);
	(void)pthread_cond_init(&s->idle, NULL);
	s->server = make_server();
	s->queue = grpc_completion_queue_create_for_next(NULL);
	s->stop = grpc_completion_queue_create_for_pluck(NULL);
	grpc_server_register_completion_queue(s->server, s->queue, NULL);
	grpc_server_register_completion_queue(s->server, s->stop, NULL);
	int r = listen_all(s, err);
	grpc_server_start(s->server); /* also after an error: only a started server can be shut down */
	if (!r)
		r = start_threads(s, err);
	if (r) {
		(void)rpc_server_free(s, 0);
		return r;
	}
	for (uint32_t i = 0; i < s->thread_count * ARMED_PER_THREAD; i++)
		arm(s);
	*ret = s;
	return 0;
}

/* New calls are refused, running ones get @grace_ns, then they are cancelled. The tag does not say that the handlers are
 * done: that is when no call lives. */
static void shut_down(struct rpc_server *s, int64_t grace_ns)
{
	gpr_timespec until =
		gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_nanos(grace_ns, GPR_TIMESPAN));

	grpc_server_shutdown_and_notify(s->server, s->stop, s);
	if (grpc_completion_queue_pluck(s->stop, s, until, NULL).type != GRPC_OP_COMPLETE) {
		grpc_server_cancel_all_calls(s->server);
		(void)grpc_completion_queue_pluck(s->stop, s, forever(), NULL);
	}
	(void)pthread_mutex_lock(&s->lock);
	while (s->live)
		(void)pthread_cond_wait(&s->idle, &s->lock);
	(void)pthread_mutex_unlock(&s->lock);
}

struct rpc_server *rpc_server_free(struct rpc_server *s, int64_t grace_ns)
{
	if (!s)
		return NULL;
	shut_down(s, grace_ns);
	grpc_completion_queue_shutdown(s->queue);
	grpc_completion_queue_shutdown(s->stop);
	if (!s->thread_count) /* no thread drains it */
		while (grpc_completion_queue_next(s->queue, forever(), NULL).type != GRPC_QUEUE_SHUTDOWN)
			;
	for (uint32_t i = 0; i < s->thread_count; i++)
		(void)pthread_join(s->threads[i], NULL);
	grpc_completion_queue_destroy(s->queue);
	grpc_completion_queue_destroy(s->stop);
	grpc_server_destroy(s->server);
	for (size_t i = 0; i < s->address_count; i++) {
		(void)fd_close(
			s->lock_fds[i]); /* the lock file stays: removing it would race with its next owner */
		(void)mem_free(s->sockets[i]);
	}
	(void)pthread_mutex_destroy(&s->lock);
	(void)pthread_cond_destroy(&s->idle);
	return mem_free(s);
}
