#include "cli/instance.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/fd.h"
#include "common/base/mem.h"

#define TREE_DEPTH_MAX 16

void instance_path(const char *name, const char *rest, char out[INSTANCE_PATH_MAX])
{
	int n = snprintf(out, INSTANCE_PATH_MAX, "%s/%s%s%s", INSTANCE_ROOT, name, rest ? "/" : "",
			 rest ? rest : "");
	CHECK(n > 0 && n < INSTANCE_PATH_MAX);
}

int instance_root_open(void)
{
	return open(INSTANCE_ROOT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

enum instance_state instance_look(int root_fd, const char *name)
{
	char path[NAME_LABEL_MAX + 8];
	struct stat st;

	if (root_fd < 0 || fstatat(root_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
		return INSTANCE_ABSENT;
	(void)snprintf(path, sizeof path, "%s/lock", name);
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	CLEANUP(fd_close) int fd = openat(root_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	/* Asking takes no lock: one who looks must not stand in the way of one who starts. */
	if (fd < 0 || fcntl(fd, F_OFD_GETLK, &lock) < 0)
		return INSTANCE_LEFT;
	return lock.l_type == F_UNLCK ? INSTANCE_LEFT : INSTANCE_RUNNING;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(a, b);
}

size_t instance_list(int root_fd, enum instance_state state, char ret[INSTANCES_MAX][NAME_LABEL_MAX + 1])
{
	int fd = root_fd < 0 ? -1 : openat(root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	size_t count = 0;

	if (!d) {
		(void)fd_close(fd);
		return 0;
	}
	for (struct dirent *e; count < INSTANCES_MAX && (e = readdir(d));)
		if (name_label_valid(e->d_name) && instance_look(root_fd, e->d_name) == state)
			(void)snprintf(ret[count++], NAME_LABEL_MAX + 1, "%.63s", e->d_name);
	(void)closedir(d);
	qsort(ret, count, sizeof *ret, compare_names);
	return count;
}

int instance_choose(int root_fd, const char *wanted, char ret[NAME_LABEL_MAX + 1], struct err *err)
{
	char names[INSTANCES_MAX][NAME_LABEL_MAX + 1];

	if (wanted && !name_label_valid(wanted))
		return err_set(err, -EINVAL,
			       "\"%.80s\" is no instance name; use lower-case letters, digits and \"-\"",
			       wanted);
	size_t count = wanted ? 0 : instance_list(root_fd, INSTANCE_RUNNING, names);
	if (count > 1)
		return err_set(err, -EINVAL, "%zu instances run (%s, %s%s); choose one with --instance NAME",
			       count, names[0], names[1], count > 2 ? ", ..." : "");
	(void)snprintf(ret, NAME_LABEL_MAX + 1, "%.63s",
		       wanted  ? wanted
		       : count ? names[0]
			       : INSTANCE_DEFAULT);
	return 0;
}

/* The file may have been removed with its folder between opening and locking: then the lock means nothing. */
int instance_lock(int dir_fd, int *ret_fd)
{
	struct stat st;
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	CLEANUP(fd_close) int fd = openat(dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);

	if (fd < 0)
		return -errno;
	if (fcntl(fd, F_OFD_SETLK, &lock) < 0)
		return errno == EACCES ? -EAGAIN : -errno;
	if (fstat(fd, &st) < 0 || !st.st_nlink)
		return -EAGAIN;
	*ret_fd = fd_take(&fd);
	return 0;
}

int instance_pid_read(int dir_fd, const char *file, pid_t *ret)
{
	char *text, *end;
	size_t len;
	int r = fd_read_file(dir_fd, file, 64, &text, &len);

	if (r)
		return r;
	long pid = strtol(text, &end, 10);
	bool good = end != text && pid > 1 && pid < INT32_MAX && (*end == '\n' || !*end);
	(void)mem_free(text);
	if (!good)
		return -EINVAL;
	*ret = (pid_t)pid;
	return 0;
}

int instance_pid_write(int dir_fd, const char *file, pid_t pid)
{
	char text[16];
	int n = snprintf(text, sizeof text, "%d\n", pid);

	return fd_write_file(dir_fd, file, text, (size_t)n, 0644);
}

static int empty_folder(int fd, int depth);

static int remove_entry(int fd, const char *name, int depth)
{
	struct statx sx;

	if (statx(fd, name, AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE, &sx) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (sx.stx_attributes & STATX_ATTR_MOUNT_ROOT)
		return -EBUSY;
	if (!S_ISDIR(sx.stx_mode))
		return unlinkat(fd, name, 0) < 0 && errno != ENOENT ? -errno : 0;
	int sub = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (sub < 0)
		return -errno;
	int r = empty_folder(sub, depth + 1);
	return r ? r : unlinkat(fd, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

/* Takes @fd. */
static int empty_folder(int fd, int depth)
{
	DIR *d = depth < TREE_DEPTH_MAX ? fdopendir(fd) : NULL;
	int r = 0;

	if (!d) {
		(void)fd_close(fd);
		return depth < TREE_DEPTH_MAX ? -ENOMEM : -ELOOP;
	}
	for (struct dirent *e; (e = readdir(d));) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		int one = remove_entry(dirfd(d), e->d_name, depth);
		r = r ? r : one;
	}
	(void)closedir(d);
	return r;
}

int instance_remove_tree(int parent_fd, const char *name)
{
	return remove_entry(parent_fd, name, 0);
}
