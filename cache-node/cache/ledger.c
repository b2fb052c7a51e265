#include "cache-node/cache/ledger.h"

#include <fcntl.h>
#include <string.h>

#include "common/base/fd.h"

int ledger_init(struct cache *c)
{
	const struct policy_config config = POLICY_DEFAULT;
	int r = 0;
	for (size_t i = 0; i < c->tier_count && r == 0; i++)
		r = policy_new(&config, &c->policies[i]);
	return r;
}

void ledger_done(struct cache *c)
{
	for (size_t i = 0; i < c->tier_count; i++)
		c->policies[i] = policy_free(c->policies[i]);
}

/* The policy that knows @o; NULL: none. */
static struct policy *policy_of(const struct cache_object *o)
{
	return o->listed ? o->cache->policies[o->listed - 1] : NULL;
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

static enum policy_answer may_go(void *ctx, uint64_t key)
{
	struct cache_object *o = cache_find_key(ctx, key);
	if (!o)
		return POLICY_GO;
	if (atomic_load(&o->openers) || atomic_load(&o->pins))
		return POLICY_HOLD;
	(void)pthread_mutex_lock(&o->lock);
	bool busy = !list_empty(&o->ops) || !list_empty(&o->waits) || !list_empty(&o->loads);
	(void)pthread_mutex_unlock(&o->lock);
	return busy ? POLICY_LATER : POLICY_GO;
}

int ledger_victim(struct cache *c, size_t tier, uint32_t turns, uint64_t *ret_key)
{
	return policy_evict(c->policies[tier], may_go, c, turns, ret_key);
}

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
				    .dataset = e->dataset == INDEX_NO_DATASET ? CACHE_NO_DATASET : e->dataset,
				    .tier = e->tier};
	struct sidecar_header h;
	uint8_t bytes[SIDECAR_HEADER_BYTES];
	CLEANUP(fd_close) int fd = tier_open(&c->tiers[e->tier], &e->id, TIER_SIDE, O_RDONLY);
	if (fd >= 0 && fd_pread_full(fd, bytes, sizeof bytes, 0) == 0 &&
	    sidecar_decode_header(bytes, &h) == 0)
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
	size_t n = 0;
	CHECK(tier < c->tier_count);
	(void)pthread_mutex_lock(&c->lock);
	uint32_t found = policy_peek(c->policies[tier], keys, LENGTH(keys));
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
