#include "cache-node/cache/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/base/fd.h"

enum { BATCH_RECORDS = 256 };

static const char name_now[] = "index", name_next[] = "index.next";

/* It is not believed any more, by nobody: without its name a process that starts looks at all files. Under the lock. */
static void forget(struct journal *j)
{
	if (unlinkat(j->dir_fd, name_now, 0) != 0)
		(void)!ftruncate(j->fd, 0); /* then it has no header */
	j->fd = fd_close(j->fd);
	j->bytes = 0;
}

static void forget_next(struct journal *j)
{
	(void)unlinkat(j->dir_fd, name_next, 0);
	j->next_fd = fd_close(j->next_fd);
	j->next_bytes = 0;
}

/* The log of a former process, or -1. */
static int open_found(struct journal *j)
{
	uint8_t header[JOURNAL_RECORD_BYTES];
	struct stat st;
	CLEANUP(fd_close) int fd = openat(j->dir_fd, name_now, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
	    st.st_nlink != 1)
		return -1;
	if (st.st_size < JOURNAL_RECORD_BYTES || st.st_size % JOURNAL_RECORD_BYTES != 0 ||
	    (uint64_t)st.st_size > JOURNAL_BYTES_MAX || fd_pread_full(fd, header, sizeof header, 0) != 0 ||
	    journal_decode_header(header, j->boot, &j->salt) != 0)
		return -1;
	j->bytes = j->found = (uint64_t)st.st_size;
	return fd_take(&fd);
}

int journal_open(struct journal *j, int dir_fd, const uint8_t boot[SIDECAR_BOOT_BYTES])
{
	*j = (struct journal){.fd = -1, .next_fd = -1, .seed = (uint64_t)clock_wall_ns()};
	memcpy(j->boot, boot, sizeof j->boot);
	j->dir_fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 3);
	if (j->dir_fd < 0)
		return -errno;
	(void)pthread_mutex_init(&j->lock, NULL); /* cannot fail without attributes */
	(void)unlinkat(j->dir_fd, name_next, 0);
	j->fd = open_found(j);
	if (j->fd < 0)
		(void)unlinkat(j->dir_fd, name_now, 0);
	return 0;
}

void journal_done(struct journal *j)
{
	if (j->dir_fd <= 0)
		return;
	if (j->next_fd >= 0)
		forget_next(j);
	j->fd = fd_close(j->fd);
	j->dir_fd = fd_close(j->dir_fd);
	(void)pthread_mutex_destroy(&j->lock);
}

/* What was there at the start, for who reads it while others append, or give it up. */
struct found {
	int fd;
	uint64_t salt, bytes;
};

/* Decodes it; each good record goes to @visit, if that is not NULL. */
static int walk(const struct found *f, int (*visit)(void *ctx, const struct journal_record *r), void *ctx)
{
	uint8_t bytes[BATCH_RECORDS * JOURNAL_RECORD_BYTES];
	struct journal_record record;
	int r = 0;
	for (uint64_t at = JOURNAL_RECORD_BYTES; at < f->bytes && r == 0; at += sizeof bytes) {
		size_t len = (size_t)MIN(f->bytes - at, sizeof bytes);
		r = fd_pread_full(f->fd, bytes, len, at);
		for (size_t i = 0; i < len && r == 0; i += JOURNAL_RECORD_BYTES) {
			r = journal_decode(bytes + i, f->salt, &record);
			if (r == 0 && visit)
				r = visit(ctx, &record);
		}
	}
	return r;
}

int journal_read(struct journal *j, int (*visit)(void *ctx, const struct journal_record *r), void *ctx)
{
	(void)pthread_mutex_lock(&j->lock);
	struct found f = {.fd = j->fd >= 0 && j->found ? fcntl(j->fd, F_DUPFD_CLOEXEC, 3) : -1,
			  .salt = j->salt,
			  .bytes = j->found};
	j->found = 0;
	(void)pthread_mutex_unlock(&j->lock);
	if (f.fd < 0)
		return -ENOENT;
	int r = walk(&f, NULL, NULL); /* every record is looked at before the first is believed */
	if (r) {
		(void)pthread_mutex_lock(&j->lock);
		if (j->fd >= 0)
			forget(j);
		(void)pthread_mutex_unlock(&j->lock);
	} else {
		r = walk(&f, visit, ctx);
	}
	(void)fd_close(f.fd);
	return r;
}

/* Appends; false: it could not be written. */
static bool append(int fd, uint64_t *at, const uint8_t *bytes, size_t len)
{
	if (*at > JOURNAL_BYTES_MAX - len || fd_pwrite_full(fd, bytes, len, *at) != 0)
		return false;
	*at += len;
	return true;
}

static bool append_next(struct journal *j, const struct journal_record *r, size_t count)
{
	uint8_t bytes[BATCH_RECORDS * JOURNAL_RECORD_BYTES];
	CHECK(count <= BATCH_RECORDS);
	for (size_t i = 0; i < count; i++)
		journal_encode(&r[i], j->next_salt, bytes + i * JOURNAL_RECORD_BYTES);
	return append(j->next_fd, &j->next_bytes, bytes, count * JOURNAL_RECORD_BYTES);
}

void journal_note(struct journal *j, const struct journal_record *r)
{
	uint8_t bytes[JOURNAL_RECORD_BYTES];
	(void)pthread_mutex_lock(&j->lock);
	if (j->fd >= 0) {
		journal_encode(r, j->salt, bytes);
		if (!append(j->fd, &j->bytes, bytes, sizeof bytes))
			forget(j);
	}
	if (j->next_fd >= 0) {
		journal_encode(r, j->next_salt, bytes);
		if (!append(j->next_fd, &j->next_bytes, bytes, sizeof bytes))
			forget_next(j);
	}
	(void)pthread_mutex_unlock(&j->lock);
}

uint64_t journal_records(struct journal *j)
{
	(void)pthread_mutex_lock(&j->lock);
	uint64_t n = j->bytes / JOURNAL_RECORD_BYTES;
	(void)pthread_mutex_unlock(&j->lock);
	return n;
}

bool journal_counts(struct journal *j)
{
	(void)pthread_mutex_lock(&j->lock);
	bool counts = j->fd >= 0;
	(void)pthread_mutex_unlock(&j->lock);
	return counts;
}

int journal_begin(struct journal *j)
{
	uint8_t header[JOURNAL_RECORD_BYTES];
	CLEANUP(fd_close)
	int fd = openat(j->dir_fd, name_next, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	(void)pthread_mutex_lock(&j->lock);
	CHECK(j->next_fd < 0);
	j->next_salt = ++j->seed;
	j->next_bytes = 0;
	journal_encode_header(j->boot, j->next_salt, header);
	bool written = append(fd, &j->next_bytes, header, sizeof header);
	if (written)
		j->next_fd = fd_take(&fd);
	(void)pthread_mutex_unlock(&j->lock);
	return written ? 0 : -EIO;
}

bool journal_fill(struct journal *j, const struct journal_record *r, size_t count)
{
	(void)pthread_mutex_lock(&j->lock);
	for (size_t i = 0; i < count && j->next_fd >= 0; i += BATCH_RECORDS)
		if (!append_next(j, r + i, MIN(count - i, (size_t)BATCH_RECORDS)))
			forget_next(j);
	bool there = j->next_fd >= 0;
	(void)pthread_mutex_unlock(&j->lock);
	return there;
}

void journal_commit(struct journal *j)
{
	(void)pthread_mutex_lock(&j->lock);
	if (j->next_fd >= 0 && renameat(j->dir_fd, name_next, j->dir_fd, name_now) != 0)
		forget_next(j);
	if (j->next_fd >= 0) {
		(void)fd_close(j->fd);
		j->fd = j->next_fd;
		j->salt = j->next_salt;
		j->bytes = j->next_bytes;
		j->next_fd = -1;
	}
	(void)pthread_mutex_unlock(&j->lock);
}

void journal_abandon(struct journal *j)
{
	(void)pthread_mutex_lock(&j->lock);
	if (j->next_fd >= 0)
		forget_next(j);
	(void)pthread_mutex_unlock(&j->lock);
}
