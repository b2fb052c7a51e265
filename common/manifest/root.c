#include "common/manifest/root.h"

#include <errno.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/mem.h"
#include "common/manifest/chunk.h"
#include "common/manifest/format.h"

enum { HISTOGRAM = LENGTH(((struct manifest_stats *)0)->size_histogram), STATS_NUMBERS = 7 + HISTOGRAM + 1 };

void root_writer_done(struct root_writer *w)
{
	w->list = mem_free(w->list);
}

int root_writer_add(struct root_writer *w, const struct root_chunk *c)
{
	size_t most = 3 * VARINT_MAX + c->first.len + 1 + HASH256_BYTES;

	if (w->chunks >= ROOT_CHUNKS_MAX ||
	    w->used + most > ROOT_BYTES_MAX - STATS_NUMBERS * VARINT_MAX - ROOT_HEADER_BYTES)
		return -EFBIG;
	if (w->used + most > w->size) {
		size_t size = MAX(w->size * 2, w->used + most + 1024);
		uint8_t *list = mem_resize(w->list, size, 1);
		if (!list)
			return -ENOMEM;
		w->list = list;
		w->size = size;
	}
	uint8_t *p = w->list + w->used;
	size_t slash = c->first.dir && c->first.len > 0;
	p += put_varint(p, c->first.len + slash);
	memcpy(p, c->first.path, c->first.len);
	p += c->first.len;
	if (slash)
		*p++ = '/';
	memcpy(p, c->hash.bytes, HASH256_BYTES);
	p += HASH256_BYTES;
	p += put_varint(p, c->entries);
	p += put_varint(p, c->bytes);
	w->used = (size_t)(p - w->list);
	w->chunks++;
	w->bytes += c->bytes;
	return 0;
}

int root_writer_end(const struct root_writer *w, struct manifest_stats *stats, uint8_t **ret, size_t *ret_len)
{
	uint8_t *bytes = mem_alloc(ROOT_HEADER_BYTES + STATS_NUMBERS * VARINT_MAX + w->used), *p = bytes;
	if (!bytes)
		return -ENOMEM;
	const uint64_t numbers[] = {stats->entries, stats->files,        stats->dirs,   stats->symlinks,
				    stats->bytes,   stats->no_validator, stats->skipped};
	memcpy(p, ROOT_MAGIC, ROOT_HEADER_BYTES);
	p += ROOT_HEADER_BYTES;
	for (size_t i = 0; i < LENGTH(numbers); i++)
		p += put_varint(p, numbers[i]);
	for (size_t i = 0; i < HISTOGRAM; i++)
		p += put_varint(p, stats->size_histogram[i]);
	p += put_varint(p, w->chunks);
	if (w->used)
		memcpy(p, w->list, w->used);
	p += w->used;
	stats->chunks = w->chunks;
	stats->encoded_bytes = w->bytes + (uint64_t)(p - bytes);
	*ret = bytes;
	*ret_len = (size_t)(p - bytes);
	return 0;
}

static void read_stats(struct reader *in, struct manifest_stats *s)
{
	uint64_t sum;

	*s = (struct manifest_stats){0};
	uint64_t *const numbers[] = {&s->entries, &s->files,        &s->dirs,   &s->symlinks,
				     &s->bytes,   &s->no_validator, &s->skipped};
	for (size_t i = 0; i < LENGTH(numbers); i++)
		*numbers[i] = read_varint(in);
	for (size_t i = 0; i < HISTOGRAM; i++)
		s->size_histogram[i] = read_varint(in);
	if (__builtin_add_overflow(s->files, s->dirs, &sum) ||
	    __builtin_add_overflow(sum, s->symlinks, &sum) || sum != s->entries || s->entries > INT64_MAX ||
	    s->dirs == 0)
		in->bad = true;
}

static void read_chunk(struct reader *in, struct root_chunk *c)
{
	uint64_t len = read_varint(in);

	if (len > MANIFEST_PATH_MAX + 1)
		in->bad = true;
	const uint8_t *path = read_bytes(in, in->bad ? 0 : (size_t)len);
	const uint8_t *hash = read_bytes(in, HASH256_BYTES);
	uint64_t entries = read_varint(in), bytes = read_varint(in);
	if (in->bad)
		return;
	bool slash = len > 0 && path[len - 1] == '/';
	c->first = (struct path_key){(const char *)path, (size_t)len - slash, slash || len == 0};
	memcpy(c->hash.bytes, hash, HASH256_BYTES);
	c->entries = (uint32_t)entries;
	c->bytes = (uint32_t)bytes;
	if (entries == 0 || entries > UINT32_MAX || bytes > CHUNK_BYTES_MAX || (slash && len == 1) ||
	    !manifest_path_valid(c->first.path, c->first.len))
		in->bad = true;
}

int root_decode(const uint8_t *bytes, size_t len, struct manifest_stats *ret_stats,
		struct root_chunk **ret_chunks, size_t *ret_count)
{
	struct reader in = reader_over(bytes, len);
	struct manifest_stats stats;
	uint64_t ordinal = 0, total = len;
	const uint8_t *magic = read_bytes(&in, ROOT_HEADER_BYTES);

	if (len > ROOT_BYTES_MAX || !magic || memcmp(magic, ROOT_MAGIC, ROOT_HEADER_BYTES) != 0)
		return -ERR_CORRUPT;
	read_stats(&in, &stats);
	uint64_t count = read_varint(&in);
	if (in.bad || count == 0 || count > ROOT_CHUNKS_MAX || count > reader_left(&in) / HASH256_BYTES)
		return -ERR_CORRUPT;
	CLEANUP(mem_free) void *memory = mem_calloc((size_t)count, sizeof **ret_chunks);
	struct root_chunk *chunks = memory;
	if (!chunks)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		read_chunk(&in, &chunks[i]);
		if (in.bad || (i == 0 && chunks[i].first.len != 0) ||
		    (i > 0 && path_key_compare(&chunks[i - 1].first, &chunks[i].first) >= 0))
			return -ERR_CORRUPT;
		chunks[i].first_ordinal = ordinal;
		ordinal += chunks[i].entries;
		total += chunks[i].bytes;
	}
	if (ordinal != stats.entries || reader_left(&in) != 0)
		return -ERR_CORRUPT;
	stats.chunks = count;
	stats.encoded_bytes = total;
	*ret_stats = stats;
	*ret_chunks = chunks;
	*ret_count = (size_t)count;
	memory = NULL;
	return 0;
}

bool manifest_is_root(const uint8_t *bytes, size_t len)
{
	return len >= ROOT_HEADER_BYTES && memcmp(bytes, ROOT_MAGIC, ROOT_MAGIC_BYTES) == 0;
}

int manifest_root_names(const uint8_t *bytes, size_t len, int (*visit)(void *ctx, const struct hash256 *hash),
			void *ctx)
{
	struct manifest_stats stats;
	struct root_chunk *chunks = NULL;
	size_t count = 0;
	int r = root_decode(bytes, len, &stats, &chunks, &count);

	for (size_t i = 0; r == 0 && i < count; i++)
		r = visit(ctx, &chunks[i].hash);
	(void)mem_free(chunks);
	return r;
}
