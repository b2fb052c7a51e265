#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/mem.h"
#include "common/source/http_list.h"

#define HEAD   "#larder-list 1\n"
#define ZERO64 "0000000000000000000000000000000000000000000000000000000000000000"

struct seen {
	char text[2000];
	size_t len;
	int answer;
};

static int take(void *ctx, const struct http_list_entry *e)
{
	struct seen *s = ctx;

	s->len += (size_t)snprintf(s->text + s->len, sizeof s->text - s->len, "%s|%s|", e->path, e->key);
	if (e->has_size)
		s->len += (size_t)snprintf(s->text + s->len, sizeof s->text - s->len, "%llu",
					   (unsigned long long)e->size);
	s->len += (size_t)snprintf(s->text + s->len, sizeof s->text - s->len, "|%u%.*s,", e->validator.kind,
				   (int)e->validator.len, (const char *)e->validator.bytes);
	return s->answer;
}

/* Reads a list in pieces of @piece bytes. */
static int read_list(const char *text, size_t piece, struct seen *s, struct err *err)
{
	CLEANUP(http_list_free) struct http_list *l = NULL;
	int rc = http_list_new(take, s, &l);

	for (size_t at = 0, len = strlen(text); rc == 0 && at < len; at += piece)
		rc = http_list_feed(l, text + at, MIN(piece, len - at), err);
	return rc == 0 ? http_list_finish(l, err) : rc;
}

static void entries_are_read_in_any_pieces(void **state)
{
	static const char text[] = HEAD "# a comment\n\na%20b/c\n"
					"x\thttp://h/x?y\t12\t\"etag\"\tcrc32c:01234567\r\n"
					"y\tsub/y#old\t0\tlast-modified:Sun, 09 Sep 2001 01:46:40 GMT\n"
					"z\t-\t7\tW/\"e\"\tsha256:" ZERO64;
	static const char want[] = "a b/c|a%20b/c||0,x|http://h/x?y#crc32c:01234567|12|2etag,"
				   "y|sub/y|0|1mtime 1000000000 size 0,z|z#sha256:" ZERO64 "|7|1e,";

	for (size_t piece = 1; piece < sizeof text; piece++) {
		struct seen s = {0};
		struct err err = {0};
		assert_int_equal(read_list(text, piece, &s, &err), 0);
		assert_string_equal(s.text, want);
	}
}

static void mistakes_name_their_line(void **state)
{
	static const struct {
		const char *text, *words;
	} rows[] = {
		{"", "the list is empty"},
		{"<html>\n", "line 1 of the list: it must be \"#larder-list 1\""},
		{"#larder-list 2\n", "line 1 of the list"},
		{HEAD "../a\n", "line 2 of the list: \"../a\" is no path"},
		{HEAD "a//b\n", "is no path"},
		{HEAD "/a\n", "is no path"},
		{HEAD "a%00b\n", "is no path"},
		{HEAD "\tb\n", "is no path"},
		{HEAD "a\tb c\n", "is no URL"},
		{HEAD "a\t#x\n", "is no URL"},
		{HEAD "a\t-\t1k\n", "is no number of bytes"},
		{HEAD "a\t-\t9999999999999999999\n", "is no number of bytes"},
		{HEAD "a\t-\t-\tlast-modified:Sun, 09 Sep 2001 01:46:40 GMT\n", "needs the size"},
		{HEAD "a\t-\t1\tlast-modified:soon\n", "is no time"},
		{HEAD "a\t-\t1\tetag\n", "is neither an ETag"},
		{HEAD "a\t-\t1\t\"a\"b\"\n", "is neither an ETag"},
		{HEAD "a\t-\t1\t-\tmd5:00\n", "the checksum \"md5:00\""},
		{HEAD "a\t-\t1\t-\tcrc32c:0123456\n", "the checksum"},
		{HEAD "a\t-\t1\t-\t-\tmore\n", "over 5 fields"},
	};

	for (size_t i = 0; i < LENGTH(rows); i++) {
		struct seen s = {0};
		struct err err = {0};
		assert_int_equal(read_list(rows[i].text, 1000, &s, &err), -ERR_CORRUPT);
		if (!strstr(err.text, rows[i].words))
			fail_msg("\"%s\" does not say \"%s\"", err.text, rows[i].words);
	}
}

static void a_line_is_bounded_and_an_answer_ends_the_reading(void **state)
{
	CLEANUP(free_str) char *text = mem_alloc(HTTP_LIST_LINE_MAX + 100);
	struct seen s = {0};
	struct err err = {0};

	memset(text, 'x', HTTP_LIST_LINE_MAX + 99);
	text[HTTP_LIST_LINE_MAX + 99] = '\0';
	assert_int_equal(read_list(text, 1000, &s, &err), -ERR_CORRUPT);
	assert_non_null(strstr(err.text, "longer than"));
	s.answer = -ENOSPC;
	assert_int_equal(read_list(HEAD "a\nb\n", 100, &s, &err), -ENOSPC);
	assert_string_equal(s.text, "a|a||0,");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entries_are_read_in_any_pieces),
		cmocka_unit_test(mistakes_name_their_line),
		cmocka_unit_test(a_line_is_bounded_and_an_answer_ends_the_reading),
	};
	return cmocka_run_group_tests_name("http_list", tests, NULL, NULL);
}
