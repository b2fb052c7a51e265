/*
 * Objects: from their look-up on the tiers to sealing and dropping.
 *
 * ABSENT (no body) -> PARTIAL (a body) -> COMPLETE (a sealed body); every state -> ABSENT by object_drop() or a bad sealed
 * block. file_lock is held across each of these steps, so that names on the tier change for one reason at a time.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cache-node/cache/ledger.h"
#include "cache-node/fill/fetch.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/mem.h"

static struct body_spec body_spec_of(const struct cache_object *o)
{
	struct body_spec s = {.id = o->id, .size = o->size, .validator = o->validator, .key = o->key};
	memcpy(s.boot, o->cache->boot, sizeof s.boot);
	s.share = cache_share_of(o->cache, o->dataset);
	s.share_name = share_get(&o->cache->shares, s.share).name;
	return s;
}

/* What the tiers hold of it, or nothing, is known now; @known: its entry of the index, NULL without one, which it left when the
 * tier's log had @mark. Under file_lock. */
static void lookup_ends(struct cache_object *o, struct body *b, const struct index_entry *known, uint8_t mark)
{
	struct cache *c = o->cache;
	size_t tier = b ? (size_t)(b->tier - c->tiers) : CACHE_TIERS_MAX;
	bool lost = known && known->tier != tier;
	bool moves = known && b && known->share != b->share;
	(void)pthread_mutex_lock(&c->lock);
	if (known) {
		o->listed = (uint8_t)(known->tier + 1);
		o->share = known->share;
		const struct tier *t = &c->tiers[known->tier];
		bool unnoted = lost || moves || atomic_load(&t->noting_all) || t->mark != mark;
		o->noted_ns = unnoted ? 0 : known->used_ns;
		atomic_store(&o->used_ns, known->used_ns);
	}
	if (lost || moves)
		ledger_remove(o);
	if (b) {
		o->share = b->share;
		ledger_restore(o, b->tier, body_charged(b)); /* stays where it is if it is known */
	}
	(void)pthread_mutex_lock(&o->lock);
	o->body = b;
	(void)pthread_mutex_unlock(&o->lock);
	(void)pthread_mutex_unlock(&c->lock);
	atomic_store(&o->opened, true);
	if (lost) {
		struct cache_departure d = ledger_describe(o, known->tier, known->bytes);
		d.cause = CACHE_CAUSE_BAD;
		ledger_left(c, &d);
	}
}

/* Whose dataset is not here any more, or never was known, is counted to who uses it now. */
static void adopt(struct cache *c, struct body *b, const struct body_spec *spec)
{
	if (b->share != spec->share && share_get(&c->shares, b->share).dataset == CACHE_NO_DATASET)
		body_adopt(b, spec->share, spec->share_name);
}

/* Looks for the object on the tiers, once, before anybody uses it. */
void object_lookup(struct cache_object *o)
{
	struct cache *c = o->cache;
	struct body_spec spec = body_spec_of(o);
	struct index_entry known;
	struct body *b = NULL;
	(void)pthread_mutex_lock(&o->file_lock);
	if (atomic_load(&o->opened)) { /* somebody else did it while we waited for the lock */
		(void)pthread_mutex_unlock(&o->file_lock);
		return;
	}
	(void)pthread_mutex_lock(&c->lock);
	bool indexed = index_take(&c->index, &o->id, &known);
	uint8_t mark = indexed ? c->tiers[known.tier].mark : 0;
	(void)pthread_mutex_unlock(&c->lock);
	for (size_t i = 0; i < c->tier_count && !b; i++) {
		bool here = indexed && known.tier == i;
		struct body_spec s = spec;
		if (here)
			s.share = known.share;
		(void)!body_open(&c->tiers[i], &s, here ? known.bytes : 0, here && known.sealed, &b);
	}
	if (b)
		adopt(c, b, &spec);
	bool seal = b && o->size && body_full(b) && !atomic_load(&b->sealed) && body_seal(b) == 0;
	lookup_ends(o, b, indexed ? &known : NULL, mark);
	(void)pthread_mutex_unlock(&o->file_lock);
	if (seal && c->sealed)
		c->sealed(c->ctx, &o->id);
}

static uint64_t bytes_needed(const struct cache_object *o)
{
	return tier_round(o->size) + tier_round(sidecar_bytes(o->size));
}

static bool tier_fits(const struct tier *t, const struct cache_object *o)
{
	return !atomic_load(&t->failed) && bytes_needed(o) <= t->bytes_max;
}

/* A new body in the first tier by preference that takes it. NULL, with *ret: -ENOSPC, -EDQUOT. */
static struct body *make_body(struct cache_object *o, int *ret)
{
	struct cache *c = o->cache;
	struct body_spec spec = body_spec_of(o);
	bool tried[CACHE_TIERS_MAX] = {false};
	struct body *b = NULL;
	*ret = -EDQUOT;
	if (!share_fits(&c->shares, spec.share, bytes_needed(o)))
		return NULL;
	for (int pref = 0; pref <= CACHE_TIERS_MAX; pref++) { /* the last round takes any */
		uint8_t kind = pref < CACHE_TIERS_MAX ? o->tiers[pref] : 0;
		if (pref < CACHE_TIERS_MAX && !kind)
			continue;
		for (size_t i = 0; i < c->tier_count; i++) {
			struct tier *t = &c->tiers[i];
			if (tried[i] || (kind && t->kind != kind) || !tier_fits(t, o))
				continue;
			tried[i] = true;
			int r = body_create(t, &spec, &b);
			if (r == 0)
				return b;
			if (r == -EDQUOT) /* on no other tier either */
				return NULL;
			if (r == -ENOSPC)
				atomic_store(&c->pressure[i], true);
		}
	}
	*ret = -ENOSPC;
	return NULL;
}

/* Tells the policy how large its body is by now. Under file_lock. */
static void account(struct cache_object *o, struct body *b)
{
	(void)pthread_mutex_lock(&o->cache->lock);
	o->share = b->share;
	ledger_put(o, b->tier, body_charged(b));
	(void)pthread_mutex_unlock(&o->cache->lock);
}

int object_body_to_fill(struct cache_object *o, struct body **ret)
{
	struct body *b = NULL;
	int r = -ENOSPC;
	(void)pthread_mutex_lock(&o->file_lock);
	if (!o->body) { /* only changed under file_lock, too */
		b = make_body(o, &r);
		if (b) {
			(void)pthread_mutex_lock(&o->lock);
			o->body = body_ref(b);
			(void)pthread_mutex_unlock(&o->lock);
			account(o, b);
		}
	} else if (!atomic_load(&o->body->sealed) && !atomic_load(&o->body->tier->failed)) {
		b = body_ref(o->body);
		account(o, b);
	}
	(void)pthread_mutex_unlock(&o->file_lock);
	*ret = b;
	return b ? 0 : r;
}

bool object_is_sealed(const struct cache_object *o)
{
	return o->body && atomic_load(&o->body->sealed);
}

struct plan *object_plan(struct cache_object *o)
{
	if (o->plan || o->size == 0 || plan_new(o->size, SIDECAR_BLOCK_BYTES, &o->plan) != 0)
		return o->plan;
	for (uint64_t b = 0; o->body && b < o->body->blocks; b++)
		if (body_has(o->body, b))
			plan_here(o->plan, b, 1);
	return o->plan;
}

void object_seal(struct cache_object *o, struct body *b)
{
	struct cache *c = o->cache;
	int r = -EAGAIN;
	(void)pthread_mutex_lock(&o->file_lock);
	if (o->body == b && !atomic_load(&b->sealed))
		r = body_seal(b);
	if (r == 0)
		account(o, b);
	(void)pthread_mutex_unlock(&o->file_lock);
	if (r == -EAGAIN) /* another writer was first, or the body is no longer this object's */
		return;
	struct err err = {0};
	if (r)
		(void)err_set(&err, r, "%s: cannot be sealed: %s", o->key, err_text(r));
	(void)pthread_mutex_lock(&o->lock);
	bool wanted = !list_empty(&o->loads);
	loads_end(o, r, &err);
	if (r == 0 && list_empty(&o->ops) && list_empty(&o->waits))
		o->plan = plan_free(o->plan);
	(void)pthread_mutex_unlock(&o->lock);
	if (r)
		return;
	if (wanted) /* who loads it says that it will be read */
		ledger_touch(o);
	(void)atomic_fetch_add(&c->counters.sealed, 1);
	if (c->sealed)
		c->sealed(c->ctx, &o->id);
}

/* The blocks of the body are gone; what stands in segments stays. Under object.lock. */
static void plan_without_body(struct cache_object *o)
{
	if (!o->plan)
		return;
	plan_lost(o->plan, 0, sidecar_blocks(o->size));
	list_for_each (l, &o->segments) {
		struct segment *s = LIST_ENTRY(l, struct segment, link);
		s->kept = false;
		if (s->length && s->filled == s->length)
			plan_here(o->plan, s->offset / SIDECAR_BLOCK_BYTES,
				  (s->length + SIDECAR_BLOCK_BYTES - 1) / SIDECAR_BLOCK_BYTES);
	}
}

/* Takes the body off and unlinks it. Under file_lock; object.lock is held on entry and let go. */
static uint64_t drop_body_unlock(struct cache_object *o, enum cache_cause cause)
{
	struct cache *c = o->cache;
	struct body *b = o->body;
	o->body = NULL;
	o->generation++;
	plan_without_body(o);
	waits_again(o);
	segments_sweep(o);
	(void)pthread_mutex_unlock(&o->lock);
	if (!b)
		return 0;
	(void)pthread_mutex_lock(&c->lock);
	ledger_remove(o);
	(void)pthread_mutex_unlock(&c->lock);
	uint64_t freed = body_unlink(b);
	struct cache_departure d = ledger_describe(o, (size_t)(b->tier - c->tiers), freed);
	d.cause = cause;
	ledger_left(c, &d);
	(void)body_unref(b);
	return freed;
}

void object_bad_block(struct cache_object *o, struct body *b, uint64_t block, int code)
{
	struct cache *c = o->cache;
	struct list launch;
	bool spoiled = false;
	list_init(&launch);
	(void)atomic_fetch_add(&c->counters.corrupt_blocks, 1);
	log_write(LOG_WARN, "a cached block could not be read back and is fetched anew",
		  LOG_STR("key", o->key), LOG_STR("tier", b->tier->name), LOG_INT("block", block),
		  LOG_STR("error", err_text(code)), NULL);
	(void)pthread_mutex_lock(&o->file_lock);
	(void)pthread_mutex_lock(&o->lock);
	if (o->body != b) {
		(void)pthread_mutex_unlock(&o->lock);
	} else if (atomic_load(&b->sealed)) {
		spoiled = true;
		(void)drop_body_unlock(o, CACHE_CAUSE_BAD);
	} else {
		if (o->plan && !body_has(b, block) && !plan_in_flight(o->plan, block))
			plan_lost(o->plan, block, 1);
		(void)pthread_mutex_unlock(&o->lock);
	}
	(void)pthread_mutex_unlock(&o->file_lock);
	(void)pthread_mutex_lock(&o->lock);
	fetch_collect(o, &launch); /* a load wants the block back */
	(void)pthread_mutex_unlock(&o->lock);
	fetch_launch(&launch);
	if (spoiled && c->spoiled)
		c->spoiled(c->ctx, &o->id);
}

int object_drop(struct cache_object *o, bool force, enum cache_cause cause, uint64_t *ret_freed)
{
	(void)pthread_mutex_lock(&o->file_lock);
	(void)pthread_mutex_lock(&o->lock);
	bool busy = atomic_load(&o->openers) || atomic_load(&o->pins) || !list_empty(&o->ops) ||
		    !list_empty(&o->waits) || !list_empty(&o->loads);
	if (!force && busy) {
		(void)pthread_mutex_unlock(&o->lock);
		(void)pthread_mutex_unlock(&o->file_lock);
		return -EBUSY;
	}
	*ret_freed = drop_body_unlock(o, cause);
	(void)pthread_mutex_unlock(&o->file_lock);
	return 0;
}

int cache_evict(struct cache_object *o, bool force, uint64_t *ret_freed)
{
	struct err err;
	uint64_t freed = 0;
	if (!force && atomic_load(&o->openers))
		return -EBUSY;
	(void)err_set(&err, -ECANCELED, "%s: it was evicted", o->key);
	(void)pthread_mutex_lock(&o->lock);
	loads_end(o, -ECANCELED, &err);
	if (o->plan) {
		plan_calm(o->plan);
		fetch_cancel_unwanted(o);
	}
	(void)pthread_mutex_unlock(&o->lock);
	int r = object_drop(o, true, CACHE_CAUSE_ASKED, &freed);
	if (r == 0)
		*ret_freed = freed;
	return r;
}

enum cache_state cache_object_state(struct cache_object *o)
{
	(void)pthread_mutex_lock(&o->lock);
	enum cache_state state = CACHE_ABSENT;
	if (o->size == 0 || object_is_sealed(o))
		state = CACHE_COMPLETE;
	else if (!list_empty(&o->segments) || (o->body && atomic_load(&o->body->have)))
		state = CACHE_PARTIAL;
	(void)pthread_mutex_unlock(&o->lock);
	return state;
}

const struct hash256 *cache_object_hash(const struct cache_object *o)
{
	return &o->id;
}

uint64_t object_charged(struct cache_object *o)
{
	(void)pthread_mutex_lock(&o->lock);
	uint64_t bytes = o->body ? body_charged(o->body) : 0;
	(void)pthread_mutex_unlock(&o->lock);
	return bytes;
}

uint64_t cache_object_cached_bytes(struct cache_object *o)
{
	(void)pthread_mutex_lock(&o->lock);
	uint64_t bytes = o->body ? MIN(atomic_load(&o->body->have) * SIDECAR_BLOCK_BYTES, o->size) : 0;
	/* The last block may be short. */
	if (o->body && o->size % SIDECAR_BLOCK_BYTES && bytes < o->size &&
	    body_has(o->body, o->body->blocks - 1))
		bytes -= SIDECAR_BLOCK_BYTES - o->size % SIDECAR_BLOCK_BYTES;
	(void)pthread_mutex_unlock(&o->lock);
	return bytes;
}

const char *cache_object_tier(struct cache_object *o)
{
	(void)pthread_mutex_lock(&o->lock);
	const char *name = o->body ? o->body->tier->name : "";
	(void)pthread_mutex_unlock(&o->lock);
	return name;
}

/* Verifies a body sealed in another boot; a bad one is dropped. */
static int verify(struct cache_object *o, struct body *b)
{
	uint8_t *buf = scratch_take(o->cache);
	if (!buf)
		return -ENOMEM;
	int r = body_verify(b, buf);
	scratch_give(o->cache, buf);
	if (r == -ERR_CORRUPT) {
		object_bad_block(o, b, 0, r);
		return -EAGAIN;
	}
	return r;
}

static void verify_run(struct job *job)
{
	struct cache_object *o = LIST_ENTRY(job, struct cache_object, verify);
	struct cache *c = o->cache;
	(void)pthread_mutex_lock(&o->lock);
	struct body *b = o->body ? body_ref(o->body) : NULL;
	(void)pthread_mutex_unlock(&o->lock);
	int r = b && atomic_load(&b->unverified) ? verify(o, b) : 0;
	(void)pthread_mutex_lock(&o->lock);
	o->verifying = false;
	(void)pthread_mutex_unlock(&o->lock);
	if (b && r == 0 && c->sealed)
		c->sealed(c->ctx, &o->id);
	(void)body_unref(b);
	(void)cache_put(o);
}

/* -EAGAIN: large objects are verified behind the caller's back, who reads by blocks meanwhile. */
static int verify_later(struct cache_object *o)
{
	(void)pthread_mutex_lock(&o->lock);
	bool start = !o->verifying;
	o->verifying = true;
	(void)pthread_mutex_unlock(&o->lock);
	if (start) {
		(void)cache_ref(o);
		o->verify.run = verify_run;
		workers_add(cache_writer(o), &o->verify);
	}
	return -EAGAIN;
}

/* An empty object needs a real file, too: the mounter takes only files of a tier. */
static void make_empty(struct cache_object *o)
{
	struct body *b;
	if (object_body_to_fill(o, &b) == 0)
		object_seal(o, b);
	(void)body_unref(b);
}

int cache_object_file(struct cache_object *o)
{
	if (o->size == 0)
		make_empty(o);
	(void)pthread_mutex_lock(&o->lock);
	CLEANUP(body_unref) struct body *b = object_is_sealed(o) ? body_ref(o->body) : NULL;
	(void)pthread_mutex_unlock(&o->lock);
	if (!b)
		return -EAGAIN;
	atomic_store(&o->used_ns, clock_wall_ns());
	if (atomic_load(&b->unverified)) {
		int r = o->size > VERIFY_INLINE ? verify_later(o) : verify(o, b);
		if (r)
			return r;
	}
	(void)pthread_mutex_lock(&o->file_lock); /* sealing puts the mark before the name */
	int fd = body_file(b);
	(void)pthread_mutex_unlock(&o->file_lock);
	return fd == -ENOENT ? -EAGAIN : fd;
}

void cache_open(struct cache_object *o)
{
	(void)atomic_fetch_add(&o->openers, 1);
	atomic_store(&o->used_ns, clock_wall_ns());
	ledger_touch(o);
}

void cache_close(struct cache_object *o)
{
	int before = atomic_fetch_sub(&o->openers, 1);
	CHECK(before > 0);
	atomic_store(&o->used_ns, clock_wall_ns());
	if (before > 1)
		return;
	(void)pthread_mutex_lock(&o->lock);
	if (o->plan)
		plan_calm(o->plan); /* spans in flight end by themselves; no new ones are read ahead */
	segments_sweep(o);
	(void)pthread_mutex_unlock(&o->lock);
	ledger_release(o);
}

void cache_pin(struct cache_object *o, bool pinned)
{
	int before = atomic_fetch_add(&o->pins, pinned ? 1 : -1);
	CHECK(before >= 0 && (pinned || before > 0));
	if (!pinned)
		ledger_release(o);
}
