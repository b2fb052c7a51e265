/*
 * human - counts, durations and progress lines as people read them. Pure.
 */
#ifndef CLI_HUMAN_H
#define CLI_HUMAN_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/attr.h"

#define HUMAN_COUNT_MAX 28 /* of 2^64 - 1 with its commas and NUL */

/* 1281167 -> "1,281,167". */
const char *human_count(uint64_t n, char out[HUMAN_COUNT_MAX]);

/* Seconds as "45s", "3m20s", "2h05m", "4d03h"; @out holds at least 16 bytes. */
const char *human_seconds(uint64_t seconds, char out[16]);

struct human_progress {
	uint64_t objects_done, objects_total, objects_failed;
	uint64_t bytes_done, bytes_total;
	uint64_t bytes_per_second;
};

/* "1.2 GiB of 3.4 GiB (35%), 12 of 80 files, 410.0 MiB/s, 5s left"; without "left" while the rate is not known. */
void human_progress_line(const struct human_progress *p, char *out, size_t size);

/* Of a listing: "12,345 of about 40,000 objects, 1.2 GiB in files, 3,400/s, 8s left"; without total and "left" where nobody
 * knows how many there are. @elapsed_ns since it began. */
void human_sync_line(const struct human_progress *p, int64_t elapsed_ns, char *out, size_t size);

/* Whole percent, rounded down: 100 only when all is done; 100 of nothing. */
unsigned human_percent(uint64_t done, uint64_t total);

#endif
