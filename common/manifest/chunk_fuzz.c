/*
 * Any bytes as a chunk: checked whole, then read at every block as after a check, by both ways of decoding.
 *
 * Decoders: common/manifest/chunk_read.c common/manifest/chunk_plain.c
 */
#include <stdlib.h>

#include "common/base/mem.h"
#include "common/manifest/chunk_ways.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char spare[MANIFEST_PATH_MAX + 1] = ""; /* the path, made by the other way */
	struct chunk_view v;
	struct manifest_found *f = mem_calloc(1, sizeof *f);

	if (!f || chunk_view_parse(data, size, &v) != 0) {
		(void)mem_free(f);
		return 0;
	}
	(void)!chunk_check(&v, f);
	for (uint32_t block = 0; block < v.blocks; block++) {
		struct manifest_cursor c;
		struct chunk_entry x;
		struct path_key k;
		struct edit_place place;
		(void)!chunk_block_key(&v, block, &k);
		if (v.delta && chunk_block_place(&v, block, &place) == 0 && place.kind > EDIT_REMOVE)
			abort();
		if (chunk_seek(&v, block, &c) != 0)
			continue;
		for (int i = 0, r; i < CHUNK_BLOCK_ENTRIES; i++) {
			if (!chunk_next_both(&v, &c, f->path, spare, &x, &r))
				abort();
			if (r != 0)
				break;
			chunk_entry_found(&x, (uint64_t)i, f);
			size_t len;
			if (!manifest_key(f, &len) || len > MANIFEST_PATH_MAX ||
			    f->e.path_len > MANIFEST_PATH_MAX || f->e.validator.len > VALIDATOR_BYTES_MAX)
				abort();
		}
	}
	(void)mem_free(f);
	return 0;
}
