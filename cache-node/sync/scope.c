#include "cache-node/sync/scope.h"

#include <string.h>

#include "common/dataset/glob.h"
#include "common/manifest.h"
#include "common/manifest/name.h"

static bool matches(const struct sync_scope *s, const char *path, size_t len)
{
	for (size_t i = 0; i < s->count; i++)
		if (glob_match(s->globs[i], path, len))
			return true;
	return false;
}

bool sync_scope_has(const struct sync_scope *s, const char *path, size_t len)
{
	char beside[MANIFEST_PATH_MAX + 1];
	size_t beside_len;

	if (s->count == 0 || matches(s, path, len))
		return true;
	return name_beside_folder(path, len, beside, &beside_len) == 0 && matches(s, beside, beside_len);
}

bool scope_is_below(const char *path, size_t len, const char *root, size_t root_len, bool or_equal)
{
	if (root_len == 0)
		return or_equal || len > 0;
	if (len < root_len || memcmp(path, root, root_len) != 0)
		return false;
	return len == root_len ? or_equal : path[root_len] == '/';
}

size_t scope_parent(const char *path, size_t len)
{
	do {
		while (len > 0 && path[len - 1] != '/')
			len--;
		len -= len > 0;
	} while (name_is_piece(path, len));
	return len;
}

static struct scope_root root_of(const char *glob)
{
	size_t len = strcspn(glob, "*?[\\");
	char alone[MANIFEST_PATH_MAX + 1];
	size_t alone_len;
	bool literal = !glob[len];

	/* A file beside a folder: in the store it has the folder's name, which is the glob's but for the mark unless it is cut. */
	if (literal && name_is_beside(glob, len) && name_without_folder(glob, len, alone, &alone_len) == 0 &&
	    alone_len == len - NAME_MARK)
		len = alone_len;
	else
		literal = literal && !name_is_beside(glob, len) && !name_is_piece(glob, len);
	return (struct scope_root){glob, literal ? len : scope_parent(glob, len), literal};
}

size_t sync_scope_roots(const struct sync_scope *s, struct scope_root *ret)
{
	size_t count = 0;

	if (s->count == 0) {
		ret[0] = (struct scope_root){"", 0, false};
		return 1;
	}
	for (size_t i = 0; i < s->count; i++) {
		struct scope_root r = root_of(s->globs[i]);
		size_t kept = 0;
		bool covered = false;
		for (size_t j = 0; j < count; j++) {
			bool below = scope_is_below(ret[j].path, ret[j].len, r.path, r.len, true);
			covered |= scope_is_below(r.path, r.len, ret[j].path, ret[j].len, true) &&
				   (ret[j].literal || !r.literal || r.len > ret[j].len);
			if (!below || covered)
				ret[kept++] = ret[j];
			else
				r.literal |= ret[j].literal && ret[j].len == r.len;
		}
		count = kept;
		if (!covered)
			ret[count++] = r;
	}
	return count;
}
