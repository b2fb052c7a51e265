#include "common/source/checksum.h"

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>
#include <zlib.h>

#include "common/base/bytes.h"
#include "common/base/hash.h"

static const struct {
	const char *name; /* with the colon */
	enum checksum_kind kind;
	size_t bytes;
} kinds[] = {
	{"sha256:", CHECKSUM_SHA256, 32},
	{"crc32c:", CHECKSUM_CRC32C, 4},
	{"crc32:", CHECKSUM_CRC32, 4},
};

bool checksum_parse(struct checksum *c, const char *text)
{
	*c = (struct checksum){.kind = CHECKSUM_NONE};
	for (size_t i = 0; i < LENGTH(kinds); i++) {
		size_t skip = strlen(kinds[i].name);
		if (strncmp(text, kinds[i].name, skip) != 0)
			continue;
		if (strlen(text + skip) != 2 * kinds[i].bytes ||
		    hex_decode(text + skip, c->want, kinds[i].bytes) != 0)
			return false;
		c->kind = kinds[i].kind;
		return true;
	}
	return false;
}

int checksum_start(struct checksum *c)
{
	c->crc = 0;
	if (c->kind != CHECKSUM_SHA256)
		return 0;
	if (!c->md)
		c->md = EVP_MD_CTX_new();
	return c->md && EVP_DigestInit_ex(c->md, EVP_sha256(), NULL) == 1 ? 0 : -ENOMEM;
}

void checksum_add(struct checksum *c, const void *p, size_t len)
{
	if (c->kind == CHECKSUM_SHA256)
		(void)EVP_DigestUpdate(c->md, p, len); /* cannot fail once it was begun */
	else if (c->kind == CHECKSUM_CRC32C)
		c->crc = crc32c(c->crc, p, len);
	else if (c->kind == CHECKSUM_CRC32)
		c->crc = (uint32_t)crc32_z(c->crc, p, len);
}

int checksum_check(struct checksum *c, struct err *err)
{
	uint8_t got[EVP_MAX_MD_SIZE] = {0};
	char want_hex[65], got_hex[65];
	size_t len = c->kind == CHECKSUM_SHA256 ? 32 : 4;

	if (c->kind == CHECKSUM_NONE)
		return 0;
	if (c->kind == CHECKSUM_SHA256)
		(void)EVP_DigestFinal_ex(c->md, got, NULL);
	for (size_t i = 0; c->kind != CHECKSUM_SHA256 && i < 4; i++)
		got[i] = (uint8_t)(c->crc >> (24 - 8 * i));
	if (memcmp(got, c->want, len) == 0)
		return 0;
	hex_encode(c->want, len, want_hex);
	hex_encode(got, len, got_hex);
	return err_set(err, -ERR_CORRUPT, "the bytes have the checksum %s, not %s", got_hex, want_hex);
}

void checksum_done(struct checksum *c)
{
	EVP_MD_CTX_free(c->md);
	c->md = NULL;
}
