#include "common/manifest/output.h"

#include <errno.h>
#include <string.h>

#include "common/base/mem.h"

enum { ENTRY_BYTES_TYPICAL = 40 };

/* The greatest power of two that is not over @v (at least 1). */
static uint64_t power_below(uint64_t v)
{
	uint64_t p = 1;

	while (p * 2 <= v)
		p *= 2;
	return p;
}

void output_init(struct output *o, const struct manifest_sink *sink, uint32_t target, bool delta)
{
	*o = (struct output){.sink = sink, .target = target, .list = {.delta = delta}};
	/* A quarter of the target is the least, the mean of the rest decides the cut. */
	o->cut_mask = power_below(target / 4 * 3 / ENTRY_BYTES_TYPICAL) - 1;
	chunk_writer_init(&o->chunk);
	o->chunk.delta = delta;
}

void output_done(struct output *o)
{
	chunk_writer_done(&o->chunk);
	root_writer_done(&o->list);
}

int output_end(struct output *o, struct err *err)
{
	const struct chunk_writer *w = &o->chunk;
	const uint8_t *bytes;
	size_t len;

	if (w->entries == 0)
		return 0;
	int r = chunk_writer_end(&o->chunk, &bytes, &len);
	if (r != 0)
		return r;
	struct root_chunk c = {
		.first = {w->first, w->first_len, w->first_is_dir},
		.hash = hash256_of(bytes, len),
		.first_ordinal = w->first_place.ordinal,
		.first_below = w->first_place.below,
		.entries = w->entries,
		.bytes = (uint32_t)len,
	};
	r = o->sink->put(o->sink->ctx, &c.hash, bytes, len, err);
	if (r == 0)
		r = root_writer_add(&o->list, &c);
	chunk_writer_clear(&o->chunk);
	return r;
}

/* Whether a chunk shall begin at @e. What decides is e's own name, so that a change elsewhere moves few cuts. */
static bool cut_before(const struct output *o, const struct manifest_entry *e)
{
	static const uint8_t key[16] = "larder manifest"; /* part of the format's habit, not a secret */
	size_t bytes = chunk_writer_bytes(&o->chunk), target = o->target;

	if (o->chunk.entries == 0 || bytes < target / 4)
		return false;
	return bytes >= target * 2 || (siphash24(key, e->path, e->path_len) & o->cut_mask) == 0;
}

int output_entry(struct output *o, const struct manifest_entry *e, uint64_t descendants, struct err *err)
{
	int r = cut_before(o, e) ? output_end(o, err) : 0;

	return r == 0 ? chunk_writer_add(&o->chunk, e, descendants) : r;
}

int output_edit(struct output *o, const struct edit_place *place, const struct manifest_entry *e,
		uint64_t descendants, struct err *err)
{
	int r = cut_before(o, e) ? output_end(o, err) : 0;

	return r == 0 ? chunk_writer_edit(&o->chunk, place, e, descendants) : r;
}

uint64_t output_bytes(const struct output *o)
{
	return o->list.bytes + (o->chunk.entries ? chunk_writer_bytes(&o->chunk) : 0);
}

int output_root(const struct manifest_sink *sink, const struct root_writer *tables, size_t count,
		struct manifest_stats *stats, struct hash256 *ret, struct err *err)
{
	uint8_t *bytes;
	size_t len;
	int r = root_writer_end(tables, count, stats, &bytes, &len);

	if (r != 0)
		return r;
	struct hash256 hash = hash256_of(bytes, len);
	r = sink->put(sink->ctx, &hash, bytes, len, err);
	(void)mem_free(bytes);
	if (r == 0)
		*ret = hash;
	return r;
}

void output_count(struct manifest_stats *s, const struct manifest_entry *e)
{
	s->entries++;
	s->dirs += e->type == MANIFEST_DIR;
	s->symlinks += e->type == MANIFEST_SYMLINK;
	if (e->type != MANIFEST_FILE)
		return;
	s->files++;
	s->no_validator += e->validator.kind == VALIDATOR_NONE;
	if (__builtin_add_overflow(s->bytes, e->size, &s->bytes))
		s->bytes = UINT64_MAX;
	size_t bits = e->size ? 64 - (size_t)__builtin_clzll(e->size) : 0;
	s->size_histogram[MIN(bits, LENGTH(s->size_histogram) - 1)]++;
}
