#include "common/base/hash.h"

#include <openssl/evp.h>
#include <string.h>

#include "common/base/attr.h"
#include "common/base/bytes.h"

struct hash256 hash256_of(const void *p, size_t len)
{
	struct hash256 h;

	CHECK(EVP_Digest(p, len, h.bytes, NULL, EVP_sha256(), NULL) == 1);
	return h;
}

struct hash256 hash256_of_parts(const struct hash_part *parts, size_t count)
{
	struct hash256 h;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	CHECK(ctx != NULL);
	CHECK(EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1);
	for (size_t i = 0; i < count; i++) {
		uint8_t len[8];
		put_le64(len, parts[i].len);
		CHECK(EVP_DigestUpdate(ctx, len, sizeof len) == 1);
		CHECK(EVP_DigestUpdate(ctx, parts[i].p, parts[i].len) == 1);
	}
	CHECK(EVP_DigestFinal_ex(ctx, h.bytes, NULL) == 1);
	EVP_MD_CTX_free(ctx);
	return h;
}

int hash256_compare(const struct hash256 *a, const struct hash256 *b)
{
	return memcmp(a->bytes, b->bytes, sizeof a->bytes);
}

void hash256_hex(const struct hash256 *h, char out[HASH256_HEX])
{
	hex_encode(h->bytes, sizeof h->bytes, out);
}

static uint64_t rotl(uint64_t x, int b)
{
	return x << b | x >> (64 - b);
}

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotl(v[1], 13) ^ v[0];
	v[0] = rotl(v[0], 32);
	v[2] += v[3];
	v[3] = rotl(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotl(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotl(v[1], 17) ^ v[2];
	v[2] = rotl(v[2], 32);
}

uint64_t siphash24(const uint8_t key[16], const void *p, size_t len)
{
	uint64_t k0 = get_le64(key), k1 = get_le64(key + 8);
	uint64_t v[4] = {k0 ^ 0x736f6d6570736575ULL, k1 ^ 0x646f72616e646f6dULL, k0 ^ 0x6c7967656e657261ULL,
			 k1 ^ 0x7465646279746573ULL};
	const uint8_t *in = p;
	size_t whole = len & ~(size_t)7;
	uint8_t tail[8] = {0};

	for (size_t i = 0; i < whole; i += 8) {
		uint64_t m = get_le64(in + i);
		v[3] ^= m;
		sip_round(v);
		sip_round(v);
		v[0] ^= m;
	}
	if (len > whole)
		memcpy(tail, in + whole, len - whole);
	tail[7] = (uint8_t)len;
	uint64_t m = get_le64(tail);
	v[3] ^= m;
	sip_round(v);
	sip_round(v);
	v[0] ^= m;
	v[2] ^= 0xff;
	for (int i = 0; i < 4; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}
