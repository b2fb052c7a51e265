/*
 * Any bytes as a folder of segments: what recovery accepts must be a log, the core must be able to start from it, and
 * what is written behind it must be read again. Input: the segments one after the other, each a number and a length byte
 * (of sectors), then that many bytes.
 *
 * Decoders: metadata/wal/record.c metadata/wal/recover.c
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "metadata/wal/wal.h"

#define SEGMENT_BYTES (32u * WAL_SECTOR_BYTES)
#define FILES         8u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct folder {
	uint32_t count;
	uint64_t number[FILES + 2];
	uint8_t bytes[FILES + 2][SEGMENT_BYTES];
};

static uint8_t *find(struct folder *f, uint64_t n)
{
	for (uint32_t i = 0; i < f->count; i++)
		if (f->number[i] == n)
			return f->bytes[i];
	return NULL;
}

static int op_list(void *disk, uint64_t *ret, uint32_t max, uint32_t *ret_count)
{
	const struct folder *f = disk;
	for (uint32_t i = 0; i < f->count && i < max; i++)
		ret[i] = f->number[i];
	*ret_count = f->count;
	return 0;
}

static int op_size(void *disk, uint64_t n, uint64_t *ret)
{
	*ret = SEGMENT_BYTES;
	return find(disk, n) ? 0 : -ENOENT;
}

static int op_read(void *disk, uint64_t n, uint64_t offset, void *buf, uint64_t len)
{
	memcpy(buf, find(disk, n) + offset, len);
	return 0;
}

static int op_create(void *disk, uint64_t n, uint64_t bytes)
{
	struct folder *f = disk;
	if (bytes != SEGMENT_BYTES || f->count == FILES + 2 || find(f, n))
		abort();
	memset(f->bytes[f->count], 0, bytes);
	f->number[f->count++] = n;
	return 0;
}

static int op_write(void *disk, uint64_t n, uint64_t offset, const void *buf, uint64_t len)
{
	if (offset + len > SEGMENT_BYTES)
		abort();
	memcpy(find(disk, n) + offset, buf, len);
	return 0;
}

static int op_sync(void *disk, uint64_t n)
{
	return find(disk, n) ? 0 : -EIO;
}

static int op_remove(void *disk, uint64_t n)
{
	struct folder *f = disk;
	uint8_t *p = find(f, n);
	if (!p)
		abort();
	uint64_t i = (uint64_t)(p - f->bytes[0]) / SEGMENT_BYTES;
	f->count--;
	memcpy(f->bytes[i], f->bytes[f->count], SEGMENT_BYTES);
	f->number[i] = f->number[f->count];
	return 0;
}

static const struct wal_ops ops = {op_list, op_size, op_read, op_create, op_write, op_sync, op_remove};
static const struct wal_config config = {.groups = 1, .segment_bytes = SEGMENT_BYTES, .entries_max = 4096};

static struct wal *open_log(struct folder *f)
{
	struct wal_position snapshot = {1, 1};
	struct wal *w = NULL;
	return wal_open(&config, &ops, f, &snapshot, &w, NULL) == 0 ? w : NULL;
}

static void check_log(const struct wal *w)
{
	struct wal_state st = wal_state(w, 0);
	if (st.last < 1 || wal_entry(w, 0, st.last + 1) || wal_entry(w, 0, 1))
		abort();
	for (uint64_t i = 2; i <= st.last; i++) {
		const struct raft_entry *e = wal_entry(w, 0, i);
		if (!e || e->index != i || e->term == 0)
			abort();
	}
}

static void fill(struct folder *f, const uint8_t *data, size_t size)
{
	while (size >= 2 && f->count < FILES) {
		size_t len = MIN((size_t)(data[1] % 33) * WAL_SECTOR_BYTES, size - 2);
		if (!find(f, data[0])) {
			f->number[f->count] = data[0];
			memcpy(f->bytes[f->count++], data + 2, len);
		}
		data += 2 + len;
		size -= 2 + len;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct folder *f = mem_calloc(1, sizeof *f);
	if (!f)
		return 0;
	fill(f, data, size);
	struct wal *w = open_log(f);
	if (w) {
		check_log(w);
		struct wal_state was = wal_state(w, 0);
		/* A segment with the highest number there is leaves none for the next. */
		if (wal_begin(w) == 0) {
			(void)wal_free(w);
			w = open_log(f);
			if (!w)
				abort();
			struct wal_state is = wal_state(w, 0);
			if (is.last != was.last || is.last_term != was.last_term ||
			    is.lost_to != was.lost_to || is.lost_term != was.lost_term ||
			    is.hard.term != was.hard.term || is.hard.vote != was.hard.vote)
				abort();
		}
	}
	(void)wal_free(w);
	(void)mem_free(f);
	return 0;
}
