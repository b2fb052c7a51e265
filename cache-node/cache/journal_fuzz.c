/*
 * A header and records of a tier's log over bytes nobody vouches for, their checksums made good, for else nothing but those is
 * tried; what is taken must survive a round trip.
 *
 * Decoders: cache-node/cache/journal_record.c
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "cache-node/cache/journal.h"
#include "common/base/bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { AT_CRC = JOURNAL_RECORD_BYTES - 4 };

static void make_good(uint8_t *bytes, uint64_t salt)
{
	uint8_t le[8];
	put_le64(le, salt);
	put_le32(bytes + AT_CRC, crc32c(crc32c(0, le, sizeof le), bytes, AT_CRC));
}

static void try_record(const uint8_t *in, uint64_t salt)
{
	struct journal_record r;
	uint8_t out[JOURNAL_RECORD_BYTES];
	if (journal_decode(in, salt, &r) != 0)
		return;
	CHECK(r.kind <= JOURNAL_SEALED && r.used_ns >= 0 && (r.bytes > 0) == (r.kind >= JOURNAL_PARTIAL));
	journal_encode(&r, salt, out);
	CHECK(memcmp(in, out, sizeof out) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t bytes[JOURNAL_RECORD_BYTES], out[JOURNAL_RECORD_BYTES];
	uint64_t salt = 0;
	for (size_t at = 0; at + JOURNAL_RECORD_BYTES <= size; at += JOURNAL_RECORD_BYTES) {
		memcpy(bytes, data + at, sizeof bytes);
		try_record(bytes, salt); /* as it came */
		make_good(bytes, at ? salt : 0);
		if (at) {
			try_record(bytes, salt);
		} else if (journal_decode_header(bytes, bytes + 8, &salt) == 0) {
			journal_encode_header(bytes + 8, salt, out);
			CHECK(memcmp(bytes, out, sizeof out) == 0);
		}
	}
	return 0;
}
