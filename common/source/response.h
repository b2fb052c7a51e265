/*
 * response - what the head of an HTTP response says: the headers that count, kept; ranges and validators, checked. Pure.
 */
#ifndef COMMON_SOURCE_RESPONSE_H
#define COMMON_SOURCE_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/validator.h"

#define RESPONSE_ERROR_MAX 16384 /* bytes of an error body that are looked at */

/* The headers of one response that count. Strings are "" when missing, cut when too long. */
struct response {
	int status;
	bool has_length, has_range, has_total;
	uint64_t length;                         /* Content-Length */
	uint64_t range_first, range_last, total; /* Content-Range: bytes first-last/total */
	bool bad;                                /* a header that cannot be what it claims */
	struct validator validator;              /* of ETag */
	int64_t mtime_ns;                        /* Last-Modified, since 1970; 0 when missing */
	int64_t date_ns;                         /* Date, the same */
	int64_t retry_after_s;                   /* seconds from now; 0 when missing; at most 3600 */
	char request_id[80], region[64], type[80];
	char version[64]; /* x-amz-version-id */
	char checksum
		[80]; /* of the whole object, if the store offers one: "crc32c:" and hex digits, for checksum.h */
	char location[2048]; /* as sent; "" when it is longer */
};

/* Takes one header into @r. @wall_ns: now, for a Retry-After that is a date. */
void response_header(struct response *r, int64_t wall_ns, const char *name, size_t name_len,
		     const char *value, size_t value_len);

/* The validator of an ETag header or element: quotes off, W/ makes it weak. NONE when empty. */
struct validator etag_validator(const char *etag, size_t len);

/* The weak validator of a server without etags: Last-Modified (whole seconds) and size. NONE without a time. */
struct validator response_dated_validator(int64_t mtime_ns, uint64_t size);
bool response_is_dated(const struct validator *v);

/* The strong validator of a version id of S3. NONE for "null" and what is too long to be kept. */
struct validator s3_version_validator(const char *id, size_t len);

/* The version id in such a validator: *ret_len bytes inside @v; NULL: it is none. */
const char *s3_version_of(const struct validator *v, size_t *ret_len);

/* What a read asked for. */
struct response_expected {
	uint64_t offset, length, object_size;
	const struct validator *validator;
	bool whole_ok; /* the whole object may come under a 200: the range is cut out of it */
};

/* Checks the head of a 200 or 206: exactly that range of exactly that version. *ret_skip: bytes of the body before those
 * wanted. 0, -ESTALE, -ERR_CORRUPT, with words. */
MUST_CHECK int response_check_read(const struct response *r, const struct response_expected *want,
				   uint64_t *ret_skip, struct err *err);

/* What a status means that is no success, for a read of a listed object or for anything else: a code of source.h;
 * *ret_retry: trying again may help. */
int response_code(bool read, int status, bool *ret_retry);

/* Copies text of a server for people, at most @size - 1 bytes: what is no printable ASCII becomes '?'. */
void response_copy_clean(char *out, size_t size, const char *text, size_t len);

#endif
