/*
 * s3_source - what s3.c and s3_listing.c share.
 */
#ifndef COMMON_SOURCE_S3_SOURCE_H
#define COMMON_SOURCE_S3_SOURCE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "common/source/s3_error.h"
#include "common/source/s3_place.h"
#include "common/source/web.h"

struct s3_keys;

struct s3_source {
	struct web_source web;
	struct s3_place place; /* the loop's thread changes it, when the bucket is in another region */
	unsigned moves;
	atomic_bool no_sums; /* the store does not know the question for a checksum */
	bool disordered;     /* its listings do not hold what S3 promises of their order; the loop's thread */
	struct s3_keys *keys; /* NULL: its own, or none */
};

/* The source that an operation is of. */
struct s3_source *s3_of(const struct web_op *op);

/* The URL and headers of a request for @path with @query (NULL: out of memory). 0 or a negative code. */
MUST_CHECK int s3_fill_request(struct web_op *op, struct web_fetch *f, const char *path, const char *query);

/* "versionId=..." where the validator holds one, else ""; owned by the caller, NULL when out of memory. */
MUST_CHECK char *s3_version_query(const struct validator *v);

/* As refused() of struct web_fetch_ops, for a request of a kind. */
int s3_refused_as(struct web_op *op, struct web_fetch *f, enum s3_request_kind kind, enum web_verdict *ret);

/* As list() and stop() of struct web_kind. */
void s3_list_start(struct web_op *op);
void s3_list_stop(struct web_op *op);

#endif
