/*
 * The timer thread: deadlines of waits, fetches that wait for a buffer, buffers that nobody uses any more. It sleeps without
 * end when there are none of these.
 */
#include <errno.h>

#include "cache-node/fill/fetch.h"
#include "common/base/clock.h"

#define STARVING_NS (50 * NS_PER_MS) /* a resume that met a source not yet paused is repeated */
#define TRIM_NS     (2 * NS_PER_S)

static struct timespec timespec_of(int64_t ns)
{
	return (struct timespec){.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};
}

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

static void sleep_until(struct cache *c, int64_t until)
{
	struct timespec t = timespec_of(until);
	while (!c->timer_poked && !c->timer_stop) {
		if (until == INT64_MAX)
			(void)pthread_cond_wait(&c->timer_wake, &c->timer_lock);
		else if (pthread_cond_timedwait(&c->timer_wake, &c->timer_lock, &t) == ETIMEDOUT)
			break;
	}
	c->timer_poked = false;
}

static void *run(void *arg)
{
	struct cache *c = arg;
	int64_t trim_at = 0;
	(void)pthread_mutex_lock(&c->timer_lock);
	while (!c->timer_stop) {
		int64_t now = clock_mono_ns(), next = INT64_MAX;
		struct cache_object *late = first_late(c, now, &next);
		(void)pthread_mutex_unlock(&c->timer_lock);
		if (late) {
			waits_expire(late, now);
			(void)cache_put(late);
			next = now;
		}
		if (fetch_wake_starving(c))
			next = MIN(next, now + STARVING_NS);
		if (now >= trim_at)
			trim_at = trim(c) ? now + TRIM_NS : now;
		if (trim_at > now)
			next = MIN(next, trim_at);
		(void)pthread_mutex_lock(&c->timer_lock);
		sleep_until(c, next);
	}
	(void)pthread_mutex_unlock(&c->timer_lock);
	return NULL;
}

void timer_poke(struct cache *c)
{
	(void)pthread_mutex_lock(&c->timer_lock);
	c->timer_poked = true;
	(void)pthread_cond_signal(&c->timer_wake);
	(void)pthread_mutex_unlock(&c->timer_lock);
}

void timer_add(struct wait *w)
{
	struct cache *c = w->object->cache;
	(void)pthread_mutex_lock(&c->timer_lock);
	struct list *at = &c->timed; /* most have the same timeout, so the place is at the end */
	while (at->prev != &c->timed &&
	       LIST_ENTRY(at->prev, struct wait, timed)->read->deadline_ns > w->read->deadline_ns)
		at = at->prev;
	list_add_before(at, &w->timed);
	if (c->timed.next == &w->timed) {
		c->timer_poked = true;
		(void)pthread_cond_signal(&c->timer_wake);
	}
	(void)pthread_mutex_unlock(&c->timer_lock);
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
