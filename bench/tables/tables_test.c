#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "bench/tables/tables.h"

static int setup(void **state)
{
	static char folder[64];

	(void)strcpy(folder, "/tmp/larder-tables-XXXXXX");
	*state = mkdtemp(folder);
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	char command[128];

	(void)snprintf(command, sizeof command, "rm -rf '%s'", (char *)*state);
	return system(command);
}

static void regular_paths_rise_and_are_all_different(void **state)
{
	char before[64] = "", now[64];

	for (uint64_t i = 0; i < 20000; i++) {
		size_t len = tables_regular_path(i, now);
		assert_int_equal(len, strlen(now));
		assert_true(strcmp(before, now) < 0);
		memcpy(before, now, sizeof before);
	}
	(void)tables_regular_path(5001, now);
	assert_string_equal(now, "train/n01440801/n01440801_00001.JPEG");
}

static void what_is_measured_is_what_was_built(void **state)
{
	struct tables_config c = {
		.folder = *state, .count = 12345, .changes = 12, .lookups = 1000, .seed = 7};
	struct tables_result r;
	struct err err;

	assert_int_equal(tables_run(&c, &r, &err), 0);
	assert_int_equal(r.files, 12345);
	assert_int_equal(r.entries, 12345 + 5); /* the root, train, three folders */
	assert_true(r.changed >= 12 && r.changed <= 13);
	assert_true(r.bytes > 20 * r.files && r.bytes < 60 * r.files);
	assert_true(r.added_bytes > 0 && r.added_bytes <= r.bytes);
	assert_true(r.build_ns > 0 && r.list_ns > 0 && r.decode_ns > 0 && r.diff_ns > 0 &&
		    r.lookup_p50_ns > 0);
	assert_true(r.lookup_p99_ns >= r.lookup_p50_ns);
}

static void paths_of_a_file_are_built_in_any_order(void **state)
{
	struct tables_config c = {.folder = *state, .count = 2, .lookups = 1};
	struct tables_result r;
	struct err err;
	char name[128];

	(void)snprintf(name, sizeof name, "%s.paths", (char *)*state);
	FILE *f = fopen(name, "w");
	assert_non_null(f);
	(void)fputs("usr/bin/b\nbin/a\nnot/taken\n", f);
	(void)fclose(f);
	c.paths = name;
	assert_int_equal(tables_run(&c, &r, &err), 0);
	assert_int_equal(r.files, 2);
	assert_int_equal(r.entries, 6);
	assert_int_equal(r.changed, 0);
	(void)unlink(name);
	assert_true(tables_run(&c, &r, &err) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(regular_paths_rise_and_are_all_different),
		cmocka_unit_test_setup_teardown(what_is_measured_is_what_was_built, setup, teardown),
		cmocka_unit_test_setup_teardown(paths_of_a_file_are_built_in_any_order, setup, teardown),
	};
	return cmocka_run_group_tests_name("tables", tests, NULL, NULL);
}
