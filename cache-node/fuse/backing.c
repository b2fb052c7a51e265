/*
 * Backing ids: the mounter registers a complete file with the kernel, which then reads it without us.
 *
 * The mounter is another process and may hang. It is asked under no lock, waits are short, and after one that failed it is
 * left alone for a while: opens are served in cached mode meanwhile, and ids to close are remembered.
 */
#include <errno.h>

#include "cache-node/fuse/session_impl.h"
#include "common/base/clock.h"
#include "common/base/fd.h"
#include "common/base/log.h"
#include "common/base/mem.h"

#define HUNG_PAUSE_NS  (10 * NS_PER_S) /* after it did not answer in time */
#define ERROR_PAUSE_NS (1 * NS_PER_S)  /* after it was not there, or refused */

/* Whether an error of BACKING_OPEN says that this mount can never pass anything through. */
static bool is_final(int r)
{
	return r == -EPERM || r == -EOPNOTSUPP || r == -ENOSYS || r == -ENOTTY;
}

static bool is_paused(struct session *s)
{
	return clock_mono_ns() < atomic_load(&s->backing.resume_ns);
}

static void note_failure(struct session *s, int r, const struct err *err)
{
	log_write(LOG_WARN, "no passthrough, cached mode", LOG_STR("why", err_words(err, r)),
		  LOG_STR("for", is_final(r) ? "this mount" : "a while"), NULL);
	if (is_final(r))
		s->passthrough = false;
	atomic_store(&s->backing.resume_ns,
		     clock_mono_ns() + (r == -ETIMEDOUT ? HUNG_PAUSE_NS : ERROR_PAUSE_NS));
}

bool backing_is_wanted(struct session *s, struct shm_node *node, struct open_file *f)
{
	return s->passthrough && f->object && !atomic_load(&node->opens_cached) &&
	       atomic_load(&node->backing_id) <= 0 && !is_paused(s) &&
	       cache_object_state(f->object) == CACHE_COMPLETE;
}

/* ---- closing ---- */

/* Without memory the id stays open until the mount ends: it costs the space of a file that was evicted. */
static void remember(struct session *s, int32_t id)
{
	(void)pthread_mutex_lock(&s->backing.lock);
	int32_t *more = mem_resize(s->backing.to_close, s->backing.count + 1, sizeof *more);
	if (more) {
		s->backing.to_close = more;
		more[s->backing.count++] = id;
	}
	(void)pthread_mutex_unlock(&s->backing.lock);
}

static int32_t next_to_close(struct session *s)
{
	(void)pthread_mutex_lock(&s->backing.lock);
	int32_t id = s->backing.count ? s->backing.to_close[--s->backing.count] : 0;
	(void)pthread_mutex_unlock(&s->backing.lock);
	return id;
}

/* False: not now; the id is remembered. */
static bool close_one(struct session *s, int32_t id)
{
	int r = is_paused(s) ? -EAGAIN : mounter_backing_close(s->mounter, s->shm.h->session, id, NULL);

	if (r == -ETIMEDOUT || r == -ENOTCONN)
		atomic_store(&s->backing.resume_ns,
			     clock_mono_ns() + (r == -ETIMEDOUT ? HUNG_PAUSE_NS : ERROR_PAUSE_NS));
	if (r == -ETIMEDOUT || r == -ENOTCONN || r == -EAGAIN)
		remember(s, id);
	else if (r)
		log_write(LOG_DEBUG, "a backing id stays open until the mount ends", LOG_INT("id", id), NULL);
	return r == 0;
}

void backing_close(struct session *s, int32_t id)
{
	if (id > 0)
		(void)close_one(s, id);
}

static void close_remembered(struct session *s)
{
	for (int32_t id; (id = next_to_close(s)) > 0;)
		if (!close_one(s, id))
			return;
}

/* ---- opening ---- */

int32_t backing_ask(struct session *s, struct open_file *f)
{
	struct err err = {0};
	int32_t id = 0;
	CLEANUP(fd_close) int fd = cache_object_file(f->object);

	int r = fd < 0 ? fd : mounter_backing_open(s->mounter, s->shm.h->session, fd, &id, &err);
	if (r && r != -EAGAIN)
		note_failure(s, r, &err);
	if (r)
		return 0;
	close_remembered(s);
	return id;
}

int32_t backing_install(struct session *s, struct shm_node *node, int32_t id)
{
	if (id <= 0)
		return 0;
	if (!node || atomic_load(&node->opens_cached) || atomic_load(&node->backing_id) > 0)
		return id; /* another open was faster */
	atomic_store(&node->backing_id, id);
	if (node->flags & SHM_NODE_PAGES)
		notify_inode(s, atomic_load(&node->id)); /* the same bytes need not lie in memory twice */
	return 0;
}

void backing_done(struct session *s)
{
	(void)mem_free(s->backing.to_close); /* the mount is gone, and its ids with it */
}
