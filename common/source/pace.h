/*
 * pace - how many bytes one read of a source should ask for. Pure: now is an argument, in nanoseconds of one clock.
 *
 * The two numbers of BBR (Cardwell et al., "BBR: Congestion-Based Congestion Control", ACM Queue 14(5), 2016), kept of whole
 * requests: the greatest rate and the shortest time to the first byte of the last seconds. Neither is bent by reads that waited
 * for each other. A request is worth its price when its bytes take as long as its first byte did; with fewer, connections stand
 * idle, with more, too few of them fit into the memory that reading ahead may use.
 */
#ifndef COMMON_SOURCE_PACE_H
#define COMMON_SOURCE_PACE_H

#include <stdint.h>

#include "common/base/attr.h"

#define PACE_WINDOW_NS INT64_C(10000000000) /* what is older than one to two of them is forgotten */
#define PACE_LEAST_NS \
	INT64_C(10000000) /* a near store: so long of its rate, for what a request costs both ends */

#define PACE_UNKNOWN_BYTES (UINT64_C(4) << 20)

struct pace {
	int64_t began_ns; /* of the window */
	/* [0]: this window, [1]: the one before it. Bytes a second, 0: none; nanoseconds. */
	uint64_t rate[2];
	int64_t first_ns[2];
};

/* A read of @bytes (at least 1) ended well at @now_ns, @whole_ns after it was asked for; its first byte came after @first_ns. */
void pace_took(struct pace *p, int64_t now_ns, uint64_t bytes, int64_t first_ns, int64_t whole_ns);

/* The bytes that one request should ask for: a power of two between @least and @most (powers of two); while nothing is known,
 * the one nearest to PACE_UNKNOWN_BYTES. */
MUST_CHECK uint64_t pace_bytes(const struct pace *p, uint64_t least, uint64_t most);

#endif
