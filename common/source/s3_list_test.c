#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/source/response.h"
#include "common/source/s3_list.h"

static const struct source_entry *entries;
static size_t count;
static const char *token;
static struct s3_list_page page;

/* Feeds @xml in pieces of @step bytes. */
static int parse(struct s3_list *l, const char *xml, size_t step, struct err *err)
{
	size_t len = strlen(xml);
	int rc = 0;

	s3_list_reset(l);

	for (size_t i = 0; rc == 0 && i < len; i += step)
		rc = s3_list_feed(l, xml + i, MIN(step, len - i), err);
	if (rc == 0)
		rc = s3_list_finish(l, err);
	if (rc == 0) {
		s3_list_look(l, (struct s3_key){0}, (struct s3_key){0}, &page);
		entries = page.entries;
		count = page.count;
		token = page.token;
	}
	return rc;
}

#define ROOT(x)    "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"x\">" x "</ListBucketResult>"
#define ENTRY(key) "<Contents><Key>" key "</Key><Size>1</Size></Contents>"

static void a_page_gives_its_entries_however_it_is_cut(void **state)
{
	static const char xml[] = ROOT(
		"<Prefix>p/</Prefix><IsTruncated>true</IsTruncated><NextContinuationToken>a&amp;b+%20</NextContinuationToken>"
		"<EncodingType>url</EncodingType>"
		"<Contents><Key>p/x+y%2Bz%C3%A9%zz</Key><LastModified>2009-10-12T17:50:30.250Z</LastModified>"
		"<ETag>&quot;abc&quot;</ETag><Size>434234</Size><Owner><ID>Size</ID><Key>no</Key></Owner></Contents>"
		"<Contents><Key>p/dir/</Key><ETag>W/\"w\"</ETag><Size>0</Size></Contents>"
		"<CommonPrefixes><Prefix>p/c/</Prefix></CommonPrefixes>"
		"<Contents><Key>p/</Key><Size>0</Size></Contents><Contents><Key>p//</Key><Size>0</Size></Contents>"
		"<Contents><Key>p/full/</Key><Size>7</Size></Contents>");
	struct s3_list *l = NULL;

	assert_int_equal(s3_list_new("p/", "", &l), 0);
	for (size_t step = 1; step <= sizeof xml; step += step < 8 ? 1 : 97) {
		assert_int_equal(parse(l, xml, step, NULL), 0);
		assert_int_equal(count, 4);
		assert_string_equal(token, "a&b+%20");
		assert_int_equal(entries[0].type, SOURCE_TYPE_FILE);
		assert_int_equal(entries[0].key_len, 10);
		assert_memory_equal(entries[0].key, "x y+z\xc3\xa9%zz", 10);
		assert_int_equal(entries[0].size, 434234);
		assert_int_equal(entries[0].mtime_ns, 1255369830 * NS_PER_S + 250 * NS_PER_MS);
		assert_int_equal(entries[0].validator.kind, VALIDATOR_STRONG);
		assert_memory_equal(entries[0].validator.bytes, "abc", 3);
		assert_int_equal(entries[1].type, SOURCE_TYPE_DIR);
		assert_int_equal(entries[1].key_len, 3);
		assert_int_equal(entries[1].validator.kind, VALIDATOR_WEAK);
		assert_int_equal(entries[2].type, SOURCE_TYPE_DIR);
		assert_int_equal(entries[2].key_len, 0);
		assert_int_equal(entries[3].type, SOURCE_TYPE_FILE); /* a marker with bytes in it */
		assert_int_equal(entries[3].key_len, 5);
		assert_int_equal(entries[3].size, 7);
	}
	s3_list_free(l);
}

static void keys_that_are_not_encoded_stay_as_they_are(void **state)
{
	struct s3_list *l = NULL;

	assert_int_equal(s3_list_new("", "", &l), 0);
	assert_int_equal(parse(l, ROOT(ENTRY("a+b%20c") "<IsTruncated>false</IsTruncated>"), 1000, NULL), 0);
	assert_int_equal(count, 1);
	assert_memory_equal(entries[0].key, "a+b%20c", 7);
	assert_null(token);
	assert_int_equal(parse(l, ROOT(""), 1000, NULL), 0);
	assert_int_equal(count, 0);
	s3_list_free(l);
}

static void what_is_no_listing_is_refused(void **state)
{
	static const char *const rows[] = {
		"",
		"<",
		"hello",
		"<html></html>",
		"<Error><Code>x</Code></Error>",
		"<ListBucketResult>",
		"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
		"<!DOCTYPE x [<!ENTITY e \"x\">]><ListBucketResult></ListBucketResult>",
		ROOT("<Contents><Size>1</Size></Contents>"),
		ROOT("<Contents><Key></Key><Size>1</Size></Contents>"),
		ROOT("<Contents><Key>p/a</Key></Contents>"),
		ROOT("<Contents><Key>p/a</Key><Size>-1</Size></Contents>"),
		ROOT("<Contents><Key>p/a</Key><Size>1000000000000000000000</Size></Contents>"),
		ROOT(ENTRY("q/a")),
		ROOT(ENTRY("p")),
		ROOT("<EncodingType>url</EncodingType>" ENTRY("p/%00")),
		ROOT("<a><b><c><d><e><f><g><h><i></i></h></g></f></e></d></c></b></a>"),
	};
	struct s3_list *l = NULL;

	assert_int_equal(s3_list_new("p/", "", &l), 0);
	for (size_t i = 0; i < LENGTH(rows); i++) {
		struct err err = {0};
		int rc = parse(l, rows[i], 7, &err);
		if (rc != -ERR_CORRUPT || !err.text[0])
			fail_msg("row %zu: %d %s", i, rc, err.text);
	}
	s3_list_free(l);
}

static void pages_without_end_are_refused(void **state)
{
	struct s3_list *l = NULL;
	struct err err = {0};
	int rc = 0;

	assert_int_equal(s3_list_new("", "", &l), 0);
	assert_int_equal(s3_list_feed(l, "<ListBucketResult>", 18, &err), 0);
	for (int i = 0; rc == 0 && i <= S3_LIST_ENTRIES_MAX; i++)
		rc = s3_list_feed(l, ENTRY("k"), strlen(ENTRY("k")), &err);
	assert_int_equal(rc, -ERR_CORRUPT);
	assert_non_null(strstr(err.text, "over 10000 entries"));
	s3_list_reset(l);
	assert_int_equal(s3_list_feed(l, "<ListBucketResult><Contents><Key>", 33, &err), 0);
	char many[4096];
	memset(many, 'k', sizeof many);
	for (rc = 0; rc == 0;)
		rc = s3_list_feed(l, many, sizeof many, &err);
	assert_non_null(strstr(err.text, "a text of over"));
	s3_list_free(l);
}

static void running_out_of_memory_is_reported_and_leaks_nothing(void **state)
{
	int rc = -ENOMEM;

	for (int n = 0; rc < 0; n++) {
		struct s3_list *l = NULL;
		assert_true(n < 100);
		mem_fail_after(n, 0);
		rc = s3_list_new("", "", &l);
		if (rc == 0)
			rc = parse(l, ROOT(ENTRY("a") ENTRY("b")), 1000, NULL);
		mem_fail_after(-1, 0);
		assert_true(rc == 0 || rc == -ENOMEM);
		s3_list_free(l);
	}
}

#define VERSION(key, id, latest)                                                                  \
	"<Version><Key>" key "</Key><VersionId>" id "</VersionId><IsLatest>" latest "</IsLatest>" \
	"<ETag>\"e\"</ETag><Size>7</Size></Version>"

#define HIDDEN(key) \
	"<DeleteMarker><Key>" key "</Key><VersionId>v10</VersionId><IsLatest>true</IsLatest></DeleteMarker>"

static void of_versions_the_latest_count_unless_they_are_deleted(void **state)
{
	static const char xml[] =
		"<ListVersionsResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>"
		"<NextKeyMarker>p/z%20+</NextKeyMarker>"
		"<NextVersionIdMarker>v/1</NextVersionIdMarker>" /* a page ends between two versions */
		VERSION("p/a", "v2", "true") VERSION("p/a", "v1", "false") VERSION("p/b", "v9", "false")
			HIDDEN("p/b") VERSION("p/c", "null", "true") "</ListVersionsResult>";
	struct s3_list *l = NULL;
	size_t len = 0;

	assert_int_equal(s3_list_new("p/", "", &l), 0);
	for (size_t step = 1; step < 400; step += 7) {
		assert_int_equal(parse(l, xml, step, NULL), 0);
		assert_int_equal(count, 2);
		assert_memory_equal(entries[0].key, "a", 1);
		assert_memory_equal(s3_version_of(&entries[0].validator, &len), "v2", 2);
		assert_int_equal(len, 2);
		assert_memory_equal(entries[1].key, "c", 1);
		assert_null(
			s3_version_of(&entries[1].validator, &len)); /* written before versions were kept */
		assert_memory_equal(entries[1].validator.bytes, "e", 1);
		assert_string_equal(token, "key-marker=p%2Fz%20%20&version-id-marker=v%2F1");
	}
	s3_list_free(l);
}

static struct s3_key key(const char *text)
{
	return (struct s3_key){text, strlen(text)};
}

static void a_page_is_looked_at_as_a_part_of_a_range(void **state)
{
	static const char xml[] =
		ROOT(ENTRY("p/s/a") ENTRY("p/s/b/") ENTRY("p/s/c") "<IsTruncated>false</IsTruncated>");
	static const char turned[] = ROOT(ENTRY("p/s/b") ENTRY("p/s/a")),
			  twice[] = ROOT(ENTRY("p/s/b") ENTRY("p/s/b"));
	const struct s3_key none = {0};
	struct s3_list *l = NULL;

	assert_int_equal(s3_list_new("p/", "s/", &l), 0);
	assert_int_equal(parse(l, xml, 1000, NULL), 0);
	assert_true(page.ordered && page.keys == 3 && page.count == 3 && !page.beyond.bytes);
	assert_int_equal(s3_key_compare(page.last, key("p/s/c")), 0);
	s3_list_look(l, key("p/s/"), key("p/s/b/"), &page);
	assert_true(page.ordered && page.keys == 3 && page.count == 2);
	assert_int_equal(s3_key_compare(page.beyond, key("p/s/c")), 0);
	s3_list_look(l, key("p/s/a"), key("p/s/0"), &page);
	assert_true(!page.ordered && page.count == 0);
	assert_int_equal(s3_key_compare(page.beyond, page.first), 0);
	assert_int_equal(parse(l, turned, 1000, NULL), 0);
	assert_false(page.ordered);
	assert_int_equal(parse(l, twice, 1000, NULL), 0);
	assert_false(page.ordered);
	assert_int_equal(parse(l, ROOT(""), 1000, NULL), 0);
	assert_true(page.ordered && page.keys == 0 && !page.first.bytes && !page.last.bytes);
	assert_int_equal(parse(l, ROOT(ENTRY("p/t")), 1000, NULL), -ERR_CORRUPT);
	assert_int_equal(parse(l,
			       "<ListVersionsResult>" VERSION("p/s/a", "2", "true")
				       VERSION("p/s/a", "1", "false") "</ListVersionsResult>",
			       1000, NULL),
			 0);
	s3_list_look(l, key("p/s/a"), none, &page); /* the rest of the versions of a key */
	assert_true(page.ordered && page.keys == 2 && page.count == 1);
	assert_int_equal(
		parse(l,
		      "<ListVersionsResult>" VERSION("p/s/a", "2", "true") VERSION(
			      "p/s/c", "1",
			      "true") "<DeleteMarker><Key>p/s/b</Key><VersionId>3</VersionId><IsLatest>true</IsLatest>"
				      "</DeleteMarker></ListVersionsResult>",
		      1000, NULL),
		0);
	assert_true(page.ordered &&
		    page.keys == 2); /* versitygw and moto list delete markers behind all versions */
	assert_int_equal(s3_key_compare(page.last, key("p/s/c")), 0);
	s3_list_free(l);
}

static void times_are_read_or_left_out(void **state)
{
	static const struct {
		const char *text;
		int64_t s;
	} rows[] = {{"1970-01-01T00:00:00Z", 0},          {"2000-02-29T12:00:01Z", 951825601},
		    {"2024-12-31T23:59:59Z", 1735689599}, {"2100-03-01T00:00:00Z", 4107542400},
		    {"1969-12-31T00:00:00Z", 0},          {"2024-13-01T00:00:00Z", 0},
		    {"2024-01-01 00:00:00", 0},           {"2024-1", 0}};
	struct s3_list *l = NULL;
	char xml[256];

	assert_int_equal(s3_list_new("", "", &l), 0);
	for (size_t i = 0; i < LENGTH(rows); i++) {
		snprintf(
			xml, sizeof xml,
			ROOT("<Contents><Key>a</Key><LastModified>%s</LastModified><Size>1</Size></Contents>"),
			rows[i].text);
		assert_int_equal(parse(l, xml, 1000, NULL), 0);
		assert_int_equal(entries[0].mtime_ns, rows[i].s * NS_PER_S);
	}
	s3_list_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(of_versions_the_latest_count_unless_they_are_deleted),
		cmocka_unit_test(a_page_gives_its_entries_however_it_is_cut),
		cmocka_unit_test(keys_that_are_not_encoded_stay_as_they_are),
		cmocka_unit_test(what_is_no_listing_is_refused),
		cmocka_unit_test(pages_without_end_are_refused),
		cmocka_unit_test(a_page_is_looked_at_as_a_part_of_a_range),
		cmocka_unit_test(times_are_read_or_left_out),
		cmocka_unit_test(running_out_of_memory_is_reported_and_leaks_nothing),
	};
	return cmocka_run_group_tests_name("s3_list", tests, NULL, NULL);
}
