/*
 * rpc - unary calls and server streams of protobuf-c messages over gRPC. The only module that includes gRPC headers.
 *
 * Addresses: "unix:/path", "127.0.0.1:port", "[::1]:port". Deadlines are honoured on both sides, a client that goes away
 * cancels its call, messages are at most 4 MiB, statuses carry words. Call rpc_init() once in main, before any thread
 * and after the process blocked its signals; rpc_done() last.
 *
 * Server threads: a handler runs on one of the server's queue threads and must not block for long there; it may keep
 * the call and answer later from any thread. Each call must be ended exactly once by rpc_reply() or rpc_finish().
 */
#ifndef COMMON_RPC_H
#define COMMON_RPC_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/base/attr.h"
#include "common/base/err.h"

/* Once each in a process, see above. No client or server may be left at rpc_done(). */
void rpc_init(void);
void rpc_done(void);

/* ---- server ---- */

struct rpc_server;
struct rpc_call; /* one call at the server; lives until it is ended and the library has let go of it */

struct rpc_method {
	const char *path; /* "/larder.v1.Node/Status" */
	const ProtobufCMessageDescriptor *request, *reply;
	bool streams; /* the reply is a stream */
	/* @request is borrowed until the call is ended. */
	void (*handle)(void *ctx, struct rpc_call *call, const ProtobufCMessage *request);
};

struct rpc_server_config {
	const struct rpc_method *methods; /* borrowed for the server's life */
	size_t method_count;
	void *ctx;                    /* handed to every handler */
	const char *const *addresses; /* NULL-ended */
	mode_t socket_mode;           /* of unix sockets; 0: 0600 */
	uint32_t threads;             /* queue threads; 0: 1 */
};

/* Starts serving. 0; -EADDRINUSE (a lock file beside the socket tells that another process serves it), -EINVAL with
 * words, -ENOMEM. */
MUST_CHECK int rpc_server_new(const struct rpc_server_config *config, struct rpc_server **ret,
			      struct err *err);

/* Refuses new calls, gives running ones @grace_ns to end, cancels the rest, joins, removes sockets. */
struct rpc_server *rpc_server_free(struct rpc_server *s, int64_t grace_ns);

/* Ends a unary call with its reply (packed before it returns), or a stream after a last message. */
void rpc_reply(struct rpc_call *call, const ProtobufCMessage *reply);

/* Ends a call with @status 0 (streams only) or a negative code and its words. */
void rpc_finish(struct rpc_call *call, int status, const struct err *err);

/* Sends one message of a stream and waits until flow control took it (so not on a queue thread: give streams a thread of
 * their own). 0, -ECANCELED when the client is gone or the deadline passed, -ENOMEM. */
MUST_CHECK int rpc_send(struct rpc_call *call, const ProtobufCMessage *message);

/* Whether the client still wants an answer. */
bool rpc_cancelled(const struct rpc_call *call);

/* ---- client ---- */

struct rpc_client; /* one channel; reconnects by itself */

/* Connects at the first call, not here. 0, -ENOMEM with words. Free only after all its calls have ended (NULL is fine;
 * returns NULL). */
MUST_CHECK int rpc_client_new(const char *address, struct rpc_client **ret, struct err *err);
struct rpc_client *rpc_client_free(struct rpc_client *c);
DEFINE_CLEANUP(struct rpc_client *, rpc_client_free)

/* A unary call; blocks until the reply, at most @timeout_ns. @wait: wait for the server to come up rather than fail at
 * once with -ERR_UNREACHABLE. 0 with *ret owned by the caller (protobuf_c_message_free_unpacked); or the server's code
 * and words; -ETIMEDOUT. Any thread. */
MUST_CHECK int rpc_unary(struct rpc_client *c, const char *path, const ProtobufCMessage *request,
			 const ProtobufCMessageDescriptor *reply_type, int64_t timeout_ns, bool wait,
			 ProtobufCMessage **ret, struct err *err);

struct rpc_stream;

/* Opens a server stream; timeout 0: none. */
MUST_CHECK int rpc_stream_open(struct rpc_client *c, const char *path, const ProtobufCMessage *request,
			       const ProtobufCMessageDescriptor *reply_type, int64_t timeout_ns, bool wait,
			       struct rpc_stream **ret, struct err *err);

/* The next message (owned by the caller). 1: one came; 0: the stream ended well; negative: it failed, with words. */
MUST_CHECK int rpc_stream_next(struct rpc_stream *s, ProtobufCMessage **ret, struct err *err);

/* From any thread (a signal watcher): ends the stream; rpc_stream_next() then answers -ECANCELED. */
void rpc_stream_cancel(struct rpc_stream *s);
struct rpc_stream *rpc_stream_free(struct rpc_stream *s);
DEFINE_CLEANUP(struct rpc_stream *, rpc_stream_free)

#endif
