#include "cache-node/cache/share.h"

#include <errno.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/hash.h"
#include "common/base/mem.h"

#define SPARE_OF_100 2
#define SPARE_MIN    (UINT64_C(64) << 20)

static uint64_t spare(uint64_t bytes_max)
{
	return MAX(bytes_max / 100 * SPARE_OF_100, MIN(SPARE_MIN, bytes_max / 10));
}

uint64_t watermark_high(uint64_t bytes_max)
{
	return bytes_max - spare(bytes_max);
}

uint64_t watermark_low(uint64_t bytes_max)
{
	return bytes_max - spare(bytes_max) - spare(bytes_max) / 2;
}

int shares_init(struct shares *s, uint64_t capacity)
{
	*s = (struct shares){.capacity = capacity, .room = 16};
	(void)pthread_mutex_init(&s->lock, NULL); /* cannot fail without attributes */
	s->items = mem_calloc(s->room, sizeof *s->items);
	if (!s->items)
		return -ENOMEM;
	s->items[SHARE_NOBODYS].dataset = CACHE_NO_DATASET;
	s->count = 1;
	return 0;
}

void shares_done(struct shares *s)
{
	s->items = mem_free(s->items);
	(void)pthread_mutex_destroy(&s->lock);
}

uint64_t share_name(const char *dataset)
{
	struct hash256 h = hash256_of(dataset, strlen(dataset));
	uint64_t name = get_le64(h.bytes);
	return name ? name : 1;
}

/* A slot whose bytes and dataset are gone, or a new one; SHARE_NOBODYS without either. */
static uint16_t slot_for(struct shares *s)
{
	for (size_t i = 1; i < s->count; i++)
		if (s->items[i].dataset == CACHE_NO_DATASET && !s->items[i].used && !s->items[i].objects)
			return (uint16_t)i;
	if (s->count == s->room) {
		size_t room = MIN(2 * s->room, SHARES_MAX);
		struct share *more = s->count < room ? mem_resize(s->items, room, sizeof *more) : NULL;
		if (!more)
			return SHARE_NOBODYS;
		s->items = more;
		s->room = room;
	}
	return (uint16_t)s->count++;
}

static uint16_t of_name(struct shares *s, uint64_t name)
{
	for (size_t i = 1; name && i < s->count; i++)
		if (s->items[i].name == name)
			return (uint16_t)i;
	uint16_t number = slot_for(s);
	if (number != SHARE_NOBODYS)
		s->items[number] = (struct share){.name = name, .dataset = CACHE_NO_DATASET};
	return number;
}

uint16_t share_of_name(struct shares *s, uint64_t name)
{
	if (!name)
		return SHARE_NOBODYS;
	(void)pthread_mutex_lock(&s->lock);
	uint16_t number = of_name(s, name);
	(void)pthread_mutex_unlock(&s->lock);
	return number;
}

uint16_t share_tell(struct shares *s, uint64_t name, uint32_t dataset)
{
	(void)pthread_mutex_lock(&s->lock);
	uint16_t number = of_name(s, name);
	if (number != SHARE_NOBODYS)
		s->items[number].dataset = dataset;
	(void)pthread_mutex_unlock(&s->lock);
	return number;
}

/* Adds up what is promised: a group's floor contains those of its members. */
static void add_promises(struct shares *s)
{
	uint64_t in_group[CACHE_GROUPS_MAX] = {0};
	for (size_t i = 0; i < s->count; i++)
		in_group[s->items[i].limits.group] += s->items[i].limits.floor;
	s->promised = in_group[0];
	for (size_t g = 1; g < CACHE_GROUPS_MAX; g++)
		s->promised += MAX(in_group[g], s->groups[g].floor);
}

static void limit(struct shares *s, uint16_t number, const struct cache_limits *limits)
{
	struct share *share = &s->items[number];
	s->groups[share->limits.group].used -= share->used;
	share->limits = *limits;
	s->groups[share->limits.group].used += share->used;
	add_promises(s);
}

void share_limit(struct shares *s, uint16_t number, const struct cache_limits *limits)
{
	CHECK(limits->group < CACHE_GROUPS_MAX && number != SHARE_NOBODYS);
	(void)pthread_mutex_lock(&s->lock);
	limit(s, number, limits);
	(void)pthread_mutex_unlock(&s->lock);
}

bool share_forget(struct shares *s, uint16_t number, uint32_t dataset)
{
	(void)pthread_mutex_lock(&s->lock);
	bool its = s->items[number].dataset == dataset;
	if (its) {
		limit(s, number, &(const struct cache_limits){0});
		s->items[number].dataset = CACHE_NO_DATASET;
	}
	(void)pthread_mutex_unlock(&s->lock);
	return its;
}

void share_group_limit(struct shares *s, uint16_t group, uint64_t floor, uint64_t max)
{
	CHECK(group > 0 && group < CACHE_GROUPS_MAX);
	(void)pthread_mutex_lock(&s->lock);
	s->groups[group].floor = floor;
	s->groups[group].limit = max;
	add_promises(s);
	(void)pthread_mutex_unlock(&s->lock);
}

struct share share_get(struct shares *s, uint16_t number)
{
	(void)pthread_mutex_lock(&s->lock);
	struct share share = s->items[number];
	(void)pthread_mutex_unlock(&s->lock);
	return share;
}

struct share_group share_group_get(struct shares *s, uint16_t group)
{
	(void)pthread_mutex_lock(&s->lock);
	struct share_group g = s->groups[group];
	(void)pthread_mutex_unlock(&s->lock);
	return g;
}

/* @floor beside all others: in proportion where they do not fit. */
static uint64_t effective(const struct shares *s, uint64_t floor)
{
	if (s->promised <= s->capacity)
		return floor;
	return (uint64_t)((double)floor * ((double)s->capacity / (double)s->promised));
}

uint64_t share_floor(struct shares *s, uint16_t number)
{
	(void)pthread_mutex_lock(&s->lock);
	uint64_t floor = effective(s, s->items[number].limits.floor);
	(void)pthread_mutex_unlock(&s->lock);
	return floor;
}

static void change(struct shares *s, uint16_t number, uint64_t more, uint64_t less)
{
	struct share *share = &s->items[number];
	CHECK(share->used + more >= less);
	share->used += more - less; /* unsigned arithmetic wraps to the right sum */
	s->groups[share->limits.group].used += more - less;
}

bool share_take(struct shares *s, uint16_t number, uint64_t bytes)
{
	(void)pthread_mutex_lock(&s->lock);
	struct share *share = &s->items[number];
	struct share_group *group = &s->groups[share->limits.group];
	bool full = share->limits.quota && share->used + bytes > share->limits.quota;
	bool group_full = group->limit && group->used + bytes > group->limit;
	if (full)
		share->wanted = MAX(share->wanted, bytes);
	if (group_full)
		group->wanted = MAX(group->wanted, bytes);
	if (!full && !group_full)
		change(s, number, bytes, 0);
	(void)pthread_mutex_unlock(&s->lock);
	return !full && !group_full;
}

void share_add(struct shares *s, uint16_t number, uint64_t bytes)
{
	(void)pthread_mutex_lock(&s->lock);
	change(s, number, bytes, 0);
	(void)pthread_mutex_unlock(&s->lock);
}

void share_give(struct shares *s, uint16_t number, uint64_t bytes)
{
	(void)pthread_mutex_lock(&s->lock);
	change(s, number, 0, bytes);
	(void)pthread_mutex_unlock(&s->lock);
}

void share_count(struct shares *s, uint16_t number, int objects)
{
	(void)pthread_mutex_lock(&s->lock);
	CHECK(objects > 0 || s->items[number].objects > 0);
	s->items[number].objects += objects > 0 ? 1 : UINT64_MAX;
	(void)pthread_mutex_unlock(&s->lock);
}

void share_move(struct shares *s, uint16_t from, uint16_t to, uint64_t bytes)
{
	(void)pthread_mutex_lock(&s->lock);
	change(s, from, 0, bytes);
	change(s, to, bytes, 0);
	s->items[from].objects--;
	s->items[to].objects++;
	(void)pthread_mutex_unlock(&s->lock);
}

bool share_fits(struct shares *s, uint16_t number, uint64_t bytes)
{
	(void)pthread_mutex_lock(&s->lock);
	const struct cache_limits *l = &s->items[number].limits;
	uint64_t max = s->groups[l->group].limit;
	bool fits = (!l->quota || bytes <= l->quota) && (!max || bytes <= max);
	(void)pthread_mutex_unlock(&s->lock);
	return fits;
}

/* Whether less than @floor is left of @used without @bytes. */
static bool keeps(uint64_t floor, uint64_t used, uint64_t bytes)
{
	return floor && used < floor + bytes;
}

/* Whether its own floor, or its group's, is more than it would hold without @bytes. */
static bool is_promised(const struct shares *s, const struct share *share, uint64_t bytes)
{
	const struct share_group *group = &s->groups[share->limits.group];

	return keeps(effective(s, share->limits.floor), share->used, bytes) ||
	       keeps(effective(s, group->floor), group->used, bytes);
}

bool share_is_protected(struct shares *s, uint16_t number, uint64_t bytes)
{
	(void)pthread_mutex_lock(&s->lock);
	const struct share *share = &s->items[number];
	bool is = share->limits.pin || is_promised(s, share, bytes);
	(void)pthread_mutex_unlock(&s->lock);
	return is;
}

uint64_t share_reserve(struct shares *s, uint16_t number, uint64_t bytes_max)
{
	(void)pthread_mutex_lock(&s->lock);
	bool below = is_promised(s, &s->items[number], 0);
	uint64_t reserve = s->promised && !below ? spare(bytes_max) / 2 : 0;
	(void)pthread_mutex_unlock(&s->lock);
	return reserve;
}

int64_t share_shortest_ttl(struct shares *s)
{
	int64_t shortest = 0;
	(void)pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < s->count; i++) {
		int64_t ttl_ns = s->items[i].limits.ttl_ns;
		if (ttl_ns && (!shortest || ttl_ns < shortest))
			shortest = ttl_ns;
	}
	(void)pthread_mutex_unlock(&s->lock);
	return shortest;
}

/* Whether so much of a room is over; sets whether it gives from now on. What found no room is to find it the next time. */
static bool is_over(uint64_t used, uint64_t max, bool *giving, uint64_t *wanted)
{
	uint64_t most = *giving || *wanted ? watermark_low(max) : watermark_high(max);
	*giving = max && used > MIN(most, max - MIN(*wanted, max));
	if (!*giving)
		*wanted = 0;
	return *giving;
}

enum share_over share_over(struct shares *s, uint16_t number)
{
	(void)pthread_mutex_lock(&s->lock);
	struct share *share = &s->items[number];
	struct share_group *group = &s->groups[share->limits.group];
	bool own = is_over(share->used, share->limits.quota, &share->giving, &share->wanted);
	bool all = is_over(group->used, group->limit, &group->giving, &group->wanted);
	(void)pthread_mutex_unlock(&s->lock);
	return own ? SHARE_OVER_QUOTA : all ? SHARE_OVER_GROUP : SHARE_WITHIN;
}
