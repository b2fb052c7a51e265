/*
 * files - the segments of a log as files of one folder.
 *
 * NUMBER.wal (16 digits, hexadecimal) is a segment, spare-K.wal (K from 0) one that a removed segment or wal_files_prepare()
 * left for later, NAME.new one that is being made. A segment is made by writing all of it with zeros, not by allocating
 * alone: a sync behind writes to blocks that were never written must also write that they are, and takes several times as
 * long. To make 64 MiB takes a good part of a second, so spares are kept: the log never waits for one but the first.
 *
 * An error of a write or sync stays: every later write and sync answers it, since what the disk holds is unknown then.
 *
 * Threads: the owner of the log calls the operations; wal_files_sync() and wal_files_prepare() may run in another thread beside
 * them, each in one at a time.
 */
#ifndef METADATA_WAL_FILES_H
#define METADATA_WAL_FILES_H

#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/err.h"
#include "metadata/wal/wal.h"

#define WAL_FILES_SPARES 2u /* removed segments are kept up to this number */

struct wal_files;

/* Takes the folder @dir_fd (duplicated, and locked against other processes) for segments of @segment_bytes. What an unfinished
 * making left is removed. 0 and hands *ret to the caller; -EBUSY: another process has the folder; -ENOMEM; or an error of the
 * file system. */
MUST_CHECK int wal_files_open(int dir_fd, uint64_t segment_bytes, struct wal_files **ret, struct err *err);

/* Closes and frees @f (NULL is fine), returns NULL. No call may be under way. */
struct wal_files *wal_files_free(struct wal_files *f);
DEFINE_CLEANUP(struct wal_files *, wal_files_free)

/* For wal_open(), with a struct wal_files as the disk. */
extern const struct wal_ops wal_files_ops;

/* Makes the writes to segments @first to @last durable. 0 or -errno; those removed meanwhile are passed over. */
MUST_CHECK int wal_files_sync(struct wal_files *f, uint64_t first, uint64_t last);

/* Makes a spare if there is none. 0 or -errno, after which the next segment is tried in place; nothing stays behind. */
MUST_CHECK int wal_files_prepare(struct wal_files *f);

#endif
