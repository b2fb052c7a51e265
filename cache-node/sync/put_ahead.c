#include "cache-node/sync/put_ahead.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/prctl.h>

#include "common/base/mem.h"

struct chunk {
	struct hash256 hash;
	void *bytes; /* owned; NULL: none */
	size_t len;
};

struct put_ahead {
	struct manifest_sink sink;
	pthread_t threads[PUT_AHEAD_THREADS];
	size_t count;          /* of threads */
	pthread_mutex_t lock;  /* guards all below */
	pthread_cond_t change; /* of any of it */
	struct chunk next;     /* that no thread took yet */
	size_t busy;           /* threads that store one */
	bool stop;
	int rc; /* of the first put that failed */
	struct err err;
};

static void store(struct put_ahead *p, struct chunk *c)
{
	struct err err = {0};
	int r = p->sink.put(p->sink.ctx, &c->hash, c->bytes, c->len, &err);

	c->bytes = mem_free(c->bytes);
	(void)pthread_mutex_lock(&p->lock);
	p->busy--;
	if (r && !p->rc) {
		p->rc = r;
		p->err = err;
	}
	(void)pthread_cond_broadcast(&p->change);
	(void)pthread_mutex_unlock(&p->lock);
}

static void *thread_main(void *arg)
{
	struct put_ahead *p = arg;

	(void)prctl(PR_SET_NAME, "sync-put");
	for (;;) {
		(void)pthread_mutex_lock(&p->lock);
		while (!p->next.bytes && !p->stop)
			(void)pthread_cond_wait(&p->change, &p->lock);
		struct chunk c = p->next;
		p->next = (struct chunk){.bytes = NULL};
		p->busy += c.bytes != NULL;
		(void)pthread_cond_broadcast(&p->change);
		(void)pthread_mutex_unlock(&p->lock);
		if (!c.bytes)
			return NULL;
		store(p, &c);
	}
}

int put_ahead_new(const struct manifest_sink *sink, struct put_ahead **ret)
{
	CLEANUP(put_ahead_free) struct put_ahead *p = mem_calloc(1, sizeof *p);

	if (!p)
		return -ENOMEM;
	p->sink = *sink;
	(void)pthread_mutex_init(&p->lock, NULL);
	(void)pthread_cond_init(&p->change, NULL);
	for (; p->count < PUT_AHEAD_THREADS; p->count++) {
		int r = pthread_create(&p->threads[p->count], NULL, thread_main, p);
		if (r)
			return -r;
	}
	*ret = TAKE(p);
	return 0;
}

struct put_ahead *put_ahead_free(struct put_ahead *p)
{
	if (!p)
		return NULL;
	(void)pthread_mutex_lock(&p->lock);
	p->stop = true;
	p->next.bytes = mem_free(p->next.bytes);
	(void)pthread_cond_broadcast(&p->change);
	(void)pthread_mutex_unlock(&p->lock);
	for (size_t i = 0; i < p->count; i++)
		(void)pthread_join(p->threads[i], NULL);
	(void)pthread_cond_destroy(&p->change);
	(void)pthread_mutex_destroy(&p->lock);
	return mem_free(p);
}

/* The lock is held. */
static int failure(const struct put_ahead *p, struct err *err)
{
	return p->rc ? err_set(err, p->rc, "%s", err_words(&p->err, p->rc)) : 0;
}

static int put(void *ctx, const struct hash256 *hash, const void *bytes, size_t len, struct err *err)
{
	struct put_ahead *p = ctx;
	struct chunk c = {.hash = *hash, .bytes = mem_alloc(MAX(len, 1u)), .len = len};

	if (!c.bytes)
		return err_set(err, -ENOMEM, "out of memory");
	memcpy(c.bytes, bytes, len);
	(void)pthread_mutex_lock(&p->lock);
	while (!p->rc && (p->next.bytes || p->busy == PUT_AHEAD_THREADS))
		(void)pthread_cond_wait(&p->change, &p->lock);
	int r = failure(p, err);
	if (!r)
		p->next = c;
	(void)pthread_cond_broadcast(&p->change);
	(void)pthread_mutex_unlock(&p->lock);
	if (r)
		mem_free(c.bytes);
	return r;
}

struct manifest_sink put_ahead_sink(struct put_ahead *p)
{
	return (struct manifest_sink){.put = put, .ctx = p};
}

int put_ahead_wait(struct put_ahead *p, struct err *err)
{
	(void)pthread_mutex_lock(&p->lock);
	while (p->next.bytes || p->busy)
		(void)pthread_cond_wait(&p->change, &p->lock);
	int r = failure(p, err);
	(void)pthread_mutex_unlock(&p->lock);
	return r;
}
