/*
 * The keeper thread: accounts for what a former process left, then evicts when it is told that a tier is nearly full.
 */
#include <errno.h>

#include "cache-node/cache/boot.h"
#include "cache-node/cache/expire.h"
#include "cache-node/cache/ledger.h"
#include "cache-node/cache/restore.h"
#include "common/base/clock.h"

#define VICTIM_TURNS 64 /* objects looked at under one lock */

/* A victim that is live, with a reference, which goes. The bytes that it set free. */
static uint64_t evict_live(struct cache_object *o, size_t tier, enum cache_cause cause)
{
	struct cache *c = o->cache;
	uint64_t freed = 0;
	if (object_drop(o, false, cause, &freed) != 0) { /* somebody was faster: it stays */
		(void)pthread_mutex_lock(&c->lock);
		if (o->listed == tier + 1)
			ledger_restore(o, &c->tiers[tier], object_charged(o));
		(void)pthread_mutex_unlock(&c->lock);
	}
	(void)cache_put(o);
	return freed;
}

uint64_t keeper_drop_indexed(struct cache *c, uint64_t key, size_t tier, enum cache_cause cause,
			     struct cache_departure *ret)
{
	struct index_entry e;
	while (c->evicting)
		(void)pthread_cond_wait(&c->evicted, &c->lock);
	const struct index_entry *found = index_find_key(&c->index, key); /* it may be gone, or in use */
	if (!found || found->tier != tier || cache_find_key(c, key))
		return 0;
	e = *found;
	(void)index_take(&c->index, &e.id, NULL);
	ledger_remove_indexed(c, &e);
	c->evicting = true;
	c->evicting_id = e.id;
	(void)pthread_mutex_unlock(&c->lock);
	struct tier *t = &c->tiers[tier];
	struct cache_departure d = ledger_describe_indexed(c, &e);
	d.cause = cause;
	tier_unlink(t, &e.id);
	tier_give(t, e.share, e.bytes);
	tier_left(t, e.share, e.sealed);
	ledger_left(c, &d);
	*ret = d;
	(void)pthread_mutex_lock(&c->lock);
	c->evicting = false;
	(void)pthread_cond_broadcast(&c->evicted);
	return e.bytes;
}

/* The victim goes. The bytes that it set free. Under cache.lock, which it lets go. */
static uint64_t evict_unlock(struct cache *c, size_t tier, uint64_t key, enum cache_cause cause)
{
	struct cache_departure d;
	uint64_t freed = 0;
	struct cache_object *o = cache_find_key(c, key);
	if (o)
		(void)cache_ref(o);
	else
		freed = keeper_drop_indexed(c, key, tier, cause, &d);
	(void)pthread_mutex_unlock(&c->lock);
	if (o)
		freed = evict_live(o, tier, cause);
	(void)atomic_fetch_add(&c->tiers[tier].evicted, freed > 0);
	(void)atomic_fetch_add(&c->tiers[tier].evicted_bytes, freed);
	return freed;
}

static void evict_tier(struct cache *c, size_t tier)
{
	struct tier *t = &c->tiers[tier];
	bool pressure = atomic_exchange(&c->pressure[tier], false);
	if (!pressure && !tier_is_high(t))
		return;
	/* A device may be full before our limit is reached: then a tenth of what we have there goes. */
	uint64_t low = tier_is_high(t) ? watermark_low(t->bytes_max) : atomic_load(&t->used) / 10 * 9;
	int r = 0;
	while (r != -ENOENT && atomic_load(&t->used) > low && !atomic_load(&c->quit)) {
		uint64_t key;
		(void)pthread_mutex_lock(&c->lock);
		r = ledger_victim(c, tier, VICTIM_TURNS, &key);
		if (r == 0)
			(void)evict_unlock(c, tier, key, CACHE_CAUSE_ROOM);
		else
			(void)pthread_mutex_unlock(&c->lock);
	}
}

/* Who is over a quota gives of its own. */
static void evict_shares(struct cache *c)
{
	while (!atomic_load(&c->quit)) {
		uint64_t key;
		(void)pthread_mutex_lock(&c->lock);
		size_t pool = ledger_over(c);
		size_t tier = pool ? ledger_fullest(c, pool) : 0;
		int r = pool ? ledger_victim_of(c, pool, tier, VICTIM_TURNS, &key) : -ENOENT;
		if (r == 0)
			(void)evict_unlock(c, tier, key, CACHE_CAUSE_QUOTA);
		else
			(void)pthread_mutex_unlock(&c->lock);
		if (!pool)
			return;
	}
}

void keeper_make_room(struct cache *c)
{
	(void)pthread_mutex_lock(&c->lock);
	ledger_begin(c);
	(void)pthread_mutex_unlock(&c->lock);
	evict_shares(c);
	for (size_t i = 0; i < c->tier_count; i++)
		evict_tier(c, i);
}

static void *run(void *arg)
{
	struct cache *c = arg;
	int64_t look_ns = 0;
	restore_run(c);
	(void)pthread_mutex_lock(&c->keeper_lock);
	while (!c->keeper_stop) {
		c->keeper_poked = false;
		(void)pthread_mutex_unlock(&c->keeper_lock);
		keeper_make_room(c);
		restore_renew(c);
		if (atomic_exchange(&c->ttls_changed, false) || clock_mono_ns() >= look_ns)
			look_ns = MIN(expire_run(c), restore_next_ns(c));
		(void)pthread_mutex_lock(&c->keeper_lock);
		c->keeper_idle = !c->keeper_poked;
		(void)pthread_cond_broadcast(&c->keeper_rests);
		while (!c->keeper_poked && !c->keeper_stop && clock_mono_ns() < look_ns)
			clock_cond_wait_until(&c->keeper_wake, &c->keeper_lock, look_ns);
		c->keeper_idle = false;
	}
	(void)pthread_mutex_unlock(&c->keeper_lock);
	return NULL;
}

void keeper_poke(struct cache *c)
{
	(void)pthread_mutex_lock(&c->keeper_lock);
	c->keeper_poked = true;
	c->keeper_idle = false;
	(void)pthread_cond_signal(&c->keeper_wake);
	(void)pthread_mutex_unlock(&c->keeper_lock);
}

void cache_settle(struct cache *c)
{
	(void)pthread_mutex_lock(&c->keeper_lock);
	while (!c->keeper_idle)
		(void)pthread_cond_wait(&c->keeper_rests, &c->keeper_lock);
	(void)pthread_mutex_unlock(&c->keeper_lock);
}

int keeper_start(struct cache *c)
{
	int r = pthread_create(&c->keeper, NULL, run, c);
	c->keeper_runs = r == 0;
	if (c->keeper_runs)
		(void)pthread_setname_np(c->keeper, "cache-keeper"); /* a name is a courtesy */
	return -r;
}

void keeper_stop(struct cache *c)
{
	if (!c->keeper_runs)
		return;
	(void)pthread_mutex_lock(&c->keeper_lock);
	c->keeper_stop = true;
	(void)pthread_cond_signal(&c->keeper_wake);
	(void)pthread_mutex_unlock(&c->keeper_lock);
	(void)pthread_join(c->keeper, NULL);
	c->keeper_runs = false;
}
