/*
 * mounts - the FUSE sessions of this worker: taken over at start, made and ended on request, moved to new versions.
 */
#ifndef CACHE_NODE_MOUNTS_H
#define CACHE_NODE_MOUNTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cache-node/datasets.h"
#include "cache-node/fuse/session.h"
#include "cache-node/supervisor/control.h"
#include "cache-node/supervisor/supervisor.h"
#include "common/base/attr.h"
#include "common/base/err.h"

struct mounts;

struct mounts_config {
	struct control *control;
	struct mounter_client *mounter;
	uint32_t features; /* enum shm_features of new mounts */
};

/* 0 or -ENOMEM. Datasets come later (mounts_attach), since they tell of new versions from their first moment on. */
MUST_CHECK int mounts_new(const struct mounts_config *config, struct mounts **ret);

/* For an orderly end: waits until those that were unmounted are used by nobody. None may be listed. A worker leaves its mounts
 * to its successor instead. NULL is fine; returns NULL. */
struct mounts *mounts_free(struct mounts *m);

/* Where datasets are found from here on. */
void mounts_attach(struct mounts *m, struct datasets *datasets);

/* Serves again what a former worker served. One that cannot be served is logged and ended. */
void mounts_adopt(struct mounts *m, const struct kept_session *sessions, size_t count);

/* Mounts a dataset at @target. Mounting what is mounted there already is no error. 0 with the version shown; -EBUSY when
 * something else is mounted there; what the mounter says, with words. */
MUST_CHECK int mounts_publish(struct mounts *m, struct node_dataset *d, const char *target,
			      const struct catalog_head *head, struct err *err);

/* Unmounts. -ENOENT: nothing of ours; -EBUSY unless @lazy. */
MUST_CHECK int mounts_unpublish(struct mounts *m, const char *target, bool lazy, struct err *err);

/* Moves the mounts of a dataset to the version that they shall show (node_dataset_head). */
void mounts_follow(struct mounts *m, struct node_dataset *d);

/* An object was sealed. */
void mounts_sealed(struct mounts *m, const struct hash256 *object);

/* An object was damaged, and dropped. */
void mounts_spoiled(struct mounts *m, const struct hash256 *object);

/* Calls @visit with the statistics of each mount. */
void mounts_each(struct mounts *m, void (*visit)(void *ctx, const struct session_stats *stats), void *ctx);

#endif
