#include <string.h>

#include "common/base/bytes.h"
#include "common/manifest/chunk.h"
#include "common/manifest/format.h"

/* Bytes that are read of a plain entry at most, and those that are copied behind its path's. */
enum { PLAIN_ROOM = 3 + 127 + 16 + 8 + VALIDATOR_BYTES_MAX + 8 };

/* As varint_decode8(). Lengths that most numbers of a table have are guessed by the processor, which then goes on with what
 * follows before this one has been looked at. */
static inline const uint8_t *plain_varint(const uint8_t *p, uint64_t *ret)
{
	if (p[0] < 128) {
		*ret = p[0];
		return p + 1;
	}
	if (p[1] >= 128 && p[2] < 128 && p[2] > 0) {
		*ret = (p[0] & 127u) | (p[1] & 127u) << 7 | (unsigned)p[2] << 14;
		return p + 3;
	}
	return varint_decode8(p, ret);
}

/* Time, validator and size of a plain entry, and where it ends; NULL: it is not plain. */
static const uint8_t *read_plain(const uint8_t *p, struct manifest_cursor *c, struct chunk_entry *x)
{
	uint64_t delta, number;
	int64_t seconds;

	p = plain_varint(p, &delta);
	if (!p || __builtin_add_overflow(c->seconds, unzigzag(delta), &seconds) ||
	    __builtin_mul_overflow(seconds, (int64_t)1000000000, &x->mtime_ns))
		return NULL;
	x->shape = (struct validator_shape){c->shape[0], c->shape[1], c->shape[2]};
	x->validator = p;
	p = plain_varint(p + x->shape.hex + x->shape.tail, &number);
	if (!p)
		return NULL;
	c->seconds = seconds;
	*(x->type == MANIFEST_FILE ? &x->size : &x->descendants) = number;
	return p;
}

/*
 * The next entry if it is plain, as most are: a file or folder of which only name, time, validator and size differ from
 * those of the one before, none of them long, and not the first of its block. Such are decoded without looking for the
 * end at each step, since the longest is shorter than what is left of the chunk. False: it is not, and nothing but @path
 * (behind what it shares) and @x was touched.
 */
static inline bool next_plain(const struct chunk_view *v, struct manifest_cursor *c, char *path,
			      struct chunk_entry *x)
{
	if (v->delta || c->index % CHUNK_BLOCK_ENTRIES == 0 || c->limit > v->index_at ||
	    c->offset > v->index_at || v->index_at - c->offset < PLAIN_ROOM)
		return false;
	const uint8_t *p = v->bytes + c->offset;
	unsigned flags = p[0], shared = p[1], rest = p[2];
	if (flags + 1 > MANIFEST_DIR || (shared | rest) > 127 || shared > c->path_len)
		return false;
	chunk_entry_begin(x, (uint8_t)flags);
	x->mode = c->mode;
	x->source = c->source;
	x->shared = shared;
	x->path_len = shared + rest;
	for (unsigned i = 0; i < rest; i += 16)
		memcpy(path + shared + i, p + 3 + i, 16);
	int64_t seconds = c->seconds;
	p = read_plain(p + 3 + rest, c, x);
	if (!p)
		return false;
	if (p > v->bytes + c->limit) {
		c->seconds = seconds;
		return false;
	}
	path[x->path_len] = 0;
	c->path_len = (uint32_t)x->path_len;
	c->offset = (uint32_t)(p - v->bytes);
	c->index++;
	return true;
}

int chunk_next(const struct chunk_view *v, struct manifest_cursor *c, char *path, struct chunk_entry *ret)
{
	if (c->index < v->entries && next_plain(v, c, path, ret))
		return 0;
	return chunk_next_any(v, c, path, ret);
}
