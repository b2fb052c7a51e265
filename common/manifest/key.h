/*
 * key - the order of entries: that of git trees. Paths compare as bytes, a directory's with a '/' at its end; the root's
 * key is empty. And which paths may stand in a manifest at all.
 */
#ifndef COMMON_MANIFEST_KEY_H
#define COMMON_MANIFEST_KEY_H

#include <stdbool.h>
#include <string.h>

#include "common/manifest.h"

/* A path and whether it is a directory's; the '/' is not stored. Borrows the bytes. */
struct path_key {
	const char *path;
	size_t len;
	bool dir;
};

static inline bool manifest_type_is_dir(enum manifest_type type)
{
	return type == MANIFEST_DIR || type == MANIFEST_UNLISTED;
}

/* The byte at @i of a key as written out, -1 after its end. */
static inline int path_key_byte(const struct path_key *k, size_t i)
{
	if (i < k->len)
		return (unsigned char)k->path[i];
	return i == k->len && k->dir && k->len ? '/' : -1;
}

/* <0, 0, >0 as memcmp over the keys written out. */
static inline int path_key_compare(const struct path_key *a, const struct path_key *b)
{
	size_t n = MIN(a->len, b->len);
	int c = n ? memcmp(a->path, b->path, n) : 0;

	for (size_t i = n; c == 0 && i <= n + 1; i++) { /* at most the '/' and what follows it */
		int x = path_key_byte(a, i), y = path_key_byte(b, i);
		if (x < 0 && y < 0)
			break;
		c = x - y;
	}
	return c;
}

/* Whether a file system can hold the path: components of 1 to 255 bytes, none "." or "..", no NUL. "" is the root. */
static inline bool manifest_path_valid(const char *path, size_t len)
{
	if (len == 0)
		return true;
	if (len > MANIFEST_PATH_MAX || memchr(path, 0, len))
		return false;
	for (size_t at = 0; at <= len;) {
		const char *slash = memchr(path + at, '/', len - at);
		size_t n = (slash ? (size_t)(slash - path) : len) - at;
		if (n == 0 || n > MANIFEST_NAME_MAX || (n <= 2 && path[at] == '.' && path[at + n - 1] == '.'))
			return false;
		at += n + 1;
	}
	return true;
}

#endif
