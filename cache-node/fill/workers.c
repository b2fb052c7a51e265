#include "cache-node/fill/workers.h"

static void *work(void *arg)
{
	struct workers *w = arg;
	(void)pthread_mutex_lock(&w->lock);
	for (;;) {
		while (list_empty(&w->jobs) && !w->stopping)
			(void)pthread_cond_wait(&w->wake, &w->lock);
		if (list_empty(&w->jobs))
			break;
		struct job *job = LIST_ENTRY(w->jobs.next, struct job, link);
		list_remove(&job->link);
		(void)pthread_mutex_unlock(&w->lock);
		job->run(job);
		(void)pthread_mutex_lock(&w->lock);
	}
	(void)pthread_mutex_unlock(&w->lock);
	return NULL;
}

int workers_init(struct workers *w, int threads, const char *name)
{
	CHECK(threads > 0 && threads <= WORKERS_MAX);
	*w = (struct workers){.stopping = false};
	(void)pthread_mutex_init(&w->lock, NULL); /* neither can fail without attributes */
	(void)pthread_cond_init(&w->wake, NULL);
	list_init(&w->jobs);
	for (int i = 0; i < threads; i++) {
		int r = pthread_create(&w->threads[i], NULL, work, w);
		if (r) {
			workers_done(w);
			return -r;
		}
		w->thread_count++;
		(void)pthread_setname_np(w->threads[i], name); /* a name is a courtesy */
	}
	return 0;
}

void workers_done(struct workers *w)
{
	(void)pthread_mutex_lock(&w->lock);
	w->stopping = true;
	(void)pthread_cond_broadcast(&w->wake);
	(void)pthread_mutex_unlock(&w->lock);
	for (int i = 0; i < w->thread_count; i++)
		(void)pthread_join(w->threads[i], NULL);
	w->thread_count = 0;
	(void)pthread_cond_destroy(&w->wake);
	(void)pthread_mutex_destroy(&w->lock);
}

void workers_add(struct workers *w, struct job *job)
{
	(void)pthread_mutex_lock(&w->lock);
	list_push_back(&w->jobs, &job->link);
	(void)pthread_cond_signal(&w->wake);
	(void)pthread_mutex_unlock(&w->lock);
}
