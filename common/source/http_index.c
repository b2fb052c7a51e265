#include "common/source/http_index.h"

#include <cjson/cJSON.h>
#include <curl/curl.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/manifest.h"
#include "common/source/http_url.h"

struct http_index *http_index_free(struct http_index *x)
{
	if (!x)
		return NULL;
	for (size_t i = 0; i < x->count; i++)
		mem_free(x->entries[i].name);
	mem_free(x->entries);
	return mem_free(x);
}

static bool name_fits(const char *name, size_t len)
{
	return len > 0 && len <= MANIFEST_NAME_MAX && !memchr(name, '\0', len) && !memchr(name, '/', len) &&
	       !(len == 1 && name[0] == '.') && !(len == 2 && name[0] == '.' && name[1] == '.');
}

/* Adds an entry with a copy of its name, unless it is that of the entry before (an icon's link and the name's). */
static int add(struct http_index *x, const char *name, size_t len, const struct http_index_entry *e,
	       struct err *err)
{
	if (!name_fits(name, len)) {
		x->left_out++;
		return 0;
	}
	const char *last = x->count ? x->entries[x->count - 1].name : "";
	if (strlen(last) == len && memcmp(last, name, len) == 0)
		return 0;
	if (x->count == HTTP_INDEX_ENTRIES_MAX)
		return err_set(err, -ERR_CORRUPT, "the page lists over %u names", HTTP_INDEX_ENTRIES_MAX);
	if (x->count == x->room) {
		size_t room = MAX(64u, x->room * 2);
		struct http_index_entry *more = mem_resize(x->entries, room, sizeof *more);
		if (!more)
			return -ENOMEM;
		x->entries = more;
		x->room = room;
	}
	x->entries[x->count] = *e;
	x->entries[x->count].name = mem_strndup(name, len);
	if (!x->entries[x->count].name)
		return -ENOMEM;
	x->count++;
	return 0;
}

/* ---- JSON ---- */

static int add_item(struct http_index *x, const cJSON *item, struct err *err)
{
	const cJSON *name = cJSON_GetObjectItemCaseSensitive(item, "name"),
		    *type = cJSON_GetObjectItemCaseSensitive(item, "type"),
		    *size = cJSON_GetObjectItemCaseSensitive(item, "size"),
		    *mtime = cJSON_GetObjectItemCaseSensitive(item, "mtime");
	struct http_index_entry e = {0};

	if (!cJSON_IsString(name) || !cJSON_IsString(type))
		return err_set(err, -ERR_CORRUPT, "an entry of the page has no name or no type");
	e.dir = strcmp(type->valuestring, "directory") == 0;
	if (!e.dir && strcmp(type->valuestring, "file") != 0) {
		x->left_out++; /* a socket, a device */
		return 0;
	}
	int64_t at_s = cJSON_IsString(mtime) ? (int64_t)curl_getdate(mtime->valuestring, NULL) : -1;
	if (!e.dir && cJSON_IsNumber(size) && size->valuedouble >= 0 && size->valuedouble < 9e15 &&
	    at_s > 0 && at_s < INT64_MAX / NS_PER_S) {
		e.has_stat = true;
		e.size = (uint64_t)size->valuedouble;
		e.mtime_ns = at_s * NS_PER_S;
	}
	return add(x, name->valuestring, strlen(name->valuestring), &e, err);
}

static int parse_json(struct http_index *x, const char *text, size_t len, struct err *err)
{
	cJSON *page = cJSON_ParseWithLength(text, len);
	const cJSON *item;
	int rc = cJSON_IsArray(page) ? 0 : err_set(err, -ERR_CORRUPT, "the page is no JSON list of entries");

	if (rc == 0)
		cJSON_ArrayForEach(item, page)
		{
			rc = add_item(x, item, err);
			if (rc < 0)
				break;
		}
	cJSON_Delete(page);
	return rc;
}

/* ---- HTML ---- */

/* The references that stand in attributes of such pages. Decodes in place; the new length. */
static size_t decode_entities(char *s, size_t len)
{
	static const struct {
		const char *text;
		char c;
	} table[] = {{"&amp;", '&'}, {"&lt;", '<'},    {"&gt;", '>'},  {"&quot;", '"'}, {"&#39;", '\''},
		     {"&#34;", '"'}, {"&#x27;", '\''}, {"&#43;", '+'}, {"&#38;", '&'}};
	size_t out = 0;

	for (size_t i = 0; i < len; i++) {
		char c = s[i];
		for (size_t k = 0; c == '&' && k < LENGTH(table); k++) {
			size_t n = strlen(table[k].text);
			if (len - i >= n && memcmp(s + i, table[k].text, n) == 0) {
				c = table[k].c;
				i += n - 1;
				break;
			}
		}
		s[out++] = c;
	}
	return out;
}

/* Adds what a link names, if it is a name of this folder. @ref is changed. */
static int add_link(struct http_index *x, char *ref, size_t len, const char *path, struct err *err)
{
	struct http_index_entry e = {0};
	size_t skip = strlen(path);

	len = decode_entities(ref, len);
	if (len > skip && skip > 0 && memcmp(ref, path, skip) == 0) {
		ref += skip;
		len -= skip;
	} else if (len > 2 && memcmp(ref, "./", 2) == 0) {
		ref += 2;
		len -= 2;
	}
	/* Not of this folder: another one, a sort order, a place in the page, a scheme. */
	if (len == 0 || memchr(ref, '?', len) || memchr(ref, '#', len) || ref[0] == '/')
		return 0;
	if (ref[len - 1] == '/') {
		e.dir = true;
		len--;
	}
	if (memchr(ref, '/', len) || (len == 2 && memcmp(ref, "..", 2) == 0) || (len == 1 && ref[0] == '.'))
		return 0;
	const char *colon = memchr(ref, ':', len);
	if (colon && !memchr(ref, '%', (size_t)(colon - ref)) &&
	    (strncasecmp(ref, "mailto:", 7) == 0 || strncasecmp(ref, "javascript:", 11) == 0))
		return 0;
	len = http_url_decode(ref, len);
	return add(x, ref, len, &e, err);
}

/* The value of href in the tag between @p and @end; NULL: it has none. */
static const char *find_href(const char *p, const char *end, size_t *ret_len)
{
	for (; end - p > 6; p++) {
		if (strncasecmp(p, "href=", 5) != 0 || (p[-1] != ' ' && p[-1] != '\t' && p[-1] != '\n'))
			continue;
		char quote = p[5];
		if (quote != '"' && quote != '\'')
			return NULL;
		const char *close = memchr(p + 6, quote, (size_t)(end - p - 6));
		if (!close)
			return NULL;
		*ret_len = (size_t)(close - p - 6);
		return p + 6;
	}
	return NULL;
}

static int parse_html(struct http_index *x, const char *text, size_t len, const char *path, struct err *err)
{
	const char *end = text + len;
	bool tags = false;
	int rc = 0;

	for (const char *p = text; rc == 0 && (p = memchr(p, '<', (size_t)(end - p)));) {
		const char *close = memchr(p, '>', (size_t)(end - p));
		size_t n = 0;
		if (!close)
			break;
		tags = true;
		bool link = close - p > 3 && (p[1] == 'a' || p[1] == 'A') &&
			    (p[2] == ' ' || p[2] == '\t' || p[2] == '\n');
		const char *href = link ? find_href(p + 3, close + 1, &n) : NULL;
		if (href && n > 0 && n < HTTP_URL_MAX) {
			char *copy = mem_strndup(href, n);
			rc = copy ? add_link(x, copy, n, path, err) : -ENOMEM;
			mem_free(copy);
		}
		p = close + 1;
	}
	return rc == 0 && !tags ? err_set(err, -ERR_CORRUPT, "the page is neither HTML nor JSON") : rc;
}

/* ---- */

int http_index_parse(const char *text, size_t len, const char *path, struct http_index **ret, struct err *err)
{
	CLEANUP(http_index_free) struct http_index *x = mem_calloc(1, sizeof *x);
	size_t blank = 0;

	if (!x)
		return -ENOMEM;
	while (blank < len && strchr(" \t\r\n", text[blank]) && text[blank])
		blank++;
	int rc = blank < len && text[blank] == '[' ? parse_json(x, text + blank, len - blank, err)
						   : parse_html(x, text, len, path, err);
	if (rc == 0)
		*ret = TAKE(x);
	return rc;
}
