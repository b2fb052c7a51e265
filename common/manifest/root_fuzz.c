/*
 * Any bytes as a root.
 *
 * Decoders: common/manifest/root.c
 */
#include <stdlib.h>
#include <string.h>

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

/* What was read can be written, and read again as it was. */
static void there_and_back(const struct root_tables *t, struct manifest_stats stats)
{
	struct root_writer tables[1 + MANIFEST_DELTAS_MAX] = {{.list = NULL}};
	struct manifest_stats again;
	struct root_tables back;
	uint8_t *bytes = NULL;
	size_t len = 0;
	int r = 0;

	for (size_t i = 0; i < t->count && r == 0; i++)
		r = root_writer_add_table(&tables[i], &t->tables[i], i > 0);
	if (r == 0)
		r = root_writer_end(tables, t->count, &stats, &bytes, &len);
	if (r == 0) {
		if (!manifest_is_root(bytes, len) || root_decode(bytes, len, &again, &back) != 0)
			abort();
		if (back.count != t->count || memcmp(&again, &stats, sizeof stats) != 0)
			abort();
		root_tables_done(&back);
	}
	for (size_t i = 0; i < t->count; i++)
		root_writer_done(&tables[i]);
	(void)mem_free(bytes);
}

static int count_name(void *ctx, const struct hash256 *hash)
{
	(void)hash;
	++*(uint64_t *)ctx;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct manifest_stats stats;
	struct root_tables t;
	uint64_t names = 0;

	if (root_decode(data, size, &stats, &t) != 0)
		return 0;
	if (t.count == 0 || t.tables[t.count - 1].entries != stats.entries)
		abort();
	for (size_t i = 0; i < t.count; i++)
		check_table(&t.tables[i]);
	there_and_back(&t, stats);
	if (manifest_root_names(data, size, count_name, &names) != 0 || names != stats.chunks)
		abort();
	root_tables_done(&t);
	return 0;
}
