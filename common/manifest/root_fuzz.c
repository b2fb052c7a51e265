/* Any bytes as a root. */
#include <stdlib.h>

#include "common/base/mem.h"
#include "common/manifest/root.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_table(const struct root_table *t)
{
	const struct root_chunk *c = t->chunks;

	for (size_t i = 0; i < t->count; i++)
		if (!manifest_path_valid(c[i].first.path, c[i].first.len) || c[i].entries == 0 ||
		    (i > 0 && path_key_compare(&c[i - 1].first, &c[i].first) >= 0))
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct manifest_stats stats;
	struct root_tables t;

	if (root_decode(data, size, &stats, &t) != 0)
		return 0;
	if (t.count == 0 || t.tables[t.count - 1].entries != stats.entries)
		abort();
	for (size_t i = 0; i < t.count; i++)
		check_table(&t.tables[i]);
	root_tables_done(&t);
	return 0;
}
