/*
 * test_folder - a temporary folder, and a small disk whose power can be cut (root). Included by tests only.
 */
#ifndef METADATA_WAL_TEST_FOLDER_H
#define METADATA_WAL_TEST_FOLDER_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/attr.h"

#define FS_IOC_SHUTDOWN_NOW _IOR('X', 125, uint32_t) /* include/uapi/linux/fs.h of newer kernels */
#define FS_SHUTDOWN_LOSES   2u                       /* the journal is not flushed */

/* A new folder; the string is the caller's until folder_free(). */
static inline char *folder_new(void)
{
	const char *tmp = getenv("TMPDIR");
	char *dir = NULL;
	CHECK(asprintf(&dir, "%s/larder-wal-XXXXXX", tmp ? tmp : "/tmp") > 0);
	CHECK(mkdtemp(dir));
	return dir;
}

static inline int folder_open(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(fd >= 0);
	return fd;
}

/* How many files have @part in their names; removes them if @remove. */
static inline int folder_each(const char *dir, const char *part, bool remove)
{
	int count = 0, fd = folder_open(dir);
	DIR *d = fdopendir(fd);
	CHECK(d);
	for (const struct dirent *e; (e = readdir(d));) {
		if (e->d_name[0] == '.' || !strstr(e->d_name, part))
			continue;
		count++;
		if (remove)
			(void)unlinkat(fd, e->d_name, 0);
	}
	(void)closedir(d);
	return count;
}

static inline int folder_count(const char *dir, const char *part)
{
	return folder_each(dir, part, false);
}

static inline void folder_write(const char *dir, const char *name, const char *text)
{
	int fd = folder_open(dir);
	int file = openat(fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	CHECK(file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text));
	(void)close(file);
	(void)close(fd);
}

static inline void folder_free(char *dir)
{
	(void)folder_each(dir, "", true);
	CHECK(rmdir(dir) == 0);
	free(dir);
}

/* ---- a disk whose power can be cut ---- */

struct loop_disk {
	char *dir; /* holds image and mount point */
	char image[PATH_MAX], mount[PATH_MAX];
	bool mounted;
};

/* Runs a program without output; whether it ended with 0. */
static inline bool run_quietly(const char *const argv[])
{
	posix_spawn_file_actions_t quiet;
	int status;
	pid_t pid;
	CHECK(posix_spawn_file_actions_init(&quiet) == 0);
	CHECK(posix_spawn_file_actions_addopen(&quiet, STDOUT_FILENO, "/dev/null", O_WRONLY, 0) == 0);
	CHECK(posix_spawn_file_actions_adddup2(&quiet, STDOUT_FILENO, STDERR_FILENO) == 0);
	CHECK(posix_spawnp(&pid, argv[0], &quiet, NULL, (char *const *)argv, environ) == 0);
	CHECK(posix_spawn_file_actions_destroy(&quiet) == 0);
	CHECK(waitpid(pid, &status, 0) == pid);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Makes an ext4 of 48 MiB in a file, not mounted. NULL, with the reason on stderr: it cannot be had here. */
static inline struct loop_disk *loop_disk_new(void)
{
	if (geteuid() != 0) {
		(void)fprintf(stderr, "skipped: a disk of its own needs root, for a loop device\n");
		return NULL;
	}
	struct loop_disk *d = calloc(1, sizeof *d);
	CHECK(d);
	d->dir = folder_new();
	(void)snprintf(d->image, sizeof d->image, "%s/image", d->dir);
	(void)snprintf(d->mount, sizeof d->mount, "%s/mount", d->dir);
	int fd = open(d->image, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	CHECK(fd >= 0 && ftruncate(fd, 48 << 20) == 0);
	(void)close(fd);
	CHECK(mkdir(d->mount, 0700) == 0);
	CHECK(run_quietly((const char *const[]){"mkfs.ext4", "-q", d->image, NULL}));
	return d;
}

static inline void loop_disk_mount(struct loop_disk *d)
{
	CHECK(run_quietly((const char *const[]){"mount", "-o", "loop", d->image, d->mount, NULL}));
	d->mounted = true;
}

/* From here on nothing reaches the disk, the journal neither. */
static inline void loop_disk_cut(struct loop_disk *d)
{
	uint32_t how = FS_SHUTDOWN_LOSES;
	int fd = folder_open(d->mount);
	CHECK(ioctl(fd, FS_IOC_SHUTDOWN_NOW, &how) == 0);
	(void)close(fd);
}

static inline void loop_disk_unmount(struct loop_disk *d)
{
	CHECK(run_quietly((const char *const[]){"umount", d->mount, NULL}));
	d->mounted = false;
}

/* Also after a test that failed in the middle. */
static inline void loop_disk_free(struct loop_disk *d)
{
	if (!d)
		return;
	if (d->mounted)
		CHECK(run_quietly((const char *const[]){"umount", "-l", d->mount, NULL}));
	CHECK(rmdir(d->mount) == 0);
	folder_free(d->dir);
	free(d);
}

#endif
