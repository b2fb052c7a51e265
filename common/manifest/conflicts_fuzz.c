/*
 * Any bytes as a note of conflicts, its sum made right: what is taken is written as it was.
 *
 * Decoders: common/manifest/conflicts.c
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/manifest/conflicts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct conflicts *c;
	uint8_t *again, *bytes = mem_alloc(size + 4);
	size_t len;

	if (!bytes)
		return 0;
	memcpy(bytes, data, size);
	put_le32(bytes + size, crc32c(0, bytes, size));
	if (conflicts_decode(bytes, size + 4, &c) == 0) {
		if (conflicts_encode(c, &again, &len) != 0 || len != size + 4 ||
		    memcmp(again, bytes, len) != 0)
			abort();
		(void)mem_free(again);
		(void)conflicts_free(c);
	}
	(void)mem_free(bytes);
	return 0;
}
