#include "common/source/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/base/bytes.h"
#include "common/base/clock.h"
#include "common/base/fd.h"
#include "common/base/mem.h"

enum { BATCH_MAX = 1000, BATCH_TEXT_BYTES = 1 << 20, FOLDERS_WAITING_MAX = 4 << 20 };

int file_open(int root_fd, const char *path, int flags, bool follow)
{
	/* O_NONBLOCK: a fifo that took the place of a file must not hold us. O_PATH takes no such flag. */
	int more = flags & O_PATH ? 0 : O_NONBLOCK | O_NOCTTY;
	struct open_how how = {
		.flags = (unsigned)(O_RDONLY | O_CLOEXEC | (follow ? 0 : O_NOFOLLOW) | more | flags),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	long fd;

	do
		fd = syscall(SYS_openat2, root_fd, *path ? path : ".", &how, sizeof how);
	while (fd < 0 &&
	       (errno == EINTR || errno == EAGAIN)); /* EAGAIN: a rename raced with the resolution */
	return fd < 0 ? -errno : (int)fd;
}

static int64_t time_ns(struct timespec t)
{
	return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

struct validator file_validator(const struct stat *st)
{
	struct validator v = {.kind = VALIDATOR_WEAK, .len = 32};

	put_le64(v.bytes, st->st_ino);
	put_le64(v.bytes + 8, (uint64_t)st->st_size);
	put_le64(v.bytes + 16, (uint64_t)time_ns(st->st_mtim));
	put_le64(v.bytes + 24, (uint64_t)time_ns(st->st_ctim));
	return v;
}

bool file_entry(const struct stat *st, struct source_entry *ret)
{
	if (S_ISREG(st->st_mode))
		ret->type = SOURCE_TYPE_FILE;
	else if (S_ISDIR(st->st_mode))
		ret->type = SOURCE_TYPE_DIR;
	else if (S_ISLNK(st->st_mode))
		ret->type = SOURCE_TYPE_SYMLINK;
	else
		return false;
	ret->size = ret->type == SOURCE_TYPE_FILE ? (uint64_t)st->st_size : 0;
	ret->mtime_ns = time_ns(st->st_mtim);
	ret->mode = st->st_mode & 07777;
	ret->validator = file_validator(st);
	return true;
}

int file_code(int rc, int gone)
{
	switch (-rc) {
	case EACCES:
	case EPERM:
		return -EACCES;
	case ENOENT:
	case ENOTDIR:
	case ELOOP:
	case EXDEV: /* leads out of the root */
	case EISDIR:
	case ENAMETOOLONG:
	case ESTALE:
		return gone;
	case ENOMEM:
		return -ENOMEM;
	default:
		return -ERR_UNREACHABLE;
	}
}

/* ---- the walk ---- */

struct walker {
	const struct file_walk *w;
	struct err *err;
	char **folders; /* still to be read: paths below the root, the last is next */
	size_t folder_count, folder_room;
	struct source_entry *batch; /* BATCH_MAX places */
	size_t batch_count;
	uint64_t left_out;
	char *text; /* BATCH_TEXT_BYTES for the strings of the batch */
	size_t text_len;
};

static int push_folder(struct walker *k, const char *path, size_t len)
{
	if (k->folder_count >= FOLDERS_WAITING_MAX)
		return err_set(k->err, -ERR_UNSUPPORTED, "over %d folders wait to be read",
			       FOLDERS_WAITING_MAX);
	if (k->folder_count == k->folder_room) {
		size_t room = MAX(64u, k->folder_room * 2);
		char **more = mem_resize(k->folders, room, sizeof *more);
		if (!more)
			return -ENOMEM;
		k->folders = more;
		k->folder_room = room;
	}
	k->folders[k->folder_count] = mem_strndup(path, len);
	if (!k->folders[k->folder_count])
		return -ENOMEM;
	k->folder_count++;
	return 0;
}

static int flush(struct walker *k)
{
	int rc = 0;

	if (k->batch_count > 0)
		rc = k->w->entries(k->w->ctx, k->batch, k->batch_count);
	k->batch_count = k->text_len = 0;
	return rc;
}

/* Puts "folder/name" (or the name alone at the root) into the batch's text. */
static const char *add_key(struct walker *k, const char *folder, const char *name, size_t *ret_len)
{
	size_t folder_len = strlen(folder), name_len = strlen(name),
	       len = folder_len + (folder_len > 0) + name_len;
	char *key = k->text + k->text_len;

	memcpy(key, folder, folder_len);
	if (folder_len > 0)
		key[folder_len] = '/';
	memcpy(key + len - name_len, name, name_len);
	k->text_len += len;
	*ret_len = len;
	return key;
}

/* Puts the target of the link @name into the batch's text. 1, 0 (it went, or is no link any more), -errno. */
static int keep_link(struct walker *k, int dir_fd, const char *name, struct source_entry *e)
{
	char *target = k->text + k->text_len;
	ssize_t n = readlinkat(dir_fd, name, target, SOURCE_KEY_MAX);

	if (n < 0)
		return errno == ENOENT || errno == EINVAL ? 0 : -errno;
	e->target = target;
	e->target_len = (size_t)n;
	k->text_len += (size_t)n;
	return 1;
}

/* Whether @st is a folder above @key: a link to it would lead in a circle. */
static bool is_above(const struct walker *k, const char *key, size_t len, const struct stat *st)
{
	char path[SOURCE_KEY_MAX + 1];

	for (size_t n = len;; n--) {
		if (n > 0 && key[n] != '/')
			continue;
		struct stat above;
		memcpy(path, key, n);
		path[n] = '\0';
		CLEANUP(fd_close) int fd = file_open(k->w->root_fd, path, O_PATH, true);
		if (fd >= 0 && fstat(fd, &above) == 0 && above.st_dev == st->st_dev &&
		    above.st_ino == st->st_ino)
			return true;
		if (n == 0)
			return false;
	}
}

/* Fills @e with what the link at its key leads to. 1, or 0: it is left out. */
static int follow_link(struct walker *k, struct source_entry *e)
{
	char path[SOURCE_KEY_MAX + 1];
	struct stat st;

	memcpy(path, e->key, e->key_len);
	path[e->key_len] = '\0';
	CLEANUP(fd_close) int fd = file_open(k->w->root_fd, path, O_PATH, true);
	bool shown = fd >= 0 && fstat(fd, &st) == 0 && file_entry(&st, e) && e->type != SOURCE_TYPE_SYMLINK &&
		     !(e->type == SOURCE_TYPE_DIR && is_above(k, e->key, e->key_len - 1, &st));
	k->left_out += !shown;
	return shown;
}

/* What the source makes of a link. As keep_link(). */
static int take_link(struct walker *k, int dir_fd, const char *name, struct source_entry *e)
{
	switch (k->w->symlinks) {
	case SOURCE_SYMLINKS_KEEP:
		return keep_link(k, dir_fd, name, e);
	case SOURCE_SYMLINKS_FOLLOW:
		return follow_link(k, e);
	case SOURCE_SYMLINKS_SKIP:
		break;
	}
	k->left_out++;
	return 0;
}

static int visit(struct walker *k, int dir_fd, const char *folder, const char *name)
{
	struct source_entry *e = &k->batch[k->batch_count];
	struct stat st;
	int rc = 1;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno; /* it went meanwhile */
	*e = (struct source_entry){0};
	if (!file_entry(&st, e) || strlen(folder) + 1 + strlen(name) > SOURCE_KEY_MAX) {
		k->left_out++;
		return 0;
	}
	size_t mark = k->text_len;
	e->key = add_key(k, folder, name, &e->key_len);
	if (e->type == SOURCE_TYPE_SYMLINK)
		rc = take_link(k, dir_fd, name, e);
	if (rc <= 0) {
		k->text_len = mark;
		return rc;
	}
	k->batch_count++;
	rc = e->type == SOURCE_TYPE_DIR ? push_folder(k, e->key, e->key_len) : 0;
	if (rc == 0 && (k->batch_count == BATCH_MAX || BATCH_TEXT_BYTES - k->text_len < 3u * SOURCE_KEY_MAX))
		rc = flush(k);
	return rc;
}

static int read_folder(struct walker *k, DIR *d, const char *folder)
{
	int rc = 0;

	while (rc == 0) {
		errno = 0;
		const struct dirent *de = readdir(d);
		if (!de)
			return -errno;
		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
			continue;
		if (k->w->canceled(k->w->ctx))
			return -ECANCELED;
		rc = visit(k, dirfd(d), folder, de->d_name);
	}
	return rc;
}

static int walk_folder(struct walker *k, const char *folder, bool first)
{
	int fd = file_open(k->w->root_fd, folder, O_DIRECTORY, k->w->symlinks == SOURCE_SYMLINKS_FOLLOW);

	if (fd == -ENOENT && !first)
		return 0; /* it went meanwhile */
	if (fd < 0)
		return err_set(k->err, file_code(fd, first ? -ENOENT : -ESTALE),
			       "cannot open folder \"%.300s\": %s", folder, err_text(fd));
	DIR *d = fdopendir(fd);
	if (!d) {
		(void)fd_close(fd);
		return -ENOMEM;
	}
	int rc = read_folder(k, d, folder);
	(void)closedir(d);
	return rc;
}

static int walk_all(struct walker *k)
{
	size_t len = strlen(k->w->prefix);
	bool first = true;

	while (len > 0 && k->w->prefix[len - 1] == '/')
		len--;
	int rc = push_folder(k, k->w->prefix, len);
	while (rc == 0 && k->folder_count > 0) {
		CLEANUP(free_str) char *folder = k->folders[--k->folder_count];
		rc = walk_folder(k, folder, first);
		first = false;
	}
	return rc == 0 ? flush(k) : rc;
}

int file_walk_run(const struct file_walk *w, uint64_t *ret_left_out, struct err *err)
{
	struct walker k = {.w = w, .err = err};
	int rc = -ENOMEM;

	k.batch = mem_calloc(BATCH_MAX, sizeof *k.batch);
	k.text = mem_alloc(BATCH_TEXT_BYTES);
	if (k.batch && k.text)
		rc = walk_all(&k);
	while (k.folder_count > 0)
		mem_free(k.folders[--k.folder_count]);
	mem_free(k.folders);
	mem_free(k.batch);
	mem_free(k.text);
	*ret_left_out = k.left_out;
	return rc;
}
