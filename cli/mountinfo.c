#include "cli/mountinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "common/base/fd.h"
#include "common/base/mem.h"

#define TABLE_MAX (64u << 20)

static bool is_octal(char c)
{
	return c >= '0' && c <= '7';
}

/* Undoes the kernel's \040 and the like. 0 or -EINVAL when it does not fit. */
static int unescape(const char *from, size_t len, char *to, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < len; n++) {
		if (n + 1 >= size)
			return -EINVAL;
		if (from[i] == '\\' && len - i >= 4 && is_octal(from[i + 1]) && is_octal(from[i + 2]) &&
		    is_octal(from[i + 3])) {
			to[n] = (char)((from[i + 1] - '0') << 6 | (from[i + 2] - '0') << 3 |
				       (from[i + 3] - '0'));
			i += 4;
		} else {
			to[n] = from[i++];
		}
	}
	to[n] = 0;
	return 0;
}

int mount_entry_parse(const char *line, struct mount_entry *ret)
{
	struct mount_entry m = {.id = 0};
	int point = 0, point_end = 0, options = 0;

	if (sscanf(line, "%d %*d %u:%u %*s %n%*s%n %n", &m.id, &m.major, &m.minor, &point, &point_end,
		   &options) != 3 ||
	    !options)
		return -EINVAL;
	const char *separator = strstr(line + options, " - ");
	if (!separator || unescape(line + point, (size_t)(point_end - point), m.point, sizeof m.point))
		return -EINVAL;
	separator += 3;
	(void)snprintf(m.type, sizeof m.type, "%.*s", (int)MIN(strcspn(separator, " "), sizeof m.type - 1),
		       separator);
	m.read_only = strncmp(line + options, "ro", 2) == 0 &&
		      (line[options + 2] == ',' || line[options + 2] == ' ');
	*ret = m;
	return 0;
}

static bool lies_in(const char *path, const char *point)
{
	size_t len = strlen(point);

	if (len == 1)
		return true;
	return strncmp(path, point, len) == 0 && (path[len] == '/' || !path[len]);
}

/* Later lines lie above earlier ones of the same point. */
static int search(int proc_fd, const char *path, bool exact, struct mount_entry *ret)
{
	char *text;
	size_t len, best = 0;
	int r = fd_read_file(proc_fd, "self/mountinfo", TABLE_MAX, &text, &len);
	struct mount_entry m;

	if (r)
		return r;
	r = -ENOENT;
	for (char *line = text, *end; *line; line = end) {
		end = line + strcspn(line, "\n");
		if (*end)
			*end++ = 0;
		if (mount_entry_parse(line, &m))
			continue;
		bool fits = exact ? strcmp(m.point, path) == 0
				  : lies_in(path, m.point) && strlen(m.point) >= best;
		if (!fits)
			continue;
		*ret = m;
		best = strlen(m.point);
		r = 0;
	}
	(void)mem_free(text);
	return r;
}

int mount_at(int proc_fd, const char *path, struct mount_entry *ret)
{
	return search(proc_fd, path, true, ret);
}

int mount_of(int proc_fd, const char *path, struct mount_entry *ret)
{
	return search(proc_fd, path, false, ret);
}

bool mount_is_fuse(const struct mount_entry *m)
{
	return strncmp(m->type, "fuse", 4) == 0 && strcmp(m->type, "fusectl") != 0;
}

bool mount_is_larder(const struct mount_entry *m)
{
	return strcmp(m->type, "fuse.larder") == 0;
}
