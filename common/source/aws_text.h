/*
 * aws_text - where keys for S3 stand: profiles of the shared files, and the answers of instance metadata and STS. Pure.
 *
 * Bytes nobody vouches for: bounded, and whatever is not understood is no key.
 */
#ifndef COMMON_SOURCE_AWS_TEXT_H
#define COMMON_SOURCE_AWS_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/err.h"

#define AWS_TEXT_MAX  (1u << 20) /* bytes of a file or an answer */
#define AWS_VALUE_MAX 4096       /* bytes of a value, as of a session token */

/* Keys; strings are owned, wiped by aws_keys_done(), NULL when not there. */
struct aws_keys {
	char *access_key, *secret_key, *session_token;
	int64_t expiry_ns; /* since 1970; INT64_MAX: they do not expire */
};
void aws_keys_done(struct aws_keys *k);

/* What a profile says. Strings are owned, ended by aws_profile_done(). */
struct aws_profile {
	char *access_key, *secret_key, *session_token;
	char *role_arn, *token_file, *session_name, *region;
};
void aws_profile_done(struct aws_profile *p);

/* Takes the section of @name of a shared file into @p; what is there already stays, so the credentials file is read first.
 * @config: sections but the default are called "profile NAME". *ret_found: there is such a section. 0 or -ENOMEM. */
MUST_CHECK int aws_profile_parse(const char *text, size_t len, const char *name, bool config,
				 struct aws_profile *p, bool *ret_found);

/* The JSON of instance metadata. 0 with *ret owned by the caller; -ERR_CORRUPT with words, -ENOMEM. */
MUST_CHECK int aws_metadata_parse(const char *text, size_t len, struct aws_keys *ret, struct err *err);

/* The XML of AssumeRoleWithWebIdentity; a refusal is -EACCES with its code and message. */
MUST_CHECK int aws_sts_parse(const char *text, size_t len, struct aws_keys *ret, struct err *err);

#endif
