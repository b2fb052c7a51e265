/*
 * ranges - fetches one object over several connections at once and writes it to a file: what a cold read is held against.
 *
 * It does what a person with N curls does: each connection asks for its range and writes what comes where it belongs, in
 * the pieces that libcurl hands out. Connections are spread over threads, a multi handle each. Nothing is checked but
 * status and length: sums are taken afterwards, outside the measured time.
 */
#ifndef BENCH_RANGES_RANGES_H
#define BENCH_RANGES_RANGES_H

#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/err.h"

enum { RANGES_CONNECTIONS_MAX = 256, RANGES_THREADS_MAX = 64 };

struct ranges_config {
	const char *url;      /* http://host:port/bucket/key, encoded; borrowed, like all strings here */
	uint64_t size;        /* of the object, at least 1 */
	uint64_t part;        /* bytes a request; 0: the object in equal shares, one for each connection */
	uint32_t connections; /* 1 to RANGES_CONNECTIONS_MAX */
	uint32_t threads;     /* 1 to RANGES_THREADS_MAX; more than connections are not started */
	int out_fd;           /* written with pwrite(2); borrowed */
	const char *access_key, *secret_key, *region; /* keys NULL: not signed */
};

struct ranges_result {
	uint64_t bytes, requests;
	int64_t start_ns,
		end_ns; /* CLOCK_MONOTONIC: from before the first connection to after the last write */
};

/* 0; -EINVAL; -ENOMEM; -EAGAIN (no thread); -ERR_UNREACHABLE, -EIO (a status or length that is not right) with words;
 * -errno of a write. */
MUST_CHECK int ranges_run(const struct ranges_config *config, struct ranges_result *ret, struct err *err);

#endif
