#include "cache-node/tier_status.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"

static char *text_or_empty(const char *text)
{
	char *copy = mem_strdup(text);
	return copy ? copy : (char *)(uintptr_t)protobuf_c_empty_string;
}

static const char *cause_name(enum cache_cause cause)
{
	switch (cause) {
	case CACHE_CAUSE_ROOM:
		return "room";
	case CACHE_CAUSE_QUOTA:
		return "quota";
	case CACHE_CAUSE_UNUSED:
		return "unused";
	case CACHE_CAUSE_ASKED:
		return "asked";
	case CACHE_CAUSE_BAD:
		return "bad";
	}
	return "";
}

struct dataset_wanted {
	uint32_t number;
	char name[DATASET_FULL_MAX];
};

static void match_dataset(void *ctx, struct node_dataset *d)
{
	struct dataset_wanted *w = ctx;

	if (node_dataset_number(d) == w->number)
		(void)snprintf(w->name, sizeof w->name, "%s", node_dataset_name(d));
}

/* What of a list is from the heap, for free_unpacked(). */
struct object_list {
	struct cache *cache;
	struct datasets *datasets;
	const struct cache_stats *stats;
	Larder__V1__CachedObject ***items;
	size_t *count;
};

static int add_object(struct object_list *l, const struct cache_departure *d)
{
	struct dataset_wanted w = {.number = d->dataset};
	Larder__V1__CachedObject **more = mem_resize(*l->items, *l->count + 1, sizeof *more);

	if (!more)
		return -ENOMEM;
	*l->items = more;
	Larder__V1__CachedObject *o = mem_alloc(sizeof *o);
	uint8_t *id = o ? mem_alloc(sizeof d->id.bytes) : NULL;
	if (!id) {
		(void)mem_free(o);
		return -ENOMEM;
	}
	larder__v1__cached_object__init(o);
	if (d->dataset != CACHE_NO_DATASET)
		datasets_each(l->datasets, match_dataset, &w);
	memcpy(id, d->id.bytes, sizeof d->id.bytes);
	o->id = (ProtobufCBinaryData){.data = id, .len = sizeof d->id.bytes};
	o->key = text_or_empty(d->key);
	o->dataset = text_or_empty(w.name);
	o->tier = text_or_empty(l->stats->tiers[d->tier].name);
	o->cause = text_or_empty(cause_name(d->cause));
	o->bytes = d->bytes;
	o->left_ns = d->when_ns;
	o->used_ns = d->used_ns;
	(*l->items)[(*l->count)++] = o;
	return 0;
}

static int add_next(struct object_list *l, size_t tier)
{
	struct cache_departure next[CACHE_NEXT_MAX];
	size_t n = cache_next(l->cache, tier, next);
	int r = 0;

	for (size_t i = 0; i < n && !r; i++)
		r = add_object(l, &next[i]);
	return r;
}

static int add_left(struct object_list *l)
{
	CLEANUP(mem_free) void *memory = mem_calloc(CACHE_DEPARTURES, sizeof(struct cache_departure));
	struct cache_departure *left = memory;
	int r = left ? 0 : -ENOMEM;
	size_t n = left ? cache_departures(l->cache, left) : 0;

	for (size_t i = 0; i < n && !r; i++)
		r = add_object(l, &left[i]);
	return r;
}

static int add_tier(const struct cache_tier_stats *from, Larder__V1__StatusReply *reply,
		    Larder__V1__TierStatus **ret)
{
	Larder__V1__TierStatus **more = mem_resize(reply->tiers, reply->n_tiers + 1, sizeof *more);

	if (!more)
		return -ENOMEM;
	reply->tiers = more;
	Larder__V1__TierStatus *t = mem_alloc(sizeof *t);
	if (!t)
		return -ENOMEM;
	larder__v1__tier_status__init(t);
	t->kind = text_or_empty(from->kind == CACHE_TIER_DRAM ? "dram" : "disk");
	t->name = text_or_empty(from->name);
	t->bytes_used = from->bytes_used;
	t->bytes_max = from->bytes_max;
	t->bytes_high = from->bytes_high;
	t->bytes_low = from->bytes_low;
	t->objects = from->objects;
	t->held = from->held;
	t->evicted = from->evicted;
	t->failed = from->failed;
	reply->tiers[reply->n_tiers++] = t;
	*ret = t;
	return 0;
}

int tier_status_add(struct cache *cache, struct datasets *datasets, bool objects,
		    Larder__V1__StatusReply *reply)
{
	struct cache_stats stats;
	struct object_list l = {.cache = cache, .datasets = datasets, .stats = &stats};
	int r = 0;

	cache_stats_get(cache, &stats);
	for (size_t i = 0; i < stats.tier_count && !r; i++) {
		Larder__V1__TierStatus *t = NULL;
		r = add_tier(&stats.tiers[i], reply, &t);
		if (r || !objects)
			continue;
		l.items = &t->next;
		l.count = &t->n_next;
		r = add_next(&l, i);
	}
	l.items = &reply->left;
	l.count = &reply->n_left;
	return r || !objects ? r : add_left(&l);
}
