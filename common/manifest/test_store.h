/* test_store - for tests: a store of chunks in memory, which counts what is mapped. */
#ifndef COMMON_MANIFEST_TEST_STORE_H
#define COMMON_MANIFEST_TEST_STORE_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/err.h"
#include "common/base/hash.h"

struct blob {
	struct hash256 hash;
	uint8_t *bytes;
	size_t len;
};
struct store {
	struct blob *blobs;
	size_t count, size;
	_Atomic long maps, mapped; /* calls; now mapped */
};

static inline int store_put(void *ctx, const struct hash256 *hash, const void *bytes, size_t len,
			    struct err *err)
{
	struct store *s = ctx;
	if (s->count == s->size) {
		s->size = s->size * 2 + 16;
		s->blobs = realloc(s->blobs, s->size * sizeof *s->blobs);
	}
	struct blob *b = &s->blobs[s->count++];
	b->hash = *hash;
	b->len = len;
	b->bytes = malloc(len);
	memcpy(b->bytes, bytes, len);
	return 0;
}

static inline struct blob *store_find(struct store *s, const struct hash256 *hash)
{
	for (size_t i = 0; i < s->count; i++)
		if (hash256_compare(&s->blobs[i].hash, hash) == 0)
			return &s->blobs[i];
	return NULL;
}

static inline int store_map(void *ctx, const struct hash256 *hash, const uint8_t **ret, size_t *ret_len,
			    struct err *err)
{
	struct store *s = ctx;
	struct blob *b = store_find(s, hash);
	if (!b)
		return -ENOENT;
	s->maps++;
	s->mapped++;
	*ret = b->bytes;
	*ret_len = b->len;
	return 0;
}

static inline void store_unmap(void *ctx, const uint8_t *bytes, size_t len)
{
	struct store *s = ctx;
	s->mapped--;
}

static inline void store_done(struct store *s)
{
	assert_int_equal(s->mapped, 0);
	for (size_t i = 0; i < s->count; i++)
		free(s->blobs[i].bytes);
	free(s->blobs);
	*s = (struct store){0};
}

#endif
