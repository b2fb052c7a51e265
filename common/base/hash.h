/*
 * hash - SHA-256 content names, a keyed hash for tables and inode numbers, and CRC32C of blocks.
 */
#ifndef COMMON_BASE_HASH_H
#define COMMON_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#define HASH256_BYTES 32
#define HASH256_HEX   (2 * HASH256_BYTES + 1)

struct hash256 {
	uint8_t bytes[HASH256_BYTES];
};

/* SHA-256 of @len bytes. */
struct hash256 hash256_of(const void *p, size_t len);

/* SHA-256 over several parts, each preceded by its 64-bit length, so that no two lists of parts collide. */
struct hash_part {
	const void *p;
	size_t len;
};
struct hash256 hash256_of_parts(const struct hash_part *parts, size_t count);

/* Order of the bytes, as memcmp(); and lower-case hexadecimal with its NUL. */
int hash256_compare(const struct hash256 *a, const struct hash256 *b);
void hash256_hex(const struct hash256 *h, char out[HASH256_HEX]);

/* SipHash-2-4 (Aumasson, Bernstein 2012) under a 128-bit key: no input can be made to collide without the key. */
uint64_t siphash24(const uint8_t key[16], const void *p, size_t len);

/* CRC32C (Castagnoli, reflected, as in RFC 3720 B.4) of @len bytes after @crc; start with 0. SSE4.2 where there is. */
uint32_t crc32c(uint32_t crc, const void *p, size_t len);

#endif
