#include "cache-node/cache/ledger.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

/* ---- pools ---- */

static void pool_free(struct cache *c, struct pool_of_share *p)
{
	for (size_t i = 0; i < c->tier_count; i++)
		p->policies[i] = policy_free(p->policies[i]);
}

static int pool_add(struct cache *c, uint16_t share)
{
	const struct policy_config config = POLICY_DEFAULT;
	struct ledger *l = &c->ledger;
	struct pool_of_share *more = mem_resize(l->pools, l->count + 1, sizeof *more);
	int r = more ? 0 : -ENOMEM;
	if (r)
		return r;
	l->pools = more;
	more[l->count] = (struct pool_of_share){.share = share};
	for (size_t i = 0; i < c->tier_count && r == 0; i++)
		r = policy_new(&config, &more[l->count].policies[i]);
	if (r) {
		pool_free(c, &more[l->count]);
		return r;
	}
	l->number[share] = (uint16_t)l->count++;
	return 0;
}

int ledger_init(struct cache *c)
{
	c->ledger.number = mem_calloc(SHARES_MAX, sizeof *c->ledger.number);
	return c->ledger.number ? pool_add(c, SHARE_NOBODYS) : -ENOMEM;
}

void ledger_done(struct cache *c)
{
	struct ledger *l = &c->ledger;
	for (size_t i = 0; i < l->count; i++)
		pool_free(c, &l->pools[i]);
	l->pools = mem_free(l->pools);
	l->number = mem_free(l->number);
	l->count = 0;
}

static struct policy *policy_at(const struct cache *c, uint16_t share, size_t tier)
{
	return c->ledger.pools[c->ledger.number[share]].policies[tier];
}

/* An object that moves from one pool to another. */
struct mover {
	uint64_t key, bytes;
	int64_t used_ns;
	size_t tier;
};

static int younger_first(const void *a, const void *b)
{
	const struct mover *x = a, *y = b;
	return x->used_ns > y->used_ns ? -1 : x->used_ns < y->used_ns;
}

/* All objects of a share that a policy knows. *ret is the caller's. 0, -ENOMEM. */
static int movers_of(struct cache *c, uint16_t share, struct mover **ret, size_t *ret_count)
{
	size_t n = 0;
	struct mover *all = mem_resize(NULL, c->index.count + c->live + 1, sizeof *all);
	if (!all)
		return -ENOMEM;
	for (size_t i = 0; i < c->index.slot_count; i++) {
		const struct index_entry *e = &c->index.slots[i];
		if (e->bytes && e->share == share)
			all[n++] = (struct mover){index_key(&e->id), e->bytes, e->used_ns, e->tier};
	}
	for (size_t i = 0; i < c->bucket_count; i++)
		for (struct cache_object *o = c->buckets[i]; o; o = o->next)
			if (o->listed && o->share == share)
				all[n++] = (struct mover){index_key(&o->id), object_charged(o),
							  atomic_load(&o->used_ns), o->listed - 1u};
	qsort(all, n, sizeof *all, younger_first);
	*ret = all;
	*ret_count = n;
	return 0;
}

static void move_all(const struct pool_of_share *from, const struct pool_of_share *to,
		     const struct mover *all, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		policy_remove(from->policies[all[i].tier], all[i].key);
		/* Without memory it is no victim until it is told of again. */
		(void)!policy_restore(to->policies[all[i].tier], all[i].key, all[i].bytes);
	}
}

int ledger_split(struct cache *c, uint16_t share)
{
	struct mover *all;
	size_t count;
	if (c->ledger.number[share])
		return 0;
	int r = movers_of(c, share, &all, &count);
	if (r)
		return r;
	r = pool_add(c, share);
	if (r == 0)
		move_all(&c->ledger.pools[0], &c->ledger.pools[c->ledger.count - 1], all, count);
	(void)mem_free(all);
	return r;
}

int ledger_join(struct cache *c, uint16_t share)
{
	struct ledger *l = &c->ledger;
	struct mover *all;
	size_t count, number = l->number[share];
	if (!number)
		return 0;
	int r = movers_of(c, share, &all, &count);
	if (r)
		return r;
	move_all(&l->pools[number], &l->pools[0], all, count);
	(void)mem_free(all);
	pool_free(c, &l->pools[number]);
	l->number[share] = 0;
	l->pools[number] = l->pools[--l->count]; /* the last takes its place */
	if (number < l->count)
		l->number[l->pools[number].share] = (uint16_t)number;
	return 0;
}

void ledger_stats(const struct cache *c, size_t tier, struct policy_stats *ret)
{
	*ret = (struct policy_stats){0};
	for (size_t i = 0; i < c->ledger.count; i++) {
		struct policy_stats s;
		policy_stats_get(c->ledger.pools[i].policies[tier], &s);
		ret->small += s.small;
		ret->main += s.main;
		ret->held += s.held;
		ret->ghosts += s.ghosts;
		ret->bytes += s.bytes;
		ret->ghost_hits += s.ghost_hits;
		ret->evicted += s.evicted;
		ret->demoted += s.demoted;
	}
}

/* ---- what happens to objects ---- */

/* The policy that knows @o; NULL: none. */
static struct policy *policy_of(const struct cache_object *o)
{
	return o->listed ? policy_at(o->cache, o->share, o->listed - 1u) : NULL;
}

/* Moves @o to the policy of @t. */
static struct policy *list_in(struct cache_object *o, const struct tier *t)
{
	uint8_t listed = (uint8_t)(t - o->cache->tiers + 1);
	if (o->listed != listed)
		ledger_remove(o);
	o->listed = listed;
	return policy_of(o);
}

void ledger_put(struct cache_object *o, struct tier *t, uint64_t bytes)
{
	struct policy *p = list_in(o, t);
	/* Without memory it is no victim until it is told of again, at its next bytes or when nobody refers to it. */
	(void)!policy_put(p, index_key(&o->id), bytes);
}

void ledger_restore(struct cache_object *o, struct tier *t, uint64_t bytes)
{
	struct policy *p = list_in(o, t);
	(void)!policy_restore(p, index_key(&o->id), bytes); /* as above */
}

void ledger_restore_indexed(struct cache *c, const struct index_entry *e)
{
	(void)!policy_restore(policy_at(c, e->share, e->tier), index_key(&e->id), e->bytes); /* as above */
}

void ledger_remove_indexed(struct cache *c, const struct index_entry *e)
{
	policy_remove(policy_at(c, e->share, e->tier), index_key(&e->id));
}

void ledger_remove(struct cache_object *o)
{
	struct policy *p = policy_of(o);
	o->listed = 0;
	if (p)
		policy_remove(p, index_key(&o->id));
}

void ledger_touch(struct cache_object *o)
{
	struct cache *c = o->cache;
	(void)pthread_mutex_lock(&c->lock);
	struct policy *p = policy_of(o);
	if (p)
		(void)policy_touch(p, index_key(&o->id));
	(void)pthread_mutex_unlock(&c->lock);
}

void ledger_served(struct cache_object *o, uint64_t bytes)
{
	uint64_t before = atomic_fetch_add(&o->served, bytes);
	/* The first pass is the one that its open stands for. */
	if (before / MAX(o->size, 1) < 1 || before / o->size == (before + bytes) / o->size)
		return;
	ledger_touch(o);
}

void ledger_release(struct cache_object *o)
{
	struct cache *c = o->cache;
	(void)pthread_mutex_lock(&c->lock);
	struct policy *p = policy_of(o);
	if (p && !atomic_load(&o->openers) && !atomic_load(&o->pins))
		policy_release(p, index_key(&o->id));
	(void)pthread_mutex_unlock(&c->lock);
}

/* ---- victims ---- */

struct asking {
	struct cache *c;
	uint16_t share;
	bool for_others; /* then its floor holds */
	bool short_of;   /* something may not go, for the floor's sake */
};

static uint64_t bytes_of(struct cache *c, struct cache_object *o, uint64_t key)
{
	const struct index_entry *e = o ? NULL : index_find_key(&c->index, key);
	return o ? object_charged(o) : e ? e->bytes : 0;
}

static bool is_busy(struct cache_object *o)
{
	(void)pthread_mutex_lock(&o->lock);
	bool busy = !list_empty(&o->ops) || !list_empty(&o->waits) || !list_empty(&o->loads);
	(void)pthread_mutex_unlock(&o->lock);
	return busy;
}

static enum policy_answer may_go(void *ctx, uint64_t key)
{
	struct asking *a = ctx;
	struct cache_object *o = cache_find_key(a->c, key);
	if (o && (atomic_load(&o->openers) || atomic_load(&o->pins)))
		return POLICY_HOLD;
	if (o && is_busy(o))
		return POLICY_LATER;
	if (a->for_others && a->share != SHARE_NOBODYS &&
	    share_is_protected(&a->c->shares, a->share, bytes_of(a->c, o, key))) {
		a->short_of = true;
		return POLICY_LATER;
	}
	return POLICY_GO;
}

static int ask(struct cache *c, size_t pool, size_t tier, bool for_others, uint32_t turns, uint64_t *ret_key)
{
	struct pool_of_share *p = &c->ledger.pools[pool];
	struct asking a = {.c = c, .share = p->share, .for_others = for_others};
	int r = policy_evict(p->policies[tier], may_go, &a, turns, ret_key);
	p->stuck[tier] = r == -ENOENT || (r == -EAGAIN && a.short_of);
	return p->stuck[tier] ? -ENOENT : r;
}

/* When the pool's next victim was used last; INT64_MAX: all were used since their turn. */
static int64_t next_used_ns(struct cache *c, const struct policy *p)
{
	uint64_t key;
	if (policy_peek(p, &key, 1) == 0)
		return INT64_MAX;
	const struct cache_object *o = cache_find_key(c, key);
	const struct index_entry *e = o ? NULL : index_find_key(&c->index, key);
	return o ? atomic_load(&o->used_ns) : e ? e->used_ns : INT64_MAX;
}

static bool may_give(struct cache *c, size_t pool, size_t tier)
{
	const struct pool_of_share *p = &c->ledger.pools[pool];
	struct policy_stats s;
	policy_stats_get(p->policies[tier], &s);
	return !p->stuck[tier] && s.bytes > 0 &&
	       (p->share == SHARE_NOBODYS || !share_is_protected(&c->shares, p->share, 1));
}

/* The pool that gives room on a tier: of those beyond their floors that whose next victim was used
 * longest ago. *ret; false: none. */
static bool giver(struct cache *c, size_t tier, size_t *ret)
{
	int64_t oldest = INT64_MAX;
	bool found = false;
	if (c->ledger.count == 1) { /* the usual case needs no comparison */
		*ret = 0;
		return !c->ledger.pools[0].stuck[tier];
	}
	for (size_t i = 0; i < c->ledger.count; i++) {
		if (!may_give(c, i, tier))
			continue;
		int64_t used_ns = next_used_ns(c, c->ledger.pools[i].policies[tier]);
		if (found && used_ns >= oldest)
			continue;
		oldest = used_ns;
		found = true;
		*ret = i;
	}
	return found;
}

void ledger_begin(struct cache *c)
{
	for (size_t i = 0; i < c->ledger.count; i++)
		memset(c->ledger.pools[i].stuck, 0, sizeof c->ledger.pools[i].stuck);
}

int ledger_victim(struct cache *c, size_t tier, uint32_t turns, uint64_t *ret_key)
{
	size_t pool;
	if (!giver(c, tier, &pool))
		return -ENOENT;
	int r = ask(c, pool, tier, true, turns, ret_key);
	return r == -ENOENT ? -EAGAIN : r; /* another may give */
}

int ledger_victim_of(struct cache *c, size_t pool, size_t tier, uint32_t turns, uint64_t *ret_key)
{
	return ask(c, pool, tier, false, turns, ret_key);
}

size_t ledger_fullest(const struct cache *c, size_t pool)
{
	size_t fullest = 0;
	uint64_t most = 0;
	for (size_t i = 0; i < c->tier_count; i++) {
		struct policy_stats s;
		policy_stats_get(c->ledger.pools[pool].policies[i], &s);
		if (s.bytes <= most || c->ledger.pools[pool].stuck[i])
			continue;
		most = s.bytes;
		fullest = i;
	}
	return fullest;
}

static bool is_stuck(const struct cache *c, const struct pool_of_share *p)
{
	size_t stuck = 0;
	for (size_t i = 0; i < c->tier_count; i++)
		stuck += p->stuck[i];
	return stuck == c->tier_count;
}

size_t ledger_over(struct cache *c)
{
	size_t most_over = 0;
	int64_t most = INT64_MIN;
	for (size_t i = 1; i < c->ledger.count; i++) {
		const struct pool_of_share *p = &c->ledger.pools[i];
		enum share_over over = share_over(&c->shares, p->share);
		if (over == SHARE_WITHIN || is_stuck(c, p))
			continue;
		if (over == SHARE_OVER_QUOTA)
			return i;
		/* In a group who is furthest beyond its own floor gives. */
		int64_t beyond = (int64_t)share_get(&c->shares, p->share).used -
				 (int64_t)share_floor(&c->shares, p->share);
		if (beyond > most) {
			most = beyond;
			most_over = i;
		}
	}
	return most_over;
}

/* ---- what left ---- */

void ledger_left(struct cache *c, const struct cache_departure *d)
{
	if (!d->bytes)
		return;
	(void)pthread_mutex_lock(&c->lock);
	struct cache_departure *at = &c->left[c->left_count++ % CACHE_DEPARTURES];
	*at = *d;
	at->when_ns = clock_wall_ns();
	(void)pthread_mutex_unlock(&c->lock);
}

struct cache_departure ledger_describe(const struct cache_object *o, size_t tier, uint64_t bytes)
{
	struct cache_departure d = {.id = o->id,
				    .bytes = bytes,
				    .used_ns = atomic_load(&o->used_ns),
				    .dataset = o->dataset,
				    .tier = tier};
	sidecar_name(d.key, o->key);
	return d;
}

struct cache_departure ledger_describe_indexed(struct cache *c, const struct index_entry *e)
{
	struct cache_departure d = {.id = e->id,
				    .bytes = e->bytes,
				    .used_ns = e->used_ns,
				    .dataset = share_get(&c->shares, e->share).dataset,
				    .tier = e->tier};
	struct sidecar_header h;
	if (tier_header(&c->tiers[e->tier], &e->id, &h))
		memcpy(d.key, h.key, sizeof d.key);
	return d;
}

size_t cache_departures(struct cache *c, struct cache_departure ret[CACHE_DEPARTURES])
{
	(void)pthread_mutex_lock(&c->lock);
	size_t n = (size_t)MIN(c->left_count, CACHE_DEPARTURES);
	for (size_t i = 0; i < n; i++)
		ret[i] = c->left[(c->left_count - 1 - i) % CACHE_DEPARTURES];
	(void)pthread_mutex_unlock(&c->lock);
	return n;
}

size_t cache_next(struct cache *c, size_t tier, struct cache_departure ret[CACHE_NEXT_MAX])
{
	uint64_t keys[4 * CACHE_NEXT_MAX];
	struct index_entry indexed[CACHE_NEXT_MAX];
	bool is_live[CACHE_NEXT_MAX];
	size_t n = 0, pool;
	CHECK(tier < c->tier_count);
	(void)pthread_mutex_lock(&c->lock);
	ledger_begin(c);
	uint32_t found = giver(c, tier, &pool)
				 ? policy_peek(c->ledger.pools[pool].policies[tier], keys, LENGTH(keys))
				 : 0;
	for (uint32_t i = 0; i < found && n < CACHE_NEXT_MAX; i++) {
		struct cache_object *o = cache_find_key(c, keys[i]);
		const struct index_entry *e = o ? NULL : index_find_key(&c->index, keys[i]);
		is_live[n] = o != NULL;
		if (o && !atomic_load(&o->openers) && !atomic_load(&o->pins)) {
			ret[n] = ledger_describe(o, tier, object_charged(o));
			n++;
		}
		if (e)
			indexed[n++] = *e;
	}
	(void)pthread_mutex_unlock(&c->lock);
	for (size_t i = 0; i < n; i++)
		if (!is_live[i])
			ret[i] = ledger_describe_indexed(c, &indexed[i]);
	return n;
}
