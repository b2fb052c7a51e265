#include "common/source/s3_response.h"

#include <curl/curl.h>
#include <errno.h>
#include <expat.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "common/base/clock.h"
#include "common/base/hash.h"

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

/* "bytes 0-9/100", "bytes 0-9/\*", "bytes \*\/100". False when it is none of these. */
static bool take_range(struct s3_response *r, const char *p, const char *end)
{
	if (end - p < 6 || strncasecmp(p, "bytes ", 6) != 0)
		return false;
	p += 6;
	if (!take_char(&p, end, '*')) {
		if (!take_number(&p, end, &r->range_first) || !take_char(&p, end, '-') ||
		    !take_number(&p, end, &r->range_last) || r->range_last < r->range_first)
			return false;
		r->has_range = true;
	}
	if (!take_char(&p, end, '/'))
		return false;
	if (take_char(&p, end, '*'))
		return p == end;
	r->has_total = take_number(&p, end, &r->total);
	return r->has_total && p == end;
}

/* Copies text of the store for people: bytes that are no printable ASCII become '?'. */
static void copy_clean(char *out, size_t size, const char *text, size_t len)
{
	size_t n = MIN(len, size - 1);

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

	copy_clean(text, sizeof text, value, len);
	return (int64_t)curl_getdate(text, NULL);
}

static void take_retry_after(struct s3_response *r, int64_t wall_ns, const char *value, size_t len)
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

void s3_response_header(struct s3_response *r, int64_t wall_ns, const char *name, size_t name_len,
			const char *value, size_t value_len)
{
	const char *p = value, *end = value + value_len;

	if (named(name, name_len, "content-length")) {
		r->has_length = take_number(&p, end, &r->length) && p == end;
		r->bad |= !r->has_length;
	} else if (named(name, name_len, "content-range")) {
		r->bad |= !take_range(r, p, end);
	} else if (named(name, name_len, "etag")) {
		r->validator = s3_etag_validator(value, value_len);
	} else if (named(name, name_len, "last-modified")) {
		int64_t s = parse_date(value, value_len);
		r->mtime_ns = s > 0 && s < INT64_MAX / NS_PER_S ? s * NS_PER_S : 0;
	} else if (named(name, name_len, "retry-after")) {
		take_retry_after(r, wall_ns, value, value_len);
	} else if (named(name, name_len, "x-amz-request-id")) {
		copy_clean(r->request_id, sizeof r->request_id, value, value_len);
	} else if (named(name, name_len, "x-amz-bucket-region")) {
		copy_clean(r->region, sizeof r->region, value, value_len);
	}
}

struct validator s3_etag_validator(const char *etag, size_t len)
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

/* ---- reads ---- */

static int check_range(const struct s3_response *r, const struct s3_expected *want, struct err *err)
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

int s3_check_read(const struct s3_response *r, const struct s3_expected *want, struct err *err)
{
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
	} else if (want->offset != 0 || want->length != want->object_size) {
		return err_set(err, -ERR_CORRUPT, "asked for a range, the store sent the whole object");
	}
	if (r->has_length && r->length != want->length)
		return err_set(err, -ERR_CORRUPT, "asked for %llu bytes, the store sent %llu",
			       (unsigned long long)want->length, (unsigned long long)r->length);
	if (want->validator->kind != VALIDATOR_NONE && !validator_equal(want->validator, &r->validator))
		return err_set(err, -ESTALE,
			       "the object was changed since it was listed (etag %.*s, listed %.*s)",
			       (int)r->validator.len, (const char *)r->validator.bytes,
			       (int)want->validator->len, (const char *)want->validator->bytes);
	return 0;
}

/* ---- error bodies ---- */

struct error_parser {
	struct s3_error *e;
	XML_Parser xml;
	int depth;
	char *field; /* where text goes now, or NULL */
	size_t size, len;
};

static void error_start(void *arg, const XML_Char *name, const XML_Char **attrs)
{
	struct error_parser *p = arg;
	struct s3_error *e = p->e;
	const struct {
		const char *name;
		char *field;
		size_t size;
	} fields[] = {
		{"Code", e->code, sizeof e->code},
		{"Message", e->message, sizeof e->message},
		{"RequestId", e->request_id, sizeof e->request_id},
		{"Region", e->region, sizeof e->region},
	};

	(void)attrs;
	p->field = NULL;
	p->depth++;
	for (size_t i = 0; p->depth == 2 && i < LENGTH(fields); i++)
		if (strcmp(name, fields[i].name) == 0) {
			p->field = fields[i].field;
			p->size = fields[i].size;
			p->len = 0;
		}
}

static void error_end(void *arg, const XML_Char *name)
{
	struct error_parser *p = arg;

	(void)name;
	p->field = NULL;
	p->depth--;
}

static void error_text(void *arg, const XML_Char *text, int len)
{
	struct error_parser *p = arg;

	if (!p->field || p->len + 1 >= p->size)
		return;
	copy_clean(p->field + p->len, p->size - p->len, text, (size_t)len);
	p->len += strlen(p->field + p->len);
}

static void error_doctype(void *arg, const XML_Char *name, const XML_Char *sys, const XML_Char *pub,
			  int internal)
{
	struct error_parser *p = arg;

	(void)name;
	(void)sys;
	(void)pub;
	(void)internal;
	(void)XML_StopParser(p->xml, XML_FALSE); /* entities can only harm; an HTML page says nothing to us */
}

void s3_error_parse(const void *body, size_t len, struct s3_error *ret)
{
	struct error_parser p = {.e = ret, .xml = XML_ParserCreate(NULL)};

	*ret = (struct s3_error){0};
	if (!p.xml)
		return;
	XML_SetUserData(p.xml, &p);
	XML_SetElementHandler(p.xml, error_start, error_end);
	XML_SetCharacterDataHandler(p.xml, error_text);
	XML_SetStartDoctypeDeclHandler(p.xml, error_doctype);
	/* A body that was cut still gives what came before the cut. */
	(void)XML_Parse(p.xml, body, (int)MIN(len, (size_t)S3_ERROR_BODY_MAX), XML_TRUE);
	XML_ParserFree(p.xml);
}

/* ---- verdicts ---- */

/* Codes that say more than their status, and what helps. code 0: as the status says. */
static const struct {
	const char *name;
	int code;
	bool retry;
	const char *hint;
} known[] = {
	{"NoSuchBucket", 0, false, "check bucket and endpoint"},
	{"NoSuchKey", 0, false, NULL},
	{"SignatureDoesNotMatch", -EACCES, false,
	 "the secret key is wrong, or something on the way changes requests"},
	{"InvalidAccessKeyId", -EACCES, false, "the store does not know this access key"},
	{"AccessDenied", -EACCES, false, "the credential may not do this"},
	{"RequestTimeTooSkewed", -EACCES, false, "set this machine's clock"},
	{"ExpiredToken", -EACCES, false, "renew the session token"},
	{"TokenRefreshRequired", -EACCES, false, "renew the session token"},
	{"InvalidToken", -EACCES, false, "the session token is not valid"},
	{"AuthorizationHeaderMalformed", -EACCES, false, "check the region"},
	{"PermanentRedirect", 0, false, "check region and endpoint"},
	{"RequestTimeout", -ERR_UNREACHABLE, true, NULL},
	{"SlowDown", -ERR_UNREACHABLE, true, NULL},
	{"InternalError", -ERR_UNREACHABLE, true, NULL},
};

static int code_of_status(enum s3_request_kind kind, int status, bool *ret_retry)
{
	*ret_retry = false;
	switch (status) {
	case 401:
	case 403:
		return -EACCES;
	case 404:
	case 410:
		return kind == S3_READ ? -ESTALE : -ENOENT;
	case 412:
	case 416:
		return kind == S3_READ ? -ESTALE : -ERR_CORRUPT;
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

int s3_error_code(enum s3_request_kind kind, int status, const char *code, bool *ret_retry)
{
	int by_status = code_of_status(kind, status, ret_retry);

	for (size_t i = 0; i < LENGTH(known); i++)
		if (known[i].code && strcmp(code, known[i].name) == 0) {
			*ret_retry = known[i].retry;
			return known[i].code;
		}
	return by_status;
}

static const char *hint_of(const char *code)
{
	for (size_t i = 0; i < LENGTH(known); i++)
		if (strcmp(code, known[i].name) == 0)
			return known[i].hint;
	return NULL;
}

int s3_error_words(struct err *err, int code, const char *label, const char *subject,
		   const struct s3_response *r, const struct s3_error *e)
{
	const char *hint = hint_of(e->code), *id = e->request_id[0] ? e->request_id : r->request_id;
	const char *region = e->region[0] ? e->region : r->region;
	char where[96] = "";

	if (region[0] &&
	    (r->status == 301 || r->status == 307 || strcmp(e->code, "AuthorizationHeaderMalformed") == 0))
		(void)snprintf(where, sizeof where, "; the bucket is in region %s", region);
	return err_set(err, code, "%.80s: HTTP %d%s%s for %.120s%s%s%s%s%s%s%s%s", label, r->status,
		       e->code[0] ? " " : "", e->code, subject, e->message[0] ? ": " : "", e->message, where,
		       hint ? "; " : "", hint ? hint : "", id[0] ? " (request id " : "", id,
		       id[0] ? ")" : "");
}
