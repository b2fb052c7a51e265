/*
 * ledger - what happens to objects, told to the policy of their tier; and what left a tier last, and why.
 *
 * A policy (policy.h) knows every object that has a body on a tier, live or only indexed; shares with limits (share.h) have
 * policies of their own, all others one together (docs/decisions/0043). What counts as a use of an object that is there already
 * (docs/decisions/0041): an open, a load, and each pass of reads through the daemon beyond the first.
 *
 * Threads: all under cache.lock unless said otherwise. Lock order: internal.h.
 */
#ifndef CACHE_NODE_CACHE_LEDGER_H
#define CACHE_NODE_CACHE_LEDGER_H

#include "cache-node/cache/internal.h"

/* Makes the policies; 0, -ENOMEM. ledger_done() ends them also after a failure. Under no lock, alone. */
MUST_CHECK int ledger_init(struct cache *c);
void ledger_done(struct cache *c);

/* @o has a new body on @t, or one that grew, of @bytes: its policy knows. */
void ledger_put(struct cache_object *o, struct tier *t, uint64_t bytes);
/* The same for a body that a former process left, or whose eviction failed: it goes before what came later. */
void ledger_restore(struct cache_object *o, struct tier *t, uint64_t bytes);
/* The same of one that nobody refers to; it stays where it is if its policy knows it. */
void ledger_restore_indexed(struct cache *c, const struct index_entry *e);
void ledger_remove_indexed(struct cache *c, const struct index_entry *e);
/* Its body is gone: forgets it. */
void ledger_remove(struct cache_object *o);

/* Under no lock: it is used. */
void ledger_touch(struct cache_object *o);
/* Under no lock: @bytes of it were answered. */
void ledger_served(struct cache_object *o, uint64_t bytes);
/* Under no lock: it has no openers or no pins any more and may be a victim. */
void ledger_release(struct cache_object *o);

/* Gives a share a pool of its own, or takes it back. Looks at every object: for when limits change. 0, -ENOMEM: as before. */
MUST_CHECK int ledger_split(struct cache *c, uint16_t share);
MUST_CHECK int ledger_join(struct cache *c, uint16_t share);

/* Eviction begins: what may go is asked anew. */
void ledger_begin(struct cache *c);

/* The next victim of a tier, as floors, policies and the live objects allow. At most @turns objects are looked at, under
 * cache.lock. 0 with its number (index_key()), -EAGAIN: ask again, -ENOENT. */
MUST_CHECK int ledger_victim(struct cache *c, size_t tier, uint32_t turns, uint64_t *ret_key);
/* The same of pool number @pool alone, whatever it was promised. */
MUST_CHECK int ledger_victim_of(struct cache *c, size_t pool, size_t tier, uint32_t turns, uint64_t *ret_key);

/* The pool that should give for its own quota or its group's limit: its number, or 0 when none is over. */
size_t ledger_over(struct cache *c);
/* The tier where pool @pool holds most. */
size_t ledger_fullest(const struct cache *c, size_t pool);

/* What the policies of a tier count, all pools together. */
void ledger_stats(const struct cache *c, size_t tier, struct policy_stats *ret);

/* @d left: remembered, unless it held nothing. Takes cache.lock itself. */
void ledger_left(struct cache *c, const struct cache_departure *d);
/* What is known of a live object that would leave its @tier with @bytes, its cause and time open. */
struct cache_departure ledger_describe(const struct cache_object *o, size_t tier, uint64_t bytes);
/* The same of an indexed one; its name is read from its sidecar, so under no lock. */
struct cache_departure ledger_describe_indexed(struct cache *c, const struct index_entry *e);

#endif
