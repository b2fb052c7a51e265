#include "common/source/s3_sign.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/base/bytes.h"
#include "common/base/clock.h"
#include "common/base/hash.h"
#include "common/base/mem.h"

void s3_sign_date(int64_t wall_ns, char ret[S3_DATE_SIZE])
{
	time_t t = (time_t)(wall_ns / NS_PER_S);
	struct tm tm;

	(void)gmtime_r(&t, &tm);
	if (strftime(ret, S3_DATE_SIZE, "%Y%m%dT%H%M%SZ", &tm) == 0)
		ret[0] = '\0'; /* after the year 9999 */
}

static int hmac(const void *key, size_t key_len, const char *text, uint8_t ret[HASH256_BYTES])
{
	unsigned len = HASH256_BYTES;

	return HMAC(EVP_sha256(), key, (int)key_len, (const uint8_t *)text, strlen(text), ret, &len)
		       ? 0
		       : -ENOMEM;
}

/* The key for one day, region and service. */
static int derive_key(const struct s3_to_sign *in, const char *day, uint8_t ret[HASH256_BYTES])
{
	const char *const parts[] = {in->region, in->service, "aws4_request"};
	CLEANUP(free_str) char *first = mem_printf("AWS4%s", in->secret_key);

	if (!first)
		return -ENOMEM;
	int rc = hmac(first, strlen(first), day, ret);
	OPENSSL_cleanse(first, strlen(first));
	for (size_t i = 0; rc == 0 && i < LENGTH(parts); i++) {
		uint8_t next[HASH256_BYTES];
		rc = hmac(ret, HASH256_BYTES, parts[i], next);
		memcpy(ret, next, HASH256_BYTES);
	}
	return rc;
}

/* Appends to a growing string, which the caller owns. 0 or -ENOMEM (the string is as it was). */
static int append(char **s, const char *a, const char *b, const char *c)
{
	char *more = mem_printf("%s%s%s%s", *s ? *s : "", a, b, c);

	if (!more)
		return -ENOMEM;
	mem_free(*s);
	*s = more;
	return 0;
}

static int canonical_hash(const struct s3_to_sign *in, const char *signed_names, char ret[HASH256_HEX])
{
	CLEANUP(free_str) char *text = mem_printf("%s\n%s\n%s\n", in->method, in->path, in->query);
	int rc = text ? 0 : -ENOMEM;

	for (size_t i = 0; rc == 0 && i < in->header_count; i++) {
		rc = append(&text, in->headers[i].name, ":", in->headers[i].value);
		if (rc == 0)
			rc = append(&text, "\n", "", "");
	}
	if (rc == 0)
		rc = append(&text, "\n", signed_names, "\n");
	if (rc == 0)
		rc = append(&text, in->payload_hash, "", "");
	if (rc < 0)
		return rc;
	struct hash256 h = hash256_of(text, strlen(text));
	hash256_hex(&h, ret);
	return 0;
}

int s3_sign(const struct s3_to_sign *in, char *ret, size_t size)
{
	char day[9] = {0}, hash[HASH256_HEX], signature[HASH256_HEX];
	uint8_t key[HASH256_BYTES], mac[HASH256_BYTES];
	CLEANUP(free_str) char *names = NULL;
	int rc = 0;

	CHECK(in->header_count > 0);
	(void)strncpy(day, in->date, sizeof day - 1);
	for (size_t i = 0; rc == 0 && i < in->header_count; i++)
		rc = append(&names, i > 0 ? ";" : "", in->headers[i].name, "");
	if (rc == 0)
		rc = canonical_hash(in, names, hash);
	if (rc < 0)
		return rc;
	CLEANUP(free_str) char *scope = mem_printf("%s/%s/%s/aws4_request", day, in->region, in->service);
	if (!scope)
		return -ENOMEM;
	CLEANUP(free_str) char *text = mem_printf("AWS4-HMAC-SHA256\n%s\n%s\n%s", in->date, scope, hash);
	if (!text)
		return -ENOMEM;
	rc = derive_key(in, day, key);
	if (rc == 0)
		rc = hmac(key, sizeof key, text, mac);
	OPENSSL_cleanse(key, sizeof key);
	if (rc < 0)
		return rc;
	hex_encode(mac, sizeof mac, signature);
	int n = snprintf(ret, size, "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s",
			 in->access_key, scope, names, signature);
	return n >= 0 && (size_t)n < size ? 0 : -ENAMETOOLONG;
}
