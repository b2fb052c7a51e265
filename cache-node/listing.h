/*
 * listing - the tree of a dataset for people: children, globs, one entry, the bytes of a file. Always of the head.
 */
#ifndef CACHE_NODE_LISTING_H
#define CACHE_NODE_LISTING_H

#include <stdbool.h>

#include "api/larder/v1/node.pb-c.h"
#include "cache-node/datasets.h"
#include "common/base/attr.h"
#include "common/base/err.h"

#define LISTING_BATCH 256 /* entries of one message */

/* Sends the children of a directory (or all below it), or what matches a glob. @send takes a borrowed message; false: stop.
 * 0, -ENOENT (no such path, no match), -EINVAL (bad glob), -ECANCELED. */
MUST_CHECK int listing_run(struct node_dataset *d, const Larder__V1__PathRequest *q,
			   bool (*send)(void *ctx, const Larder__V1__EntryBatch *batch), void *ctx,
			   struct err *err);

/* One entry, owned by the caller (free_unpacked). */
MUST_CHECK int listing_stat(struct node_dataset *d, const Larder__V1__PathRequest *q, Larder__V1__Entry **ret,
			    struct err *err);

/* Sends the bytes of a file in order, through the cache. -EISDIR; what reading says. */
MUST_CHECK int listing_cat(struct node_dataset *d, const Larder__V1__CatRequest *q,
			   bool (*send)(void *ctx, const Larder__V1__DataChunk *chunk), void *ctx,
			   struct err *err);

#endif
