/* List files, fed in two parts cut at a place the input chooses; its last line is also tried as a URL. */
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
	return 0;
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
	CLEANUP(free_str) char *text = mem_strndup((const char *)data, size);
	if (text && !http_url_wrong(text))
		mem_free(http_url_name(text));
	return 0;
}
