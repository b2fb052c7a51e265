/* Vectors: AWS Signature Version 4 test suite, and "Examples: Signature Calculations" in the S3 API Reference. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include "common/source/s3_sign.h"

static void assert_signature(const struct s3_to_sign *in, const char *names, const char *want)
{
	char auth[S3_AUTH_SIZE], expected[S3_AUTH_SIZE];

	assert_int_equal(s3_sign(in, auth, sizeof auth), 0);
	assert_non_null(strstr(auth, "AWS4-HMAC-SHA256 Credential=AKI"));
	(void)snprintf(expected, sizeof expected, "SignedHeaders=%s, Signature=%s", names, want);
	assert_string_equal(strstr(auth, "SignedHeaders="), expected);
}

static void the_test_suites_get_requests_are_signed_right(void **state)
{
	const struct s3_header headers[] = {{"host", "example.amazonaws.com"},
					    {"x-amz-date", "20150830T123600Z"}};
	struct s3_to_sign in = {
		.method = "GET",
		.path = "/",
		.query = "",
		.headers = headers,
		.header_count = 2,
		.payload_hash = S3_EMPTY_SHA256,
		.date = "20150830T123600Z",
		.region = "us-east-1",
		.service = "service",
		.access_key = "AKIDEXAMPLE",
		.secret_key = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
	};

	assert_signature(&in, "host;x-amz-date",
			 "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
	in.query = "Param1=value1&Param2=value2";
	assert_signature(&in, "host;x-amz-date",
			 "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500");
}

static struct s3_to_sign s3_example(const struct s3_header *headers, size_t count)
{
	return (struct s3_to_sign){
		.method = "GET",
		.path = "/",
		.query = "",
		.headers = headers,
		.header_count = count,
		.payload_hash = S3_EMPTY_SHA256,
		.date = "20130524T000000Z",
		.region = "us-east-1",
		.service = "s3",
		.access_key = "AKIAIOSFODNN7EXAMPLE",
		.secret_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
	};
}

static void the_s3_references_get_object_is_signed_right(void **state)
{
	const struct s3_header headers[] = {{"host", "examplebucket.s3.amazonaws.com"},
					    {"range", "bytes=0-9"},
					    {"x-amz-content-sha256", S3_EMPTY_SHA256},
					    {"x-amz-date", "20130524T000000Z"}};
	struct s3_to_sign in = s3_example(headers, 4);

	in.path = "/test.txt";
	assert_signature(&in, "host;range;x-amz-content-sha256;x-amz-date",
			 "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

static void the_s3_references_listing_is_signed_right(void **state)
{
	const struct s3_header headers[] = {{"host", "examplebucket.s3.amazonaws.com"},
					    {"x-amz-content-sha256", S3_EMPTY_SHA256},
					    {"x-amz-date", "20130524T000000Z"}};
	struct s3_to_sign in = s3_example(headers, 3);

	in.query = "max-keys=2&prefix=J";
	assert_signature(&in, "host;x-amz-content-sha256;x-amz-date",
			 "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

static void a_buffer_that_is_too_short_is_reported(void **state)
{
	const struct s3_header headers[] = {{"host", "h"}};
	const struct s3_to_sign in = s3_example(headers, 1);
	char auth[64];

	assert_int_equal(s3_sign(&in, auth, sizeof auth), -ENAMETOOLONG);
}

static void dates_are_utc(void **state)
{
	char date[S3_DATE_SIZE];

	s3_sign_date(1440938160999999999, date);
	assert_string_equal(date, "20150830T123600Z");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_test_suites_get_requests_are_signed_right),
		cmocka_unit_test(the_s3_references_get_object_is_signed_right),
		cmocka_unit_test(the_s3_references_listing_is_signed_right),
		cmocka_unit_test(a_buffer_that_is_too_short_is_reported),
		cmocka_unit_test(dates_are_utc),
	};
	return cmocka_run_group_tests_name("s3_sign", tests, NULL, NULL);
}
