/*
 * lister - lists a bucket by bare ListObjectsV2 over several connections at once and counts the keys: what a sync is held against.
 *
 * The cuts between the ranges are given: nobody has to find them. Of a page it looks for "<Key>" and the token, nothing else;
 * it keeps nothing, checks nothing but the status, and signs nothing.
 */
#ifndef BENCH_LISTER_LISTER_H
#define BENCH_LISTER_LISTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/err.h"

enum { LISTER_RANGES_MAX = 256, LISTER_KEY_MAX = 1024 };

struct lister_config {
	const char *url; /* http://host:port/bucket; borrowed, like all strings here */
	const char *const
		*cuts;    /* keys, ascending, that need no encoding: where one range ends the next begins */
	size_t cut_count; /* a range and a connection more than this */
};

struct lister_result {
	uint64_t keys, requests;
	int64_t start_ns,
		end_ns; /* CLOCK_MONOTONIC: from before the first connection to after the last page */
};

/* What is counted in one page, of at most @end (NULL: all). */
struct lister_page {
	uint64_t keys;
	bool past;                      /* a key was after @end */
	char token[LISTER_KEY_MAX + 1]; /* "": there is none */
};
void lister_scan(const char *xml, size_t len, const char *end, struct lister_page *ret);

/* 0; -EINVAL; -ENOMEM; -ERR_UNREACHABLE, -EIO (a status that is not 200) with words. */
MUST_CHECK int lister_run(const struct lister_config *config, struct lister_result *ret, struct err *err);

#endif
