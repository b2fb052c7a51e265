/*
 * s3_keys - the keys of an S3 source that has none of its own: found by aws_chain on a thread of the pool, renewed before they
 * expire while the old ones serve on.
 *
 * Fetches that come before there are keys are parked; when the search has ended they go on, or end with its words. One
 * search runs at a time. All but the search itself is on the loop's thread.
 */
#ifndef COMMON_SOURCE_S3_KEYS_H
#define COMMON_SOURCE_S3_KEYS_H

#include "common/base/attr.h"
#include "common/source/web_fetch.h"

struct s3_keys;

/* For @s, whose credential (the CA alone) stays what everything else is taken from. @profile NULL: the chain of aws_chain.h. 0
 * with *ret owned by the caller, -ENOMEM. */
MUST_CHECK int s3_keys_new(struct web_source *s, const char *profile, const char *region, const char *ca_pem,
			   struct s3_keys **ret);

/* Waits for a search that runs (at most some ten seconds). No fetch may be parked. NULL is fine; returns NULL. */
struct s3_keys *s3_keys_free(struct s3_keys *k);

/* Whether @f may be sent now; else it was parked. Starts a search where one is due. */
MUST_CHECK bool s3_keys_ready(struct s3_keys *k, struct web_fetch *f);

/* The store does not take the keys of @f, whose words in @f->err say so. @expired: they end with their time, and nobody sends them
 * any more. Else they may have been revoked and others put where they were found, or this request alone was changed on its way:
 * others go on with them. True: there are new ones or they are looked for; the fetch is to be tried at once, and s3_keys_ready()
 * lets it wait. It ends with its words when no others are found. */
MUST_CHECK bool s3_keys_refused(struct s3_keys *k, struct web_fetch *f, bool expired);

/* When keys that were had at @since_ns and end at @expiry_ns are to be renewed: five minutes before, or for short-lived ones when a
 * quarter of their life is left. Pure. */
int64_t s3_keys_renew_at(int64_t since_ns, int64_t expiry_ns);

#endif
