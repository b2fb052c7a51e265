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

#define S3_LIST_ENTRIES_MAX 10000       /* a page we ask for has 1,000 */
#define S3_LIST_BYTES_MAX   (64u << 20) /* of XML in one page */

struct s3_list;

/* @prefix: that of the source, borrowed for the parser's life; keys outside it are refused, and it is cut off. 0, -ENOMEM. */
MUST_CHECK int s3_list_new(const char *prefix, struct s3_list **ret);
struct s3_list *s3_list_free(struct s3_list *l);
DEFINE_CLEANUP(struct s3_list *, s3_list_free)

/* Forgets everything: the next bytes are the start of a page. 0, -ENOMEM. */
MUST_CHECK int s3_list_reset(struct s3_list *l);

/* More bytes of the page. 0, -ERR_CORRUPT with words, -ENOMEM. */
MUST_CHECK int s3_list_feed(struct s3_list *l, const void *bytes, size_t len, struct err *err);

/* The page ended: its entries, valid until the next reset, and the token of the next page or NULL after the last: for
 * ListObjectsV2 as it came, for ListObjectVersions the encoded parameters that lead on.
 * Markers "a/" are DIR entries "a"; the prefix itself is left out. 0, -ERR_CORRUPT with words, -ENOMEM. */
MUST_CHECK int s3_list_finish(struct s3_list *l, const struct source_entry **ret, size_t *ret_count,
			      const char **ret_token, struct err *err);

#endif
