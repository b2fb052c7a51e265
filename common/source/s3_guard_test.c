#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "common/source/s3_guard.h"

static void a_circle_of_any_length_is_found_within_three_rounds(void **state)
{
	for (unsigned lead = 0; lead < 40; lead += 3)
		for (unsigned circle = 1; circle < 200; circle += 1 + circle / 8) {
			struct s3_guard g = {0};
			struct err err = {0};
			unsigned pages = 0;
			for (int rc = 0; rc == 0; pages++) {
				char token[32];
				unsigned at = pages < lead ? pages : lead + (pages - lead) % circle;
				snprintf(token, sizeof token, "token %u", at);
				rc = s3_guard_page(&g, token, true, 100, &err);
				assert_true(pages < 4 * (lead + circle) + 4);
			}
			char words[64];
			snprintf(words, sizeof words, "in a circle of %u pages", circle);
			assert_non_null(strstr(err.text, words));
			assert_true(pages > lead + circle);
		}
}

static void pages_without_a_new_key_are_borne_for_a_while(void **state)
{
	struct s3_guard g = {0};
	struct err err = {0};
	char token[32];

	for (int i = 0; i < 1000; i++) {
		snprintf(token, sizeof token, "%d", i);
		assert_int_equal(s3_guard_page(&g, token, i % 100 == 99, S3_GUARD_IDLE_MAX, &err), 0);
	}
	int i, rc = 0;
	for (i = 1000; rc == 0; i++) {
		snprintf(token, sizeof token, "%d", i);
		rc = s3_guard_page(&g, token, false, S3_GUARD_IDLE_MAX, &err);
	}
	assert_int_equal(i, 1101);
	assert_int_equal(rc, -ERR_CORRUPT);
	assert_non_null(strstr(err.text, "without a new key for over 100 pages"));
}

/* Gives @keys keys, of them @different different ones, a thousand a page. How many came before it was told. */
static uint64_t give(uint64_t keys, uint64_t different)
{
	struct s3_guard g = {0};
	struct err err = {0};
	char text[32];

	for (uint64_t i = 0; i < keys; i++) {
		int n = snprintf(text, sizeof text, "key %llu", (unsigned long long)(i * 7919 % different));
		s3_guard_key(&g, (struct s3_key){text, (size_t)n});
		if (i % 1000 == 999) {
			snprintf(text, sizeof text, "page %llu", (unsigned long long)i);
			if (s3_guard_page(&g, text, true, 100, &err) < 0) {
				assert_non_null(strstr(err.text, "the same keys again and again"));
				return i;
			}
		}
	}
	return keys;
}

static void the_same_keys_under_ever_new_tokens_are_told_from_many_keys(void **state)
{
	assert_int_equal(give(1000000, 1000000), 1000000);
	assert_int_equal(give(1000000, 500000), 1000000); /* each twice */
	assert_in_range(give(1000000, 10), 50000, 51000);
	assert_in_range(give(1000000, 100000), 250000, 350000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_circle_of_any_length_is_found_within_three_rounds),
		cmocka_unit_test(pages_without_a_new_key_are_borne_for_a_while),
		cmocka_unit_test(the_same_keys_under_ever_new_tokens_are_told_from_many_keys),
	};
	return cmocka_run_group_tests_name("s3_guard", tests, NULL, NULL);
}
