/*
 * sync - builds the next version of a dataset: lists its sources into one tree, writes the manifest, moves the head.
 *
 * A sync may be of a part of the tree (scope.h): the rest is then as in the version at the head, and the result is what a whole
 * sync would give if the rest had not changed. Only the part is asked of the stores. Without a version listed from the same
 * sources it is of the whole.
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
#include "cache-node/sync/scope.h"
#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/dataset.h"
#include "common/manifest/conflicts.h"
#include "common/source.h"

/* Shared with whoever watches or stops a sync. */
struct sync_progress {
	_Atomic uint64_t objects;  /* found so far */
	_Atomic uint64_t bytes;    /* of the files among them */
	_Atomic uint64_t expected; /* about how many there may be: as in the version before; 0: not known */
	_Atomic bool stop;
};

struct sync_request {
	struct catalog *catalog;
	const struct dataset *dataset;
	struct source *const *sources; /* one for each of the dataset's */
	struct sync_scope scope;
	/* Of the version at the head, borrowed; NULL: not known, then the sync is of the whole, as a part lists none of what is
	 * outside it. */
	const struct conflicts *conflicts;
	int temp_dir_fd;     /* for the builder's runs */
	uint64_t memory_max; /* bytes for sorting */
	struct sync_progress *progress;
};

struct sync_result {
	struct catalog_head head; /* the one that stands now */
	struct manifest_stats stats;
	bool moved;                  /* false: nothing changed */
	struct conflicts *conflicts; /* of that version, the caller's */
};

/* Runs to its end on the calling thread. 0 with *ret, whose conflicts the caller frees; -ECANCELED after progress->stop; else what
 * listing, building or moving said, with words. */
MUST_CHECK int sync_run(const struct sync_request *request, struct sync_result *ret, struct err *err);

#endif
