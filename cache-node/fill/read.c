/*
 * Reads: answered inline when all bytes are here, else parked until they arrive, fail, or nobody waits any more.
 *
 * A wait is on object.waits exactly until its outcome is known. Whoever takes it off under object.lock decides the outcome;
 * the callback then runs on a replier (or, for a cancel, in the call).
 */
#include <errno.h>

#include "cache-node/cache/ledger.h"
#include "cache-node/fill/fetch.h"
#include "common/base/clock.h"
#include "common/base/mem.h"

static uint64_t read_end(const struct cache_read *r)
{
	return r->offset + r->length;
}

/* What the bytes of a read are made of, with references; false when some are not here. Under object.lock. */
static bool answer_gather(struct cache_object *o, const struct cache_read *r, struct answer *a)
{
	uint64_t at = r->offset, end = read_end(r);
	a->count = 0;
	a->body = NULL;
	bool disk = false;
	while (at < end) {
		struct segment *s;
		uint64_t to = MIN(fetch_available(o, at, &s), end);
		if (to == at)
			return false;
		struct piece *last = a->count ? &a->pieces[a->count - 1] : NULL;
		if (last && last->segment == s) {
			last->length += (uint32_t)(to - at);
		} else {
			CHECK(a->count < PIECES_MAX);
			a->pieces[a->count++] =
				(struct piece){.segment = s, .offset = at, .length = (uint32_t)(to - at)};
		}
		disk |= s == NULL;
		at = to;
	}
	for (int i = 0; i < a->count; i++)
		if (a->pieces[i].segment)
			a->pieces[i].segment->refs++;
	if (disk)
		a->body = body_ref(o->body);
	return true;
}

static void answer_release(struct cache_object *o, struct answer *a)
{
	bool segments = false;
	for (int i = 0; i < a->count; i++)
		segments |= a->pieces[i].segment != NULL;
	if (segments) {
		(void)pthread_mutex_lock(&o->lock);
		for (int i = 0; i < a->count; i++) {
			struct segment *s = a->pieces[i].segment;
			if (!s)
				continue;
			s->served += a->pieces[i].length;
			segment_unref(s);
		}
		(void)pthread_mutex_unlock(&o->lock);
		fetch_feed(o->cache); /* there may be room again */
	}
	a->count = 0;
	a->body = body_unref(a->body);
}

/* Reads a piece from the tier to *@buf and moves *@buf behind it. Before a body was verified in this boot, whole blocks are
 * read, so that each is verified. */
static int piece_read(struct cache_object *o, struct body *b, const struct piece *p, uint8_t **buf,
		      struct iovec *ret)
{
	uint64_t from = p->offset, to = p->offset + p->length, bad = 0;

	CHECK(b);
	if (atomic_load(&b->unverified)) {
		from = from / SIDECAR_BLOCK_BYTES * SIDECAR_BLOCK_BYTES;
		to = MIN((to + SIDECAR_BLOCK_BYTES - 1) / SIDECAR_BLOCK_BYTES * SIDECAR_BLOCK_BYTES, b->size);
	}
	int r = body_read(b, from, *buf, to - from, &bad);
	(void)atomic_fetch_add(&o->cache->counters.reread_bytes, to - from);
	if (r) {
		object_bad_block(o, b, bad, r);
		return r;
	}
	*ret = (struct iovec){.iov_base = *buf + (p->offset - from), .iov_len = p->length};
	*buf += to - from;
	return 0;
}

static void read_done(struct cache_object *o, struct cache_read *r, const struct iovec *iov, int count,
		      int64_t started_ns)
{
	struct cache *c = o->cache;
	(void)atomic_fetch_add(&c->counters.read_bytes, r->length);
	(void)atomic_fetch_add(&c->datasets[o->dataset].served_bytes, r->length);
	histogram_add(&c->read_latency, clock_mono_ns() - started_ns);
	ledger_served(o, r->length);
	r->done(r, 0, iov, count, NULL);
}

/* Answers a read. False when bytes on the tier turned out to be bad: it is a miss then. -ENOMEM is an answer too. */
static bool answer_serve(struct cache_object *o, struct cache_read *r, struct answer *a, int64_t started_ns)
{
	struct cache *c = o->cache;
	struct iovec iov[PIECES_MAX];
	uint8_t *scratch = a->body ? scratch_take(c) : NULL, *at = scratch;
	if (a->body && !scratch) {
		answer_release(o, a);
		r->done(r, -EIO, NULL, 0, NULL);
		return true;
	}
	bool good = true;
	for (int i = 0; good && i < a->count; i++) {
		const struct piece *p = &a->pieces[i];
		if (p->segment)
			iov[i] = (struct iovec){.iov_base =
							p->segment->data + (p->offset - p->segment->offset),
						.iov_len = p->length};
		else
			good = piece_read(o, a->body, p, &at, &iov[i]) == 0;
	}
	if (good)
		read_done(o, r, iov, a->count, started_ns);
	if (scratch)
		scratch_give(c, scratch);
	answer_release(o, a);
	return good;
}

bool waits_lack(const struct cache_object *o, uint64_t from, uint64_t to)
{
	list_for_each (l, &o->waits) {
		const struct wait *w = LIST_ENTRY(l, struct wait, link);
		if (w->cursor < to && read_end(w->read) > from)
			return true;
	}
	return false;
}

bool waits_touch(const struct cache_object *o, uint64_t from, uint64_t to)
{
	list_for_each (l, &o->waits) {
		const struct wait *w = LIST_ENTRY(l, struct wait, link);
		if (w->read->offset < to && read_end(w->read) > from)
			return true;
	}
	return false;
}

static struct wait *wait_free(struct wait *w)
{
	(void)cache_put(w->object);
	return mem_free(w);
}

static void wait_park(struct cache_object *o, struct wait *w);

static void wait_reply(struct job *job)
{
	struct wait *w = LIST_ENTRY(job, struct wait, job);
	struct cache_object *o = w->object;
	if (w->status) {
		w->read->done(w->read, w->status, NULL, 0, &w->err);
	} else if (!answer_serve(o, w->read, &w->answer, w->started_ns)) {
		struct list launch;
		list_init(&launch);
		(void)cache_ref(o); /* the wait may be answered and freed as soon as the lock is let go */
		(void)pthread_mutex_lock(&o->lock);
		wait_park(o, w);
		fetch_collect(o, &launch);
		(void)pthread_mutex_unlock(&o->lock);
		fetch_launch(&launch);
		(void)cache_put(o);
		return;
	}
	(void)wait_free(w);
}

/* Takes a wait off; its outcome stands in status and answer. Under object.lock. */
static void wait_settle(struct wait *w)
{
	list_remove(&w->link);
	timer_remove(w);
	w->job.run = wait_reply;
	segments_sweep(w->object);
	workers_add(&w->object->cache->repliers, &w->job);
}

/* Moves the cursor over what is here; true when all of it is, and the wait was taken off. */
static bool wait_advance(struct cache_object *o, struct wait *w)
{
	uint64_t end = read_end(w->read);
	struct segment *s;
	for (uint64_t to; w->cursor < end; w->cursor = to) {
		to = fetch_available(o, w->cursor, &s);
		if (to == w->cursor)
			return false;
	}
	if (!answer_gather(o, w->read, &w->answer)) {
		w->cursor = w->read->offset; /* some of it went again */
		return false;
	}
	w->status = 0;
	wait_settle(w);
	return true;
}

static void wait_park(struct cache_object *o, struct wait *w)
{
	w->cursor = w->read->offset;
	list_push_back(&o->waits, &w->link);
	timer_add(w);
	(void)wait_advance(o, w);
}

void waits_arrived(struct cache_object *o, const struct segment *s)
{
	list_for_each_safe (l, next, &o->waits) {
		struct wait *w = LIST_ENTRY(l, struct wait, link);
		if (w->cursor >= s->offset && w->cursor < s->offset + s->filled)
			(void)wait_advance(o, w);
	}
}

void waits_again(struct cache_object *o)
{
	list_for_each_safe (l, next, &o->waits) {
		struct wait *w = LIST_ENTRY(l, struct wait, link);
		w->cursor = w->read->offset;
		(void)wait_advance(o, w);
	}
}

void waits_fail(struct cache_object *o, uint64_t from, uint64_t to, int status, const struct err *err)
{
	list_for_each_safe (l, next, &o->waits) {
		struct wait *w = LIST_ENTRY(l, struct wait, link);
		if (w->cursor >= to || read_end(w->read) <= from)
			continue;
		w->status = status;
		w->err = *err;
		wait_settle(w);
	}
}

static void set_expired(const struct cache_object *o, struct err *err)
{
	(void)err_set(err, -EIO, "%s: the source did not deliver the bytes within %lld ms", o->key,
		      (long long)(o->timeout_ns / NS_PER_MS));
}

void waits_expire(struct cache_object *o, int64_t now_ns)
{
	struct err err;
	set_expired(o, &err);
	(void)pthread_mutex_lock(&o->lock);
	list_for_each_safe (l, next, &o->waits) {
		struct wait *w = LIST_ENTRY(l, struct wait, link);
		if (w->read->deadline_ns > now_ns)
			continue;
		w->status = -EIO;
		w->err = err;
		wait_settle(w);
		o->expired_ns = now_ns;
	}
	/* A fetch that nobody waits for any more must not be joined by the next reader, stuck as it is. */
	if (list_empty(&o->waits) && o->plan)
		plan_calm(o->plan);
	fetch_cancel_unwanted(o);
	(void)pthread_mutex_unlock(&o->lock);
}

/* The kernel repeats a failed read-ahead page by page at once: the reader gets its error after one deadline, not two. */
#define EXPIRED_WINDOW_NS (100 * NS_PER_MS)

static bool just_expired(const struct cache_object *o, int64_t now)
{
	return o->expired_ns && now - o->expired_ns < EXPIRED_WINDOW_NS;
}

static struct wait *wait_new(struct cache_object *o, struct cache_read *r, int64_t started_ns)
{
	struct wait *w = mem_calloc(1, sizeof *w);
	if (!w)
		return NULL;
	list_init(&w->link);
	list_init(&w->timed);
	w->object = cache_ref(o);
	w->read = r;
	w->started_ns = started_ns;
	return w;
}

/* One try of a read: true when it was answered or parked. */
static bool read_try(struct cache_object *o, struct cache_read *r, int64_t now)
{
	struct cache *c = o->cache;
	struct answer a;
	struct list launch;
	list_init(&launch);
	bool failed = false;
	(void)pthread_mutex_lock(&o->lock);
	bool hit = answer_gather(o, r, &a);
	bool expired = !hit && just_expired(o, now);
	if (!expired && (!hit || !object_is_sealed(o))) {
		struct plan *plan = object_plan(o);
		if (plan)
			plan_read(plan, r->offset, r->length, r->stream);
		struct wait *w = plan && !hit ? wait_new(o, r, now) : NULL;
		if (w)
			wait_park(o, w);
		failed = !hit && !w;
		fetch_collect(o, &launch);
		/* Fetches that wait for a buffer may now be wanted by a reader, who gets one sooner. */
		if (w && !list_empty(&o->ops))
			(void)fetch_wake_starving(c);
	}
	(void)pthread_mutex_unlock(&o->lock);
	bool answered = true;
	(void)atomic_fetch_add(hit ? &c->counters.hit_bytes : &c->counters.miss_bytes, r->length);
	if (hit)
		answered = answer_serve(o, r, &a, now);
	fetch_launch(&launch);
	if (expired || failed) {
		struct err err;
		if (expired)
			set_expired(o, &err);
		else
			(void)err_set(&err, -EIO, "%s: out of memory", o->key);
		r->done(r, -EIO, NULL, 0, &err);
	}
	return answered;
}

void cache_read_start(struct cache_object *o, struct cache_read *r)
{
	CHECK(r->length <= READ_MAX);
	CHECK(r->offset <= o->size && r->length <= o->size - r->offset);
	int64_t now = clock_mono_ns();
	r->object = o;
	r->deadline_ns = now + o->timeout_ns;
	atomic_store(&o->used_ns, clock_wall_ns());
	(void)atomic_fetch_add(&o->cache->counters.reads, 1);
	if (r->length == 0) {
		r->done(r, 0, NULL, 0, NULL);
		return;
	}
	(void)cache_ref(o); /* done() may put the caller's last reference */
	while (!read_try(o, r, now))
		; /* each failed try dropped a bad block: the next is a miss */
	(void)cache_put(o);
}

void cache_read_cancel(struct cache_read *r)
{
	struct cache_object *o = r->object;
	struct wait *found = NULL;
	(void)pthread_mutex_lock(&o->lock);
	list_for_each (l, &o->waits) {
		struct wait *w = LIST_ENTRY(l, struct wait, link);
		if (w->read != r)
			continue;
		found = w;
		list_remove(&w->link);
		timer_remove(w);
		break;
	}
	if (found) {
		segments_sweep(o);
		fetch_cancel_unwanted(o);
	}
	(void)pthread_mutex_unlock(&o->lock);
	if (!found)
		return;
	struct err err;
	(void)err_set(&err, -ECANCELED, "%s: the reader gave up", o->key);
	r->done(r, -ECANCELED, NULL, 0, &err);
	(void)wait_free(found);
}
