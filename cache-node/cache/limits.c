/*
 * What datasets are promised and may have: shares (share.h) by the numbers and names of datasets.
 */
#include <errno.h>

#include "cache-node/cache/ledger.h"

uint16_t cache_share_of(struct cache *c, uint32_t dataset)
{
	uint16_t number = atomic_load(&c->share_of[dataset]);
	if (number != SHARE_NOBODYS)
		return number;
	uint16_t fresh = share_tell(&c->shares, 0, dataset);
	if (fresh == SHARE_NOBODYS || atomic_compare_exchange_strong(&c->share_of[dataset], &number, fresh))
		return fresh;
	(void)share_forget(&c->shares, fresh, dataset); /* somebody else was faster */
	return number;
}

int cache_dataset_tell(struct cache *c, uint32_t dataset, const char *name, const struct cache_limits *limits)
{
	CHECK(dataset < CACHE_DATASETS_MAX && limits->group < CACHE_GROUPS_MAX);
	uint16_t number = share_tell(&c->shares, share_name(name), dataset);
	if (number == SHARE_NOBODYS)
		return -ENOMEM;
	atomic_store(&c->share_of[dataset], number);
	share_limit(&c->shares, number, limits);
	(void)pthread_mutex_lock(&c->lock);
	bool apart = limits->floor || limits->quota || limits->group || limits->pin;
	int r = apart ? ledger_split(c, number) : ledger_join(c, number);
	(void)pthread_mutex_unlock(&c->lock);
	atomic_store(&c->ttls_changed, true);
	keeper_poke(c); /* it may be over its quota, or keep what is not used */
	return r;
}

void cache_dataset_forget(struct cache *c, uint32_t dataset)
{
	uint16_t number = atomic_exchange(&c->share_of[dataset], SHARE_NOBODYS);
	if (number == SHARE_NOBODYS || !share_forget(&c->shares, number, dataset))
		return;
	(void)pthread_mutex_lock(&c->lock);
	(void)!ledger_join(c, number); /* without memory they keep a pool of their own, which is no harm */
	(void)pthread_mutex_unlock(&c->lock);
}

void cache_group_limit(struct cache *c, uint32_t group, uint64_t floor, uint64_t limit)
{
	CHECK(group < CACHE_GROUPS_MAX);
	share_group_limit(&c->shares, (uint16_t)group, floor, limit);
	keeper_poke(c);
}

uint64_t cache_group_bytes(struct cache *c, uint32_t group)
{
	CHECK(group < CACHE_GROUPS_MAX);
	return share_group_get(&c->shares, (uint16_t)group).used;
}

void cache_dataset_stats_get(struct cache *c, uint32_t dataset, struct cache_dataset_stats *ret)
{
	CHECK(dataset < CACHE_DATASETS_MAX);
	const struct dataset_counters *d = &c->datasets[dataset];
	uint16_t number = atomic_load(&c->share_of[dataset]);
	*ret = (struct cache_dataset_stats){.source_bytes = atomic_load(&d->source_bytes),
					    .served_bytes = atomic_load(&d->served_bytes)};
	if (number == SHARE_NOBODYS)
		return;
	struct share share = share_get(&c->shares, number);
	ret->cached_bytes = share.used;
	ret->cached_objects = share.objects;
	ret->floor = share_floor(&c->shares, number);
}
