/* Parts of a tree: which paths belong to them, and where they are listed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "cache-node/sync/scope.h"

static struct sync_scope scope_of(char **globs)
{
	struct sync_scope s = {.globs = globs};

	while (globs[s.count])
		s.count++;
	return s;
}

static void a_part_has_the_files_that_its_globs_match(void **state)
{
	char *globs[] = {(char *)"a/b", (char *)"a/b/**", (char *)"c/*.jpg", NULL};
	struct sync_scope s = scope_of(globs), all = {.count = 0};
	const struct {
		const char *path;
		bool in;
	} rows[] = {{"a/b", true},     {"a/b/c/d", true},    {"a/bc", false},   {"a", false},
		    {"c/x.jpg", true}, {"c/d/x.jpg", false}, {"c/x.png", false}};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		assert_int_equal(sync_scope_has(&s, rows[i].path, strlen(rows[i].path)), rows[i].in);
		assert_true(sync_scope_has(&all, rows[i].path, strlen(rows[i].path)));
	}
}

static void files_beside_folders_belong_to_a_part_by_either_name(void **state)
{
	char *globs[] = {(char *)"d/a%~f", (char *)"e/*%~f", (char *)"f/b", NULL};
	struct sync_scope s = scope_of(globs);

	assert_true(sync_scope_has(&s, "d/a", 3));
	assert_false(sync_scope_has(&s, "d/b", 3));
	assert_true(sync_scope_has(&s, "e/b", 3));
	assert_true(sync_scope_has(&s, "f/b", 3));
	assert_false(sync_scope_has(&s, "f/b%~f", 6)); /* the path of a folder's file is not given */
}

static void roots_are_the_deepest_folders_that_hold_all(void **state)
{
	const struct {
		char *globs[5];
		const char *roots; /* a literal one with "!" */
	} rows[] = {
		{{NULL}, "<>"},
		{{(char *)"a/b", NULL}, "<a/b!>"},
		{{(char *)"a/b", (char *)"a/b/**", NULL}, "<a/b!>"},
		{{(char *)"a/b/**", (char *)"a/b", NULL}, "<a/b!>"},
		{{(char *)"a/b*/c", NULL}, "<a>"},
		{{(char *)"*.jpg", (char *)"a", NULL}, "<>"},
		{{(char *)"a/x", (char *)"a/*.jpg", NULL}, "<a>"},
		{{(char *)"a/*.jpg", (char *)"a/x/y", NULL}, "<a>"},
		{{(char *)"a/b/*", (char *)"a/bc/*", (char *)"d/**", NULL}, "<a/b><a/bc><d>"},
		{{(char *)"a/x\\*y/z", NULL}, "<a>"},
		{{(char *)"a/b/c", (char *)"a/b/d", (char *)"a/**", NULL}, "<a>"},
		{{(char *)"d/a%~f", NULL}, "<d/a!>"},
		{{(char *)"d/a%~f*", NULL}, "<d>"},
		{{(char *)"d/x%~c/y", NULL}, "<d/x%~c/y!>"},
		{{(char *)"d/x%~c/y%~c/*", NULL}, "<d>"},
		{{(char *)"d/x%~c", NULL}, "<d>"},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct sync_scope s = scope_of((char **)(uintptr_t)rows[i].globs);
		struct scope_root roots[5];
		char text[100] = "";
		size_t count = sync_scope_roots(&s, roots);
		for (size_t j = 0; j < count; j++)
			snprintf(text + strlen(text), sizeof text - strlen(text), "<%.*s%s>",
				 (int)roots[j].len, roots[j].path, roots[j].literal ? "!" : "");
		assert_string_equal(text, rows[i].roots);
	}
}

static void below_is_by_whole_components(void **state)
{
	assert_true(scope_is_below("a/b", 3, "a", 1, false));
	assert_false(scope_is_below("ab", 2, "a", 1, false));
	assert_false(scope_is_below("a", 1, "a", 1, false));
	assert_true(scope_is_below("a", 1, "a", 1, true));
	assert_true(scope_is_below("a", 1, "", 0, false));
	assert_false(scope_is_below("", 0, "", 0, false));
	assert_int_equal(scope_parent("a/b/c", 5), 3);
	assert_int_equal(scope_parent("a", 1), 0);
	assert_int_equal(scope_parent("", 0), 0);
	assert_int_equal(scope_parent("a/x%~c/y%~c/z", 13), 1);
	assert_int_equal(scope_parent("x%~c/y", 6), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_part_has_the_files_that_its_globs_match),
		cmocka_unit_test(files_beside_folders_belong_to_a_part_by_either_name),
		cmocka_unit_test(roots_are_the_deepest_folders_that_hold_all),
		cmocka_unit_test(below_is_by_whole_components),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
