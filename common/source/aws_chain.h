/*
 * aws_chain - finds keys for S3 where a machine or a pod keeps them. It blocks (files, short requests): for a thread of the pool.
 *
 * Without a profile, the first of these that is there counts, and if it is broken the others are not tried:
 *   1. environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN
 *   2. web identity: AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE, exchanged at STS
 *   3. the shared files (AWS_SHARED_CREDENTIALS_FILE, AWS_CONFIG_FILE; else HOME/.aws/credentials, config), profile
 *      AWS_PROFILE or default: keys, or role_arn with web_identity_token_file
 *   4. instance metadata, version 2, unless AWS_EC2_METADATA_DISABLED is true
 * With a profile, only the shared files' section of that name.
 *
 * AWS_ENDPOINT_URL_STS and AWS_EC2_METADATA_SERVICE_ENDPOINT name other servers than Amazon's.
 */
#ifndef COMMON_SOURCE_AWS_CHAIN_H
#define COMMON_SOURCE_AWS_CHAIN_H

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/source/aws_text.h"

struct aws_chain {
	const char *profile, *region;         /* profile NULL: see above; region: of STS */
	const char *ca_pem;                   /* trusted besides the system's; NULL: none */
	const char *(*env)(const char *name); /* the environment; getenv() but in tests */
};

/* 0 with *ret owned by the caller. -EACCES: there are none, or they were refused; -ERR_UNREACHABLE, -ERR_CORRUPT, -ENOMEM; with
 * words that say what was tried and hold no secret. At most some ten seconds. */
MUST_CHECK int aws_chain_find(const struct aws_chain *c, struct aws_keys *ret, struct err *err);

#endif
