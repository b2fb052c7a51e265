/*
 * delta - writes a tree as a delta over the version before it: what was added, changed and removed, and nothing else.
 */
#ifndef COMMON_MANIFEST_DELTA_H
#define COMMON_MANIFEST_DELTA_H

#include "common/manifest/tree.h"

struct delta_request {
	struct manifest *before; /* borrowed, as all of this */
	struct tree *tree;       /* at its first entry */
	const struct manifest_sink *sink;
	uint32_t target; /* bytes of a chunk */
	uint64_t skipped;
};

/* 0 with the root: that of @before if nothing changed. 1: too much changed, the tree must be rewound and written whole. -errno. */
MUST_CHECK int delta_write(const struct delta_request *q, struct hash256 *ret_root,
			   struct manifest_stats *ret_stats, struct err *err);

#endif
