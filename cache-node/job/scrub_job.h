/*
 * scrub_job - verifies all that the tiers hold as a job, with progress and a bounded list of what was bad.
 */
#ifndef CACHE_NODE_JOB_SCRUB_JOB_H
#define CACHE_NODE_JOB_SCRUB_JOB_H

#include "cache-node/cache.h"
#include "cache-node/job/job.h"

/* Runs a SCRUB to its end on the calling thread; tells progress about twice a second and once at the end, like job_run().
 * 0 also when something was bad (state PARTLY); -ECANCELED, -ENOMEM. */
MUST_CHECK int scrub_job_run(struct cache *cache, const Larder__V1__JobSpec *spec, job_progress_fn progress,
			     void *ctx, struct err *err);

#endif
