#include "common/source/http_list.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/manifest/key.h"
#include "common/source.h"
#include "common/source/checksum.h"
#include "common/source/http_url.h"
#include "common/source/response.h"
#include "common/source/s3_place.h"

#define MAGIC "#larder-list 1"

enum { FIELDS = 5 };
enum { PATH, URL, SIZE, VALIDATOR, CHECKSUM };

struct http_list {
	int (*entry)(void *ctx, const struct http_list_entry *e);
	void *ctx;
	unsigned long line;
	size_t len;
	char text[HTTP_LIST_LINE_MAX + 1]; /* of the line that is being read, without its end */
	char key[HTTP_LIST_LINE_MAX * 3 + 128];
};

int http_list_new(int (*entry)(void *ctx, const struct http_list_entry *e), void *ctx, struct http_list **ret)
{
	struct http_list *l = mem_alloc(sizeof *l);

	if (!l)
		return -ENOMEM;
	l->entry = entry;
	l->ctx = ctx;
	l->line = 0;
	l->len = 0;
	*ret = l;
	return 0;
}

struct http_list *http_list_free(struct http_list *l)
{
	return mem_free(l);
}

PRINTF(3, 4) static int bad(const struct http_list *l, struct err *err, const char *fmt, ...)
{
	char words[300];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(words, sizeof words, fmt, args);
	va_end(args);
	return err_set(err, -ERR_CORRUPT, "line %lu of the list: %s", l->line, words);
}

static bool given(const char *field)
{
	return field && *field && strcmp(field, "-") != 0;
}

static int take_size(const struct http_list *l, const char *text, struct http_list_entry *e, struct err *err)
{
	uint64_t v = 0;
	size_t n = strspn(text, "0123456789");

	if (text[n] || n > 18)
		return bad(l, err, "the size \"%.40s\" is no number of bytes", text);
	for (; *text; text++)
		v = v * 10 + (uint64_t)(*text - '0');
	e->has_size = true;
	e->size = v;
	return 0;
}

static int take_date(const struct http_list *l, const char *text, struct http_list_entry *e, struct err *err)
{
	int64_t at_s = (int64_t)curl_getdate(text, NULL);

	if (!e->has_size)
		return bad(l, err, "last-modified needs the size too");
	if (at_s <= 0 || at_s >= INT64_MAX / NS_PER_S)
		return bad(l, err, "\"%.60s\" is no time as in an HTTP header", text);
	e->mtime_ns = at_s * NS_PER_S;
	e->validator = response_dated_validator(e->mtime_ns, e->size);
	return 0;
}

static int take_validator(const struct http_list *l, const char *text, struct http_list_entry *e,
			  struct err *err)
{
	static const char date[] = "last-modified:";
	size_t len = strlen(text);

	if (strncmp(text, date, sizeof date - 1) == 0)
		return take_date(l, text + sizeof date - 1, e, err);
	const char *quote = strncmp(text, "W/", 2) == 0 ? text + 2 : text;
	if (*quote != '"' || len < 3 || text[len - 1] != '"' || strchr(quote + 1, '"') != text + len - 1 ||
	    strchr(text, ' '))
		return bad(l, err, "the validator \"%.60s\" is neither an ETag nor last-modified:TIME", text);
	e->validator = etag_validator(text, len);
	return 0;
}

/* The key: the reference without a fragment, then the checksum as one. */
static int take_key(struct http_list *l, char *const fields[FIELDS], size_t path_len,
		    struct http_list_entry *e, struct err *err)
{
	const char *url = fields[URL], *sum = fields[CHECKSUM];
	size_t len;

	if (given(url)) {
		len = strcspn(url, "#");
		memcpy(l->key, url, len);
		l->key[len] = '\0';
		if (len == 0 || strchr(l->key, ' '))
			return bad(l, err, "\"%.100s\" is no URL", url);
	} else {
		len = s3_encode(e->path, path_len, 1, l->key);
	}
	if (given(sum)) {
		struct checksum c;
		if (!checksum_parse(&c, sum))
			return bad(l, err,
				   "the checksum \"%.80s\" is not sha256:, crc32c: or crc32: and hex digits",
				   sum);
		len += (size_t)snprintf(l->key + len, sizeof l->key - len, "#%s", sum);
	}
	if (len > SOURCE_KEY_MAX)
		return bad(l, err, "URL and checksum are longer than %d bytes", SOURCE_KEY_MAX);
	e->key = l->key;
	return 0;
}

static int take_fields(struct http_list *l, char *fields[FIELDS], struct err *err)
{
	struct http_list_entry e = {.path = fields[PATH]};
	size_t len = http_url_decode(fields[PATH], strlen(fields[PATH]));
	int rc = 0;

	fields[PATH][len] = '\0';
	if (len == 0 || !manifest_path_valid(fields[PATH], len))
		return bad(l, err, "\"%.100s\" is no path below the source's root", fields[PATH]);
	if (given(fields[SIZE]))
		rc = take_size(l, fields[SIZE], &e, err);
	if (rc == 0 && given(fields[VALIDATOR]))
		rc = take_validator(l, fields[VALIDATOR], &e, err);
	if (rc == 0)
		rc = take_key(l, fields, len, &e, err);
	return rc == 0 ? l->entry(l->ctx, &e) : rc;
}

static int take_line(struct http_list *l, struct err *err)
{
	char *fields[FIELDS] = {l->text};
	size_t n = 1;

	l->line++;
	if (l->len > 0 && l->text[l->len - 1] == '\r')
		l->len--;
	l->text[l->len] = '\0';
	if (strlen(l->text) != l->len)
		return bad(l, err, "it holds a NUL");
	l->len = 0;
	if (l->line == 1)
		return strcmp(l->text, MAGIC) == 0
			       ? 0
			       : bad(l, err, "it must be \"" MAGIC "\"; is the URL that of a list?");
	if (l->text[0] == '#' || !l->text[0])
		return 0;
	for (char *p = l->text; (p = strchr(p, '\t')); n++) {
		if (n == FIELDS)
			return bad(l, err, "it has over %d fields", FIELDS);
		*p++ = '\0';
		fields[n] = p;
	}
	return take_fields(l, fields, err);
}

int http_list_feed(struct http_list *l, const char *bytes, size_t len, struct err *err)
{
	int rc = 0;

	while (rc == 0 && len > 0) {
		const char *end = memchr(bytes, '\n', len);
		size_t n = end ? (size_t)(end - bytes) : len;
		if (n > HTTP_LIST_LINE_MAX - l->len) {
			l->line++;
			return bad(l, err, "it is longer than %d bytes", HTTP_LIST_LINE_MAX);
		}
		memcpy(l->text + l->len, bytes, n);
		l->len += n;
		n += end != NULL;
		bytes += n;
		len -= n;
		if (end)
			rc = take_line(l, err);
	}
	return rc;
}

int http_list_finish(struct http_list *l, struct err *err)
{
	int rc = l->len > 0 ? take_line(l, err) : 0;

	if (rc == 0 && l->line == 0)
		return err_set(err, -ERR_CORRUPT, "the list is empty; its first line must be \"" MAGIC "\"");
	return rc;
}
