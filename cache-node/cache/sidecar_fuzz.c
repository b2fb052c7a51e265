/* The sidecar decoder over bytes nobody vouches for; what it takes must survive a round trip. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "cache-node/cache/sidecar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sidecar_header h, again;
	if (sidecar_decode(data, size, &h) != 0)
		return 0;
	CHECK(sidecar_count(data, h.size) <= sidecar_blocks(h.size));
	for (uint64_t b = 0; b < sidecar_blocks(h.size); b++)
		(void)sidecar_crc(data, h.size, b);
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
