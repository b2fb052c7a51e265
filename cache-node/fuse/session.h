/*
 * session - one FUSE mount in the worker: libfuse attached to the mount's descriptor, the threads that read requests into
 * the shared slots, and the tree of a dataset behind them (design 4 and 5).
 *
 * A session is made from what the supervisor holds, whether it is new or was served by a worker that died: the shared
 * memory says which, and the requests it left are answered first.
 *
 * Threads: a few request threads and a notifier belong to a session; completions of reads come on the cache's threads.
 * Lock order: session.tree (read for an operation, write for a change of version) -> nodes.lock -> opens.lock.
 */
#ifndef CACHE_NODE_FUSE_SESSION_H
#define CACHE_NODE_FUSE_SESSION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "cache-node/cache.h"
#include "cache-node/supervisor/mounter_client.h"
#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/manifest.h"

struct session;

/* What the session shows: supplied by the worker, must outlive the session. */
struct session_view {
	/* Opens a version's manifest; the session frees it. */
	int (*open_version)(void *ctx, const struct hash256 *root, struct manifest **ret, struct err *err);
	/* The cache object of a file (not of an empty one) of a version with that config; the session puts it. */
	int (*object)(void *ctx, uint64_t config, const struct manifest_found *entry,
		      struct cache_object **ret, struct err *err);
	/* The mount is gone: somebody unmounted it. Called once, from a session thread. */
	void (*ended)(void *ctx, struct session *s);
	void *ctx;
	uid_t uid;
	gid_t gid;
	mode_t mode; /* permission bits of files; x of the source is kept for those who may read */
};

/* A version of the dataset. */
struct session_version {
	uint64_t number;     /* not 0 */
	struct hash256 root; /* of its manifest */
	uint64_t config;     /* names the sources its entries point into */
};

struct session_config {
	int dev_fd, memory_fd; /* duplicated */
	struct mounter_client *mounter;
	struct session_view view;
	struct session_version version; /* shown where the memory names none yet */
	uint32_t threads;               /* 0: 4 */
};

/* Attaches, answers what a former worker left, serves. 0, -errno with words. */
MUST_CHECK int session_new(const struct session_config *config, struct session **ret, struct err *err);

/* Ends a session whose mount is gone (the request threads have met ENODEV); frees it. NULL is fine; returns NULL. */
struct session *session_free(struct session *s);
DEFINE_CLEANUP(struct session *, session_free)

/* Shows another version from here on: unchanged files keep their nodes, the kernel is told what changed, open files and
 * directory handles go on in theirs. 0, also when it is shown already; -EBUSY when too many versions are in use; -errno. */
MUST_CHECK int session_switch(struct session *s, const struct session_version *version, struct err *err);

/* The object was sealed: files of it that are open in cached mode get a new node, so that new opens pass through. */
void session_object_sealed(struct session *s, const struct hash256 *object);

/* The object was damaged and dropped: files of it that are open in any mode get a new node, so that new opens do not read the
 * damaged file. Who has it open goes on with that. */
void session_object_spoiled(struct session *s, const struct hash256 *object);

struct session_stats {
	char dataset[320];
	char target[4096];
	uint8_t session[MOUNTER_SESSION_BYTES];
	uint64_t version;
	bool passthrough;
	uint32_t nodes, opens;
	uint32_t recovered, recovered_reads; /* requests found in the slots when this worker took over */
	uint64_t requests, reads, opens_passthrough, opens_cached, errors;
};
/* What the session did since this worker serves it. Any thread. */
void session_stats_get(struct session *s, struct session_stats *ret);

#endif
