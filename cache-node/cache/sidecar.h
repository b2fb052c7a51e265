/*
 * sidecar - the table beside an object's file: which blocks are there, and the CRC32C of each.
 *
 * This module is the codec alone: bytes in, bytes out, no file. The layout is written down in docs/formats/sidecar.md.
 * The bitmap and the CRCs are used in place, in a shared mapping of the file, so that what was recorded survives the
 * death of the process: the CRC of a block is stored before its bit is set (release), and read after it (acquire).
 *
 * Threads: bits and CRCs may be used by many; two writers of one block at a time are a bug of the caller.
 */
#ifndef CACHE_NODE_CACHE_SIDECAR_H
#define CACHE_NODE_CACHE_SIDECAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/hash.h"
#include "common/validator.h"

#define SIDECAR_HEADER_BYTES 256
#define SIDECAR_BLOCK_BYTES  (256u << 10)        /* block size of what we write; others are read as unknown */
#define SIDECAR_SIZE_MAX     (UINT64_C(1) << 48) /* bytes of the largest object */
#define SIDECAR_BOOT_BYTES   16
#define SIDECAR_KEY_BYTES \
	115 /* the end of an object's key, and its NUL; what is written is 8 bytes shorter */

struct sidecar_header {
	bool sealed;
	uint64_t size;                    /* bytes of the object, at most SIDECAR_SIZE_MAX */
	uint8_t boot[SIDECAR_BOOT_BYTES]; /* boot in which the bytes were written or last verified */
	struct hash256 id;
	struct validator validator;
	char key[SIDECAR_KEY_BYTES]; /* the end of its key, for people; "" where it is not known */
	uint64_t share;              /* whose room it takes: share_name(); 0: not known */
};

/* Blocks of an object of @size bytes. */
static inline uint64_t sidecar_blocks(uint64_t size)
{
	return (size + SIDECAR_BLOCK_BYTES - 1) / SIDECAR_BLOCK_BYTES;
}

/* Bytes of the whole sidecar of an object of @size bytes. */
size_t sidecar_bytes(uint64_t size);

/* Writes the header with its checksum, as docs/formats/sidecar.md says. */
void sidecar_encode(const struct sidecar_header *h, uint8_t out[SIDECAR_HEADER_BYTES]);

/* Reads the header of a sidecar of @len bytes nobody vouches for. 0, or -ERR_CORRUPT: magic, version, block size, CRC,
 * a field out of range, or a length that does not fit the object's size. */
MUST_CHECK int sidecar_decode(const uint8_t *bytes, size_t len, struct sidecar_header *ret);

/* The same of the header alone, whatever the length of the whole. */
MUST_CHECK int sidecar_decode_header(const uint8_t bytes[SIDECAR_HEADER_BYTES], struct sidecar_header *ret);

/* The end of @key as a header holds it. */
void sidecar_name(char ret[SIDECAR_KEY_BYTES], const char *key);

/* @map is a whole sidecar whose header was decoded; @block is below sidecar_blocks(). */
bool sidecar_has(const uint8_t *map, uint64_t block);
void sidecar_set(uint8_t *map, uint64_t size, uint64_t block, uint32_t crc);
/* False when the bit was not set. */
bool sidecar_clear(uint8_t *map, uint64_t block);
uint32_t sidecar_crc(const uint8_t *map, uint64_t size, uint64_t block);

/* Bits set below sidecar_blocks(size). */
uint64_t sidecar_count(const uint8_t *map, uint64_t size);

#endif
