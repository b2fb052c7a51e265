/* checksum - a checksum that somebody announced, computed along over bytes as they pass. Pure. */
#ifndef COMMON_SOURCE_CHECKSUM_H
#define COMMON_SOURCE_CHECKSUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/err.h"

enum checksum_kind { CHECKSUM_NONE, CHECKSUM_SHA256, CHECKSUM_CRC32C, CHECKSUM_CRC32 };

struct checksum {
	enum checksum_kind kind;
	uint8_t want[32];
	void *md; /* SHA256 while it is computed */
	uint32_t crc;
};

/* "sha256:" and 64, "crc32c:" or "crc32:" and 8 hex digits. False: neither; @c has no kind then. */
MUST_CHECK bool checksum_parse(struct checksum *c, const char *text);

/* Begins anew. 0 or -ENOMEM. A checksum without a kind takes all, and agrees. */
MUST_CHECK int checksum_start(struct checksum *c);
void checksum_add(struct checksum *c, const void *p, size_t len);

/* All bytes were added: 0, or -ERR_CORRUPT with words. */
MUST_CHECK int checksum_check(struct checksum *c, struct err *err);

/* Frees what a start took. */
void checksum_done(struct checksum *c);

#endif
