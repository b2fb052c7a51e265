/*
 * datasets - what this node was told of: datasets, their credentials, their sources, and the syncs that give them versions.
 *
 * A dataset is found by name and counted; each has a thread that syncs it when it is new, changed, asked for, or due. What
 * was told is saved in the node memory, so a new worker knows it without asking.
 */
#ifndef CACHE_NODE_DATASETS_H
#define CACHE_NODE_DATASETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/larder/v1/node.pb-c.h"
#include "cache-node/cache.h"
#include "cache-node/catalog.h"
#include "cache-node/supervisor/mounter_client.h"
#include "cache-node/supervisor/node_memory.h"
#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/dataset.h"
#include "common/manifest.h"

struct datasets;
struct node_dataset; /* a counted reference to one */

struct datasets_config {
	struct catalog *catalog;
	struct cache *cache;
	struct mounter_client *mounter;
	struct node_memory *memory;
	struct source_loop *read_loop, *sync_loop; /* apart, so that a listing never delays a read */
	int temp_dir_fd;
	/* Mounts of a dataset are to show another version (or its first): node_dataset_head(). From the dataset's thread. */
	void (*moved)(void *ctx, struct node_dataset *d);
	void *ctx;
};

/* Knows what the node memory holds. 0, -errno with words. */
MUST_CHECK int datasets_new(const struct datasets_config *config, struct datasets **ret, struct err *err);

/* Stops the syncs, waits until every reference came back, ends the sources. */
struct datasets *datasets_free(struct datasets *all);
DEFINE_CLEANUP(struct datasets *, datasets_free)

/* Takes over a spec or a credential, as sent; older generations are ignored. 0, -EINVAL and the like with words. */
MUST_CHECK int datasets_put(struct datasets *all, const Larder__V1__Dataset *message, struct err *err);
MUST_CHECK int datasets_put_credential(struct datasets *all, const Larder__V1__Credential *message,
				       struct err *err);

/* Forgets a dataset, its head and what the cache holds of it. -EBUSY while a mount of it is there or being made, -ENOENT. */
MUST_CHECK int datasets_delete(struct datasets *all, const char *namespace_, const char *name,
			       struct err *err);

/* The dataset, or NULL. datasets_unref() gives it back. */
struct node_dataset *datasets_find(struct datasets *all, const char *full_name);
struct node_dataset *datasets_unref(struct node_dataset *d);
DEFINE_CLEANUP(struct node_dataset *, datasets_unref)

/* From here on versions that the specs keep no longer leave: all mounts of a former worker have opened theirs. */
void datasets_retain(struct datasets *all);

/* Calls @visit with each dataset, in the order they came. */
void datasets_each(struct datasets *all, void (*visit)(void *ctx, struct node_dataset *d), void *ctx);

/* "namespace/name"; lives as long as the reference. */
const char *node_dataset_name(const struct node_dataset *d);

/* By which the cache's statistics know it. */
uint32_t node_dataset_number(const struct node_dataset *d);

struct node_dataset_access {
	uint32_t uid, gid;
	uint16_t mode;
};
/* As of the latest message about the dataset. */
void node_dataset_access_get(struct node_dataset *d, struct node_dataset_access *ret);

/* The version that mounts show: the newest, or the one that the spec pins; -ENOENT while there is none, with what is waited for
 * or wrong in @err. */
MUST_CHECK int node_dataset_head(struct node_dataset *d, struct catalog_head *ret, struct err *err);

/* Waits until there is a head, at most until @deadline_ns (CLOCK_MONOTONIC) or *stop. 0, -ETIMEDOUT or -ECANCELED with the
 * reason why it is not ready. A sync that failed for good (no such bucket, wrong key) ends the wait at once. */
MUST_CHECK int node_dataset_wait(struct node_dataset *d, int64_t deadline_ns, bool (*stop)(void *ctx),
				 void *ctx, struct catalog_head *ret, struct err *err);

/* A version that is kept; -ENOENT with words. */
MUST_CHECK int node_dataset_version(struct node_dataset *d, uint64_t version, struct catalog_head *ret,
				    struct err *err);

/* All versions that are kept, newest first, owned by the caller (mem_free()), and the one that the spec pins (0: none). 0 or
 * -errno. */
MUST_CHECK int node_dataset_versions(struct node_dataset *d, struct catalog_head **ret, size_t *ret_count,
				     uint64_t *ret_pinned);

/* Opens the manifest of @root; the caller frees it. */
MUST_CHECK int node_dataset_open(struct node_dataset *d, const struct hash256 *root, struct manifest **ret,
				 struct err *err);

/* The cache object of a file entry (size at least 1) of a version that was listed by the spec of @config (catalog_head). The
 * caller puts it. -ESTALE when no such spec is known, -EIO when its source cannot be made now, -ENOMEM; with words. */
MUST_CHECK int node_dataset_object(struct node_dataset *d, uint64_t config,
				   const struct manifest_found *entry, struct cache_object **ret,
				   struct err *err);

struct node_sync {
	uint64_t objects, bytes; /* found so far; at the end: files and bytes of the version */
	uint64_t expected;       /* about how many objects there may be; 0: not known */
	uint64_t version;        /* at the end: the newest */
	bool changed;            /* at the end: whether the sync made it */
};
struct node_sync_request {
	char *const *globs; /* of what is listed; copied. None: everything */
	size_t count;
	bool (*progress)(void *ctx, const struct node_sync *now); /* false: no more waiting */
	void *ctx;
};
/* Asks for a sync and waits for its end. It may list more than was asked for: what others ask for meanwhile. 0 with *ret;
 * -EINVAL for a wrong glob, -EAGAIN while sources cannot be made; what the sync said, with words. */
MUST_CHECK int node_dataset_sync(struct node_dataset *d, const struct node_sync_request *request,
				 struct node_sync *ret, struct err *err);

/* Makes a status message, with the first conflicts by name where @named. 0 with *ret owned by the caller, -ENOMEM. */
MUST_CHECK int node_dataset_status(struct node_dataset *d, bool named, Larder__V1__DatasetStatus **ret);

/* The reference that a mount holds, from before it is made until nobody uses it: datasets_delete() refuses meanwhile. 0, or
 * -ENOENT when the dataset was deleted. node_dataset_unmount() gives it back (NULL is fine; returns NULL). */
MUST_CHECK int node_dataset_mount(struct node_dataset *d);
struct node_dataset *node_dataset_unmount(struct node_dataset *d);

#endif
