#include "common/rpc/wire.h"

#include <errno.h>
#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/slice.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

grpc_byte_buffer *wire_encode(const ProtobufCMessage *m)
{
	grpc_slice s = grpc_slice_malloc(protobuf_c_message_get_packed_size(m));

	(void)protobuf_c_message_pack(m, GRPC_SLICE_START_PTR(s));
	grpc_byte_buffer *b = grpc_raw_byte_buffer_create(&s, 1); /* takes its own reference */
	grpc_slice_unref(s);
	return b;
}

/* Counts what was taken, not what was given back: a message is unpacked once, from an empty budget. */
struct budget {
	size_t left;
};

static void *budget_alloc(void *arg, size_t size)
{
	struct budget *b = arg;

	if (size > b->left)
		return NULL;
	b->left -= size;
	return mem_alloc(size);
}

static void budget_free(void *arg, void *p)
{
	(void)arg;
	(void)mem_free(p);
}

ProtobufCMessage *wire_decode(const ProtobufCMessageDescriptor *type, grpc_byte_buffer *b)
{
	grpc_byte_buffer_reader r;
	struct budget budget = {.left = RPC_UNPACK_MAX};
	ProtobufCAllocator allocator = {
		.alloc = budget_alloc, .free = budget_free, .allocator_data = &budget};

	if (!b || !grpc_byte_buffer_reader_init(&r, b))
		return NULL;
	grpc_slice s = grpc_byte_buffer_reader_readall(&r);
	grpc_byte_buffer_reader_destroy(&r);
	ProtobufCMessage *m =
		protobuf_c_message_unpack(type, &allocator, GRPC_SLICE_LENGTH(s), GRPC_SLICE_START_PTR(s));
	grpc_slice_unref(s);
	return m;
}

void wire_code_set(struct wire_code *w, int code)
{
	(void)snprintf(w->text, sizeof w->text, "%d", code);
	w->metadata = (grpc_metadata){.key = grpc_slice_from_static_string(RPC_CODE_KEY),
				      .value = grpc_slice_from_static_string(w->text)};
}

int wire_code_get(grpc_status_code status, const grpc_metadata_array *trailers)
{
	char text[12];

	if (status == GRPC_STATUS_OK)
		return 0;
	for (size_t i = 0; i < trailers->count; i++) {
		grpc_slice v = trailers->metadata[i].value;
		if (grpc_slice_str_cmp(trailers->metadata[i].key, RPC_CODE_KEY) != 0 ||
		    GRPC_SLICE_LENGTH(v) >= sizeof text)
			continue;
		memcpy(text, GRPC_SLICE_START_PTR(v), GRPC_SLICE_LENGTH(v));
		text[GRPC_SLICE_LENGTH(v)] = 0;
		long code = strtol(text, NULL, 10);
		if (code < 0 && code > -8192)
			return (int)code;
	}
	return err_from_grpc((int)status);
}
