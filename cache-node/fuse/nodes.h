/*
 * nodes - the node table of a session: which file or directory a node id of the kernel stands for.
 *
 * The records lie in the session's shared memory (shm.h) and outlive the worker; the index from inode number to record is
 * this process's own and is rebuilt when a worker starts. A node id is (generation << 32 | place), so an id is never given
 * out twice and an unknown one is told from a known one: answer ESTALE, and the VFS looks the path up again.
 *
 * A detached node is one that no lookup finds any more: its file changed, went, or was promoted to a new node. It serves
 * what was opened under it until the kernel forgets it.
 *
 * No I/O, no clock. Threads: any; a lock inside guards places and index, counts are atomic.
 */
#ifndef CACHE_NODE_FUSE_NODES_H
#define CACHE_NODE_FUSE_NODES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cache-node/fuse/shm.h"
#include "common/base/attr.h"

struct nodes;

/* Indexes what lies in @shm (which must outlive it). 0, -ENOMEM. */
MUST_CHECK int nodes_new(struct shm *shm, struct nodes **ret);
struct nodes *nodes_free(struct nodes *n);
DEFINE_CLEANUP(struct nodes *, nodes_free)

/* The inode number of a path: a keyed hash, never 0 or 1. "" is the root: 1. */
uint64_t nodes_ino(const struct nodes *n, const char *path, size_t len);

/* The record of a node id, or NULL when this session never gave it out or the kernel forgot it. */
struct shm_node *nodes_get(struct nodes *n, uint64_t id);

/* The root's record; made by nodes_new(). */
struct shm_node *nodes_root(struct nodes *n);

/* What a lookup found. */
struct nodes_key {
	uint64_t ino;    /* wanted number; the next free one is taken when another path holds it */
	uint64_t parent; /* node id */
	uint64_t ordinal;
	uint16_t version;
	bool attached; /* false: found below a detached directory; always gets a node of its own */
};

/* The node of that path: the known one or a new one, with one lookup more. NULL when the table is full or memory ran
 * out. */
struct shm_node *nodes_intern(struct nodes *n, const struct nodes_key *key);

/* Whether so many places are taken (three of four) that the rest is kept for names that somebody looks up. */
bool nodes_crowded(struct nodes *n);

/* The kernel let go of @count references; frees the place with the last one. Unknown ids are ignored. */
void nodes_forget(struct nodes *n, uint64_t id, uint64_t count);

/* No lookup finds @node from here on. */
void nodes_detach(struct nodes *n, struct shm_node *node);

/* The attached node of that inode number, or NULL. */
struct shm_node *nodes_find(struct nodes *n, uint64_t ino);

/* Calls @visit for every live record (not under the lock: the caller keeps others out). */
void nodes_each(struct nodes *n, void (*visit)(void *ctx, struct shm_node *node), void *ctx);

/* Live records, and open files among them. */
void nodes_count(struct nodes *n, uint32_t *ret_nodes, uint32_t *ret_opens);

/* Aborts when table and index disagree. Tests call it after every step. */
void nodes_check(struct nodes *n);

#endif
