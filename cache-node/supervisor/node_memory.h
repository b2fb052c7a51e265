/*
 * node_memory - what a node must remember across a death of its worker, beside its sessions: the datasets it was told of
 * with their credentials, and counters. A memfd, kept by the supervisor and the mounter, never written to a disk; laid out
 * as docs/formats/node-memory.md says.
 *
 * The datasets are one blob that the worker replaces as a whole: two places, the newer one with a good CRC counts, so a
 * process killed while writing leaves the older one.
 */
#ifndef CACHE_NODE_SUPERVISOR_NODE_MEMORY_H
#define CACHE_NODE_SUPERVISOR_NODE_MEMORY_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/err.h"

#define NODE_MEMORY_MAGIC    0x314d444e52444cULL
#define NODE_MEMORY_VERSION  1u
#define NODE_MEMORY_BLOB_MAX (4u << 20)

struct node_memory {
	uint64_t magic;
	uint32_t version, bytes;
	uint64_t incarnation; /* random; a new one means that everything here was lost */
	_Atomic uint32_t worker_restarts, kills_with_read; /* worker deaths; those with a READ in flight */
	_Atomic uint32_t recovered,
		recovered_reads; /* requests of dead workers answered by their successors */
	struct {
		_Atomic uint64_t sequence; /* the larger one is the newer; 0: empty */
		uint32_t len, crc;
	} place[2];
	uint8_t blob[2][NODE_MEMORY_BLOB_MAX];
};

/* A new memory: a memfd owned by the caller. 0 or -errno. */
MUST_CHECK int node_memory_create(int *ret_fd);

/* Maps one; node_memory_unmap() ends it. 0, -ERR_CORRUPT, -EPROTO (another version), -errno with words. */
MUST_CHECK int node_memory_map(int fd, struct node_memory **ret, struct err *err);
struct node_memory *node_memory_unmap(struct node_memory *m);

/* Replaces the blob. 0, -EFBIG. One writer at a time. */
MUST_CHECK int node_memory_save(struct node_memory *m, const void *bytes, size_t len);

/* The newest whole blob: borrowed, valid until the save after the next. Length 0 when there is none. */
const uint8_t *node_memory_load(const struct node_memory *m, size_t *ret_len);

#endif
