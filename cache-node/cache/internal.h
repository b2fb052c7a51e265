/*
 * internal - the structures that cache-node/cache/ and cache-node/fill/ share. Not for others: see cache.h.
 *
 * Lock order: object.file_lock, cache.lock, object.lock, then one of cache.fetch_lock, timer_lock, scratch_lock,
 * keeper_lock, journal.lock, each a leaf. source_op_cancel() and source_op_resume() are called under fetch_lock, which is what
 * keeps the operation alive meanwhile: its done callback waits for that lock. Callbacks to the owner run under no lock, and
 * cache_put() is called under none.
 */
#ifndef CACHE_NODE_CACHE_INTERNAL_H
#define CACHE_NODE_CACHE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "cache-node/cache.h"
#include "cache-node/cache/body.h"
#include "cache-node/cache/index.h"
#include "cache-node/cache/policy.h"
#include "cache-node/cache/share.h"
#include "cache-node/cache/tier.h"
#include "cache-node/fill/plan.h"
#include "cache-node/fill/pool.h"
#include "cache-node/fill/workers.h"
#include "common/base/clock.h"

#define SEGMENT_BYTES \
	(UINT64_C(1) << 20) /* a buffer of bytes that arrive; starts at a block, ends at a multiple of it */
#define READ_MAX      (1u << 20)
#define SCRATCH_BYTES (READ_MAX + 2 * SIDECAR_BLOCK_BYTES) /* a read, widened to whole blocks */
#define UNREAD_NS     NS_PER_S
#define WRITERS       2
#define VERIFY_INLINE (UINT64_C(16) << 20) /* larger objects are verified in the background */

struct counters {
	atomic_uint_fast64_t reads, read_bytes, hit_bytes, miss_bytes, fetches, fetched_bytes, sealed,
		corrupt_blocks, passed_by_bytes, reread_bytes, scrubbed, scrubbed_bytes;
};

struct histogram {
	atomic_uint_fast64_t count[CACHE_LATENCY_BUCKETS], sum_ns, total;
};

struct dataset_counters {
	atomic_uint_fast64_t source_bytes, served_bytes;
};

/* Objects that compete for room among each other, by tier: those of one share that has limits, or all others. */
struct pool_of_share {
	uint16_t share; /* SHARE_NOBODYS: of all that have no pool of their own */
	struct policy *policies[CACHE_TIERS_MAX];
	bool stuck[CACHE_TIERS_MAX]; /* nothing there may go, as eviction found a moment ago */
};

struct ledger {
	struct pool_of_share *pools; /* the first is that of all others */
	size_t count;
	uint16_t *number; /* of a share's pool; SHARES_MAX of them */
};

struct cache {
	struct tier tiers[CACHE_TIERS_MAX];
	size_t tier_count;
	uint8_t boot[SIDECAR_BOOT_BYTES];
	void (*sealed)(void *ctx, const struct hash256 *id);
	void (*spoiled)(void *ctx, const struct hash256 *id);
	void *ctx;
	struct counters counters;
	struct histogram read_latency, fill_latency;
	struct dataset_counters *datasets; /* CACHE_DATASETS_MAX */
	struct shares shares;
	_Atomic uint16_t *share_of; /* of a dataset's number; CACHE_DATASETS_MAX; SHARE_NOBODYS: not told */

	pthread_mutex_t lock;                          /* of the table of live objects and of the index */
	struct cache_object **buckets;                 /* lock */
	size_t bucket_count, live;                     /* lock */
	struct index index;                            /* lock */
	struct ledger ledger;                          /* lock */
	struct cache_departure left[CACHE_DEPARTURES]; /* lock; a ring */
	uint64_t left_count;                           /* lock; how many ever left */
	bool evicting;                                 /* lock; cache_get() of that id waits */
	struct hash256 evicting_id;                    /* lock */
	pthread_cond_t evicted;

	/* Each writer has its own queue, and an object always the same writer: a file system writes to one file under one lock. */
	struct workers writers[WRITERS];
	int writers_run;
	struct workers repliers;

	pthread_mutex_t fetch_lock; /* of the following */
	pthread_cond_t fetch_idle;  /* an op ended */
	struct pool pool;           /* segments */
	struct list ops, starving;  /* all running ops; those that wait for a buffer */
	struct list hungry;         /* objects that would read ahead or load, had they room */
	uint64_t in_flight;         /* bytes asked of sources that neither came nor will stay away */
	struct list unread;         /* segments that stay for their readers, longest first */
	uint64_t unread_bytes;      /* of them, a whole buffer each */
	int64_t unread_max_ns;      /* how long one may stay: UNREAD_NS, but for tests */
	bool reclaim;               /* let them all go */
	bool stopping;

	pthread_mutex_t timer_lock; /* of the following */
	pthread_cond_t timer_wake;
	struct list timed;  /* waits by deadline */
	int64_t timer_next; /* when the timer wakes */
	bool timer_stop;
	pthread_t timer;

	pthread_mutex_t scratch_lock;
	struct pool scratch;

	pthread_mutex_t keeper_lock; /* of the following */
	pthread_cond_t keeper_wake;
	pthread_cond_t keeper_rests;
	bool keeper_poked, keeper_stop, keeper_idle;
	pthread_t keeper;
	pthread_mutex_t scrub_lock; /* of scrub_ends */
	pthread_cond_t scrub_wake;
	pthread_t scrubber;
	int64_t scrub_ns; /* in which everything is checked; 0: only when asked */
	bool scrub_runs, scrub_ends;
	int64_t began_ns;                      /* since 1970 */
	atomic_bool ttls_changed;              /* what is not used is looked for at once */
	atomic_bool taken_over;                /* what the logs of a former process say is known */
	atomic_bool quit;                      /* the scan and eviction give up early */
	atomic_bool pressure[CACHE_TIERS_MAX]; /* a write found the tier full */
	bool timer_runs, keeper_runs, repliers_run;
};

struct cache_object {
	struct cache *cache;
	struct cache_object *next; /* in its bucket; cache.lock */
	atomic_int refs;           /* 0 is reached under cache.lock only */
	struct hash256 id;
	uint64_t size;
	char *key;
	struct validator validator;
	uint8_t tiers[CACHE_TIERS_MAX];
	uint32_t dataset;
	uint8_t listed;              /* cache.lock: 1 + number of the tier whose policy knows it; 0: none */
	uint16_t share;              /* cache.lock: of its body, and whose policy knows it */
	atomic_uint_fast64_t served; /* bytes answered by the daemon since it is live */
	int64_t timeout_ns;
	int64_t expired_ns; /* lock: when a wait last ran into its deadline; see EXPIRED_WINDOW_NS */
	atomic_int openers, pins;
	atomic_int_fast64_t used_ns; /* last use, since 1970 */
	int64_t noted_ns;            /* the same as the log of its tier has it; file_lock, then cache.lock */

	pthread_mutex_t file_lock; /* opening, making, sealing and dropping the body */
	atomic_bool opened;        /* what the tiers hold was looked up */

	pthread_mutex_t lock;  /* of the following */
	struct source *source; /* NULL: gone */
	struct body *body;     /* counted; NULL: nothing on a tier */
	struct plan *plan;     /* NULL until somebody reads what is not sealed */
	struct list segments, waits, loads, ops;
	struct list hungry;  /* cache.fetch_lock; on the list it counts as a reference */
	uint32_t generation; /* counts dropped bodies: segments of an older one are not kept */
	bool passing;        /* the last bytes found no room on any tier: nothing is read ahead */
	bool verifying;      /* a job verifies the body */
	struct job verify;
};

static inline struct workers *cache_writer(struct cache_object *o)
{
	return &o->cache->writers[o->id.bytes[0] % WRITERS];
}

/* cache.c */
void histogram_add(struct histogram *h, int64_t ns);
/* All live objects, each with a reference, which the caller puts; NULL with *ret_count 0 when there are none. The array is
 * the caller's. 0 or -ENOMEM. */
MUST_CHECK int cache_live_objects(struct cache *c, struct cache_object ***ret, size_t *ret_count);
struct cache_object *cache_find(struct cache *c, const struct hash256 *id); /* borrowed; under cache.lock */
struct cache_object *cache_find_key(struct cache *c, uint64_t key);         /* the same by index_key() */
uint8_t *scratch_take(struct cache *c); /* SCRATCH_BYTES; NULL: no memory */
void scratch_give(struct cache *c, uint8_t *buf);

/* The share of a dataset, made when it has none. */
uint16_t cache_share_of(struct cache *c, uint32_t dataset);

/* object.c */
void object_lookup(struct cache_object *o);
/* The body to write to, counted. 0; -ENOSPC: no tier has room, -EDQUOT: its share may not have more, and *ret is NULL. */
MUST_CHECK int object_body_to_fill(struct cache_object *o, struct body **ret);
void object_seal(struct cache_object *o, struct body *b);
/* Reading @b failed at @block: the block, or the sealed body as a whole, is dropped. */
void object_bad_block(struct cache_object *o, struct body *b, uint64_t block, int code);
/* Drops the body: 0 with its bytes; -EBUSY when @force is false and it has openers, pins, fetches or loads. */
MUST_CHECK int object_drop(struct cache_object *o, bool force, enum cache_cause cause, uint64_t *ret_freed);
/* Bytes its body is charged with; 0 without one. Under no lock or cache.lock. */
uint64_t object_charged(struct cache_object *o);
/* The plan, made when there is none; NULL: no memory. Under object.lock. */
struct plan *object_plan(struct cache_object *o);
bool object_is_sealed(const struct cache_object *o); /* under object.lock */

/* keeper.c */
MUST_CHECK int keeper_start(struct cache *c);
void keeper_stop(struct cache *c);
void keeper_poke(struct cache *c);
/* Evicts what has to go now. The keeper's thread alone. */
void keeper_make_room(struct cache *c);
/* Removes the files of an object that nobody refers to, and tells what went; cache_get() of it waits meanwhile. Bytes set free;
 * 0: it is not there any more, or in use. Under cache.lock, which it lets go meanwhile. */
uint64_t keeper_drop_indexed(struct cache *c, uint64_t key, size_t tier, enum cache_cause cause,
			     struct cache_departure *ret);

#endif
