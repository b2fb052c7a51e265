/*
 * syncer - makes a log durable in a thread of its own while its owner goes on appending: group commit.
 *
 * The owner appends; when no sync is under way it begins one over all that was appended (wal_sync_begin()), and when the
 * thread says that it ended, calls wal_sync_end(), tells whoever waits, and begins the next. So one sync serves all batches
 * that came while the one before it ran. A second thread prepares the next segment meanwhile.
 *
 * Threads: wal_syncer_start() and wal_syncer_take() are the owner's.
 */
#ifndef METADATA_WAL_SYNCER_H
#define METADATA_WAL_SYNCER_H

#include "metadata/wal/files.h"

struct wal_syncer;

/* @event_fd is an eventfd (the caller's) that gets 1 added whenever a sync has ended. 0 and hands *ret to the caller, -errno. */
MUST_CHECK int wal_syncer_new(struct wal_files *f, int event_fd, struct wal_syncer **ret);

/* Waits for what is under way, ends the threads; returns NULL. NULL is fine. */
struct wal_syncer *wal_syncer_free(struct wal_syncer *s);
DEFINE_CLEANUP(struct wal_syncer *, wal_syncer_free)

/* Begins a sync of @what. None may be under way, nor one that ended and was not taken. */
void wal_syncer_start(struct wal_syncer *s, const struct wal_sync *what);

/* True when the sync that was started has ended, and then *ret is 0 or -errno: the process must end. */
MUST_CHECK bool wal_syncer_take(struct wal_syncer *s, int *ret);

/* The error of the last try to prepare a segment, or 0: -ENOSPC says that the log will stop when this one is full. */
int wal_syncer_prepared(struct wal_syncer *s);

#endif
