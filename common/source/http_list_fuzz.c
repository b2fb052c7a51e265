/*
 * List files, fed in two parts cut at a place the input chooses; the whole is also tried as a URL.
 *
 * Decoders: common/source/http_list.c common/source/http_url.c
 */
#include <string.h>

#include "common/base/mem.h"
#include "common/manifest/key.h"
#include "common/source/http_list.h"
#include "common/source/http_url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int take(void *ctx, const struct http_list_entry *e)
{
	(void)ctx;
	CHECK(e->path[0] && manifest_path_valid(e->path, strlen(e->path)));
	CLEANUP(free_str) char *url = http_url_join("http://h/d/list", e->key);
	CHECK(!url || strncmp(url, "http", 4) == 0);
	CLEANUP(free_str) char *below = http_url_below("https://h/d/", e->path, "?x");
	CHECK(!below || (!http_url_wrong("https://h/d/") && strlen(below) >= strlen(e->path) + 12));
	return 0;
}

/* As a URL of a configuration, and as where an answer leads. */
static void try_url(const char *data, size_t size)
{
	CLEANUP(free_str) char *text = mem_strndup(data, size), *to = NULL;
	char shown[100];

	if (!text)
		return;
	to = http_url_join("https://h:1/d/?q", text);
	CHECK(!to || strlen(to) <= HTTP_URL_MAX);
	if (to && http_url_same_origin("https://h:1/", to))
		CHECK(http_url_secure(to));
	http_url_clean(text, shown, sizeof shown);
	CHECK(!strchr(shown, '?'));
	if (http_url_wrong(text))
		return;
	CHECK(http_url_same_origin(text, text));
	CLEANUP(free_str) char *name = http_url_name(text);
	CHECK(!name || (name[0] && !strchr(name, '/')));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(http_list_free) struct http_list *l = NULL;
	size_t cut = size > 0 ? data[size - 1] % size : 0;

	if (http_list_new(take, NULL, &l) < 0)
		return 0;
	CHECK(l);
	int rc = http_list_feed(l, (const char *)data, cut, NULL);
	if (rc == 0)
		rc = http_list_feed(l, (const char *)data + cut, size - cut, NULL);
	if (rc == 0)
		rc = http_list_finish(l, NULL);
	CHECK(rc <= 0);
	try_url((const char *)data, size);
	return 0;
}
