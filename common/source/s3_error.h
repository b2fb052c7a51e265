/*
 * s3_error - a refusal of an S3 store: its XML, parsed, and what it means: a code, whether to try again, one sentence. Pure.
 */
#ifndef COMMON_SOURCE_S3_ERROR_H
#define COMMON_SOURCE_S3_ERROR_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/err.h"
#include "common/source/response.h"

/* An error body, parsed. */
struct s3_error {
	char code[64], message[200], request_id[80], region[64];
	char status[16]; /* of a VersioningConfiguration */
};

/* Takes what it finds; anything that is no S3 error answers empty strings. */
void s3_error_parse(const void *body, size_t len, struct s3_error *ret);

/* Whether the answer to GetBucketVersioning says that versions are kept of all that is written. */
bool s3_versioning_enabled(const void *body, size_t len);

enum s3_request_kind { S3_LIST, S3_STAT, S3_READ };

/* The error code of a response that is no success; *ret_retry: trying again may help. */
int s3_error_code(enum s3_request_kind kind, int status, const char *code, bool *ret_retry);

/* Whether other keys may be all that it wants: these have expired, were revoked, or were replaced. */
bool s3_error_is_of_keys(const char *code);

/* Whether it says of such keys that their time is over, which is so of every request with them. */
bool s3_error_is_of_expiry(const char *code);

/* One sentence for people. @subject: a key, or what else was asked for. Returns @code. */
int s3_error_words(struct err *err, int code, const char *label, const char *subject,
		   const struct response *r, const struct s3_error *e);

#endif
