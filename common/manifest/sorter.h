/*
 * sorter - sorts any number of records in bounded memory: runs in a temporary file, merged.
 *
 * Records with equal keys come out in the order of their sources, those of one source in the order they were added. Life: add*,
 * finish, next* until 0 (rewind, next*), free.
 */
#ifndef COMMON_MANIFEST_SORTER_H
#define COMMON_MANIFEST_SORTER_H

#include "common/manifest/record.h"

struct sorter;

/* @memory_max: at least 1 MiB. @dir_fd is borrowed. 0, -ENOMEM. */
MUST_CHECK int sorter_new(int dir_fd, size_t memory_max, struct sorter **ret);
struct sorter *sorter_free(struct sorter *s);
DEFINE_CLEANUP(struct sorter *, sorter_free)

/* Copies @e. 0 or -errno. */
MUST_CHECK int sorter_add(struct sorter *s, const struct manifest_entry *e);
MUST_CHECK int sorter_finish(struct sorter *s);

/* The next record in order, valid until the next call. 1, 0 at the end, -errno. */
MUST_CHECK int sorter_next(struct sorter *s, const struct record **ret);

/* Back to the first record. */
void sorter_rewind(struct sorter *s);

#endif
