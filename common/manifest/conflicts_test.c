/* The first of each kind in path order, however they come; and their bytes. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/manifest/conflicts.h"

enum { MANY = 1000, PRIME = 7919 };

static void add(struct conflicts *c, enum conflict_kind kind, const char *path)
{
	assert_int_equal(conflicts_add(c, kind, path, strlen(path), 3), 0);
}

static void the_first_hundred_are_named_in_path_order(void **state)
{
	struct conflicts *c = conflicts_new();
	char path[20];

	for (int i = 0; i < MANY; i++) { /* each once, in no order */
		snprintf(path, sizeof path, "p%04d", i * PRIME % MANY);
		add(c, CONFLICT_ESCAPED, path);
	}
	add(c, CONFLICT_ESCAPED, "p");
	const struct conflicts_of_kind *k = &c->of[CONFLICT_ESCAPED];
	assert_int_equal(k->count, MANY + 1);
	assert_int_equal(k->named, CONFLICTS_NAMED_MAX);
	assert_string_equal(k->first[0].path, "p");
	assert_int_equal(k->first[0].source, 3);
	for (int i = 1; i < CONFLICTS_NAMED_MAX; i++) {
		snprintf(path, sizeof path, "p%04d", i - 1);
		assert_string_equal(k->first[i].path, path);
	}
	assert_false(conflicts_all_named(c, CONFLICT_ESCAPED));
	assert_true(conflicts_all_named(c, CONFLICT_BESIDE));
	conflicts_clear(c, CONFLICT_ESCAPED);
	assert_int_equal(k->count + k->named, 0);
	conflicts_free(c);
}

static void what_is_of_an_earlier_version_stays_as_it_was(void **state)
{
	struct conflicts *before = conflicts_new(), *c = conflicts_new();

	add(before, CONFLICT_COVERED, "b");
	add(before, CONFLICT_COVERED, "a");
	before->of[CONFLICT_COVERED].count = 200;
	assert_int_equal(conflicts_keep(c, CONFLICT_COVERED, before), 0);
	add(c, CONFLICT_COVERED, "c");
	conflicts_clear(c, CONFLICT_COVERED);
	assert_true(c->of[CONFLICT_COVERED].earlier);
	assert_int_equal(c->of[CONFLICT_COVERED].count, 200);
	assert_int_equal(c->of[CONFLICT_COVERED].named, 2);
	assert_string_equal(c->of[CONFLICT_COVERED].first[1].path, "b");
	assert_false(conflicts_all_named(c, CONFLICT_COVERED));
	conflicts_free(before);
	conflicts_free(c);
}

static uint8_t *encoded(size_t *len)
{
	struct conflicts *c = conflicts_new(), *left = conflicts_new();
	uint8_t *bytes;

	add(c, CONFLICT_COVERED, "a/b");
	add(c, CONFLICT_BESIDE, "x%~f");
	add(c, CONFLICT_BESIDE, "\xff\n");
	left->of[CONFLICT_LEFT_OUT].count = 7;
	assert_int_equal(conflicts_keep(c, CONFLICT_LEFT_OUT, left), 0);
	assert_int_equal(conflicts_encode(c, &bytes, len), 0);
	conflicts_free(left);
	conflicts_free(c);
	return bytes;
}

static void bytes_read_back_as_they_were_written(void **state)
{
	struct conflicts *c;
	uint8_t *again;
	size_t len, again_len;
	uint8_t *bytes = encoded(&len);

	assert_int_equal(conflicts_decode(bytes, len, &c), 0);
	assert_int_equal(c->of[CONFLICT_BESIDE].count, 2);
	assert_string_equal(c->of[CONFLICT_BESIDE].first[1].path, "\xff\n");
	assert_true(c->of[CONFLICT_LEFT_OUT].earlier);
	assert_int_equal(c->of[CONFLICT_LEFT_OUT].count, 7);
	assert_int_equal(conflicts_encode(c, &again, &again_len), 0);
	assert_int_equal(again_len, len);
	assert_memory_equal(again, bytes, len);
	mem_free(again);
	conflicts_free(c);
	mem_free(bytes);
}

/* With a sum that holds, so that each check is met. */
static void any_other_byte_is_refused_or_means_something_else(void **state)
{
	size_t len;
	uint8_t *bytes = encoded(&len);

	for (size_t i = 0; i < len - 4; i++)
		for (int flip = 1; flip < 256; flip += 3) {
			struct conflicts *c;
			uint8_t *again;
			size_t again_len;
			bytes[i] ^= (uint8_t)flip;
			assert_int_equal(conflicts_decode(bytes, len, &c), -ERR_CORRUPT);
			put_le32(bytes + len - 4, crc32c(0, bytes, len - 4));
			if (conflicts_decode(bytes, len, &c) == 0) {
				assert_int_equal(conflicts_encode(c, &again, &again_len), 0);
				assert_int_equal(again_len, len);
				assert_memory_equal(again, bytes, len);
				mem_free(again);
				conflicts_free(c);
			}
			bytes[i] ^= (uint8_t)flip;
			put_le32(bytes + len - 4, crc32c(0, bytes, len - 4));
		}
	for (size_t n = 0; n < len; n++) {
		struct conflicts *c;
		assert_int_equal(conflicts_decode(bytes, n, &c), -ERR_CORRUPT);
	}
	mem_free(bytes);
}

static void running_out_of_memory_is_reported_and_leaks_nothing(void **state)
{
	size_t len;
	uint8_t *bytes = encoded(&len);

	for (int i = 0; i < 4; i++) {
		struct conflicts *c;
		mem_fail_after(i, 0);
		assert_int_equal(conflicts_decode(bytes, len, &c), -ENOMEM);
		mem_fail_after(-1, 0);
	}
	mem_free(bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_hundred_are_named_in_path_order),
		cmocka_unit_test(what_is_of_an_earlier_version_stays_as_it_was),
		cmocka_unit_test(bytes_read_back_as_they_were_written),
		cmocka_unit_test(any_other_byte_is_refused_or_means_something_else),
		cmocka_unit_test(running_out_of_memory_is_reported_and_leaks_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
