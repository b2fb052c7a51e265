/*
 * The timer thread: deadlines of waits, fetches that wait for a buffer, segments that stay for a reader, objects that
 * lack room, buffers that nobody uses any more. It sleeps without end when there are none of these.
 */
#include <errno.h>

#include "cache-node/fill/fetch.h"
#include "common/base/clock.h"

#define STARVING_NS (50 * NS_PER_MS) /* a resume that met a source not yet paused is repeated */
#define TRIM_NS     (2 * NS_PER_S)

/* An object with a wait whose time is over, with a reference; else NULL and when the next one's is. Under timer_lock. */
static struct cache_object *first_late(struct cache *c, int64_t now, int64_t *next)
{
	if (list_empty(&c->timed))
		return NULL;
	struct wait *w = LIST_ENTRY(c->timed.next, struct wait, timed);
	if (w->read->deadline_ns <= now)
		return cache_ref(w->object);
	*next = MIN(*next, w->read->deadline_ns);
	return NULL;
}

/* True when buffers are still kept warm. */
static bool trim(struct cache *c)
{
	(void)pthread_mutex_lock(&c->fetch_lock);
	bool warm = pool_trim(&c->pool);
	(void)pthread_mutex_unlock(&c->fetch_lock);
	(void)pthread_mutex_lock(&c->scratch_lock);
	warm |= pool_trim(&c->scratch);
	(void)pthread_mutex_unlock(&c->scratch_lock);
	return warm;
}

/* Sleeps until timer_next, which others may move forward meanwhile. Under timer_lock. */
static void sleep_until_next(struct cache *c)
{
	while (!c->timer_stop && c->timer_next > clock_mono_ns())
		clock_cond_wait_until(&c->timer_wake, &c->timer_lock, c->timer_next);
}

static void *run(void *arg)
{
	struct cache *c = arg;
	int64_t trim_at = 0;
	(void)pthread_mutex_lock(&c->timer_lock);
	while (!c->timer_stop) {
		int64_t now = clock_mono_ns();
		c->timer_next = INT64_MAX;
		struct cache_object *late = first_late(c, now, &c->timer_next);
		(void)pthread_mutex_unlock(&c->timer_lock);
		if (late) {
			waits_expire(late, now);
			(void)cache_put(late);
			timer_at(c, now); /* there may be more */
		}
		timer_at(c, segments_expire(c, now));
		fetch_feed(c); /* what was let go, here or by others, is room for those who lack it */
		if (fetch_wake_starving(c))
			timer_at(c, now + STARVING_NS);
		if (now >= trim_at)
			trim_at = trim(c) ? now + TRIM_NS : now;
		if (trim_at > now)
			timer_at(c, trim_at);
		(void)pthread_mutex_lock(&c->timer_lock);
		sleep_until_next(c);
	}
	(void)pthread_mutex_unlock(&c->timer_lock);
	return NULL;
}

void timer_at(struct cache *c, int64_t when_ns)
{
	(void)pthread_mutex_lock(&c->timer_lock);
	if (when_ns < c->timer_next) {
		c->timer_next = when_ns;
		(void)pthread_cond_signal(&c->timer_wake);
	}
	(void)pthread_mutex_unlock(&c->timer_lock);
}

void timer_buffers_used(struct cache *c)
{
	timer_at(c, clock_mono_ns() + TRIM_NS);
}

void timer_starving(struct cache *c)
{
	timer_at(c, clock_mono_ns() + STARVING_NS);
}

void timer_add(struct wait *w)
{
	struct cache *c = w->object->cache;
	int64_t deadline = w->read->deadline_ns;
	(void)pthread_mutex_lock(&c->timer_lock);
	struct list *at = &c->timed; /* most have the same timeout, so the place is at the end */
	while (at->prev != &c->timed &&
	       LIST_ENTRY(at->prev, struct wait, timed)->read->deadline_ns > deadline)
		at = at->prev;
	list_add_before(at, &w->timed);
	(void)pthread_mutex_unlock(&c->timer_lock);
	timer_at(c, deadline);
}

void timer_remove(struct wait *w)
{
	struct cache *c = w->object->cache;
	(void)pthread_mutex_lock(&c->timer_lock);
	list_remove(&w->timed);
	(void)pthread_mutex_unlock(&c->timer_lock);
}

int timer_start(struct cache *c)
{
	int r = pthread_create(&c->timer, NULL, run, c);
	c->timer_runs = r == 0;
	if (c->timer_runs)
		(void)pthread_setname_np(c->timer, "cache-timer"); /* a name is a courtesy */
	return -r;
}

void timer_stop(struct cache *c)
{
	if (!c->timer_runs)
		return;
	(void)pthread_mutex_lock(&c->timer_lock);
	c->timer_stop = true;
	(void)pthread_cond_signal(&c->timer_wake);
	(void)pthread_mutex_unlock(&c->timer_lock);
	(void)pthread_join(c->timer, NULL);
	c->timer_runs = false;
}
