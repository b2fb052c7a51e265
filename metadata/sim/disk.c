#include "metadata/sim/disk.h"

#include <errno.h>
#include <string.h>

#include "common/base/mem.h"

void disk_init(struct disk *d, struct rng *rng)
{
	*d = (struct disk){.rng = rng};
}

void disk_done(struct disk *d)
{
	for (uint32_t i = 0; i < d->count; i++) {
		d->files[i].cache = mem_free(d->files[i].cache);
		d->files[i].platter = mem_free(d->files[i].platter);
	}
	for (uint32_t i = 0; i < d->spare_count; i++) {
		d->spare[i].cache = mem_free(d->spare[i].cache);
		d->spare[i].platter = mem_free(d->spare[i].platter);
	}
	d->count = d->spare_count = 0;
}

static struct disk_file *find(struct disk *d, uint64_t number)
{
	for (uint32_t i = 0; i < d->count; i++)
		if (d->files[i].number == number)
			return &d->files[i];
	return NULL;
}

/* ---- the table ---- */

static int op_list(void *disk, uint64_t *ret, uint32_t max, uint32_t *ret_count)
{
	struct disk *d = disk;

	if (d->count > max)
		return -E2BIG;
	for (uint32_t i = 0; i < d->count; i++)
		ret[i] = d->files[i].number;
	*ret_count = d->count;
	return 0;
}

static int op_size(void *disk, uint64_t n, uint64_t *ret)
{
	if (!find(disk, n))
		return -ENOENT;
	*ret = DISK_SEGMENT_BYTES;
	return 0;
}

static int op_read(void *disk, uint64_t n, uint64_t offset, void *buf, uint64_t len)
{
	const struct disk_file *f = find(disk, n);

	if (!f || offset + len > DISK_SEGMENT_BYTES)
		return -EIO;
	memcpy(buf, f->cache + offset, len);
	return 0;
}

static int new_file(struct disk *d, struct disk_file *ret)
{
	if (d->spare_count) {
		*ret = d->spare[--d->spare_count];
		return 0;
	}
	struct disk_file f = {.cache = mem_calloc(1, DISK_SEGMENT_BYTES),
			      .platter = mem_calloc(1, DISK_SEGMENT_BYTES)};
	if (!f.cache || !f.platter) {
		(void)mem_free(f.cache);
		(void)mem_free(f.platter);
		return -ENOMEM;
	}
	*ret = f;
	return 0;
}

static int op_create(void *disk, uint64_t n, uint64_t bytes)
{
	struct disk *d = disk;
	struct disk_file f;

	if (d->full || d->count == DISK_FILES_MAX)
		return -ENOSPC;
	if (bytes != DISK_SEGMENT_BYTES || find(d, n))
		return -EEXIST;
	int rc = new_file(d, &f);
	if (rc != 0)
		return rc;
	f.number = n;
	d->files[d->count++] = f;
	return 0;
}

static int op_write(void *disk, uint64_t n, uint64_t offset, const void *buf, uint64_t len)
{
	struct disk *d = disk;
	struct disk_file *f = find(d, n);

	d->writes++;
	if (!f || offset + len > DISK_SEGMENT_BYTES || offset % WAL_SECTOR_BYTES || len % WAL_SECTOR_BYTES)
		return -EIO;
	if (d->astray) {
		d->astray--;
		offset = rng_below(d->rng, (DISK_SEGMENT_BYTES - len) / WAL_SECTOR_BYTES + 1) *
			 WAL_SECTOR_BYTES;
	}
	memcpy(f->cache + offset, buf, len);
	for (uint64_t s = offset / WAL_SECTOR_BYTES; s < (offset + len) / WAL_SECTOR_BYTES; s++) {
		f->dirty[s / 64] |= 1ULL << s % 64;
		f->syncing[s / 64] &= ~(1ULL << s % 64);
	}
	return 0;
}

static void to_platter(struct disk_file *f, const uint64_t *which)
{
	for (uint32_t w = 0; w < LENGTH(f->dirty); w++) {
		uint64_t bits = which[w];
		f->dirty[w] &= ~bits;
		for (; bits; bits &= bits - 1) {
			uint64_t sector = w * 64 + (uint32_t)__builtin_ctzll(bits),
				 at = sector * WAL_SECTOR_BYTES;
			memcpy(f->platter + at, f->cache + at, WAL_SECTOR_BYTES);
		}
	}
}

static int op_sync(void *disk, uint64_t n)
{
	struct disk *d = disk;
	struct disk_file *f = find(d, n);

	if (!f)
		return -EIO;
	uint64_t all[LENGTH(f->dirty)];
	memcpy(all, f->dirty, sizeof all);
	to_platter(f, all);
	return 0;
}

static int op_remove(void *disk, uint64_t n)
{
	struct disk *d = disk;
	struct disk_file *f = find(d, n);

	if (!f)
		return -ENOENT;
	memset(f->dirty, 0, sizeof f->dirty);
	memset(f->syncing, 0, sizeof f->syncing);
	/* What a recycled file holds is what its last use left. */
	memcpy(f->platter, f->cache, DISK_SEGMENT_BYTES);
	if (d->spare_count < DISK_FILES_MAX) {
		d->spare[d->spare_count++] = *f;
	} else {
		(void)mem_free(f->cache);
		(void)mem_free(f->platter);
	}
	*f = d->files[--d->count];
	return 0;
}

const struct wal_ops disk_ops = {
	.list = op_list,
	.size = op_size,
	.read = op_read,
	.create = op_create,
	.write = op_write,
	.sync = op_sync,
	.remove = op_remove,
};

/* ---- time and fate ---- */

void disk_sync_begin(struct disk *d, uint64_t first, uint64_t last)
{
	for (uint32_t i = 0; i < d->count; i++)
		if (d->files[i].number >= first && d->files[i].number <= last)
			memcpy(d->files[i].syncing, d->files[i].dirty, sizeof d->files[i].dirty);
}

void disk_sync_end(struct disk *d)
{
	d->syncs++;
	for (uint32_t i = 0; i < d->count; i++) {
		to_platter(&d->files[i], d->files[i].syncing);
		memset(d->files[i].syncing, 0, sizeof d->files[i].syncing);
	}
}

void disk_power_cut(struct disk *d, uint32_t lost_percent)
{
	for (uint32_t i = 0; i < d->count; i++) {
		struct disk_file *f = &d->files[i];
		uint64_t kept[LENGTH(f->dirty)] = {0};
		for (uint32_t s = 0; s < DISK_SECTORS_MAX; s++)
			if (f->dirty[s / 64] >> s % 64 & 1 && rng_below(d->rng, 100) >= lost_percent)
				kept[s / 64] |= 1ULL << s % 64;
		to_platter(f, kept);
		memcpy(f->cache, f->platter, DISK_SEGMENT_BYTES);
		memset(f->dirty, 0, sizeof f->dirty);
		memset(f->syncing, 0, sizeof f->syncing);
	}
}

bool disk_rot(struct disk *d, struct wal_position end)
{
	for (int tries = 0; tries < 64 && d->count; tries++) {
		struct disk_file *f = &d->files[rng_below(d->rng, d->count)];
		uint64_t at = rng_below(d->rng, DISK_SEGMENT_BYTES);
		struct wal_position p = {f->number, at};
		if (f->platter[at] == 0 || !wal_position_is_before(p, end))
			continue;
		uint8_t bit = (uint8_t)(1u << rng_below(d->rng, 8));
		f->cache[at] ^= bit;
		f->platter[at] ^= bit;
		return true;
	}
	return false;
}
