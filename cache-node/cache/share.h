/*
 * share - whose bytes the tiers hold: of each dataset how many, how many it is promised (floor) and how many it may have (quota);
 * the same of groups of datasets (the namespaces of a CacheQuota). docs/decisions/0043.
 *
 * A share has a number, which sidecars do not know: they hold its name (share_name()), so that bytes found after a restart are
 * counted before their dataset is told. Number 0 is nobody's: bytes of which no name is known.
 *
 * Bytes are physical, over all tiers of this node. Floors that do not fit into the node count in proportion.
 *
 * Threads: all calls from any thread; one lock, a leaf.
 */
#ifndef CACHE_NODE_CACHE_SHARE_H
#define CACHE_NODE_CACHE_SHARE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cache-node/cache.h"
#include "common/base/attr.h"

#define SHARES_MAX    UINT16_MAX /* numbers below it */
#define SHARE_NOBODYS 0

struct share {
	uint64_t name;    /* 0: was never told */
	uint32_t dataset; /* whose it is now; CACHE_NO_DATASET: only sidecars named it */
	uint64_t used, objects;
	struct cache_limits limits;
	bool giving;     /* it was over, and gives until it is below the low watermark */
	uint64_t wanted; /* bytes that found no room since then */
};

struct share_group {
	uint64_t used, floor, limit; /* limit 0: none */
	bool giving;
	uint64_t wanted;
};

struct shares {
	pthread_mutex_t lock; /* of all below */
	struct share *items;  /* @room of them */
	size_t count, room;
	struct share_group groups[CACHE_GROUPS_MAX];
	uint64_t capacity; /* bytes that all floors may claim together */
	uint64_t promised; /* what they do claim */
};

/* With nobody's share alone. 0, -ENOMEM. shares_done() ends it, also after a failure. */
MUST_CHECK int shares_init(struct shares *s, uint64_t capacity);
void shares_done(struct shares *s);

/* What sidecars call the share of a dataset: a hash of "namespace/name", never 0. */
uint64_t share_name(const char *dataset);

/* The number of the share of that name, made if there is none. SHARE_NOBODYS for name 0, and when there are too many or no
 * memory. */
uint16_t share_of_name(struct shares *s, uint64_t name);
/* The same, for a dataset that was told; its bytes found before stay its own. @name 0: a fresh one, which does not outlive this
 * process. */
uint16_t share_tell(struct shares *s, uint64_t name, uint32_t dataset);
/* @dataset is gone: no limits any more; what is held stays. False: the share is another's by now. */
bool share_forget(struct shares *s, uint16_t number, uint32_t dataset);

/* Changes what it, or a group (above 0; limit 0: none), is promised and may have. Nothing is taken from it here. */
void share_limit(struct shares *s, uint16_t number, const struct cache_limits *limits);
void share_group_limit(struct shares *s, uint16_t group, uint64_t floor, uint64_t limit);

/* Copies. */
struct share share_get(struct shares *s, uint16_t number);
struct share_group share_group_get(struct shares *s, uint16_t group);
/* What its floor counts now, beside all others'. */
uint64_t share_floor(struct shares *s, uint16_t number);

/* Takes @bytes; false, and nothing is taken, beyond its quota or its group's limit. */
MUST_CHECK bool share_take(struct shares *s, uint16_t number, uint64_t bytes);
/* Takes them whatever the limits are: they are there already. */
void share_add(struct shares *s, uint16_t number, uint64_t bytes);
void share_give(struct shares *s, uint16_t number, uint64_t bytes);
/* One object more or less. */
void share_count(struct shares *s, uint16_t number, int objects);
/* An object of @bytes changes hands. */
void share_move(struct shares *s, uint16_t from, uint16_t to, uint64_t bytes);

/* Whether @bytes could ever fit. */
bool share_fits(struct shares *s, uint16_t number, uint64_t bytes);

/* Whether it, or its group, is promised what it holds, so that others may not take @bytes of it. */
bool share_is_protected(struct shares *s, uint16_t number, uint64_t bytes);

/* Of all shares, in nanoseconds; 0: none has one. */
int64_t share_shortest_ttl(struct shares *s);

/* Of a room of @bytes_max, what a share must leave free: where floors are promised, who holds no less than its own leaves half of
 * what is above the high watermark to those who do not. */
uint64_t share_reserve(struct shares *s, uint16_t number, uint64_t bytes_max);

enum share_over { SHARE_WITHIN = 0, SHARE_OVER_QUOTA, SHARE_OVER_GROUP };
/* Whether it should give bytes up for the sake of its own quota or its group's limit: from above the high watermark on, or when
 * somebody found no room, down to the low one. */
enum share_over share_over(struct shares *s, uint16_t number);

/* Between the watermarks of a room of so many bytes, eviction begins and ends. What is on its way must find room while eviction
 * makes more, so a small room keeps a tenth free. */
uint64_t watermark_high(uint64_t bytes_max);
uint64_t watermark_low(uint64_t bytes_max);

#endif
