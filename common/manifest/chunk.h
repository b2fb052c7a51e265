/*
 * chunk - the bytes of one chunk of a manifest: blocks of 32 front-coded entries and an index of the blocks
 * (docs/formats/manifest.md). A codec: no syscalls; the input of the reading half is not trusted.
 */
#ifndef COMMON_MANIFEST_CHUNK_H
#define COMMON_MANIFEST_CHUNK_H

#include "common/manifest.h"
#include "common/manifest/key.h"

#define CHUNK_BLOCK_ENTRIES 32
#define CHUNK_BYTES_MAX     (160u << 20)
#define CHUNK_ENTRY_MAX     (3 * MANIFEST_PATH_MAX + VALIDATOR_BYTES_MAX + 128) /* bytes of the longest entry */

/* How a validator is stored: kind and quotes, pairs of hex digits kept as bytes, bytes kept as they are. */
struct validator_shape {
	uint8_t head; /* bits 0-1 kind, bit 2: stands in double quotes */
	uint8_t hex, tail;
};

/* ---- writing ---- */

struct chunk_writer {
	uint8_t *bytes; /* owned */
	size_t used, size;
	uint32_t *blocks; /* owned: offsets */
	size_t block_count, block_size;
	uint32_t entries;
	/* The entry before, which the next is coded against. */
	char path[MANIFEST_PATH_MAX + 1];
	size_t path_len;
	int64_t seconds;
	uint16_t mode, source;
	struct validator_shape shape;
	bool first_is_dir;
	size_t first_len;
	char first[MANIFEST_PATH_MAX + 1]; /* path of the chunk's first entry */
};

/* An empty writer; and freeing what it holds (also of one that failed). */
void chunk_writer_init(struct chunk_writer *w);
void chunk_writer_done(struct chunk_writer *w);

/* Appends an entry (keys must rise); @descendants counts for a DIR. 0 or -ENOMEM, -EFBIG. */
MUST_CHECK int chunk_writer_add(struct chunk_writer *w, const struct manifest_entry *e, uint64_t descendants);

/* Bytes the chunk would have if it ended here. */
size_t chunk_writer_bytes(const struct chunk_writer *w);

/* Ends the chunk: *ret borrows the bytes until the next call. The writer must hold an entry; chunk_writer_clear() readies it
 * for the next chunk. 0 or -ENOMEM. */
MUST_CHECK int chunk_writer_end(struct chunk_writer *w, const uint8_t **ret, size_t *ret_len);
void chunk_writer_clear(struct chunk_writer *w);

/* ---- reading ---- */

/* A chunk's parts, borrowed from its bytes. */
struct chunk_view {
	const uint8_t *bytes;
	uint32_t index_at, entries, blocks;
};

/* Finds the parts. 0 or -ERR_CORRUPT. Entries are not looked at. */
MUST_CHECK int chunk_view_parse(const uint8_t *bytes, size_t len, struct chunk_view *ret);

/* One entry as it stands in the chunk; pointers are borrowed from the chunk. Its path is in the caller's buffer. */
struct chunk_entry {
	enum manifest_type type;
	uint16_t mode, source;
	uint64_t size;
	int64_t mtime_ns;
	uint64_t descendants;
	size_t path_len, shared; /* shared: bytes of the path before that stayed */
	struct validator_shape shape;
	const uint8_t *validator;
	const uint8_t *key; /* NULL: the path from key_skip on */
	size_t key_len, key_skip;
	const uint8_t *target;
	size_t target_len;
};

/* Key of the first entry of @block, borrowed from the chunk. 0 or -ERR_CORRUPT. */
MUST_CHECK int chunk_block_key(const struct chunk_view *v, uint32_t block, struct path_key *ret);

/* Puts @c before the first entry of @block. 0 or -ERR_CORRUPT. */
MUST_CHECK int chunk_seek(const struct chunk_view *v, uint32_t block, struct manifest_cursor *c);

/* Decodes the next entry; @path (MANIFEST_PATH_MAX + 1 bytes) must hold the path before it, as the last call left it. 0,
 * -ENOENT at the chunk's end, -ERR_CORRUPT. */
MUST_CHECK int chunk_next(const struct chunk_view *v, struct manifest_cursor *c, char *path,
			  struct chunk_entry *ret);

/* Writes out validator, key and target of @x into @f, whose path must be x's. */
void chunk_entry_found(const struct chunk_entry *x, uint64_t ordinal, struct manifest_found *f);

/* Decodes everything: order, names, counts. @scratch is the caller's work memory. 0 or -ERR_CORRUPT. */
MUST_CHECK int chunk_check(const struct chunk_view *v, struct manifest_found *scratch);

#endif
