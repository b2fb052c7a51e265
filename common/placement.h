/*
 * placement - which nodes keep what, computed alike by everybody from the same facts (design 6).
 *
 * Nobody stores where objects lie. From the members, their shares and the dataset each node computes the dataset's order of
 * nodes, its home set (the first nodes of that order that hold it) and the homes of one object among them. A member that
 * comes or goes moves only what it gains or held: weighted rendezvous hashing (Thaler and Ravishankar 1998; weights by the
 * logarithmic method of Schindelhauer and Schomaker 2005), in integers alone, so that every machine gets the same answer.
 *
 * Pure: no allocation, no clock. The results are a contract between nodes of different versions: common/placement_test.c
 * holds golden vectors, and another result is another format.
 */
#ifndef COMMON_PLACEMENT_H
#define COMMON_PLACEMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/hash.h"

#define PLACEMENT_NODES_MAX    16384
#define PLACEMENT_REPLICAS_MAX 16
#define PLACEMENT_SPAN_BYTES   (UINT64_C(64) << 20) /* what is spread over homes of an object that is spread */

struct placement_node {
	uint64_t id;          /* of the member, the same in its whole life; no two alike */
	uint64_t share_bytes; /* what it gives the dataset; its weight in the order. 0: none, it is no home */
};

/* A node's place in an order; what else it holds is private. */
struct placement_rank {
	uint32_t node; /* index into the nodes given */
	uint64_t cost; /* the least first */
};

/* Ranks all nodes that have a share by @key, most preferred first, into @ranks (room for @count). Equal costs are ordered by
 * id, so the order of @nodes is of no account. Returns how many there are. O(count log count). */
size_t placement_order(const struct hash256 *key, const struct placement_node *nodes, size_t count,
		       struct placement_rank *ranks);

/* How many of the first of @ranks are the home set of a dataset of @bytes with @replicas (at least 1): the fewest, but no
 * fewer than @replicas, whose shares together hold @bytes that often. All of them where even they do not. */
size_t placement_home_count(const struct placement_node *nodes, const struct placement_rank *ranks,
			    size_t rank_count, uint64_t bytes, uint32_t replicas);

/* Whether an object is spread in spans over the home set rather than kept whole: over an eighth of a tier. */
static inline bool placement_is_spread(uint64_t object_bytes, uint64_t tier_bytes)
{
	return object_bytes > tier_bytes / 8;
}

/* The homes of an object (@span 0: kept whole), or of its span @span - 1, among the @home_count first of @ranks: the indexes of
 * at most @replicas (1 to PLACEMENT_REPLICAS_MAX) nodes into @ret, the one that reads the source first. Returns how many. */
size_t placement_homes(const struct hash256 *object, uint64_t span, const struct placement_node *nodes,
		       const struct placement_rank *ranks, size_t home_count, uint32_t replicas,
		       uint32_t *ret);

/* Whether node @self (an index) is one of those homes: its part of a job. Where no node has a share every node is. */
bool placement_is_mine(const struct hash256 *object, uint64_t span, const struct placement_node *nodes,
		       const struct placement_rank *ranks, size_t home_count, uint32_t replicas,
		       uint32_t self);

#endif
