/*
 * index - what the tiers hold of objects that nobody refers to: bytes and last use, for accounting and eviction.
 *
 * A hash table with linear probing, 56 bytes an entry at up to three quarters of load. Threads: the owner's lock.
 */
#ifndef CACHE_NODE_CACHE_INDEX_H
#define CACHE_NODE_CACHE_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/hash.h"

#define INDEX_SLOTS_AT_ONCE 8192
#define INDEX_ENTRIES_MAX   ((size_t)4 << 20) /* objects more than this are not kept */

struct index_entry {
	struct hash256 id;
	uint64_t bytes;  /* physical; 0: a free slot of the table */
	int64_t used_ns; /* last use, since 1970 */
	uint16_t share;  /* whose room it takes (share.h) */
	uint8_t tier;
	bool sealed;
	bool claimed; /* a log says so (journal.h); nobody looked yet */
	uint8_t mark; /* of the index_marked() that handed it out last; 0: none did */
};

struct index {
	struct index_entry *slots;
	size_t slot_count, count; /* slot_count is 0 or a power of two */
};

/* Frees the slots; the objects stay whose they are. */
void index_done(struct index *x);

/* Adds or replaces an entry (bytes above 0). 0, -ENOMEM, -EBUSY when it is full. */
MUST_CHECK int index_put(struct index *x, const struct index_entry *e);

/* Takes an entry out; false when there is none. @ret may be NULL. */
bool index_take(struct index *x, const struct hash256 *id, struct index_entry *ret);

/* Borrowed until the next change; NULL when there is none. */
const struct index_entry *index_find(const struct index *x, const struct hash256 *id);

/* The files of an entry are there, and have @bytes (above 0). */
void index_confirm(struct index *x, const struct hash256 *id, uint64_t bytes);

/* Copies of up to @max entries of @tier that have not @mark (1 to 3), which they get now, from slot *@at on. At most
 * INDEX_SLOTS_AT_ONCE slots are looked at; *@at moves behind them, and the last is slot_count - 1. Entries may change their slots
 * between calls: who wants all asks from slot 0 again until there are none. */
size_t index_marked(struct index *x, uint8_t tier, uint8_t mark, size_t *at, struct index_entry *ret,
		    size_t max);

/* The ids of up to @max entries of @tier that are still claimed; *@at as above. */
size_t index_claimed(const struct index *x, uint8_t tier, size_t *at, struct hash256 *ret, size_t max);

/* The number by which a policy knows an object. */
uint64_t index_key(const struct hash256 *id);

/* index_find() by that number; the first of two that share it. */
const struct index_entry *index_find_key(const struct index *x, uint64_t key);

#endif
