/* What becomes of entries that cannot all have their names: other names, and what is noted of it. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/manifest.h"
#include "common/manifest/conflicts.h"
#include "common/manifest/test_store.h"

static struct manifest *open_in(struct store *store, const struct hash256 *root)
{
	struct manifest_chunks chunks = {store_map, store_unmap, store};
	struct manifest *m = NULL;
	assert_int_equal(manifest_open(root, &chunks, &m, NULL), 0);
	return m;
}

static void names_no_file_system_can_hold_are_counted_and_left_out(void **state)
{
	char deep[2 * MANIFEST_NAME_MAX], deep_path[257] = "";
	memset(deep, 'x', sizeof deep);
	memcpy(deep_path, deep, 256);
	const struct {
		const char *path;
		size_t len;
	} bad[] = {{"", 0},       {"a//b", 4}, {"/a", 2},   {"a/", 2},   {".", 1},
		   {"a/../b", 6}, {"a/.", 3},  {"a\0b", 3}, {deep, 256}, {"..", 2}};
	struct store store = {0};
	struct manifest_sink sink = {store_put, &store};
	struct manifest_builder *b;
	struct hash256 root;
	struct manifest_stats stats;
	struct err err;
	int dir = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct manifest_builder_config config = {.temp_dir_fd = dir, .memory_max = 1 << 20};
	assert_int_equal(manifest_builder_new(&config, &b), 0);
	struct manifest_entry e = {.type = MANIFEST_FILE};
	for (size_t i = 0; i < LENGTH(bad); i++) {
		e.path = bad[i].path;
		e.path_len = bad[i].len;
		assert_int_equal(manifest_builder_add(b, &e, &err), 0);
	}
	e.path = "a";
	e.path_len = 1;
	assert_int_equal(manifest_builder_add(b, &e, &err), 0); /* beside a/b */
	e.path = "a-b";
	e.path_len = 3;
	assert_int_equal(manifest_builder_add(b, &e, &err), 0);
	e.path = "a/b";
	assert_int_equal(manifest_builder_add(b, &e, &err), 0);
	e.path = deep;
	e.path_len = MANIFEST_NAME_MAX;
	assert_int_equal(manifest_builder_add(b, &e, &err), 0); /* the longest name there may be */
	assert_int_equal(manifest_builder_finish(b, &sink, &root, &stats, &err), 0);
	assert_int_equal(stats.skipped, LENGTH(bad));
	assert_int_equal(stats.files, 4);
	assert_int_equal(stats.no_validator, 4);
	const struct conflicts *c = manifest_builder_conflicts(b);
	assert_int_equal(c->of[CONFLICT_LEFT_OUT].count, LENGTH(bad));
	assert_int_equal(c->of[CONFLICT_LEFT_OUT].named, LENGTH(bad));
	assert_string_equal(c->of[CONFLICT_LEFT_OUT].first[0].path, "");
	assert_string_equal(c->of[CONFLICT_LEFT_OUT].first[9].path, deep_path);
	assert_int_equal(c->of[CONFLICT_BESIDE].count, 1);
	assert_string_equal(c->of[CONFLICT_BESIDE].first[0].path, "a%~f");
	assert_int_equal(stats.dirs, 2);
	(void)manifest_builder_free(b);
	(void)close(dir);
	store_done(&store);
}

struct given {
	const char *path;
	enum manifest_type type;
	uint16_t source;
};

/* A builder's table of entries without anything but names. */
static struct manifest_builder *build_given(const struct given *rows, size_t count, bool backwards,
					    struct store *store, struct hash256 *ret)
{
	struct manifest_builder_config config = {
		.temp_dir_fd = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC), .memory_max = 1 << 20};
	struct manifest_sink sink = {store_put, store};
	struct manifest_builder *b;
	struct manifest_stats stats;
	struct err err;
	assert_int_equal(manifest_builder_new(&config, &b), 0);
	for (size_t i = 0; i < count; i++) {
		const struct given *g = &rows[backwards ? count - 1 - i : i];
		struct manifest_entry e = {
			.type = g->type, .source = g->source, .path = g->path, .path_len = strlen(g->path)};
		assert_int_equal(manifest_builder_add(b, &e, &err), 0);
	}
	assert_int_equal(manifest_builder_finish(b, &sink, ret, &stats, &err), 0);
	(void)close(config.temp_dir_fd);
	return b;
}

static void assert_named(const struct conflicts *c, enum conflict_kind kind, const char *want)
{
	char text[200] = "";
	for (size_t i = 0; i < c->of[kind].named; i++)
		(void)snprintf(text + strlen(text), sizeof text - strlen(text), "<%s %u>",
			       c->of[kind].first[i].path, c->of[kind].first[i].source);
	assert_string_equal(text, want);
	assert_int_equal(c->of[kind].count, c->of[kind].named);
}

static void files_of_several_sources_meet_by_the_rule(void **state)
{
	static const struct given rows[] = {
		{"a", MANIFEST_FILE, 0},     {"a", MANIFEST_FILE, 2},       {"a", MANIFEST_FILE, 1},
		{"a/b", MANIFEST_FILE, 1},   {"a/b/c", MANIFEST_FILE, 0},   {"a-b", MANIFEST_FILE, 0},
		{"d", MANIFEST_DIR, 0},      {"d", MANIFEST_DIR, 1},        {"e", MANIFEST_FILE, 0},
		{"e", MANIFEST_FILE, 0},     {"f%~e%~q", MANIFEST_FILE, 3}, {"%~e", MANIFEST_FILE, 0},
		{"%~e/x", MANIFEST_FILE, 0},
	};
	struct store store = {0};
	struct manifest_found f;
	struct hash256 root, again;
	for (int backwards = 0; backwards < 2; backwards++) {
		struct manifest_builder *b =
			build_given(rows, LENGTH(rows), backwards, &store, backwards ? &again : &root);
		const struct conflicts *c = manifest_builder_conflicts(b);
		assert_named(c, CONFLICT_COVERED, "<a 0><a 1>");
		assert_named(c, CONFLICT_BESIDE, "<%~e%~f 0><a%~f 2><a/b%~f 1>");
		assert_named(c, CONFLICT_ESCAPED, "<%~e/x 0><f%~e%~q 3>");
		assert_named(c, CONFLICT_LEFT_OUT, "");
		(void)manifest_builder_free(b);
	}
	assert_memory_equal(&root, &again, sizeof root);
	struct manifest *m = open_in(&store, &root);
	assert_int_equal(manifest_lookup(m, "a/b%~f", 6, &f), 0);
	size_t len;
	assert_string_equal(manifest_key(&f, &len), "a/b");
	assert_int_equal(manifest_lookup(m, "a/b/c", 5, &f), 0);
	(void)manifest_free(m);
	store_done(&store);
}

/* No source's key is shown there; what is given so all the same is left out, and nothing goes round. */
static void a_name_beside_a_folder_that_is_one_too_is_left_out(void **state)
{
	static const struct given rows[] = {
		{"a", MANIFEST_FILE, 4}, {"a/b", MANIFEST_FILE, 0}, {"a%~f/x", MANIFEST_FILE, 0}};
	struct store store = {0};
	struct hash256 root;
	struct manifest_builder *b = build_given(rows, LENGTH(rows), false, &store, &root);
	assert_named(manifest_builder_conflicts(b), CONFLICT_LEFT_OUT, "<a%~f 4>");
	assert_named(manifest_builder_conflicts(b), CONFLICT_BESIDE, "");
	(void)manifest_builder_free(b);
	store_done(&store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_no_file_system_can_hold_are_counted_and_left_out),
		cmocka_unit_test(files_of_several_sources_meet_by_the_rule),
		cmocka_unit_test(a_name_beside_a_folder_that_is_one_too_is_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
