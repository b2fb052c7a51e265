/*
 * s3_list - the answer to ListObjectsV2 or ListObjectVersions: a streaming parser that turns one page of XML into entries.
 * Of versions only the latest count, and those that delete markers hide do not.
 *
 * Bytes nobody vouches for: no document type, bounded depth, text and entries. Pure.
 */
#ifndef COMMON_SOURCE_S3_LIST_H
#define COMMON_SOURCE_S3_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/source.h"
#include "common/source/s3_cut.h"

#define S3_LIST_ENTRIES_MAX 10000       /* a page we ask for has 1,000 */
#define S3_LIST_BYTES_MAX   (64u << 20) /* of XML in one page */

struct s3_list;

/* Of a listing of what lies @below (or "") the source's @prefix: keys outside both are refused, and @prefix is cut off; borrowed
 * for the parser's life. 0, -ENOMEM. */
MUST_CHECK int s3_list_new(const char *prefix, const char *below, struct s3_list **ret);
struct s3_list *s3_list_free(struct s3_list *l);
DEFINE_CLEANUP(struct s3_list *, s3_list_free)

/* Forgets everything: the next bytes are the start of a page. */
void s3_list_reset(struct s3_list *l);

/* More bytes of the page. 0, -ERR_CORRUPT with words, -ENOMEM. */
MUST_CHECK int s3_list_feed(struct s3_list *l, const void *bytes, size_t len, struct err *err);

/* The page ended. 0, -ERR_CORRUPT with words, -ENOMEM. */
MUST_CHECK int s3_list_finish(struct s3_list *l, struct err *err);

/* What a page that ended holds; all of it valid until the next reset. */
struct s3_list_page {
	/* Markers "a/" are DIR entries "a", those with bytes FILE entries "a/"; the prefix itself is left out, and what comes with
	 * or after `beyond`. */
	const struct source_entry *entries;
	size_t count;
	/* Of the next page, or NULL after the last: for ListObjectsV2 as it came, for ListObjectVersions the encoded parameters
	 * that lead on. */
	const char *token;
	/* All keys as they stand in the bucket, those of old versions and delete markers too. */
	size_t keys;
	bool ordered; /* they ascend, after the one the page was to begin after */
	struct s3_key first, last;
	struct s3_key beyond; /* the first after @end */
};

/* The page as that of a range: its keys were to come after @after (none: from the first), and to end with @end (none: never). */
void s3_list_look(const struct s3_list *l, struct s3_key after, struct s3_key end, struct s3_list_page *ret);

#endif
