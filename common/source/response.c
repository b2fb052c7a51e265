#include "common/source/response.h"

#include <curl/curl.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "common/base/bytes.h"
#include "common/base/clock.h"
#include "common/base/hash.h"
#include "common/base/planted.h"

/* No etag has a blank in it, so a dated validator is never taken for one. */
#define DATED     "mtime "
#define VERSIONED "version "

enum { RETRY_AFTER_MAX_S = 3600, NUMBER_DIGITS_MAX = 19 };

/* ---- headers ---- */

static bool take_number(const char **p, const char *end, uint64_t *ret)
{
	const char *start = *p;
	uint64_t v = 0;

	while (*p < end && **p >= '0' && **p <= '9' && *p - start < NUMBER_DIGITS_MAX)
		v = v * 10 + (uint64_t)(*(*p)++ - '0');
	*ret = v;
	return *p > start;
}

static bool take_char(const char **p, const char *end, char c)
{
	if (*p == end || **p != c)
		return false;
	(*p)++;
	return true;
}

/* "bytes 0-9/100", "bytes 0-9/\*", "bytes \*\/100". False when it is none of these: @r is as it was. */
static bool take_range(struct response *r, const char *p, const char *end)
{
	bool has_range = false, has_total = false;
	uint64_t first = 0, last = 0, total = 0;

	if (end - p < 6 || strncasecmp(p, "bytes ", 6) != 0)
		return false;
	p += 6;
	if (!take_char(&p, end, '*')) {
		if (!take_number(&p, end, &first) || !take_char(&p, end, '-') ||
		    !take_number(&p, end, &last) || last < first)
			return false;
		has_range = true;
	}
	if (!take_char(&p, end, '/'))
		return false;
	if (!take_char(&p, end, '*')) {
		has_total = take_number(&p, end, &total);
		if (!has_total)
			return false;
	}
	if (p != end)
		return false;
	r->has_range = has_range;
	r->range_first = first;
	r->range_last = last;
	r->has_total = has_total;
	r->total = total;
	return true;
}

void response_copy_clean(char *out, size_t size, const char *text, size_t len)
{
	size_t n = MIN(len, size - !PLANTED(HEADER_TEXT));

	for (size_t i = 0; i < n; i++) {
		out[i] = '?';
		if (text[i] >= ' ' && text[i] <= '~')
			out[i] = text[i];
	}
	out[n] = '\0';
}

/* Seconds since 1970 of an HTTP date, or -1. */
static int64_t parse_date(const char *value, size_t len)
{
	char text[64];

	response_copy_clean(text, sizeof text, value, len);
	return (int64_t)curl_getdate(text, NULL);
}

/* Since 1970; 0 where it is no date. */
static int64_t date_ns(const char *value, size_t len)
{
	int64_t s = parse_date(value, len);

	return s > 0 && s < INT64_MAX / NS_PER_S ? s * NS_PER_S : 0;
}

static void take_retry_after(struct response *r, int64_t wall_ns, const char *value, size_t len)
{
	const char *p = value, *end = value + len;
	uint64_t s = 0;
	int64_t wait_s;

	if (take_number(&p, end, &s) && p == end) {
		wait_s = (int64_t)MIN(s, (uint64_t)RETRY_AFTER_MAX_S);
	} else {
		int64_t at_s = parse_date(value, len);
		wait_s = at_s < 0 ? 0 : at_s - wall_ns / NS_PER_S;
	}
	r->retry_after_s = MAX(0, MIN(wait_s, RETRY_AFTER_MAX_S));
}

static bool named(const char *name, size_t len, const char *want)
{
	return len == strlen(want) && strncasecmp(name, want, len) == 0;
}

/* Base64 of the bytes of a checksum; one that is composed of those of parts has "-N" at its end and is none of ours. */
static void take_checksum(struct response *r, const char *name, size_t name_len, const char *value,
			  size_t len)
{
	static const struct {
		const char *name;
		size_t bytes, text;
	} kinds[] = {{"crc32c", 4, 8}, {"crc32", 4, 8}, {"sha256", 32, 44}}; /* the cheapest first */
	uint8_t bytes[36];
	char hex[73];

	for (size_t i = 0; i < LENGTH(kinds); i++) {
		if (!named(name, name_len, kinds[i].name) || len != kinds[i].text)
			continue;
		if (EVP_DecodeBlock(bytes, (const uint8_t *)value, (int)len) < (int)kinds[i].bytes)
			return;
		if (i == 0 || !r->checksum[0] || strncmp(r->checksum, "sha256:", 7) == 0) {
			hex_encode(bytes, kinds[i].bytes, hex);
			(void)snprintf(r->checksum, sizeof r->checksum, "%s:%s", kinds[i].name, hex);
		}
	}
}

void response_header(struct response *r, int64_t wall_ns, const char *name, size_t name_len,
		     const char *value, size_t value_len)
{
	const char *p = value, *end = value + value_len;

	if (named(name, name_len, "content-length")) {
		r->has_length = take_number(&p, end, &r->length) && p == end;
		r->bad |= !r->has_length;
	} else if (named(name, name_len, "content-range")) {
		r->bad |= !take_range(r, p, end);
	} else if (named(name, name_len, "etag")) {
		r->validator = etag_validator(value, value_len);
	} else if (named(name, name_len, "last-modified")) {
		r->mtime_ns = date_ns(value, value_len);
	} else if (named(name, name_len, "date")) {
		r->date_ns = date_ns(value, value_len);
	} else if (named(name, name_len, "x-amz-version-id")) {
		response_copy_clean(r->version, sizeof r->version, value, value_len);
	} else if (name_len > 15 && strncasecmp(name, "x-amz-checksum-", 15) == 0) {
		take_checksum(r, name + 15, name_len - 15, value, value_len);
	} else if (named(name, name_len, "location")) {
		(void)snprintf(r->location, sizeof r->location, "%.*s",
			       (int)MIN(value_len, sizeof r->location), value);
		if (value_len >= sizeof r->location)
			r->location[0] = '\0'; /* half of a URL leads elsewhere */
	} else if (named(name, name_len, "content-type")) {
		response_copy_clean(r->type, sizeof r->type, value, value_len);
	} else if (named(name, name_len, "retry-after")) {
		take_retry_after(r, wall_ns, value, value_len);
	} else if (named(name, name_len, "x-amz-request-id")) {
		response_copy_clean(r->request_id, sizeof r->request_id, value, value_len);
	} else if (named(name, name_len, "x-amz-bucket-region")) {
		response_copy_clean(r->region, sizeof r->region, value, value_len);
	}
}

struct validator etag_validator(const char *etag, size_t len)
{
	struct validator v = {.kind = VALIDATOR_STRONG};

	if (len >= 2 && (etag[0] == 'W' || etag[0] == 'w') && etag[1] == '/') {
		v.kind = VALIDATOR_WEAK;
		etag += 2;
		len -= 2;
	}
	if (len >= 2 && etag[0] == '"' && etag[len - 1] == '"') {
		etag++;
		len -= 2;
	}
	if (len == 0)
		return (struct validator){.kind = VALIDATOR_NONE};
	if (len <= VALIDATOR_BYTES_MAX) {
		memcpy(v.bytes, etag, len);
		v.len = (uint8_t)len;
		return v;
	}
	struct hash256 h = hash256_of(etag, len);
	char hex[HASH256_HEX], text[VALIDATOR_BYTES_MAX + 1];
	hash256_hex(&h, hex);
	v.len = (uint8_t)snprintf(text, sizeof text, "sha256:%.40s", hex);
	memcpy(v.bytes, text, v.len);
	return v;
}

struct validator response_dated_validator(int64_t mtime_ns, uint64_t size)
{
	struct validator v = {.kind = VALIDATOR_NONE};
	char text[VALIDATOR_BYTES_MAX + 1];

	if (mtime_ns <= 0)
		return v;
	v.kind = VALIDATOR_WEAK;
	v.len = (uint8_t)snprintf(text, sizeof text, DATED "%lld size %llu", (long long)(mtime_ns / NS_PER_S),
				  (unsigned long long)size);
	memcpy(v.bytes, text, v.len);
	return v;
}

bool response_is_dated(const struct validator *v)
{
	return v->kind == VALIDATOR_WEAK && v->len > sizeof DATED - 1 &&
	       memcmp(v->bytes, DATED, sizeof DATED - 1) == 0;
}

/* ---- reads ---- */

static int check_range(const struct response *r, const struct response_expected *want, struct err *err)
{
	unsigned long long first = want->offset, last = want->offset + want->length - 1;

	if (!r->has_range)
		return err_set(err, -ERR_CORRUPT, "a 206 without a Content-Range");
	/* The size first: a range that was cut because the object shrank is no fault of the store. */
	if (r->has_total && r->total != want->object_size)
		return err_set(err, -ESTALE, "the object has now %llu bytes, not %llu",
			       (unsigned long long)r->total, (unsigned long long)want->object_size);
	if (r->range_first != first || r->range_last != last)
		return err_set(err, -ERR_CORRUPT, "asked for bytes %llu-%llu, the store sent %llu-%llu",
			       first, last, (unsigned long long)r->range_first,
			       (unsigned long long)r->range_last);
	return 0;
}

struct validator s3_version_validator(const char *id, size_t len)
{
	struct validator v = {.kind = VALIDATOR_NONE};

	if (len == 0 || len > VALIDATOR_BYTES_MAX - (sizeof VERSIONED - 1) ||
	    (len == 4 && memcmp(id, "null", 4) == 0))
		return v;
	for (size_t i = 0; i < len; i++)
		if (id[i] <= ' ' || id[i] > '~')
			return v;
	v.kind = VALIDATOR_STRONG;
	memcpy(v.bytes, VERSIONED, sizeof VERSIONED - 1);
	memcpy(v.bytes + sizeof VERSIONED - 1, id, len);
	v.len = (uint8_t)(sizeof VERSIONED - 1 + len);
	return v;
}

const char *s3_version_of(const struct validator *v, size_t *ret_len)
{
	size_t skip = sizeof VERSIONED - 1;

	if (v->kind != VALIDATOR_STRONG || v->len <= skip || memcmp(v->bytes, VERSIONED, skip) != 0)
		return NULL;
	*ret_len = v->len - skip;
	return (const char *)v->bytes + skip;
}

/* What the server says of the version that it sends, put as the listed validator is. */
static struct validator validator_now(const struct response *r, const struct response_expected *want)
{
	size_t len;

	if (s3_version_of(want->validator, &len))
		return s3_version_validator(r->version, strlen(r->version));
	if (response_is_dated(want->validator))
		return response_dated_validator(r->mtime_ns, want->object_size);
	return r->validator;
}

static int check_validator(const struct response *r, const struct response_expected *want, struct err *err)
{
	const struct validator *listed = want->validator;
	struct validator now = validator_now(r, want);

	if (listed->kind == VALIDATOR_NONE || validator_equal(listed, &now))
		return 0;
	return err_set(err, -ESTALE, "the object was changed since it was listed (%s %.*s, listed %.*s)",
		       memchr(listed->bytes, ' ', listed->len) ? "now" : "etag", (int)now.len,
		       (const char *)now.bytes, (int)listed->len, (const char *)listed->bytes);
}

int response_check_read(const struct response *r, const struct response_expected *want, uint64_t *ret_skip,
			struct err *err)
{
	uint64_t length = want->length, skip = 0;

	if (r->bad)
		return err_set(err, -ERR_CORRUPT, "a Content-Length or Content-Range that is none");
	/* rclone serve s3 sends a range under a 200, with a right Content-Range: the range counts, not the status. */
	if (r->status == 206 || r->has_range) {
		int rc = check_range(r, want, err);
		if (rc < 0)
			return rc;
	} else if (r->has_length && r->length != want->object_size) {
		return err_set(err, -ESTALE, "the object has now %llu bytes, not %llu",
			       (unsigned long long)r->length, (unsigned long long)want->object_size);
	} else if (want->whole_ok) {
		skip = want->offset;
		length = want->object_size;
	} else if (want->offset != 0 || want->length != want->object_size) {
		return err_set(err, -ERR_CORRUPT, "asked for a range, the store sent the whole object");
	}
	if (r->has_length && r->length != length)
		return err_set(err, -ERR_CORRUPT, "asked for %llu bytes, the store sent %llu",
			       (unsigned long long)want->length, (unsigned long long)r->length);
	int rc = check_validator(r, want, err);
	if (rc == 0)
		*ret_skip = skip;
	return rc;
}

/* ---- statuses ---- */

int response_code(bool read, int status, bool *ret_retry)
{
	*ret_retry = false;
	switch (status) {
	case 401:
	case 403:
		return -EACCES;
	case 404:
	case 410:
		return read ? -ESTALE : -ENOENT;
	case 412:
	case 416:
		return read ? -ESTALE : -ERR_CORRUPT;
	case 408:
	case 429:
	case 500:
	case 502:
	case 503:
	case 504:
		*ret_retry = true;
		return -ERR_UNREACHABLE;
	case 501:
		return -ERR_UNSUPPORTED;
	default:
		break;
	}
	if (status >= 300 && status < 400)
		return -ERR_UNREACHABLE; /* the bucket is elsewhere */
	if (status > 504) {
		*ret_retry = true; /* what gateways invent: 520, 529 */
		return -ERR_UNREACHABLE;
	}
	return -ERR_CORRUPT;
}
