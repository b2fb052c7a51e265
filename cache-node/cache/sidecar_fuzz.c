/*
 * The sidecar decoder over bytes nobody vouches for; what it takes must survive a round trip.
 *
 * Decoders: cache-node/cache/sidecar.c
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "cache-node/cache/sidecar.h"
#include "common/base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* In a copy: what was set is there, what was cleared is not, and the others stay as they were. */
static void change(const uint8_t *data, size_t size, uint64_t object_size)
{
	uint64_t blocks = sidecar_blocks(object_size), count = sidecar_count(data, object_size);
	uint8_t *map = blocks ? mem_dup(data, size) : NULL;

	if (!map)
		return;
	for (uint64_t b = 0; b < blocks; b = 2 * b + 1) {
		bool had = sidecar_has(map, b);
		sidecar_set(map, object_size, b, (uint32_t)b);
		CHECK(sidecar_has(map, b) && sidecar_crc(map, object_size, b) == (uint32_t)b);
		CHECK(sidecar_count(map, object_size) == count + !had);
		CHECK(sidecar_clear(map, b) && !sidecar_clear(map, b));
		count -= had;
	}
	(void)mem_free(map);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sidecar_header h, again;
	if (sidecar_decode(data, size, &h) != 0)
		return 0;
	CHECK(sidecar_count(data, h.size) <= sidecar_blocks(h.size));
	for (uint64_t b = 0; b < sidecar_blocks(h.size); b++)
		(void)sidecar_crc(data, h.size, b);
	change(data, size, h.size);
	char name[SIDECAR_KEY_BYTES];
	sidecar_name(name, h.key);
	CHECK(strcmp(name, h.key) == 0);
	uint8_t out[SIDECAR_HEADER_BYTES];
	sidecar_encode(&h, out);
	/* Only the header is written anew, so a longer sidecar has no whole copy to compare with. */
	if (size == SIDECAR_HEADER_BYTES) {
		CHECK(sidecar_decode(out, sizeof out, &again) == 0);
		CHECK(again.size == h.size && hash256_compare(&again.id, &h.id) == 0);
		CHECK(validator_equal(&again.validator, &h.validator));
	}
	return 0;
}
