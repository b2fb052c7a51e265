#include "common/source/http_url.h"

#include <ctype.h>
#include <curl/curl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "common/base/bytes.h"
#include "common/base/mem.h"
#include "common/source/s3_place.h"

bool http_url_secure(const char *url)
{
	return strncasecmp(url, "https://", 8) == 0;
}

const char *http_url_wrong(const char *url)
{
	const char *host = strstr(url, "://");

	if (strncasecmp(url, "http://", 7) != 0 && !http_url_secure(url))
		return "must start with http:// or https://";
	host += 3;
	size_t len = strcspn(host, "/?#");
	if (len == 0)
		return "names no host";
	if (memchr(host, '@', len))
		return "must not hold a user name; use secretRef";
	if (strlen(url) > HTTP_URL_MAX / 4)
		return "is too long";
	for (const char *p = url; *p; p++)
		if (*p <= ' ' || *p == 0x7f || strchr("\"<>\\^`{|}", *p))
			return "holds a character that must be written as %XX";
	if (strchr(url, '#'))
		return "must not have a fragment";
	CURLU *u = curl_url();
	CURLUcode rc = u ? curl_url_set(u, CURLUPART_URL, url, CURLU_PATH_AS_IS) : CURLUE_OK;
	curl_url_cleanup(u);
	return rc == CURLUE_OK ? NULL : "is none";
}

/* A part of a URL as curl reads it; owned by the caller, who curl_free()s it. NULL: none. */
static char *part(CURLU *u, CURLUPart what)
{
	char *text = NULL;

	return curl_url_get(u, what, &text, CURLU_DEFAULT_PORT) == CURLUE_OK ? text : NULL;
}

char *http_url_join(const char *base, const char *ref)
{
	CURLU *u = curl_url();
	char *url = NULL, *user = NULL, *copy = NULL;

	if (!u)
		return NULL;
	if (strlen(ref) < HTTP_URL_MAX && curl_url_set(u, CURLUPART_URL, base, 0) == CURLUE_OK &&
	    curl_url_set(u, CURLUPART_URL, ref, 0) == CURLUE_OK &&
	    curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0) == CURLUE_OK)
		url = curl_url_get(u, CURLUPART_URL, &url, 0) == CURLUE_OK ? url : NULL;
	user = part(u, CURLUPART_USER);
	if (url && !user && strlen(url) < HTTP_URL_MAX &&
	    (http_url_secure(url) || strncasecmp(url, "http://", 7) == 0))
		copy = mem_strdup(url);
	curl_free(user);
	curl_free(url);
	curl_url_cleanup(u);
	return copy;
}

char *http_url_below(const char *base, const char *key, const char *tail)
{
	size_t len = strlen(key);
	CLEANUP(free_str) char *path = mem_alloc(3 * len + 1);

	if (!path)
		return NULL;
	(void)s3_encode(key, len, 1, path);
	return mem_printf("%s%s%s", base, path, tail);
}

static bool same_part(CURLU *a, CURLU *b, CURLUPart what)
{
	char *x = part(a, what), *y = part(b, what);
	bool same = x && y && strcasecmp(x, y) == 0;

	curl_free(x);
	curl_free(y);
	return same;
}

bool http_url_same_origin(const char *a, const char *b)
{
	CURLU *x = curl_url(), *y = curl_url();
	bool same = x && y && curl_url_set(x, CURLUPART_URL, a, 0) == CURLUE_OK &&
		    curl_url_set(y, CURLUPART_URL, b, 0) == CURLUE_OK && same_part(x, y, CURLUPART_SCHEME) &&
		    same_part(x, y, CURLUPART_HOST) && same_part(x, y, CURLUPART_PORT);

	curl_url_cleanup(x);
	curl_url_cleanup(y);
	return same;
}

void http_url_clean(const char *url, char *out, size_t size)
{
	(void)snprintf(out, size, "%.*s", (int)strcspn(url, "?#"), url);
}

size_t http_url_decode(char *s, size_t len)
{
	size_t out = 0;

	for (size_t i = 0; i < len; i++) {
		char c = s[i];
		int high = c == '%' && len - i > 2 ? hex_digit(s[i + 1]) : -1;
		int low = high >= 0 ? hex_digit(s[i + 2]) : -1;
		if (low >= 0) {
			c = (char)(high << 4 | low);
			i += 2;
		}
		s[out++] = c;
	}
	return out;
}

char *http_url_name(const char *url)
{
	const char *path = strstr(url, "://"), *end = url + strcspn(url, "?#"), *slash = end;

	path = path ? path + 3 : url;
	while (slash > path && slash[-1] != '/')
		slash--;
	if (slash == path || slash == end)
		return NULL; /* the host alone, or a folder */
	char *name = mem_strndup(slash, (size_t)(end - slash));
	if (!name)
		return NULL;
	size_t len = http_url_decode(name, strlen(name));
	name[len] = '\0';
	bool bad = strlen(name) != len || strchr(name, '/') || len == 0 || strcmp(name, ".") == 0 ||
		   strcmp(name, "..") == 0;
	return bad ? mem_free(name) : name;
}
