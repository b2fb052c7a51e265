#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "bench/lister/lister.h"

static void keys_are_counted_up_to_the_end_of_the_range(void **state)
{
	static const char xml[] =
		"<R><Contents><Key>a</Key><Size>1</Size></Contents><Contents><Key>ab</Key></Contents>"
		"<Contents><Key>b</Key></Contents><NextContinuationToken>t</NextContinuationToken></R>";
	static const struct {
		const char *end;
		uint64_t keys;
		bool past;
	} rows[] = {{NULL, 3, false}, {"b", 3, false}, {"ab", 2, true},
		    {"a", 1, true},   {"aa", 1, true}, {"0", 0, true}};
	struct lister_page page;

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		lister_scan(xml, sizeof xml - 1, rows[i].end, &page);
		assert_int_equal(page.keys, rows[i].keys);
		assert_int_equal(page.past, rows[i].past);
		assert_string_equal(page.token, "t");
	}
	for (size_t len = 0; len < sizeof xml - 1;
	     len++) { /* cut anywhere: no byte past the end is looked at */
		char cut[sizeof xml];
		memcpy(cut, xml, len);
		lister_scan(cut, len, "b", &page);
		assert_true(page.keys <= 3);
	}
	lister_scan("", 0, NULL, &page);
	assert_true(page.keys == 0 && !page.token[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(keys_are_counted_up_to_the_end_of_the_range)};
	return cmocka_run_group_tests_name("lister", tests, NULL, NULL);
}
