/*
 * format - the constants of docs/formats/manifest.md that writer and reader share.
 */
#ifndef COMMON_MANIFEST_FORMAT_H
#define COMMON_MANIFEST_FORMAT_H

#include <stdint.h>

#define MANIFEST_FORMAT_VERSION 1

/* Magic, version, three zero bytes. */
#define CHUNK_MAGIC        "LDRC\1\0\0" /* with the string's own NUL: 8 bytes */
#define DELTA_MAGIC        "LDRD\1\0\0"
#define ROOT_MAGIC         "LDRR\1\0\0"
#define ROOT_DELTA_MAGIC   "LDRR\2\0\0" /* of a root with deltas */
#define ROOT_MAGIC_BYTES   4
#define CHUNK_HEADER_BYTES 8
#define ROOT_HEADER_BYTES  8
#define CHUNK_FOOTER_BYTES 12 /* offset of the index, blocks, entries: le32 each */

/* The flags byte of an entry. */
#define FLAG_TYPE_MASK 3u /* enum manifest_type less one */
#define FLAG_KEY_SHIFT 2
#define FLAG_KEY_MASK  (3u << FLAG_KEY_SHIFT)
#define FLAG_NSEC      (1u << 4)
#define FLAG_MODE      (1u << 5)
#define FLAG_SOURCE    (1u << 6)
#define FLAG_SHAPE     (1u << 7)
/* The number before an edit: what it does in the low bits, the entries before it that stay in the others. */
#define EDIT_KIND_BITS 2
enum { KEY_PATH = 0, KEY_SUFFIX = 1, KEY_OWN = 2 };

#define SHAPE_KIND_MASK 3u
#define SHAPE_QUOTED    4u

static inline uint64_t zigzag(int64_t v)
{
	return (uint64_t)v << 1 ^ (v < 0 ? UINT64_MAX : 0);
}

static inline int64_t unzigzag(uint64_t v)
{
	return (int64_t)(v >> 1 ^ (v & 1 ? UINT64_MAX : 0));
}

static inline int64_t floor_seconds(int64_t ns)
{
	return ns / 1000000000LL - (ns % 1000000000LL < 0);
}

#endif
