/*
 * tables - what manifests cost: bytes a file, and the time to build, list, search and compare them.
 *
 * The entries are made up (regular paths as of an image set, or the lines of a file) with etags of 16 random bytes, sizes and
 * times of an hour, as a listing of a bucket gives them. Chunks lie in files of a folder, as a node keeps them.
 */
#ifndef BENCH_TABLES_TABLES_H
#define BENCH_TABLES_TABLES_H

#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/base/hash.h"

struct tables_config {
	const char *folder; /* an empty one of ours; what is made there stays */
	const char *paths;  /* a file with a path a line, in any order; NULL: regular paths */
	uint64_t count;     /* entries without folders; with @paths at most so many */
	uint64_t changes;   /* of the second version: so many files have another etag; 0: it is not built */
	uint64_t lookups;
	uint64_t seed;
};

struct tables_result {
	uint64_t files, entries, chunks, bytes; /* of the first version; bytes: root and chunks */
	uint64_t changed, added_bytes;          /* what the second one differs in, and wrote anew */
	int64_t build_ns, list_ns, diff_ns; /* the first version's; every entry listed once; both compared */
	int64_t build_cpu_ns;               /* of all processors */
	int64_t decode_ns;                  /* all of its chunks from front to end */
	uint64_t lookup_p50_ns, lookup_p99_ns;
	uint64_t memory; /* the most that the first build had, bytes */
};

/* Builds two versions and measures. The files are those of its own folder, mapped and warm. 0, -errno with words. */
MUST_CHECK int tables_run(const struct tables_config *config, struct tables_result *ret, struct err *err);

/* The path of regular file @i into @out, of which 64 bytes are enough: its length. */
size_t tables_regular_path(uint64_t i, char *out);

#endif
