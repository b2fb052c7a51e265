#include <errno.h>
#include <expat.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/base/rng.h"
#include "common/source/xml_scan.h"

/* What a scan said: "<name", the text, ">" for each element, pieces of text joined; a text's own brackets are marked. */
struct events {
	char text[64 << 10];
	size_t len;
	bool over; /* it did not fit */
};

static void note(struct events *e, const char *bytes, size_t len)
{
	if (len > sizeof e->text - e->len) {
		e->over = true;
		return;
	}
	memcpy(e->text + e->len, bytes, len);
	e->len += len;
}

static int on_open(void *ctx, const char *name, size_t len)
{
	note(ctx, "\x01", 1);
	note(ctx, name, len);
	note(ctx, "\x02", 1);
	return 0;
}

static int on_text(void *ctx, const char *bytes, size_t len)
{
	note(ctx, bytes, len);
	return 0;
}

static int on_close(void *ctx)
{
	note(ctx, "\x03", 1);
	return 0;
}

static const struct xml_handler handler = {on_open, on_text, on_close};

static void XMLCALL expat_open(void *ctx, const XML_Char *name, const XML_Char **attrs)
{
	(void)on_open(ctx, name, strlen(name));
}

static void XMLCALL expat_text(void *ctx, const XML_Char *text, int len)
{
	(void)on_text(ctx, text, (size_t)len);
}

static void XMLCALL expat_close(void *ctx, const XML_Char *name)
{
	(void)on_close(ctx);
}

/* Whether libexpat takes it. */
static bool by_expat(const char *xml, size_t len, struct events *ret)
{
	XML_Parser p = XML_ParserCreate(NULL);

	ret->len = 0;
	ret->over = false;
	assert_non_null(p);
	XML_SetUserData(p, ret);
	XML_SetElementHandler(p, expat_open, expat_close);
	XML_SetCharacterDataHandler(p, expat_text);
	bool taken = XML_Parse(p, xml, (int)len, XML_TRUE) == XML_STATUS_OK;
	XML_ParserFree(p);
	return taken;
}

/* A piece of @first bytes, then pieces of @step. 0 or a code; *ret_refused: it may be well-formed. */
static int by_scan(const char *xml, size_t len, size_t first, size_t step, struct events *ret,
		   bool *ret_refused)
{
	struct xml_scan x;
	int rc = 0;

	ret->len = 0;
	ret->over = false;
	xml_scan_init(&x, &handler, ret);
	for (size_t i = 0, n; i < len && rc == 0; i += n) {
		/* Of its own memory, so that a sanitizer sees what is read beyond the piece. */
		n = MIN(i == 0 ? first : step, len - i);
		char *piece = mem_alloc(n);
		memcpy(piece, xml + i, n);
		rc = xml_scan_feed(&x, piece, n);
		mem_free(piece);
	}
	if (rc == 0)
		rc = xml_scan_finish(&x);
	assert_true((rc == 0) == !xml_scan_why(&x));
	*ret_refused = x.refused;
	xml_scan_done(&x);
	return rc;
}

static struct {
	uint64_t taken, malformed, refused;
} seen;

/* Both take it and say the same, or neither takes it; what only the scan refuses it says so of. */
static void check_same(const char *xml, size_t len, size_t step)
{
	static struct events want, got;
	bool refused;
	bool taken = by_expat(xml, len, &want);
	int rc = by_scan(xml, len, step, step, &got, &refused);

	assert_true(rc == 0 || rc == -ERR_CORRUPT);
	if (refused) {
		seen.refused++;
		return;
	}
	if (taken != (rc == 0))
		fail_msg("in pieces of %zu: libexpat %s, the scan says %d: %.*s", step,
			 taken ? "takes it" : "does not", rc, (int)MIN(len, 4000u), xml);
	seen.taken += taken;
	seen.malformed += !taken;
	if (taken && (want.len != got.len || memcmp(want.text, got.text, want.len) != 0) && !want.over)
		fail_msg("in pieces of %zu: other events: %.*s", step, (int)MIN(len, 4000u), xml);
}

static void check_cut_everywhere(const char *xml, size_t len)
{
	static const size_t steps[] = {1, 2, 3, 5, 7, 8, 16, 61, SIZE_MAX / 2};

	for (size_t i = 0; i < LENGTH(steps); i++)
		check_same(xml, len, steps[i]);
}

/* Pieces of documents, malformed ones among them; those that fit together are many. */
static const char *const tokens[] = {
	"<a>",
	"</a>",
	"<b>",
	"</b>",
	"<Key>",
	"</Key>",
	"<Contents>",
	"</Contents>",
	"<a/>",
	"<b />",
	"<a b=\"1\">",
	"<a b='x&amp;y' c=\"&#65;\">",
	"<a b='1' b='2'>",
	"<a b>",
	"<a b=1>",
	"<a b='<'>",
	"<a b='&x;'>",
	"<a\n>",
	"< a>",
	"</a >",
	"</ a>",
	"</a b>",
	"<a b='1'c='2'>",
	"<a b = '1' />",
	"<x:a y:b='1'>",
	"</x:a>",
	"<a b='\r\n\t'>",
	"text",
	"a longer text of over sixteen bytes",
	"&lt;",
	"&gt;",
	"&amp;",
	"&quot;",
	"&apos;",
	"&#65;",
	"&#x41;",
	"&#xe9;",
	"&#x10ffff;",
	"&#x110000;",
	"&#0;",
	"&#xd800;",
	"&#xfffe;",
	"&#xffff;",
	"&#xfdd0;",
	"&#31;",
	"&#10;",
	"&#13;",
	"&#;",
	"&#x;",
	"&#99999999999999999999;",
	"&nope;",
	"&;",
	"& ",
	"&lt",
	"]",
	"]]",
	"]]>",
	">",
	"\r",
	"\n",
	"\r\n",
	"\t",
	" ",
	"\x7f",
	"\x01",
	"\x1f",
	"\xc3\xa9",
	"\xe6\x97\xa5",
	"\xf0\x9f\x98\x80",
	"\xc3",
	"\xc0\x80",
	"\xed\xa0\x80",
	"\xef\xbf\xbe",
	"\xef\xbf\xbf",
	"\xef\xbf\xbd",
	"\xf4\x90\x80\x80",
	"\xf8",
	"\x80",
	"\xe0\x80\x80",
	"\xf0\x80\x80\x80",
	"<!-- c -->",
	"<!---->",
	"<!-- - -->",
	"<!-- -- -->",
	"<!-->",
	"<!--->",
	"<!-- \xc3\xa9 -->",
	"<!-- \x01 -->",
	"<!--",
	"<![CDATA[x]]>",
	"<![CDATA[]]>",
	"<![CDATA[ ]] ]> < & ]]>",
	"<![CDATA[\r\n\r]]>",
	"<![CDATA[\x02]]>",
	"<![CDATA",
	"<!x>",
	"<?pi?>",
	"<?pi some ?>",
	"<\?\?>",
	"<? pi?>",
	"<?xml version=\"1.0\"?>",
	"<?xml version='1.0' encoding='UTF-8'?>",
	"<?xml version='1.0' encoding='utf-8' standalone='yes' ?>",
	"<?xml version='1.0' standalone='no'?>",
	"<?xml?>",
	"<?xml encoding='UTF-8'?>",
	"<?xml version='1.0'encoding='UTF-8'?>",
	"<?xml version='1.0' standalone='maybe'?>",
	"<?XML version='1.0'?>",
	"<?xml version=1.0?>",
	"<?xml  version = '1.0'?>",
	"<?xml version='1.0' x='y'?>",
	"<?xml version=''?>",
	"<?xml version='1.0' encoding='-'?>",
	"<?xml-x y?>",
	"<?p\x01?>",
	"\xef\xbb\xbf",
	"<",
	"</",
	"<a",
	"'",
	"\"",
	"=",
	"/>",
	"?>",
};

static size_t join_tokens(struct rng *rng, char *out, size_t room)
{
	size_t len = 0, depth = 0, count = 1 + rng_below(rng, 5);
	size_t open[16] = {0};
	bool orderly = rng_below(rng, 4) != 0; /* every element is closed where it must be */

	if (rng_below(rng, 3) == 0)
		len += (size_t)snprintf(out, room, "%s", tokens[rng_below(rng, LENGTH(tokens))]);
	if (orderly)
		len += (size_t)snprintf(out + len, room - len, "<r>");
	for (size_t i = 0; i < count && len + 128 < room; i++) {
		size_t t = rng_below(rng, LENGTH(tokens));
		if (orderly && t < 8 && t % 2 == 1) {
			if (depth == 0)
				continue;
			t = open[--depth] + 1;
		}
		if (orderly && t < 8 && t % 2 == 0)
			open[depth++] = t;
		len += (size_t)snprintf(out + len, room - len, "%s", tokens[t]);
	}
	while (orderly && depth > 0)
		len += (size_t)snprintf(out + len, room - len, "%s", tokens[open[--depth] + 1]);
	if (orderly)
		len += (size_t)snprintf(out + len, room - len, "</r>");
	return len;
}

static void whatever_is_put_together_is_read_as_libexpat_reads_it(void **state)
{
	static const size_t steps[] = {1, 2, 3, 7, 9, 17, 4096};
	struct rng rng;
	char xml[4096];

	rng = rng_seeded(20261129);
	memset(&seen, 0, sizeof seen);
	for (int i = 0; i < 200000; i++)
		check_same(xml, join_tokens(&rng, xml, sizeof xml), steps[rng_below(&rng, LENGTH(steps))]);
	if (seen.taken < 10000 || seen.malformed < 10000)
		fail_msg("%llu were taken, %llu malformed: that says little", (unsigned long long)seen.taken,
			 (unsigned long long)seen.malformed);
}

static void every_token_alone_and_inside_is_read_as_libexpat_reads_it(void **state)
{
	char xml[512];

	for (size_t i = 0; i < LENGTH(tokens); i++)
		for (size_t j = 0; j < LENGTH(tokens); j++) {
			static const char *const forms[][3] = {
				{"", "", ""}, {"", "<r>", "</r>"}, {"<r>", "", "</r>"}, {"<r/>", "", ""}};
			for (size_t f = 0; f < LENGTH(forms); f++) {
				int len = snprintf(xml, sizeof xml, "%s%s%s%s%s", forms[f][0], tokens[i],
						   forms[f][1], tokens[j], forms[f][2]);
				check_same(xml, (size_t)len, 1);
				check_same(xml, (size_t)len, SIZE_MAX / 2);
			}
		}
}

static const char page[] =
	"\xef\xbb\xbf<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
	"<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
	"<Name>b</Name><!-- made --><Prefix/><IsTruncated>false</IsTruncated>\r\n<Contents><Key>a/&#x1F600;&amp;\xc3\xa9]]b</Key>"
	"<LastModified>2009-10-12T17:50:30.000Z</LastModified><ETag>&quot;fba9dede5f27731c9771645a39863328&quot;</ETag>"
	"<Size>434234</Size><Owner><ID>x</ID></Owner><![CDATA[ <&]] ]]></Contents></ListBucketResult>\n";

static char changed_byte(struct rng *rng)
{
	static const char marks[] = "<>&;]['\"/?!-= \n\r";

	if (rng_below(rng, 2))
		return marks[rng_below(rng, sizeof marks - 1)];
	return (char)rng_below(rng, 256);
}

static void a_page_that_a_byte_was_changed_in_is_read_as_libexpat_reads_it(void **state)
{
	struct rng rng;
	char xml[sizeof page];

	check_cut_everywhere(page, sizeof page - 1);
	for (size_t len = 0; len < sizeof page - 1; len++)
		check_same(page, len, 11);
	rng = rng_seeded(7);
	for (int i = 0; i < 100000; i++) {
		size_t len = sizeof page - 1;
		memcpy(xml, page, len);
		for (uint64_t n = 1 + rng_below(&rng, 2); n > 0; n--)
			xml[rng_below(&rng, len)] = changed_byte(&rng);
		check_same(xml, len, 1 + rng_below(&rng, 40));
	}
}

/* What a first piece leaves over is joined with the start of a second that is far longer, which goes on where it lies. */
static void a_long_piece_goes_on_after_any_cut(void **state)
{
	static const char inside[] =
		"<Contents a='&lt;'><Key>a/&#x1F600;&amp;\xc3\xa9]]b\r\n</Key><!-- c --><E/>"
		"<![CDATA[ <&]] ]]></Contents>\r";
	static char xml[8 * XML_MARKUP_MAX];
	static struct events want, got;
	size_t len = (size_t)snprintf(xml, sizeof xml, "\xef\xbb\xbf<?xml version='1.0'?><r>"), refusals = 0;

	while (len < 3 * XML_MARKUP_MAX)
		len += (size_t)snprintf(xml + len, sizeof xml - len, "%s", inside);
	/* A text and a comment over the end of what is joined, and over more than that. */
	for (size_t i = 0; i < 2; i++) {
		len += (size_t)snprintf(xml + len, sizeof xml - len, i ? "<!--" : "<t>");
		memset(xml + len, 'x', 2 * XML_MARKUP_MAX);
		len += 2 * XML_MARKUP_MAX;
		len += (size_t)snprintf(xml + len, sizeof xml - len, i ? "-->" : "</t>");
	}
	len += (size_t)snprintf(xml + len, sizeof xml - len, "</r>");
	assert_true(by_expat(xml, len, &want));
	assert_false(want.over);
	for (size_t cut = 1; cut < len; cut += cut < 400 ? 1 : 97) {
		bool refused;
		int rc = by_scan(xml, len, cut, len, &got, &refused);
		refusals += refused; /* where the comment is cut, which is larger than what is taken then */
		if (!refused && (rc || want.len != got.len || memcmp(want.text, got.text, want.len) != 0))
			fail_msg("cut at %zu: %d, or other events", cut, rc);
	}
	assert_in_range(refusals, 1, 2 * XML_MARKUP_MAX / 97 + 1);
}

struct refusal {
	const char *xml, *why;
};

static void what_is_more_than_stores_write_is_refused_with_words(void **state)
{
	static const struct refusal rows[] = {
		{"<!DOCTYPE a><a/>", "a document type"},
		{"<?xml version='1.0' encoding='ISO-8859-1'?><a/>", "an encoding other than UTF-8"},
		{"<?xml version='1.1'?><a/>", "a version of XML other than 1.0"},
		{"<\xc3\xa9/>", "a name beyond ASCII"},
		{"<a \xc3\xa9='1'/>", "a name beyond ASCII"},
		{"<a a='' b='' c='' d='' e='' f='' g='' h='' i='' j='' k='' l='' m='' n='' o='' p='' q=''/>",
		 "too many attributes"},
	};

	for (size_t i = 0; i < LENGTH(rows); i++) {
		static struct events events;
		struct xml_scan x;
		xml_scan_init(&x, &handler, &events);
		assert_int_equal(xml_scan_feed(&x, rows[i].xml, strlen(rows[i].xml)), -ERR_CORRUPT);
		assert_string_equal(xml_scan_why(&x), rows[i].why);
		assert_true(x.refused);
		assert_int_equal(xml_scan_feed(&x, "<a/>", 4), -ERR_CORRUPT);
		xml_scan_reset(&x);
		assert_int_equal(xml_scan_feed(&x, "<a/>", 4), 0);
		assert_int_equal(xml_scan_finish(&x), 0);
		xml_scan_done(&x);
	}
}

/* @head once, then @again until the scan says no. */
static const char *feed_without_end(const char *head, const char *again)
{
	static struct events events;
	struct xml_scan x;
	int rc;

	xml_scan_init(&x, &handler, &events);
	rc = xml_scan_feed(&x, head, strlen(head));
	for (size_t fed = 0; rc == 0 && fed < 1 << 20; fed += strlen(again))
		rc = xml_scan_feed(&x, again, strlen(again));
	assert_int_equal(rc, -ERR_CORRUPT);
	assert_true(x.refused);
	const char *why = xml_scan_why(&x);
	xml_scan_done(&x);
	return why;
}

static void nothing_grows_without_end(void **state)
{
	static const char dots[] = "................................................................";

	assert_string_equal(feed_without_end("<!--", dots), "a piece of markup that is too long");
	assert_string_equal(feed_without_end("<a", dots), "a piece of markup that is too long");
	assert_string_equal(feed_without_end("<a><![CDATA[", dots), "a piece of markup that is too long");
	assert_string_equal(feed_without_end("<a>&a", dots), "a reference that is too long");
	assert_string_equal(feed_without_end("<a>", "<b>"), "too many elements inside each other");
	assert_string_equal(
		feed_without_end(
			"<a>",
			"<abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz>"),
		"names that are too long");
}

static int no_open(void *ctx, const char *name, size_t len)
{
	return len == 4 ? -ENOSPC : 0;
}

static int no_text(void *ctx, const char *bytes, size_t len)
{
	return *bytes == '!' ? -EPERM : 0;
}

static int no_close(void *ctx)
{
	return --*(int *)ctx == 0 ? -EIO : 0;
}

static void what_a_handler_says_ends_the_scan(void **state)
{
	static const struct {
		const char *xml;
		int rc;
	} rows[] = {
		{"<a><nope>", -ENOSPC},       {"<a>b!c</a>", 0}, {"<a>!", -EPERM},  {"<a>&#33;", -EPERM},
		{"<a><![CDATA[!]]>", -EPERM}, {"<a/>", -EIO},    {"<a></a>", -EIO}, {"<nope/>", -ENOSPC},
		{"<a><![CDATA[x\r\n!]]>", 0},
	};
	static const struct xml_handler refusing = {no_open, no_text, no_close};

	for (size_t i = 0; i < LENGTH(rows); i++) {
		struct xml_scan x;
		int closes = rows[i].rc == 0 ? 2 : 1;
		xml_scan_init(&x, &refusing, &closes);
		assert_int_equal(xml_scan_feed(&x, rows[i].xml, strlen(rows[i].xml)), rows[i].rc);
		assert_null(xml_scan_why(&x));
		xml_scan_done(&x);
	}
}

static void running_out_of_memory_is_reported(void **state)
{
	static struct events events;

	for (int n = 0; n < 2; n++) {
		struct xml_scan x;
		int rc = 0;
		events.len = 0;
		xml_scan_init(&x, &handler, &events);
		mem_fail_after(n, 0);
		for (size_t i = 0; i < sizeof page - 1 && rc == 0; i++)
			rc = xml_scan_feed(&x, page + i, 1);
		mem_fail_after(-1, 0);
		assert_int_equal(rc, -ENOMEM);
		xml_scan_done(&x);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_token_alone_and_inside_is_read_as_libexpat_reads_it),
		cmocka_unit_test(whatever_is_put_together_is_read_as_libexpat_reads_it),
		cmocka_unit_test(a_page_that_a_byte_was_changed_in_is_read_as_libexpat_reads_it),
		cmocka_unit_test(a_long_piece_goes_on_after_any_cut),
		cmocka_unit_test(what_is_more_than_stores_write_is_refused_with_words),
		cmocka_unit_test(nothing_grows_without_end),
		cmocka_unit_test(what_a_handler_says_ends_the_scan),
		cmocka_unit_test(running_out_of_memory_is_reported),
	};
	return cmocka_run_group_tests_name("xml_scan", tests, NULL, NULL);
}
