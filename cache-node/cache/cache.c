/*
 * The cache as a whole: making and ending it, the table of live objects, counters.
 *
 * An object is live while somebody refers to it; then it is in the table. Else what the tiers hold of it is in the index,
 * or (before the scan came by) known by its file names alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "cache-node/cache/boot.h"
#include "cache-node/cache/ledger.h"
#include "cache-node/cache/restore.h"
#include "cache-node/cache/scrub.h"
#include "cache-node/fill/fetch.h"
#include "common/base/bytes.h"
#include "common/base/clock.h"
#include "common/base/fd.h"
#include "common/base/mem.h"

#define MEMORY_MIN      (UINT64_C(16) << 20)
#define BUCKETS_FIRST   256
#define TIMEOUT_DEFAULT (30 * NS_PER_S)
#define REPLIERS        2
#define USE_NOTED_NS    (600 * NS_PER_S)

int boot_id_read(uint8_t ret[SIDECAR_BOOT_BYTES])
{
	char *text = NULL, hex[2 * SIDECAR_BOOT_BYTES + 1] = "";
	size_t len = 0, digits = 0;
	int r = fd_read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, &text, &len);
	if (r)
		return r;
	for (size_t i = 0; i < len && digits < sizeof hex - 1; i++)
		if (text[i] != '-' && text[i] != '\n')
			hex[digits++] = text[i];
	(void)mem_free(text);
	return hex_decode(hex, ret, SIDECAR_BOOT_BYTES);
}

static void locks_init(struct cache *c)
{
	/* None of these can fail with these attributes. */
	pthread_condattr_t mono;
	(void)pthread_condattr_init(&mono);
	(void)pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
	(void)pthread_mutex_init(&c->lock, NULL);
	(void)pthread_cond_init(&c->evicted, NULL);
	(void)pthread_mutex_init(&c->fetch_lock, NULL);
	(void)pthread_cond_init(&c->fetch_idle, NULL);
	(void)pthread_mutex_init(&c->timer_lock, NULL);
	(void)pthread_cond_init(&c->timer_wake, &mono);
	(void)pthread_mutex_init(&c->scratch_lock, NULL);
	(void)pthread_mutex_init(&c->keeper_lock, NULL);
	(void)pthread_cond_init(&c->keeper_wake, &mono);
	(void)pthread_cond_init(&c->keeper_rests, NULL);
	(void)pthread_mutex_init(&c->scrub_lock, NULL);
	(void)pthread_cond_init(&c->scrub_wake, &mono);
	(void)pthread_condattr_destroy(&mono);
	list_init(&c->ops);
	list_init(&c->starving);
	list_init(&c->hungry);
	list_init(&c->unread);
	c->unread_max_ns = UNREAD_NS;
	list_init(&c->timed);
}

static void locks_done(struct cache *c)
{
	(void)pthread_mutex_destroy(&c->lock);
	(void)pthread_cond_destroy(&c->evicted);
	(void)pthread_mutex_destroy(&c->fetch_lock);
	(void)pthread_cond_destroy(&c->fetch_idle);
	(void)pthread_mutex_destroy(&c->timer_lock);
	(void)pthread_cond_destroy(&c->timer_wake);
	(void)pthread_mutex_destroy(&c->scratch_lock);
	(void)pthread_mutex_destroy(&c->keeper_lock);
	(void)pthread_cond_destroy(&c->keeper_wake);
	(void)pthread_cond_destroy(&c->keeper_rests);
	(void)pthread_mutex_destroy(&c->scrub_lock);
	(void)pthread_cond_destroy(&c->scrub_wake);
}

static int threads_start(struct cache *c)
{
	for (; c->writers_run < WRITERS; c->writers_run++) {
		int r = workers_init(&c->writers[c->writers_run], 1, "cache-writer");
		if (r)
			return r;
	}
	int r = workers_init(&c->repliers, REPLIERS, "cache-replier");
	c->repliers_run = r == 0;
	if (r)
		return r;
	r = timer_start(c);
	if (r == 0)
		r = keeper_start(c);
	return r ? r : scrub_start(c);
}

static int check_config(const struct cache_config *config, struct err *err)
{
	if (config->tier_count > CACHE_TIERS_MAX)
		return err_set(err, -EINVAL, "a cache has at most %d tiers, not %zu", CACHE_TIERS_MAX,
			       config->tier_count);
	if (config->memory_max < MEMORY_MIN)
		return err_set(err, -EINVAL, "a cache needs at least 16 MiB of memory, not %llu bytes",
			       (unsigned long long)config->memory_max);
	return 0;
}

/* What floors may claim together: else eviction could not make room. */
static uint64_t room_for_floors(const struct cache_config *config)
{
	uint64_t bytes = 0;
	for (size_t i = 0; i < config->tier_count; i++)
		bytes += watermark_low(config->tiers[i].bytes_max);
	return bytes;
}

int cache_new_in_boot(const struct cache_config *config, const uint8_t boot[SIDECAR_BOOT_BYTES],
		      struct cache **ret, struct err *err)
{
	int r = check_config(config, err);
	if (r)
		return r;
	struct cache *fresh = mem_calloc(1, sizeof *fresh);
	if (!fresh)
		return err_set(err, -ENOMEM, "out of memory");
	locks_init(fresh);
	CLEANUP(cache_free) struct cache *c = fresh;
	c->sealed = config->sealed;
	c->spoiled = config->spoiled;
	c->scrub_ns = config->scrub_ns;
	c->ctx = config->ctx;
	memcpy(c->boot, boot, sizeof c->boot);
	c->began_ns = clock_wall_ns();
	c->pool = pool_of(SEGMENT_BYTES, (size_t)(config->memory_max / SEGMENT_BYTES));
	c->scratch = pool_of(SCRATCH_BYTES, SIZE_MAX); /* one for each thread that reads */
	c->bucket_count = BUCKETS_FIRST;
	c->buckets = mem_calloc(c->bucket_count, sizeof(struct cache_object *));
	c->datasets = mem_calloc(CACHE_DATASETS_MAX, sizeof *c->datasets);
	c->share_of = mem_calloc(CACHE_DATASETS_MAX, sizeof *c->share_of);
	r = shares_init(&c->shares, room_for_floors(config));
	if (r || !c->buckets || !c->datasets || !c->share_of)
		return err_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < config->tier_count; i++) {
		c->tier_count = i + 1;
		r = tier_init(&c->tiers[i], &config->tiers[i], err);
		if (r)
			return r;
		c->tiers[i].shares = &c->shares;
		r = tier_remember(&c->tiers[i], config->tiers[i].dir_fd, boot);
		if (r)
			return err_set(err, r, "tier %s: cannot keep its index: %s", c->tiers[i].name,
				       err_text(r));
	}
	r = ledger_init(c);
	if (r == 0)
		r = threads_start(c);
	if (r)
		return err_set(err, r, "cannot start the cache: %s", err_text(r));
	*ret = TAKE(c);
	return 0;
}

int cache_new(const struct cache_config *config, struct cache **ret, struct err *err)
{
	uint8_t boot[SIDECAR_BOOT_BYTES];
	int r = boot_id_read(boot);
	if (r)
		return err_set(err, r, "cannot read the boot id of this machine: %s", err_text(r));
	return cache_new_in_boot(config, boot, ret, err);
}

int cache_live_objects(struct cache *c, struct cache_object ***ret, size_t *ret_count)
{
	struct cache_object **all = NULL;
	size_t n = 0;
	(void)pthread_mutex_lock(&c->lock);
	if (c->live) {
		all = mem_calloc(c->live, sizeof(struct cache_object *));
		for (size_t i = 0; all && i < c->bucket_count; i++)
			for (struct cache_object *o = c->buckets[i]; o; o = o->next)
				all[n++] = cache_ref(o);
	}
	bool failed = c->live && !all;
	(void)pthread_mutex_unlock(&c->lock);
	if (failed)
		return -ENOMEM;
	*ret = all;
	*ret_count = n;
	return 0;
}

/* Ends the fetches of @s (NULL: of all), without waiting. */
static int cancel_of_source(struct cache *c, const struct source *s)
{
	struct cache_object **all;
	size_t n;
	int r = cache_live_objects(c, &all, &n);
	if (r)
		return r;
	for (size_t i = 0; i < n; i++) {
		struct cache_object *o = all[i];
		struct list launch;
		list_init(&launch);
		(void)pthread_mutex_lock(&o->lock);
		if (o->source && (!s || o->source == s)) {
			o->source = NULL;
			fetch_cancel_all(o);
			fetch_collect(
				o, &launch); /* starts nothing without a source, but tells those who wait */
		}
		(void)pthread_mutex_unlock(&o->lock);
		CHECK(list_empty(&launch));
		(void)cache_put(o);
	}
	(void)mem_free(all);
	return 0;
}

void cache_source_gone(struct cache *c, struct source *s)
{
	while (cancel_of_source(c, s) ==
	       -ENOMEM) { /* must not fail: others give memory back sooner or later */
		struct timespec t = {.tv_nsec = 10 * NS_PER_MS};
		(void)nanosleep(&t, NULL);
	}
	(void)pthread_mutex_lock(&c->fetch_lock);
	while (fetch_uses_source(c, s))
		(void)pthread_cond_wait(&c->fetch_idle, &c->fetch_lock);
	(void)pthread_mutex_unlock(&c->fetch_lock);
}

static void fetches_end(struct cache *c)
{
	(void)pthread_mutex_lock(&c->fetch_lock);
	c->stopping = true;
	(void)pthread_mutex_unlock(&c->fetch_lock);
	cache_source_gone(c, NULL);
	fetch_feed_all(c);
}

struct cache *cache_free(struct cache *c)
{
	if (!c)
		return NULL;
	atomic_store(&c->quit, true);
	if (c->buckets)
		fetches_end(c);
	scrub_stop(c);
	keeper_stop(c);
	timer_stop(c);
	while (c->writers_run > 0)
		workers_done(&c->writers[--c->writers_run]);
	if (c->repliers_run)
		workers_done(&c->repliers);
	CHECK(c->live == 0); /* all objects must have been put */
	pool_done(&c->pool);
	pool_done(&c->scratch);
	for (size_t i = 0; i < c->tier_count; i++)
		tier_done(&c->tiers[i]);
	ledger_done(c);
	index_done(&c->index);
	(void)mem_free(c->buckets);
	(void)mem_free(c->datasets);
	(void)mem_free(c->share_of);
	shares_done(&c->shares);
	locks_done(c);
	return mem_free(c);
}

struct hash256 cache_object_id(const char *trust_domain, const char *key, size_t key_len,
			       const struct validator *validator, uint64_t size)
{
	uint8_t kind = validator->kind, le[8];
	put_le64(le, size);
	const struct hash_part parts[] = {{trust_domain, strlen(trust_domain)},
					  {key, key_len},
					  {&kind, 1},
					  {validator->bytes, validator->len},
					  {le, sizeof le}};
	return hash256_of_parts(parts, LENGTH(parts));
}

static struct cache_object **bucket_of(struct cache *c, const struct hash256 *id)
{
	return &c->buckets[index_key(id) & (c->bucket_count - 1)];
}

struct cache_object *cache_find(struct cache *c, const struct hash256 *id)
{
	struct cache_object *o = *bucket_of(c, id);
	while (o && hash256_compare(&o->id, id) != 0)
		o = o->next;
	return o;
}

struct cache_object *cache_find_key(struct cache *c, uint64_t key)
{
	struct cache_object *o = c->buckets[key & (c->bucket_count - 1)];
	while (o && index_key(&o->id) != key)
		o = o->next;
	return o;
}

static void table_grow(struct cache *c)
{
	size_t old_count = c->bucket_count;
	struct cache_object **old = c->buckets,
			    **fresh = mem_calloc(2 * old_count, sizeof(struct cache_object *));
	if (!fresh)
		return; /* longer chains will do */
	c->buckets = fresh;
	c->bucket_count = 2 * old_count;
	for (size_t i = 0; i < old_count; i++)
		for (struct cache_object *o = old[i], *next; o; o = next) {
			next = o->next;
			struct cache_object **b = bucket_of(c, &o->id);
			o->next = *b;
			*b = o;
		}
	(void)mem_free(old);
}

static struct cache_object *object_free(struct cache_object *o)
{
	(void)body_unref(o->body);
	(void)plan_free(o->plan);
	(void)mem_free(o->key);
	(void)pthread_mutex_destroy(&o->file_lock);
	(void)pthread_mutex_destroy(&o->lock);
	return mem_free(o);
}

static struct cache_object *object_new(struct cache *c, const struct cache_object_spec *spec)
{
	struct cache_object *o = mem_calloc(1, sizeof *o);
	if (!o)
		return NULL;
	o->key = mem_strdup(spec->key);
	if (!o->key)
		return mem_free(o);
	o->cache = c;
	o->id = spec->id;
	o->size = spec->size;
	o->source = spec->source;
	o->validator = spec->validator;
	memcpy(o->tiers, spec->tiers, sizeof o->tiers);
	o->dataset = spec->dataset;
	o->timeout_ns = spec->timeout_ns ? spec->timeout_ns : TIMEOUT_DEFAULT;
	atomic_init(&o->refs, 1);
	(void)pthread_mutex_init(&o->file_lock, NULL); /* neither can fail without attributes */
	(void)pthread_mutex_init(&o->lock, NULL);
	list_init(&o->segments);
	list_init(&o->waits);
	list_init(&o->loads);
	list_init(&o->ops);
	list_init(&o->hungry);
	return o;
}

/* The live object, with a reference; else NULL, and @fresh is in the table. */
static struct cache_object *find_or_add(struct cache *c, const struct hash256 *id, struct cache_object *fresh)
{
	(void)pthread_mutex_lock(&c->lock);
	while (c->evicting && hash256_compare(&c->evicting_id, id) == 0)
		(void)pthread_cond_wait(&c->evicted, &c->lock);
	struct cache_object *o = cache_find(c, id);
	if (o) {
		(void)atomic_fetch_add(&o->refs, 1);
	} else if (fresh) {
		if (c->live >= c->bucket_count)
			table_grow(c);
		struct cache_object **b = bucket_of(c, id);
		fresh->next = *b;
		*b = fresh;
		c->live++;
	}
	(void)pthread_mutex_unlock(&c->lock);
	return o;
}

int cache_get(struct cache *c, const struct cache_object_spec *spec, struct cache_object **ret)
{
	CHECK(spec->dataset < CACHE_DATASETS_MAX);
	CHECK(spec->size <= SIDECAR_SIZE_MAX);
	struct cache_object *o = find_or_add(c, &spec->id, NULL);
	if (!o) {
		struct cache_object *fresh = object_new(c, spec);
		if (!fresh)
			return -ENOMEM;
		o = find_or_add(c, &spec->id, fresh);
		if (o)
			(void)object_free(fresh);
		else
			o = fresh;
	}
	if (!atomic_load(&o->opened))
		object_lookup(o);
	atomic_store(&o->used_ns, clock_wall_ns());
	(void)pthread_mutex_lock(&o->lock);
	if (!o->source)
		o->source = spec->source; /* its former source went; this one is as good: the id says so */
	(void)pthread_mutex_unlock(&o->lock);
	*ret = o;
	return 0;
}

struct cache_object *cache_ref(struct cache_object *o)
{
	int before = atomic_fetch_add(&o->refs, 1);
	CHECK(before > 0);
	return o;
}

/* What a process that starts must know of it. That a sealed object was used is noted once in a while only. */
static void note_put(struct cache_object *o, const struct index_entry *e)
{
	struct cache *c = o->cache;
	struct tier *t = o->body->tier;
	if (e->sealed && e->used_ns / USE_NOTED_NS == o->noted_ns / USE_NOTED_NS &&
	    !atomic_load(&t->noting_all))
		return;
	struct journal_record r = restore_record(c, e);
	tier_note(t, &r);
	if (restore_is_due(t))
		keeper_poke(c);
}

/* The object's last reference went: what the tiers hold of it goes to the index. Under cache.lock. */
static void table_remove(struct cache *c, struct cache_object *o)
{
	struct cache_object **at = bucket_of(c, &o->id);
	while (*at != o)
		at = &(*at)->next;
	*at = o->next;
	c->live--;
	if (!o->body)
		return;
	struct index_entry e = {.id = o->id,
				.bytes = MAX(body_charged(o->body), 1),
				.used_ns = atomic_load(&o->used_ns),
				.share = o->body->share,
				.tier = (uint8_t)(o->body->tier - c->tiers),
				.sealed = atomic_load(&o->body->sealed),
				.mark = o->body->tier->mark}; /* noted below if that matters */
	ledger_put(o, o->body->tier, e.bytes);
	if (index_put(&c->index, &e) != 0) {
		ledger_remove(o);
		(void)body_unlink(o->body); /* what cannot be accounted for is not kept */
	} else {
		note_put(o, &e);
	}
}

struct cache_object *cache_put(struct cache_object *o)
{
	if (!o)
		return NULL;
	int refs = atomic_load(&o->refs);
	while (refs > 1)
		if (atomic_compare_exchange_weak(&o->refs, &refs, refs - 1))
			return NULL;
	struct cache *c = o->cache;
	(void)pthread_mutex_lock(&c->lock);
	bool last = atomic_fetch_sub(&o->refs, 1) == 1;
	if (last)
		table_remove(c, o);
	(void)pthread_mutex_unlock(&c->lock);
	if (last) {
		CHECK(list_empty(&o->waits) && list_empty(&o->ops));
		CHECK(list_empty(&o->segments));
		(void)object_free(o);
	}
	return NULL;
}

uint8_t *scratch_take(struct cache *c)
{
	(void)pthread_mutex_lock(&c->scratch_lock);
	bool first = c->scratch.used == 0 && c->scratch.warm == 0;
	uint8_t *buf = pool_take(&c->scratch, c->scratch.used_max);
	(void)pthread_mutex_unlock(&c->scratch_lock);
	if (first)
		timer_buffers_used(c);
	return buf;
}

void scratch_give(struct cache *c, uint8_t *buf)
{
	(void)pthread_mutex_lock(&c->scratch_lock);
	pool_give(&c->scratch, buf);
	(void)pthread_mutex_unlock(&c->scratch_lock);
}

void histogram_add(struct histogram *h, int64_t ns)
{
	int i = 0;
	while (i < CACHE_LATENCY_BUCKETS - 1 && ns > (INT64_C(1000) << i))
		i++;
	(void)atomic_fetch_add(&h->count[i], 1);
	(void)atomic_fetch_add(&h->sum_ns, (uint64_t)MAX(ns, 0));
	(void)atomic_fetch_add(&h->total, 1);
}

static void histogram_get(struct histogram *h, struct cache_histogram *ret)
{
	for (int i = 0; i < CACHE_LATENCY_BUCKETS; i++)
		ret->count[i] = atomic_load(&h->count[i]);
	ret->sum_ns = atomic_load(&h->sum_ns);
	ret->total = atomic_load(&h->total);
}

static void tier_stats_get(struct tier *t, struct cache_tier_stats *ret)
{
	ret->kind = t->kind;
	memcpy(ret->name, t->name, sizeof ret->name);
	ret->bytes_used = atomic_load(&t->used);
	ret->bytes_max = t->bytes_max;
	ret->objects = atomic_load(&t->objects);
	ret->claimed = atomic_load(&t->claimed);
	ret->sealed = atomic_load(&t->sealed);
	ret->evicted = atomic_load(&t->evicted);
	ret->evicted_bytes = atomic_load(&t->evicted_bytes);
	ret->failed = atomic_load(&t->failed);
	ret->bytes_high = watermark_high(t->bytes_max);
	ret->bytes_low = watermark_low(t->bytes_max);
}

static void policy_stats_add(struct cache *c, size_t tier, struct cache_tier_stats *ret)
{
	struct policy_stats s;
	(void)pthread_mutex_lock(&c->lock);
	ledger_stats(c, tier, &s);
	(void)pthread_mutex_unlock(&c->lock);
	ret->newcomers = s.small;
	ret->residents = s.main;
	ret->held = s.held;
	ret->ghosts = s.ghosts;
	ret->ghost_hits = s.ghost_hits;
}

void cache_stats_get(struct cache *c, struct cache_stats *ret)
{
	const struct counters *n = &c->counters;
	*ret = (struct cache_stats){.tier_count = c->tier_count,
				    .reads = atomic_load(&n->reads),
				    .read_bytes = atomic_load(&n->read_bytes),
				    .hit_bytes = atomic_load(&n->hit_bytes),
				    .miss_bytes = atomic_load(&n->miss_bytes),
				    .fetches = atomic_load(&n->fetches),
				    .fetched_bytes = atomic_load(&n->fetched_bytes),
				    .sealed = atomic_load(&n->sealed),
				    .corrupt_blocks = atomic_load(&n->corrupt_blocks),
				    .passed_by_bytes = atomic_load(&n->passed_by_bytes),
				    .scrubbed = atomic_load(&n->scrubbed),
				    .scrubbed_bytes = atomic_load(&n->scrubbed_bytes),
				    .reread_bytes = atomic_load(&n->reread_bytes)};
	for (size_t i = 0; i < c->tier_count; i++) {
		tier_stats_get(&c->tiers[i], &ret->tiers[i]);
		policy_stats_add(c, i, &ret->tiers[i]);
	}
	(void)pthread_mutex_lock(&c->fetch_lock);
	ret->buffers_used = c->pool.used * SEGMENT_BYTES;
	ret->buffers_max = c->pool.used_max * SEGMENT_BYTES;
	(void)pthread_mutex_unlock(&c->fetch_lock);
	histogram_get(&c->read_latency, &ret->read_latency);
	histogram_get(&c->fill_latency, &ret->fill_latency);
}
