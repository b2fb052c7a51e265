#include "cache-node/fill/fetch.h"

#include <errno.h>

#include "cache-node/cache/ledger.h"
#include "common/base/clock.h"
#include "common/base/mem.h"

#define FEED_MAX \
	4 /* hungry objects that get new ops when one ends: each of these feeds others when it ends */

/* One read of the source. Life: made under object.lock, launched, ended by its sink's done(). The launcher and done() may
 * run at once; the second of them frees it. */
struct op {
	struct list link;            /* object.ops */
	struct list all;             /* cache.ops; fetch_lock */
	struct list starving;        /* cache.starving; fetch_lock */
	struct list launch;          /* on its way to the source */
	struct cache_object *object; /* counted */
	struct source *source;
	struct source_op *handle;         /* fetch_lock; NULL until the source named it */
	bool launching, ended, cancelled; /* fetch_lock */
	struct plan_span span;
	uint64_t at, end;             /* object.lock: bytes before @at were delivered */
	uint64_t in_flight;           /* fetch_lock: its part of cache.in_flight */
	struct segment *segment;      /* object.lock: being filled */
	int64_t started_ns, first_ns; /* first_ns: after started_ns; 0: no byte came yet */
};

static uint64_t span_first(const struct plan_span *s)
{
	return s->first * SIDECAR_BLOCK_BYTES;
}

bool fetch_wake_starving(struct cache *c)
{
	(void)pthread_mutex_lock(&c->fetch_lock);
	bool some = !list_empty(&c->starving);
	list_for_each (l, &c->starving) {
		struct op *op = LIST_ENTRY(l, struct op, starving);
		if (op->handle && !op->ended)
			source_op_resume(op->handle);
	}
	(void)pthread_mutex_unlock(&c->fetch_lock);
	return some;
}

static void segment_write(struct job *job)
{
	struct segment *s = LIST_ENTRY(job, struct segment, job);
	struct cache_object *o = s->object;
	struct cache *c = o->cache;
	uint64_t length = s->length;
	(void)pthread_mutex_lock(&o->lock);
	bool stale = s->generation != o->generation;
	(void)pthread_mutex_unlock(&o->lock);
	struct body *b = NULL;
	int r = stale ? -ENOENT : object_body_to_fill(o, &b);
	if (b)
		r = body_write(b, s->offset / SIDECAR_BLOCK_BYTES, s->data, s->length);

	(void)pthread_mutex_lock(&o->lock);
	bool kept = r == 0 && o->body == b;
	s->kept = kept;
	o->passing = r && r != -ENOENT; /* ENOENT: evicted while it was filled */
	if (o->passing) {
		struct err err;
		(void)err_set(&err, r, "%s: cannot be kept: %s", o->key,
			      r == -EDQUOT ? "the quota of its dataset or namespace is used up"
					   : err_text(r));
		loads_end(o, r, &err);
		(void)atomic_fetch_add(&c->counters.passed_by_bytes, length);
	}
	segment_unref(s);
	(void)pthread_mutex_unlock(&o->lock);

	if (b && r == -ENOSPC)
		atomic_store(&c->pressure[b->tier - c->tiers], true);
	if (r == -ENOSPC || r == -EDQUOT ||
	    (b && (tier_is_high(b->tier) || share_over(&c->shares, b->share) != SHARE_WITHIN)))
		keeper_poke(c);
	if (b && r == 0 && body_full(b))
		object_seal(o, b);
	(void)body_unref(b);
	(void)cache_put(o);
}

/* Hands the reference of the op to the writer: its bytes have come. */
static void segment_to_writer(struct op *op, struct segment *s)
{
	struct cache_object *o = s->object;
	(void)pthread_mutex_lock(&o->cache->fetch_lock);
	uint64_t came = MIN(op->in_flight, s->length);
	op->in_flight -= came;
	o->cache->in_flight -= came;
	(void)pthread_mutex_unlock(&o->cache->fetch_lock);
	plan_here(o->plan, s->offset / SIDECAR_BLOCK_BYTES, segment_blocks(s));
	segment_arrived(s);
	(void)cache_ref(o);
	s->job.run = segment_write;
	workers_add(cache_writer(o), &s->job);
}

/* How many buffers may be out for @op to get one more: reading ahead leaves a quarter to those who wait. What is passed
 * by stays in memory until its readers were answered, so they may go beyond the limit, up to twice as far. */
static size_t buffers_for(const struct op *op)
{
	const struct cache_object *o = op->object;
	size_t max = o->cache->pool.used_max;
	if (!waits_lack(o, op->at, op->end))
		return max - max / 4;
	return o->passing ? 2 * max : max;
}

static struct segment *op_segment(struct op *op)
{
	struct cache *c = op->object->cache;
	uint64_t end = MIN((op->at / SEGMENT_BYTES + 1) * SEGMENT_BYTES, op->end);
	struct segment *s =
		segment_new(op->object, op->at, (uint32_t)(end - op->at), buffers_for(op), &op->starving);
	if (!s) {
		timer_starving(c);
		if (waits_lack(op->object, op->at, op->end))
			segments_reclaim(c);
	}
	return s;
}

static uint8_t *op_space(void *ctx, size_t *ret_len)
{
	struct op *op = ctx;
	struct cache_object *o = op->object;
	uint8_t *at = NULL;
	(void)pthread_mutex_lock(&o->lock);
	if (!op->segment && op->at < op->end)
		op->segment = op_segment(op);
	if (op->segment) {
		at = op->segment->data + op->segment->filled;
		*ret_len = op->segment->length - op->segment->filled;
	}
	(void)pthread_mutex_unlock(&o->lock);
	return at;
}

static void op_filled(void *ctx, size_t len)
{
	struct op *op = ctx;
	struct cache_object *o = op->object;
	if (!op->first_ns)
		op->first_ns = clock_mono_ns() - op->started_ns;
	(void)pthread_mutex_lock(&o->lock);
	struct segment *s = op->segment;
	CHECK(s);
	CHECK(len <= s->length - s->filled);
	s->filled += (uint32_t)len;
	op->at += len;
	waits_arrived(o, s);
	if (s->filled == s->length) {
		op->segment = NULL;
		segment_to_writer(op, s);
	}
	(void)pthread_mutex_unlock(&o->lock);
	(void)atomic_fetch_add(&o->cache->counters.fetched_bytes, len);
	(void)atomic_fetch_add(&o->cache->datasets[o->dataset].source_bytes, len);
}

/* The transfer ended within a segment: what is whole of it is kept. */
static void op_cut_segment(struct op *op)
{
	struct segment *s = op->segment;
	op->segment = NULL;
	if (!s)
		return;
	s->length = s->filled / SIDECAR_BLOCK_BYTES * SIDECAR_BLOCK_BYTES;
	s->filled = s->length;
	op->at = s->offset + s->length;
	if (s->length)
		segment_to_writer(op, s);
	else
		segment_unref(s);
}

/* Codes a reader may see (cache.h). */
static int code_for_reader(int status)
{
	switch (status) {
	case -EACCES:
	case -ESTALE:
	case -ECANCELED:
		return status;
	case -ENOENT:
		return -ESTALE;
	default:
		return -EIO;
	}
}

static void op_fail(struct op *op, int status, const struct err *err)
{
	struct cache_object *o = op->object;
	struct err words;
	int code = code_for_reader(status);
	(void)err_set(&words, code, "%s", err_words(err, status));
	if (!err || !err->text[0])
		(void)err_wrap(&words, code, "%s", o->key);
	plan_calm(o->plan);
	waits_fail(o, op->at, op->end, code, &words);
	loads_end(o, code, &words);
}

/* The last look at an op: nothing of the cache may be touched after it left cache.ops. */
static void op_leave(struct cache *c, struct op *op)
{
	(void)pthread_mutex_lock(&c->fetch_lock);
	list_remove(&op->all);
	op->ended = true;
	bool free_it = !op->launching;
	(void)pthread_cond_broadcast(&c->fetch_idle);
	(void)pthread_mutex_unlock(&c->fetch_lock);
	if (free_it)
		(void)mem_free(op);
}

static void op_done(void *ctx, int status, const struct err *err)
{
	struct op *op = ctx;
	struct cache_object *o = op->object;
	struct cache *c = o->cache;
	struct list launch;
	list_init(&launch);
	int64_t took_ns = clock_mono_ns() - op->started_ns;

	(void)pthread_mutex_lock(&c->fetch_lock);
	list_remove(&op->starving);
	op->handle = NULL; /* from here on nobody cancels or resumes it */
	c->in_flight -= op->in_flight;
	op->in_flight = 0;
	bool cancelled = op->cancelled;
	(void)pthread_mutex_unlock(&c->fetch_lock);

	(void)pthread_mutex_lock(&o->lock);
	op_cut_segment(op);
	list_remove(&op->link);
	plan_ended(o->plan, &op->span);
	if (status == 0 && op->at < op->end)
		status = -ERR_CORRUPT;
	if (status && !(cancelled && status == -ECANCELED))
		op_fail(op, status, err);
	if (status)
		waits_again(o);
	fetch_collect(o, &launch);
	(void)pthread_mutex_unlock(&o->lock);

	histogram_add(&c->fill_latency, took_ns);
	if (status == 0)
		source_took(op->source, op->end - span_first(&op->span), op->first_ns, took_ns);
	fetch_launch(&launch);
	fetch_feed(c);
	(void)cache_put(o);
	op_leave(c, op);
}

static const struct source_sink sink = {.space = op_space, .filled = op_filled, .done = op_done};

static struct op *op_new(struct cache_object *o, const struct plan_span *span)
{
	struct cache *c = o->cache;
	struct op *op = mem_calloc(1, sizeof *op);
	if (!op)
		return NULL;
	op->object = cache_ref(o);
	op->source = o->source;
	op->span = *span;
	op->at = span_first(span);
	op->end = MIN(op->at + span->count * SIDECAR_BLOCK_BYTES, o->size);
	op->launching = true;
	list_init(&op->starving);
	list_push_back(&o->ops, &op->link);
	(void)pthread_mutex_lock(&c->fetch_lock);
	list_push_back(&c->ops, &op->all);
	op->in_flight = op->end - op->at;
	c->in_flight += op->in_flight;
	(void)pthread_mutex_unlock(&c->fetch_lock);
	(void)atomic_fetch_add(&c->counters.fetches, 1);
	return op;
}

/* Bytes that may be read ahead now: half of the buffers, less what is on its way or stays for readers. Under fetch_lock. */
static uint64_t room_of(const struct cache *c)
{
	uint64_t half = c->pool.used_max * SEGMENT_BYTES / 2;
	uint64_t taken = c->in_flight + c->unread_bytes;
	return taken < half ? half - taken : 0;
}

static uint64_t room_ahead(struct cache_object *o)
{
	struct cache *c = o->cache;
	(void)pthread_mutex_lock(&c->fetch_lock);
	uint64_t room = room_of(c);
	(void)pthread_mutex_unlock(&c->fetch_lock);
	return o->passing ? 0 : room;
}

/* As many bytes as a request is worth, but at most half of the room to read ahead, which is half of the buffers: one fetch is
 * under way while another ends. */
static uint64_t span_bytes(const struct cache_object *o)
{
	uint64_t part = o->cache->pool.used_max * SEGMENT_BYTES / 4 / PLAN_WINDOW_MIN * PLAN_WINDOW_MIN;
	return MAX(MIN(MIN(source_request_bytes(o->source), PLAN_SPAN_MAX), part), PLAN_WINDOW_MIN);
}

static bool collect_one(struct cache_object *o, const struct plan_span *span, struct list *launch)
{
	struct op *op = op_new(o, span);
	if (op) {
		list_push_back(launch, &op->launch);
		return true;
	}
	struct err err;
	(void)err_set(&err, -EIO, "%s: out of memory", o->key);
	plan_ended(o->plan, span);
	plan_calm(o->plan);
	waits_fail(o, 0, o->size, -EIO, &err);
	loads_end(o, -ENOMEM, &err);
	return false;
}

/* @seen bytes of room are too few for it: whoever gives some back feeds it. False: somebody did so meanwhile, and may have
 * fed the others before this one was among them. */
static bool get_hungry(struct cache_object *o, uint64_t seen)
{
	struct cache *c = o->cache;
	(void)pthread_mutex_lock(&c->fetch_lock);
	bool still = room_of(c) <= seen;
	if (still && list_empty(&o->hungry)) {
		list_push_back(&c->hungry, &o->hungry);
		(void)cache_ref(o);
	}
	(void)pthread_mutex_unlock(&c->fetch_lock);
	return still;
}

static bool is_over(struct cache_object *o)
{
	(void)pthread_mutex_lock(&o->cache->fetch_lock);
	bool stopping = o->cache->stopping;
	(void)pthread_mutex_unlock(&o->cache->fetch_lock);
	if (!stopping && o->source)
		return false;
	if (list_empty(&o->waits) && list_empty(&o->loads))
		return true;
	struct err err;
	int code = stopping ? -ECANCELED : -EIO;
	(void)err_set(&err, code, "%s: %s", o->key, stopping ? "the cache ends" : "its source was removed");
	waits_fail(o, 0, o->size, code, &err);
	loads_end(o, code, &err);
	return true;
}

static void collect_ahead(struct cache_object *o, struct list *launch)
{
	struct plan_span span;
	bool more = false;
	for (;;) {
		uint64_t room = room_ahead(o);
		if (plan_next(o->plan, room, &span, &more)) {
			if (!collect_one(o, &span, launch))
				return; /* no load is left */
		} else if (!more || get_hungry(o, room)) {
			return;
		}
	}
}

void fetch_collect(struct cache_object *o, struct list *launch)
{
	struct plan_span span;
	if (!o->plan || is_over(o))
		return;
	plan_span_bytes(o->plan, span_bytes(o));
	list_for_each (l, &o->waits) {
		const struct wait *w = LIST_ENTRY(l, struct wait, link);
		uint64_t end = w->read->offset + w->read->length;
		while (plan_next_read(o->plan, w->cursor, end - w->cursor, room_ahead(o), &span))
			if (!collect_one(o, &span, launch))
				return; /* no wait is left */
	}
	if (!o->passing)
		collect_ahead(o, launch);
}

static void launch_one(struct op *op)
{
	struct cache_object *o = op->object;
	struct cache *c = o->cache;
	struct source_op *handle = NULL;
	struct source_read_request request = {.key = o->key,
					      .offset = op->at,
					      .length = op->end - op->at,
					      .object_size = o->size,
					      .validator = o->validator,
					      .sink = &sink,
					      .ctx = op};
	op->started_ns = clock_mono_ns();
	(void)pthread_mutex_lock(&c->fetch_lock);
	int r = op->cancelled ? -ECANCELED : 0;
	(void)pthread_mutex_unlock(&c->fetch_lock);
	if (r == 0)
		r = source_read(op->source, &request, &handle);
	(void)pthread_mutex_lock(&c->fetch_lock);
	op->launching = false;
	bool ended = op->ended;
	if (r == 0 && !ended) {
		op->handle = handle;
		if (op->cancelled)
			source_op_cancel(handle);
		else if (!list_empty(&op->starving))
			source_op_resume(handle);
	}
	(void)pthread_mutex_unlock(&c->fetch_lock);
	if (ended)
		(void)mem_free(op);
	else if (r)
		op_done(op, r, NULL);
}

void fetch_launch(struct list *launch)
{
	list_for_each_safe (l, next, launch) {
		struct op *op = LIST_ENTRY(l, struct op, launch);
		list_remove(l);
		launch_one(op);
	}
}

static void op_cancel(struct op *op)
{
	struct cache *c = op->object->cache;
	(void)pthread_mutex_lock(&c->fetch_lock);
	if (!op->cancelled && op->handle)
		source_op_cancel(op->handle);
	op->cancelled = true;
	(void)pthread_mutex_unlock(&c->fetch_lock);
}

void fetch_cancel_unwanted(struct cache_object *o)
{
	list_for_each (l, &o->ops) {
		struct op *op = LIST_ENTRY(l, struct op, link);
		uint64_t first = op->at / SIDECAR_BLOCK_BYTES;
		uint64_t end = op->span.first + op->span.count;
		if (!waits_lack(o, op->at, op->end) && !plan_wants(o->plan, first, end - first))
			op_cancel(op);
	}
}

void fetch_cancel_all(struct cache_object *o)
{
	list_for_each (l, &o->ops)
		op_cancel(LIST_ENTRY(l, struct op, link));
}

/* Feeds the one that is hungry longest, and counts it if it got an op. False when nobody is hungry, or the room was too little
 * for it: it is the last then. */
static bool feed_one(struct cache *c, int *fed)
{
	struct cache_object *o = NULL;
	struct list launch;
	list_init(&launch);
	(void)pthread_mutex_lock(&c->fetch_lock);
	if (!list_empty(&c->hungry)) {
		o = LIST_ENTRY(c->hungry.next, struct cache_object, hungry);
		list_remove(&o->hungry);
	}
	(void)pthread_mutex_unlock(&c->fetch_lock);
	if (!o)
		return false;
	(void)pthread_mutex_lock(&o->lock);
	fetch_collect(o, &launch);
	(void)pthread_mutex_unlock(&o->lock);
	*fed += !list_empty(&launch);
	fetch_launch(&launch);
	(void)pthread_mutex_lock(&c->fetch_lock);
	bool enough = list_empty(&o->hungry);
	(void)pthread_mutex_unlock(&c->fetch_lock);
	(void)cache_put(o);
	return enough;
}

void fetch_feed(struct cache *c)
{
	/* Who wants nothing any more is passed over, or it would keep the others from being fed. */
	int fed = 0;
	while (fed < FEED_MAX && feed_one(c, &fed))
		;
}

void fetch_feed_all(struct cache *c)
{
	int fed = 0;
	while (feed_one(c, &fed))
		;
}

bool fetch_uses_source(const struct cache *c, const struct source *s)
{
	list_for_each (l, &c->ops)
		if (!s || LIST_ENTRY(l, struct op, all)->source == s)
			return true;
	return false;
}

static void load_reply(struct job *job)
{
	struct load *l = LIST_ENTRY(job, struct load, job);
	l->load->done(l->load, l->status, &l->err);
	(void)cache_put(l->object);
	(void)mem_free(l);
}

void loads_end(struct cache_object *o, int status, const struct err *err)
{
	list_for_each_safe (at, next, &o->loads) {
		struct load *l = LIST_ENTRY(at, struct load, link);
		list_remove(&l->link);
		l->status = status;
		if (err)
			l->err = *err;
		l->job.run = load_reply;
		workers_add(&o->cache->repliers, &l->job);
	}
	if (o->plan)
		plan_loads(o->plan, 0);
}

void cache_load_start(struct cache_object *o, struct cache_load *load)
{
	struct list launch;
	list_init(&launch);
	struct load *l = mem_calloc(1, sizeof *l);
	(void)pthread_mutex_lock(&o->lock);
	bool sealed = o->size == 0 || object_is_sealed(o);
	struct body *full = !sealed && o->body && body_full(o->body) ? body_ref(o->body) : NULL;
	struct plan *plan = sealed ? NULL : object_plan(o);
	if (l && plan) {
		l->object = cache_ref(o);
		l->load = load;
		list_push_back(&o->loads, &l->link);
		plan_loads(plan, 1);
		o->passing = false; /* there may be room again; the first write tells */
		fetch_collect(o, &launch);
	}
	(void)pthread_mutex_unlock(&o->lock);
	if (sealed)
		ledger_touch(o); /* who asks for it says that it will be read */
	if (!l || !plan) {
		(void)mem_free(l);
		load->done(load, sealed ? 0 : -ENOMEM, NULL);
		return;
	}
	fetch_launch(&launch);
	if (full)
		object_seal(o, full);
	(void)body_unref(full);
}
