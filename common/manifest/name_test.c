/* Keys as paths and back: the table of the rule, and what must hold of any key and of any path. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/rng.h"
#include "common/manifest/key.h"
#include "common/manifest/name.h"

#define X50  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define X200 X50 X50 X50 X50
#define X252 X200 X50 "xx"
#define E42  "ééééééééééééééééééééééééééééééééééééééééééé" /* 86 bytes */

static void keys_are_shown_by_the_rule(void **state)
{
	const struct {
		const char *key, *path, *beside; /* NULL: as the path, with the mark */
	} rows[] = {
		{"a", "a", NULL},
		{"größe/漢字/ .hidden /...", "größe/漢字/ .hidden /...", NULL},
		{"", "%~e", NULL},
		{"a//b", "a/%~e/b", NULL},
		{"/a", "%~e/a", NULL},
		{"a/", "a/%~e", NULL},
		{"//", "%~e/%~e/%~e", NULL},
		{".", ".%~d", NULL},
		{"a/../b/./c", "a/..%~d/b/.%~d/c", NULL},
		{"a%~e", "a%~e%~q", NULL},
		{"%~f/b", "%~f%~q/b", NULL},
		{"a%~q", "a%~q%~q", NULL},
		{"a%~e%~q", "a%~e%~q%~q", NULL},
		{"a%~x", "a%~x", NULL},
		{"%~ea", "%~ea", NULL},
		{"%00", "%00", NULL},
		{X252, X252, NULL},
		{X252 "x", X252 "x", X252 "%~c/x%~f"},
		{X252 "xyz", X252 "xyz", X252 "%~c/xyz%~f"},
		{X252 "xxxy/u", X252 "%~c/xxxy/u", NULL},
		{X252 X252 "123", X252 "%~c/" X252 "123", X252 "%~c/" X252 "%~c/123%~f"},
		{X252 "..", X252 "..", NULL},
		{X252 "....", X252 "%~c/....", NULL},
		{X252 X252 "....", X252 "%~c/" X252 "%~c/....", NULL},
		{X252 "%~c", X252 "%~c/%~c%~q", NULL},
		{X200 X50 "%~e", X200 X50 "%~%~c/e", NULL},
		{E42 E42 "éééééééééééééééééééééééééééééééééééééééé" /* 252 bytes */ "é"
			 "éx",
		 E42 E42 "éééééééééééééééééééééééééééééééééééééééé%~c/ééx", NULL},
		{"x" E42 E42 "éééééééééééééééééééééééééééééééééééééééé"
		 "é",
		 "x" E42 E42 "éééééééééééééééééééééééééééééééééééééééé"
		 "é",
		 NULL},
		{"x" E42 E42 "éééééééééééééééééééééééééééééééééééééééé"
		 "éy",
		 "x" E42 E42 "ééééééééééééééééééééééééééééééééééééééé%~c/ééy", NULL},
	};
	char path[MANIFEST_PATH_MAX + 1], want[MANIFEST_PATH_MAX + 1];
	size_t len;

	for (size_t i = 0; i < LENGTH(rows); i++) {
		assert_int_equal(name_of_key(rows[i].key, strlen(rows[i].key), false, path, &len), 0);
		assert_string_equal(path, rows[i].path);
		assert_int_equal(len, strlen(path));
		(void)snprintf(want, sizeof want, "%s%s", rows[i].path, "%~f");
		assert_int_equal(name_of_key(rows[i].key, strlen(rows[i].key), true, path, &len), 0);
		if (rows[i].beside || strlen(rows[i].path) < 250)
			assert_string_equal(path, rows[i].beside ? rows[i].beside : want);
	}
}

static void paths_that_no_key_has_are_refused(void **state)
{
	static const char *const rows[] = {"",
					   "a/",
					   "/a",
					   "a//b",
					   ".",
					   ".%~e",
					   "a%~e",
					   "a%~d",
					   "a%~q",
					   "a%~f/b",
					   "a%~c",
					   "a%~c/b",
					   "a%~f%~f",
					   "..%~q",
					   "a/..",
					   X252 "%~c/x",
					   X200 "%~c/" X200,
					   X252 "%~c/y%~f/z"};
	char key[MANIFEST_PATH_MAX + 1];
	size_t len;
	bool beside;

	for (size_t i = 0; i < LENGTH(rows); i++)
		assert_int_equal(name_to_key(rows[i], strlen(rows[i]), key, &len, &beside), -EINVAL);
}

static void too_long_a_path_is_said_to_be(void **state)
{
	char key[MANIFEST_PATH_MAX + 2], path[MANIFEST_PATH_MAX + 1];
	size_t len;

	for (size_t i = 0; i < sizeof key; i++)
		key[i] = i % 2 ? '/' : 'k';
	assert_int_equal(name_of_key(key, MANIFEST_PATH_MAX, false, path, &len), 0);
	assert_int_equal(name_of_key(key, MANIFEST_PATH_MAX + 1, false, path, &len), -ENAMETOOLONG);
	assert_int_equal(name_of_key(key, MANIFEST_PATH_MAX, true, path, &len), -ENAMETOOLONG);
	key[0] = '.';
	assert_int_equal(name_of_key(key, MANIFEST_PATH_MAX, false, path, &len), -ENAMETOOLONG);
	memset(key, '/', sizeof key);
	assert_int_equal(name_of_key(key, 1023, false, path, &len), 0);
	assert_int_equal(len, 4095);
	assert_int_equal(name_of_key(key, 1024, false, path, &len), -ENAMETOOLONG);
}

/* Keys made of what the rule is about. */
static size_t random_key(struct rng *r, char *out)
{
	static const char x200[] = X200;
	static const char *const words[] = {"/",    ".",   "%~e", "%~d", "%~c", "%~q",  "%~f",  "%",
					    "~",    "e",   "a",   "é",   "漢",  "\x80", "\xff", "\n",
					    "%~c/", "/%~", "//",  X50,   x200,  E42};
	size_t len = 0, count = 1 + rng_below(r, 12);

	for (size_t i = 0; i < count; i++) {
		const char *word = words[rng_below(r, LENGTH(words))];
		memcpy(out + len, word, strlen(word));
		len += strlen(word);
	}
	return len;
}

/* No component of valid UTF-8 is cut to one that is not. */
static bool ends_whole(const char *path, size_t len)
{
	size_t back = 0;

	while (back < 3 && back < len && ((unsigned char)path[len - 1 - back] & 0xc0) == 0x80)
		back++;
	if (back == len)
		return false;
	unsigned char lead = (unsigned char)path[len - 1 - back];
	size_t wants = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : lead >= 0xc0 ? 1 : 0;
	return wants == back;
}

static void assert_whole_pieces(const char *path)
{
	for (const char *p = path; (p = strstr(p, "%~c/")); p += 4)
		assert_true(ends_whole(path, (size_t)(p - path)));
}

static void assert_there_and_back(const char *key, size_t len, bool beside)
{
	char path[MANIFEST_PATH_MAX + 1], back[MANIFEST_PATH_MAX + 1], other[MANIFEST_PATH_MAX + 1];
	size_t path_len, back_len, other_len = 0;
	bool was;

	assert_int_equal(name_of_key(key, len, beside, path, &path_len), 0);
	assert_true(manifest_path_valid(path, path_len) && path_len > 0);
	assert_int_equal(name_to_key(path, path_len, back, &back_len, &was), 0);
	assert_int_equal(was, beside);
	assert_int_equal(back_len, len);
	assert_memory_equal(back, key, len);
	assert_int_equal(name_is_beside(path, path_len), beside);
	assert_false(name_is_piece(path, path_len));
	assert_int_equal(name_is_marked(path, path_len), path_len != len || memcmp(path, key, len) != 0);
	if (!memchr(key, 0x80, len) && !memchr(key, 0xff, len))
		assert_whole_pieces(path);
	assert_int_equal(
		(beside ? name_without_folder : name_beside_folder)(path, path_len, other, &other_len), 0);
	assert_int_equal(name_of_key(key, len, !beside, back, &back_len), 0);
	assert_int_equal(other_len, back_len);
	assert_memory_equal(other, back, back_len);
	assert_int_equal(
		(beside ? name_beside_folder : name_without_folder)(path, path_len, other, &other_len),
		-EINVAL);
}

static void any_key_has_a_path_and_that_path_that_key(void **state)
{
	struct rng r = rng_seeded(20261129);
	char key[4096];

	for (int i = 0; i < 100000; i++) {
		size_t len = random_key(&r, key);
		assert_there_and_back(key, len, i % 2);
	}
}

/* The other way: a path that is taken is that of its key. */
static void any_path_is_that_of_one_key_or_of_none(void **state)
{
	struct rng r = rng_seeded(4);
	char path[MANIFEST_PATH_MAX + 1], key[MANIFEST_PATH_MAX + 1], again[MANIFEST_PATH_MAX + 1];
	size_t taken = 0, key_len, again_len;
	bool beside;

	for (int i = 0; i < 100000; i++) {
		size_t len = random_key(&r, path);
		if (name_to_key(path, len, key, &key_len, &beside) != 0)
			continue;
		taken++;
		assert_int_equal(name_of_key(key, key_len, beside, again, &again_len), 0);
		assert_int_equal(again_len, len);
		assert_memory_equal(again, path, len);
	}
	assert_in_range(taken, 1000, 90000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_are_shown_by_the_rule),
		cmocka_unit_test(paths_that_no_key_has_are_refused),
		cmocka_unit_test(too_long_a_path_is_said_to_be),
		cmocka_unit_test(any_key_has_a_path_and_that_path_that_key),
		cmocka_unit_test(any_path_is_that_of_one_key_or_of_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
