/*
 * reader - what the parts of the manifest reader share.
 */
#ifndef COMMON_MANIFEST_READER_H
#define COMMON_MANIFEST_READER_H

#include <stdatomic.h>

#include "common/manifest.h"
#include "common/manifest/chunk.h"
#include "common/manifest/root.h"

/* The verified bytes of a chunk; NULL until first used. */
struct reader_map {
	const uint8_t *_Atomic bytes;
};

struct manifest {
	struct hash256 root;
	struct manifest_chunks chunks;
	const uint8_t *root_bytes; /* mapped; the lists' paths point into it */
	size_t root_len;
	struct manifest_stats stats;
	struct root_tables t;                             /* owned; the last makes the whole */
	struct reader_map *maps[1 + MANIFEST_DELTAS_MAX]; /* owned */
};

/* The verified chunk at @i of a table. 0, -ERR_CORRUPT, or what map answered. */
MUST_CHECK int reader_chunk(struct manifest *m, size_t table, size_t i, struct chunk_view *ret);

/* Forgets the deltas of a manifest that was just opened: it shows its base from then on. */
void reader_only_base(struct manifest *m);

/* Puts @f's position before @ordinal, which is below m->stats.entries; its path may be spoilt. */
MUST_CHECK int reader_seek(struct manifest *m, uint64_t ordinal, struct manifest_found *f);

/* Decodes the entry at @f's position and moves on. */
MUST_CHECK int reader_step(struct manifest *m, struct manifest_found *f, struct chunk_entry *ret);

/* Decodes the entry of that key; its path stands in @f, whose position is behind it. 0, -ENOENT and others. */
MUST_CHECK int reader_find(struct manifest *m, const struct path_key *k, struct manifest_found *f,
			   struct chunk_entry *ret, uint64_t *ret_ordinal);

/* The last chunk of a table that begins at or before @ordinal; the first, if none does. */
size_t table_chunk_of_ordinal(const struct root_table *t, uint64_t ordinal);

/* The last chunk of a table that begins at or before @k (the first, if none does), and the last such block of a chunk. */
size_t table_chunk_of_key(const struct root_table *t, const struct path_key *k);
MUST_CHECK int chunk_block_of_key(const struct chunk_view *v, const struct path_key *k, uint32_t *ret);

/* ---- edits.c: one delta ---- */

/* Where an ordinal or a key lies among the edits of a delta. */
struct edit_found {
	bool is_edit;          /* an edit is the entry itself */
	bool removed;          /* by key: an edit takes it away */
	size_t chunk;          /* is_edit: where it is */
	uint32_t index;        /* is_edit: in the chunk */
	uint64_t next_ordinal; /* else: from here on the tables run side by side, */
	uint64_t next_below;   /* in the one below from here, */
	uint64_t until;        /* by ordinal: up to this ordinal; UINT64_MAX: to the end */
};

/* Where an ordinal of the table that the delta makes lies. 0, -ERR_CORRUPT, what map answered; as the next two. */
MUST_CHECK int edits_by_ordinal(struct manifest *m, size_t table, uint64_t ordinal, struct edit_found *ret);

/* is_edit: *ret_entry is filled, and its path stands in @f, whose cursor is behind it. */
MUST_CHECK int edits_by_key(struct manifest *m, size_t table, const struct path_key *k,
			    struct manifest_found *f, struct edit_found *ret, struct chunk_entry *ret_entry);

/* Puts the cursor before the edit at @index of a chunk. */
MUST_CHECK int edits_seek(struct manifest *m, size_t table, size_t chunk, uint32_t index,
			  struct manifest_found *f);

#endif
