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
	uint64_t first_ordinal; /* of a delta: of its first edit */
	uint64_t first_below;   /* of a delta: in the table below */
	uint32_t entries;       /* of a delta: edits */
	uint32_t bytes;
};

/* The base, or a delta over what the tables before it make. */
struct root_table {
	struct root_chunk *chunks; /* owned */
	size_t count;
	uint64_t entries; /* of the table that it makes */
};

/* The tables of a manifest, the base first. */
struct root_tables {
	struct root_table tables[1 + MANIFEST_DELTAS_MAX];
	size_t count;
};

/* Frees what @t holds. */
void root_tables_done(struct root_tables *t);

/* The bytes of the chunks of a table. */
uint64_t root_table_bytes(const struct root_table *t);

/* The chunks of one table while they are written. */
struct root_writer {
	uint8_t *list; /* owned: the chunks, encoded */
	size_t used, size;
	uint64_t chunks, bytes;
	bool delta;
	uint64_t entries; /* of the table that a delta makes */
};

/* Frees what the writer holds. */
void root_writer_done(struct root_writer *w);

/* Appends a chunk; of a base, first_ordinal is not looked at. 0, -ENOMEM, -EFBIG. */
MUST_CHECK int root_writer_add(struct root_writer *w, const struct root_chunk *c);

/* Appends all chunks of a decoded table. 0, -ENOMEM, -EFBIG. */
MUST_CHECK int root_writer_add_table(struct root_writer *w, const struct root_table *t, bool delta);

/* The whole root of @count tables, owned by the caller; fills the chunk fields of @stats. 0, -ENOMEM, -EFBIG. */
MUST_CHECK int root_writer_end(const struct root_writer *tables, size_t count, struct manifest_stats *stats,
			       uint8_t **ret, size_t *ret_len);

/* Decodes a root that the caller keeps for as long as the chunks' paths are used. *ret is owned by the caller
 * (root_tables_done()). 0, -ENOMEM, -ERR_CORRUPT. */
MUST_CHECK int root_decode(const uint8_t *bytes, size_t len, struct manifest_stats *ret_stats,
			   struct root_tables *ret);

#endif
