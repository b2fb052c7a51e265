/*
 * The first line is a pattern, the rest a path.
 *
 * Decoders: common/dataset/glob.c
 */
#include <string.h>

#include "common/base/mem.h"
#include "common/dataset/glob.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *line = size ? memchr(data, '\n', size) : NULL;

	if (!line)
		return 0;
	size_t len = (size_t)(line - data);
	char *pattern = mem_strndup((const char *)data, len), *path = mem_dup(line + 1, size - len - 1);
	if (pattern && path && !glob_error(pattern))
		(void)glob_match(pattern, path, size - len - 1);
	(void)mem_free(pattern);
	(void)mem_free(path);
	return 0;
}
