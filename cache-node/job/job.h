/*
 * job - load or evict the files of a dataset that match globs, with progress and a bounded list of failures.
 */
#ifndef CACHE_NODE_JOB_JOB_H
#define CACHE_NODE_JOB_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include "api/larder/v1/types.pb-c.h"
#include "cache-node/datasets.h"
#include "common/base/attr.h"
#include "common/base/err.h"

#define JOB_FAILURES_MAX 100
#define JOB_CONCURRENCY  8 /* objects at once unless the spec says otherwise */

/* Takes a progress message (borrowed); false: nobody is interested any more, stop. */
typedef bool (*job_progress_fn)(void *ctx, const Larder__V1__JobProgress *progress);

/* Runs a LOAD or EVICT to its end on the calling thread; tells progress about twice a second and once at the end. 0 also
 * when files failed (state PARTLY); -ECANCELED; -ENOENT when no version or no file matches; -EINVAL for a bad glob. */
MUST_CHECK int job_run(struct node_dataset *d, const Larder__V1__JobSpec *spec, job_progress_fn progress,
		       void *ctx, struct err *err);

#endif
