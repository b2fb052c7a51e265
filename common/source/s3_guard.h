/*
 * s3_guard - tells a listing that goes on from one that goes round: every listing of finitely many keys ends. Pure.
 *
 * Pages that hold nothing new are counted; a token that comes again is found by Brent's method (R. P. Brent, "An improved
 * Monte Carlo factorization algorithm", 1980) within three rounds of its circle, whatever its length; and where keys come in no
 * order, how many different ones there were is estimated (P. Flajolet et al., "HyperLogLog", 2007: within some 3 % from 1,024
 * registers), for a store that gives the same keys under ever new tokens.
 */
#ifndef COMMON_SOURCE_S3_GUARD_H
#define COMMON_SOURCE_S3_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/source/s3_cut.h"

#define S3_GUARD_IDLE_MAX 100 /* pages without a new key, one after the other */

/* All zero: nothing came. */
struct s3_guard {
	uint64_t mark;          /* hash of a token that was met */
	uint32_t steps, stride; /* since it; after so many another is kept */
	uint32_t idle;          /* pages without a new key */
	uint64_t keys;
	uint8_t registers[1024];
};

/* A key came, in no order. */
void s3_guard_key(struct s3_guard *g, struct s3_key key);

/* A page came that leads on by @token; @idle_max: so many without a new key are borne. 0, or -ERR_CORRUPT with words. */
MUST_CHECK int s3_guard_page(struct s3_guard *g, const char *token, bool new_key, uint32_t idle_max,
			     struct err *err);

#endif
