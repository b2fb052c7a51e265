/*
 * fetch - carries out the plan of an object: source reads into segment buffers, and from there to the tier.
 *
 * A segment is filled by one op in order. When it is full, a writer thread takes it; it is given back to the pool when
 * it stands on the tier (or is passed by) and nobody reads from it. Whoever waits for bytes is answered from the
 * segment while it still fills (read.c).
 *
 * Threads: all state of an object is under object.lock. Callbacks of the source only copy pointers, move counters and
 * queue jobs.
 */
#ifndef CACHE_NODE_FILL_FETCH_H
#define CACHE_NODE_FILL_FETCH_H

#include "cache-node/cache/internal.h"

#define PIECES_MAX 6 /* a read of 1 MiB touches at most 5 blocks */

struct segment {
	struct list link; /* object.segments */
	struct job job;   /* the write */
	struct cache_object *object;
	uint64_t offset;
	uint32_t length, filled;
	uint8_t *data;
	uint32_t generation; /* of the object when it was made */
	int refs;            /* the op or the writer, and answers that point into it */
	bool kept;           /* its bytes stand on the tier */
	uint64_t served;     /* bytes answered from it; one counts twice where two asked for it */
	bool stays;          /* on cache.unread, for a reader */
	struct list unread;  /* cache.unread; fetch_lock, its neighbours are other objects' */
	int64_t unread_ns;   /* since when; fetch_lock */
};

/* One stretch of an answer: in a segment, or (NULL) on the tier. */
struct piece {
	struct segment *segment;
	uint64_t offset;
	uint32_t length;
};

struct answer {
	struct piece pieces[PIECES_MAX];
	int count;
	struct body *body; /* counted; set where a piece is on the tier */
};

/* A read that lacks bytes. */
struct wait {
	struct list link, timed;     /* object.waits; cache.timed */
	struct job job;              /* the answer */
	struct cache_object *object; /* counted */
	struct cache_read *read;
	uint64_t cursor; /* all before it has arrived */
	int64_t started_ns;
	int status;
	struct answer answer;
	struct err err;
};

/* A load that runs. */
struct load {
	struct list link; /* object.loads */
	struct job job;
	struct cache_object *object; /* counted */
	struct cache_load *load;
	int status;
	struct err err;
};

/* Asks the plan what to fetch for the waits, the streams and the loads of @o and puts new ops on @launch. Under object.lock. */
void fetch_collect(struct cache_object *o, struct list *launch);

/* Starts them. Under no lock. */
void fetch_launch(struct list *launch);

/* Cancels the ops nobody wants: no wait, no stream, no load. Under object.lock. */
void fetch_cancel_unwanted(struct cache_object *o);

/* Cancels all ops of @o. Under object.lock. */
void fetch_cancel_all(struct cache_object *o);

/* Where contiguous bytes from @offset on end, in a segment or on the tier; @offset itself when it is not here. *ret_segment is
 * NULL when they are on the tier. Under object.lock. */
uint64_t fetch_available(struct cache_object *o, uint64_t offset, struct segment **ret_segment);

/* segment.c: a segment of @o with one reference, the caller's; NULL when @buffers are out already or memory is, and then
 * @starving is put on cache.starving. Under object.lock. */
MUST_CHECK struct segment *segment_new(struct cache_object *o, uint64_t offset, uint32_t length,
				       size_t buffers, struct list *starving);
/* Blocks whose bytes are all in the segment. */
uint64_t segment_blocks(const struct segment *s);
/* It is full: it may stay in memory for a reader. Under object.lock. */
void segment_arrived(struct segment *s);
/* Gives up a reference. Under object.lock. */
void segment_unref(struct segment *s);
/* Lets go what is kept in memory for waits that left and readers that are past it. Under object.lock. */
void segments_sweep(struct cache_object *o);
/* Buffers are short: the timer lets go all that stays for readers. Under any lock but fetch_lock and timer_lock. */
void segments_reclaim(struct cache *c);
/* Lets go what stays too long. When there will be more (CLOCK_MONOTONIC), or INT64_MAX. Under no lock. */
int64_t segments_expire(struct cache *c, int64_t now_ns);

/* Wakes ops that wait for a buffer. False when there are none. */
bool fetch_wake_starving(struct cache *c);

/* Gives the objects that lacked room to read ahead another chance. */
void fetch_feed(struct cache *c);

/* The same for all of them, when no new fetch may start. */
void fetch_feed_all(struct cache *c);

/* Whether an op reads from @s (NULL: from any). Under fetch_lock. */
bool fetch_uses_source(const struct cache *c, const struct source *s);

/* Ends the loads of @o. Under object.lock; the callbacks run elsewhere. */
void loads_end(struct cache_object *o, int status, const struct err *err);

/* read.c: bytes came into @s. Under object.lock. */
void waits_arrived(struct cache_object *o, const struct segment *s);
/* read.c: the bytes [@from, @to) will not come: ends the waits that lack some of them. Under object.lock. */
void waits_fail(struct cache_object *o, uint64_t from, uint64_t to, int status, const struct err *err);
/* read.c: a fetch ended early or bytes were lost: looks again at what the waits lack. Under object.lock. */
void waits_again(struct cache_object *o);
/* read.c: whether a wait lacks some of [@from, @to); whether one touches it. Under object.lock. */
bool waits_lack(const struct cache_object *o, uint64_t from, uint64_t to);
bool waits_touch(const struct cache_object *o, uint64_t from, uint64_t to);

/* timer.c */
MUST_CHECK int timer_start(struct cache *c);
void timer_stop(struct cache *c);
/* The timer looks around at @when_ns (CLOCK_MONOTONIC), or before. */
void timer_at(struct cache *c, int64_t when_ns);
/* A buffer was taken where none was out: they are unmapped when nobody uses them any more. */
void timer_buffers_used(struct cache *c);
/* An op waits for a buffer: a resume that meets a source not yet paused is repeated. */
void timer_starving(struct cache *c);
void timer_add(struct wait *w);
void timer_remove(struct wait *w);
/* read.c: ends the waits whose time is over. */
void waits_expire(struct cache_object *o, int64_t now_ns);

#endif
