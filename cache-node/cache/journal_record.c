#include "cache-node/cache/journal.h"

#include <errno.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/base/hash.h"

#define MAGIC "LDRINDX\1" /* the version is its last byte */

enum {
	AT_BOOT = 8,
	AT_SALT = 24,
	HEADER_USED = 32, /* of the header */
	AT_BYTES = 32,
	AT_USED = 40,
	AT_SHARE = 48,
	AT_KIND = 56, /* of a record; the id is at 0 */
	AT_CRC = 60,  /* of both */
};

static uint32_t checksum(const uint8_t *bytes, uint64_t salt)
{
	uint8_t le[8];
	put_le64(le, salt);
	return crc32c(crc32c(0, le, sizeof le), bytes, AT_CRC);
}

void journal_encode_header(const uint8_t boot[SIDECAR_BOOT_BYTES], uint64_t salt,
			   uint8_t out[JOURNAL_RECORD_BYTES])
{
	memset(out, 0, JOURNAL_RECORD_BYTES);
	memcpy(out, MAGIC, sizeof MAGIC - 1);
	memcpy(out + AT_BOOT, boot, SIDECAR_BOOT_BYTES);
	put_le64(out + AT_SALT, salt);
	put_le32(out + AT_CRC, checksum(out, 0));
}

void journal_encode(const struct journal_record *r, uint64_t salt, uint8_t out[JOURNAL_RECORD_BYTES])
{
	CHECK(r->used_ns >= 0 && r->bytes <= INT64_MAX && (r->bytes > 0) == (r->kind >= JOURNAL_PARTIAL));
	memset(out, 0, JOURNAL_RECORD_BYTES);
	memcpy(out, r->id.bytes, HASH256_BYTES);
	put_le64(out + AT_BYTES, r->bytes);
	put_le64(out + AT_USED, (uint64_t)r->used_ns);
	put_le64(out + AT_SHARE, r->share);
	out[AT_KIND] = (uint8_t)r->kind;
	put_le32(out + AT_CRC, checksum(out, salt));
}

static bool all_zero(const uint8_t *p, size_t len)
{
	while (len > 0 && *p == 0) {
		p++;
		len--;
	}
	return len == 0;
}

int journal_decode_header(const uint8_t in[JOURNAL_RECORD_BYTES], const uint8_t boot[SIDECAR_BOOT_BYTES],
			  uint64_t *ret_salt)
{
	if (memcmp(in, MAGIC, sizeof MAGIC - 1) != 0 || get_le32(in + AT_CRC) != checksum(in, 0) ||
	    !all_zero(in + HEADER_USED, AT_CRC - HEADER_USED))
		return -ERR_CORRUPT;
	*ret_salt = get_le64(in + AT_SALT);
	return memcmp(in + AT_BOOT, boot, SIDECAR_BOOT_BYTES) == 0 ? 0 : -ESTALE;
}

int journal_decode(const uint8_t in[JOURNAL_RECORD_BYTES], uint64_t salt, struct journal_record *ret)
{
	uint64_t bytes = get_le64(in + AT_BYTES), used = get_le64(in + AT_USED);
	uint8_t kind = in[AT_KIND];

	if (get_le32(in + AT_CRC) != checksum(in, salt) || kind > JOURNAL_SEALED || used > INT64_MAX ||
	    bytes > INT64_MAX || (bytes > 0) != (kind >= JOURNAL_PARTIAL) ||
	    !all_zero(in + AT_KIND + 1, AT_CRC - AT_KIND - 1))
		return -ERR_CORRUPT;
	*ret = (struct journal_record){.bytes = bytes,
				       .used_ns = (int64_t)used,
				       .share = get_le64(in + AT_SHARE),
				       .kind = (enum journal_kind)kind};
	memcpy(ret->id.bytes, in, HASH256_BYTES);
	return 0;
}
