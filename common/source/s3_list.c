#include "common/source/s3_list.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/base/planted.h"
#include "common/source/response.h"
#include "common/source/s3_place.h"
#include "common/source/xml_scan.h"

enum { DEPTH_MAX = 8, TEXT_MAX = 3 * SOURCE_KEY_MAX, TOKEN_MAX = 8192 };

enum field {
	NONE,
	KEY,
	SIZE,
	ETAG,
	MODIFIED,
	VERSION,
	LATEST,
	TRUNCATED,
	TOKEN,
	KEY_MARKER,
	VERSION_MARKER,
	ENCODING
};

/* An entry while the page is parsed: its key lies in the arena, which may still move. */
struct item {
	size_t key, key_len;
	size_t entries; /* that come before it, once the page ended */
	uint64_t size;
	int64_t mtime_ns;
	struct validator validator, version; /* version: NONE unless the entry has one that can be kept */
	bool has_key, has_size, old, gone;   /* ListObjectVersions: not the latest; a delete marker */
};

struct s3_list {
	struct xml_scan xml;
	const char *prefix, *below;
	size_t depth, bytes;
	enum field field;
	bool in_contents, versions, truncated, url_encoded;
	char text[TEXT_MAX];
	size_t text_len;
	char *token, *key_marker, *version_marker;
	struct item *items;
	size_t count, room;
	char *arena;
	size_t arena_len, arena_room;
	struct source_entry *entries;
	size_t entry_count, entry_room;
	int rc;
	struct err err;
};

PRINTF(3, 4) static void fail(struct s3_list *l, int code, const char *fmt, ...)
{
	char words[200];
	va_list args;

	if (l->rc < 0)
		return;
	va_start(args, fmt);
	(void)vsnprintf(words, sizeof words, fmt, args);
	va_end(args);
	l->rc = err_set(&l->err, code, "%s", words);
}

static bool grow(struct s3_list *l, void **p, size_t *room, size_t want, size_t size)
{
	if (want <= *room)
		return true;
	size_t more = MAX(want, *room * 2);
	void *q = mem_resize(*p, more, size);
	if (!q) {
		fail(l, -ENOMEM, "out of memory");
		return false;
	}
	*p = q;
	*room = more;
	return true;
}

/* A name in the page. */
struct name {
	const char *text;
	size_t len;
};

/* A length that is known makes a comparison of a few words. */
#define IS(n, want) ((n).len == sizeof(want) - 1 && memcmp((n).text, want, sizeof(want) - 1) == 0)

static enum field field_of_entry(struct name n)
{
	switch (n.len) {
	case sizeof "Key" - 1:
		return IS(n, "Key") ? KEY : NONE;
	case sizeof "Size" - 1:
		return IS(n, "Size") ? SIZE : IS(n, "ETag") ? ETAG : NONE;
	case sizeof "LastModified" - 1:
		return IS(n, "LastModified") ? MODIFIED : NONE;
	case sizeof "VersionId" - 1:
		return IS(n, "VersionId") ? VERSION : NONE;
	case sizeof "IsLatest" - 1:
		return IS(n, "IsLatest") ? LATEST : NONE;
	default:
		return NONE;
	}
}

static enum field field_of_page(struct name n)
{
	return IS(n, "IsTruncated")             ? TRUNCATED
	       : IS(n, "NextContinuationToken") ? TOKEN
	       : IS(n, "NextKeyMarker")         ? KEY_MARKER
	       : IS(n, "NextVersionIdMarker")   ? VERSION_MARKER
	       : IS(n, "EncodingType")          ? ENCODING
						: NONE;
}

static enum field field_of(struct name n, size_t depth, bool in_contents)
{
	if (depth != (in_contents ? 3u : 2u))
		return NONE;
	return in_contents ? field_of_entry(n) : field_of_page(n);
}

static bool is_entry(const struct s3_list *l, struct name n)
{
	return l->versions ? IS(n, "Version") || IS(n, "DeleteMarker") : IS(n, "Contents");
}

static void start_root(struct s3_list *l, struct name n)
{
	l->versions = IS(n, "ListVersionsResult");
	if (!l->versions && !IS(n, "ListBucketResult"))
		fail(l, -ERR_CORRUPT, "the listing is a <%.*s>, not a ListBucketResult", (int)MIN(n.len, 40u),
		     n.text);
}

static void start_entry(struct s3_list *l, bool gone)
{
	if (l->count >= S3_LIST_ENTRIES_MAX)
		fail(l, -ERR_CORRUPT, "a page of the listing has over %d entries", S3_LIST_ENTRIES_MAX);
	else if (grow(l, (void **)&l->items, &l->room, l->count + 1, sizeof *l->items)) {
		l->items[l->count++] = (struct item){.gone = gone};
		l->in_contents = true;
	}
}

static int start_element(void *arg, const char *text, size_t len)
{
	struct s3_list *l = arg;
	const struct name n = {text, len};

	if (++l->depth > DEPTH_MAX)
		fail(l, -ERR_CORRUPT, "the listing is nested too deeply");
	else if (l->depth == 1)
		start_root(l, n);
	else if (l->depth == 2 && is_entry(l, n))
		start_entry(l, IS(n, "DeleteMarker"));
	else
		l->field = field_of(n, l->depth, l->in_contents);
	l->text_len = 0;
	return l->rc;
}

static int take_text(void *arg, const char *text, size_t len)
{
	struct s3_list *l = arg;

	if (l->field == NONE)
		return 0;
	if (len > sizeof l->text - l->text_len) {
		fail(l, -ERR_CORRUPT, "the listing holds a text of over %d bytes", TEXT_MAX);
		return l->rc;
	}
	memcpy(l->text + l->text_len, text, len);
	l->text_len += len;
	return 0;
}

static void end_key(struct s3_list *l, struct item *item)
{
	if (l->text_len == 0 || !grow(l, (void **)&l->arena, &l->arena_room, l->arena_len + l->text_len, 1))
		return;
	memcpy(l->arena + l->arena_len, l->text, l->text_len);
	item->key = l->arena_len;
	item->key_len = l->text_len;
	item->has_key = true;
	l->arena_len += l->text_len;
}

static void end_size(struct s3_list *l, struct item *item)
{
	uint64_t v = 0;

	for (size_t i = 0; i < l->text_len; i++) {
		if (l->text[i] < '0' || l->text[i] > '9' || i >= 18) {
			fail(l, -ERR_CORRUPT, "the listing holds a size that is no number");
			return;
		}
		v = v * 10 + (uint64_t)(l->text[i] - '0');
	}
	item->size = v;
	item->has_size = l->text_len > 0;
}

/* @count digits; -1: they are none. */
static int64_t digits(const char *s, int count)
{
	int64_t v = 0;

	for (int i = 0; i < count; i++) {
		if (s[i] < '0' || s[i] > '9')
			return -1;
		v = v * 10 + (s[i] - '0');
	}
	return v;
}

/* Days from 1970-01-01 (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil). */
static int64_t days_since_1970(int64_t year, int64_t month, int64_t day)
{
	year -= month <= 2;
	int64_t era = year / 400, year_of_era = year % 400;
	int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

	return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

/* "2009-10-12T17:50:30.000Z"; 0 when it is something else: a time is not worth failing for. */
static int64_t parse_time(const char *text, size_t len)
{
	char s[40] = {0};

	memcpy(s, text, MIN(len, sizeof s - 1));
	int64_t year = digits(s, 4), month = digits(s + 5, 2), day = digits(s + 8, 2),
		hour = digits(s + 11, 2), minute = digits(s + 14, 2), second = digits(s + 17, 2);
	bool good = s[4] == '-' && s[7] == '-' && s[10] == 'T' && s[13] == ':' && s[16] == ':';
	if (!good || year < 1970 || year > 2200 || month < 1 || month > 12 || day < 1 || day > 31 ||
	    hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60)
		return 0;
	int64_t ns =
		(((days_since_1970(year, month, day) * 24 + hour) * 60 + minute) * 60 + second) * NS_PER_S;
	const char *rest = s + 19;
	if (*rest == '.') {
		int64_t unit = NS_PER_S / 10;
		for (rest++; *rest >= '0' && *rest <= '9'; rest++, unit /= 10)
			ns += (*rest - '0') * unit;
	}
	return ns;
}

static void end_token(struct s3_list *l, char **token)
{
	*token = mem_free(*token);
	if (l->text_len == 0)
		return;
	if (l->text_len > TOKEN_MAX) {
		fail(l, -ERR_CORRUPT, "the continuation token is longer than %d bytes", TOKEN_MAX);
		return;
	}
	*token = mem_strndup(l->text, l->text_len);
	if (!*token)
		fail(l, -ENOMEM, "out of memory");
}

static bool text_is(const struct s3_list *l, const char *want)
{
	return l->text_len == strlen(want) && memcmp(l->text, want, l->text_len) == 0;
}

static void end_field(struct s3_list *l)
{
	struct item *item = l->in_contents ? &l->items[l->count - 1] : NULL;

	CHECK(item || l->field == NONE || l->field >= TRUNCATED);
	switch (l->field) {
	case KEY:
		end_key(l, item);
		break;
	case SIZE:
		end_size(l, item);
		break;
	case ETAG:
		item->validator = etag_validator(l->text, l->text_len);
		break;
	case MODIFIED:
		item->mtime_ns = parse_time(l->text, l->text_len);
		break;
	case VERSION:
		item->version = s3_version_validator(l->text, l->text_len);
		break;
	case LATEST:
		item->old = !text_is(l, "true");
		break;
	case TRUNCATED:
		l->truncated = text_is(l, "true");
		break;
	case TOKEN:
		end_token(l, &l->token);
		break;
	case KEY_MARKER:
		end_token(l, &l->key_marker);
		break;
	case VERSION_MARKER:
		end_token(l, &l->version_marker);
		break;
	case ENCODING:
		l->url_encoded = text_is(l, "url");
		break;
	case NONE:
		break;
	}
}

static int end_element(void *arg)
{
	struct s3_list *l = arg;

	if (l->field != NONE)
		end_field(l);
	l->field = NONE;
	if (l->depth == 2 && l->in_contents) {
		const struct item *item = &l->items[l->count - 1];
		l->in_contents = false;
		if (!item->has_key || (!item->has_size && !item->gone))
			fail(l, -ERR_CORRUPT, "an entry of the listing has no key or no size");
	}
	l->depth--;
	return l->rc;
}

static const struct xml_handler handler = {start_element, take_text, end_element};

int s3_list_new(const char *prefix, const char *below, struct s3_list **ret)
{
	struct s3_list *l = mem_calloc(1, sizeof *l);

	if (!l)
		return -ENOMEM;
	l->prefix = prefix;
	l->below = below;
	xml_scan_init(&l->xml, &handler, l);
	*ret = l;
	return 0;
}

struct s3_list *s3_list_free(struct s3_list *l)
{
	if (!l)
		return NULL;
	xml_scan_done(&l->xml);
	mem_free(l->token);
	mem_free(l->key_marker);
	mem_free(l->version_marker);
	mem_free(l->items);
	mem_free(l->arena);
	mem_free(l->entries);
	return mem_free(l);
}

void s3_list_reset(struct s3_list *l)
{
	xml_scan_reset(&l->xml);
	l->depth = l->bytes = l->count = l->entry_count = l->arena_len = l->text_len = 0;
	l->field = NONE;
	l->in_contents = l->versions = l->truncated = l->url_encoded = false;
	l->token = mem_free(l->token);
	l->key_marker = mem_free(l->key_marker);
	l->version_marker = mem_free(l->version_marker);
	l->rc = 0;
	l->err = (struct err){0};
}

/* The scan came to @rc. */
static int told(struct s3_list *l, int rc, struct err *err)
{
	if (rc == -ENOMEM)
		fail(l, rc, "out of memory");
	else if (rc < 0)
		fail(l, rc, "the listing is no XML as stores write it: %s within its first %zu bytes",
		     xml_scan_why(&l->xml), l->bytes);
	return l->rc < 0 ? err_set(err, l->rc, "%s", l->err.text) : 0;
}

int s3_list_feed(struct s3_list *l, const void *bytes, size_t len, struct err *err)
{
	if (len > S3_LIST_BYTES_MAX - l->bytes)
		fail(l, -ERR_CORRUPT, "a page of the listing has over %u MiB", S3_LIST_BYTES_MAX >> 20);
	else
		l->bytes += len;
	return told(l, l->rc < 0 ? l->rc : xml_scan_feed(&l->xml, bytes, len), err);
}

/* Decodes in place ('+' is a blank there, as in forms); returns the new length. */
static size_t url_decode(char *s, size_t len)
{
	size_t out = 0;

	for (size_t i = 0; i < len; i++) {
		char c = s[i];
		if (c == '+')
			c = ' ';
		int high = c == '%' && len - i > 2 - PLANTED(LIST_ESCAPE) ? hex_digit(s[i + 1]) : -1;
		int low = high >= 0 ? hex_digit(s[i + 2]) : -1;
		if (low >= 0) {
			c = (char)(high << 4 | low);
			i += 2;
		}
		s[out++] = c;
	}
	return out;
}

static struct s3_key key_of(const struct s3_list *l, size_t i)
{
	return (struct s3_key){l->arena + l->items[i].key, l->items[i].key_len};
}

static bool was_asked_for(const struct s3_list *l, const char *key, size_t len)
{
	size_t skip = strlen(l->prefix), more = strlen(l->below);

	return len >= skip + more && memcmp(key, l->prefix, skip) == 0 &&
	       memcmp(key + skip, l->below, more) == 0 && !memchr(key, '\0', len) && len <= SOURCE_KEY_MAX;
}

/* Fills the entry of an item. False when there is none to show: the prefix itself. */
static bool take_item(struct s3_list *l, struct item *item, struct source_entry *ret)
{
	char *key = l->arena + item->key;
	size_t skip = strlen(l->prefix);

	if (l->url_encoded)
		item->key_len = url_decode(key, item->key_len);
	size_t len = item->key_len;
	if (!was_asked_for(l, key, len)) {
		fail(l, -ERR_CORRUPT, "the listing holds a key that was not asked for: \"%.*s\"",
		     (int)MIN(len, 100u), key);
		return false;
	}
	if (len == skip || item->old || item->gone)
		return false;
	bool dir = key[len - 1] == '/' && item->size == 0; /* with bytes it is an object like others */
	*ret = (struct source_entry){
		.type = dir ? SOURCE_TYPE_DIR : SOURCE_TYPE_FILE,
		.key = key + skip,
		.key_len = len - skip - dir,
		.size = item->size,
		.mtime_ns = item->mtime_ns,
		.validator = item->version.kind ? item->version : item->validator,
	};
	return true;
}

/* The token of ListObjectVersions: the part of the query that leads on. */
static int make_token(struct s3_list *l)
{
	if (!l->versions || !l->key_marker || l->token)
		return 0;
	size_t len = strlen(l->key_marker);
	if (l->url_encoded)
		len = url_decode(l->key_marker, len);
	CLEANUP(free_str) char *key = mem_alloc(3 * len + 1);
	CLEANUP(free_str)
	char *version = mem_alloc(3 * strlen(l->version_marker ? l->version_marker : "") + 1);
	if (!key || !version)
		return -ENOMEM;
	(void)s3_encode(l->key_marker, len, 0, key);
	*version = '\0';
	if (l->version_marker)
		(void)s3_encode(l->version_marker, strlen(l->version_marker), 0, version);
	l->token = mem_printf("key-marker=%s&%s%s", key, *version ? "version-id-marker=" : "", version);
	if (!l->token)
		return -ENOMEM;
	if (!*version)
		l->token[strlen(l->token) - 1] = '\0'; /* the "&" */
	return 0;
}

int s3_list_finish(struct s3_list *l, struct err *err)
{
	int rc = told(l, l->rc < 0 ? l->rc : xml_scan_finish(&l->xml), err);

	if (rc < 0)
		return rc;
	rc = make_token(l);
	if (rc < 0)
		return rc;
	if (l->truncated && !l->token)
		return err_set(err, -ERR_CORRUPT, "the listing goes on but names no continuation token");
	if (!grow(l, (void **)&l->entries, &l->entry_room, l->count, sizeof *l->entries))
		return err_set(err, l->rc, "%s", l->err.text);
	for (size_t i = 0; i < l->count && l->rc == 0; i++) {
		l->items[i].entries = l->entry_count;
		l->entry_count += take_item(l, &l->items[i], &l->entries[l->entry_count]);
	}
	return l->rc < 0 ? err_set(err, l->rc, "%s", l->err.text) : 0;
}

void s3_list_look(const struct s3_list *l, struct s3_key after, struct s3_key end, struct s3_list_page *ret)
{
	int least = l->versions ? 0 : 1; /* a key has many versions, and they may stand on two pages */
	struct s3_key before = after;

	*ret = (struct s3_list_page){.entries = l->entries,
				     .count = l->entry_count,
				     .token = l->truncated ? l->token : NULL,
				     .ordered = true};
	for (size_t i = 0; i < l->count; i++) {
		struct s3_key key = key_of(l, i);
		if (l->items[i].gone) /* some stores list all delete markers of a page behind its versions */
			continue;
		if (ret->keys++ == 0)
			ret->first = key;
		if (before.bytes && s3_key_compare(key, before) < least)
			ret->ordered = false;
		if (end.bytes && !ret->beyond.bytes && s3_key_compare(key, end) > 0) {
			ret->beyond = key;
			ret->count = l->items[i].entries;
		}
		before = key;
	}
	if (ret->keys > 0)
		ret->last = before;
}
