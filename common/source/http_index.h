/*
 * http_index - what a page that lists a folder of a web server says: nginx's autoindex as HTML or JSON, and the pages of
 * other servers as far as they link each name of the folder. Pure.
 *
 * Bytes nobody vouches for: bounded length and entries; a name that cannot be one is left out.
 */
#ifndef COMMON_SOURCE_HTTP_INDEX_H
#define COMMON_SOURCE_HTTP_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/err.h"

#define HTTP_INDEX_BYTES_MAX   (64u << 20) /* of one page */
#define HTTP_INDEX_ENTRIES_MAX 1000000u    /* of one page */

struct http_index_entry {
	char *name; /* without a slash, NUL-ended */
	bool dir;
	bool has_stat; /* JSON: the two below are exact */
	uint64_t size;
	int64_t mtime_ns; /* whole seconds */
};

struct http_index {
	struct http_index_entry *entries; /* in the page's order, no name twice in a row */
	size_t count, room;
	size_t left_out; /* names that no file may have */
};

/* Reads a page; @path is that of its URL, encoded, for links that start with "/". JSON is what starts with "[". 0 with *ret
 * owned by the caller; -ERR_CORRUPT with words, -ENOMEM. */
MUST_CHECK int http_index_parse(const char *text, size_t len, const char *path, struct http_index **ret,
				struct err *err);
struct http_index *http_index_free(struct http_index *x);
DEFINE_CLEANUP(struct http_index *, http_index_free)

#endif
