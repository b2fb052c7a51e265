/*
 * s3_response - what a response says: headers kept, ranges and validators checked, statuses and error bodies turned into
 * a code and one sentence. Pure.
 */
#ifndef COMMON_SOURCE_S3_RESPONSE_H
#define COMMON_SOURCE_S3_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/validator.h"

#define S3_ERROR_BODY_MAX 16384 /* bytes of an error body that are looked at */

/* The headers of one response that count. Strings are "" when missing, cut when too long. */
struct s3_response {
	int status;
	bool has_length, has_range, has_total;
	uint64_t length;                         /* Content-Length */
	uint64_t range_first, range_last, total; /* Content-Range: bytes first-last/total */
	bool bad;                                /* a header that cannot be what it claims */
	struct validator validator;              /* of ETag */
	int64_t mtime_ns;                        /* Last-Modified, since 1970; 0 when missing */
	int64_t retry_after_s;                   /* seconds from now; 0 when missing; at most 3600 */
	char request_id[80], region[64];
};

/* Takes one header into @r. @wall_ns: now, for a Retry-After that is a date. */
void s3_response_header(struct s3_response *r, int64_t wall_ns, const char *name, size_t name_len,
			const char *value, size_t value_len);

/* The validator of an ETag header or element: quotes off, W/ makes it weak. NONE when empty. */
struct validator s3_etag_validator(const char *etag, size_t len);

/* What a read asked for. */
struct s3_expected {
	uint64_t offset, length, object_size;
	const struct validator *validator;
};

/* Checks the head of a 200 or 206: exactly that range of exactly that version. 0, -ESTALE, -ERR_CORRUPT, with words. */
MUST_CHECK int s3_check_read(const struct s3_response *r, const struct s3_expected *want, struct err *err);

/* An error body, parsed. */
struct s3_error {
	char code[64], message[200], request_id[80], region[64];
};

/* Takes what it finds; anything that is no S3 error answers empty strings. */
void s3_error_parse(const void *body, size_t len, struct s3_error *ret);

enum s3_request_kind { S3_LIST, S3_STAT, S3_READ };

/* The error code of a response that is no success; *ret_retry: trying again may help. */
int s3_error_code(enum s3_request_kind kind, int status, const char *code, bool *ret_retry);

/* One sentence for people. @subject: a key, or what else was asked for. Returns @code. */
int s3_error_words(struct err *err, int code, const char *label, const char *subject,
		   const struct s3_response *r, const struct s3_error *e);

#endif
