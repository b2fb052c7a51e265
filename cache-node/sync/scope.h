/*
 * scope - the part of a tree that a sync is limited to, by globs, and where in the stores it lies. Pure.
 *
 * A file belongs to the part when a glob matches its path. What is listed is larger: from a glob's root, the deepest folder that
 * surely holds all it can match. Of folders below a listed root everything is taken, since a listing shows all of them there.
 */
#ifndef CACHE_NODE_SYNC_SCOPE_H
#define CACHE_NODE_SYNC_SCOPE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/attr.h"

struct sync_scope {
	char *const *globs; /* without errors; borrowed */
	size_t count;       /* 0: everything */
};

/* Whether a file belongs to the part whose path is @path, or would be without a folder of its name: a glob may match the one or
 * the other (common/manifest/name.h), as which of them it has is not known before all is listed. */
bool sync_scope_has(const struct sync_scope *s, const char *path, size_t len);

/* A folder that is listed. */
struct scope_root {
	const char *path; /* borrowed from a glob */
	size_t len;
	bool literal; /* the glob is a path: of a folder, or of a file beside which its folder is to be listed */
};

/* The roots of the globs without those that lie below another; @ret has room for each glob. Returns how many there are: at least
 * one, that of the whole tree (len 0) for a part that is everything. */
size_t sync_scope_roots(const struct sync_scope *s, struct scope_root *ret);

/* Whether @path lies below the folder @root, or is it where @or_equal. */
bool scope_is_below(const char *path, size_t len, const char *root, size_t root_len, bool or_equal);

/* The length of the folder that holds @path and is one of the store's, which those that hold the pieces of a long name are not;
 * 0: the root. */
size_t scope_parent(const char *path, size_t len);

#endif
