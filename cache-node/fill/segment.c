/*
 * Segments: their life, and those that stay in memory for a reader who comes behind the fetch.
 *
 * Life: made for an op, filled in order, arrived (full: with the writer, or already on the tier), settled (freed). A segment
 * that stands on the tier is of no more use, unless a reader who goes forward will be there soon: then it stays, on
 * cache.unread, until it was served whole, the reader is past it, cache.unread_max_ns are over, or buffers are short.
 * Without that, a reader slower than its source would read every byte back from the tier and sum it a second time. What is
 * unread counts against the room to read ahead, so a fetch keeps no further before its reader than memory holds.
 */
#include "cache-node/fill/fetch.h"
#include "common/base/clock.h"
#include "common/base/mem.h"

static struct segment *segment_at(struct cache_object *o, uint64_t offset)
{
	list_for_each (l, &o->segments) {
		struct segment *s = LIST_ENTRY(l, struct segment, link);
		if (offset >= s->offset && offset < s->offset + s->filled)
			return s;
	}
	return NULL;
}

uint64_t fetch_available(struct cache_object *o, uint64_t offset, struct segment **ret_segment)
{
	struct segment *s = segment_at(o, offset);
	*ret_segment = s;
	if (s)
		return s->offset + s->filled;
	uint64_t block = offset / SIDECAR_BLOCK_BYTES;
	if (o->body && body_has(o->body, block))
		return MIN((block + 1) * SIDECAR_BLOCK_BYTES, o->size);
	return offset;
}

uint64_t segment_blocks(const struct segment *s)
{
	return (s->length + SIDECAR_BLOCK_BYTES - 1) / SIDECAR_BLOCK_BYTES;
}

struct segment *segment_new(struct cache_object *o, uint64_t offset, uint32_t length, size_t buffers,
			    struct list *starving)
{
	struct cache *c = o->cache;
	struct segment *s = mem_calloc(1, sizeof *s);
	(void)pthread_mutex_lock(&c->fetch_lock);
	bool first = c->pool.used + c->pool.warm == 0;
	uint8_t *data = s ? pool_take(&c->pool, buffers) : NULL;
	list_remove(starving);
	if (!data)
		list_push_back(&c->starving, starving);
	(void)pthread_mutex_unlock(&c->fetch_lock);
	if (first)
		timer_buffers_used(c);
	if (!data)
		return mem_free(s);
	s->data = data;
	s->object = o;
	s->offset = offset;
	s->length = length;
	s->refs = 1;
	s->generation = o->generation;
	list_init(&s->unread);
	list_push_back(&o->segments, &s->link);
	return s;
}

/* Takes it off cache.unread, where it may not be. Under object.lock and fetch_lock. */
static void leave_unread(struct segment *s)
{
	if (!s->stays)
		return;
	s->stays = false;
	list_remove(&s->unread);
	CHECK(s->object->cache->unread_bytes >= SEGMENT_BYTES);
	s->object->cache->unread_bytes -= SEGMENT_BYTES;
}

static void segment_free(struct segment *s)
{
	struct cache *c = s->object->cache;
	list_remove(&s->link);
	(void)pthread_mutex_lock(&c->fetch_lock);
	bool feed = s->stays && !list_empty(&c->hungry);
	leave_unread(s);
	pool_give(&c->pool, s->data);
	(void)pthread_mutex_unlock(&c->fetch_lock);
	(void)fetch_wake_starving(c);
	if (feed) /* others may have this room now; the timer feeds them, since an object is locked here */
		timer_at(c, clock_mono_ns());
	(void)mem_free(s);
}

/* Whether a reader who goes forward will want it from memory. */
static bool read_soon(const struct segment *s)
{
	const struct cache_object *o = s->object;
	return s->generation == o->generation && s->served < s->length && atomic_load(&o->openers) > 0 &&
	       o->plan && plan_reads_soon(o->plan, s->offset / SIDECAR_BLOCK_BYTES, segment_blocks(s));
}

void segment_arrived(struct segment *s)
{
	struct cache *c = s->object->cache;
	if (!read_soon(s))
		return;
	(void)pthread_mutex_lock(&c->fetch_lock);
	bool first = list_empty(&c->unread);
	s->unread_ns = clock_mono_ns();
	s->stays = true;
	list_push_back(&c->unread, &s->unread);
	c->unread_bytes += SEGMENT_BYTES;
	int64_t end_ns = s->unread_ns + c->unread_max_ns;
	(void)pthread_mutex_unlock(&c->fetch_lock);
	if (first)
		timer_at(c, end_ns);
}

static void segment_settle(struct segment *s)
{
	struct cache_object *o = s->object;
	if (s->refs > 0 || (s->length && !s->kept && waits_touch(o, s->offset, s->offset + s->length)))
		return;
	if (s->kept && s->stays && read_soon(s))
		return;
	if (!s->kept && s->length && o->plan)
		plan_lost(o->plan, s->offset / SIDECAR_BLOCK_BYTES, segment_blocks(s));
	segment_free(s);
}

void segment_unref(struct segment *s)
{
	CHECK(s->refs > 0);
	s->refs--;
	segment_settle(s);
}

void segments_sweep(struct cache_object *o)
{
	list_for_each_safe (l, next, &o->segments)
		segment_settle(LIST_ENTRY(l, struct segment, link));
}

void segments_reclaim(struct cache *c)
{
	(void)pthread_mutex_lock(&c->fetch_lock);
	bool some = !list_empty(&c->unread);
	c->reclaim |= some;
	(void)pthread_mutex_unlock(&c->fetch_lock);
	if (some)
		timer_at(c, clock_mono_ns());
}

/* The object whose segment waits longest, with a reference, if that is since before @before_ns; else NULL and in *next when
 * it will be old. Whoever holds unread segments is open, so its count is above 0. */
static struct cache_object *oldest_unread(struct cache *c, int64_t before_ns, int64_t *next)
{
	struct cache_object *o = NULL;
	(void)pthread_mutex_lock(&c->fetch_lock);
	if (!list_empty(&c->unread)) {
		struct segment *s = LIST_ENTRY(c->unread.next, struct segment, unread);
		if (s->unread_ns <= before_ns)
			o = cache_ref(s->object);
		else
			*next = s->unread_ns + c->unread_max_ns;
	}
	(void)pthread_mutex_unlock(&c->fetch_lock);
	return o;
}

/* Lets go what waits in memory since before @before_ns for readers of @o. */
static void object_expire(struct cache_object *o, int64_t before_ns)
{
	struct cache *c = o->cache;
	(void)pthread_mutex_lock(&o->lock);
	list_for_each (l, &o->segments) {
		struct segment *s = LIST_ENTRY(l, struct segment, link);
		(void)pthread_mutex_lock(&c->fetch_lock);
		if (s->unread_ns <= before_ns)
			leave_unread(s);
		(void)pthread_mutex_unlock(&c->fetch_lock);
	}
	segments_sweep(o);
	(void)pthread_mutex_unlock(&o->lock);
}

int64_t segments_expire(struct cache *c, int64_t now_ns)
{
	int64_t next = INT64_MAX;
	(void)pthread_mutex_lock(&c->fetch_lock);
	int64_t before_ns = c->reclaim ? now_ns : now_ns - c->unread_max_ns;
	c->reclaim = false;
	(void)pthread_mutex_unlock(&c->fetch_lock);
	for (struct cache_object *o; (o = oldest_unread(c, before_ns, &next));) {
		object_expire(o, before_ns);
		(void)cache_put(o);
	}
	return next;
}
