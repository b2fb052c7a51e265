/*
 * synthetic - the content of made-up objects: a pure function of (key, offset) that costs nothing to serve.
 *
 * One pattern of SYNTHETIC_PATTERN + SYNTHETIC_BLOCK pseudo-random bytes is shared by all objects (splitmix64 from seed 1,
 * little-endian words). Block b (4 KiB) of an object is the stretch of the pattern that starts at
 *
 *     mix(fnv1a64(key) + b) mod SYNTHETIC_PATTERN        (mix: the finaliser of splitmix64)
 *
 * so a server sends slices of one cached MiB, and a reader notices a wrong object, block or byte. @key is "BUCKET/KEY".
 * All in this header, since the tests of other parts check what they read against it.
 */
#ifndef BENCH_ORIGIN_SYNTHETIC_H
#define BENCH_ORIGIN_SYNTHETIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SYNTHETIC_PATTERN (1u << 20)
#define SYNTHETIC_BLOCK   4096u
#define SYNTHETIC_BYTES   (SYNTHETIC_PATTERN + SYNTHETIC_BLOCK) /* of the pattern's buffer */

static inline uint64_t synthetic_mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* Fills the pattern, SYNTHETIC_BYTES long. */
static inline void synthetic_fill_pattern(uint8_t *pattern)
{
	uint64_t x = 1;

	for (size_t i = 0; i < SYNTHETIC_BYTES; i += 8) {
		uint64_t v = synthetic_mix(x += 0x9e3779b97f4a7c15u);
		for (size_t k = 0; k < 8; k++)
			pattern[i + k] = (uint8_t)(v >> (8 * k));
	}
}

static inline uint64_t synthetic_key(const char *key)
{
	uint64_t h = 0xcbf29ce484222325u;

	for (; *key; key++)
		h = (h ^ (uint8_t)*key) * 0x100000001b3u;
	return h;
}

/* Where in the pattern the byte at @offset stands; the rest of its 4 KiB block follows there. */
static inline size_t synthetic_place(uint64_t key, uint64_t offset)
{
	return (size_t)(synthetic_mix(key + offset / SYNTHETIC_BLOCK) % SYNTHETIC_PATTERN +
			offset % SYNTHETIC_BLOCK);
}

/* True when @bytes are those of the object at @offset. */
static inline bool synthetic_equal(const uint8_t *pattern, uint64_t key, uint64_t offset,
				   const uint8_t *bytes, size_t len)
{
	while (len > 0) {
		size_t n = SYNTHETIC_BLOCK - offset % SYNTHETIC_BLOCK;
		if (n > len)
			n = len;
		if (memcmp(bytes, pattern + synthetic_place(key, offset), n) != 0)
			return false;
		bytes += n;
		offset += n;
		len -= n;
	}
	return true;
}

#endif
