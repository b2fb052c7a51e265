#include "metadata/wal/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/fd.h"
#include "common/base/mem.h"

#define NAME_BYTES 32
#define ZERO_BYTES (UINT64_C(256) << 10)

/* Unfinished: made by the owner of the log, made by wal_files_prepare(). */
#define SEGMENT_NEW "segment.new"
#define SPARE_NEW   "spare.new"

struct file {
	uint64_t number;
	int fd;
	int users; /* calls that use fd; a removed file is closed by the last */
	bool gone;
};

struct wal_files {
	int dir_fd;
	uint64_t segment_bytes;
	atomic_int broken; /* the first error of a write or sync, -errno */

	pthread_mutex_t lock; /* of the following */
	struct file files[WAL_SEGMENTS_MAX];
	uint32_t spares; /* spare-0.wal to spare-(n - 1).wal are there */
};

/* ---- names ---- */

static void segment_name(uint64_t number, char out[NAME_BYTES])
{
	(void)snprintf(out, NAME_BYTES, "%016" PRIx64 ".wal", number);
}

static void spare_name(uint32_t k, char out[NAME_BYTES])
{
	(void)snprintf(out, NAME_BYTES, "spare-%" PRIu32 ".wal", k);
}

/* Whether @name is that of a segment, and of which. */
static bool is_segment(const char *name, uint64_t *ret)
{
	char again[NAME_BYTES];

	if (sscanf(name, "%16" SCNx64, ret) != 1)
		return false;
	segment_name(*ret, again);
	return strcmp(name, again) == 0;
}

/* ---- the table of open files ---- */

static struct file *file_of(struct wal_files *f, uint64_t number)
{
	for (uint32_t i = 0; i < WAL_SEGMENTS_MAX; i++)
		if (f->files[i].fd >= 0 && !f->files[i].gone && f->files[i].number == number)
			return &f->files[i];
	return NULL;
}

static int file_add(struct wal_files *f, uint64_t number, int fd, struct file **ret)
{
	for (uint32_t i = 0; i < WAL_SEGMENTS_MAX; i++)
		if (f->files[i].fd < 0) {
			f->files[i] = (struct file){.number = number, .fd = fd};
			*ret = &f->files[i];
			return 0;
		}
	return -EMFILE;
}

/* Under lock. */
static int file_open(struct wal_files *f, uint64_t number, struct file **ret)
{
	char name[NAME_BYTES];

	segment_name(number, name);
	CLEANUP(fd_close) int fd = openat(f->dir_fd, name, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int r = file_add(f, number, fd, ret);
	if (r == 0)
		(void)fd_take(&fd);
	return r;
}

/* The file of a segment, opened when first asked for; ended by file_put(). */
static int file_get(struct wal_files *f, uint64_t number, struct file **ret)
{
	(void)pthread_mutex_lock(&f->lock);
	*ret = file_of(f, number);
	int r = *ret ? 0 : file_open(f, number, ret);
	if (r == 0) {
		CHECK(*ret);
		(*ret)->users++;
	}
	(void)pthread_mutex_unlock(&f->lock);
	return r;
}

static void file_close_unused(struct file *file)
{
	if (file->users > 0 || !file->gone)
		return;
	file->fd = fd_close(file->fd);
}

static void file_put(struct wal_files *f, struct file *file)
{
	(void)pthread_mutex_lock(&f->lock);
	CHECK(file->users > 0);
	file->users--;
	file_close_unused(file);
	(void)pthread_mutex_unlock(&f->lock);
}

/* ---- life ---- */

static int unlink_if_there(struct wal_files *f, const char *name)
{
	return unlinkat(f->dir_fd, name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

/* Counts the spares and removes what an unfinished making left. */
static int tidy_folder(struct wal_files *f)
{
	struct stat st;
	char name[NAME_BYTES];

	int r = unlink_if_there(f, SEGMENT_NEW);
	if (r == 0)
		r = unlink_if_there(f, SPARE_NEW);
	/* One with a gap before it, or of another size, would never be taken. */
	for (uint32_t k = 0; k < WAL_FILES_SPARES && r == 0; k++) {
		spare_name(k, name);
		bool fits = fstatat(f->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
			    (uint64_t)st.st_size == f->segment_bytes;
		if (fits && f->spares == k)
			f->spares++;
		else
			r = unlink_if_there(f, name);
	}
	return r;
}

int wal_files_open(int dir_fd, uint64_t segment_bytes, struct wal_files **ret, struct err *err)
{
	CLEANUP(wal_files_free) struct wal_files *f = mem_calloc(1, sizeof *f);
	if (!f)
		return -ENOMEM;
	(void)pthread_mutex_init(&f->lock, NULL);
	for (uint32_t i = 0; i < WAL_SEGMENTS_MAX; i++)
		f->files[i].fd = -1;
	f->segment_bytes = segment_bytes;
	/* A description of its own, since a lock belongs to that. */
	f->dir_fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (f->dir_fd < 0)
		return err_set(err, -errno, "the log's folder: %s", err_text(errno));
	if (flock(f->dir_fd, LOCK_EX | LOCK_NB) < 0)
		return err_set(err, errno == EWOULDBLOCK ? -EBUSY : -errno, "the log's folder: %s",
			       errno == EWOULDBLOCK ? "another process writes to it" : err_text(errno));
	int r = tidy_folder(f);
	if (r)
		return err_set(err, r, "the log's folder: %s", err_text(r));
	*ret = TAKE(f);
	return 0;
}

struct wal_files *wal_files_free(struct wal_files *f)
{
	if (!f)
		return NULL;
	for (uint32_t i = 0; i < WAL_SEGMENTS_MAX; i++)
		(void)fd_close(f->files[i].fd);
	(void)fd_close(f->dir_fd);
	(void)pthread_mutex_destroy(&f->lock);
	return mem_free(f);
}

/* ---- errors that stay ---- */

/* Remembers the first error; answers it for ever. */
static int keep(struct wal_files *f, int r)
{
	int none = 0;

	if (r)
		(void)atomic_compare_exchange_strong(&f->broken, &none, r);
	return atomic_load(&f->broken);
}

/* ---- making segments ---- */

static int write_zeros(int fd, uint64_t bytes)
{
	CLEANUP(mem_free) void *zeros = mem_calloc(1, ZERO_BYTES);
	int r = zeros ? 0 : -ENOMEM;

	for (uint64_t at = 0; r == 0 && at < bytes; at += ZERO_BYTES)
		r = fd_pwrite_full(fd, zeros, MIN(ZERO_BYTES, bytes - at), at);
	return r;
}

/* A whole file of zeros under @name, durable but for its name; nothing stays after an error. */
static int make_file(struct wal_files *f, const char *name)
{
	CLEANUP(fd_close) int fd = openat(f->dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	/* Reserved first, so that the blocks lie together and a full disk is known before anything is written. */
	int r = fallocate(fd, 0, 0, (off_t)f->segment_bytes) < 0 && errno != EOPNOTSUPP ? -errno : 0;
	if (r == 0)
		r = write_zeros(fd, f->segment_bytes);
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	if (r)
		(void)unlinkat(f->dir_fd, name, 0);
	return r;
}

/* Gives the last spare the name of a segment. -ENOENT: there is none. */
static int take_spare(struct wal_files *f, const char *name)
{
	char spare[NAME_BYTES];
	int r = -ENOENT;

	(void)pthread_mutex_lock(&f->lock);
	if (f->spares > 0) {
		spare_name(f->spares - 1, spare);
		r = renameat(f->dir_fd, spare, f->dir_fd, name) < 0 ? -errno : 0;
		f->spares -= r == 0;
	}
	(void)pthread_mutex_unlock(&f->lock);
	return r;
}

int wal_files_prepare(struct wal_files *f)
{
	char name[NAME_BYTES];

	(void)pthread_mutex_lock(&f->lock);
	bool enough = f->spares > 0;
	(void)pthread_mutex_unlock(&f->lock);
	if (enough)
		return 0;
	int r = make_file(f, SPARE_NEW);
	if (r)
		return r;
	(void)pthread_mutex_lock(&f->lock);
	bool wanted = f->spares < WAL_FILES_SPARES; /* a removed segment may have come meanwhile */
	spare_name(f->spares, name);
	if (wanted && renameat(f->dir_fd, SPARE_NEW, f->dir_fd, name) < 0)
		r = -errno;
	f->spares += wanted && r == 0;
	(void)pthread_mutex_unlock(&f->lock);
	if (!wanted || r)
		(void)unlinkat(f->dir_fd, SPARE_NEW, 0);
	return r;
}

/* ---- the operations ---- */

static int files_list(void *disk, uint64_t *ret, uint32_t max, uint32_t *ret_count)
{
	struct wal_files *f = disk;
	uint64_t number;

	*ret_count = 0;
	int fd = openat(f->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		int r = -errno;
		(void)fd_close(fd);
		return r;
	}
	int r = 0;
	const struct dirent *e;
	errno = 0;
	while (r == 0 && (e = readdir(dir))) {
		if (!is_segment(e->d_name, &number))
			continue;
		if (*ret_count == max)
			r = -E2BIG;
		else
			ret[(*ret_count)++] = number;
	}
	if (r == 0 && errno)
		r = -errno;
	(void)closedir(dir);
	return r;
}

static int files_size(void *disk, uint64_t n, uint64_t *ret)
{
	struct wal_files *f = disk;
	struct file *file;
	struct stat st;

	int r = file_get(f, n, &file);
	if (r)
		return r;
	r = fstat(file->fd, &st) < 0 ? -errno : 0;
	file_put(f, file);
	if (r == 0)
		*ret = (uint64_t)st.st_size;
	return r;
}

static int files_read(void *disk, uint64_t n, uint64_t offset, void *buf, uint64_t len)
{
	struct wal_files *f = disk;
	struct file *file;

	int r = file_get(f, n, &file);
	if (r)
		return r;
	r = fd_pread_full(file->fd, buf, len, offset);
	file_put(f, file);
	return r == -ENODATA ? -EIO : r;
}

static int files_create(void *disk, uint64_t n, uint64_t bytes)
{
	struct wal_files *f = disk;
	struct file *file;
	char name[NAME_BYTES];

	CHECK(bytes == f->segment_bytes);
	segment_name(n, name);
	int r = take_spare(f, name);
	if (r == -ENOENT) {
		r = make_file(f, SEGMENT_NEW);
		if (r == 0 && renameat(f->dir_fd, SEGMENT_NEW, f->dir_fd, name) < 0)
			r = -errno;
	}
	if (r)
		return r; /* no space, for instance: nothing of the log is lost */
	if (fsync(f->dir_fd) < 0)
		return keep(f, -errno);
	r = file_get(f, n, &file);
	if (r == 0)
		file_put(f, file);
	return r;
}

static int files_write(void *disk, uint64_t n, uint64_t offset, const void *buf, uint64_t len)
{
	struct wal_files *f = disk;
	struct file *file;

	int r = keep(f, 0);
	if (r == 0)
		r = file_get(f, n, &file);
	if (r)
		return keep(f, r);
	r = fd_pwrite_full(file->fd, buf, len, offset);
	file_put(f, file);
	return keep(f, r);
}

int wal_files_sync(struct wal_files *f, uint64_t first, uint64_t last)
{
	struct file *file;

	int r = keep(f, 0);
	for (uint64_t n = first; r == 0 && n <= last; n++) {
		r = file_get(f, n, &file);
		if (r == -ENOENT) { /* all in it is in snapshots */
			r = 0;
			continue;
		}
		if (r == 0) {
			r = fdatasync(file->fd) < 0 ? -errno : 0;
			file_put(f, file);
		}
	}
	return keep(f, r);
}

static int files_sync(void *disk, uint64_t n)
{
	return wal_files_sync(disk, n, n);
}

/* Under lock: the segment is no more, its file a spare or gone. */
static int forget_file(struct wal_files *f, uint64_t n)
{
	char name[NAME_BYTES], spare[NAME_BYTES];
	struct stat st;

	segment_name(n, name);
	struct file *file = file_of(f, n);
	if (file) {
		file->gone = true;
		file_close_unused(file);
	}
	bool fits = f->spares < WAL_FILES_SPARES && fstatat(f->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    (uint64_t)st.st_size == f->segment_bytes;
	spare_name(f->spares, spare);
	int r = fits ? renameat(f->dir_fd, name, f->dir_fd, spare) : unlinkat(f->dir_fd, name, 0);
	if (r < 0)
		return errno == ENOENT ? 0 : -errno;
	f->spares += fits;
	return 0;
}

static int files_remove(void *disk, uint64_t n)
{
	struct wal_files *f = disk;

	(void)pthread_mutex_lock(&f->lock);
	int r = forget_file(f, n);
	(void)pthread_mutex_unlock(&f->lock);
	return r;
}

const struct wal_ops wal_files_ops = {
	.list = files_list,
	.size = files_size,
	.read = files_read,
	.create = files_create,
	.write = files_write,
	.sync = files_sync,
	.remove = files_remove,
};
