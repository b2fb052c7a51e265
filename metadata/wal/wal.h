/*
 * wal - the write-ahead log of a process: the entries and hard states of all its Raft groups, in segments, with group
 * commit. It decides what stands where and what a recovered log means; reading and writing are a table of functions, so
 * that a disk and the simulator's disk run the same code. The format is docs/formats/wal.md.
 *
 * Life: wal_open() reads what is there; wal_state() and wal_entry() tell it; wal_begin() starts a new segment behind it
 * and forgets what was read; then wal_append() and syncs. An error of any call but wal_open() ends the process: what
 * the disk holds is unknown then, and only a new recovery may say. Nothing is allocated after wal_open().
 *
 * What recovery promises [reference/metadata.md 2.2]:
 *   - Bytes that were not known to be durable and are not whole are a torn tail: cut.
 *   - Bytes that are known to have been durable (a later MARK says so) and are not whole are corruption: nothing is cut
 *     silently, the group's state says what may be missing (lost_to), and its member gives no vote until a leader made it
 *     good. A hole whose entries turn out not to matter (below the snapshot, or the log goes on as it was) is none.
 *   - After each sync a MARK says so, without a sync of its own, so that rot in the last batch is told from a torn write.
 *
 * Threads: one thread owns a struct wal.
 */
#ifndef METADATA_WAL_WAL_H
#define METADATA_WAL_WAL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/err.h"
#include "metadata/raft/raft.h"
#include "metadata/wal/record.h"

#define WAL_GROUPS_MAX   64u
#define WAL_SEGMENTS_MAX 256u

/* The disk. Segments are files named by a number. All return 0 or -errno. */
struct wal_ops {
	/* The numbers of the segments there are, in any order, *ret_count of them; -E2BIG: more than @max. */
	int (*list)(void *disk, uint64_t *ret, uint32_t max, uint32_t *ret_count);
	/* Bytes of segment @n. */
	int (*size)(void *disk, uint64_t n, uint64_t *ret);
	/* Reads exactly @len bytes. */
	int (*read)(void *disk, uint64_t n, uint64_t offset, void *buf, uint64_t len);
	/* Makes segment @n of @bytes, with any content (zeros, or what a removed one held); durably there on return. */
	int (*create)(void *disk, uint64_t n, uint64_t bytes);
	/* Writes; durable after the next sync of @n that began later. */
	int (*write)(void *disk, uint64_t n, uint64_t offset, const void *buf, uint64_t len);
	/* Makes all writes to @n durable. */
	int (*sync)(void *disk, uint64_t n);
	/* Removes segment @n; it may come back after a power cut. */
	int (*remove)(void *disk, uint64_t n);
};

struct wal_config {
	uint32_t groups; /* numbered from 0, at most WAL_GROUPS_MAX */
	uint64_t
		segment_bytes; /* a multiple of WAL_SECTOR_BYTES, at least 16 KiB; an entry is at most a quarter */
	uint64_t entries_max; /* of one group, above its snapshot */
};

struct wal;

/* How a group stands, as read. */
struct wal_state {
	struct raft_hard hard;       /* all zero: nothing was ever written */
	uint64_t last, last_term;    /* its last entry, or the snapshot */
	uint64_t lost_to, lost_term; /* as struct raft_start */
};

/* Reads the log. @snapshots has, for each group, index and term of its newest durable snapshot (0, 0: none). 0 and hands *ret to
 * the caller; -EINVAL: the configuration; -ENOMEM; -E2BIG: too many segments or entries; -ERR_CORRUPT: what is missing
 * cannot be told (@err says where): the member must come back under a new id; or an error of the disk. */
MUST_CHECK int wal_open(const struct wal_config *c, const struct wal_ops *ops, void *disk,
			const struct wal_position *snapshots, struct wal **ret, struct err *err);

/* Frees @w (NULL is fine), returns NULL. */
struct wal *wal_free(struct wal *w);
DEFINE_CLEANUP(struct wal *, wal_free)

/* The state of @group, as read and as written since. */
struct wal_state wal_state(const struct wal *w, uint32_t group);

/* Between wal_open() and wal_begin(): its entry at @index, above the snapshot; NULL: there is none. */
const struct raft_entry *wal_entry(const struct wal *w, uint32_t group, uint64_t index);

/* Starts writing: makes what was read durable, then a segment that says where it ended. 0 or -errno. */
MUST_CHECK int wal_begin(struct wal *w);

/* What one struct raft_ready asks to write. */
struct wal_batch {
	struct raft_hard hard;
	uint64_t restore_index, restore_term; /* not 0: a snapshot replaces the log; it is durable already */
	uint64_t first, last;                 /* first > last: no entries */
	const struct raft_entry *(*entry)(const void *source, uint64_t index);
	const void *source;
	bool repaired; /* nothing is lost (any more) */
};

/* Writes @b behind all before. It is durable after a sync that starts later. 0; -EFBIG: an entry over the limit; -errno. */
MUST_CHECK int wal_append(struct wal *w, uint32_t group, const struct wal_batch *b);

/* A sync is: wal_sync_begin(), making the writes to segments @first to @last durable (the driver's, it may take its time and
 * more may be appended meanwhile), wal_sync_end(). One at a time. False: nothing to do. */
struct wal_sync {
	uint64_t first, last;
};
MUST_CHECK bool wal_sync_begin(struct wal *w, struct wal_sync *ret);

/* All that was appended before wal_sync_begin() is durable. 0 or -errno. */
MUST_CHECK int wal_sync_end(struct wal *w);

/* Entries of @group up to @index are in a durable snapshot: segments that hold nothing else go. 0 or -errno. */
MUST_CHECK int wal_drop(struct wal *w, uint32_t group, uint64_t index);

/* Where the next batch goes, and up to where all is durable. For status and tests. */
struct wal_position wal_end(const struct wal *w);
struct wal_position wal_durable(const struct wal *w);

#endif
