#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/clock.h"
#include "common/source/s3_error.h"
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
		{S3_READ, 404, "XAdminUserNotFound", -EACCES, false},
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
	struct response r = {.status = 301, .region = "eu-west-1"};
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
static void some_codes_are_of_the_keys(void **state)
{
	assert_true(s3_error_is_of_keys("InvalidAccessKeyId"));
	assert_true(s3_error_is_of_keys("ExpiredToken"));
	assert_false(s3_error_is_of_expiry("InvalidAccessKeyId"));
	assert_true(s3_error_is_of_expiry("ExpiredToken"));
	assert_false(s3_error_is_of_keys("AccessDenied"));
	assert_false(s3_error_is_of_keys(""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(statuses_and_codes_map_to_the_contract),
		cmocka_unit_test(some_codes_are_of_the_keys),
		cmocka_unit_test(error_bodies_give_one_sentence),
	};
	return cmocka_run_group_tests_name("s3_error", tests, NULL, NULL);
}
