#include "common/manifest/conflicts.h"

#include <errno.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/base/mem.h"

#define MAGIC       "LDRX\1\0\0" /* with the string's own NUL: 8 bytes */
#define MAGIC_BYTES 8
#define SUM_BYTES   4

struct conflicts *conflicts_new(void)
{
	return mem_calloc(1, sizeof(struct conflicts));
}

static void forget(struct conflicts_of_kind *k)
{
	for (size_t i = 0; i < k->named; i++)
		(void)mem_free(k->first[i].path);
	k->named = 0;
	k->count = 0;
}

struct conflicts *conflicts_free(struct conflicts *c)
{
	for (int i = 0; c && i < CONFLICT_KINDS; i++)
		forget(&c->of[i]);
	return mem_free(c);
}

static int order(const char *a, size_t a_len, const char *b, size_t b_len)
{
	int c = memcmp(a, b, MIN(a_len, b_len));

	return c != 0 ? c : a_len < b_len ? -1 : a_len > b_len;
}

/* Names a conflict among the first, at its place. 0 or -ENOMEM. */
static int name(struct conflicts_of_kind *k, const char *path, size_t len, uint16_t source)
{
	size_t at = k->named;

	while (at > 0 && order(path, len, k->first[at - 1].path, k->first[at - 1].len) < 0)
		at--;
	if (at == CONFLICTS_NAMED_MAX)
		return 0;
	char *copy = mem_strndup(path, len);
	if (!copy)
		return -ENOMEM;
	if (k->named == CONFLICTS_NAMED_MAX)
		(void)mem_free(k->first[--k->named].path);
	memmove(&k->first[at + 1], &k->first[at], (k->named - at) * sizeof k->first[0]);
	k->first[at] = (struct conflict){copy, len, source};
	k->named++;
	return 0;
}

int conflicts_add(struct conflicts *c, enum conflict_kind kind, const char *path, size_t len, uint16_t source)
{
	struct conflicts_of_kind *k = &c->of[kind];

	if (k->earlier)
		return 0;
	int r = name(k, path, MIN(len, (size_t)CONFLICTS_PATH_MAX), source);
	k->count += r == 0;
	return r;
}

void conflicts_clear(struct conflicts *c, enum conflict_kind kind)
{
	if (!c->of[kind].earlier)
		forget(&c->of[kind]);
}

bool conflicts_all_named(const struct conflicts *c, enum conflict_kind kind)
{
	return !c->of[kind].earlier && c->of[kind].count == c->of[kind].named;
}

int conflicts_keep(struct conflicts *c, enum conflict_kind kind, const struct conflicts *before)
{
	const struct conflicts_of_kind *from = &before->of[kind];
	struct conflicts_of_kind *to = &c->of[kind];
	int r = 0;

	for (size_t i = 0; i < from->named && r == 0; i++)
		r = name(to, from->first[i].path, from->first[i].len, from->first[i].source);
	to->count = from->count;
	to->earlier = true;
	return r;
}

/* ---- bytes ---- */

_Static_assert(MAGIC_BYTES + SUM_BYTES +
			       CONFLICT_KINDS *
				       (1 + 2 * VARINT_MAX +
					CONFLICTS_NAMED_MAX * (2 * VARINT_MAX + CONFLICTS_PATH_MAX)) <=
		       CONFLICTS_ENCODED_MAX,
	       "the most there can be");

static size_t room_for(const struct conflicts *c)
{
	size_t room = MAGIC_BYTES + SUM_BYTES;

	for (int i = 0; i < CONFLICT_KINDS; i++) {
		room += 1 + 2 * VARINT_MAX;
		for (size_t j = 0; j < c->of[i].named; j++)
			room += 2 * VARINT_MAX + c->of[i].first[j].len;
	}
	return room;
}

int conflicts_encode(const struct conflicts *c, uint8_t **ret, size_t *ret_len)
{
	uint8_t *bytes = mem_alloc(room_for(c)), *p = bytes;

	if (!bytes)
		return -ENOMEM;
	memcpy(p, MAGIC, MAGIC_BYTES);
	p += MAGIC_BYTES;
	for (int i = 0; i < CONFLICT_KINDS; i++) {
		const struct conflicts_of_kind *k = &c->of[i];
		*p++ = k->earlier;
		p += put_varint(p, k->count);
		p += put_varint(p, k->named);
		for (size_t j = 0; j < k->named; j++) {
			p += put_varint(p, k->first[j].source);
			p += put_varint(p, k->first[j].len);
			memcpy(p, k->first[j].path, k->first[j].len);
			p += k->first[j].len;
		}
	}
	put_le32(p, crc32c(0, bytes, (size_t)(p - bytes)));
	*ret = bytes;
	*ret_len = (size_t)(p - bytes) + SUM_BYTES;
	return 0;
}

/* One kind. 0, -ERR_CORRUPT, -ENOMEM. */
static int decode_kind(struct reader *r, struct conflicts_of_kind *k)
{
	uint8_t earlier = read_u8(r);
	uint64_t count = read_varint(r), named = read_varint(r);

	if (r->bad || earlier > 1 || named > CONFLICTS_NAMED_MAX || named > count)
		return -ERR_CORRUPT;
	for (uint64_t i = 0; i < named; i++) {
		uint64_t source = read_varint(r), len = read_varint(r);
		const char *path =
			len <= CONFLICTS_PATH_MAX ? (const char *)read_bytes(r, (size_t)len) : NULL;
		const struct conflict *last = i ? &k->first[i - 1] : NULL;
		if (!path || source > UINT16_MAX || memchr(path, 0, (size_t)len) ||
		    (last && order(last->path, last->len, path, (size_t)len) > 0))
			return -ERR_CORRUPT;
		int status = name(k, path, (size_t)len, (uint16_t)source);
		if (status != 0)
			return status;
	}
	k->count = count;
	k->earlier = earlier != 0;
	return 0;
}

int conflicts_decode(const uint8_t *bytes, size_t len, struct conflicts **ret)
{
	if (len < MAGIC_BYTES + SUM_BYTES || memcmp(bytes, MAGIC, MAGIC_BYTES) != 0 ||
	    get_le32(bytes + len - SUM_BYTES) != crc32c(0, bytes, len - SUM_BYTES))
		return -ERR_CORRUPT;
	CLEANUP(conflicts_free) struct conflicts *c = conflicts_new();
	struct reader r = reader_over(bytes + MAGIC_BYTES, len - MAGIC_BYTES - SUM_BYTES);
	int status = c ? 0 : -ENOMEM;

	for (int i = 0; i < CONFLICT_KINDS && status == 0; i++)
		status = decode_kind(&r, &c->of[i]);
	if (status == 0 && reader_left(&r) > 0)
		status = -ERR_CORRUPT;
	if (status == 0)
		*ret = TAKE(c);
	return status;
}
