/*
 * policy - which object of a tier goes next: S3-FIFO by bytes.
 *
 * Objects enter a small queue. What is used while it is there asks to move on to the main queue when its turn comes; the rest
 * leaves, and only its name stays for a while, as a ghost: who comes back as one asks at once. So a scan, whose objects are used
 * once, passes through the small queue alone. (Yang, Zhang, Qiu, Yue, Vigna, "FIFO queues are all you need for cache eviction",
 * SOSP 2023, algorithm 1.) Sizes are bytes, and shares are of what is held, so that a tier needs no size here.
 *
 * Beyond the paper, for training, which reads everything once an epoch (why, with figures: docs/decisions/0040):
 * - Who asks while the main queue has its share displaces its oldest, and only if that was not used since its last turn; else that
 *   one gets another turn and the asker stays out. Else newcomers that came back by chance would push out what comes back surely.
 * - While a tier fills for the first time, what is older than the small queue's share moves to the main queue without a use.
 * - When the main queue was not used while a multiple of its bytes passed by it, every newcomer asks, used or not.
 *
 * Pure: no clock, lock or file; the same code runs in the node and in the simulator. Objects are known by 64 bits of their id:
 * two that share them share an entry, and their owner treats them as one.
 *
 * Threads: the owner's lock. Memory: 36 bytes an object or ghost, grown by doubling; at POLICY_ENTRIES_MAX ghosts give way.
 */
#ifndef CACHE_NODE_CACHE_POLICY_H
#define CACHE_NODE_CACHE_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/attr.h"

#define POLICY_ENTRIES_MAX (UINT32_C(8) << 20) /* objects and ghosts; a power of two */
#define POLICY_USES_MAX    3                   /* what is counted of an object's uses */

struct policy;

struct policy_config {
	uint32_t small_of_100; /* the small queue's part of the bytes; 1 to 100 */
	uint32_t ghost_of_100; /* bytes of ghosts, of the bytes held */
	uint32_t promote_at;   /* uses in the small queue with which an object asks; 1 to POLICY_USES_MAX */
	uint32_t
		idle_of_100; /* bytes, of the bytes held, after which an unused main queue counts as idle; 0: it never does */
};
#define POLICY_DEFAULT \
	((struct policy_config){.small_of_100 = 10, .ghost_of_100 = 60, .promote_at = 1, .idle_of_100 = 400})

/* An empty policy. 0 and *ret is the caller's; -EINVAL, -ENOMEM. */
MUST_CHECK int policy_new(const struct policy_config *config, struct policy **ret);
struct policy *policy_free(struct policy *p); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct policy *, policy_free)

/* The object @key holds @bytes now: enters if it is not there, where its ghost says. 0; -ENOMEM, -EBUSY (too many objects): it is
 * not there, and will be no victim. */
MUST_CHECK int policy_put(struct policy *p, uint64_t key, uint64_t bytes);

/* The same for what a former process left: enters the main queue's old end. Told from the youngest to the oldest, objects leave
 * in the order they came. One that is there already stays where it is. 0, -ENOMEM, -EBUSY. */
MUST_CHECK int policy_restore(struct policy *p, uint64_t key, uint64_t bytes);

/* It was used again. False: there is no such object (a ghost is none). */
bool policy_touch(struct policy *p, uint64_t key);

/* It went by another way than policy_evict(): no ghost stays of it. What is a ghost already remains one. */
void policy_remove(struct policy *p, uint64_t key);

/* What its owner says of an object that would go. */
enum policy_answer {
	POLICY_GO = 1,
	POLICY_HOLD, /* not before policy_release() (open, pinned) */
	POLICY_LATER /* not now: it takes its turn again behind the others */
};
typedef enum policy_answer policy_ask(void *ctx, uint64_t key);

/* The next victim, taken out, its ghost kept. Looks at @turns objects at most. 0; -EAGAIN: not found yet, ask again (a lock may be
 * let go between); -ENOENT: none may go. */
MUST_CHECK int policy_evict(struct policy *p, policy_ask *ask, void *ctx, uint32_t turns, uint64_t *ret_key);

/* An object that was held may go again; nothing for any other. */
void policy_release(struct policy *p, uint64_t key);

/* Who would go next if nobody were used meanwhile and none were held: at most @max keys, the next first. The number. A forecast:
 * a used newcomer that the main queue does not take may go before them. Looks at 16 * @max objects of each queue at most. */
uint32_t policy_peek(const struct policy *p, uint64_t *keys, uint32_t max);

struct policy_stats {
	uint64_t small, main, held, ghosts; /* how many there are */
	uint64_t bytes;                     /* of all but the ghosts */
	uint64_t ghost_hits;                /* objects that came back while their ghost was there */
	uint64_t evicted;                   /* victims */
	uint64_t demoted;                   /* of the main queue, by one that was used */
};
/* What it holds and did. */
void policy_stats_get(const struct policy *p, struct policy_stats *ret);

/* Ends the process if an invariant is broken. O(entries). */
void policy_check(const struct policy *p);

#endif
