/*
 * wire - messages to byte buffers and back, and the exact code of a status. Private to rpc/.
 */
#ifndef COMMON_RPC_WIRE_H
#define COMMON_RPC_WIRE_H

#include <grpc/grpc.h>
#include <protobuf-c/protobuf-c.h>

#include "common/base/attr.h"
#include "common/base/err.h"

#define RPC_MESSAGE_MAX (4 << 20) /* bytes of a message on the wire */
#define RPC_UNPACK_MAX \
	(64 << 20) /* bytes of memory one message may unpack into: hostile ones grow a hundredfold */
#define RPC_CODE_KEY "larder-code" /* trailing metadata: our own negative code, since gRPC has few */

/* A new buffer with the packed message, owned by the caller (also after SEND_MESSAGE); NULL when out of memory. */
MUST_CHECK grpc_byte_buffer *wire_encode(const ProtobufCMessage *m);

/* The message in @b (which stays the caller's), owned by the caller; NULL when there is none, it does not parse or would
 * take too much memory. */
MUST_CHECK ProtobufCMessage *wire_decode(const ProtobufCMessageDescriptor *type, grpc_byte_buffer *b);

/* Trailing metadata that carries @code; the slices refer to @text, which must outlive the batch. */
struct wire_code {
	char text[12];
	grpc_metadata metadata;
};
void wire_code_set(struct wire_code *w, int code);

/* The code of a status: the exact one of the trailer where there is, else what the gRPC status means. */
int wire_code_get(grpc_status_code status, const grpc_metadata_array *trailers);

#endif
