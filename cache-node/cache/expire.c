#include "cache-node/cache/expire.h"

#include "cache-node/cache/ledger.h"
#include "common/base/mem.h"

#define SLOTS_AT_ONCE 4096            /* of the index, looked at under one lock */
#define DUE_MAX       256             /* that go between two looks */
#define LOOK_MIN_NS   (NS_PER_S / 10) /* between two looks */
#define LOOK_MAX_NS   (60 * NS_PER_S)
#define LOOKS_A_TTL   16

/* How long objects of a share may lie unused; 0: without end. */
static int64_t ttl_of(struct cache *c, uint16_t share)
{
	return share_get(&c->shares, share).limits.ttl_ns;
}

static bool is_due(struct cache *c, uint16_t share, int64_t used_ns, int64_t now_ns)
{
	int64_t ttl_ns = ttl_of(c, share);
	return ttl_ns && now_ns - MAX(used_ns, c->began_ns) > ttl_ns;
}

struct due {
	uint64_t key;
	uint8_t tier;
};

/* Looks through some slots from @at on. The number found; where it goes on in *at. Under cache.lock. */
static size_t look(struct cache *c, size_t *at, int64_t now_ns, struct due due[DUE_MAX])
{
	size_t n = 0;
	for (size_t end = *at + SLOTS_AT_ONCE; *at < MIN(end, c->index.slot_count) && n < DUE_MAX; (*at)++) {
		const struct index_entry *e = &c->index.slots[*at];
		if (e->bytes && is_due(c, e->share, e->used_ns, now_ns))
			due[n++] = (struct due){.key = index_key(&e->id), .tier = e->tier};
	}
	return n;
}

/* What nobody refers to. Slots move when entries go: who is missed now is met at the next look. */
static void expire_indexed(struct cache *c, int64_t now_ns)
{
	struct due due[DUE_MAX];
	size_t at = 0;
	bool more = true;
	while (more && !atomic_load(&c->quit)) {
		(void)pthread_mutex_lock(&c->lock);
		size_t n = look(c, &at, now_ns, due);
		more = at < c->index.slot_count;
		for (size_t i = 0; i < n; i++) {
			struct cache_departure d;
			(void)keeper_drop_indexed(c, due[i].key, due[i].tier, CACHE_CAUSE_UNUSED, &d);
		}
		(void)pthread_mutex_unlock(&c->lock);
	}
}

static void expire_live(struct cache *c, int64_t now_ns)
{
	struct cache_object **all;
	size_t n;
	uint64_t freed;
	if (cache_live_objects(c, &all, &n) != 0)
		return; /* the next look has memory */
	for (size_t i = 0; i < n; i++) {
		(void)pthread_mutex_lock(&c->lock);
		bool due = all[i]->listed && is_due(c, all[i]->share, atomic_load(&all[i]->used_ns), now_ns);
		(void)pthread_mutex_unlock(&c->lock);
		if (due && !atomic_load(&all[i]->openers))
			(void)!object_drop(all[i], false, CACHE_CAUSE_UNUSED, &freed);
		(void)cache_put(all[i]);
	}
	(void)mem_free(all);
}

int64_t expire_run(struct cache *c)
{
	int64_t shortest = share_shortest_ttl(&c->shares);
	if (!shortest)
		return INT64_MAX;
	int64_t now_ns = clock_wall_ns();
	expire_indexed(c, now_ns);
	expire_live(c, now_ns);
	return clock_mono_ns() + MIN(MAX(shortest / LOOKS_A_TTL, LOOK_MIN_NS), LOOK_MAX_NS);
}
