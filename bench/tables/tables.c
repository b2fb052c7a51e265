#include "bench/tables/tables.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/reader/latency.h"
#include "common/base/bytes.h"
#include "common/base/clock.h"
#include "common/base/fd.h"
#include "common/base/mem.h"
#include "common/base/rng.h"
#include "common/manifest.h"
#include "common/manifest/chunk.h"
#include "common/manifest/root.h"

#define MEMORY_MAX (UINT64_C(32) << 20) /* as cache-node/datasets gives a builder */

enum { BATCH = 2048 };

/* Entries that wait for the builder, so that making them up is not timed with what it does. */
struct batch {
	size_t count, used;
	struct manifest_entry entries[BATCH];
	char text[BATCH * 128 + MANIFEST_PATH_MAX];
};

struct run {
	const struct tables_config *config;
	int dir;
	uint64_t written;    /* bytes of chunks that were not there */
	struct batch *batch; /* owned */
	int64_t build_ns;    /* inside the builder: the clock's, and of processors */
	int64_t build_cpu_ns;
	struct err *err;
};

/* ---- chunks in a folder ---- */

static void name_of(const struct hash256 *hash, char out[HASH256_HEX])
{
	hash256_hex(hash, out);
}

static int put_chunk(void *ctx, const struct hash256 *hash, const void *bytes, size_t len, struct err *err)
{
	struct run *run = ctx;
	char name[HASH256_HEX];
	name_of(hash, name);
	CLEANUP(fd_close) int fd = openat(run->dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return errno == EEXIST ? 0 : err_set(err, -errno, "%s: %s", name, strerror(errno));
	run->written += len;
	return fd_pwrite_full(fd, bytes, len, 0);
}

static int map_chunk(void *ctx, const struct hash256 *hash, const uint8_t **ret, size_t *ret_len,
		     struct err *err)
{
	const struct run *run = ctx;
	char name[HASH256_HEX];
	struct stat st;
	name_of(hash, name);
	CLEANUP(fd_close) int fd = openat(run->dir, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(err, -errno, "%s: %s", name, strerror(errno));
	void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return err_set(err, -errno, "%s: %s", name, strerror(errno));
	*ret = p;
	*ret_len = (size_t)st.st_size;
	return 0;
}

static void unmap_chunk(void *ctx, const uint8_t *bytes, size_t len)
{
	(void)ctx;
	(void)munmap((void *)(uintptr_t)bytes, len); /* our own mapping: cannot fail */
}

/* ---- entries ---- */

size_t tables_regular_path(uint64_t i, char *out)
{
	unsigned long long folder = 1440764 + i / 5000 * 37, file = i % 5000;
	return (size_t)snprintf(out, 64, "train/n%08llu/n%08llu_%05llu.JPEG", folder, folder, file);
}

/* The etag of file @i in a version: 32 hexadecimal digits, as stores give for what they have hashed with MD5. */
static void set_etag(struct validator *v, uint64_t seed, uint64_t i)
{
	struct rng rng = rng_seeded(seed * UINT64_C(0x9e3779b97f4a7c15) + i);
	uint8_t bytes[16];
	char digits[33];
	put_le64(bytes, rng_next(&rng));
	put_le64(bytes + 8, rng_next(&rng));
	hex_encode(bytes, sizeof bytes, digits);
	*v = (struct validator){.kind = VALIDATOR_STRONG, .len = 32};
	memcpy(v->bytes, digits, 32);
}

/* Each (count / changes)th file has changed in the second version. */
static bool has_changed(const struct tables_config *c, uint64_t i)
{
	return c->changes && i % MAX(c->count / c->changes, 1) == 0;
}

static int flush(struct run *run, struct manifest_builder *b)
{
	struct batch *batch = run->batch;
	int64_t start_ns = clock_mono_ns(), start_cpu_ns = clock_cpu_ns();
	int r = 0;

	for (size_t i = 0; i < batch->count && r == 0; i++)
		r = manifest_builder_add(b, &batch->entries[i], run->err);
	run->build_ns += clock_mono_ns() - start_ns;
	run->build_cpu_ns += clock_cpu_ns() - start_cpu_ns;
	batch->count = batch->used = 0;
	return r;
}

static int add_file(struct run *run, struct manifest_builder *b, uint64_t i, const char *path, size_t len,
		    bool second)
{
	const struct tables_config *c = run->config;
	struct batch *batch = run->batch;
	if (batch->count == BATCH || batch->used + len > sizeof batch->text) {
		int r = flush(run, b);
		if (r)
			return r;
	}
	struct manifest_entry *e = &batch->entries[batch->count++];
	*e = (struct manifest_entry){
		.type = MANIFEST_FILE, .path = batch->text + batch->used, .path_len = len};
	memcpy(batch->text + batch->used, path, len);
	batch->used += len;
	set_etag(&e->validator, c->seed + (second && has_changed(c, i)), i);
	e->size = 60000 + i * 7919 % 100000;
	e->mtime_ns = (INT64_C(1700000000) + (int64_t)(i % 3600)) * NS_PER_S;
	return 0;
}

static int add_lines(struct run *run, struct manifest_builder *b, bool second, uint64_t *ret_files)
{
	FILE *f = fopen(run->config->paths, "re");
	char line[MANIFEST_PATH_MAX + 2]; /* longer ones are several, which is no harm here */
	uint64_t i = 0;
	int r = f ? 0 : err_set(run->err, -errno, "%s: %s", run->config->paths, strerror(errno));
	for (; r == 0 && i < run->config->count && fgets(line, sizeof line, f); i++)
		r = add_file(run, b, i, line, strcspn(line, "\n"), second);
	if (f)
		(void)fclose(f); /* only read */
	*ret_files = i;
	return r;
}

static int add_regular(struct run *run, struct manifest_builder *b, bool second, uint64_t *ret_files)
{
	char path[64];
	int r = 0;
	for (uint64_t i = 0; r == 0 && i < run->config->count; i++)
		r = add_file(run, b, i, path, tables_regular_path(i, path), second);
	*ret_files = run->config->count;
	return r;
}

/* The second version is built over the @first, as a node does. */
static int build(struct run *run, const struct hash256 *first, struct hash256 *ret,
		 struct manifest_stats *ret_stats, uint64_t *ret_files)
{
	CLEANUP(manifest_builder_free) struct manifest_builder *b = NULL;
	CLEANUP(manifest_free) struct manifest *before = NULL;
	struct manifest_chunks chunks = {.map = map_chunk, .unmap = unmap_chunk, .ctx = run};
	struct manifest_builder_config c = {
		.temp_dir_fd = run->dir, .memory_max = MEMORY_MAX, .dir_mtime_ns = 1};
	struct manifest_sink sink = {.put = put_chunk, .ctx = run};
	int r = first ? manifest_open(first, &chunks, &before, run->err) : 0;
	c.before = before;
	if (r == 0)
		r = manifest_builder_new(&c, &b);
	if (r == 0)
		r = (run->config->paths ? add_lines : add_regular)(run, b, first != NULL, ret_files);
	if (r == 0)
		r = flush(run, b);
	int64_t start_ns = clock_mono_ns(), start_cpu_ns = clock_cpu_ns();
	if (r == 0)
		r = manifest_builder_finish(b, &sink, ret, ret_stats, run->err);
	run->build_ns += clock_mono_ns() - start_ns;
	run->build_cpu_ns += clock_cpu_ns() - start_cpu_ns;
	return r;
}

/* ---- measuring ---- */

/* Lists the folder at @dir and all below; counts what it meets. */
static int list_below(struct manifest *m, uint64_t dir, uint64_t *count)
{
	struct manifest_found *f = mem_calloc(1, sizeof *f);
	int r = f ? 0 : -ENOMEM;
	for (uint64_t from = dir + 1; r == 0; from = f->e.end) {
		r = manifest_next_child(m, dir, from, f);
		if (r == 0) {
			++*count;
			if (f->e.type == MANIFEST_DIR)
				r = list_below(m, f->e.ordinal, count);
		}
	}
	(void)mem_free(f);
	return r == -ENOENT ? 0 : r;
}

/* Decodes a chunk from front to end. */
static int decode_chunk(struct run *run, const struct hash256 *hash, uint64_t *count)
{
	char path[MANIFEST_PATH_MAX + 1];
	struct manifest_cursor c = {0};
	struct chunk_entry x;
	struct chunk_view v = {0};
	const uint8_t *bytes = NULL;
	size_t len = 0;
	int r = map_chunk(run, hash, &bytes, &len, run->err);
	if (r)
		return r;
	r = chunk_view_parse(bytes, len, &v);
	while (r == 0 && (r = chunk_next(&v, &c, path, &x)) == 0)
		++*count;
	unmap_chunk(NULL, bytes, len);
	return r == -ENOENT ? 0 : r;
}

/* All chunks of a version, which have been verified and are warm. */
static int decode(struct run *run, const struct hash256 *root, struct tables_result *ret)
{
	struct manifest_stats stats;
	struct root_tables t = {.count = 0};
	const uint8_t *bytes = NULL;
	uint64_t count = 0;
	size_t len = 0;
	int r = map_chunk(run, root, &bytes, &len, run->err);
	if (r)
		return r;
	r = root_decode(bytes, len, &stats, &t);
	int64_t start_ns = clock_mono_ns();
	for (size_t i = 0; r == 0 && i < t.tables[0].count; i++)
		r = decode_chunk(run, &t.tables[0].chunks[i].hash, &count);
	ret->decode_ns = clock_mono_ns() - start_ns;
	CHECK(r != 0 || count == ret->entries);
	root_tables_done(&t);
	unmap_chunk(NULL, bytes, len);
	return r;
}

static int search(struct run *run, struct manifest *m, struct tables_result *ret)
{
	struct latency latency = {0};
	struct manifest_found *at = mem_calloc(1, sizeof *at), *found = mem_calloc(1, sizeof *found);
	struct rng rng = rng_seeded(run->config->seed);
	int r = at && found ? 0 : -ENOMEM;
	for (uint64_t i = 0; r == 0 && i < run->config->lookups; i++) {
		r = manifest_at(m, rng_below(&rng, ret->entries), at);
		int64_t start_ns = clock_mono_ns();
		if (r == 0)
			r = manifest_lookup(m, at->path, at->e.path_len, found);
		latency_add(&latency, (uint64_t)(clock_mono_ns() - start_ns), 1);
		CHECK(r != 0 || found->e.ordinal == at->e.ordinal);
	}
	ret->lookup_p50_ns = latency_at(&latency, 0.5);
	ret->lookup_p99_ns = latency_at(&latency, 0.99);
	(void)mem_free(at);
	(void)mem_free(found);
	return r;
}

static int count_change(void *ctx, enum manifest_change kind, const struct manifest_entry *old,
			const struct manifest_entry *new_)
{
	uint64_t *changed = ctx;
	(void)kind;
	(void)old;
	(void)new_;
	++*changed;
	return 0;
}

/* The most memory of this process since the last call, files that it mapped too. */
static uint64_t peak_memory(void)
{
	unsigned long long kib = 0;
	char line[128];
	FILE *f = fopen("/proc/self/status", "re");
	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "VmHWM: %llu kB", &kib) == 1)
			break;
	if (f)
		(void)fclose(f);
	CLEANUP(fd_close) int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
	if (fd >= 0)
		(void)!fd_pwrite_full(fd, "5", 1,
				      0); /* then the peak is of all that came before, which is more */
	return kib * 1024;
}

/* Every entry once (which verifies and warms all chunks first), lookups, and the comparison. */
static int measure(struct run *run, const struct hash256 roots[2], struct tables_result *ret)
{
	CLEANUP(manifest_free) struct manifest *first = NULL, *second = NULL;
	struct manifest_chunks chunks = {.map = map_chunk, .unmap = unmap_chunk, .ctx = run};
	struct manifest_diff diff = {.change = count_change, .ctx = &ret->changed};
	uint64_t warm = 0, count = 0;
	int r = manifest_open(&roots[0], &chunks, &first, run->err);
	if (r == 0)
		r = manifest_open(&roots[1], &chunks, &second, run->err);
	if (r == 0)
		r = list_below(first, 0, &warm);
	int64_t start_ns = clock_mono_ns();
	if (r == 0)
		r = list_below(first, 0, &count);
	ret->list_ns = clock_mono_ns() - start_ns;
	if (r == 0 && count + 1 != ret->entries)
		r = err_set(run->err, -ERR_CORRUPT, "a listing met %llu entries of %llu",
			    (unsigned long long)count, (unsigned long long)ret->entries);
	if (r == 0)
		r = decode(run, &roots[0], ret);
	if (r == 0)
		r = search(run, first, ret);
	start_ns = clock_mono_ns();
	if (r == 0)
		r = manifest_diff_run(first, second, &diff, run->err);
	ret->diff_ns = clock_mono_ns() - start_ns;
	return r;
}

static int build_both(struct run *run, struct hash256 roots[2], struct tables_result *ret)
{
	struct manifest_stats stats;
	uint64_t files = 0;

	(void)peak_memory();
	int r = build(run, NULL, &roots[0], &stats, &files);
	if (r)
		return r;
	ret->build_ns = run->build_ns;
	ret->build_cpu_ns = run->build_cpu_ns;
	ret->memory = peak_memory();
	ret->files = stats.files;
	ret->entries = stats.entries;
	ret->chunks = stats.chunks;
	ret->bytes = run->written;
	run->written = 0;
	roots[1] = roots[0];
	if (run->config->changes)
		r = build(run, &roots[0], &roots[1], &stats, &files);
	ret->added_bytes = run->written;
	return r;
}

int tables_run(const struct tables_config *config, struct tables_result *ret, struct err *err)
{
	CLEANUP(fd_close) int dir = open(config->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP(mem_free) void *batch = mem_alloc(sizeof(struct batch));
	struct run run = {.config = config, .dir = dir, .batch = batch, .err = err};
	struct hash256 roots[2];

	*ret = (struct tables_result){0};
	if (dir < 0)
		return err_set(err, -errno, "%s: %s", config->folder, strerror(errno));
	if (!run.batch)
		return err_set(err, -ENOMEM, "out of memory");
	run.batch->count = run.batch->used = 0;
	int r = build_both(&run, roots, ret);
	return r ? r : measure(&run, roots, ret);
}
