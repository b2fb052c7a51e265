/*
 * Index pages, HTML or JSON by their first byte.
 *
 * Decoders: common/source/http_index.c
 */
#include <string.h>

#include "common/base/attr.h"
#include "common/source/http_index.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(http_index_free) struct http_index *x = NULL;

	if (http_index_parse((const char *)data, size, "/d/", &x, NULL) < 0)
		return 0;
	CHECK(x);
	for (size_t i = 0; i < x->count; i++)
		CHECK(x->entries[i].name[0] && !strchr(x->entries[i].name, '/'));
	return 0;
}
