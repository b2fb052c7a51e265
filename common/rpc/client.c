/*
 * The client: a channel, and for every call a small queue of its own that the calling thread sits in.
 */
#include <errno.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/support/alloc.h>
#include <grpc/support/log.h>
#include <grpc/support/time.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/rpc.h"
#include "common/rpc/wire.h"

enum { CONNECT_MS = 5000 };

struct rpc_client {
	grpc_channel *channel;
	char *address;
};

struct rpc_stream {
	struct rpc_client *client;
	const ProtobufCMessageDescriptor *type;
	grpc_completion_queue *queue;
	grpc_call *call;
	grpc_metadata_array headers, trailers;
	grpc_byte_buffer *out, *in;
	grpc_status_code status;
	grpc_slice words;
	bool first_done, status_done;
	int first_tag, status_tag, read_tag; /* their addresses are the tags */
};

static void quiet_log(gpr_log_func_args *args)
{
	log_write(LOG_DEBUG, "grpc", LOG_STR("message", args->message), NULL);
}

void rpc_init(void)
{
	gpr_set_log_function(quiet_log);
	grpc_init();
}

void rpc_done(void)
{
	grpc_shutdown();
}

int rpc_client_new(const char *address, struct rpc_client **ret, struct err *err)
{
	grpc_arg args[] = {
		{.type = GRPC_ARG_INTEGER,
		 .key = (char *)(uintptr_t)GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
		 .value.integer = RPC_MESSAGE_MAX},
		{.type = GRPC_ARG_INTEGER,
		 .key = (char *)(uintptr_t)GRPC_ARG_MAX_RECONNECT_BACKOFF_MS,
		 .value.integer = 500},
		{.type = GRPC_ARG_INTEGER,
		 .key = (char *)(uintptr_t)GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS,
		 .value.integer = 50},
		/* Not a pause, whatever its name says: how long one attempt to connect may take, greetings and all. Who was
		 * refused tries again as the two above say; who is slow is not nobody. */
		{.type = GRPC_ARG_INTEGER,
		 .key = (char *)(uintptr_t)GRPC_ARG_MIN_RECONNECT_BACKOFF_MS,
		 .value.integer = CONNECT_MS},
	};
	grpc_channel_args channel = {.num_args = LENGTH(args), .args = args};
	struct rpc_client *c = mem_calloc(1, sizeof *c);

	if (c)
		c->address = mem_strdup(address);
	if (!c || !c->address) {
		(void)mem_free(c);
		return err_set(err, -ENOMEM, "out of memory");
	}
	grpc_channel_credentials *insecure = grpc_insecure_credentials_create();
	c->channel = grpc_channel_create(address, insecure, &channel);
	grpc_channel_credentials_release(insecure);
	*ret = c;
	return 0;
}

struct rpc_client *rpc_client_free(struct rpc_client *c)
{
	if (!c)
		return NULL;
	grpc_channel_destroy(c->channel);
	(void)mem_free(c->address);
	return mem_free(c);
}

static gpr_timespec deadline_in(int64_t timeout_ns)
{
	return timeout_ns <= 0 ? gpr_inf_future(GPR_CLOCK_MONOTONIC)
			       : gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
					      gpr_time_from_nanos(timeout_ns, GPR_TIMESPAN));
}

static void wait_for(struct rpc_stream *s, void *tag)
{
	(void)grpc_completion_queue_pluck(s->queue, tag, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
}

static void start(struct rpc_stream *s, const grpc_op *ops, size_t count, void *tag)
{
	CHECK(grpc_call_start_batch(s->call, ops, count, tag, NULL) == GRPC_CALL_OK);
}

static int open_call(struct rpc_client *c, const char *path, const ProtobufCMessage *request,
		     int64_t timeout_ns, struct rpc_stream **ret)
{
	struct rpc_stream *s = mem_calloc(1, sizeof *s);

	if (!s)
		return -ENOMEM;
	s->client = c;
	s->words = grpc_empty_slice();
	s->queue = grpc_completion_queue_create_for_pluck(NULL);
	grpc_slice method = grpc_slice_from_copied_string(path);
	s->call = grpc_channel_create_call(c->channel, NULL, GRPC_PROPAGATE_DEFAULTS, s->queue, method, NULL,
					   deadline_in(timeout_ns), NULL);
	grpc_slice_unref(method); /* the call took a reference; short names lie in the slice itself */
	grpc_metadata_array_init(&s->headers);
	grpc_metadata_array_init(&s->trailers);
	s->out = wire_encode(request);
	*ret = s;
	return 0;
}

/* The operations of a call; @ops has room for 6. Streams leave RECV_MESSAGE out and send the status apart. */
static void fill_ops(struct rpc_stream *s, bool wait, grpc_op ops[6])
{
	memset(ops, 0, 6 * sizeof *ops);
	ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
	ops[0].flags = wait ? GRPC_INITIAL_METADATA_WAIT_FOR_READY |
				       GRPC_INITIAL_METADATA_WAIT_FOR_READY_EXPLICITLY_SET
			    : 0;
	ops[1].op = GRPC_OP_SEND_MESSAGE;
	ops[1].data.send_message.send_message = s->out;
	ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
	ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
	ops[3].data.recv_initial_metadata.recv_initial_metadata = &s->headers;
	ops[4].op = GRPC_OP_RECV_MESSAGE;
	ops[4].data.recv_message.recv_message = &s->in;
	ops[5].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
	ops[5].data.recv_status_on_client.trailing_metadata = &s->trailers;
	ops[5].data.recv_status_on_client.status = &s->status;
	ops[5].data.recv_status_on_client.status_details = &s->words;
}

static int status_code(const struct rpc_stream *s, struct err *err)
{
	if (s->status == GRPC_STATUS_OK)
		return 0;
	int code = wire_code_get(s->status, &s->trailers);
	if (s->status == GRPC_STATUS_UNAVAILABLE && code == -ESHUTDOWN)
		return err_set(err, -ERR_UNREACHABLE, "nobody answers at %s", s->client->address);
	if (s->status == GRPC_STATUS_DEADLINE_EXCEEDED)
		return err_set(err, -ETIMEDOUT, "no answer from %s in time", s->client->address);
	return err_set(err, code, "%.*s", (int)GRPC_SLICE_LENGTH(s->words),
		       (const char *)GRPC_SLICE_START_PTR(s->words));
}

int rpc_unary(struct rpc_client *c, const char *path, const ProtobufCMessage *request,
	      const ProtobufCMessageDescriptor *reply_type, int64_t timeout_ns, bool wait,
	      ProtobufCMessage **ret, struct err *err)
{
	CLEANUP(rpc_stream_free) struct rpc_stream *s = NULL;
	grpc_op ops[6];

	int r = open_call(c, path, request, timeout_ns, &s);
	if (r)
		return err_set(err, r, "out of memory");
	fill_ops(s, wait, ops);
	start(s, ops, 6, &s->status_tag);
	wait_for(s, &s->status_tag);
	s->status_done = s->first_done = true;
	r = status_code(s, err);
	if (r)
		return r;
	*ret = wire_decode(reply_type, s->in);
	return *ret ? 0 : err_set(err, -EPROTO, "the answer of %s does not parse", c->address);
}

int rpc_stream_open(struct rpc_client *c, const char *path, const ProtobufCMessage *request,
		    const ProtobufCMessageDescriptor *reply_type, int64_t timeout_ns, bool wait,
		    struct rpc_stream **ret, struct err *err)
{
	struct rpc_stream *s;
	grpc_op ops[6];

	int r = open_call(c, path, request, timeout_ns, &s);
	if (r)
		return err_set(err, r, "out of memory");
	s->type = reply_type;
	fill_ops(s, wait, ops);
	start(s, &ops[5], 1, &s->status_tag); /* apart: it ends last */
	start(s, ops, 4, &s->first_tag);
	*ret = s;
	return 0;
}

int rpc_stream_next(struct rpc_stream *s, ProtobufCMessage **ret, struct err *err)
{
	grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};

	if (s->status_done)
		return status_code(s, err);
	op.data.recv_message.recv_message = &s->in;
	start(s, &op, 1, &s->read_tag);
	wait_for(s, &s->read_tag);
	if (!s->in) { /* the end, well or not: the status tells */
		wait_for(s, &s->status_tag);
		s->status_done = true;
		return status_code(s, err);
	}
	*ret = wire_decode(s->type, s->in);
	grpc_byte_buffer_destroy(s->in);
	s->in = NULL;
	return *ret ? 1 : err_set(err, -EPROTO, "a message of %s does not parse", s->client->address);
}

void rpc_stream_cancel(struct rpc_stream *s)
{
	(void)grpc_call_cancel(s->call, NULL);
}

struct rpc_stream *rpc_stream_free(struct rpc_stream *s)
{
	if (!s)
		return NULL;
	if (!s->status_done) {
		rpc_stream_cancel(s);
		wait_for(s, &s->status_tag);
	}
	if (!s->first_done)
		wait_for(s, &s->first_tag);
	grpc_byte_buffer_destroy(s->in);
	grpc_byte_buffer_destroy(s->out);
	grpc_metadata_array_destroy(&s->headers);
	grpc_metadata_array_destroy(&s->trailers);
	grpc_slice_unref(s->words);
	grpc_call_unref(s->call);
	grpc_completion_queue_shutdown(s->queue);
	grpc_completion_queue_destroy(s->queue);
	return mem_free(s);
}
