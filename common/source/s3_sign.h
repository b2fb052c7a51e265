/*
 * s3_sign - AWS Signature Version 4, for requests whose body is empty or not signed.
 *
 * Pure: the time stamp is an argument. After "Signature Version 4 signing process" in the AWS General Reference; tested
 * against the vectors published there. As S3 wants it, the path is taken as it stands (encoded once, not normalised).
 */
#ifndef COMMON_SOURCE_S3_SIGN_H
#define COMMON_SOURCE_S3_SIGN_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/attr.h"

/* Values of x-amz-content-sha256: the hash of no bytes; a body that is not signed. */
#define S3_EMPTY_SHA256     "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define S3_UNSIGNED_PAYLOAD "UNSIGNED-PAYLOAD"

#define S3_DATE_SIZE 17   /* "20150830T123600Z" and a NUL */
#define S3_AUTH_SIZE 1024 /* holds any Authorization value of ours */

struct s3_header {
	const char *name;  /* lower case */
	const char *value; /* without blanks around it */
};

struct s3_to_sign {
	const char *method, *path,
		*query;                  /* encoded; the query's parameters in order, "" if there are none */
	const struct s3_header *headers; /* to be signed, in order of name; host must be among them */
	size_t header_count;
	const char *payload_hash;
	const char *date; /* as from s3_sign_date() */
	const char *region, *service;
	const char *access_key, *secret_key;
};

/* "20150830T123600Z" of nanoseconds since 1970. */
void s3_sign_date(int64_t wall_ns, char ret[S3_DATE_SIZE]);

/* The value of the Authorization header. 0, -ENAMETOOLONG, -ENOMEM. */
MUST_CHECK int s3_sign(const struct s3_to_sign *in, char *ret, size_t size);

#endif
