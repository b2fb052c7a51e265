/*
 * bytes - little-endian integers in files and on the wire, varints, hexadecimal, and a bounds-checked reader.
 */
#ifndef COMMON_BASE_BYTES_H
#define COMMON_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/attr.h"

static inline void put_le16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
}

static inline void put_le32(uint8_t *p, uint32_t v)
{
	put_le16(p, (uint16_t)v);
	put_le16(p + 2, (uint16_t)(v >> 16));
}

static inline void put_le64(uint8_t *p, uint64_t v)
{
	put_le32(p, (uint32_t)v);
	put_le32(p + 4, (uint32_t)(v >> 32));
}

static inline uint16_t get_le16(const uint8_t *p)
{
	return (uint16_t)(p[0] | (uint16_t)(p[1] << 8));
}

static inline uint32_t get_le32(const uint8_t *p)
{
	return (uint32_t)get_le16(p) | (uint32_t)get_le16(p + 2) << 16;
}

/* Written so that compilers make one load of it. */
static inline uint64_t get_le64(const uint8_t *p)
{
	return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24 |
	       (uint64_t)p[4] << 32 | (uint64_t)p[5] << 40 | (uint64_t)p[6] << 48 | (uint64_t)p[7] << 56;
}

#define VARINT_MAX 10 /* bytes of the longest varint (LEB128 of 64 bits) */

/* Writes @v as LEB128; returns the bytes used, at most VARINT_MAX. */
size_t put_varint(uint8_t *p, uint64_t v);

/* A reader over bytes nobody vouches for. After any failure `bad` stays set, nothing is left and all reads answer 0 or NULL, so
 * a decoder may check once at the end of a record. */
struct reader {
	const uint8_t *p, *end;
	bool bad;
};

static inline struct reader reader_over(const void *p, size_t len)
{
	return (struct reader){.p = p, .end = (const uint8_t *)p + len};
}

static inline size_t reader_left(const struct reader *r)
{
	return (size_t)(r->end - r->p);
}

static inline void reader_fail(struct reader *r)
{
	r->p = r->end;
	r->bad = true;
}

/* Each takes its value off the front; where too little is left, 0 or NULL and bad. Manifests are decoded by the ten million, so
 * what they need stands here, to be inlined. */
uint16_t read_le16(struct reader *r);
uint32_t read_le32(struct reader *r);
uint64_t read_le64(struct reader *r);

/* Borrowed from the input; NULL when bad. */
static inline const uint8_t *read_bytes(struct reader *r, size_t len)
{
	if (reader_left(r) < len || r->bad) {
		reader_fail(r);
		return NULL;
	}
	const uint8_t *p = r->p;
	r->p += len;
	return p;
}

static inline uint8_t read_u8(struct reader *r)
{
	if (r->p < r->end)
		return *r->p++;
	reader_fail(r);
	return 0;
}

/* A varint of up to eight bytes, the most that are read: those up to the first without its high bit, their sevens of bits moved
 * together. Where it ends; NULL: it is longer, or not in its shortest form. */
static inline const uint8_t *varint_decode8(const uint8_t *p, uint64_t *ret)
{
	uint64_t v = get_le64(p), ends = ~v & UINT64_C(0x8080808080808080);

	if (!ends)
		return NULL;
	unsigned bits = (unsigned)__builtin_ctzll(ends) + 1;
	v &= ends ^ (ends - 1);
	if (bits > 8 && v >> (bits - 8) == 0)
		return NULL;
	v = (v & UINT64_C(0x007f007f007f007f)) | (v & UINT64_C(0x7f007f007f007f00)) >> 1;
	v = (v & UINT64_C(0x00003fff00003fff)) | (v & UINT64_C(0x3fff00003fff0000)) >> 2;
	*ret = (v & UINT64_C(0x000000000fffffff)) | (v & UINT64_C(0x0fffffff00000000)) >> 4;
	return p + bits / 8;
}

/* A varint that is long or near the end: where it ends, NULL when it is bad. Not inlined, and without the reader: whose address is
 * known elsewhere is kept in memory. */
const uint8_t *varint_decode(const uint8_t *p, const uint8_t *end, uint64_t *ret);

/* Over-long or over 64 bits is bad. */
static inline uint64_t read_varint(struct reader *r)
{
	uint64_t v = 0;

	if (r->p < r->end && *r->p < 128)
		return *r->p++;
	const uint8_t *p = varint_decode(r->p, r->end, &v);
	if (!p) {
		reader_fail(r);
		return 0;
	}
	r->p = p;
	return v;
}

/* Writes a character of Unicode (at most 0x10ffff) as UTF-8; returns the bytes used, 1 to 4. */
size_t put_utf8(uint32_t c, char out[4]);

/* The value of a hexadecimal digit of either case; -1: it is none. */
int hex_digit(char c);

/* Lower-case hexadecimal of @len bytes into @out, which holds 2 * len + 1. */
void hex_encode(const uint8_t *bytes, size_t len, char *out);

/* Decodes exactly 2 * @len digits of @hex. 0 or -EINVAL. */
MUST_CHECK int hex_decode(const char *hex, uint8_t *ret, size_t len);

#endif
