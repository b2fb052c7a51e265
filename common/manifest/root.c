#include "common/manifest/root.h"

#include <errno.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/mem.h"
#include "common/manifest/chunk.h"
#include "common/manifest/format.h"

enum { HISTOGRAM = LENGTH(((struct manifest_stats *)0)->size_histogram), STATS_NUMBERS = 7 + HISTOGRAM + 1 };

void root_tables_done(struct root_tables *t)
{
	for (size_t i = 0; i < t->count; i++)
		(void)mem_free(t->tables[i].chunks);
	*t = (struct root_tables){.count = 0};
}

uint64_t root_table_bytes(const struct root_table *t)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < t->count; i++)
		sum += t->chunks[i].bytes;
	return sum;
}

void root_writer_done(struct root_writer *w)
{
	w->list = mem_free(w->list);
}

int root_writer_add(struct root_writer *w, const struct root_chunk *c)
{
	size_t most = 5 * VARINT_MAX + c->first.len + 1 + HASH256_BYTES;

	if (w->chunks >= ROOT_CHUNKS_MAX || w->used + most > ROOT_BYTES_MAX)
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
	if (w->delta) {
		p += put_varint(p, c->first_below);
		p += put_varint(p, c->first_ordinal);
	}
	w->used = (size_t)(p - w->list);
	w->chunks++;
	w->bytes += c->bytes;
	return 0;
}

int root_writer_add_table(struct root_writer *w, const struct root_table *t, bool delta)
{
	int r = 0;

	w->delta = delta;
	w->entries = t->entries;
	for (size_t i = 0; i < t->count && r == 0; i++)
		r = root_writer_add(w, &t->chunks[i]);
	return r;
}

static uint8_t *put_stats(uint8_t *p, const struct manifest_stats *stats)
{
	const uint64_t numbers[] = {stats->entries, stats->files,        stats->dirs,   stats->symlinks,
				    stats->bytes,   stats->no_validator, stats->skipped};

	for (size_t i = 0; i < LENGTH(numbers); i++)
		p += put_varint(p, numbers[i]);
	for (size_t i = 0; i < HISTOGRAM; i++)
		p += put_varint(p, stats->size_histogram[i]);
	return p;
}

static uint8_t *put_list(uint8_t *p, const struct root_writer *w)
{
	p += put_varint(p, w->chunks);
	if (w->used)
		memcpy(p, w->list, w->used);
	return p + w->used;
}

int root_writer_end(const struct root_writer *tables, size_t count, struct manifest_stats *stats,
		    uint8_t **ret, size_t *ret_len)
{
	size_t size = ROOT_HEADER_BYTES + (STATS_NUMBERS + 2 * count) * VARINT_MAX;
	uint64_t total = 0;

	stats->chunks = 0;
	for (size_t i = 0; i < count; i++) {
		size += tables[i].used;
		total += tables[i].bytes;
		stats->chunks += tables[i].chunks;
	}
	if (size > ROOT_BYTES_MAX || stats->chunks > ROOT_CHUNKS_MAX)
		return -EFBIG;
	uint8_t *bytes = mem_alloc(size), *p = bytes;
	if (!bytes)
		return -ENOMEM;
	memcpy(p, count > 1 ? ROOT_DELTA_MAGIC : ROOT_MAGIC, ROOT_HEADER_BYTES);
	p = put_list(put_stats(p + ROOT_HEADER_BYTES, stats), &tables[0]);
	if (count > 1)
		p += put_varint(p, count - 1);
	for (size_t i = 1; i < count; i++) {
		p += put_varint(p, tables[i].entries);
		p = put_list(p, &tables[i]);
	}
	stats->encoded_bytes = total + (uint64_t)(p - bytes);
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

static void read_chunk(struct reader *in, struct root_chunk *c, bool delta)
{
	uint64_t len = read_varint(in);

	if (len > MANIFEST_PATH_MAX + 1)
		in->bad = true;
	const uint8_t *path = read_bytes(in, in->bad ? 0 : (size_t)len);
	const uint8_t *hash = read_bytes(in, HASH256_BYTES);
	uint64_t entries = read_varint(in), bytes = read_varint(in);
	uint64_t below = delta ? read_varint(in) : 0, ordinal = delta ? read_varint(in) : 0;
	if (in->bad)
		return;
	bool slash = len > 0 && path[len - 1] == '/';
	c->first = (struct path_key){(const char *)path, (size_t)len - slash, slash || len == 0};
	memcpy(c->hash.bytes, hash, HASH256_BYTES);
	c->entries = (uint32_t)entries;
	c->bytes = (uint32_t)bytes;
	c->first_below = below;
	c->first_ordinal = ordinal;
	if (entries == 0 || entries > UINT32_MAX || bytes > CHUNK_BYTES_MAX || (slash && len == 1) ||
	    below > INT64_MAX || ordinal > INT64_MAX || !manifest_path_valid(c->first.path, c->first.len))
		in->bad = true;
}

/* Chunks of a delta stand in order in the table that they make and in the one below; in the base, one behind the other. */
static bool is_in_order(const struct root_table *t, size_t i, bool delta)
{
	const struct root_chunk *now = &t->chunks[i], *before = i ? now - 1 : NULL;

	if (before && path_key_compare(&before->first, &now->first) >= 0)
		return false;
	if (!delta)
		return i > 0 || now->first.len == 0;
	return !before ||
	       (now->first_ordinal >= before->first_ordinal && now->first_below >= before->first_below);
}

static int read_table(struct reader *in, struct root_table *ret, bool delta)
{
	uint64_t count = read_varint(in);

	if (in->bad || count == 0 || count > ROOT_CHUNKS_MAX || count > reader_left(in) / HASH256_BYTES)
		return -ERR_CORRUPT;
	ret->chunks = mem_calloc((size_t)count, sizeof *ret->chunks);
	if (!ret->chunks)
		return -ENOMEM;
	ret->count = (size_t)count;
	for (size_t i = 0; i < count; i++) {
		read_chunk(in, &ret->chunks[i], delta);
		if (in->bad || !is_in_order(ret, i, delta))
			return -ERR_CORRUPT;
		if (delta)
			continue;
		ret->chunks[i].first_ordinal = ret->entries;
		ret->entries += ret->chunks[i].entries;
	}
	return 0;
}

static int read_deltas(struct reader *in, struct root_tables *t)
{
	uint64_t deltas = read_varint(in);
	int r = 0;

	if (in->bad || deltas == 0 || deltas > MANIFEST_DELTAS_MAX)
		return -ERR_CORRUPT;
	for (size_t i = 0; i < deltas && r == 0; i++) {
		struct root_table *delta = &t->tables[t->count++];
		delta->entries = read_varint(in);
		r = in->bad || delta->entries == 0 || delta->entries > INT64_MAX
			    ? -ERR_CORRUPT
			    : read_table(in, delta, true);
	}
	return r;
}

/* What a root says, from its head on. */
static int read_root(struct reader *in, struct manifest_stats *stats, struct root_tables *t)
{
	const uint8_t *magic = read_bytes(in, ROOT_HEADER_BYTES);
	bool deltas = magic && memcmp(magic, ROOT_DELTA_MAGIC, ROOT_HEADER_BYTES) == 0;

	if (!magic || (!deltas && memcmp(magic, ROOT_MAGIC, ROOT_HEADER_BYTES) != 0))
		return -ERR_CORRUPT;
	read_stats(in, stats);
	t->count = 1;
	int r = in->bad ? -ERR_CORRUPT : read_table(in, &t->tables[0], false);
	if (r == 0 && deltas)
		r = read_deltas(in, t);
	if (r == 0 && (t->tables[t->count - 1].entries != stats->entries || reader_left(in) != 0))
		r = -ERR_CORRUPT;
	return r;
}

int root_decode(const uint8_t *bytes, size_t len, struct manifest_stats *ret_stats, struct root_tables *ret)
{
	struct reader in = reader_over(bytes, len);
	struct root_tables t = {.count = 0};
	struct manifest_stats stats;

	if (len > ROOT_BYTES_MAX)
		return -ERR_CORRUPT;
	int r = read_root(&in, &stats, &t);
	if (r != 0) {
		root_tables_done(&t);
		return r;
	}
	stats.encoded_bytes = len;
	for (size_t i = 0; i < t.count; i++) {
		stats.chunks += t.tables[i].count;
		stats.encoded_bytes += root_table_bytes(&t.tables[i]);
	}
	*ret_stats = stats;
	*ret = t;
	return 0;
}

bool manifest_is_root(const uint8_t *bytes, size_t len)
{
	return len >= ROOT_HEADER_BYTES && memcmp(bytes, ROOT_MAGIC, ROOT_MAGIC_BYTES) == 0;
}

int manifest_root_names(const uint8_t *bytes, size_t len, int (*visit)(void *ctx, const struct hash256 *hash),
			void *ctx)
{
	struct root_tables t = {.count = 0};
	struct manifest_stats stats;
	int r = root_decode(bytes, len, &stats, &t);

	for (size_t i = 0; i < t.count && r == 0; i++)
		for (size_t j = 0; j < t.tables[i].count && r == 0; j++)
			r = visit(ctx, &t.tables[i].chunks[j].hash);
	root_tables_done(&t);
	return r;
}
