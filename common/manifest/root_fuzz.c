/* Any bytes as a root. */
#include <stdlib.h>

#include "common/base/mem.h"
#include "common/manifest/root.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct manifest_stats stats;
	struct root_chunk *chunks;
	size_t count;

	if (root_decode(data, size, &stats, &chunks, &count) != 0)
		return 0;
	for (size_t i = 0; i < count; i++)
		if (!manifest_path_valid(chunks[i].first.path, chunks[i].first.len) ||
		    chunks[i].entries == 0 ||
		    (i > 0 && path_key_compare(&chunks[i - 1].first, &chunks[i].first) >= 0))
			abort();
	(void)mem_free(chunks);
	return 0;
}
