/*
 * validator - what a source says about the bytes of an object, so that old and new bytes are never mixed (design 3).
 *
 * Strong: equal validators mean equal bytes (etag, generation, version id). Weak: very likely (inode, size, mtime and
 * ctime of a file; a weak etag). None: the source says nothing; status warns.
 */
#ifndef COMMON_VALIDATOR_H
#define COMMON_VALIDATOR_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum validator_kind { VALIDATOR_NONE = 0, VALIDATOR_WEAK = 1, VALIDATOR_STRONG = 2 };

#define VALIDATOR_BYTES_MAX 62 /* longer ones are kept as "sha256:" and 40 hex digits of their hash */

struct validator {
	uint8_t kind; /* enum validator_kind */
	uint8_t len;  /* bytes used, at most VALIDATOR_BYTES_MAX; 0 with VALIDATOR_NONE */
	uint8_t bytes[VALIDATOR_BYTES_MAX];
};

static inline bool validator_equal(const struct validator *a, const struct validator *b)
{
	return a->kind == b->kind && a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

#endif
