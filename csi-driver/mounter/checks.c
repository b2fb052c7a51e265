#include <fcntl.h>
#include <string.h>

#include "csi-driver/mounter/state.h"

static bool dev_is_tier(const struct backing_facts *f)
{
	for (size_t i = 0; i < f->tier_dev_count; i++)
		if (f->tier_devs[i] == f->st.st_dev)
			return true;
	return false;
}

/* BACKING_OPEN looks at no access mode: a descriptor opened with O_PATH of a root-only file would become readable and
 * writable through the mount. So everything that says "this is the client's own cache file" is checked here. */
const char *backing_refusal(const struct backing_facts *f)
{
	if (f->fl_flags & O_PATH)
		return "it was opened with O_PATH";
	if ((f->fl_flags & O_ACCMODE) != O_RDONLY)
		return "it is not opened read-only";
	if (!S_ISREG(f->st.st_mode))
		return "it is not a regular file";
	if (!dev_is_tier(f))
		return "it does not lie on a tier of this client";
	if (f->st.st_uid != f->client_uid)
		return "it belongs to another user";
	if (f->st.st_nlink > 1)
		return "it has more than one link";
	return NULL;
}

bool path_is_clean(const char *path, size_t size)
{
	size_t len = strnlen(path, size);

	if (len == size || path[0] != '/')
		return false;
	if (len == 1)
		return true;
	for (const char *p = path; *p;) {
		const char *name = p + 1;
		size_t n = strcspn(name, "/");
		if (n == 0 || (n == 1 && name[0] == '.') || (n == 2 && name[0] == '.' && name[1] == '.'))
			return false;
		p = name + n;
	}
	return true;
}

const char *path_below(const char *root, const char *path)
{
	size_t n = strlen(root);

	if (n == 1) /* "/" */
		return path + 1;
	if (strncmp(root, path, n) != 0)
		return NULL;
	if (path[n] == 0)
		return path + n;
	return path[n] == '/' ? path + n + 1 : NULL;
}
