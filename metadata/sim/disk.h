/*
 * disk - a virtual disk for the write-ahead log: files in memory, of which each sector is either durable or not. A power
 * cut keeps or loses each sector that was not; bytes rot, writes go astray. Everything is drawn from one generator.
 */
#ifndef METADATA_SIM_DISK_H
#define METADATA_SIM_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/rng.h"
#include "metadata/wal/wal.h"

#define DISK_FILES_MAX     WAL_SEGMENTS_MAX
#define DISK_SECTORS_MAX   64u
#define DISK_SEGMENT_BYTES (DISK_SECTORS_MAX * WAL_SECTOR_BYTES)

struct disk_file {
	uint64_t number;
	uint8_t *cache;                          /* what a process sees */
	uint8_t *platter;                        /* what a power cut leaves, at least */
	uint64_t dirty[DISK_SECTORS_MAX / 64];   /* sectors in which they may differ */
	uint64_t syncing[DISK_SECTORS_MAX / 64]; /* of those: written before the sync in progress began */
};

struct disk {
	struct disk_file files[DISK_FILES_MAX]; /* in no order */
	uint32_t count;
	struct disk_file spare[DISK_FILES_MAX]; /* removed ones, whose content comes back in new ones */
	uint32_t spare_count;
	struct rng *rng;
	bool full;       /* no file can be made */
	uint32_t astray; /* the next so many writes miss their place by some sectors */
	uint64_t writes, syncs;
};

/* The functions of this disk; `disk` is a struct disk. */
extern const struct wal_ops disk_ops;

/* An empty disk. All draws come from @rng, borrowed for its life. */
void disk_init(struct disk *d, struct rng *rng);

/* Frees all files. */
void disk_done(struct disk *d);

/* A sync that takes time: what was written to files @first to @last before disk_sync_begin() is durable after
 * disk_sync_end(). */
void disk_sync_begin(struct disk *d, uint64_t first, uint64_t last);
void disk_sync_end(struct disk *d);

/* The power goes: each sector that is not durable is lost with @lost_percent, else kept. */
void disk_power_cut(struct disk *d, uint32_t lost_percent);

/* A bit rots somewhere below @end: in one of the sectors that hold something. False: there is none. */
bool disk_rot(struct disk *d, struct wal_position end);

#endif
