#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/clock.h"
#include "common/source/response.h"

static void header(struct response *r, const char *name, const char *value)
{
	response_header(r, 1000000000 * NS_PER_S, name, strlen(name), value, strlen(value));
}

static void headers_are_read_whatever_their_case(void **state)
{
	struct response r = {0};

	header(&r, "CONTENT-length", "10");
	header(&r, "Content-Range", "bytes 5-14/100");
	header(&r, "etag", "\"abc\"");
	header(&r, "Last-Modified", "Sun, 09 Sep 2001 01:46:40 GMT");
	header(&r, "x-amz-request-id", "ID\x01\xff");
	header(&r, "Content-Lengthy", "nonsense");
	assert_false(r.bad);
	assert_true(r.has_length && r.has_range && r.has_total);
	assert_int_equal(r.length, 10);
	assert_int_equal(r.range_first, 5);
	assert_int_equal(r.range_last, 14);
	assert_int_equal(r.total, 100);
	assert_int_equal(r.mtime_ns, 1000000000 * NS_PER_S);
	assert_string_equal(r.request_id, "ID??");
	assert_int_equal(r.validator.kind, VALIDATOR_STRONG);
	assert_int_equal(r.validator.len, 3);
}

static void a_malformed_length_or_range_is_noticed(void **state)
{
	static const struct {
		const char *name, *value;
		bool bad;
	} rows[] = {
		{"content-length", "", true},
		{"content-length", "-1", true},
		{"content-length", "1x", true},
		{"content-length", "99999999999999999999", true},
		{"content-range", "bytes 0-9/*", false},
		{"content-range", "bytes */100", false},
		{"content-range", "Bytes 0-9/100", false},
		{"content-range", "bytes 9-0/100", true},
		{"content-range", "bytes 0-9", true},
		{"content-range", "bytes 0-9/", true},
		{"content-range", "bytes -9/100", true},
		{"content-range", "bytes 0-9/100 ", true},
		{"content-range", "items 0-9/100", true},
		{"content-range", "", true},
	};

	for (size_t i = 0; i < LENGTH(rows); i++) {
		struct response r = {0};
		header(&r, rows[i].name, rows[i].value);
		if (r.bad != rows[i].bad)
			fail_msg("row %zu: %s: %s", i, rows[i].name, rows[i].value);
	}
}

/* Found by the fuzz target: a second range that is none left half of itself in the first. */
static void a_range_that_is_none_leaves_the_one_before(void **state)
{
	struct response r = {0};

	header(&r, "Content-Range", "bytes 1-2/3");
	header(&r, "Content-Range", "bytes 7-x");
	assert_true(r.bad && r.has_range && r.has_total);
	assert_int_equal(r.range_first, 1);
	assert_int_equal(r.range_last, 2);
	assert_int_equal(r.total, 3);
}

static void retry_after_is_seconds_or_a_date(void **state)
{
	static const struct {
		const char *value;
		int64_t s;
	} rows[] = {
		{"7", 7},
		{"0", 0},
		{"999999", 3600},
		{"Sun, 09 Sep 2001 01:46:50 GMT", 10},
		{"Sun, 09 Sep 2001 01:46:30 GMT", 0},
		{"soon", 0},
		{"-5", 0},
		{"", 0},
	};

	for (size_t i = 0; i < LENGTH(rows); i++) {
		struct response r = {0};
		header(&r, "Retry-After", rows[i].value);
		assert_int_equal(r.retry_after_s, rows[i].s);
	}
}

static void etags_become_validators(void **state)
{
	char many[101];
	struct validator v = etag_validator("\"a-3\"", 5);

	assert_int_equal(v.kind, VALIDATOR_STRONG);
	assert_memory_equal(v.bytes, "a-3", v.len);
	v = etag_validator("bare", 4);
	assert_int_equal(v.len, 4);
	v = etag_validator("W/\"x\"", 5);
	assert_int_equal(v.kind, VALIDATOR_WEAK);
	assert_int_equal(v.len, 1);
	assert_int_equal(etag_validator("", 0).kind, VALIDATOR_NONE);
	assert_int_equal(etag_validator("\"\"", 2).kind, VALIDATOR_NONE);
	assert_int_equal(etag_validator("W/", 2).kind, VALIDATOR_NONE);
	assert_int_equal(etag_validator("\"", 1).len, 1);
	memset(many, 'e', sizeof many);
	v = etag_validator(many, 62);
	assert_int_equal(v.len, 62);
	v = etag_validator(many, 100);
	assert_int_equal(v.len, 47);
	assert_memory_equal(v.bytes, "sha256:", 7);
	many[99] = 'f';
	struct validator other = etag_validator(many, 100);
	assert_false(validator_equal(&v, &other));
}

static void only_the_asked_range_of_the_asked_version_passes(void **state)
{
	uint64_t skip = 0;
	static const struct {
		int status;
		const char *length, *range, *etag;
		int code;
	} rows[] = {
		{206, "10", "bytes 5-14/100", "\"e\"", 0},
		{206, NULL, "bytes 5-14/100", "\"e\"", 0},
		{206, "10", "bytes 5-14/*", "\"e\"", 0},
		{206, "10", "bytes 5-14/100", "\"f\"", -ESTALE},
		{206, "10", "bytes 5-14/100", "W/\"e\"", -ESTALE},
		{206, "10", "bytes 5-14/100", NULL, -ESTALE},
		{206, "10", "bytes 5-14/101", "\"e\"", -ESTALE},
		{206, "5", "bytes 5-9/10", "\"e\"", -ESTALE},
		{206, "10", "bytes 6-15/100", "\"e\"", -ERR_CORRUPT},
		{206, "9", "bytes 5-13/100", "\"e\"", -ERR_CORRUPT},
		{206, "11", "bytes 5-14/100", "\"e\"", -ERR_CORRUPT},
		{206, "10", NULL, "\"e\"", -ERR_CORRUPT},
		{206, "10", "bytes */100", "\"e\"", -ERR_CORRUPT},
		{206, "10", "bytes 5-x/100", "\"e\"", -ERR_CORRUPT},
		{200, "100", NULL, "\"e\"", -ERR_CORRUPT},
		{200, "10", "bytes 5-14/100", "\"e\"", 0},
		{200, "10", "bytes 6-15/100", "\"e\"", -ERR_CORRUPT},
		{200, "99", NULL, "\"e\"", -ESTALE},
	};
	const struct validator e = etag_validator("\"e\"", 3);
	const struct response_expected want = {
		.offset = 5, .length = 10, .object_size = 100, .validator = &e};

	for (size_t i = 0; i < LENGTH(rows); i++) {
		struct response r = {.status = rows[i].status};
		struct err err = {0};
		if (rows[i].length)
			header(&r, "content-length", rows[i].length);
		if (rows[i].range)
			header(&r, "content-range", rows[i].range);
		if (rows[i].etag)
			header(&r, "etag", rows[i].etag);
		int rc = response_check_read(&r, &want, &skip, &err);
		if (rc != rows[i].code || (rc < 0 && !err.text[0]))
			fail_msg("row %zu: %d %s", i, rc, err.text);
	}
}

static void a_whole_object_may_come_without_a_range(void **state)
{
	uint64_t skip = 0;
	const struct validator none = {0};
	const struct response_expected want = {.length = 100, .object_size = 100, .validator = &none};
	struct response r = {.status = 200};

	assert_int_equal(response_check_read(&r, &want, &skip, NULL), 0);
	header(&r, "content-length", "100");
	assert_int_equal(response_check_read(&r, &want, &skip, NULL), 0);
	header(&r, "content-length", "101");
	assert_int_equal(response_check_read(&r, &want, &skip, NULL), -ESTALE);
}

static void a_range_is_cut_out_of_a_whole_object_where_that_is_allowed(void **state)
{
	const struct validator v = etag_validator("\"a\"", 3);
	const struct response_expected want = {
		.offset = 30, .length = 20, .object_size = 100, .validator = &v, .whole_ok = true};
	struct response r = {.status = 200};
	uint64_t skip = 0;

	header(&r, "etag", "\"a\"");
	assert_int_equal(response_check_read(&r, &want, &skip, NULL), 0);
	assert_int_equal(skip, 30);
	header(&r, "content-length", "100");
	assert_int_equal(response_check_read(&r, &want, &skip, NULL), 0);
	header(&r, "content-length", "20");
	assert_int_equal(response_check_read(&r, &want, &skip, NULL), -ESTALE);
}

static void a_date_and_a_size_make_a_weak_validator(void **state)
{
	const struct validator v = response_dated_validator(1000000000 * NS_PER_S, 100);
	const struct response_expected want = {.length = 100, .object_size = 100, .validator = &v};
	struct response r = {.status = 200};
	uint64_t skip;

	assert_int_equal(v.kind, VALIDATOR_WEAK);
	assert_memory_equal(v.bytes, "mtime 1000000000 size 100", v.len);
	assert_true(response_is_dated(&v));
	const struct validator etag = etag_validator("W/\"mtime\"", 9);
	assert_false(response_is_dated(&etag));
	assert_int_equal(response_dated_validator(0, 100).kind, VALIDATOR_NONE);
	assert_int_equal(response_check_read(&r, &want, &skip, NULL), -ESTALE); /* it says nothing now */
	header(&r, "Last-Modified", "Sun, 09 Sep 2001 01:46:40 GMT");
	header(&r, "ETag", "\"whatever\"");
	assert_int_equal(response_check_read(&r, &want, &skip, NULL), 0);
	header(&r, "Last-Modified", "Sun, 09 Sep 2001 01:46:41 GMT");
	assert_int_equal(response_check_read(&r, &want, &skip, NULL), -ESTALE);
}

static void a_location_that_is_too_long_is_none(void **state)
{
	char url[4000];
	struct response r = {.status = 302};

	memset(url, 'x', sizeof url - 1);
	url[sizeof url - 1] = '\0';
	header(&r, "location", "/there");
	assert_string_equal(r.location, "/there");
	header(&r, "location", url);
	assert_string_equal(r.location, "");
}

static void a_version_id_is_a_strong_validator_of_its_own(void **state)
{
	static const char id[] = "3sL4kqtJlcpXroDTDmJ-rmSpXd3dIbrHY";
	const struct validator v = s3_version_validator(id, sizeof id - 1);
	const struct response_expected want = {.length = 1, .object_size = 1, .validator = &v};
	struct response r = {.status = 200};
	uint64_t skip;
	size_t len = 0;

	assert_int_equal(v.kind, VALIDATOR_STRONG);
	assert_memory_equal(s3_version_of(&v, &len), id, sizeof id - 1);
	assert_int_equal(len, sizeof id - 1);
	assert_int_equal(s3_version_validator("null", 4).kind, VALIDATOR_NONE);
	assert_int_equal(s3_version_validator("a b", 3).kind, VALIDATOR_NONE);
	char big[100];
	memset(big, 'x', sizeof big);
	assert_int_equal(s3_version_validator(big, sizeof big).kind, VALIDATOR_NONE);
	header(&r, "etag", "\"e\"");
	assert_int_equal(response_check_read(&r, &want, &skip, NULL), -ESTALE);
	header(&r, "x-amz-version-id", "other");
	assert_int_equal(response_check_read(&r, &want, &skip, NULL), -ESTALE);
	header(&r, "X-Amz-Version-Id", id);
	assert_int_equal(response_check_read(&r, &want, &skip, NULL), 0);
	const struct validator etag = etag_validator("\"version\"", 9);
	assert_null(s3_version_of(&etag, &len));
}

static void checksums_that_a_store_offers_are_kept_the_cheapest_first(void **state)
{
	struct response r = {0};

	header(&r, "x-amz-checksum-sha256", "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
	assert_string_equal(r.checksum,
			    "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	header(&r, "x-amz-checksum-crc32", "y/Q5Jg==");
	assert_string_equal(r.checksum, "crc32:cbf43926");
	header(&r, "x-amz-checksum-crc32c", "4waSgw==");
	assert_string_equal(r.checksum, "crc32c:e3069283");
	header(&r, "x-amz-checksum-crc32", "y/Q5Jg==");
	assert_string_equal(r.checksum, "crc32c:e3069283");
	struct response composed = {0};
	header(&composed, "x-amz-checksum-crc32c", "4waSgw==-3");
	header(&composed, "x-amz-checksum-crc64nvme", "AAAAAAAAAAA=");
	header(&composed, "x-amz-checksum-type", "COMPOSITE");
	header(&composed, "x-amz-checksum-crc32c", "????????");
	assert_string_equal(composed.checksum, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(headers_are_read_whatever_their_case),
		cmocka_unit_test(a_malformed_length_or_range_is_noticed),
		cmocka_unit_test(a_range_that_is_none_leaves_the_one_before),
		cmocka_unit_test(retry_after_is_seconds_or_a_date),
		cmocka_unit_test(etags_become_validators),
		cmocka_unit_test(only_the_asked_range_of_the_asked_version_passes),
		cmocka_unit_test(a_whole_object_may_come_without_a_range),
		cmocka_unit_test(a_range_is_cut_out_of_a_whole_object_where_that_is_allowed),
		cmocka_unit_test(a_date_and_a_size_make_a_weak_validator),
		cmocka_unit_test(a_location_that_is_too_long_is_none),
		cmocka_unit_test(a_version_id_is_a_strong_validator_of_its_own),
		cmocka_unit_test(checksums_that_a_store_offers_are_kept_the_cheapest_first),
	};
	return cmocka_run_group_tests_name("response", tests, NULL, NULL);
}
