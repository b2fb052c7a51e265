/*
 * http_url - URLs of an HTTP source: checked, joined, compared, shown. Pure. A URL here is an absolute http(s) URL without
 * a user name.
 */
#ifndef COMMON_SOURCE_HTTP_URL_H
#define COMMON_SOURCE_HTTP_URL_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/attr.h"

#define HTTP_URL_MAX 8192 /* bytes of any URL that is followed */

/* NULL: @url may stand in a configuration; else what is wrong, to follow "the URL ": "must start with ...". */
const char *http_url_wrong(const char *url);

/* @ref resolved against @base (RFC 3986, 5), without a fragment. Owned by the caller. NULL: no URL of ours, or out of
 * memory. */
MUST_CHECK char *http_url_join(const char *base, const char *ref);

/* @base (ending in "/") with a key below it, every byte encoded that must be, and @tail. Owned by the caller; NULL when out
 * of memory. */
MUST_CHECK char *http_url_below(const char *base, const char *key, const char *tail);

/* Whether both have one scheme, host and port: what a credential may be sent to. */
bool http_url_same_origin(const char *a, const char *b);

/* Whether it begins with https. */
bool http_url_secure(const char *url);

/* The URL without its query, which may hold a token; cut to @size - 1 bytes. */
void http_url_clean(const char *url, char *out, size_t size);

/* The name of the file that @url leads to, decoded. Owned by the caller. NULL: it has none that a file may have, or out of
 * memory. */
MUST_CHECK char *http_url_name(const char *url);

/* Decodes %XX in place; returns the new length. */
size_t http_url_decode(char *s, size_t len);

#endif
