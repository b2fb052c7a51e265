#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/clock.h"
#include "common/source/s3_response.h"

static void header(struct s3_response *r, const char *name, const char *value)
{
	s3_response_header(r, 1000000000 * NS_PER_S, name, strlen(name), value, strlen(value));
}

static void headers_are_read_whatever_their_case(void **state)
{
	struct s3_response r = {0};

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
		struct s3_response r = {0};
		header(&r, rows[i].name, rows[i].value);
		if (r.bad != rows[i].bad)
			fail_msg("row %zu: %s: %s", i, rows[i].name, rows[i].value);
	}
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
		struct s3_response r = {0};
		header(&r, "Retry-After", rows[i].value);
		assert_int_equal(r.retry_after_s, rows[i].s);
	}
}

static void etags_become_validators(void **state)
{
	char many[101];
	struct validator v = s3_etag_validator("\"a-3\"", 5);

	assert_int_equal(v.kind, VALIDATOR_STRONG);
	assert_memory_equal(v.bytes, "a-3", v.len);
	v = s3_etag_validator("bare", 4);
	assert_int_equal(v.len, 4);
	v = s3_etag_validator("W/\"x\"", 5);
	assert_int_equal(v.kind, VALIDATOR_WEAK);
	assert_int_equal(v.len, 1);
	assert_int_equal(s3_etag_validator("", 0).kind, VALIDATOR_NONE);
	assert_int_equal(s3_etag_validator("\"\"", 2).kind, VALIDATOR_NONE);
	assert_int_equal(s3_etag_validator("W/", 2).kind, VALIDATOR_NONE);
	assert_int_equal(s3_etag_validator("\"", 1).len, 1);
	memset(many, 'e', sizeof many);
	v = s3_etag_validator(many, 62);
	assert_int_equal(v.len, 62);
	v = s3_etag_validator(many, 100);
	assert_int_equal(v.len, 47);
	assert_memory_equal(v.bytes, "sha256:", 7);
	many[99] = 'f';
	struct validator other = s3_etag_validator(many, 100);
	assert_false(validator_equal(&v, &other));
}

static void only_the_asked_range_of_the_asked_version_passes(void **state)
{
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
	const struct validator e = s3_etag_validator("\"e\"", 3);
	const struct s3_expected want = {.offset = 5, .length = 10, .object_size = 100, .validator = &e};

	for (size_t i = 0; i < LENGTH(rows); i++) {
		struct s3_response r = {.status = rows[i].status};
		struct err err = {0};
		if (rows[i].length)
			header(&r, "content-length", rows[i].length);
		if (rows[i].range)
			header(&r, "content-range", rows[i].range);
		if (rows[i].etag)
			header(&r, "etag", rows[i].etag);
		int rc = s3_check_read(&r, &want, &err);
		if (rc != rows[i].code || (rc < 0 && !err.text[0]))
			fail_msg("row %zu: %d %s", i, rc, err.text);
	}
}

static void a_whole_object_may_come_without_a_range(void **state)
{
	const struct validator none = {0};
	const struct s3_expected want = {.length = 100, .object_size = 100, .validator = &none};
	struct s3_response r = {.status = 200};

	assert_int_equal(s3_check_read(&r, &want, NULL), 0);
	header(&r, "content-length", "100");
	assert_int_equal(s3_check_read(&r, &want, NULL), 0);
	header(&r, "content-length", "101");
	assert_int_equal(s3_check_read(&r, &want, NULL), -ESTALE);
}

static void statuses_and_codes_map_to_the_contract(void **state)
{
	static const struct {
		enum s3_request_kind kind;
		int status;
		const char *code;
		int want;
		bool retry;
	} rows[] = {
		{S3_READ, 401, "", -EACCES, false},
		{S3_READ, 403, "AccessDenied", -EACCES, false},
		{S3_READ, 404, "NoSuchKey", -ESTALE, false},
		{S3_STAT, 404, "", -ENOENT, false},
		{S3_LIST, 404, "NoSuchBucket", -ENOENT, false},
		{S3_READ, 412, "", -ESTALE, false},
		{S3_READ, 416, "InvalidRange", -ESTALE, false},
		{S3_READ, 429, "", -ERR_UNREACHABLE, true},
		{S3_READ, 500, "InternalError", -ERR_UNREACHABLE, true},
		{S3_READ, 503, "SlowDown", -ERR_UNREACHABLE, true},
		{S3_READ, 502, "", -ERR_UNREACHABLE, true},
		{S3_READ, 504, "", -ERR_UNREACHABLE, true},
		{S3_READ, 520, "", -ERR_UNREACHABLE, true},
		{S3_READ, 400, "ExpiredToken", -EACCES, false},
		{S3_READ, 400, "RequestTimeout", -ERR_UNREACHABLE, true},
		{S3_READ, 400, "", -ERR_CORRUPT, false},
		{S3_LIST, 301, "PermanentRedirect", -ERR_UNREACHABLE, false},
		{S3_LIST, 501, "NotImplemented", -ERR_UNSUPPORTED, false},
		{S3_STAT, 0, "", -ERR_CORRUPT, false},
	};

	for (size_t i = 0; i < LENGTH(rows); i++) {
		bool retry = !rows[i].retry;
		int code = s3_error_code(rows[i].kind, rows[i].status, rows[i].code, &retry);
		if (code != rows[i].want || retry != rows[i].retry)
			fail_msg("row %zu: %d", i, code);
	}
}

static void error_bodies_give_one_sentence(void **state)
{
	const char *body =
		"<?xml version=\"1.0\"?><Error><Code>PermanentRedirect</Code><Message>Use \n another"
		"</Message><Nested><Code>no</Code></Nested><RequestId>R1</RequestId></Error>";
	struct s3_response r = {.status = 301, .region = "eu-west-1"};
	struct s3_error e;
	struct err err = {0};

	s3_error_parse(body, strlen(body), &e);
	assert_int_equal(s3_error_words(&err, -ERR_UNREACHABLE, "data (s3://b/)", "k", &r, &e),
			 -ERR_UNREACHABLE);
	assert_string_equal(
		err.text, "data (s3://b/): HTTP 301 PermanentRedirect for k: Use ? another; the bucket is in "
			  "region eu-west-1; check region and endpoint (request id R1)");
	s3_error_parse(body, 60, &e); /* cut */
	assert_string_equal(e.code, "PermanentRedirect");
	s3_error_parse("no xml", 6, &e);
	assert_string_equal(e.code, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(headers_are_read_whatever_their_case),
		cmocka_unit_test(a_malformed_length_or_range_is_noticed),
		cmocka_unit_test(retry_after_is_seconds_or_a_date),
		cmocka_unit_test(etags_become_validators),
		cmocka_unit_test(only_the_asked_range_of_the_asked_version_passes),
		cmocka_unit_test(a_whole_object_may_come_without_a_range),
		cmocka_unit_test(statuses_and_codes_map_to_the_contract),
		cmocka_unit_test(error_bodies_give_one_sentence),
	};
	return cmocka_run_group_tests_name("s3_response", tests, NULL, NULL);
}
