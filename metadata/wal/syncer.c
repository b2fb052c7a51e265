#include "metadata/wal/syncer.h"

#include <errno.h>
#include <pthread.h>
#include <sys/eventfd.h>

#include "common/base/mem.h"

enum sync_state { IDLE, ASKED, RUNNING, ENDED };

struct wal_syncer {
	struct wal_files *files;
	int event_fd;
	pthread_t syncer, maker;

	pthread_mutex_t lock; /* of the following */
	pthread_cond_t wake;
	enum sync_state state;
	struct wal_sync what;
	int status;   /* of the sync that ended */
	bool look;    /* the maker shall see whether a segment is to be made */
	int prepared; /* of the last wal_files_prepare() */
	bool stop;
};

/* Under lock, let go while it syncs. */
static void sync_one(struct wal_syncer *s)
{
	struct wal_sync what = s->what;

	s->state = RUNNING;
	(void)pthread_mutex_unlock(&s->lock);
	int r = wal_files_sync(s->files, what.first, what.last);
	(void)pthread_mutex_lock(&s->lock);
	s->status = r;
	s->state = ENDED;
	s->look = true;
	(void)pthread_cond_broadcast(&s->wake);
	(void)eventfd_write(s->event_fd, 1);
}

static void *syncer_main(void *arg)
{
	struct wal_syncer *s = arg;

	(void)pthread_mutex_lock(&s->lock);
	while (s->state == ASKED || !s->stop) {
		if (s->state == ASKED)
			sync_one(s);
		else
			(void)pthread_cond_wait(&s->wake, &s->lock);
	}
	(void)pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* A thread of its own: to make a segment takes longer than many syncs. */
static void *maker_main(void *arg)
{
	struct wal_syncer *s = arg;

	(void)pthread_mutex_lock(&s->lock);
	while (!s->stop) {
		if (!s->look) {
			(void)pthread_cond_wait(&s->wake, &s->lock);
			continue;
		}
		s->look = false;
		(void)pthread_mutex_unlock(&s->lock);
		int r = wal_files_prepare(s->files);
		(void)pthread_mutex_lock(&s->lock);
		s->prepared = r;
	}
	(void)pthread_mutex_unlock(&s->lock);
	return NULL;
}

static void stop(struct wal_syncer *s)
{
	(void)pthread_mutex_lock(&s->lock);
	s->stop = true;
	(void)pthread_cond_broadcast(&s->wake);
	(void)pthread_mutex_unlock(&s->lock);
}

static struct wal_syncer *forget(struct wal_syncer *s)
{
	(void)pthread_cond_destroy(&s->wake);
	(void)pthread_mutex_destroy(&s->lock);
	return mem_free(s);
}

int wal_syncer_new(struct wal_files *f, int event_fd, struct wal_syncer **ret)
{
	struct wal_syncer *s = mem_calloc(1, sizeof *s);

	if (!s)
		return -ENOMEM;
	s->files = f;
	s->event_fd = event_fd;
	(void)pthread_mutex_init(&s->lock, NULL);
	(void)pthread_cond_init(&s->wake, NULL);
	s->look = true;
	int r = pthread_create(&s->syncer, NULL, syncer_main, s);
	if (r) {
		(void)forget(s);
		return -r;
	}
	r = pthread_create(&s->maker, NULL, maker_main, s);
	if (r) {
		stop(s);
		(void)pthread_join(s->syncer, NULL);
		(void)forget(s);
		return -r;
	}
	*ret = s;
	return 0;
}

struct wal_syncer *wal_syncer_free(struct wal_syncer *s)
{
	if (!s)
		return NULL;
	stop(s);
	(void)pthread_join(s->syncer, NULL);
	(void)pthread_join(s->maker, NULL);
	return forget(s);
}

void wal_syncer_start(struct wal_syncer *s, const struct wal_sync *what)
{
	(void)pthread_mutex_lock(&s->lock);
	CHECK(s->state == IDLE);
	s->what = *what;
	s->state = ASKED;
	(void)pthread_cond_broadcast(&s->wake);
	(void)pthread_mutex_unlock(&s->lock);
}

bool wal_syncer_take(struct wal_syncer *s, int *ret)
{
	(void)pthread_mutex_lock(&s->lock);
	bool ended = s->state == ENDED;
	if (ended) {
		*ret = s->status;
		s->state = IDLE;
	}
	(void)pthread_mutex_unlock(&s->lock);
	return ended;
}

int wal_syncer_prepared(struct wal_syncer *s)
{
	(void)pthread_mutex_lock(&s->lock);
	int r = s->prepared;
	(void)pthread_mutex_unlock(&s->lock);
	return r;
}
