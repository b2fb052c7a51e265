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
	const uint8_t *root_bytes; /* mapped; the list's paths point into it */
	size_t root_len;
	struct manifest_stats stats;
	struct root_chunk *list; /* owned */
	size_t count;
	struct reader_map *maps; /* owned */
};

/* The verified chunk at @i. 0, -ERR_CORRUPT, or what map answered. */
MUST_CHECK int reader_chunk(struct manifest *m, size_t i, struct chunk_view *ret);

/* Puts @f's position before @ordinal, which is below m->stats.entries; its path may be spoilt. */
MUST_CHECK int reader_seek(struct manifest *m, uint64_t ordinal, struct manifest_found *f);

/* Decodes the entry at @f's position and moves on. */
MUST_CHECK int reader_step(struct manifest *m, struct manifest_found *f, struct chunk_entry *ret);

#endif
