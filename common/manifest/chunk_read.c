#include <errno.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/planted.h"
#include "common/manifest/chunk.h"
#include "common/manifest/format.h"

int chunk_view_parse(const uint8_t *bytes, size_t len, struct chunk_view *ret)
{
	if (len < CHUNK_HEADER_BYTES + CHUNK_FOOTER_BYTES || len > CHUNK_BYTES_MAX)
		return -ERR_CORRUPT;
	bool delta = memcmp(bytes, DELTA_MAGIC, CHUNK_HEADER_BYTES) == 0;
	if (!delta && memcmp(bytes, CHUNK_MAGIC, CHUNK_HEADER_BYTES) != 0)
		return -ERR_CORRUPT;
	const uint8_t *foot = bytes + len - CHUNK_FOOTER_BYTES;
	struct chunk_view v = {bytes, get_le32(foot), get_le32(foot + 8), get_le32(foot + 4), delta};
	if (v.entries == 0 || v.index_at < CHUNK_HEADER_BYTES || v.index_at > len - CHUNK_FOOTER_BYTES ||
	    v.blocks != v.entries / CHUNK_BLOCK_ENTRIES + (v.entries % CHUNK_BLOCK_ENTRIES != 0) ||
	    len - CHUNK_FOOTER_BYTES - v.index_at != (size_t)v.blocks * 4)
		return -ERR_CORRUPT;
	*ret = v;
	return 0;
}

/* Where a block lies: [*ret, *ret_end), inside the chunk and not empty. */
static int block_range(const struct chunk_view *v, uint32_t block, uint32_t *ret, uint32_t *ret_end)
{
	if (block >= v->blocks)
		return -ERR_CORRUPT;
	const uint8_t *index = v->bytes + v->index_at + (size_t)block * 4;
	uint32_t from = get_le32(index), to = block + 1 < v->blocks ? get_le32(index + 4) : v->index_at;
	if (from < CHUNK_HEADER_BYTES || from >= to || to > v->index_at)
		return -ERR_CORRUPT;
	*ret = from;
	*ret_end = to;
	return 0;
}

/* The place before an edit: absolute at the beginning of a block. */
static void read_place(struct reader *in, bool first, struct manifest_cursor *c, struct edit_place *ret)
{
	uint64_t below = first ? read_varint(in) : c->next_below;
	uint64_t ordinal = first ? read_varint(in) : c->next_ordinal;
	uint64_t word = read_varint(in), gap = word >> EDIT_KIND_BITS;
	unsigned kind = word & ((1u << EDIT_KIND_BITS) - 1);

	if (kind > EDIT_REMOVE + PLANTED(DELTA_KIND) || (first && gap) || below > INT64_MAX ||
	    ordinal > INT64_MAX || gap > INT64_MAX - below || gap > INT64_MAX - ordinal) {
		in->bad = true;
		return;
	}
	*ret = (struct edit_place){(enum edit_kind)kind, ordinal + gap, below + gap};
	c->next_ordinal = edit_next_ordinal(ret);
	c->next_below = edit_next_below(ret);
}

int chunk_block_place(const struct chunk_view *v, uint32_t block, struct edit_place *ret)
{
	struct manifest_cursor c = {0};
	uint32_t from, to;
	int r = block_range(v, block, &from, &to);
	if (r != 0)
		return r;
	struct reader in = reader_over(v->bytes + from, to - from);
	read_place(&in, true, &c, ret);
	return in.bad ? -ERR_CORRUPT : 0;
}

int chunk_block_key(const struct chunk_view *v, uint32_t block, struct path_key *ret)
{
	uint32_t from, to;
	int r = block_range(v, block, &from, &to);
	if (r != 0)
		return r;
	struct reader in = reader_over(v->bytes + from, to - from);
	struct manifest_cursor c = {0};
	struct edit_place place;
	if (v->delta)
		read_place(&in, true, &c, &place);
	uint8_t flags = read_u8(&in);
	uint64_t shared = read_varint(&in), len = read_varint(&in);
	if (len > MANIFEST_PATH_MAX || shared != 0)
		return -ERR_CORRUPT;
	const uint8_t *path = read_bytes(&in, (size_t)len);
	if (in.bad)
		return -ERR_CORRUPT;
	*ret = (struct path_key){(const char *)path, (size_t)len,
				 manifest_type_is_dir((enum manifest_type)((flags & FLAG_TYPE_MASK) + 1))};
	return 0;
}

int chunk_seek(const struct chunk_view *v, uint32_t block, struct manifest_cursor *c)
{
	struct manifest_cursor fresh = {.index = block * CHUNK_BLOCK_ENTRIES};
	int r = block_range(v, block, &fresh.offset, &fresh.limit);
	if (r == 0)
		*c = fresh;
	return r;
}

/* Bytes up to @max, length first. */
static const uint8_t *read_text(struct reader *in, size_t max, size_t *ret_len)
{
	uint64_t len = read_varint(in);

	if (len > max)
		in->bad = true;
	*ret_len = in->bad ? 0 : (size_t)len;
	return read_bytes(in, *ret_len);
}

static void read_shape(struct reader *in, struct manifest_cursor *c)
{
	c->shape[0] = read_u8(in);
	c->shape[1] = read_u8(in);
	c->shape[2] = read_u8(in);
	unsigned quotes = c->shape[0] & SHAPE_QUOTED ? 2 : 0, kind = c->shape[0] & SHAPE_KIND_MASK;
	unsigned len = quotes + 2u * c->shape[1] + c->shape[2];
	if (c->shape[0] > (SHAPE_KIND_MASK | SHAPE_QUOTED) || kind > VALIDATOR_STRONG ||
	    len > VALIDATOR_BYTES_MAX + PLANTED(CHUNK_VALIDATOR) || (kind == VALIDATOR_NONE && len > 0))
		in->bad = true;
}

static void read_mtime(struct reader *in, struct manifest_cursor *c, uint8_t flags, struct chunk_entry *x)
{
	if (__builtin_add_overflow(c->seconds, unzigzag(read_varint(in)), &c->seconds) ||
	    __builtin_mul_overflow(c->seconds, (int64_t)1000000000, &x->mtime_ns)) {
		/* The least times have seconds that overflow before their nanoseconds are added; no writer makes those. */
		in->bad = true;
		return;
	}
	if (!(flags & FLAG_NSEC))
		return;
	int64_t nsec = (int64_t)(read_varint(in) & INT64_MAX);
	if (nsec >= 1000000000 || nsec == 0 || __builtin_add_overflow(x->mtime_ns, nsec, &x->mtime_ns))
		in->bad = true;
}

/* What differs from the entry before; in most entries nothing does. */
static void read_changes(struct reader *in, struct manifest_cursor *c, uint8_t flags)
{
	uint64_t mode = flags & FLAG_MODE ? read_varint(in) : c->mode;
	uint64_t source = flags & FLAG_SOURCE ? read_varint(in) : c->source;

	if (mode > 07777 || source > UINT16_MAX)
		in->bad = true;
	c->mode = (uint16_t)mode;
	c->source = (uint16_t)source;
}

static void read_attributes(struct reader *in, struct manifest_cursor *c, uint8_t flags,
			    struct chunk_entry *x)
{
	if (flags & (FLAG_MODE | FLAG_SOURCE))
		read_changes(in, c, flags);
	x->mode = c->mode;
	x->source = c->source;
	read_mtime(in, c, flags, x);
	if (flags & FLAG_SHAPE)
		read_shape(in, c);
	x->shape = (struct validator_shape){c->shape[0], c->shape[1], c->shape[2]};
	x->validator = read_bytes(in, (size_t)x->shape.hex + x->shape.tail);
}

static void read_body(struct reader *in, struct chunk_entry *x)
{
	switch (x->type) {
	case MANIFEST_FILE:
		x->size = read_varint(in);
		if (x->size > INT64_MAX)
			in->bad = true;
		break;
	case MANIFEST_DIR:
		x->descendants = read_varint(in);
		if (x->descendants > INT64_MAX)
			in->bad = true;
		break;
	case MANIFEST_SYMLINK:
		x->target = read_text(in, MANIFEST_PATH_MAX, &x->target_len);
		x->size = x->target_len;
		if (x->target_len == 0 || (x->target && memchr(x->target, 0, x->target_len)))
			in->bad = true;
		break;
	case MANIFEST_UNLISTED:
	default:
		in->bad = true;
	}
}

static void read_key(struct reader *in, uint8_t flags, struct chunk_entry *x)
{
	uint64_t skip;

	switch ((flags & FLAG_KEY_MASK) >> FLAG_KEY_SHIFT) {
	case KEY_SUFFIX:
		skip = read_varint(in);
		if (skip == 0 || skip >= x->path_len)
			in->bad = true;
		x->key_skip = in->bad ? 0 : (size_t)skip;
		break;
	case KEY_OWN:
		x->key = read_text(in, MANIFEST_PATH_MAX, &x->key_len);
		if (x->key_len == 0 || (x->key && memchr(x->key, 0, x->key_len)))
			in->bad = true;
		break;
	default:
		in->bad = true;
	}
}

/* @len bytes to @to, where as many as @room are free. Names differ by a few bytes from those before, and a call for each costs
 * more than copying some that do not count. */
static void copy_few(char *to, size_t room, const uint8_t *from, size_t readable, size_t len)
{
	if (len <= 16 && room >= 16 && readable >= 16)
		memcpy(to, from, 16);
	else if (len)
		memcpy(to, from, len);
}

int chunk_next_any(const struct chunk_view *v, struct manifest_cursor *c, char *path, struct chunk_entry *ret)
{
	if (c->index >= v->entries)
		return -ENOENT;
	bool first = c->index % CHUNK_BLOCK_ENTRIES == 0;
	if (first) {
		int r = chunk_seek(v, c->index / CHUNK_BLOCK_ENTRIES, c);
		if (r != 0)
			return r;
	}
	if (c->offset > c->limit || c->limit > v->index_at)
		return -ERR_CORRUPT;
	struct reader in = reader_over(v->bytes + c->offset, c->limit - c->offset);
	if (v->delta)
		read_place(&in, first, c, &ret->place);
	uint8_t flags = read_u8(&in);
	uint64_t shared = read_varint(&in);
	size_t rest;
	const uint8_t *suffix = read_text(&in, MANIFEST_PATH_MAX, &rest);
	if (in.bad || shared > c->path_len || shared + rest > MANIFEST_PATH_MAX)
		return -ERR_CORRUPT;
	chunk_entry_begin(ret, flags);
	ret->path_len = (size_t)shared + rest;
	ret->shared = (size_t)shared;
	copy_few(path + shared, MANIFEST_PATH_MAX + 1 - (size_t)shared, suffix, rest + reader_left(&in),
		 rest);
	path[ret->path_len] = 0;
	c->path_len = (uint32_t)ret->path_len;
	read_attributes(&in, c, flags, ret);
	read_body(&in, ret);
	if (flags & FLAG_KEY_MASK)
		read_key(&in, flags, ret);
	if (in.bad)
		return -ERR_CORRUPT;
	c->offset = c->limit - (uint32_t)reader_left(&in);
	c->index++;
	return 0;
}

static void expand_validator(const struct chunk_entry *x, struct validator *ret)
{
	static const char digits[] = "0123456789abcdef";
	uint8_t *p = ret->bytes;
	bool quoted = x->shape.head & SHAPE_QUOTED;

	memset(ret, 0, sizeof *ret);
	if (quoted)
		*p++ = '"';
	for (size_t i = 0; i < x->shape.hex; i++) {
		*p++ = (uint8_t)digits[x->validator[i] >> 4];
		*p++ = (uint8_t)digits[x->validator[i] & 15];
	}
	if (x->shape.tail)
		memcpy(p, x->validator + x->shape.hex, x->shape.tail);
	p += x->shape.tail;
	if (quoted)
		*p++ = '"';
	ret->kind = x->shape.head & SHAPE_KIND_MASK;
	ret->len = (uint8_t)(p - ret->bytes);
}

void chunk_entry_found(const struct chunk_entry *x, uint64_t ordinal, struct manifest_found *f)
{
	f->e = (struct manifest_entry){
		.type = x->type,
		.mode = x->mode,
		.source = x->source,
		.size = x->size,
		.mtime_ns = x->mtime_ns,
		.ordinal = ordinal,
		.end = ordinal + 1 + x->descendants,
		.path_len = x->path_len,
		.path = f->path,
	};
	expand_validator(x, &f->e.validator);
	if (x->key) {
		memcpy(f->key, x->key, x->key_len);
		f->key[x->key_len] = 0;
		f->e.key = f->key;
		f->e.key_len = x->key_len;
	} else if (x->key_skip) {
		f->e.key = f->path + x->key_skip;
		f->e.key_len = x->path_len - x->key_skip;
	}
	if (x->target) {
		memcpy(f->target, x->target, x->target_len);
		f->target[x->target_len] = 0;
		f->e.target = f->target;
		f->e.target_len = x->target_len;
	}
}

/* Whether an edit stands behind the one before, by as many entries in either table. */
static bool follows(const struct edit_place *before, const struct edit_place *now)
{
	uint64_t ordinal = edit_next_ordinal(before), below = edit_next_below(before);

	return now->ordinal >= ordinal && now->below >= below && now->ordinal - ordinal == now->below - below;
}

int chunk_check(const struct chunk_view *v, struct manifest_found *scratch)
{
	struct manifest_cursor c = {0};
	struct chunk_entry x;
	struct edit_place place = {EDIT_ADD, 0, 0};
	bool before_dir = false;
	size_t before_len = 0;
	int r;

	for (uint32_t i = 0; (r = chunk_next(v, &c, scratch->path, &x)) == 0; i++) {
		struct path_key before = {scratch->key, before_len, before_dir};
		struct path_key now = {scratch->path, x.path_len, manifest_type_is_dir(x.type)};
		if (!manifest_path_valid(now.path, now.len) || (now.len == 0 && !now.dir) ||
		    (i > 0 && path_key_compare(&before, &now) >= 0))
			return -ERR_CORRUPT;
		if (v->delta && i > 0 && !follows(&place, &x.place))
			return -ERR_CORRUPT;
		if (v->delta)
			place = x.place;
		/* A block's bytes end with its last entry: nothing hides between blocks. */
		if ((c.index % CHUNK_BLOCK_ENTRIES == 0 || c.index == v->entries) && c.offset != c.limit)
			return -ERR_CORRUPT;
		memcpy(scratch->key + x.shared, scratch->path + x.shared, x.path_len - x.shared);
		before_len = x.path_len;
		before_dir = now.dir;
	}
	return r == -ENOENT ? 0 : r;
}
