/*
 * An entry's life: FREE -> SMALL -> MAIN -> SMALL (demoted) -> GHOST -> MAIN, SMALL or FREE; SMALL -> HELD -> SMALL. Victims leave
 * from the small queue alone. Entries refer to each other by their numbers, so that the array can move when it grows.
 */
#include "cache-node/cache/policy.h"

#include <errno.h>

#include "common/base/mem.h"

#define NONE   UINT32_MAX
#define FIRST  64           /* entries made at first */
#define CREDIT UINT64_C(16) /* bytes that may leave the small queue for a byte used in the main queue */

enum { FREE = 0, SMALL, MAIN, HELD, GHOST, QUEUES };

struct entry {
	uint64_t key;
	uint64_t bytes;
	uint32_t prev, next; /* in its queue; NONE at the ends */
	uint32_t chain;      /* next in its bucket */
	uint8_t queue, uses;
};

struct queue {
	uint32_t head, tail; /* enters at the head, leaves at the tail */
	uint32_t count;
	uint64_t bytes;
};

struct policy {
	struct policy_config config;
	struct entry *entries; /* @room of them */
	uint32_t *buckets;     /* as many */
	uint32_t room;         /* a power of two, or 0 */
	struct queue queues[QUEUES];
	uint64_t fruitless;  /* turns since the last victim */
	uint64_t bytes_high; /* held at most, less what was removed: beyond it there is free room */
	uint64_t credit;     /* bytes that may leave the small queue until the main queue counts as idle */
	uint64_t ghost_hits, evicted, demoted;
};

static uint32_t *bucket_of(const struct policy *p, uint64_t key)
{
	/* Fibonacci hashing (Knuth 6.4): keys of tests and of the simulator are small numbers. */
	return &p->buckets[(key * UINT64_C(0x9e3779b97f4a7c15)) >> 32 & (p->room - 1)];
}

static uint32_t find(const struct policy *p, uint64_t key)
{
	if (!p->room)
		return NONE;
	uint32_t i = *bucket_of(p, key);
	while (i != NONE && p->entries[i].key != key)
		i = p->entries[i].chain;
	return i;
}

static void unlink_entry(struct policy *p, uint32_t i)
{
	struct entry *e = &p->entries[i];
	struct queue *q = &p->queues[e->queue];
	*(e->prev == NONE ? &q->head : &p->entries[e->prev].next) = e->next;
	*(e->next == NONE ? &q->tail : &p->entries[e->next].prev) = e->prev;
	q->count--;
	q->bytes -= e->bytes;
}

static void push(struct policy *p, uint32_t i, uint8_t queue)
{
	struct entry *e = &p->entries[i];
	struct queue *q = &p->queues[queue];
	e->queue = queue;
	e->prev = NONE;
	e->next = q->head;
	*(q->head == NONE ? &q->tail : &p->entries[q->head].prev) = i;
	q->head = i;
	q->count++;
	q->bytes += e->bytes;
}

static void push_old(struct policy *p, uint32_t i, uint8_t queue)
{
	struct entry *e = &p->entries[i];
	struct queue *q = &p->queues[queue];
	e->queue = queue;
	e->next = NONE;
	e->prev = q->tail;
	*(q->tail == NONE ? &q->head : &p->entries[q->tail].next) = i;
	q->tail = i;
	q->count++;
	q->bytes += e->bytes;
}

static void move(struct policy *p, uint32_t i, uint8_t queue)
{
	unlink_entry(p, i);
	push(p, i, queue);
}

static void chain_in(struct policy *p, uint32_t i)
{
	uint32_t *bucket = bucket_of(p, p->entries[i].key);
	p->entries[i].chain = *bucket;
	*bucket = i;
}

/* Forgets an entry. */
static void release(struct policy *p, uint32_t i)
{
	uint32_t *at = bucket_of(p, p->entries[i].key);
	while (*at != i)
		at = &p->entries[*at].chain;
	*at = p->entries[i].chain;
	unlink_entry(p, i);
	p->entries[i] = (struct entry){.chain = NONE};
	push(p, i, FREE);
}

int policy_new(const struct policy_config *config, struct policy **ret)
{
	if (config->small_of_100 < 1 || config->small_of_100 > 100 || config->promote_at < 1 ||
	    config->promote_at > POLICY_USES_MAX)
		return -EINVAL;
	struct policy *p = mem_calloc(1, sizeof *p);
	if (!p)
		return -ENOMEM;
	p->config = *config;
	for (int i = 0; i < QUEUES; i++)
		p->queues[i] = (struct queue){.head = NONE, .tail = NONE};
	*ret = p;
	return 0;
}

struct policy *policy_free(struct policy *p)
{
	if (!p)
		return NULL;
	(void)mem_free(p->entries);
	(void)mem_free(p->buckets);
	return mem_free(p);
}

/* Twice the room. All entries are in use. */
static int grow(struct policy *p)
{
	uint32_t old = p->room, room = old ? 2 * old : FIRST;
	uint32_t *buckets = mem_resize(NULL, room, sizeof *buckets);
	struct entry *entries = buckets ? mem_resize(p->entries, room, sizeof *entries) : NULL;
	if (!entries) {
		(void)mem_free(buckets);
		return -ENOMEM;
	}
	(void)mem_free(p->buckets);
	p->entries = entries;
	p->buckets = buckets;
	p->room = room;
	for (uint32_t i = 0; i < room; i++)
		buckets[i] = NONE;
	for (uint32_t i = 0; i < old; i++)
		chain_in(p, i);
	for (uint32_t i = room; i-- > old;) {
		entries[i] = (struct entry){.chain = NONE};
		push(p, i, FREE);
	}
	return 0;
}

/* An entry for @key, in no queue yet; the oldest ghost's where there is no room for more. */
static int take_free(struct policy *p, uint64_t key, uint64_t bytes, uint32_t *ret)
{
	int r = 0;
	if (p->queues[FREE].head == NONE)
		r = p->room >= POLICY_ENTRIES_MAX ? -EBUSY : grow(p);
	if (r && p->queues[GHOST].tail == NONE)
		return r;
	if (r)
		release(p, p->queues[GHOST].tail);
	uint32_t i = p->queues[FREE].head;
	unlink_entry(p, i);
	p->entries[i].key = key;
	p->entries[i].bytes = bytes;
	chain_in(p, i);
	*ret = i;
	return 0;
}

static void resize(struct policy *p, uint32_t i, uint64_t bytes)
{
	struct entry *e = &p->entries[i];
	p->queues[e->queue].bytes += bytes - e->bytes; /* unsigned arithmetic wraps to the right sum */
	e->bytes = bytes;
}

static uint64_t bytes_of(const struct policy *p)
{
	return p->queues[SMALL].bytes + p->queues[MAIN].bytes + p->queues[HELD].bytes;
}

static uint64_t credit_max(const struct policy *p)
{
	return bytes_of(p) * p->config.idle_of_100 / 100;
}

/* It holds more than ever: what came is as good as used. */
static void note_high(struct policy *p)
{
	if (bytes_of(p) <= p->bytes_high)
		return;
	p->bytes_high = bytes_of(p);
	p->credit = credit_max(p);
}

/* Whether the main queue, with so much more, would be over its share. */
static bool main_is_over(const struct policy *p, uint64_t more)
{
	uint64_t small = p->queues[SMALL].bytes, main_bytes = p->queues[MAIN].bytes;
	return (main_bytes + more) * 100 > (small + main_bytes) * (100 - p->config.small_of_100);
}

/* The main queue's oldest: if it was used since its last turn, it gets another and this is false; else it is the next victim. */
static bool demote_oldest(struct policy *p)
{
	uint32_t i = p->queues[MAIN].tail;
	struct entry *e = &p->entries[i];
	if (e->uses > 0) {
		e->uses = 0;
		move(p, i, MAIN);
		return false;
	}
	unlink_entry(p, i);
	push_old(p, i, SMALL);
	p->demoted++;
	return true;
}

/* Whether the main queue has room for @bytes, or makes it. */
static bool main_takes(struct policy *p, uint64_t bytes)
{
	return !p->queues[MAIN].count || !main_is_over(p, bytes) || demote_oldest(p);
}

/* Nothing had to leave for it yet: what is older than the small queue's share is kept without a use. */
static void spread(struct policy *p)
{
	struct queue *small = &p->queues[SMALL];
	while (bytes_of(p) > p->bytes_high && small->count > 1 &&
	       !main_is_over(p, p->entries[small->tail].bytes))
		move(p, small->tail, MAIN);
}

int policy_put(struct policy *p, uint64_t key, uint64_t bytes)
{
	uint32_t i = find(p, key);
	int r = i == NONE ? take_free(p, key, bytes, &i) : 0;
	if (r)
		return r;
	struct entry *e = &p->entries[i];
	if (e->queue == FREE) {
		push(p, i, SMALL);
	} else {
		resize(p, i, bytes);
	}
	if (e->queue == GHOST) {
		p->ghost_hits++;
		move(p, i, main_takes(p, bytes) ? MAIN : SMALL);
	}
	spread(p);
	note_high(p);
	return 0;
}

int policy_restore(struct policy *p, uint64_t key, uint64_t bytes)
{
	uint32_t i = find(p, key);
	if (i != NONE && p->entries[i].queue == GHOST) {
		release(p, i);
		i = NONE;
	}
	if (i != NONE)
		return 0;
	int r = take_free(p, key, bytes, &i);
	if (r == 0)
		push_old(p, i, MAIN);
	note_high(p);
	return r;
}

bool policy_touch(struct policy *p, uint64_t key)
{
	uint32_t i = find(p, key);
	if (i == NONE || p->entries[i].queue == GHOST)
		return false;
	struct entry *e = &p->entries[i];
	if (e->uses < POLICY_USES_MAX)
		e->uses++;
	if (e->queue == MAIN)
		p->credit = MIN(p->credit + CREDIT * e->bytes, credit_max(p));
	return true;
}

void policy_remove(struct policy *p, uint64_t key)
{
	uint32_t i = find(p, key);
	if (i == NONE || p->entries[i].queue == GHOST)
		return;
	p->bytes_high -= MIN(p->bytes_high, p->entries[i].bytes);
	release(p, i);
}

void policy_release(struct policy *p, uint64_t key)
{
	uint32_t i = find(p, key);
	if (i != NONE && p->queues[HELD].count && p->entries[i].queue == HELD)
		move(p, i, SMALL);
}

/* It leaves; its name stays. */
static void become_ghost(struct policy *p, uint32_t i)
{
	struct queue *ghosts = &p->queues[GHOST];
	uint64_t most = bytes_of(p) * p->config.ghost_of_100 / 100;
	p->evicted++;
	p->entries[i].uses = 0;
	move(p, i, GHOST);
	while (ghosts->bytes > most)
		release(p, ghosts->tail);
}

/* Whether the main queue was idle for so long that its oldest has to show that it is used, whoever asks: else what is dead would
 * stay there as long as nothing that is new is used twice. */
static bool is_idle(struct policy *p, uint64_t bytes)
{
	bool idle =
		p->credit < bytes && p->fruitless == 0; /* once for each victim: who was just demoted goes */
	p->credit -= MIN(p->credit, bytes);
	return idle && p->config.idle_of_100;
}

/* Whether the small queue's oldest moves on to the main queue instead of leaving. */
static bool moves_on(struct policy *p, uint32_t i)
{
	struct entry *e = &p->entries[i];
	if ((e->uses < p->config.promote_at && !is_idle(p, e->bytes)) || !main_takes(p, e->bytes))
		return false;
	e->uses = 0;
	move(p, i, MAIN);
	return true;
}

/* Turns after which @count objects were looked through in vain: each moves on, gets another turn, is demoted and asked about. */
static uint64_t turns_max(uint64_t count)
{
	return 4 * (count + 1);
}

/* Asks the owner about the small queue's oldest; true: it may go. */
static bool may_go(struct policy *p, uint32_t i, policy_ask *ask, void *ctx)
{
	enum policy_answer answer = ask(ctx, p->entries[i].key);
	if (answer != POLICY_GO)
		move(p, i, answer == POLICY_HOLD ? HELD : SMALL);
	return answer == POLICY_GO;
}

/* One step of eviction. True with a victim. */
static bool turn(struct policy *p, policy_ask *ask, void *ctx, uint32_t *ret)
{
	bool in_vain =
		p->fruitless > turns_max(p->queues[SMALL].count); /* nobody of the small queue may go */
	if (p->queues[MAIN].count && (in_vain || main_is_over(p, 0)))
		(void)demote_oldest(p);
	*ret = p->queues[SMALL].tail;
	return *ret != NONE && (in_vain || !moves_on(p, *ret)) && may_go(p, *ret, ask, ctx);
}

int policy_evict(struct policy *p, policy_ask *ask, void *ctx, uint32_t turns, uint64_t *ret_key)
{
	for (; turns > 0; turns--, p->fruitless++) {
		uint32_t i;
		if (p->fruitless >= 2 * turns_max((uint64_t)p->queues[SMALL].count + p->queues[MAIN].count)) {
			p->fruitless = 0;
			return -ENOENT;
		}
		if (!turn(p, ask, ctx, &i))
			continue;
		p->fruitless = 0;
		*ret_key = p->entries[i].key;
		become_ghost(p, i);
		return 0;
	}
	return -EAGAIN;
}

/* Unused objects of a queue from its old end on, behind the @n keys there are. */
static uint32_t peek_queue(const struct policy *p, uint8_t queue, uint64_t *keys, uint32_t n, uint32_t max)
{
	uint32_t i = p->queues[queue].tail;
	for (uint32_t turns = 0; i != NONE && n < max && turns < 16 * max; turns++, i = p->entries[i].prev)
		if (p->entries[i].uses < (queue == SMALL ? p->config.promote_at : 1))
			keys[n++] = p->entries[i].key;
	return n;
}

uint32_t policy_peek(const struct policy *p, uint64_t *keys, uint32_t max)
{
	uint32_t n = peek_queue(p, SMALL, keys, 0, max);
	return peek_queue(p, MAIN, keys, n, max);
}

void policy_stats_get(const struct policy *p, struct policy_stats *ret)
{
	*ret = (struct policy_stats){.small = p->queues[SMALL].count,
				     .main = p->queues[MAIN].count,
				     .held = p->queues[HELD].count,
				     .ghosts = p->queues[GHOST].count,
				     .bytes = bytes_of(p),
				     .ghost_hits = p->ghost_hits,
				     .evicted = p->evicted,
				     .demoted = p->demoted};
}

static void check_entry(const struct policy *p, uint32_t i, uint8_t queue)
{
	const struct entry *e = &p->entries[i];
	CHECK(e->queue == queue);
	CHECK(e->uses <= POLICY_USES_MAX);
	CHECK(e->next != NONE || p->queues[queue].tail == i);
	CHECK(queue == FREE || find(p, e->key) == i); /* its own, and no other of that key */
	CHECK((queue != FREE && queue != GHOST) || e->uses == 0);
}

void policy_check(const struct policy *p)
{
	uint64_t entries = 0;
	for (unsigned q = FREE; q < QUEUES; q++) {
		const struct queue *queue = &p->queues[q];
		uint64_t count = 0, bytes = 0;
		for (uint32_t i = queue->head, before = NONE; i != NONE; before = i, i = p->entries[i].next) {
			CHECK(p->entries[i].prev == before);
			check_entry(p, i, (uint8_t)q);
			count++;
			bytes += p->entries[i].bytes;
		}
		CHECK(count == queue->count);
		CHECK(bytes == queue->bytes);
		entries += count;
	}
	CHECK(entries == p->room);
}
