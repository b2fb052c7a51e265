#include "cache-node/cache/sidecar.h"

#include <string.h>

#include "common/base/bytes.h"
#include "common/base/err.h"

#define MAGIC       "LRDRSIDE"
#define VERSION     1
#define FLAG_SEALED 1u
#define KEY_AT      136
#define SHARE_AT    243
#define KEY_MAX     (SHARE_AT - KEY_AT - 1) /* bytes of a key that leave room for the share */
#define CRC_AT      (SIDECAR_HEADER_BYTES - 4)

static size_t bitmap_bytes(uint64_t size)
{
	return (size_t)((sidecar_blocks(size) + 63) / 64 * 8);
}

size_t sidecar_bytes(uint64_t size)
{
	CHECK(size <= SIDECAR_SIZE_MAX);
	return SIDECAR_HEADER_BYTES + bitmap_bytes(size) + (size_t)sidecar_blocks(size) * 4;
}

void sidecar_encode(const struct sidecar_header *h, uint8_t out[SIDECAR_HEADER_BYTES])
{
	CHECK(h->size <= SIDECAR_SIZE_MAX);
	CHECK(h->validator.len <= VALIDATOR_BYTES_MAX);
	memset(out, 0, SIDECAR_HEADER_BYTES);
	memcpy(out, MAGIC, 8);
	put_le16(out + 8, VERSION);
	put_le16(out + 10, h->sealed ? FLAG_SEALED : 0);
	put_le32(out + 12, SIDECAR_BLOCK_BYTES);
	put_le64(out + 16, h->size);
	memcpy(out + 24, h->boot, SIDECAR_BOOT_BYTES);
	memcpy(out + 40, h->id.bytes, HASH256_BYTES);
	out[72] = h->validator.kind;
	out[73] = h->validator.len;
	memcpy(out + 74, h->validator.bytes, h->validator.len);
	size_t key_len = strnlen(h->key, KEY_MAX);
	out[KEY_AT] = (uint8_t)key_len;
	memcpy(out + KEY_AT + 1, h->key, key_len);
	put_le64(out + SHARE_AT, h->share);
	put_le32(out + CRC_AT, crc32c(0, out, CRC_AT));
}

int sidecar_decode_header(const uint8_t bytes[SIDECAR_HEADER_BYTES], struct sidecar_header *ret)
{
	if (memcmp(bytes, MAGIC, 8) != 0)
		return -ERR_CORRUPT;
	if (get_le32(bytes + CRC_AT) != crc32c(0, bytes, CRC_AT))
		return -ERR_CORRUPT;
	uint16_t flags = get_le16(bytes + 10);
	struct sidecar_header h = {.sealed = flags & FLAG_SEALED, .size = get_le64(bytes + 16)};
	if (get_le16(bytes + 8) != VERSION || get_le32(bytes + 12) != SIDECAR_BLOCK_BYTES ||
	    flags > FLAG_SEALED)
		return -ERR_CORRUPT;
	h.validator.kind = bytes[72];
	h.validator.len = bytes[73];
	if (h.size > SIDECAR_SIZE_MAX || h.validator.kind > VALIDATOR_STRONG ||
	    h.validator.len > VALIDATOR_BYTES_MAX || bytes[KEY_AT] >= SIDECAR_KEY_BYTES)
		return -ERR_CORRUPT;
	memcpy(h.boot, bytes + 24, SIDECAR_BOOT_BYTES);
	memcpy(h.id.bytes, bytes + 40, HASH256_BYTES);
	memcpy(h.validator.bytes, bytes + 74, h.validator.len);
	memcpy(h.key, bytes + KEY_AT + 1, bytes[KEY_AT]);
	if (bytes[KEY_AT] <= KEY_MAX) /* else written before there were shares */
		h.share = get_le64(bytes + SHARE_AT);
	*ret = h;
	return 0;
}

int sidecar_decode(const uint8_t *bytes, size_t len, struct sidecar_header *ret)
{
	struct sidecar_header h;
	if (len < SIDECAR_HEADER_BYTES || sidecar_decode_header(bytes, &h) != 0 ||
	    len != sidecar_bytes(h.size))
		return -ERR_CORRUPT;
	*ret = h;
	return 0;
}

void sidecar_name(char ret[SIDECAR_KEY_BYTES], const char *key)
{
	size_t len = strlen(key), most = KEY_MAX;
	const char *from = key + (len > most ? len - most : 0);
	memset(ret, 0, SIDECAR_KEY_BYTES);
	memcpy(ret, from, MIN(len, most));
}

bool sidecar_has(const uint8_t *map, uint64_t block)
{
	uint8_t byte = __atomic_load_n(map + SIDECAR_HEADER_BYTES + block / 8, __ATOMIC_ACQUIRE);
	return byte >> (block % 8) & 1;
}

void sidecar_set(uint8_t *map, uint64_t size, uint64_t block, uint32_t crc)
{
	CHECK(block < sidecar_blocks(size));
	put_le32(map + SIDECAR_HEADER_BYTES + bitmap_bytes(size) + block * 4, crc);
	(void)__atomic_fetch_or(map + SIDECAR_HEADER_BYTES + block / 8, (uint8_t)(1u << (block % 8)),
				__ATOMIC_RELEASE);
}

bool sidecar_clear(uint8_t *map, uint64_t block)
{
	uint8_t bit = (uint8_t)(1u << (block % 8));
	uint8_t was =
		__atomic_fetch_and(map + SIDECAR_HEADER_BYTES + block / 8, (uint8_t)~bit, __ATOMIC_ACQ_REL);
	return was & bit;
}

uint32_t sidecar_crc(const uint8_t *map, uint64_t size, uint64_t block)
{
	CHECK(block < sidecar_blocks(size));
	return get_le32(map + SIDECAR_HEADER_BYTES + bitmap_bytes(size) + block * 4);
}

uint64_t sidecar_count(const uint8_t *map, uint64_t size)
{
	uint64_t n = 0;
	for (uint64_t b = 0, blocks = sidecar_blocks(size); b < blocks; b++)
		n += sidecar_has(map, b);
	return n;
}
