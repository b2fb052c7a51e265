#include "cli/proc.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/fd.h"
#include "common/base/mem.h"

#define MAPS_MAX    (16u << 20) /* bytes of one process's maps */
#define CMDLINE_MAX (256u << 10)

static bool read_link(int dir_fd, const char *path, char *out, size_t size)
{
	ssize_t n = readlinkat(dir_fd, path, out, size - 1);

	if (n < 0)
		return false;
	out[n] = 0;
	return true;
}

static bool has_argument(int proc_fd, pid_t pid, const char *argument)
{
	char path[32], *text;
	size_t len;
	bool found = false;

	(void)snprintf(path, sizeof path, "%d/cmdline", pid);
	if (fd_read_file(proc_fd, path, CMDLINE_MAX, &text, &len))
		return false;
	for (size_t i = 0; i < len && !found; i += strlen(text + i) + 1)
		found = strstr(text + i, argument) != NULL;
	(void)mem_free(text);
	return found;
}

bool proc_is(int proc_fd, pid_t pid, const char *program, const char *argument)
{
	static const char deleted[] = " (deleted)"; /* the program was replaced by a newer one */
	char path[32], exe[PATH_MAX];

	(void)snprintf(path, sizeof path, "%d/exe", pid);
	if (pid <= 0 || !read_link(proc_fd, path, exe, sizeof exe))
		return false;
	size_t len = strlen(exe);
	if (len > sizeof deleted - 1 && strcmp(exe + len - (sizeof deleted - 1), deleted) == 0)
		exe[len - (sizeof deleted - 1)] = 0;
	const char *slash = strrchr(exe, '/');
	return strcmp(slash ? slash + 1 : exe, program) == 0 &&
	       (!argument || has_argument(proc_fd, pid, argument));
}

static DIR *open_folder(int proc_fd, const char *path)
{
	int fd = openat(proc_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d)
		(void)fd_close(fd);
	return d;
}

bool proc_has_open(int proc_fd, pid_t pid, const char *path)
{
	char name[64], target[PATH_MAX];
	bool found = false;

	(void)snprintf(name, sizeof name, "%d/fd", pid);
	DIR *d = open_folder(proc_fd, name);
	if (!d)
		return false;
	for (struct dirent *e; !found && (e = readdir(d));)
		found = read_link(dirfd(d), e->d_name, target, sizeof target) && strcmp(target, path) == 0;
	(void)closedir(d);
	return found;
}

/* ---- holders ---- */

static bool is_below(const char *path, const char *point)
{
	size_t len = strlen(point);
	return strncmp(path, point, len) == 0 && (path[len] == '/' || !path[len]);
}

static bool held_by_link(int proc_fd, const char *pid, const char *link, const char *what,
			 const struct mount_entry *m, struct holder *h)
{
	char path[NAME_MAX + 16], target[PATH_MAX];

	(void)snprintf(path, sizeof path, "%s/%s", pid, link);
	if (!read_link(proc_fd, path, target, sizeof target) || !is_below(target, m->point))
		return false;
	(void)snprintf(h->how, sizeof h->how, "%s %s", what, target);
	return true;
}

/* Whether a descriptor's fdinfo names the mount. */
static bool is_in_mount(int proc_fd, const char *pid, const char *fd, int mount_id)
{
	char path[2 * NAME_MAX + 16], *text;
	size_t len;
	int id = -1;

	(void)snprintf(path, sizeof path, "%s/fdinfo/%s", pid, fd);
	if (fd_read_file(proc_fd, path, MAPS_MAX, &text, &len))
		return false;
	const char *at = strstr(text, "mnt_id:");
	if (at)
		id = (int)strtol(at + 7, NULL, 10);
	(void)mem_free(text);
	return id == mount_id;
}

static bool held_by_file(int proc_fd, const char *pid, const struct mount_entry *m, struct holder *h)
{
	char path[NAME_MAX + 16], target[PATH_MAX];
	bool found = false;

	(void)snprintf(path, sizeof path, "%s/fd", pid);
	DIR *d = open_folder(proc_fd, path);
	if (!d)
		return false;
	for (struct dirent *e; !found && (e = readdir(d));) {
		if (!isdigit((unsigned char)e->d_name[0]) || !is_in_mount(proc_fd, pid, e->d_name, m->id))
			continue;
		found = true;
		if (!read_link(dirfd(d), e->d_name, target, sizeof target))
			(void)snprintf(target, sizeof target, "(descriptor %.20s)", e->d_name);
		(void)snprintf(h->how, sizeof h->how, "file %s", target);
	}
	(void)closedir(d);
	return found;
}

static bool held_by_map(int proc_fd, const char *pid, const struct mount_entry *m, struct holder *h)
{
	char path[NAME_MAX + 16], *text;
	size_t len;
	bool found = false;

	(void)snprintf(path, sizeof path, "%s/maps", pid);
	if (fd_read_file(proc_fd, path, MAPS_MAX, &text, &len))
		return false;
	for (char *line = text, *end; *line && !found; line = end) {
		unsigned major, minor;
		int name = 0;
		end = line + strcspn(line, "\n");
		if (*end)
			*end++ = 0;
		found = sscanf(line, "%*s %*s %*s %x:%x %*s %n", &major, &minor, &name) == 2 &&
			major == m->major && minor == m->minor;
		if (found)
			(void)snprintf(h->how, sizeof h->how, "map of %s", name ? line + name : m->point);
	}
	(void)mem_free(text);
	return found;
}

static void read_name(int proc_fd, const char *pid, char *out, size_t size)
{
	char path[NAME_MAX + 16], *text;
	size_t len;

	(void)snprintf(out, size, "?");
	(void)snprintf(path, sizeof path, "%s/comm", pid);
	if (fd_read_file(proc_fd, path, 4096, &text, &len))
		return;
	text[strcspn(text, "\n")] = 0;
	(void)snprintf(out, size, "%s", text);
	(void)mem_free(text);
}

size_t proc_holders(int proc_fd, const struct mount_entry *mount, struct holder ret[HOLDERS_MAX])
{
	size_t count = 0;
	DIR *d = open_folder(proc_fd, ".");

	if (!d)
		return 0;
	for (struct dirent *e; count < HOLDERS_MAX && (e = readdir(d));) {
		struct holder *h = &ret[count];
		const char *pid = e->d_name;
		if (!isdigit((unsigned char)pid[0]))
			continue;
		if (!held_by_link(proc_fd, pid, "cwd", "working folder", mount, h) &&
		    !held_by_link(proc_fd, pid, "root", "root folder", mount, h) &&
		    !held_by_file(proc_fd, pid, mount, h) && !held_by_map(proc_fd, pid, mount, h))
			continue;
		h->pid = (pid_t)strtol(pid, NULL, 10);
		read_name(proc_fd, pid, h->name, sizeof h->name);
		count++;
	}
	(void)closedir(d);
	return count;
}
