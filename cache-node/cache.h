/*
 * cache - what this node holds of the objects of its datasets, and the way to get more of them.
 *
 * One object is one sparse file and a sidecar (block bitmap, CRC32C per block) in one tier (design 6). Behind this header
 * cache-node/cache/ keeps the tiers and cache-node/fill/ decides what is fetched: single flight by block across all
 * readers and jobs, read-ahead windows that grow, cut-through (a reader is answered as soon as its own bytes are there).
 *
 * Life of an object: ABSENT -> PARTIAL -> COMPLETE (sealed: verified, final name, never changed again, only unlinked).
 * A sealed object may be passed through; a partial one is served by cache_read().
 *
 * Threads: all calls from any thread. Callbacks run on threads of the cache, or inside the call that caused them; they
 * hold no lock of the cache, must not block, and may call back in.
 * Memory: buffers for bytes in flight are bounded by cache_config.memory_max; a fetch waits for room, a read never fails
 * for lack of it.
 */
#ifndef CACHE_NODE_CACHE_H
#define CACHE_NODE_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/source.h"
#include "common/validator.h"

struct cache;
struct cache_object; /* a counted reference to an object */

enum cache_tier_kind { CACHE_TIER_DISK = 1, CACHE_TIER_DRAM = 2 };
#define CACHE_TIERS_MAX 8

struct cache_tier_config {
	enum cache_tier_kind kind;
	int dir_fd;         /* the tier's own directory, writable by this uid; duplicated */
	uint64_t bytes_max; /* physical bytes the tier may use, files and sidecars */
	const char *name;   /* for status and errors: a path, or "dram"; borrowed until cache_new returns */
};

struct cache_config {
	const struct cache_tier_config *tiers;
	size_t tier_count;
	uint64_t memory_max; /* bytes of buffers for fetches in flight; at least 16 MiB */
	/* An object was sealed: new opens may pass it through. */
	void (*sealed)(void *ctx, const struct hash256 *id);
	/* A sealed object turned out to be damaged and was dropped: nobody new may read its file. NULL: nobody wants to know. */
	void (*spoiled)(void *ctx, const struct hash256 *id);
	int64_t scrub_ns; /* everything held is read and verified once in so long; 0: only by cache_scrub() */
	void *ctx;
};

/* Opens the tiers and finds what a former process left there: sealed objects all, partial ones by their bitmaps. Objects
 * are usable at once; accounting of old files goes on in the background. 0, -errno with words. */
MUST_CHECK int cache_new(const struct cache_config *config, struct cache **ret, struct err *err);

/* Ends fetches, writes sidecars, joins the threads. All objects must have been put. NULL is fine; returns NULL. */
struct cache *cache_free(struct cache *c);
DEFINE_CLEANUP(struct cache *, cache_free)

/* The identity of an object: SHA-256 of trust domain, source, key and validator (design 6). */
struct hash256 cache_object_id(const char *trust_domain, const char *key, size_t key_len,
			       const struct validator *validator, uint64_t size);

/* What is needed to find or fetch an object. */
struct cache_object_spec {
	struct hash256 id;
	uint64_t size;
	struct source
		*source; /* borrowed: must outlive the object's last reference; see cache_source_gone() */
	const char *key; /* NUL-ended; copied */
	struct validator validator;
	uint8_t tiers[CACHE_TIERS_MAX]; /* enum cache_tier_kind by preference, 0-ended; all 0: any */
	uint32_t dataset;               /* number of the dataset for statistics; below CACHE_DATASETS_MAX */
	int64_t timeout_ns;             /* a foreground read waits at most so long; 0: 30 s */
};
#define CACHE_DATASETS_MAX 4096

/* A reference to the object, made ABSENT if this node knows nothing of it. No network, no waiting. 0, -ENOMEM. */
MUST_CHECK int cache_get(struct cache *c, const struct cache_object_spec *spec, struct cache_object **ret);
struct cache_object *cache_ref(struct cache_object *o);
struct cache_object *cache_put(struct cache_object *o); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct cache_object *, cache_put)

/* How much of an object this node holds, now; its identity; the bytes held, of its size. Any thread. */
enum cache_state { CACHE_ABSENT = 0, CACHE_PARTIAL = 1, CACHE_COMPLETE = 2 };
enum cache_state cache_object_state(struct cache_object *o);
const struct hash256 *cache_object_hash(const struct cache_object *o);
uint64_t cache_object_cached_bytes(struct cache_object *o);
/* Name of the tier it lies in; "" when ABSENT. Static for the life of the cache. */
const char *cache_object_tier(struct cache_object *o);

/* A descriptor of the complete file, opened read-only, owned by the caller: for passthrough. -EAGAIN unless COMPLETE and
 * verified in this boot (the first call after a change of boot id verifies); -errno. */
MUST_CHECK int cache_object_file(struct cache_object *o);

/* Counts openers: an object with any is no victim of eviction. */
void cache_open(struct cache_object *o);
void cache_close(struct cache_object *o);

/* One asynchronous read. The caller owns the memory and keeps it until done() was called. */
struct cache_read {
	uint64_t offset;
	uint32_t length; /* at most 1 MiB; the range must lie inside the object */
	uint64_t
		stream; /* tells one sequential reader of the object from another (an open handle's number); 0: none */
	/* Exactly once, perhaps before cache_read_start() returns. status 0: all @length bytes stand in @iov, valid until
	 * done() returns. Else -EACCES, -ESTALE, -EIO, -ETIMEDOUT, -ECANCELED and words. */
	void (*done)(struct cache_read *r, int status, const struct iovec *iov, int iov_count,
		     const struct err *err);
	void *ctx;
	/* Private to the cache from here. */
	struct cache_object *object;
	void *priv[6];
	int64_t deadline_ns;
};

/* Starts a read; @r->done tells the rest. */
void cache_read_start(struct cache_object *o, struct cache_read *r);

/* The reader gave up: done() comes with -ECANCELED, unless it ran already. */
void cache_read_cancel(struct cache_read *r);

/* Completes the whole object for a job, behind foreground reads. One callback, with 0 when it is sealed. */
struct cache_load {
	void (*done)(struct cache_load *l, int status, const struct err *err);
	void *ctx;
	void *priv[4]; /* private */
};
void cache_load_start(struct cache_object *o, struct cache_load *l);

/* Pinned objects are no victims of eviction. */
void cache_pin(struct cache_object *o, bool pinned);

/* Drops what is held of an object (by unlink: open ones keep reading). 0 with the physical bytes set free, -EBUSY when it
 * has openers and not @force. A running fetch of it is cancelled unless a reader waits. */
MUST_CHECK int cache_evict(struct cache_object *o, bool force, uint64_t *ret_freed);

/* No object of @s may be fetched any more: cancels its fetches and waits for them. Before source_free(). */
void cache_source_gone(struct cache *c, struct source *s);

struct cache_departure;

/* Reads and verifies all that the tiers hold, on the calling thread; what is bad is dropped and will be fetched again. */
struct cache_scrub {
	uint64_t bytes_per_second; /* 0: no limit */
	/* After each object, with the figures below; false: end it. NULL is fine. */
	bool (*progress)(struct cache_scrub *s);
	/* An object was bad: what is known of it, and the -errno that reading it gave. NULL is fine. */
	void (*found)(struct cache_scrub *s, const struct cache_departure *d, int code);
	void *ctx;
	/* Set by the cache; zero at first. */
	uint64_t objects_total, bytes_total; /* when it began; bytes are physical */
	uint64_t objects, bytes, bad;
};
/* 0 also when something was bad; -ECANCELED: @progress or the end of the cache ended it; -ENOMEM. */
MUST_CHECK int cache_scrub(struct cache *c, struct cache_scrub *s);

/* Why an object left a tier. */
enum cache_cause {
	CACHE_CAUSE_ROOM = 1, /* room was needed, and it was used least */
	CACHE_CAUSE_QUOTA,    /* its dataset, or the group of that, was over its quota */
	CACHE_CAUSE_UNUSED,   /* nobody used it for as long as its dataset's ttl */
	CACHE_CAUSE_ASKED,    /* cache_evict() */
	CACHE_CAUSE_BAD       /* its bytes or its sidecar were not what was written */
};
#define CACHE_DEPARTURES 100 /* are remembered */
#define CACHE_NEXT_MAX   10
#define CACHE_KEY_BYTES  115
#define CACHE_NO_DATASET UINT32_MAX

/* An object that left a tier, or would. */
struct cache_departure {
	struct hash256 id;
	char key[CACHE_KEY_BYTES]; /* the end of its key; "" where it is not known */
	uint64_t bytes;            /* physical */
	int64_t when_ns;           /* it left, since 1970 */
	int64_t used_ns;           /* last use, since 1970; after a restart: when it was written */
	uint32_t dataset;          /* CACHE_NO_DATASET: not known */
	size_t tier;
	enum cache_cause cause;
};

/* What left last, the youngest first. The number. */
size_t cache_departures(struct cache *c, struct cache_departure ret[CACHE_DEPARTURES]);

/* What would leave tier number @tier next if it needed room now, the first first: a forecast. The number. */
size_t cache_next(struct cache *c, size_t tier, struct cache_departure ret[CACHE_NEXT_MAX]);

#define CACHE_LATENCY_BUCKETS 20
struct cache_histogram { /* bucket i: up to 1 us << i; the last is unbounded */
	uint64_t count[CACHE_LATENCY_BUCKETS];
	uint64_t sum_ns, total;
};
struct cache_tier_stats {
	enum cache_tier_kind kind;
	char name[256];
	uint64_t bytes_used, bytes_max, objects, sealed, evicted, evicted_bytes;
	uint64_t claimed; /* objects that were known at the start, from the log of the process before */
	uint64_t bytes_high, bytes_low; /* eviction starts above the one and ends at the other */
	/* Of the policy: objects that are new, that stay, that are held open or pinned; names of objects that left, and how many
	 * of those came back. */
	uint64_t newcomers, residents, held, ghosts, ghost_hits;
	bool failed; /* an fsync or I/O error cost us the device */
};
struct cache_stats {
	struct cache_tier_stats tiers[CACHE_TIERS_MAX];
	size_t tier_count;
	uint64_t reads, read_bytes, hit_bytes, miss_bytes; /* of cache_read */
	uint64_t fetches, fetched_bytes, sealed, corrupt_blocks,
		passed_by_bytes,            /* passed by: served, not kept */
		reread_bytes,               /* read back from a tier to answer cache_read */
		scrubbed, scrubbed_bytes;   /* objects verified on their tiers, and their physical bytes */
	uint64_t buffers_used, buffers_max; /* bytes */
	struct cache_histogram read_latency, fill_latency;
};
/* What the whole cache did and holds. Counters are read one by one, without a stop. */
void cache_stats_get(struct cache *c, struct cache_stats *ret);

/* What a dataset is promised of the tiers and what it may have, in physical bytes over all of them (docs/decisions/0043). */
struct cache_limits {
	uint64_t
		floor; /* what others need never takes; 0: none. Floors that do not fit count in proportion */
	uint64_t quota; /* is never exceeded: what is beyond is passed by; 0: none */
	uint32_t group; /* number of its group, below CACHE_GROUPS_MAX; 0: none */
	bool pin;       /* nothing of it makes room for others; its quota holds all the same */
	int64_t ttl_ns; /* what was not used for so long goes; 0: it stays */
};
#define CACHE_GROUPS_MAX 256

/* Dataset number @dataset is "namespace/name" @name: what the tiers hold under that name is its own. Again when limits change.
 * Without this call a dataset has no limits, and its bytes are nobody's after a restart. 0, -ENOMEM (its limits hold, but others
 * compete with its objects as if they were theirs until the next call). */
MUST_CHECK int cache_dataset_tell(struct cache *c, uint32_t dataset, const char *name,
				  const struct cache_limits *limits);
/* It is gone: what is held of it stays, without limits, until room is needed. */
void cache_dataset_forget(struct cache *c, uint32_t dataset);

/* What the members of a group are promised, and may have, together; 0: nothing, no limit. */
void cache_group_limit(struct cache *c, uint32_t group, uint64_t floor, uint64_t limit);
uint64_t cache_group_bytes(struct cache *c, uint32_t group); /* that they hold */

/* The same of one dataset: bytes that came from its source, bytes served by cache_read, physical bytes and objects held, and what
 * its floor counts beside all others'. */
struct cache_dataset_stats {
	uint64_t source_bytes, served_bytes, cached_bytes, cached_objects, floor;
};
void cache_dataset_stats_get(struct cache *c, uint32_t dataset, struct cache_dataset_stats *ret);

#endif
