#include "metadata/wal/record.h"

#include <errno.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/hash.h"

#define MAGIC   0x4c41574cu /* "LWAL" */
#define VERSION 1u

void wal_record_encode(struct wal_record *r, uint8_t *out)
{
	memset(out, 0, wal_record_bytes(r->len));
	put_le32(out, MAGIC);
	out[4] = VERSION;
	out[5] = (uint8_t)r->kind;
	put_le16(out + 6, (uint16_t)r->flags);
	put_le32(out + 8, r->group);
	put_le32(out + 12, r->len);
	put_le64(out + 16, r->segment);
	put_le64(out + 24, r->index);
	put_le64(out + 32, r->term);
	put_le64(out + 40, r->durable_index);
	put_le32(out + 48, r->chain);
	put_le32(out + 56, crc32c(0, r->body, r->len));
	r->crc = crc32c(0, out, 60);
	put_le32(out + 60, r->crc);
	if (r->len)
		memcpy(out + WAL_HEADER_BYTES, r->body, r->len);
}

static bool length_fits_kind(const struct wal_record *r)
{
	switch (r->kind) {
	case WAL_START:
		return r->len == WAL_START_BYTES;
	case WAL_MARK:
		return r->len == WAL_MARK_BYTES;
	case WAL_ENTRY:
		return r->len <= WAL_BODY_MAX && r->index > 0 && r->term > 0;
	case WAL_SNAPSHOT:
		return r->len == 0 && r->index > 0 && r->term > 0;
	}
	return false;
}

static bool is_zero(const uint8_t *p)
{
	for (uint32_t i = 0; i < WAL_HEADER_BYTES; i++)
		if (p[i])
			return false;
	return true;
}

int wal_record_decode(const uint8_t *bytes, uint64_t size, uint64_t at, uint64_t segment,
		      struct wal_record *ret)
{
	const uint8_t *p = bytes + at;

	if (at > size || size - at < WAL_HEADER_BYTES)
		return -EBADMSG;
	if (get_le32(p) != MAGIC)
		return is_zero(p) ? -ENODATA : -EBADMSG;
	struct wal_record r = {
		.kind = (enum wal_kind)p[5],
		.flags = get_le16(p + 6),
		.group = get_le32(p + 8),
		.len = get_le32(p + 12),
		.segment = get_le64(p + 16),
		.index = get_le64(p + 24),
		.term = get_le64(p + 32),
		.durable_index = get_le64(p + 40),
		.chain = get_le32(p + 48),
		.crc = get_le32(p + 60),
	};
	if (p[4] != VERSION || r.crc != crc32c(0, p, 60) || r.segment != segment || !length_fits_kind(&r))
		return -EBADMSG;
	if (size - at < wal_record_bytes(r.len) || get_le32(p + 56) != crc32c(0, p + WAL_HEADER_BYTES, r.len))
		return -EBADMSG;
	r.body = p + WAL_HEADER_BYTES;
	*ret = r;
	return 0;
}

void wal_mark_encode(const struct wal_mark *m, uint8_t out[WAL_MARK_BYTES])
{
	put_le64(out, m->hard.term);
	put_le64(out + 8, m->hard.vote);
	put_le64(out + 16, m->hard.commit);
	put_le64(out + 24, m->durable.segment);
	put_le64(out + 32, m->durable.offset);
	put_le64(out + 40, m->lost_to);
	put_le64(out + 48, m->lost_term);
	put_le64(out + 56, m->bytes);
}

struct wal_mark wal_mark_decode(const uint8_t in[WAL_MARK_BYTES])
{
	return (struct wal_mark){
		.hard = {get_le64(in), get_le64(in + 8), get_le64(in + 16)},
		.durable = {get_le64(in + 24), get_le64(in + 32)},
		.lost_to = get_le64(in + 40),
		.lost_term = get_le64(in + 48),
		.bytes = get_le64(in + 56),
	};
}

void wal_start_encode(struct wal_position before, uint8_t out[WAL_START_BYTES])
{
	put_le64(out, before.segment);
	put_le64(out + 8, before.offset);
}

struct wal_position wal_start_decode(const uint8_t in[WAL_START_BYTES])
{
	return (struct wal_position){get_le64(in), get_le64(in + 8)};
}
