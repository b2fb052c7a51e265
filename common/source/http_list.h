/*
 * http_list - a list file: the objects of a source, one a line, with what is known of them (docs/formats/list.md). Pure; a
 * list is read as it arrives and never held whole.
 *
 * Bytes nobody vouches for: a line is bounded, and what it says is checked.
 */
#ifndef COMMON_SOURCE_HTTP_LIST_H
#define COMMON_SOURCE_HTTP_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/validator.h"

#define HTTP_LIST_LINE_MAX 16384 /* bytes of a line */

struct http_list_entry {
	const char *path; /* decoded, NUL-ended: valid in a manifest */
	const char *
		key; /* reference of the object, with "#sha256=..." at its end where the list has a checksum */
	bool has_size;
	uint64_t size;
	int64_t mtime_ns;           /* of a last-modified validator; else 0 */
	struct validator validator; /* NONE: not given */
};

struct http_list;

/* @entry is called for each line that holds one, with strings that last until it returns; what it answers but 0 ends the
 * reading. 0 with *ret owned by the caller, -ENOMEM. */
MUST_CHECK int http_list_new(int (*entry)(void *ctx, const struct http_list_entry *e), void *ctx,
			     struct http_list **ret);
struct http_list *http_list_free(struct http_list *l);
DEFINE_CLEANUP(struct http_list *, http_list_free)

/* More bytes; the whole of a list may come in any pieces. 0; -ERR_CORRUPT with words that name the line; what entry()
 * answered; -ENOMEM. */
MUST_CHECK int http_list_feed(struct http_list *l, const char *bytes, size_t len, struct err *err);

/* The list ended. As http_list_feed(); a list without its first line is -ERR_CORRUPT. */
MUST_CHECK int http_list_finish(struct http_list *l, struct err *err);

#endif
