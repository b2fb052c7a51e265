#include "common/manifest/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "common/base/fd.h"
#include "common/base/mem.h"

/* For file systems without O_TMPFILE (NFS, some overlays): a name that lives for an instant. */
static int named_file(int dir_fd)
{
	char name[64];

	for (unsigned i = 0; i < 100; i++) {
		(void)snprintf(name, sizeof name, ".spool-%ld-%u", (long)getpid(), i);
		int fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd >= 0) {
			(void)unlinkat(dir_fd, name, 0); /* a name left behind costs nothing but its space */
			return fd;
		}
		if (errno != EEXIST)
			return -errno;
	}
	return -EEXIST;
}

int spool_file(int dir_fd)
{
	int fd = openat(dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0)
		return fd;
	return errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL ? named_file(dir_fd) : -errno;
}

int spool_init(struct spool *s, int dir_fd, size_t size)
{
	CHECK(size >= SPOOL_BUFFER_MIN);
	*s = (struct spool){.fd = -1, .size = size};
	s->buffer = mem_alloc(size);
	if (!s->buffer)
		return -ENOMEM;
	int fd = spool_file(dir_fd);
	if (fd < 0)
		return fd;
	s->fd = fd;
	return 0;
}

void spool_done(struct spool *s)
{
	s->fd = fd_close(s->fd);
	s->buffer = mem_free(s->buffer);
}

int spool_flush(struct spool *s)
{
	int r = fd_pwrite_full(s->fd, s->buffer, s->used, s->flushed);
	if (r != 0)
		return r;
	s->flushed += s->used;
	s->used = 0;
	return 0;
}

int spool_append(struct spool *s, const struct record *r)
{
	if (s->used + r->bytes > s->size) {
		int status = spool_flush(s);
		if (status != 0)
			return status;
	}
	memcpy(s->buffer + s->used, r, r->bytes);
	s->used += r->bytes;
	return 0;
}

/* Brings as much as fits behind what is left. */
static int refill(struct spool_reader *r)
{
	size_t left = r->have - r->from;

	memmove(r->buffer, r->buffer + r->from, left);
	size_t more = (size_t)MIN((uint64_t)(r->size - left), r->end - r->at);
	int status = fd_pread_full(r->fd, r->buffer + left, more, r->at);
	r->from = 0;
	r->have = left;
	if (status != 0)
		return status;
	r->have += more;
	r->at += more;
	return 0;
}

int spool_next(struct spool_reader *r, const struct record **ret)
{
	const struct record *rec = (const struct record *)(const void *)(r->buffer + r->from);
	size_t left = r->have - r->from;

	if (left < sizeof *rec || left < rec->bytes) {
		if (left == 0 && r->at == r->end)
			return 0;
		int status = refill(r);
		if (status != 0)
			return status;
		rec = (const struct record *)(const void *)r->buffer;
		if (r->have < sizeof *rec || r->have < rec->bytes || rec->bytes < sizeof *rec)
			return -EIO; /* somebody changed our unlinked file */
	}
	r->from += rec->bytes;
	*ret = rec;
	return 1;
}
