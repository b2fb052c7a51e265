/*
 * output - entries or edits on their way into the chunks of one table: where chunks end, and the list of them for the root.
 */
#ifndef COMMON_MANIFEST_OUTPUT_H
#define COMMON_MANIFEST_OUTPUT_H

#include "common/manifest/chunk.h"
#include "common/manifest/root.h"

struct output {
	const struct manifest_sink *sink; /* borrowed */
	uint32_t target;                  /* bytes of a chunk */
	uint64_t cut_mask;
	struct chunk_writer chunk;
	struct root_writer list;
};

/* A table without chunks yet. output_done() frees what it holds. */
void output_init(struct output *o, const struct manifest_sink *sink, uint32_t target, bool delta);
void output_done(struct output *o);

/* Adds the next entry or edit. 0 or -errno; words where the sink had some. */
MUST_CHECK int output_entry(struct output *o, const struct manifest_entry *e, uint64_t descendants,
			    struct err *err);
MUST_CHECK int output_edit(struct output *o, const struct edit_place *place, const struct manifest_entry *e,
			   uint64_t descendants, struct err *err);

/* Ends the last chunk. */
MUST_CHECK int output_end(struct output *o, struct err *err);

/* Bytes of all chunks so far. */
uint64_t output_bytes(const struct output *o);

/* Writes the root of @count tables. */
MUST_CHECK int output_root(const struct manifest_sink *sink, const struct root_writer *tables, size_t count,
			   struct manifest_stats *stats, struct hash256 *ret, struct err *err);

/* Counts an entry into the statistics of the whole. */
void output_count(struct manifest_stats *s, const struct manifest_entry *e);

#endif
