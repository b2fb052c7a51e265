/*
 * contact - for people who look for what is wrong with a source: how far its server can be reached, and what it last refused.
 */
#ifndef COMMON_SOURCE_CONTACT_H
#define COMMON_SOURCE_CONTACT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/http/http.h"
#include "common/source.h"

struct source_contact {
	enum http_stage stage; /* of a failure: what failed */
	char peer[64];         /* "ADDRESS port N" of the server or its proxy, once it was reached; else "" */
	bool has_skew;         /* the answer had a date */
	int64_t skew_ns;       /* how far its clock is ahead of ours; good to a second */
};

/* Asks the server of @s for the head of its first page, without a credential, by the same connections, certificates and proxy
 * as all else; whatever the status, an answer is an answer. Once, and waits for it, at most twice the connect timeout. Not on a
 * thread of the loop. 0; -ERR_UNREACHABLE with words, @ret says how far it came; -ERR_UNSUPPORTED (a file source), -ENOMEM. */
MUST_CHECK int source_contact(struct source *s, struct source_contact *ret, struct err *err);

/* What the server last said no with. */
struct source_refusal {
	int status;    /* of HTTP */
	char code[64]; /* the store's own, like NoSuchBucket; "" where there was none */
};

/* The last refusal since the last call; all zero: there was none. Any thread. */
void source_refusal_take(struct source *s, struct source_refusal *ret);

#endif
