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

/* Fills an initialised message with what a manifest says of an entry, but for key and inode; borrows from @e. */
void listing_describe(const struct manifest_entry *e, Larder__V1__Entry *out);

/* Sends the children of a directory (or all below it), or what matches a glob. @send takes a borrowed message; false: stop.
 * 0, -ENOENT (no such path, no match), -EINVAL (bad glob), -ECANCELED. */
MUST_CHECK int listing_run(struct node_dataset *d, const Larder__V1__PathRequest *q,
			   bool (*send)(void *ctx, const Larder__V1__EntryBatch *batch), void *ctx,
			   struct err *err);

/* Sends what changed between two versions that are kept, in the order of the tree. 0, -ENOENT, -ECANCELED. */
MUST_CHECK int listing_diff(struct node_dataset *d, const Larder__V1__DiffRequest *q,
			    bool (*send)(void *ctx, const Larder__V1__ChangeBatch *batch), void *ctx,
			    struct err *err);

/* The versions that are kept; *ret is the caller's (free_unpacked). 0 or -errno with words. */
MUST_CHECK int listing_versions(struct node_dataset *d, Larder__V1__VersionsReply **ret, struct err *err);

/* One entry, owned by the caller (free_unpacked). */
MUST_CHECK int listing_stat(struct node_dataset *d, const Larder__V1__PathRequest *q, Larder__V1__Entry **ret,
			    struct err *err);

/* Sends the bytes of a file in order, through the cache. -EISDIR; what reading says. */
MUST_CHECK int listing_cat(struct node_dataset *d, const Larder__V1__CatRequest *q,
			   bool (*send)(void *ctx, const Larder__V1__DataChunk *chunk), void *ctx,
			   struct err *err);

#endif
