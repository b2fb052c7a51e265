#include "cache-node/cache/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/bytes.h"
#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/base/fd.h"
#include "common/base/hash.h"

#define MAGIC "LDRINDX\1" /* the version is its last byte */

enum {
	AT_BOOT = 8,
	AT_SALT = 24,
	HEADER_USED = 32, /* of the header */
	AT_BYTES = 32,
	AT_USED = 40,
	AT_SHARE = 48,
	AT_KIND = 56, /* of a record; the id is at 0 */
	AT_CRC = 60,  /* of both */
	BATCH_RECORDS = 256,
};

static const char name_now[] = "index", name_next[] = "index.next";

/* ---- the codec ---- */

static uint32_t checksum(const uint8_t *bytes, uint64_t salt)
{
	uint8_t le[8];
	put_le64(le, salt);
	return crc32c(crc32c(0, le, sizeof le), bytes, AT_CRC);
}

void journal_encode_header(const uint8_t boot[SIDECAR_BOOT_BYTES], uint64_t salt,
			   uint8_t out[JOURNAL_RECORD_BYTES])
{
	memset(out, 0, JOURNAL_RECORD_BYTES);
	memcpy(out, MAGIC, sizeof MAGIC - 1);
	memcpy(out + AT_BOOT, boot, SIDECAR_BOOT_BYTES);
	put_le64(out + AT_SALT, salt);
	put_le32(out + AT_CRC, checksum(out, 0));
}

void journal_encode(const struct journal_record *r, uint64_t salt, uint8_t out[JOURNAL_RECORD_BYTES])
{
	memset(out, 0, JOURNAL_RECORD_BYTES);
	memcpy(out, r->id.bytes, HASH256_BYTES);
	put_le64(out + AT_BYTES, r->bytes);
	put_le64(out + AT_USED, (uint64_t)r->used_ns);
	put_le64(out + AT_SHARE, r->share);
	out[AT_KIND] = (uint8_t)r->kind;
	put_le32(out + AT_CRC, checksum(out, salt));
}

static bool all_zero(const uint8_t *p, size_t len)
{
	while (len > 0 && *p == 0) {
		p++;
		len--;
	}
	return len == 0;
}

int journal_decode_header(const uint8_t in[JOURNAL_RECORD_BYTES], const uint8_t boot[SIDECAR_BOOT_BYTES],
			  uint64_t *ret_salt)
{
	if (memcmp(in, MAGIC, sizeof MAGIC - 1) != 0 || get_le32(in + AT_CRC) != checksum(in, 0) ||
	    !all_zero(in + HEADER_USED, AT_CRC - HEADER_USED))
		return -ERR_CORRUPT;
	*ret_salt = get_le64(in + AT_SALT);
	return memcmp(in + AT_BOOT, boot, SIDECAR_BOOT_BYTES) == 0 ? 0 : -ESTALE;
}

int journal_decode(const uint8_t in[JOURNAL_RECORD_BYTES], uint64_t salt, struct journal_record *ret)
{
	uint64_t bytes = get_le64(in + AT_BYTES), used = get_le64(in + AT_USED);
	uint8_t kind = in[AT_KIND];

	if (get_le32(in + AT_CRC) != checksum(in, salt) || kind > JOURNAL_SEALED || used > INT64_MAX ||
	    bytes > INT64_MAX || (bytes > 0) != (kind >= JOURNAL_PARTIAL) ||
	    !all_zero(in + AT_KIND + 1, AT_CRC - AT_KIND - 1))
		return -ERR_CORRUPT;
	*ret = (struct journal_record){.bytes = bytes,
				       .used_ns = (int64_t)used,
				       .share = get_le64(in + AT_SHARE),
				       .kind = (enum journal_kind)kind};
	memcpy(ret->id.bytes, in, HASH256_BYTES);
	return 0;
}

/* ---- the file ---- */

/* It is not believed any more, by nobody: without its name a process that starts looks at all files. Under the lock. */
static void forget(struct journal *j)
{
	(void)unlinkat(j->dir_fd, name_now, 0);
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

/* Decodes what was there at the start; each good record goes to @visit, if that is not NULL. */
static int walk(const struct journal *j, int (*visit)(void *ctx, const struct journal_record *r), void *ctx)
{
	uint8_t bytes[BATCH_RECORDS * JOURNAL_RECORD_BYTES];
	struct journal_record record;
	int r = 0;
	for (uint64_t at = JOURNAL_RECORD_BYTES; at < j->found && r == 0; at += sizeof bytes) {
		size_t len = (size_t)MIN(j->found - at, sizeof bytes);
		r = fd_pread_full(j->fd, bytes, len, at);
		for (size_t i = 0; i < len && r == 0; i += JOURNAL_RECORD_BYTES) {
			r = journal_decode(bytes + i, j->salt, &record);
			if (r == 0 && visit)
				r = visit(ctx, &record);
		}
	}
	return r;
}

int journal_read(struct journal *j, int (*visit)(void *ctx, const struct journal_record *r), void *ctx)
{
	if (!journal_counts(j) || !j->found)
		return -ENOENT;
	int r = walk(j, NULL, NULL); /* every record is looked at before the first is believed */
	if (r) {
		(void)pthread_mutex_lock(&j->lock);
		forget(j);
		(void)pthread_mutex_unlock(&j->lock);
	} else {
		r = walk(j, visit, ctx);
	}
	j->found = 0;
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

void journal_fill(struct journal *j, const struct journal_record *r, size_t count)
{
	(void)pthread_mutex_lock(&j->lock);
	for (size_t i = 0; i < count && j->next_fd >= 0; i += BATCH_RECORDS)
		if (!append_next(j, r + i, MIN(count - i, (size_t)BATCH_RECORDS)))
			forget_next(j);
	(void)pthread_mutex_unlock(&j->lock);
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
