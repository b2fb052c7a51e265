#include "cache-node/cache/scrub.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache-node/cache/ledger.h"
#include "common/base/fd.h"
#include "common/base/log.h"
#include "common/base/mem.h"

#define SLOW_LEAST (UINT64_C(1) << 20) /* bytes a second, however much time there is */

/* One pass, or a part of one. */
struct scrub_work {
	struct cache *cache;
	struct cache_scrub *told; /* NULL: nobody watches */
	uint8_t *buf;             /* SCRATCH_BYTES */
	uint64_t rate;            /* bytes a second; 0: no limit */
	uint64_t paced;           /* bytes since then */
	int64_t since_ns;
	bool stop;
};

/* The objects of a folder. */
struct listed {
	struct hash256 id;
	enum tier_file file;
	uint64_t bytes;
};
struct listing {
	struct listed *items;
	size_t count, room;
	uint64_t bytes;
};

/* An object's files, open. */
struct probe {
	int fd, side_fd;
	bool direct;
	uint8_t *side;
	size_t side_len;
	struct sidecar_header h;
};

/* Sleeps until @until_ns (CLOCK_MONOTONIC). False when the cache ends. */
static bool sleep_until(struct cache *c, int64_t until_ns)
{
	(void)pthread_mutex_lock(&c->scrub_lock);
	while (!c->scrub_ends && clock_mono_ns() < until_ns)
		clock_cond_wait_until(&c->scrub_wake, &c->scrub_lock, until_ns);
	bool ends = c->scrub_ends;
	(void)pthread_mutex_unlock(&c->scrub_lock);
	return !ends;
}

/* @bytes were read: waits until they are due. */
static void pace(struct scrub_work *w, uint64_t bytes)
{
	w->paced += bytes;
	int64_t due = clock_mono_ns();
	if (w->rate)
		due = w->since_ns + (int64_t)((double)w->paced / (double)w->rate * (double)NS_PER_S);
	if (!sleep_until(w->cache, due))
		w->stop = true;
}

/* ---- one object ---- */

static void probe_done(struct probe *p)
{
	if (p->side)
		(void)munmap(p->side, p->side_len); /* our own mapping: cannot fail */
	(void)fd_close(p->fd);
	(void)fd_close(p->side_fd);
}

static int open_data(struct tier *t, const struct listed *l, struct probe *p)
{
	p->direct = true;
	p->fd = tier_open(t, &l->id, l->file, O_RDONLY | O_DIRECT);
	if (p->fd == -EINVAL) {
		p->direct = false;
		p->fd = tier_open(t, &l->id, l->file, O_RDONLY);
	}
	return p->fd < 0 ? p->fd : 0;
}

static int open_side(struct tier *t, const struct listed *l, struct probe *p)
{
	struct stat st;
	p->side_fd = tier_open(t, &l->id, TIER_SIDE, O_RDONLY);
	if (p->side_fd < 0)
		return p->side_fd;
	if (fstat(p->side_fd, &st) != 0)
		return -errno;
	p->side_len = (size_t)st.st_size;
	if (p->side_len < SIDECAR_HEADER_BYTES)
		return -ERR_CORRUPT;
	void *map = mmap(NULL, p->side_len, PROT_READ, MAP_SHARED, p->side_fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	p->side = map;
	int r = sidecar_decode(p->side, p->side_len, &p->h);
	if (r == 0 && hash256_compare(&p->h.id, &l->id) != 0)
		r = -ERR_CORRUPT;
	if (r == 0 && l->file == TIER_DATA &&
	    (!p->h.sealed || sidecar_count(p->side, p->h.size) != sidecar_blocks(p->h.size)))
		r = -ERR_CORRUPT;
	return r;
}

/* 0, -ERR_CORRUPT, -EIO and the like. */
static int sum_block(const struct probe *p, uint64_t block, uint8_t *buf)
{
	uint64_t from = block * SIDECAR_BLOCK_BYTES;
	size_t len = (size_t)MIN(p->h.size - from, SIDECAR_BLOCK_BYTES);
	/* A direct read wants whole sectors; at the end of the file it comes back short. */
	ssize_t n = pread(p->fd, buf, p->direct ? SIDECAR_BLOCK_BYTES : len, (off_t)from);
	if (n < 0)
		return -errno;
	if ((size_t)n < len)
		return -ENODATA;
	return crc32c(0, buf, len) == sidecar_crc(p->side, p->h.size, block) ? 0 : -ERR_CORRUPT;
}

static int sum_object(struct scrub_work *w, const struct probe *p, uint64_t *ret_block)
{
	for (uint64_t b = 0; b < sidecar_blocks(p->h.size) && !w->stop; b++) {
		*ret_block = b;
		if (!sidecar_has(p->side, b))
			continue;
		int r = sum_block(p, b, w->buf);
		if (r) /* a partial one may be written to meanwhile; a device may stumble once */
			r = sum_block(p, b, w->buf);
		if (r && sidecar_has(p->side, b))
			return r;
		pace(w, MIN(p->h.size - b * SIDECAR_BLOCK_BYTES, SIDECAR_BLOCK_BYTES));
	}
	return 0;
}

/* 0: good, or gone; else the -errno with which @ret_block failed. */
static int check_object(struct scrub_work *w, struct tier *t, const struct listed *l, uint64_t *ret_block)
{
	struct probe p = {.fd = -1, .side_fd = -1};
	*ret_block = 0;
	int r = open_data(t, l, &p);
	bool is_there = r == 0;
	if (r == 0)
		r = open_side(t, l, &p);
	if (r == 0)
		r = sum_object(w, &p, ret_block);
	probe_done(&p);
	if (r == -ENOENT && is_there &&
	    l->file == TIER_DATA) { /* a sidecar goes after its data, or was lost */
		struct stat st;
		char path[TIER_PATH_BYTES];
		tier_path(&l->id, TIER_DATA, path);
		r = fstatat(t->objects_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 ? -ERR_CORRUPT : 0;
	}
	if (r == -ENOENT || r == -EMFILE || r == -ENFILE || r == -ENOMEM)
		return 0; /* gone or sealed meanwhile, being made, or no means to look: the next pass does */
	return r;
}

/* ---- what is bad ---- */

static void condemn_live(struct cache_object *o, const struct tier *t, uint64_t block, int code)
{
	(void)pthread_mutex_lock(&o->lock);
	struct body *b = o->body && o->body->tier == t ? body_ref(o->body) : NULL;
	(void)pthread_mutex_unlock(&o->lock);
	if (b) {
		body_forget(b, block);
		object_bad_block(o, b, block, code);
	}
	(void)body_unref(b);
	(void)cache_put(o);
}

static void condemn(struct scrub_work *w, size_t tier, const struct listed *l, uint64_t block, int code)
{
	struct cache *c = w->cache;
	struct tier *t = &c->tiers[tier];
	struct cache_departure d = {.id = l->id, .tier = tier, .dataset = CACHE_NO_DATASET};
	(void)pthread_mutex_lock(&c->lock);
	struct cache_object *o = cache_find(c, &l->id);
	const struct index_entry *e = o ? NULL : index_find(&c->index, &l->id);
	if (o) {
		d = ledger_describe(cache_ref(o), tier, l->bytes);
	} else if (e) {
		(void)keeper_drop_indexed(c, index_key(&l->id), tier, CACHE_CAUSE_BAD, &d);
		(void)atomic_fetch_add(&c->counters.corrupt_blocks, 1);
	} else {
		tier_unlink(t, &l->id); /* not found yet by the scan */
	}
	(void)pthread_mutex_unlock(&c->lock);
	if (o)
		condemn_live(o, t, block, code);
	else
		log_write(LOG_WARN, "a cached object failed its check and was dropped", LOG_STR("key", d.key),
			  LOG_STR("tier", t->name), LOG_INT("block", block), LOG_STR("error", err_text(code)),
			  NULL);
	if (w->told) {
		w->told->bad++;
		if (w->told->found)
			w->told->found(w->told, &d, code);
	}
}

/* ---- folders ---- */

static void list_add(struct tier *t, struct listing *l, const struct hash256 *id, enum tier_file file)
{
	struct stat st;
	char path[TIER_PATH_BYTES];
	tier_path(id, file, path);
	if (fstatat(t->objects_fd, path, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return;
	if (l->count == l->room) {
		size_t room = MAX(2 * l->room, 256);
		struct listed *more = mem_resize(l->items, room, sizeof *more);
		if (!more)
			return; /* the next pass looks at it */
		l->items = more;
		l->room = room;
	}
	l->items[l->count++] =
		(struct listed){.id = *id, .file = file, .bytes = (uint64_t)st.st_blocks * 512};
	l->bytes += (uint64_t)st.st_blocks * 512;
}

static void list_folder(struct tier *t, unsigned number, struct listing *l)
{
	char folder[3];
	(void)snprintf(folder, sizeof folder, "%02x", number);
	int fd = openat(t->objects_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		(void)fd_close(fd);
		return;
	}
	for (struct dirent *de; (de = readdir(d));) {
		struct hash256 id;
		enum tier_file file;
		if (tier_parse(folder, de->d_name, &id, &file) == 0 && file != TIER_SIDE)
			list_add(t, l, &id, file);
	}
	(void)closedir(d);
}

static void check_listed(struct scrub_work *w, size_t tier, const struct listing *l)
{
	struct cache *c = w->cache;
	for (size_t i = 0; i < l->count && !w->stop; i++) {
		uint64_t block;
		int r = check_object(w, &c->tiers[tier], &l->items[i], &block);
		if (r && !w->stop)
			condemn(w, tier, &l->items[i], block, r);
		(void)atomic_fetch_add(&c->counters.scrubbed, 1);
		(void)atomic_fetch_add(&c->counters.scrubbed_bytes, l->items[i].bytes);
		if (!w->told)
			continue;
		w->told->objects++;
		w->told->bytes += l->items[i].bytes;
		w->stop |= w->told->progress && !w->told->progress(w->told);
	}
}

/* Folder @number of all tiers, within @within_ns; 0: as the rate says. */
static void check_folder(struct scrub_work *w, unsigned number, int64_t within_ns)
{
	for (size_t tier = 0; tier < w->cache->tier_count && !w->stop; tier++) {
		struct listing l = {.items = NULL};
		if (!atomic_load(&w->cache->tiers[tier].failed))
			list_folder(&w->cache->tiers[tier], number, &l);
		if (within_ns) {
			double seconds = (double)within_ns / (double)NS_PER_S / (double)w->cache->tier_count;
			w->rate = MAX((uint64_t)((double)l.bytes / seconds), SLOW_LEAST);
			w->since_ns = clock_mono_ns();
			w->paced = 0;
		}
		check_listed(w, tier, &l);
		(void)mem_free(l.items);
	}
}

int cache_scrub(struct cache *c, struct cache_scrub *s)
{
	struct scrub_work w = {.cache = c,
			       .told = s,
			       .buf = scratch_take(c),
			       .rate = s->bytes_per_second,
			       .since_ns = clock_mono_ns()};
	if (!w.buf)
		return -ENOMEM;
	for (size_t i = 0; i < c->tier_count; i++) {
		s->objects_total += atomic_load(&c->tiers[i].objects);
		s->bytes_total += atomic_load(&c->tiers[i].used);
	}
	for (unsigned i = 0; i < 256 && !w.stop; i++)
		check_folder(&w, i, 0);
	scratch_give(c, w.buf);
	return w.stop ? -ECANCELED : 0;
}

/* ---- the thread ---- */

static void *run(void *arg)
{
	struct cache *c = arg;
	int64_t slot_ns = MAX(c->scrub_ns / 256, NS_PER_MS);
	bool going = true;
	while (going) {
		int64_t now = clock_wall_ns(), left = slot_ns - now % slot_ns;
		int64_t next = clock_mono_ns() + left;
		struct scrub_work w = {.cache = c, .buf = scratch_take(c)};
		/* Four fifths of what is left: listing and a device that stumbles have to fit, too. */
		if (w.buf) {
			check_folder(&w, (unsigned)(now / slot_ns % 256), MAX(left / 5 * 4, 1));
			scratch_give(c, w.buf);
		}
		going = sleep_until(c, next);
	}
	return NULL;
}

int scrub_start(struct cache *c)
{
	if (!c->scrub_ns)
		return 0;
	int r = pthread_create(&c->scrubber, NULL, run, c);
	c->scrub_runs = r == 0;
	if (c->scrub_runs)
		(void)pthread_setname_np(c->scrubber, "cache-scrub"); /* a name is a courtesy */
	return -r;
}

void scrub_stop(struct cache *c)
{
	(void)pthread_mutex_lock(&c->scrub_lock);
	c->scrub_ends = true;
	(void)pthread_cond_broadcast(&c->scrub_wake);
	(void)pthread_mutex_unlock(&c->scrub_lock);
	if (c->scrub_runs)
		(void)pthread_join(c->scrubber, NULL);
	c->scrub_runs = false;
}
