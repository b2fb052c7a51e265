/*
 * test_rig - a cache over a temporary folder and a fake source. Included by tests only.
 */
#ifndef CACHE_NODE_FILL_TEST_RIG_H
#define CACHE_NODE_FILL_TEST_RIG_H

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "cache-node/cache/boot.h"
#include "cache-node/cache/internal.h"
#include "cache-node/cache/test_dir.h"
#include "cache-node/fill/source_fake.h"

#define KB    1024ull
#define MB    (1024ull * KB)
#define BLOCK (256 * KB)

struct rig {
	char *dir;
	uint64_t bytes_max, memory_max;
	uint8_t boot;
	struct source *source;
	struct cache *cache;
	_Atomic uint64_t sealed, spoiled;
	int64_t scrub_ns;
};

static inline void rig_sealed(void *ctx, const struct hash256 *id)
{
	struct rig *rig = ctx;
	(void)id;
	atomic_fetch_add(&rig->sealed, 1);
}

static inline void rig_spoiled(void *ctx, const struct hash256 *id)
{
	struct rig *rig = ctx;
	(void)id;
	atomic_fetch_add(&rig->spoiled, 1);
}

static inline void rig_open(struct rig *rig)
{
	uint8_t boot[SIDECAR_BOOT_BYTES];
	struct err err = {.code = 0};
	memset(boot, rig->boot, sizeof boot);
	int fd = open(rig->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct cache_tier_config tier = {CACHE_TIER_DISK, fd, rig->bytes_max, "disk"};
	struct cache_config config = {.tiers = &tier,
				      .tier_count = 1,
				      .memory_max = rig->memory_max,
				      .sealed = rig_sealed,
				      .spoiled = rig_spoiled,
				      .scrub_ns = rig->scrub_ns,
				      .ctx = rig};
	assert_int_equal(cache_new_in_boot(&config, boot, &rig->cache, &err), 0);
	close(fd);
}

static inline void rig_close(struct rig *rig)
{
	rig->cache = cache_free(rig->cache);
}

/* Another process, with so much room. */
static inline void rig_resize(struct rig *rig, uint64_t bytes_max)
{
	rig_close(rig);
	rig->bytes_max = bytes_max;
	rig_open(rig);
}

/* The key of object @i; the string is reused by the next call. */
static inline const char *rig_name(const char *prefix, uint64_t i)
{
	static char key[32];
	(void)snprintf(key, sizeof key, "%s/%llu", prefix, (unsigned long long)i);
	return key;
}

static inline int rig_setup(void **state)
{
	struct rig *rig = calloc(1, sizeof *rig);
	rig->dir = test_dir_new();
	rig->bytes_max = 1024 * MB;
	rig->memory_max = 64 * MB;
	rig->boot = 1;
	rig->source = fake_new(4711);
	rig_open(rig);
	*state = rig;
	return 0;
}

static inline int rig_teardown(void **state)
{
	struct rig *rig = *state;
	rig_close(rig);
	fake_free(rig->source);
	test_dir_free(rig->dir);
	free(rig);
	return 0;
}

static inline struct cache_object *rig_get_for(struct rig *rig, const char *key, uint64_t size,
					       int64_t timeout_ns)
{
	struct cache_object_spec spec = {
		.size = size, .source = rig->source, .key = key, .dataset = 3, .timeout_ns = timeout_ns};
	struct cache_object *o = NULL;
	spec.id = cache_object_id("domain", key, strlen(key), &spec.validator, size);
	assert_int_equal(cache_get(rig->cache, &spec, &o), 0);
	return o;
}

static inline struct cache_object *rig_get(struct rig *rig, const char *key, uint64_t size)
{
	return rig_get_for(rig, key, size, 0);
}

/* Threads of the cache put their references a moment after they answered. */
static inline void rig_wait_for_nobody(struct rig *rig)
{
	for (size_t live = 1; live; sched_yield()) {
		pthread_mutex_lock(&rig->cache->lock);
		live = rig->cache->live;
		pthread_mutex_unlock(&rig->cache->lock);
	}
}

/* The path of a file of object @key; the string is reused by the next call. */
static inline const char *rig_path(const struct rig *rig, const char *key, uint64_t size, enum tier_file file)
{
	struct validator none = {.kind = VALIDATOR_NONE};
	struct hash256 id = cache_object_id("domain", key, strlen(key), &none, size);
	char path[TIER_PATH_BYTES];
	tier_path(&id, file, path);
	return test_dir_path(rig->dir, "objects", path);
}

struct test_read {
	struct cache_read r;
	const char *key;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	int calls, status;
	bool good;
	char words[512];
};

static inline void test_read_done(struct cache_read *r, int status, const struct iovec *iov, int count,
				  const struct err *err)
{
	struct test_read *t = r->ctx;
	uint64_t at = r->offset;
	bool good = true;
	for (int i = 0; i < count; i++) {
		good &= fake_matches(t->key, at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	pthread_mutex_lock(&t->lock);
	t->calls++;
	t->status = status;
	t->good = status == 0 && good && at == r->offset + r->length;
	(void)snprintf(t->words, sizeof t->words, "%s", err_words(err, status));
	pthread_cond_broadcast(&t->wake);
	pthread_mutex_unlock(&t->lock);
}

static inline void test_read_start(struct test_read *t, struct cache_object *o, const char *key,
				   uint64_t offset, uint64_t length, uint64_t stream)
{
	memset(t, 0, sizeof *t);
	t->key = key;
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->wake, NULL);
	t->r = (struct cache_read){.offset = offset,
				   .length = (uint32_t)length,
				   .stream = stream,
				   .done = test_read_done,
				   .ctx = t};
	cache_read_start(o, &t->r);
}

static inline bool test_read_is_done(struct test_read *t)
{
	pthread_mutex_lock(&t->lock);
	bool done = t->calls > 0;
	pthread_mutex_unlock(&t->lock);
	return done;
}

/* Waits for the end; the status. */
static inline int test_read_wait(struct test_read *t)
{
	pthread_mutex_lock(&t->lock);
	while (!t->calls)
		pthread_cond_wait(&t->wake, &t->lock);
	pthread_mutex_unlock(&t->lock);
	CHECK(t->calls == 1);
	pthread_cond_destroy(&t->wake);
	pthread_mutex_destroy(&t->lock);
	return t->status;
}

/* Reads and checks a range, in reads of at most 1 MiB, one after the other. */
static inline void rig_read(struct cache_object *o, const char *key, uint64_t offset, uint64_t length)
{
	while (length) {
		struct test_read t;
		uint64_t n = MIN(length, MB);
		test_read_start(&t, o, key, offset, n, 1);
		assert_int_equal(test_read_wait(&t), 0);
		assert_true(t.good);
		offset += n;
		length -= n;
	}
}

struct test_load {
	struct cache_load l;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool done;
	int status;
	char words[256];
};

static inline void test_load_done(struct cache_load *l, int status, const struct err *err)
{
	struct test_load *t = l->ctx;
	pthread_mutex_lock(&t->lock);
	(void)snprintf(t->words, sizeof t->words, "%s", err ? err->text : "");
	t->done = true;
	t->status = status;
	pthread_cond_broadcast(&t->wake);
	pthread_mutex_unlock(&t->lock);
}

static inline void test_load_start(struct test_load *t, struct cache_object *o)
{
	memset(t, 0, sizeof *t);
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->wake, NULL);
	t->l.done = test_load_done;
	t->l.ctx = t;
	cache_load_start(o, &t->l);
}

static inline int test_load_wait(struct test_load *t)
{
	pthread_mutex_lock(&t->lock);
	while (!t->done)
		pthread_cond_wait(&t->wake, &t->lock);
	pthread_mutex_unlock(&t->lock);
	pthread_cond_destroy(&t->wake);
	pthread_mutex_destroy(&t->lock);
	return t->status;
}

static inline int rig_load(struct cache_object *o)
{
	struct test_load t;
	test_load_start(&t, o);
	return test_load_wait(&t);
}

static inline struct cache_stats rig_stats(struct rig *rig)
{
	struct cache_stats s;
	cache_stats_get(rig->cache, &s);
	return s;
}

#endif
