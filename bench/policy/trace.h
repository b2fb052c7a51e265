/*
 * trace - which objects are read in which order: made up from a seed, or read from a file.
 *
 * Threads: none of its own; a finished trace is only read.
 */
#ifndef BENCH_POLICY_TRACE_H
#define BENCH_POLICY_TRACE_H

#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/err.h"

#define TRACE_SIZE_MAX 16384 /* units an object */

struct trace {
	uint32_t *keys;  /* @count reads of objects 0 to @objects - 1 */
	uint32_t *sizes; /* of each object, in units */
	uint32_t count, objects;
	uint64_t units; /* of all objects together */
};

/* Frees what a trace holds; an empty one is fine. */
void trace_done(struct trace *t);

/* All makers below: 0 and *ret is the caller's, or -ENOMEM. Objects are of one unit unless it says otherwise. */

/* @count reads of @objects, the n-th most popular with a weight of n to the power of -@skew. */
MUST_CHECK int trace_zipf(uint32_t objects, uint32_t count, double skew, uint64_t seed, struct trace *ret);

/* The same, with objects of 1 to TRACE_SIZE_MAX units: each power of two as likely as any other, whatever the popularity. */
MUST_CHECK int trace_sizes(uint32_t objects, uint32_t count, double skew, uint64_t seed, struct trace *ret);

/* Zipf as above; after each @stretch reads, @stretch others are read in order that are never read again. */
MUST_CHECK int trace_zipf_scan(uint32_t objects, uint32_t count, double skew, uint32_t stretch, uint64_t seed,
			       struct trace *ret);

/* All @objects in order, @rounds times. */
MUST_CHECK int trace_loop(uint32_t objects, uint32_t rounds, struct trace *ret);

/* All @objects once in each of @rounds, each round in a random order of its own: epochs of a training. */
MUST_CHECK int trace_shuffle(uint32_t objects, uint32_t rounds, uint64_t seed, struct trace *ret);

/* Two halves of the objects, each as by trace_shuffle() half of @rounds (an even number) long: one training after another. */
MUST_CHECK int trace_shift(uint32_t objects, uint32_t rounds, uint64_t seed, struct trace *ret);

/* Lines of a number each, as the LIRS traces have; other lines are passed over. -EINVAL without any, -errno, with words. */
MUST_CHECK int trace_load(const char *path, struct trace *ret, struct err *err);

/* The same numbers from memory. 0, -EINVAL without any, -ENOMEM. */
MUST_CHECK int trace_of_numbers(const uint64_t *numbers, uint32_t count, struct trace *ret);

#endif
