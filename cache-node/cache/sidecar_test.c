#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "cache-node/cache/sidecar.h"
#include "common/base/bytes.h"
#include "common/base/err.h"

static struct sidecar_header sample(uint64_t size)
{
	struct sidecar_header h = {
		.size = size, .sealed = true, .validator = {.kind = VALIDATOR_STRONG, .len = 5}};
	memcpy(h.validator.bytes, "\"e-1\"", 5);
	memset(h.boot, 7, sizeof h.boot);
	h.id = hash256_of("x", 1);
	h.share = UINT64_C(0xfedcba9876543210);
	sidecar_name(h.key, "train/x.bin");
	return h;
}

static uint8_t *whole(const struct sidecar_header *h, size_t *len)
{
	*len = sidecar_bytes(h->size);
	uint8_t *p = calloc(1, *len);
	sidecar_encode(h, p);
	return p;
}

static void a_header_comes_back_as_it_was_written(void **state)
{
	struct sidecar_header h = sample(1000000), back;
	size_t len;
	uint8_t *p = whole(&h, &len);
	assert_int_equal(sidecar_decode(p, len, &back), 0);
	assert_true(back.sealed);
	assert_int_equal(back.size, h.size);
	assert_memory_equal(back.boot, h.boot, sizeof h.boot);
	assert_int_equal(hash256_compare(&back.id, &h.id), 0);
	assert_true(validator_equal(&back.validator, &h.validator));
	assert_string_equal(back.key, "train/x.bin");
	assert_true(back.share == h.share);
	assert_int_equal(sidecar_decode_header(p, &back), 0);
	free(p);
}

static void of_a_long_key_the_end_is_kept(void **state)
{
	enum { WRITTEN = 107 }; /* and its NUL */
	char key[300], name[SIDECAR_KEY_BYTES];
	for (size_t i = 0; i < sizeof key; i++)
		key[i] = (char)('a' + i % 26);
	key[sizeof key - 1] = 0;
	sidecar_name(name, key);
	assert_string_equal(name, key + sizeof key - WRITTEN);
	sidecar_name(name, "");
	assert_string_equal(name, "");
	struct sidecar_header h = sample(0), back;
	sidecar_name(h.key, key);
	size_t len;
	uint8_t *p = whole(&h, &len);
	assert_int_equal(sidecar_decode(p, len, &back), 0);
	assert_string_equal(back.key, h.key);
	assert_true(back.share == h.share);
	p[136] = 114; /* as it was written before there were shares */
	memset(p + 137, 'k', 114);
	put_le32(p + 252, crc32c(0, p, 252));
	assert_int_equal(sidecar_decode(p, len, &back), 0);
	assert_int_equal(strlen(back.key), 114);
	assert_true(back.share == 0);
	p[136] = SIDECAR_KEY_BYTES; /* longer than there is room */
	put_le32(p + 252, crc32c(0, p, 252));
	assert_int_equal(sidecar_decode(p, len, &back), -ERR_CORRUPT);
	free(p);
}

static void a_changed_byte_anywhere_in_the_header_is_noticed(void **state)
{
	struct sidecar_header h = sample(0), back;
	size_t len;
	uint8_t *p = whole(&h, &len);
	for (size_t i = 0; i < SIDECAR_HEADER_BYTES; i++) {
		p[i] ^= 0x10;
		assert_int_equal(sidecar_decode(p, len, &back), -ERR_CORRUPT);
		p[i] ^= 0x10;
	}
	assert_int_equal(sidecar_decode(p, len, &back), 0);
	free(p);
}

static void a_wrong_length_or_a_field_out_of_range_is_refused_although_the_crc_fits(void **state)
{
	static const struct {
		size_t at;
		uint8_t value;
	} cases[] = {{8, 2}, {10, 2}, {12, 1}, {23, 1}, {72, 3}, {73, 63}};
	struct sidecar_header h = sample(SIDECAR_BLOCK_BYTES * 70), back;
	size_t len;
	uint8_t *p = whole(&h, &len);
	assert_int_equal(sidecar_decode(p, len - 1, &back), -ERR_CORRUPT);
	assert_int_equal(sidecar_decode(p, 10, &back), -ERR_CORRUPT);
	for (size_t i = 0; i < LENGTH(cases); i++) {
		uint8_t was = p[cases[i].at];
		p[cases[i].at] = cases[i].value;
		put_le32(p + 252, crc32c(0, p, 252));
		assert_int_equal(sidecar_decode(p, len, &back), -ERR_CORRUPT);
		p[cases[i].at] = was;
	}
	free(p);
}

static void bits_and_crcs_are_kept_apart_for_each_block(void **state)
{
	uint64_t size = SIDECAR_BLOCK_BYTES * 70 + 1;
	struct sidecar_header h = sample(size);
	size_t len;
	uint8_t *p = whole(&h, &len);
	assert_int_equal(sidecar_blocks(size), 71);
	for (uint32_t b = 0; b < 71; b += 2)
		sidecar_set(p, size, b, 1000 + b);
	assert_int_equal(sidecar_count(p, size), 36);
	assert_false(sidecar_has(p, 1));
	assert_int_equal(sidecar_crc(p, size, 70), 1070);
	assert_true(sidecar_clear(p, 70));
	assert_false(sidecar_clear(p, 70));
	assert_int_equal(sidecar_count(p, size), 35);
	free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_header_comes_back_as_it_was_written),
		cmocka_unit_test(of_a_long_key_the_end_is_kept),
		cmocka_unit_test(a_changed_byte_anywhere_in_the_header_is_noticed),
		cmocka_unit_test(a_wrong_length_or_a_field_out_of_range_is_refused_although_the_crc_fits),
		cmocka_unit_test(bits_and_crcs_are_kept_apart_for_each_block),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
