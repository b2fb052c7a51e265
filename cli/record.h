/*
 * record - instance.json: what `larder down` and `larder status` must know of an instance without asking its processes.
 */
#ifndef CLI_RECORD_H
#define CLI_RECORD_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/err.h"

#define RECORD_TARGETS_MAX 256
#define RECORD_DATASET_MAX 128 /* "namespace/name" and its NUL */

struct record_target {
	char dataset[RECORD_DATASET_MAX];
	char target[PATH_MAX];
	bool made; /* the folder is ours to remove */
};

struct record {
	char mount[PATH_MAX];
	char state[PATH_MAX];
	int64_t started_ns;            /* since 1970 */
	struct record_target *targets; /* owned */
	size_t target_count;
};

/* Adds a target. 0, -ENOSPC, -ENOMEM. */
MUST_CHECK int record_add(struct record *r, const char *dataset, const char *target, bool made);

/* Gives each dataset of @names ("namespace/name") its target: the mount folder itself for one, MOUNT/NAME for several,
 * MOUNT/NAMESPACE/NAME where a name occurs twice. 0 or negative with words. */
MUST_CHECK int record_plan(struct record *r, char (*names)[RECORD_DATASET_MAX], size_t count,
			   struct err *err);

/* Writes or reads "instance.json" in @dir_fd. 0 or -errno; -EINVAL: not such a file. */
MUST_CHECK int record_write(const struct record *r, int dir_fd);
MUST_CHECK int record_read(int dir_fd, struct record *ret);

/* Frees what @r points to; it may be used again. */
void record_done(struct record *r);

#endif
