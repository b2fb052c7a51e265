#include <errno.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/mem.h"
#include "common/manifest/chunk.h"
#include "common/manifest/format.h"

void chunk_writer_init(struct chunk_writer *w)
{
	w->bytes = NULL;
	w->blocks = NULL;
	w->size = w->block_size = 0;
	w->delta = false;
	chunk_writer_clear(w);
}

void chunk_writer_done(struct chunk_writer *w)
{
	w->bytes = mem_free(w->bytes);
	w->blocks = mem_free(w->blocks);
}

void chunk_writer_clear(struct chunk_writer *w)
{
	w->used = CHUNK_HEADER_BYTES;
	w->block_count = 0;
	w->entries = 0;
}

/* Room for @more bytes after those in use. */
static int reserve(struct chunk_writer *w, size_t more)
{
	if (w->used + more <= w->size)
		return 0;
	size_t size = MAX(w->size * 2, w->used + more + 4096);
	uint8_t *bytes = mem_resize(w->bytes, size, 1);
	if (!bytes)
		return -ENOMEM;
	w->bytes = bytes;
	w->size = size;
	return 0;
}

/* Each block starts from nothing, so that it can be read alone. */
static int begin_block(struct chunk_writer *w)
{
	if (w->block_count == w->block_size) {
		size_t size = MAX(w->block_size * 2, (size_t)64);
		uint32_t *blocks = mem_resize(w->blocks, size, sizeof *blocks);
		if (!blocks)
			return -ENOMEM;
		w->blocks = blocks;
		w->block_size = size;
	}
	w->blocks[w->block_count++] = (uint32_t)w->used;
	w->path_len = 0;
	w->seconds = 0;
	w->mode = w->source = 0;
	w->shape = (struct validator_shape){0};
	return 0;
}

/* A lower-case digit's value and one, 0 for other bytes. A table: digits and letters come in no order that a branch could guess. */
static const uint8_t digit_of[256] = {
	['0'] = 1, ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,  ['6'] = 7,  ['7'] = 8,
	['8'] = 9, ['9'] = 10, ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
};

static struct validator_shape shape_of(const struct validator *v)
{
	bool quoted = v->len >= 2 && v->bytes[0] == '"' && v->bytes[v->len - 1] == '"';
	size_t from = quoted, to = (size_t)v->len - quoted, digits = 0;

	while (from + digits + 1 < to && digit_of[v->bytes[from + digits]] &&
	       digit_of[v->bytes[from + digits + 1]])
		digits += 2;
	return (struct validator_shape){
		.head = (uint8_t)(v->kind | (quoted ? SHAPE_QUOTED : 0)),
		.hex = (uint8_t)(digits / 2),
		.tail = (uint8_t)(to - from - digits),
	};
}

static uint8_t *put_validator(uint8_t *p, const struct validator *v, struct validator_shape shape)
{
	const uint8_t *from = v->bytes + (shape.head & SHAPE_QUOTED ? 1 : 0);

	for (size_t i = 0; i < shape.hex; i++)
		*p++ = (uint8_t)((digit_of[from[2 * i]] - 1) << 4 | (digit_of[from[2 * i + 1]] - 1));
	memcpy(p, from + 2 * (size_t)shape.hex, shape.tail);
	return p + shape.tail;
}

static size_t common_prefix(const char *a, size_t a_len, const char *b, size_t b_len)
{
	size_t n = 0, max = MIN(a_len, b_len);

	while (n + 8 <= max && memcmp(a + n, b + n, 8) == 0)
		n += 8;
	while (n < max && a[n] == b[n])
		n++;
	return n;
}

static uint8_t *put_text(uint8_t *p, const char *text, size_t len)
{
	p += put_varint(p, len);
	memcpy(p, text, len);
	return p + len;
}

/* 0: the path; 1: the path without some first bytes (a source mounted below the root); 2: written out. */
static unsigned key_mode(const struct manifest_entry *e)
{
	if (e->key_len == 0 || (e->key_len == e->path_len && memcmp(e->key, e->path, e->key_len) == 0))
		return KEY_PATH;
	if (e->key_len < e->path_len && memcmp(e->key, e->path + e->path_len - e->key_len, e->key_len) == 0)
		return KEY_SUFFIX;
	return KEY_OWN;
}

/* The fields behind the path, in the order of docs/formats/manifest.md. */
static uint8_t *put_fields(struct chunk_writer *w, uint8_t *p, const struct manifest_entry *e, uint8_t flags,
			   struct validator_shape shape, uint64_t descendants)
{
	int64_t seconds = floor_seconds(e->mtime_ns);

	if (flags & FLAG_MODE)
		p += put_varint(p, e->mode);
	if (flags & FLAG_SOURCE)
		p += put_varint(p, e->source);
	p += put_varint(p, zigzag(seconds - w->seconds));
	if (flags & FLAG_NSEC)
		p += put_varint(p, (uint64_t)(e->mtime_ns - seconds * 1000000000LL));
	if (flags & FLAG_SHAPE) {
		*p++ = shape.head;
		*p++ = shape.hex;
		*p++ = shape.tail;
	}
	p = put_validator(p, &e->validator, shape);
	if (e->type == MANIFEST_FILE)
		p += put_varint(p, e->size);
	else if (e->type == MANIFEST_DIR)
		p += put_varint(p, descendants);
	else
		p = put_text(p, e->target, e->target_len);
	if ((flags & FLAG_KEY_MASK) >> FLAG_KEY_SHIFT == KEY_SUFFIX)
		p += put_varint(p, e->path_len - e->key_len);
	else if ((flags & FLAG_KEY_MASK) >> FLAG_KEY_SHIFT == KEY_OWN)
		p = put_text(p, e->key, e->key_len);
	w->mode = e->mode;
	w->source = e->source;
	w->seconds = seconds;
	w->shape = shape;
	return p;
}

static uint8_t flags_of(const struct chunk_writer *w, const struct manifest_entry *e,
			struct validator_shape shape)
{
	unsigned flags = (unsigned)e->type - 1u;

	flags |= key_mode(e) << FLAG_KEY_SHIFT;
	if (e->mtime_ns != floor_seconds(e->mtime_ns) * 1000000000LL)
		flags |= FLAG_NSEC;
	if (e->mode != w->mode)
		flags |= FLAG_MODE;
	if (e->source != w->source)
		flags |= FLAG_SOURCE;
	if (memcmp(&shape, &w->shape, sizeof shape) != 0)
		flags |= FLAG_SHAPE;
	return (uint8_t)flags;
}

/* Where the edit stands: written out at the beginning of a block, else by what stays between it and the one before. */
static uint8_t *put_place(struct chunk_writer *w, uint8_t *p, const struct edit_place *place, bool first)
{
	uint64_t gap = 0;

	if (first) {
		p += put_varint(p, place->below);
		p += put_varint(p, place->ordinal);
	} else {
		gap = place->below - edit_next_below(&w->last);
	}
	w->last = *place;
	return p + put_varint(p, gap << EDIT_KIND_BITS | (uint64_t)place->kind);
}

static int add(struct chunk_writer *w, const struct edit_place *place, const struct manifest_entry *e,
	       uint64_t descendants)
{
	CHECK(e->type >= MANIFEST_FILE && e->type <= MANIFEST_SYMLINK);
	CHECK(e->path_len <= MANIFEST_PATH_MAX && e->key_len <= MANIFEST_PATH_MAX &&
	      e->target_len <= MANIFEST_PATH_MAX);
	if (w->used > CHUNK_BYTES_MAX / 2)
		return -EFBIG;
	int r = reserve(w, CHUNK_ENTRY_MAX);
	bool begins = w->entries % CHUNK_BLOCK_ENTRIES == 0;
	if (r == 0 && begins)
		r = begin_block(w);
	if (r != 0)
		return r;
	if (w->entries == 0) {
		memcpy(w->first, e->path, e->path_len);
		w->first_len = e->path_len;
		w->first_is_dir = manifest_type_is_dir(e->type);
		if (place)
			w->first_place = *place;
	}
	size_t shared = common_prefix(w->path, w->path_len, e->path, e->path_len);
	uint8_t *p = w->bytes + w->used;
	if (place)
		p = put_place(w, p, place, begins);
	struct validator_shape shape = shape_of(&e->validator);
	uint8_t flags = flags_of(w, e, shape);
	*p++ = flags;
	p += put_varint(p, shared);
	p = put_text(p, e->path + shared, e->path_len - shared);
	p = put_fields(w, p, e, flags, shape, descendants);
	memcpy(w->path + shared, e->path + shared, e->path_len - shared);
	w->path_len = e->path_len;
	w->used = (size_t)(p - w->bytes);
	w->entries++;
	return 0;
}

int chunk_writer_add(struct chunk_writer *w, const struct manifest_entry *e, uint64_t descendants)
{
	CHECK(!w->delta);
	return add(w, NULL, e, descendants);
}

int chunk_writer_edit(struct chunk_writer *w, const struct edit_place *place, const struct manifest_entry *e,
		      uint64_t descendants)
{
	/* What is taken away needs no fields: as the entry before has them, they take the least room. */
	struct manifest_entry gone = {.type = e->type == MANIFEST_DIR ? MANIFEST_DIR : MANIFEST_FILE,
				      .path = e->path,
				      .path_len = e->path_len};

	CHECK(w->delta);
	return place->kind == EDIT_REMOVE ? add(w, place, &gone, 0) : add(w, place, e, descendants);
}

size_t chunk_writer_bytes(const struct chunk_writer *w)
{
	return w->used + w->block_count * 4 + CHUNK_FOOTER_BYTES;
}

int chunk_writer_end(struct chunk_writer *w, const uint8_t **ret, size_t *ret_len)
{
	CHECK(w->entries > 0);
	int r = reserve(w, w->block_count * 4 + CHUNK_FOOTER_BYTES);
	if (r != 0)
		return r;
	uint8_t *p = w->bytes + w->used;
	memcpy(w->bytes, w->delta ? DELTA_MAGIC : CHUNK_MAGIC, CHUNK_HEADER_BYTES);
	for (size_t i = 0; i < w->block_count; i++, p += 4)
		put_le32(p, w->blocks[i]);
	put_le32(p, (uint32_t)w->used);
	put_le32(p + 4, (uint32_t)w->block_count);
	put_le32(p + 8, w->entries);
	*ret = w->bytes;
	*ret_len = chunk_writer_bytes(w);
	return 0;
}
