/*
 * The keeper thread: accounts for what a former process left, then evicts when it is told that a tier is nearly full.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache-node/cache/boot.h"
#include "cache-node/cache/internal.h"
#include "common/base/bytes.h"
#include "common/base/clock.h"
#include "common/base/fd.h"
#include "common/base/mem.h"

#define NAME_DIGITS (2 * HASH256_BYTES - 2) /* of a file name; two more are its folder's */
#define HIGH_OF_100 95
#define LOW_OF_100  90

bool keeper_tier_is_high(const struct tier *t)
{
	return atomic_load(&t->used) > t->bytes_max / 100 * HIGH_OF_100;
}

/* The object that "<folder>/<name>" belongs to. 0, -EINVAL for a name we never write. */
static int parse_name(const char *folder, const char *name, struct hash256 *ret_id, enum tier_file *ret_file)
{
	char hex[HASH256_HEX];
	if (strlen(name) != NAME_DIGITS + 5)
		return -EINVAL;
	const char *suffix = name + NAME_DIGITS;
	if (strcmp(suffix, ".data") == 0)
		*ret_file = TIER_DATA;
	else if (strcmp(suffix, ".part") == 0)
		*ret_file = TIER_PART;
	else if (strcmp(suffix, ".side") == 0)
		*ret_file = TIER_SIDE;
	else
		return -EINVAL;
	(void)snprintf(hex, sizeof hex, "%.2s%.*s", folder, NAME_DIGITS, name);
	return hex_decode(hex, ret_id->bytes, HASH256_BYTES);
}

static bool stat_file(struct tier *t, const struct hash256 *id, enum tier_file file, struct stat *ret)
{
	char path[TIER_PATH_BYTES];
	tier_path(id, file, path);
	return fstatat(t->objects_fd, path, ret, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(ret->st_mode);
}

/* Whether a partial object can still be used: its sidecar is good and of this boot. */
static bool part_is_usable(struct cache *c, struct tier *t, const struct hash256 *id)
{
	CLEANUP(fd_close) int fd = tier_open(t, id, TIER_SIDE, O_RDONLY);
	uint8_t bytes[SIDECAR_HEADER_BYTES];
	if (fd < 0 || fd_pread_full(fd, bytes, sizeof bytes, 0) != 0)
		return false;
	/* The boot id stands at 24 (docs/formats/sidecar.md); the rest is checked when the object is opened. */
	return memcmp(bytes + 24, c->boot, SIDECAR_BOOT_BYTES) == 0;
}

/* One file of the scan. Under cache.lock, so that no object comes to life meanwhile. */
static void scan_file(struct cache *c, size_t tier, const struct hash256 *id, enum tier_file file)
{
	struct tier *t = &c->tiers[tier];
	struct stat data, side;
	if (cache_find(c, id) || index_find(&c->index, id))
		return;
	bool has_data = stat_file(t, id, file == TIER_PART ? TIER_PART : TIER_DATA, &data);
	bool has_part = file == TIER_SIDE && !has_data && stat_file(t, id, TIER_PART, &data);
	bool has_side = stat_file(t, id, TIER_SIDE, &side);
	if (file == TIER_SIDE && (has_data || has_part))
		return; /* comes, or came, by the name of its data */
	bool usable = has_data && has_side && (file == TIER_DATA || part_is_usable(c, t, id));
	struct index_entry e = {
		.id = *id, .dataset = INDEX_NO_DATASET, .tier = (uint8_t)tier, .sealed = file == TIER_DATA};
	if (usable) {
		e.bytes = MAX(((uint64_t)data.st_blocks + (uint64_t)side.st_blocks) * 512, 1);
		e.used_ns = (int64_t)data.st_mtim.tv_sec * NS_PER_S + data.st_mtim.tv_nsec;
		usable = index_put(&c->index, &e) == 0;
	}
	if (!usable) {
		tier_unlink(t, id);
		return;
	}
	(void)atomic_fetch_add(&t->used, e.bytes);
	(void)atomic_fetch_add(&t->objects, 1);
	(void)atomic_fetch_add(&t->sealed, e.sealed);
}

static void scan_folder(struct cache *c, size_t tier, const char *folder)
{
	struct tier *t = &c->tiers[tier];
	int fd = openat(t->objects_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		(void)fd_close(fd);
		return;
	}
	for (struct dirent *de; !atomic_load(&c->quit) && (de = readdir(d));) {
		struct hash256 id;
		enum tier_file file;
		if (de->d_name[0] == '.')
			continue;
		if (parse_name(folder, de->d_name, &id, &file) != 0) {
			(void)unlinkat(fd, de->d_name,
				       0); /* the folder is ours alone; what is no file stays */
			continue;
		}
		(void)pthread_mutex_lock(&c->lock);
		scan_file(c, tier, &id, file);
		(void)pthread_mutex_unlock(&c->lock);
	}
	(void)closedir(d);
}

static void scan(struct cache *c)
{
	for (size_t tier = 0; tier < c->tier_count; tier++)
		for (unsigned i = 0; i < 256 && !atomic_load(&c->quit); i++) {
			char folder[3];
			(void)snprintf(folder, sizeof folder, "%02x", i);
			scan_folder(c, tier, folder);
		}
}

struct victim {
	struct hash256 id;
	int64_t used_ns;
};

static int older_first(const void *a, const void *b)
{
	const struct victim *x = a, *y = b;
	return x->used_ns < y->used_ns ? -1 : x->used_ns > y->used_ns;
}

/* All that might be evicted from a tier. The array is the caller's; NULL: nothing, or no memory. */
static struct victim *victims_of(struct cache *c, size_t tier, size_t *ret_count)
{
	size_t n = 0;
	(void)pthread_mutex_lock(&c->lock);
	size_t max = c->index.count + c->live;
	struct victim *v = max ? mem_calloc(max, sizeof *v) : NULL;
	for (size_t i = 0; v && i < c->index.slot_count; i++) {
		const struct index_entry *e = &c->index.slots[i];
		if (e->bytes && e->tier == tier)
			v[n++] = (struct victim){.id = e->id, .used_ns = e->used_ns};
	}
	for (size_t i = 0; v && i < c->bucket_count; i++)
		for (struct cache_object *o = c->buckets[i]; o; o = o->next)
			if (!atomic_load(&o->openers) && !atomic_load(&o->pins))
				v[n++] = (struct victim){.id = o->id, .used_ns = atomic_load(&o->used_ns)};
	(void)pthread_mutex_unlock(&c->lock);
	*ret_count = n;
	return v;
}

static uint64_t evict_live(struct cache_object *o, size_t tier)
{
	uint64_t freed = 0;
	(void)pthread_mutex_lock(&o->lock);
	bool here = o->body && o->body->tier == &o->cache->tiers[tier];
	(void)pthread_mutex_unlock(&o->lock);
	if (here && object_drop(o, false, &freed) != 0)
		freed = 0;
	(void)cache_put(o);
	return freed;
}

/* Removes the files of an object that nobody refers to; cache_get() of it waits meanwhile. Under cache.lock. */
static uint64_t evict_indexed(struct cache *c, const struct hash256 *id, size_t tier)
{
	struct index_entry e;
	const struct index_entry *found = index_find(&c->index, id);
	if (!found || found->tier != tier || !index_take(&c->index, id, &e))
		return 0;
	c->evicting = true;
	c->evicting_id = *id;
	(void)pthread_mutex_unlock(&c->lock);
	struct tier *t = &c->tiers[tier];
	tier_unlink(t, id);
	tier_give(t, e.bytes);
	(void)atomic_fetch_sub(&t->objects, 1);
	(void)atomic_fetch_sub(&t->sealed, e.sealed);
	if (e.dataset != INDEX_NO_DATASET) {
		struct dataset_counters *d = &c->datasets[e.dataset];
		counter_less(&d->cached_bytes, e.bytes);
		counter_less(&d->cached_objects, 1);
	}
	(void)pthread_mutex_lock(&c->lock);
	c->evicting = false;
	(void)pthread_cond_broadcast(&c->evicted);
	return e.bytes;
}

static uint64_t evict_one(struct cache *c, const struct hash256 *id, size_t tier)
{
	(void)pthread_mutex_lock(&c->lock);
	struct cache_object *o = cache_find(c, id);
	if (o) {
		(void)cache_ref(o);
		(void)pthread_mutex_unlock(&c->lock);
		return evict_live(o, tier);
	}
	uint64_t freed = evict_indexed(c, id, tier);
	(void)pthread_mutex_unlock(&c->lock);
	return freed;
}

static void evict_tier(struct cache *c, size_t tier)
{
	struct tier *t = &c->tiers[tier];
	bool pressure = atomic_exchange(&c->pressure[tier], false);
	if (!pressure && !keeper_tier_is_high(t))
		return;
	/* A device may be full before our limit is reached: then a tenth of what we have there goes. */
	uint64_t from = MIN(atomic_load(&t->used), t->bytes_max);
	uint64_t low = (keeper_tier_is_high(t) ? t->bytes_max : from) / 100 * LOW_OF_100;
	size_t n = 0;
	struct victim *v = victims_of(c, tier, &n);
	if (v)
		qsort(v, n, sizeof *v, older_first);
	for (size_t i = 0; v && i < n && atomic_load(&t->used) > low && !atomic_load(&c->quit); i++) {
		uint64_t freed = evict_one(c, &v[i].id, tier);
		(void)atomic_fetch_add(&t->evicted, freed > 0);
		(void)atomic_fetch_add(&t->evicted_bytes, freed);
	}
	(void)mem_free(v);
}

static void *run(void *arg)
{
	struct cache *c = arg;
	scan(c);
	(void)pthread_mutex_lock(&c->keeper_lock);
	while (!c->keeper_stop) {
		c->keeper_poked = false;
		(void)pthread_mutex_unlock(&c->keeper_lock);
		for (size_t i = 0; i < c->tier_count; i++)
			evict_tier(c, i);
		(void)pthread_mutex_lock(&c->keeper_lock);
		c->keeper_idle = !c->keeper_poked;
		(void)pthread_cond_broadcast(&c->keeper_rests);
		while (!c->keeper_poked && !c->keeper_stop)
			(void)pthread_cond_wait(&c->keeper_wake, &c->keeper_lock);
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
