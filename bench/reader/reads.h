/*
 * reads - one reader of one file: forwards or in a random order, by pread(2) or through a map, timed and summed.
 *
 * A random order visits every block once before any comes again, so that a file system that keeps pages cannot answer from
 * what this pass brought; it depends on the seed alone, so that two files can be compared by the sum of the same reads.
 * A map is made anew each time the file was gone through: the page faults are part of what is measured.
 */
#ifndef BENCH_READER_READS_H
#define BENCH_READER_READS_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/reader/latency.h"
#include "common/base/attr.h"

enum reads_mode { READS_SEQ, READS_RAND, READS_MMAPSEQ, READS_MMAPRAND };

#define READS_BLOCK_MAX (64u << 20)

struct reads_config {
	enum reads_mode mode;
	uint32_t block;   /* bytes a read, 1 to READS_BLOCK_MAX */
	uint64_t ops_max; /* stop after so many reads; 0: without limit */
	int64_t time_ns;  /* stop after so long; 0: without limit. Neither limit: the file once */
	uint64_t seed;    /* of the random order */
	bool checksum;    /* also sum what was read */
};

struct reads_result {
	uint64_t ops, bytes;
	int64_t start_ns, end_ns; /* CLOCK_MONOTONIC, around the reads alone */
	int64_t cpu_ns;           /* of the calling process in that time, user and system */
	uint32_t crc;             /* CRC32C of all that was read, in order; 0 without checksum */
	struct latency latency;   /* of single reads; through a map of 16 reads each, divided */
};

struct reads;

/* Opens nothing: @fd is borrowed until reads_free(). The map is made here, so that a run after it needs no open.
 * 0, -ENODATA (an empty file), -EINVAL, -ENOMEM, -errno. */
MUST_CHECK int reads_new(int fd, const struct reads_config *config, struct reads **ret);
struct reads *reads_free(struct reads *r); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct reads *, reads_free)

/* Reads until a limit. 0, -ENODATA (the file became shorter), -errno. */
MUST_CHECK int reads_run(struct reads *r, struct reads_result *ret);

/* The place of the @index-th block in the random order of @count blocks: a bijection for @index below @count. */
uint64_t reads_shuffle(uint64_t index, uint64_t count, uint64_t seed);

#endif
