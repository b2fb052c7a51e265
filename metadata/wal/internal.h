/*
 * internal - the struct of the log, shared by recovery and writer.
 */
#ifndef METADATA_WAL_INTERNAL_H
#define METADATA_WAL_INTERNAL_H

#include "metadata/wal/wal.h"

struct wal_group {
	uint64_t snapshot, snapshot_term; /* when opened */
	struct raft_hard hard;
	uint64_t last, last_term; /* the end of its log as written */
	uint64_t durable_index;
	uint64_t lost_to, lost_term;
	uint64_t dropped; /* entries up to here are in a snapshot */
	bool dirty;       /* written since the last sync began */
	bool syncing;     /* written before that */
	uint64_t syncing_last;

	/* Recovery only. */
	bool marked;                /* a MARK was seen since the last hole, or there was none */
	bool broken;                /* the log does not go on where a hole was */
	bool follows;               /* the entries kept follow on the snapshot's */
	uint64_t end, end_term;     /* where its log really ended, holes or not */
	struct raft_entry *entries; /* from snapshot + 1 */
	uint64_t count, room;
};

struct wal_segment {
	uint64_t number;
	uint64_t last[WAL_GROUPS_MAX]; /* the highest index of each group in it */

	/* Recovery only. */
	uint8_t *bytes;
	uint64_t size;
	uint64_t limit; /* what the next segment says: the log in this one ends here; UINT64_MAX: unknown */
	bool is_void;   /* cut off by an older recovery */
};

struct wal {
	struct wal_config c;
	const struct wal_ops *ops;
	void *disk;
	struct wal_group groups[WAL_GROUPS_MAX];
	struct wal_segment segments[WAL_SEGMENTS_MAX]; /* by number; the last is written to */
	uint32_t segment_count;
	struct wal_position end, durable, syncing;
	uint64_t unsynced; /* the oldest segment with writes that no sync covers */
	uint32_t chain;
	uint8_t *buf; /* one batch, encoded; segment_bytes / 2 */
};

/* recover.c: reads all segments into @w. 0, -errno, -ERR_CORRUPT. */
MUST_CHECK int wal_recover(struct wal *w, struct err *err);

/* recover.c: frees what only recovery needed. */
void wal_forget_read(struct wal *w);

#endif
