/*
 * root - the bytes of a manifest's root: statistics and the list of chunks (docs/formats/manifest.md). A codec; the input
 * of root_decode() is not trusted.
 */
#ifndef COMMON_MANIFEST_ROOT_H
#define COMMON_MANIFEST_ROOT_H

#include "common/manifest.h"
#include "common/manifest/key.h"

#define ROOT_CHUNKS_MAX (4u << 20)
#define ROOT_BYTES_MAX  (256u << 20)

struct root_chunk {
	struct path_key first; /* of its first entry; borrowed from the root's bytes when decoded */
	struct hash256 hash;
	uint64_t first_ordinal;
	uint32_t entries;
	uint32_t bytes;
};

/* The list of chunks while it is written. */
struct root_writer {
	uint8_t *list; /* owned: the chunks, encoded */
	size_t used, size;
	uint64_t chunks, bytes;
};

/* Frees what the writer holds. */
void root_writer_done(struct root_writer *w);

/* Appends a chunk; first_ordinal is not looked at. 0, -ENOMEM, -EFBIG. */
MUST_CHECK int root_writer_add(struct root_writer *w, const struct root_chunk *c);

/* The whole root, owned by the caller; fills the chunk fields of @stats. 0, -ENOMEM. */
MUST_CHECK int root_writer_end(const struct root_writer *w, struct manifest_stats *stats, uint8_t **ret,
			       size_t *ret_len);

/* Decodes a root that the caller keeps for as long as the chunks' paths are used. *ret_chunks is owned by the caller. 0,
 * -ENOMEM, -ERR_CORRUPT. */
MUST_CHECK int root_decode(const uint8_t *bytes, size_t len, struct manifest_stats *ret_stats,
			   struct root_chunk **ret_chunks, size_t *ret_count);

#endif
