#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "common/source/checksum.h"

static int check(const char *sum, const char *a, const char *b)
{
	struct checksum c;

	assert_true(checksum_parse(&c, sum));
	assert_int_equal(checksum_start(&c), 0);
	checksum_add(&c, "begun in vain", 13);
	assert_int_equal(checksum_start(&c), 0);
	checksum_add(&c, a, strlen(a));
	checksum_add(&c, b, strlen(b));
	int rc = checksum_check(&c, NULL);
	checksum_done(&c);
	return rc;
}

static void known_sums_agree_and_others_do_not(void **state)
{
	/* FIPS 180-2, appendix B.1; RFC 3720, B.4 gives the polynomial. */
	static const char sha[] = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

	assert_int_equal(check(sha, "a", "bc"), 0);
	assert_int_equal(check(sha, "ab", "d"), -ERR_CORRUPT);
	assert_int_equal(check("crc32c:e3069283", "12345", "6789"), 0);
	assert_int_equal(check("crc32c:e3069283", "12345", "678"), -ERR_CORRUPT);
	assert_int_equal(check("crc32:cbf43926", "12345", "6789"), 0);
	assert_int_equal(check("crc32:cbf43926", "12345", "678"), -ERR_CORRUPT);
}

static void what_is_no_checksum_is_refused(void **state)
{
	static const char *const rows[] = {
		"", "sha256:", "sha256:00", "crc32c:0123456g", "crc32c:012345678", "md5:00"};
	struct checksum c;

	for (size_t i = 0; i < LENGTH(rows); i++) {
		assert_false(checksum_parse(&c, rows[i]));
		assert_int_equal(c.kind, CHECKSUM_NONE);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_sums_agree_and_others_do_not),
		cmocka_unit_test(what_is_no_checksum_is_refused),
	};
	return cmocka_run_group_tests_name("checksum", tests, NULL, NULL);
}
