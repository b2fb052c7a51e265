#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/checks.h"
#include "cli/mountinfo.h"
#include "cli/secret_file.h"
#include "cli/up.h"
#include "common/base/clock.h"
#include "common/base/fd.h"
#include "common/base/mem.h"

#define FILE_BYTES_MAX  (64u << 20)
#define CHECK_BYTES_MAX (4u << 20)
#define TIER_MAX        (100ULL << 30)

/* ---- folders ---- */

/* Makes every missing folder of @path, the last one with @mode for @uid. */
static int make_folders(const char *path, mode_t mode, uid_t uid, gid_t gid, struct err *err)
{
	CLEANUP(free_str) char *copy = mem_strdup(path);

	if (!copy)
		return err_set(err, -ENOMEM, "out of memory");
	for (char *p = copy + 1; (p = strchr(p, '/')); *p++ = '/') {
		*p = 0;
		if (mkdir(copy, 0755) < 0 && errno != EEXIST)
			return err_set(err, -errno, "making %s: %s", copy, err_text(-errno));
	}
	bool made = mkdir(path, mode) == 0;
	if (!made && errno != EEXIST)
		return err_set(err, -errno, "making %s: %s", path, err_text(-errno));
	if (made && uid && lchown(path, uid, gid) < 0)
		return err_set(err, -errno, "giving %s to uid %u: %s", path, uid, err_text(-errno));
	return 0;
}

static int make_in_run(const struct up *u, const char *name, mode_t mode, bool for_node, struct err *err)
{
	if (mkdirat(u->run_fd, name, mode) < 0 || fchmodat(u->run_fd, name, mode, 0) < 0 ||
	    (for_node && fchownat(u->run_fd, name, u->o->uid, u->o->gid, AT_SYMLINK_NOFOLLOW) < 0))
		return err_set(err, -errno, "making %s/%s: %s", u->run, name, err_text(-errno));
	return 0;
}

static int claim_name(struct up *u, struct err *err)
{
	const char *name = u->o->name;
	int r = make_folders(INSTANCE_ROOT, 0755, 0, 0, err);

	if (r)
		return r;
	u->root_fd = instance_root_open();
	if (u->root_fd < 0)
		return err_set(err, -errno, INSTANCE_ROOT ": %s", err_text(-errno));
	enum instance_state state = instance_look(u->root_fd, name);
	if (state == INSTANCE_RUNNING)
		return err_set(
			err, -EBUSY,
			"instance %s is running already; end it with larder down %s, or choose another --name",
			name, name);
	if (state == INSTANCE_LEFT)
		return err_set(
			err, -EEXIST,
			"instance %s was left behind by a larder up that was killed; clean up: larder down %s",
			name, name);
	if (mkdirat(u->root_fd, name, 0755) < 0)
		return err_set(err, -errno, "making %s: %s", u->run, err_text(-errno));
	u->made_run = true;
	u->run_fd = openat(u->root_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (u->run_fd < 0)
		return err_set(err, -errno, "%s: %s", u->run, err_text(-errno));
	r = instance_lock(u->run_fd, &u->lock_fd);
	if (!r)
		r = instance_pid_write(u->run_fd, "up.pid", getpid());
	return r ? err_set(err, r, "locking %s: %s", u->run, err_text(r)) : 0;
}

/* Half of what is free, so that the cache cannot fill a disk that others need. */
static int choose_default_disk(struct up *u, struct err *err)
{
	struct up_disk *d = &u->o->disks[0];
	struct statvfs fs;

	if (u->o->disk_count || u->o->dram_bytes)
		return 0;
	if (snprintf(d->path, sizeof d->path, "%s/tier", u->o->state) >= (int)sizeof d->path)
		return err_set(err, -ENAMETOOLONG, "--state: the path is too long");
	int r = make_folders(d->path, 0755, 0, 0, err);
	if (r)
		return r;
	if (statvfs(d->path, &fs) < 0)
		return err_set(err, -errno, "%s: %s", d->path, err_text(-errno));
	uint64_t left = (uint64_t)fs.f_bavail * fs.f_frsize;
	d->bytes_max = MIN(MAX(left / 2, CHECK_DISK_LEAST), TIER_MAX);
	u->o->disk_count = 1;
	return 0;
}

static int check_outside(const struct up *u, struct err *err)
{
	char address[32];
	int r = check_fuse_device("/dev/fuse", err);

	if (!r)
		r = check_mount_point(u->proc_fd, u->o->mount, err);
	for (size_t i = 0; !r && i < u->o->disk_count; i++)
		r = check_disk(u->o->disks[i].path, err);
	if (!r && u->o->metrics)
		r = check_port("metrics", u->o->metrics, err);
	(void)snprintf(address, sizeof address, "127.0.0.1:%u", u->o->port_base + 1);
	return !r && u->o->port_base ? check_port("port-base", address, err) : r;
}

/* ---- files ---- */

static int write_file(const struct up *u, const char *name, const char *text, size_t len, struct err *err)
{
	int r = fd_write_file(u->run_fd, name, text, len, 0600);

	if (!r && fchownat(u->run_fd, name, u->o->uid, u->o->gid, AT_SYMLINK_NOFOLLOW) < 0)
		r = -errno;
	return r ? err_set(err, r, "writing %s/%s: %s", u->run, name, err_text(r)) : 0;
}

static int copy_file(const struct up *u, size_t i, struct err *err)
{
	const char *path = u->o->files[i], *dot = strrchr(path, '.');
	char name[64], *text;
	size_t len;
	int r = fd_read_file(AT_FDCWD, path, FILE_BYTES_MAX, &text, &len);

	if (r)
		return err_set(err, r, "%s: %s", path, err_text(r));
	(void)snprintf(name, sizeof name, "files/%03zu.%s", i,
		       dot && strcmp(dot, ".json") == 0 ? "json" : "yaml");
	r = write_file(u, name, text, len, err);
	explicit_bzero(text, len); /* Secrets may stand in it */
	(void)mem_free(text);
	return r;
}

static int copy_secret(const struct up *u, size_t i, struct err *err)
{
	const struct up_secret *s = &u->o->secrets[i];
	char name[64], *document;
	int r = secret_file_read(&s->name, s->file, &document, err);

	if (r)
		return r;
	(void)snprintf(name, sizeof name, "files/secret-%03zu.json", i);
	r = write_file(u, name, document, strlen(document), err);
	explicit_bzero(document, strlen(document));
	(void)mem_free(document);
	return r;
}

static int make_log(struct up *u, struct err *err)
{
	if (!u->o->daemon)
		return 0;
	u->log_fd = openat(u->run_fd, "log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	return u->log_fd < 0 ? err_set(err, -errno, "%s/log: %s", u->run, err_text(-errno)) : 0;
}

int up_prepare(struct up *u, struct err *err)
{
	const struct up_options *o = u->o;
	int r = check_outside(u, err);

	if (!r)
		r = claim_name(u, err);
	if (!r)
		r = make_in_run(u, "mounter", 0700, true, err);
	if (!r)
		r = make_in_run(u, "node", 0700, true, err);
	if (!r)
		r = make_in_run(u, "files", 0700, true, err);
	if (!r)
		r = make_in_run(u, "dram", 0755, false, err);
	if (!r)
		r = make_log(u, err);
	for (size_t i = 0; !r && i < o->file_count; i++)
		r = copy_file(u, i, err);
	for (size_t i = 0; !r && i < o->secret_count; i++)
		r = copy_secret(u, i, err);
	if (!r)
		r = make_folders(o->state, 0700, o->uid, o->gid, err);
	if (!r)
		r = choose_default_disk(u, err);
	return r;
}

void up_clean(struct up *u)
{
	char dram[INSTANCE_PATH_MAX];
	struct mount_entry m;

	if (!u->made_run)
		return;
	instance_path(u->o->name, "dram", dram);
	if (mount_at(u->proc_fd, dram, &m) == 0 && umount2(dram, UMOUNT_NOFOLLOW | MNT_DETACH) < 0)
		(void)fprintf(stderr, "larder: %s stays mounted: %s\n", dram, err_text(-errno));
	int r = instance_remove_tree(u->root_fd, u->o->name);
	if (r)
		(void)fprintf(stderr, "larder: %s cannot be removed: %s\n", u->run, err_text(r));
}

/* ---- the operator's check ---- */

static int read_output(int fd, char **ret)
{
	size_t len = 0, size = 1u << 16;
	char *text = mem_alloc(size);

	while (text) {
		ssize_t n = read(fd, text + len, size - len - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		len += (size_t)n;
		if (size - len > 1)
			continue;
		char *more = size < CHECK_BYTES_MAX ? mem_resize(text, 2, size) : NULL;
		if (!more)
			text = mem_free(text);
		else
			text = more;
		size *= 2;
	}
	if (!text)
		return -ENOMEM;
	text[len] = 0;
	*ret = text;
	return 0;
}

/* Runs it with standard output into *ret. 0 or -errno; its exit status in *ret_status. */
static int run_check(char *const *args, char **ret, int *ret_status)
{
	int pipe_fds[2];

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return -errno;
	CLEANUP(fd_close) int in = pipe_fds[0];
	CLEANUP(fd_close) int out = pipe_fds[1];
	pid_t pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		if (dup2(out, STDOUT_FILENO) >= 0)
			(void)execv(args[0], args);
		_exit(127);
	}
	(void)fd_close(fd_take(&out)); /* ours, so that the end of the child's is the end of the pipe */
	int r = read_output(in, ret), waited;
	do
		waited = waitpid(pid, ret_status, 0);
	while (waited < 0 && errno == EINTR);
	return r ? r : waited < 0 ? -errno : 0;
}

static int take_lines(struct up *u, char *text, struct err *err)
{
	CLEANUP(mem_free) void *memory = mem_calloc(RECORD_TARGETS_MAX, RECORD_DATASET_MAX);
	char(*names)[RECORD_DATASET_MAX] = memory;
	size_t count = 0;

	if (!names)
		return err_set(err, -ENOMEM, "out of memory");
	CHECK(text != NULL);
	for (char *line = text, *end; *line; line = end) {
		end = line + strcspn(line, "\n");
		if (*end)
			*end++ = 0;
		if (strncmp(line, "note ", 5) == 0)
			(void)fprintf(stderr, "larder: note: %s\n", line + 5);
		if (strncmp(line, "ok ", 3) != 0)
			continue;
		if (count == RECORD_TARGETS_MAX)
			return err_set(err, -ENOSPC, "%d Datasets are the limit of one larder up",
				       RECORD_TARGETS_MAX);
		(void)snprintf(names[count++], RECORD_DATASET_MAX, "%s", line + 3);
	}
	if (!count)
		return err_set(err, -EINVAL, "there is no Dataset in the files given");
	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; j < i; j++)
			if (strcmp(names[i], names[j]) == 0)
				return err_set(err, -EEXIST, "Dataset %s is given twice", names[i]);
	return record_plan(&u->record, names, count, err);
}

int up_read_datasets(struct up *u, struct err *err)
{
	struct child c = {.name = "larder-operator"};
	char *text = NULL;
	int status = 0;

	child_arg(&c, "%s", u->children[UP_OPERATOR].program);
	child_arg(&c, "--check");
	for (size_t i = 0; i < u->o->file_count && i < CHILD_ARGS_MAX / 2; i++)
		child_arg(&c, "%s", u->o->files[i]);
	for (size_t i = 0; i < u->o->secret_count; i++)
		child_arg(&c, "%s/files/secret-%03zu.json", u->run, i);
	int r = c.truncated ? err_set(err, -E2BIG,
				      "too many files and secrets; put several documents into one file")
			    : 0;
	if (!r) {
		r = run_check(c.args, &text, &status);
		if (r)
			(void)err_set(err, r, "larder-operator --check: %s", err_text(r));
	}
	child_done(&c);
	if (!r && WIFEXITED(status) && WEXITSTATUS(status) == 1)
		r = -EINVAL; /* it has said why */
	else if (!r && status)
		r = err_set(err, -ECHILD,
			    "%s does not work; the programs of Larder belong together, install them again",
			    u->children[UP_OPERATOR].program);
	if (!r)
		r = take_lines(u, text, err);
	(void)mem_free(text);
	return r;
}
