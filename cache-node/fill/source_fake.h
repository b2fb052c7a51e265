/*
 * source_fake - a source in memory for tests: bytes computed from key and offset, delivered by threads in pieces of random
 * size, held back and failed as the test says. It defines the source_* functions that the cache calls; only *_test.c
 * include it, one file a program.
 */
#ifndef CACHE_NODE_FILL_SOURCE_FAKE_H
#define CACHE_NODE_FILL_SOURCE_FAKE_H

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/list.h"
#include "common/base/rng.h"
#include "common/source.h"

#define FAKE_THREADS 2

struct source {
	pthread_mutex_t lock; /* of all below */
	pthread_cond_t wake;
	struct list ops;
	pthread_t threads[FAKE_THREADS];
	bool stop;
	uint64_t allowance;  /* bytes that may still be delivered; UINT64_MAX: all */
	int fail_status;     /* operations end so ... */
	uint64_t fail_after; /* ... once they delivered so many bytes */
	uint64_t fail_count; /* ... so many of them */
	size_t chunk_max;    /* bytes of one delivery */
	struct rng rng;
	uint64_t request_bytes;        /* source_request_bytes() */
	uint64_t took_bytes, took_odd; /* what source_took() said, in all; with times that cannot be */
	uint64_t delivered, requests, cancelled, running, running_max;
};

struct source_op {
	struct list link;
	struct source *source;
	struct source_read_request request;
	uint64_t at; /* bytes delivered */
	bool busy, paused, resumed, cancelled;
	char key[64];
};

uint64_t source_request_bytes(const struct source *s)
{
	return s->request_bytes;
}

void source_took(struct source *s, uint64_t bytes, int64_t first_ns, int64_t whole_ns)
{
	pthread_mutex_lock(&s->lock);
	s->took_bytes += bytes;
	s->took_odd += first_ns <= 0 || whole_ns < first_ns;
	pthread_mutex_unlock(&s->lock);
}

static inline uint64_t fake_word(uint64_t key, uint64_t index)
{
	uint64_t x = (index + key) * 0x9e3779b97f4a7c15ull;
	return x ^ x >> 29;
}

static inline uint64_t fake_key(const char *key)
{
	uint64_t h = 1469598103934665603ull;
	for (; *key; key++)
		h = (h ^ (uint8_t)*key) * 1099511628211ull;
	return h;
}

/* The bytes of object @key from @offset on. */
static inline void fake_bytes(const char *key, uint64_t offset, uint8_t *buf, size_t len)
{
	uint64_t k = fake_key(key);
	while (len) {
		uint64_t w = fake_word(k, offset / 8);
		size_t skip = offset % 8, n = MIN(8 - skip, len);
		memcpy(buf, (const uint8_t *)&w + skip, n);
		buf += n;
		offset += n;
		len -= n;
	}
}

/* Whether @buf holds the bytes of object @key from @offset on. */
static inline bool fake_matches(const char *key, uint64_t offset, const uint8_t *buf, size_t len)
{
	uint64_t k = fake_key(key);
	while (len) {
		uint64_t w = fake_word(k, offset / 8);
		size_t skip = offset % 8, n = MIN(8 - skip, len);
		if (memcmp(buf, (const uint8_t *)&w + skip, n) != 0)
			return false;
		buf += n;
		offset += n;
		len -= n;
	}
	return true;
}

/* Ends an operation; the lock is held, let go for the callback, and taken again. */
static inline void fake_end(struct source *s, struct source_op *op, int status)
{
	struct err err = {.code = 0};
	list_remove(&op->link);
	s->running--;
	if (status == -ECANCELED)
		s->cancelled++;
	pthread_mutex_unlock(&s->lock);
	if (status)
		err_set(&err, status, "fake: %s: status %d", op->key, status);
	op->request.sink->done(op->request.ctx, status, &err);
	free(op);
	pthread_mutex_lock(&s->lock);
}

/* One step of an operation, under the lock. */
static inline void fake_step(struct source *s, struct source_op *op)
{
	if (op->cancelled) {
		fake_end(s, op, -ECANCELED);
		return;
	}
	if (s->fail_count && op->at >= s->fail_after) {
		s->fail_count -= s->fail_count != UINT64_MAX;
		fake_end(s, op, s->fail_status);
		return;
	}
	size_t n = 8 * (1 + rng_below(&s->rng, s->chunk_max / 8)), room = 0;
	op->busy = true;
	op->resumed = false;
	pthread_mutex_unlock(&s->lock);
	uint8_t *to = op->request.sink->space(op->request.ctx, &room);
	pthread_mutex_lock(&s->lock);
	if (!to) {
		op->busy = false;
		op->paused = !op->resumed;
		return;
	}
	n = MIN(n, room);
	n = MIN(n, op->request.length - op->at);
	n = MIN(n, s->allowance);
	if (s->fail_count)
		n = MIN(n, s->fail_after - op->at);
	if (s->allowance != UINT64_MAX)
		s->allowance -= n;
	s->delivered += n;
	pthread_mutex_unlock(&s->lock);
	fake_bytes(op->key, op->request.offset + op->at, to, n);
	op->request.sink->filled(op->request.ctx, n);
	pthread_mutex_lock(&s->lock);
	op->at += n;
	op->busy = false;
	if (op->at == op->request.length)
		fake_end(s, op, 0);
}

static inline struct source_op *fake_runnable(struct source *s)
{
	list_for_each (l, &s->ops) {
		struct source_op *op = LIST_ENTRY(l, struct source_op, link);
		if (!op->busy && (op->cancelled || (!op->paused && s->allowance) ||
				  (s->fail_count && op->at >= s->fail_after))) {
			list_remove(&op->link);
			list_push_back(&s->ops, &op->link);
			return op;
		}
	}
	return NULL;
}

static inline void *fake_run(void *arg)
{
	struct source *s = arg;
	pthread_mutex_lock(&s->lock);
	while (!s->stop) {
		struct source_op *op = fake_runnable(s);
		if (op)
			fake_step(s, op);
		else
			pthread_cond_wait(&s->wake, &s->lock);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

static inline struct source *fake_new(uint64_t seed)
{
	struct source *s = calloc(1, sizeof *s);
	CHECK(s);
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->wake, NULL);
	list_init(&s->ops);
	s->allowance = UINT64_MAX;
	s->chunk_max = 64 << 10;
	s->request_bytes = 8 << 20;
	s->rng = rng_seeded(seed);
	for (int i = 0; i < FAKE_THREADS; i++)
		CHECK(pthread_create(&s->threads[i], NULL, fake_run, s) == 0);
	return s;
}

static inline void fake_free(struct source *s)
{
	pthread_mutex_lock(&s->lock);
	CHECK(list_empty(&s->ops));
	s->stop = true;
	pthread_cond_broadcast(&s->wake);
	pthread_mutex_unlock(&s->lock);
	for (int i = 0; i < FAKE_THREADS; i++)
		pthread_join(s->threads[i], NULL);
	pthread_cond_destroy(&s->wake);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* Only so many bytes more are delivered; UINT64_MAX: all. */
static inline void fake_allow(struct source *s, uint64_t bytes)
{
	pthread_mutex_lock(&s->lock);
	s->allowance = bytes;
	pthread_cond_broadcast(&s->wake);
	pthread_mutex_unlock(&s->lock);
}

/* The next @count operations (UINT64_MAX: all) end with @status once each delivered @after bytes. */
static inline void fake_fail(struct source *s, int status, uint64_t after, uint64_t count)
{
	pthread_mutex_lock(&s->lock);
	s->fail_status = status;
	s->fail_after = after;
	s->fail_count = count;
	pthread_cond_broadcast(&s->wake);
	pthread_mutex_unlock(&s->lock);
}

static inline uint64_t fake_count(struct source *s, const uint64_t *counter)
{
	pthread_mutex_lock(&s->lock);
	uint64_t n = *counter;
	pthread_mutex_unlock(&s->lock);
	return n;
}

int source_read(struct source *s, const struct source_read_request *request, struct source_op **ret)
{
	struct source_op *op = calloc(1, sizeof *op);
	CHECK(op);
	CHECK(request->length > 0 && request->offset + request->length <= request->object_size);
	CHECK(strlen(request->key) < sizeof op->key);
	op->source = s;
	op->request = *request;
	memcpy(op->key, request->key, strlen(request->key) + 1);
	*ret = op;
	pthread_mutex_lock(&s->lock);
	list_push_back(&s->ops, &op->link);
	s->requests++;
	s->running++;
	s->running_max = MAX(s->running_max, s->running);
	pthread_cond_broadcast(&s->wake);
	pthread_mutex_unlock(&s->lock);
	return 0;
}

void source_op_cancel(struct source_op *op)
{
	struct source *s = op->source;
	pthread_mutex_lock(&s->lock);
	op->cancelled = true;
	pthread_cond_broadcast(&s->wake);
	pthread_mutex_unlock(&s->lock);
}

void source_op_resume(struct source_op *op)
{
	struct source *s = op->source;
	pthread_mutex_lock(&s->lock);
	op->paused = false;
	op->resumed = true;
	pthread_cond_broadcast(&s->wake);
	pthread_mutex_unlock(&s->lock);
}

#endif
