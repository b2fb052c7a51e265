/*
 * credential - what requests of a source prove themselves with. Immutable and counted, since a request outlives a rotation.
 */
#ifndef COMMON_SOURCE_CREDENTIAL_H
#define COMMON_SOURCE_CREDENTIAL_H

#include <stdatomic.h>

#include "common/base/attr.h"
#include "common/source.h"

struct credential {
	atomic_uint refs;
	char *access_key, *secret_key, *session_token; /* S3; access_key NULL: anonymous */
	char *username, *password, *token;             /* HTTP */
	char *ca_pem;
};

/* Copies @from; blanks at the ends of keys are cut off. 0 with a reference in *ret; -EINVAL (half a pair, a control
 * character inside, which could end a header), -ENOMEM. */
MUST_CHECK int credential_new(const struct source_credential *from, struct credential **ret);

/* One more reference; returns @c. */
struct credential *credential_ref(struct credential *c);

/* Drops a reference; the last one wipes the secrets. NULL is fine; returns NULL. */
struct credential *credential_unref(struct credential *c);

#endif
