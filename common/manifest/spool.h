/*
 * spool - a temporary file without a name that records are appended to, and readers over stretches of it.
 */
#ifndef COMMON_MANIFEST_SPOOL_H
#define COMMON_MANIFEST_SPOOL_H

#include "common/manifest/record.h"

#define SPOOL_BUFFER_MIN (2 * 16384) /* holds two records of any size */

/* Opens an unlinked file below @dir_fd. Returns the descriptor or -errno. */
MUST_CHECK int spool_file(int dir_fd);

struct spool {
	int fd;
	uint8_t *buffer; /* owned */
	size_t size, used;
	uint64_t flushed; /* bytes in the file */
};

/* A new file below @dir_fd with a write buffer of @size bytes. 0 or -errno; spool_done() is fine in both cases. */
MUST_CHECK int spool_init(struct spool *s, int dir_fd, size_t size);
void spool_done(struct spool *s);
/* A spool that spool_done() may see without spool_init(). */
#define SPOOL_NONE ((struct spool){.fd = -1})

/* Adds a record (copied); writes out what is buffered. 0, -errno of the write: the spool is then of no use. */
MUST_CHECK int spool_append(struct spool *s, const struct record *r);
MUST_CHECK int spool_flush(struct spool *s);

/* Where the next record will stand. */
static inline uint64_t spool_at(const struct spool *s)
{
	return s->flushed + s->used;
}

/* Reads the records of [at, end) of a flushed spool through @buffer, which the caller lends (aligned to 8). */
struct spool_reader {
	int fd;
	uint8_t *buffer;
	size_t size, from, have;
	uint64_t at, end;
};

/* The next record in *ret, valid until the next call. 1, 0 at the end, -errno. */
MUST_CHECK int spool_next(struct spool_reader *r, const struct record **ret);

#endif
