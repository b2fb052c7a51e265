/*
 * sync - builds the next version of a dataset: lists its sources into one tree, writes the manifest, moves the head.
 *
 * One builder at a time holds the dataset's lease; a head that moved meanwhile makes this build a loser and changes
 * nothing. Killed at any point, the old head stands.
 */
#ifndef CACHE_NODE_SYNC_SYNC_H
#define CACHE_NODE_SYNC_SYNC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "cache-node/catalog.h"
#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/dataset.h"
#include "common/source.h"

/* Shared with whoever watches or stops a sync. */
struct sync_progress {
	_Atomic uint64_t objects; /* found so far */
	_Atomic bool stop;
};

struct sync_request {
	struct catalog *catalog;
	const struct dataset *dataset;
	struct source *const *sources; /* one for each of the dataset's */
	int temp_dir_fd;               /* for the builder's runs */
	uint64_t memory_max;           /* bytes for sorting */
	struct sync_progress *progress;
};

struct sync_result {
	struct catalog_head head; /* the one that stands now */
	struct manifest_stats stats;
	bool moved; /* false: nothing changed */
};

/* Runs to its end on the calling thread. 0 with *ret; -ECANCELED after progress->stop; else what listing, building or
 * moving said, with words. */
MUST_CHECK int sync_run(const struct sync_request *request, struct sync_result *ret, struct err *err);

#endif
