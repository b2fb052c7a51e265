/*
 * chunk - the bytes of one chunk of a manifest: blocks of 32 front-coded entries and an index of the blocks
 * (docs/formats/manifest.md). In a chunk of a delta they are edits: entries that say what becomes of the table below.
 * A codec: no syscalls; the input of the reading half is not trusted.
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

/* What an edit does to the table below it: stands before an entry, takes its place, takes it away. */
enum edit_kind { EDIT_ADD = 0, EDIT_CHANGE = 1, EDIT_REMOVE = 2 };

/* Where an edit stands: its ordinal in the table that it makes (of a REMOVE: that of what follows), and in the one below. */
struct edit_place {
	enum edit_kind kind;
	uint64_t ordinal, below;
};

/* What follows an edit, as far as nothing is edited: the same entries in both tables. */
static inline uint64_t edit_next_ordinal(const struct edit_place *p)
{
	return p->ordinal + (p->kind != EDIT_REMOVE);
}
static inline uint64_t edit_next_below(const struct edit_place *p)
{
	return p->below + (p->kind != EDIT_ADD);
}

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
	bool delta;             /* its entries are edits */
	struct edit_place last; /* of a delta: the edit before */
	struct edit_place first_place;
	bool first_is_dir;
	size_t first_len;
	char first[MANIFEST_PATH_MAX + 1]; /* path of the chunk's first entry */
};

/* An empty writer; and freeing what it holds (also of one that failed). */
void chunk_writer_init(struct chunk_writer *w);
void chunk_writer_done(struct chunk_writer *w);

/* Appends an entry (keys must rise); @descendants counts for a DIR. 0 or -ENOMEM, -EFBIG. */
MUST_CHECK int chunk_writer_add(struct chunk_writer *w, const struct manifest_entry *e, uint64_t descendants);

/* The same for an edit of a delta; edits come in the order of their keys, all of them. Of a REMOVE only path and type count. */
MUST_CHECK int chunk_writer_edit(struct chunk_writer *w, const struct edit_place *place,
				 const struct manifest_entry *e, uint64_t descendants);

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
	bool delta;
};

/* Finds the parts of a chunk of either sort. 0 or -ERR_CORRUPT. Entries are not looked at. */
MUST_CHECK int chunk_view_parse(const uint8_t *bytes, size_t len, struct chunk_view *ret);

/* One entry as it stands in the chunk; pointers are borrowed from the chunk. Its path is in the caller's buffer. */
struct chunk_entry {
	enum manifest_type type;
	uint16_t mode, source;
	uint64_t size;
	int64_t mtime_ns;
	uint64_t descendants;
	struct edit_place place; /* set in a delta alone */
	size_t path_len, shared; /* shared: bytes of the path before that stayed */
	struct validator_shape shape;
	const uint8_t *validator;
	const uint8_t *key; /* NULL: the path from key_skip on */
	size_t key_len, key_skip;
	const uint8_t *target;
	size_t target_len;
};

/* What not every entry has, field by field: as one literal, compilers clear all of it word by word, a third of the decoding. */
static inline void chunk_entry_begin(struct chunk_entry *x, uint8_t flags)
{
	x->type = (enum manifest_type)((flags & 3) + 1);
	x->size = x->descendants = 0;
	x->key = x->target = NULL;
	x->key_len = x->key_skip = x->target_len = 0;
}

/* Key of the first entry of @block, borrowed from the chunk. 0 or -ERR_CORRUPT. */
MUST_CHECK int chunk_block_key(const struct chunk_view *v, uint32_t block, struct path_key *ret);

/* Where the first edit of a delta's @block stands. 0 or -ERR_CORRUPT. */
MUST_CHECK int chunk_block_place(const struct chunk_view *v, uint32_t block, struct edit_place *ret);

/* Puts @c before the first entry of @block. 0 or -ERR_CORRUPT. */
MUST_CHECK int chunk_seek(const struct chunk_view *v, uint32_t block, struct manifest_cursor *c);

/* Decodes the next entry; @path (MANIFEST_PATH_MAX + 1 bytes) must hold the path before it, as the last call left it. 0,
 * -ENOENT at the chunk's end, -ERR_CORRUPT. */
MUST_CHECK int chunk_next(const struct chunk_view *v, struct manifest_cursor *c, char *path,
			  struct chunk_entry *ret);

/* The same, without its way for entries of the usual sort: what that is held against. */
MUST_CHECK int chunk_next_any(const struct chunk_view *v, struct manifest_cursor *c, char *path,
			      struct chunk_entry *ret);

/* Writes out validator, key and target of @x into @f, whose path must be x's. */
void chunk_entry_found(const struct chunk_entry *x, uint64_t ordinal, struct manifest_found *f);

/* Decodes everything: order, names, counts. @scratch is the caller's work memory. 0 or -ERR_CORRUPT. */
MUST_CHECK int chunk_check(const struct chunk_view *v, struct manifest_found *scratch);

#endif
