#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/base/quantity.h"

static void sizes_are_read_as_people_write_them(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {{"0", 0},
		    {"12", 12},
		    {"5k", 5000},
		    {"4Ki", 4096},
		    {"3M", 3000000},
		    {"2Gi", 2ULL << 30},
		    {"1Ti", 1ULL << 40},
		    {"15Ei", 15ULL << 60},
		    {"1E", 1000000000000000000ULL}};
	static const char *const bad[] = {"", "Gi", "1Kb", "1ki", "1K", "1 G", "-1", "1.5G", "1Gib", "1x"};
	uint64_t v;

	for (size_t i = 0; i < LENGTH(good); i++) {
		assert_int_equal(bytes_parse(good[i].text, &v), 0);
		assert_true(v == good[i].bytes);
	}
	for (size_t i = 0; i < LENGTH(bad); i++)
		assert_int_equal(bytes_parse(bad[i], &v), -EINVAL);
	assert_int_equal(bytes_parse("16Ei", &v), -ERANGE);
	assert_int_equal(bytes_parse("18446744073709551616", &v), -ERANGE);
}

static void sizes_are_shown_with_one_decimal(void **state)
{
	char text[16];

	bytes_format(1023, text);
	assert_string_equal(text, "1023 B");
	bytes_format(1024 * 1024 - 1, text);
	assert_string_equal(text, "1.0 MiB");
	bytes_format(5ULL << 30, text);
	assert_string_equal(text, "5.0 GiB");
	bytes_format(UINT64_MAX, text);
	assert_string_equal(text, "16.0 EiB");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_are_read_as_people_write_them),
		cmocka_unit_test(sizes_are_shown_with_one_decimal),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
