/*
 * s3_place - where a bucket is: from the words of a configuration to the URLs, paths and queries of requests. Pure.
 */
#ifndef COMMON_SOURCE_S3_PLACE_H
#define COMMON_SOURCE_S3_PLACE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/source.h"

struct s3_place {
	char *origin; /* "https://host:port", no slash at the end */
	char *host;   /* as in the Host header: lower case, no port if it is the scheme's */
	char *bucket_path; /* encoded path of the bucket: "/base/bucket", or "/base/" and "/" in virtual-host style */
	char *bucket, *region;
	bool amazon,
		virt; /* no endpoint was given: Amazon's of the region; the bucket stands in the host's name */
	char *prefix; /* "" or ending in "/" */
};

/* Checks the words and fills @ret, which s3_place_done() empties. 0, -EINVAL with words, -ENOMEM. On failure @ret is
 * empty. A prefix without "/" at its end gets one. */
MUST_CHECK int s3_place_init(struct s3_place *ret, const struct source_config *config, struct err *err);
void s3_place_done(struct s3_place *place);

/* The bucket turned out to be in @region: later requests go there, and are signed for it. 0; -EINVAL (no name of a region,
 * or the one it has); -ENOMEM. On failure nothing changed. */
MUST_CHECK int s3_place_move(struct s3_place *place, const char *region);

/* The encoded path of a key below the prefix; owned by the caller, NULL when out of memory. */
MUST_CHECK char *s3_place_key_path(const struct s3_place *place, const char *key);

/* The query of one page of ListObjectVersions; @token: as s3_list gives it. */
MUST_CHECK char *s3_place_versions_query(const struct s3_place *place, const char *prefix, const char *token);

/* The query of one page of a listing below @prefix (itself below the place's), parameters in order. @token NULL: the
 * first page, of keys after @after unless that is NULL. Owned by the caller, NULL when out of memory. */
MUST_CHECK char *s3_place_list_query(const struct s3_place *place, const char *prefix, const char *token,
				     const char *after);

/* The token of ListObjectVersions that leads to the versions of keys after @after; as above. */
MUST_CHECK char *s3_place_versions_token(const char *after);

/* Percent-encodes every byte but A-Z a-z 0-9 - . _ ~ (and "/" if @slash is kept) to @out, which holds 3 * len + 1 bytes.
 * Returns the bytes written, without the NUL. */
size_t s3_encode(const char *text, size_t len, int slash, char *out);

#endif
