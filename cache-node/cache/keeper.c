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
#include "cache-node/cache/expire.h"
#include "cache-node/cache/ledger.h"
#include "common/base/bytes.h"
#include "common/base/clock.h"
#include "common/base/fd.h"
#include "common/base/mem.h"

#define RESTORE_BATCH 1000 /* objects told to a policy under one lock */
#define VICTIM_TURNS  64   /* objects looked at under one lock */

/* What the scan found of a tier, to be told to its policy in order. */
struct found {
	uint64_t key;
	int64_t used_ns;
};
struct found_list {
	struct found *items;
	size_t count, room;
};

/* Without memory it comes to the policy when it is used. */
static void found_add(struct found_list *l, uint64_t key, int64_t used_ns)
{
	if (l->count == l->room) {
		size_t room = MAX(2 * l->room, 1024);
		struct found *more = mem_resize(l->items, room, sizeof *more);
		if (!more)
			return;
		l->items = more;
		l->room = room;
	}
	l->items[l->count++] = (struct found){.key = key, .used_ns = used_ns};
}

static bool stat_file(struct tier *t, const struct hash256 *id, enum tier_file file, struct stat *ret)
{
	char path[TIER_PATH_BYTES];
	tier_path(id, file, path);
	return fstatat(t->objects_fd, path, ret, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(ret->st_mode);
}

/* The header of its sidecar; false: there is none that is good. The table behind it is checked when the object is opened. */
static bool read_header(struct tier *t, const struct hash256 *id, struct sidecar_header *ret)
{
	CLEANUP(fd_close) int fd = tier_open(t, id, TIER_SIDE, O_RDONLY);
	uint8_t bytes[SIDECAR_HEADER_BYTES];
	return fd >= 0 && fd_pread_full(fd, bytes, sizeof bytes, 0) == 0 &&
	       sidecar_decode_header(bytes, ret) == 0;
}

/* One file of the scan, and the header of its sidecar, NULL without one. Under cache.lock, so that no object comes to life
 * meanwhile. */
static void scan_file(struct cache *c, size_t tier, const struct hash256 *id, enum tier_file file,
		      const struct sidecar_header *h, struct found_list *found)
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
	/* What is partial is of use in the boot that wrote it. A damaged sidecar of a sealed object is told when that is used. */
	bool usable = has_data && has_side &&
		      (file == TIER_DATA || (h && memcmp(h->boot, c->boot, SIDECAR_BOOT_BYTES) == 0));
	struct index_entry e = {.id = *id, .tier = (uint8_t)tier, .sealed = file == TIER_DATA};
	if (usable) {
		e.bytes = MAX(((uint64_t)data.st_blocks + (uint64_t)side.st_blocks) * 512, 1);
		e.share = h ? share_of_name(&c->shares, h->share) : SHARE_NOBODYS;
		e.used_ns = (int64_t)data.st_mtim.tv_sec * NS_PER_S + data.st_mtim.tv_nsec;
		usable = index_put(&c->index, &e) == 0;
	}
	if (!usable) {
		tier_unlink(t, id);
		return;
	}
	found_add(found, index_key(id), e.used_ns);
	tier_add(t, e.share, e.bytes);
	tier_came(t, e.share, e.sealed);
}

static void scan_folder(struct cache *c, size_t tier, const char *folder, struct found_list *found)
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
		if (tier_parse(folder, de->d_name, &id, &file) != 0) {
			(void)unlinkat(fd, de->d_name,
				       0); /* the folder is ours alone; what is no file stays */
			continue;
		}
		struct sidecar_header h;
		bool known = file != TIER_SIDE && read_header(t, &id, &h);
		(void)pthread_mutex_lock(&c->lock);
		scan_file(c, tier, &id, file, known ? &h : NULL, found);
		(void)pthread_mutex_unlock(&c->lock);
	}
	(void)closedir(d);
}

static int younger_first(const void *a, const void *b)
{
	const struct found *x = a, *y = b;
	return x->used_ns > y->used_ns ? -1 : x->used_ns < y->used_ns;
}

/* The old objects of a tier enter its policy, the youngest first; many are told of under one lock. */
static void restore(struct cache *c, size_t tier, struct found_list *found)
{
	if (found->count)
		qsort(found->items, found->count, sizeof *found->items, younger_first);
	for (size_t i = 0; i < found->count && !atomic_load(&c->quit);) {
		(void)pthread_mutex_lock(&c->lock);
		for (size_t end = MIN(i + RESTORE_BATCH, found->count); i < end; i++) {
			uint64_t key = found->items[i].key;
			const struct index_entry *e = index_find_key(&c->index, key);
			if (e && e->tier == tier)
				ledger_restore_indexed(c, e);
		}
		(void)pthread_mutex_unlock(&c->lock);
	}
}

static void scan(struct cache *c)
{
	for (size_t tier = 0; tier < c->tier_count; tier++) {
		struct found_list found = {.items = NULL};
		for (unsigned i = 0; i < 256 && !atomic_load(&c->quit); i++) {
			char folder[3];
			(void)snprintf(folder, sizeof folder, "%02x", i);
			scan_folder(c, tier, folder, &found);
		}
		restore(c, tier, &found);
		(void)mem_free(found.items);
	}
}

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

/* All that has to go now goes. */
static void evict(struct cache *c)
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
	scan(c);
	(void)pthread_mutex_lock(&c->keeper_lock);
	while (!c->keeper_stop) {
		c->keeper_poked = false;
		(void)pthread_mutex_unlock(&c->keeper_lock);
		evict(c);
		if (atomic_exchange(&c->ttls_changed, false) || clock_mono_ns() >= look_ns)
			look_ns = expire_run(c);
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
