/*
 * Any bytes as a key, and as a path: there and back is where it began.
 *
 * Decoders: common/manifest/name.c
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/manifest/key.h"
#include "common/manifest/name.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void as_key(const char *key, size_t len, bool beside)
{
	char path[MANIFEST_PATH_MAX + 1], back[MANIFEST_PATH_MAX + 1], other[MANIFEST_PATH_MAX + 1];
	size_t path_len, back_len, other_len;
	bool was;

	if (name_of_key(key, len, beside, path, &path_len) != 0)
		return;
	if (!manifest_path_valid(path, path_len) || name_to_key(path, path_len, back, &back_len, &was) != 0 ||
	    was != beside || back_len != len || memcmp(back, key, len) != 0)
		abort();
	if (name_is_marked(path, path_len) != (path_len != len || memcmp(path, key, len) != 0))
		abort();
	if (beside && (name_without_folder(path, path_len, other, &other_len) != 0 ||
		       name_beside_folder(other, other_len, back, &back_len) != 0 || back_len != path_len ||
		       memcmp(back, path, path_len) != 0))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = mem_dup(data, size), *key = mem_alloc(size + 1);
	size_t key_len;
	bool beside;

	if (text && key && size && !memchr(text, 0, size)) {
		as_key(text, size, false);
		as_key(text, size, true);
		if (name_to_key(text, size, key, &key_len, &beside) == 0)
			as_key(key, key_len, beside);
		(void)name_is_piece(text, size);
	}
	(void)mem_free(text);
	(void)mem_free(key);
	return 0;
}
