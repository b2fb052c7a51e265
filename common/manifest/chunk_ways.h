/* chunk_ways - for tests: the next entry of a chunk by either way of decoding, which must be one. */
#ifndef COMMON_MANIFEST_CHUNK_WAYS_H
#define COMMON_MANIFEST_CHUNK_WAYS_H

#include <string.h>

#include "common/manifest/chunk.h"

static inline bool same_cursor(const struct manifest_cursor *a, const struct manifest_cursor *b)
{
	return a->offset == b->offset && a->limit == b->limit && a->index == b->index &&
	       a->path_len == b->path_len && a->seconds == b->seconds && a->mode == b->mode &&
	       a->source == b->source && memcmp(a->shape, b->shape, sizeof a->shape) == 0 &&
	       a->next_ordinal == b->next_ordinal && a->next_below == b->next_below;
}

static inline bool same_entry(const struct chunk_entry *a, const struct chunk_entry *b)
{
	return a->type == b->type && a->mode == b->mode && a->source == b->source && a->size == b->size &&
	       a->mtime_ns == b->mtime_ns && a->descendants == b->descendants && a->path_len == b->path_len &&
	       a->shared == b->shared && memcmp(&a->shape, &b->shape, sizeof a->shape) == 0 &&
	       a->validator == b->validator && a->key == b->key && a->key_len == b->key_len &&
	       a->key_skip == b->key_skip && a->target == b->target && a->target_len == b->target_len;
}

/* As chunk_next(). @path and @spare (MANIFEST_PATH_MAX + 1 bytes each) both hold the path before it, and then this one's. False
 * when the ways differ. */
static inline bool chunk_next_both(const struct chunk_view *v, struct manifest_cursor *c, char *path,
				   char *spare, struct chunk_entry *x, int *ret)
{
	struct manifest_cursor other = *c;
	struct chunk_entry y = {0};

	*x = y;
	int r = chunk_next_any(v, &other, spare, &y);
	*ret = chunk_next(v, c, path, x);
	if (r != *ret)
		return false;
	return r != 0 ||
	       (same_cursor(c, &other) && same_entry(x, &y) && memcmp(path, spare, x->path_len + 1) == 0);
}

#endif
