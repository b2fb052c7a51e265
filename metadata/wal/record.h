/*
 * record - one record of the write-ahead log as bytes: 64 bytes of header, the body, zeros up to a multiple of 8. Pure.
 * The format is docs/formats/wal.md.
 */
#ifndef METADATA_WAL_RECORD_H
#define METADATA_WAL_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "metadata/raft/raft.h"

#define WAL_HEADER_BYTES 64u
#define WAL_SECTOR_BYTES 512u        /* batches begin on these; a disk writes each whole or not at all */
#define WAL_BODY_MAX     (16u << 20) /* of one record */

enum wal_kind {
	WAL_START = 1,    /* first in a segment: where the log before it ended */
	WAL_MARK = 2,     /* first in a batch: how the group stood before it, and what was durable */
	WAL_ENTRY = 3,    /* body: the entry's data */
	WAL_SNAPSHOT = 4, /* the log is replaced by a snapshot at index, term */
};

#define WAL_SEAL 1u /* a MARK behind the end: it moves nothing, the next batch is written over it */

/* A place in the log. */
struct wal_position {
	uint64_t segment, offset;
};

struct wal_record {
	enum wal_kind kind;
	uint32_t group;
	uint32_t flags; /* ENTRY: enum raft_entry_kind; MARK: WAL_SEAL or 0 */
	uint64_t
		segment; /* the segment it was written to: what an older use of the file left is told by it */
	uint64_t index, term;   /* ENTRY, SNAPSHOT: its own; MARK: of the last entry before the batch */
	uint64_t durable_index; /* the last index of the group known to be durable when this was written */
	uint32_t chain;         /* header CRC of the record before */
	uint32_t len;           /* of the body */
	const uint8_t *body;    /* borrowed */
	uint32_t crc;           /* out: header CRC, the chain of the next */
};

/* The body of a MARK. */
struct wal_mark {
	struct raft_hard hard;
	struct wal_position durable; /* all before it is known to be durable */
	uint64_t lost_to, lost_term; /* as struct raft_start */
	uint64_t bytes;              /* of the batch: this record and those that belong to it */
};
#define WAL_MARK_BYTES  64u
#define WAL_START_BYTES 16u

static inline bool wal_position_is_before(struct wal_position a, struct wal_position b)
{
	return a.segment < b.segment || (a.segment == b.segment && a.offset < b.offset);
}

/* The bytes a record with a body of @len takes. */
static inline uint64_t wal_record_bytes(uint32_t len)
{
	return WAL_HEADER_BYTES + ((uint64_t)len + 7) / 8 * 8;
}

/* Encodes @r into @out of wal_record_bytes(), and sets r->crc. */
void wal_record_encode(struct wal_record *r, uint8_t *out);

/* Decodes what stands at @at in @bytes of a segment. 0; -ENODATA: zeros, nothing was written here; -EBADMSG: anything else
 * than a whole record of @segment. *ret borrows from @bytes. The chain is for the caller to compare. */
MUST_CHECK int wal_record_decode(const uint8_t *bytes, uint64_t size, uint64_t at, uint64_t segment,
				 struct wal_record *ret);

/* Bodies. Decoding takes those that wal_record_decode() found whole. */
void wal_mark_encode(const struct wal_mark *m, uint8_t out[WAL_MARK_BYTES]);
struct wal_mark wal_mark_decode(const uint8_t in[WAL_MARK_BYTES]);
void wal_start_encode(struct wal_position before, uint8_t out[WAL_START_BYTES]);
struct wal_position wal_start_decode(const uint8_t in[WAL_START_BYTES]);

#endif
