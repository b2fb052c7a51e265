/*
 * catalog_impl - what the files of the local catalog share. Not for others.
 *
 * Locks: catalog.lock is taken before catalog.chunk_lock.
 */
#ifndef CACHE_NODE_CATALOG_IMPL_H
#define CACHE_NODE_CATALOG_IMPL_H

#include <pthread.h>

#include "cache-node/catalog.h"
#include "common/base/list.h"

/* A set of hashes: open addressing by their first bytes, which are as good as random. */
struct hash_set {
	struct hash256 *slots; /* owned; all zero: free */
	size_t count, size;    /* size: a power of two, or 0 */
};

struct catalog {
	int dir, heads, versions, chunks, lock_fd;
	pthread_mutex_t lock; /* guards leases, tokens and the moves of heads */
	struct list leases;
	uint64_t last_token;
	pthread_mutex_t watch_lock; /* guards the watcher, and is held while it runs */
	void (*moved)(void *ctx, const char *dataset, const struct catalog_head *head);
	void *moved_ctx;
	pthread_mutex_t chunk_lock; /* guards all below, and every removal of a chunk */
	struct list mapped;         /* roots of open manifests */
	struct hash_set building;   /* put while a lease was held: no version may name them yet */
};

/* All that catalog_chunks.c keeps in memory; and giving it back. */
void catalog_chunks_init(struct catalog *c);
void catalog_chunks_done(struct catalog *c);

/* No build runs: what was put is named by a version, or by nothing. */
void catalog_builds_ended(struct catalog *c);

/* Calls @visit with each version of each dataset, until it answers other than 0. 0, -errno, what it answered. */
MUST_CHECK int catalog_each_version(struct catalog *c,
				    int (*visit)(void *ctx, const struct catalog_head *head), void *ctx);

/* Whether an open manifest has this root. */
bool catalog_root_is_open(struct catalog *c, const struct hash256 *root);

#endif
