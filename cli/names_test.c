#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "cli/human.h"
#include "cli/names.h"
#include "cli/nearest.h"
#include "cli/options.h"

static void a_dataset_is_read_with_namespace_and_path(void **state)
{
	static const struct {
		const char *text, *namespace_, *name, *path;
		bool has_path;
	} rows[] = {
		{"imagenet", "default", "imagenet", "", false},
		{"vision/imagenet", "vision", "imagenet", "", false},
		{"imagenet:/train/a.jpg", "default", "imagenet", "train/a.jpg", true},
		{"v/i:a/b:c", "v", "i", "a/b:c", true},
		{"i:/", "default", "i", "", true},
		{"i://x/**", "default", "i", "x/**", true},
	};
	struct dataset_ref ref;

	for (size_t i = 0; i < LENGTH(rows); i++) {
		assert_int_equal(dataset_ref_parse(rows[i].text, &ref, NULL), 0);
		assert_string_equal(ref.namespace_, rows[i].namespace_);
		assert_string_equal(ref.name, rows[i].name);
		assert_string_equal(ref.path, rows[i].path);
		assert_int_equal(ref.has_path, rows[i].has_path);
	}
}

static void a_wrong_dataset_name_is_refused_with_the_right_form(void **state)
{
	static const char *const wrong[] = {"",   "/",  "a/",    "/a", "A",   "a_b",
					    "-a", "a-", "a/b/c", ":",  ":/x", "a b"};
	struct dataset_ref ref = {.name = "kept"};
	struct err err;

	for (size_t i = 0; i < LENGTH(wrong); i++) {
		assert_int_not_equal(dataset_ref_parse(wrong[i], &ref, NULL), 0);
		assert_string_equal(ref.name, "kept");
	}
	assert_int_not_equal(dataset_ref_parse("image*", &ref, &err), 0);
	assert_non_null(strstr(err.text, "a glob stands only after the colon"));
	assert_int_not_equal(dataset_ref_parse_name("a:/x", &ref, &err), 0);
}

static void a_label_has_at_most_63_bytes(void **state)
{
	char text[66];

	memset(text, 'a', sizeof text);
	text[63] = 0;
	assert_true(name_label_valid(text));
	text[63] = 'a';
	text[64] = 0;
	assert_false(name_label_valid(text));
}

static void a_mistyped_word_finds_the_one_meant(void **state)
{
	static const char *const words[] = {"up",  "down", "status", "stat",    "ls",
					    "cat", "load", "evict",  "version", "doctor"};

	assert_string_equal(nearest_word("staus", words, LENGTH(words)), "status");
	assert_string_equal(nearest_word("laod", words, LENGTH(words)), "load");
	assert_string_equal(nearest_word("sta", words, LENGTH(words)), "stat");
	assert_null(nearest_word("frobnicate", words, LENGTH(words)));
	assert_null(nearest_word("x", words, LENGTH(words)));
	assert_int_equal(edit_distance("abcd", "acbd"), 1);
	assert_int_equal(edit_distance("", "abc"), 3);
	assert_int_equal(edit_distance("kitten", "sitting"), 3);
}

static void a_very_long_word_is_near_nothing(void **state)
{
	static const char *const words[] = {"up"};
	char word[300];

	memset(word, 'u', sizeof word);
	word[sizeof word - 1] = 0;
	assert_null(nearest_word(word, words, 1));
}

static void numbers_read_as_people_write_them(void **state)
{
	char count[HUMAN_COUNT_MAX], time[16], line[256];
	struct human_progress p = {.objects_done = 12,
				   .objects_total = 80,
				   .bytes_done = 1ULL << 30,
				   .bytes_total = 3ULL << 30,
				   .bytes_per_second = 1ULL << 29};

	assert_string_equal(human_count(0, count), "0");
	assert_string_equal(human_count(999, count), "999");
	assert_string_equal(human_count(1281167, count), "1,281,167");
	assert_string_equal(human_count(UINT64_MAX, count), "18,446,744,073,709,551,615");
	assert_string_equal(human_seconds(59, time), "59s");
	assert_string_equal(human_seconds(200, time), "3m20s");
	assert_string_equal(human_seconds(7500, time), "2h05m");
	assert_string_equal(human_seconds(90000, time), "1d01h");
	assert_string_equal(human_seconds(UINT64_MAX, time), "years");
	human_progress_line(&p, line, sizeof line);
	assert_string_equal(line, "1.0 GiB of 3.0 GiB (33%), 12 of 80 files, 512.0 MiB/s, 4s left");
	p.bytes_per_second = 0;
	p.objects_failed = 3;
	human_progress_line(&p, line, sizeof line);
	assert_string_equal(line, "1.0 GiB of 3.0 GiB (33%), 12 of 80 files, 0 B/s, 3 failed");
}

static void a_percentage_is_100_only_when_all_is_done(void **state)
{
	assert_int_equal(human_percent(0, 0), 100);
	assert_int_equal(human_percent(UINT64_MAX - 1, UINT64_MAX), 0); /* not 100: a double rounds there */
	assert_int_equal(human_percent(999, 1000), 99);
	assert_int_equal(human_percent(5, 5), 100);
}

enum { A = 1, B, C };
static const struct option_spec specs[] = {{A, 'f', "file", "FILE", "a file"},
					   {B, 'l', "long", NULL, "long"},
					   {C, 'R', "recursive", NULL, "deep"}};

static void options_and_operands_come_in_any_form(void **state)
{
	char *argv[] = {(char *)"ls", (char *)"x",   (char *)"--file=a", (char *)"-f",
			(char *)"b",  (char *)"-fc", (char *)"-lR",      (char *)"--file",
			(char *)"d",  (char *)"-",   (char *)"--",       (char *)"--long",
			NULL};
	static const struct {
		int id;
		const char *value;
	} want[] = {{OPTIONS_OPERAND, "x"},
		    {A, "a"},
		    {A, "b"},
		    {A, "c"},
		    {B, NULL},
		    {C, NULL},
		    {A, "d"},
		    {OPTIONS_OPERAND, "-"},
		    {OPTIONS_OPERAND, "--long"},
		    {OPTIONS_END, NULL}};
	struct options o = options_over(specs, LENGTH(specs), 12, argv);

	for (size_t i = 0; i < LENGTH(want); i++) {
		assert_int_equal(options_next(&o, NULL), want[i].id);
		if (want[i].value)
			assert_string_equal(o.value, want[i].value);
		else
			assert_null(o.value);
	}
}

static void wrong_options_are_refused_in_one_sentence(void **state)
{
	static const struct {
		const char *word, *sentence;
	} rows[] = {
		{"--recursiv", "unknown option \"--recursiv\"; did you mean \"--recursive\"?"},
		{"--zzz", "unknown option \"--zzz\""},
		{"-z", "unknown option \"-z\""},
		{"--long=x", "--long takes no value"},
		{"--file", "--file needs a value: --file FILE"},
		{"-lz", "unknown option \"-z\""},
	};
	struct err err;

	for (size_t i = 0; i < LENGTH(rows); i++) {
		char *argv[] = {(char *)"ls", (char *)rows[i].word, NULL};
		struct options o = options_over(specs, LENGTH(specs), 2, argv);
		int r;
		while ((r = options_next(&o, &err)) > 0)
			;
		assert_true(r < 0);
		assert_string_equal(err.text, rows[i].sentence);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_dataset_is_read_with_namespace_and_path),
		cmocka_unit_test(a_wrong_dataset_name_is_refused_with_the_right_form),
		cmocka_unit_test(a_label_has_at_most_63_bytes),
		cmocka_unit_test(a_mistyped_word_finds_the_one_meant),
		cmocka_unit_test(a_very_long_word_is_near_nothing),
		cmocka_unit_test(numbers_read_as_people_write_them),
		cmocka_unit_test(a_percentage_is_100_only_when_all_is_done),
		cmocka_unit_test(options_and_operands_come_in_any_form),
		cmocka_unit_test(wrong_options_are_refused_in_one_sentence),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
