#include "bench/reader/reads.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/fd.h"
#include "common/base/hash.h"
#include "common/base/mem.h"

enum {
	MAP_STRIDE = 16,
	ALIGN = 4096
}; /* reading the clock costs as much as a tenth of a page through a map */

struct reads {
	struct reads_config config;
	int fd; /* borrowed */
	uint64_t size, blocks;
	uint8_t *map; /* NULL: pread */
	uint8_t *buf; /* aligned, inside memory */
	uint8_t *memory;
	uint32_t crc;
};

static bool is_map(enum reads_mode m)
{
	return m == READS_MMAPSEQ || m == READS_MMAPRAND;
}

static bool is_random(enum reads_mode m)
{
	return m == READS_RAND || m == READS_MMAPRAND;
}

/* Multiplication by odd numbers and xor with one's own upper bits permute the numbers of @bits bits; what falls outside
 * @count is permuted again until it falls inside ("cycle walking"; Black and Rogaway 2002). */
uint64_t reads_shuffle(uint64_t index, uint64_t count, uint64_t seed)
{
	if (count < 2)
		return index;
	unsigned bits = 64u - (unsigned)__builtin_clzll(count - 1), half = (bits + 1) / 2;
	uint64_t mask = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1, x = index;

	do {
		x = (x + seed) & mask;
		x = (x ^ x >> half) * UINT64_C(0x9e3779b97f4a7c15) & mask;
		x = (x ^ x >> half) * UINT64_C(0xbf58476d1ce4e5b9) & mask;
		x ^= x >> half;
	} while (x >= count);
	return x;
}

static int map_anew(struct reads *r)
{
	if (r->map)
		(void)munmap(r->map, r->size);
	void *p = mmap(NULL, r->size, PROT_READ, MAP_SHARED, r->fd, 0);
	r->map = p == MAP_FAILED ? NULL : p;
	return r->map ? 0 : -errno;
}

int reads_new(int fd, const struct reads_config *config, struct reads **ret)
{
	struct stat st;

	if (config->block == 0 || config->block > READS_BLOCK_MAX)
		return -EINVAL;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size <= 0)
		return -ENODATA;
	CLEANUP(reads_free) struct reads *r = mem_calloc(1, sizeof *r);
	if (!r)
		return -ENOMEM;
	r->config = *config;
	r->fd = fd;
	r->size = (uint64_t)st.st_size;
	r->blocks = (r->size + config->block - 1) / config->block;
	r->memory = mem_calloc(1, (size_t)config->block + 2 * ALIGN);
	if (!r->memory)
		return -ENOMEM;
	r->buf = r->memory + (ALIGN - (uintptr_t)r->memory % ALIGN);
	int rc = is_map(config->mode) ? map_anew(r) : 0;
	if (rc == 0)
		*ret = TAKE(r);
	return rc;
}

struct reads *reads_free(struct reads *r)
{
	if (!r)
		return NULL;
	if (r->map)
		(void)munmap(r->map, r->size);
	(void)mem_free(r->memory);
	return mem_free(r);
}

/* Copies what a read(2) would: a block is used by whoever asked for it, and the compiler must not see that it is not. */
static void copy_out(struct reads *r, uint64_t at, size_t len)
{
	CHECK(r->map != NULL); /* read_block() maps before it copies */
	memcpy(r->buf, r->map + at, len);
	__asm__ volatile("" : : "r"(r->buf) : "memory");
}

static int read_block(struct reads *r, uint64_t index, uint64_t *bytes)
{
	uint64_t in_pass = index % r->blocks;
	uint64_t block =
		is_random(r->config.mode) ? reads_shuffle(in_pass, r->blocks, r->config.seed) : in_pass;
	uint64_t at = block * r->config.block;
	size_t len = (size_t)MIN(r->config.block, r->size - at);
	int rc = 0;

	if (!r->map)
		rc = fd_pread_full(r->fd, r->buf, len, at);
	else if (in_pass > 0 || index == 0 || (rc = map_anew(r)) == 0)
		copy_out(r, at, len);
	if (rc)
		return rc;
	if (r->config.checksum)
		r->crc = crc32c(r->crc, r->buf, len);
	*bytes += len;
	return 0;
}

static int64_t own_cpu_ns(void)
{
	struct rusage u;

	(void)getrusage(RUSAGE_SELF, &u); /* cannot fail for itself */
	return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * NS_PER_S +
	       (u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000;
}

static uint64_t ops_limit(const struct reads *r)
{
	if (r->config.ops_max)
		return r->config.ops_max;
	return r->config.time_ns ? UINT64_MAX : r->blocks;
}

int reads_run(struct reads *r, struct reads_result *ret)
{
	uint64_t stride = is_map(r->config.mode) ? MAP_STRIDE : 1, limit = ops_limit(r);

	*ret = (struct reads_result){0};
	r->crc = 0;
	int64_t cpu_ns = own_cpu_ns();
	ret->start_ns = ret->end_ns = clock_mono_ns();
	int64_t stop_ns = r->config.time_ns ? ret->start_ns + r->config.time_ns : INT64_MAX;
	while (ret->ops < limit && ret->end_ns < stop_ns) {
		uint64_t group = MIN(stride, limit - ret->ops);
		CHECK(group > 0);
		for (uint64_t i = 0; i < group; i++) {
			int rc = read_block(r, ret->ops + i, &ret->bytes);
			if (rc)
				return rc;
		}
		int64_t now_ns = clock_mono_ns();
		latency_add(&ret->latency, (uint64_t)(now_ns - ret->end_ns) / group, group);
		ret->end_ns = now_ns;
		ret->ops += group;
	}
	ret->cpu_ns = own_cpu_ns() - cpu_ns;
	ret->crc = r->crc;
	return 0;
}
