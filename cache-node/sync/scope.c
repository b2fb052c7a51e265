#include "cache-node/sync/scope.h"

#include <string.h>

#include "common/dataset/glob.h"

bool sync_scope_has(const struct sync_scope *s, const char *path, size_t len)
{
	for (size_t i = 0; i < s->count; i++)
		if (glob_match(s->globs[i], path, len))
			return true;
	return s->count == 0;
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
	while (len > 0 && path[len - 1] != '/')
		len--;
	return len > 0 ? len - 1 : 0;
}

static struct scope_root root_of(const char *glob)
{
	size_t len = strcspn(glob, "*?[\\");
	bool literal = !glob[len];

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
