#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/clock.h"
#include "operator-shim/doctor_report.h"

static void each_refusal_belongs_to_one_step_and_has_a_remedy(void **state)
{
	static const struct {
		enum source_kind kind;
		bool listing, anonymous;
		int code, status;
		const char *store_code;
		enum doctor_step step;
		const char *remedy;
	} cases[] = {
		{SOURCE_S3, true, false, -EACCES, 403, "InvalidAccessKeyId", DOCTOR_CREDENTIALS,
		 "AWS_ACCESS_KEY_ID"},
		{SOURCE_S3, true, false, -ENOENT, 404, "XAdminUserNotFound", DOCTOR_CREDENTIALS,
		 "AWS_ACCESS_KEY_ID"},
		{SOURCE_S3, true, false, -EACCES, 403, "SignatureDoesNotMatch", DOCTOR_CREDENTIALS, "SECRET"},
		{SOURCE_S3, true, false, -EACCES, 400, "ExpiredToken", DOCTOR_CREDENTIALS, "new keys"},
		{SOURCE_S3, true, false, -EACCES, 403, "RequestTimeTooSkewed", DOCTOR_CLOCK, "clock"},
		{SOURCE_S3, true, false, -ENOENT, 404, "NoSuchBucket", DOCTOR_LIST, "bucket"},
		{SOURCE_S3, true, false, -EACCES, 403, "AccessDenied", DOCTOR_LIST,
		 "these keys s3:ListBucket"},
		{SOURCE_S3, false, false, -EACCES, 403, "AccessDenied", DOCTOR_GET,
		 "these keys s3:GetObject"},
		{SOURCE_S3, true, true, -EACCES, 403, "AccessDenied", DOCTOR_LIST, "everybody s3:ListBucket"},
		{SOURCE_S3, false, true, -EACCES, 403, "", DOCTOR_GET, "everybody s3:GetObject"},
		{SOURCE_S3, true, false, -EACCES, 0, "", DOCTOR_CREDENTIALS, "secretRef"},
		{SOURCE_S3, true, false, -ERR_CORRUPT, 0, "", DOCTOR_LIST, "speak S3"},
		{SOURCE_S3, true, false, -ERR_UNREACHABLE, 503, "SlowDown", DOCTOR_LIST, "busy"},
		{SOURCE_S3, false, false, -ETIMEDOUT, 0, "", DOCTOR_GET, "in time"},
		{SOURCE_HTTP, true, false, -EACCES, 401, "", DOCTOR_CREDENTIALS, "secretRef"},
		{SOURCE_HTTP, true, false, -EACCES, 403, "", DOCTOR_LIST, "the server lets nobody"},
		{SOURCE_HTTP, true, false, -ENOENT, 404, "", DOCTOR_LIST, "http.url"},
		{SOURCE_HTTP, false, false, -EACCES, 407, "", DOCTOR_GET, "proxy"},
		{SOURCE_S3, true, false, -ERR_CORRUPT, 407, "", DOCTOR_LIST, "proxy wants a credential"},
		{SOURCE_FILE, true, false, -EACCES, 0, "", DOCTOR_LIST, "setfacl"},
		{SOURCE_FILE, false, false, -ESTALE, 0, "", DOCTOR_GET, "writes there"},
	};

	for (size_t i = 0; i < LENGTH(cases); i++) {
		const struct dataset_source s = {.kind = cases[i].kind, .anonymous = cases[i].anonymous};
		struct source_refusal refusal = {.status = cases[i].status};
		const char *remedy = NULL;
		(void)snprintf(refusal.code, sizeof refusal.code, "%s", cases[i].store_code);
		enum doctor_step step = doctor_judge(&s, cases[i].listing, cases[i].code, &refusal, &remedy);
		if (step != cases[i].step || !remedy || !strstr(remedy, cases[i].remedy))
			fail_msg("case %zu: step %d, \"%s\"", i, step, remedy);
	}
}

static void only_what_is_signed_minds_the_clock(void **state)
{
	assert_int_equal(doctor_judge_skew(SOURCE_S3, 299 * NS_PER_S), DOCTOR_OK);
	assert_int_equal(doctor_judge_skew(SOURCE_S3, -300 * NS_PER_S), DOCTOR_WARNING);
	assert_int_equal(doctor_judge_skew(SOURCE_S3, 900 * NS_PER_S), DOCTOR_FAILED);
	assert_int_equal(doctor_judge_skew(SOURCE_HTTP, 90000 * NS_PER_S), DOCTOR_OK);
}

static char *printed(bool json, const struct doctor_report *r)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	if (json)
		doctor_print_json(r, true, out);
	else
		doctor_print_text(r, out);
	assert_int_equal(fclose(out), 0);
	return text;
}

static void a_report_is_printed_for_people_and_for_programs(void **state)
{
	struct doctor_report r = {.dataset = "a/b", .source = 2, .text = "s3://x/"};

	assert_true(doctor_add(&r, DOCTOR_DNS, DOCTOR_OK, "", "fine"));
	assert_false(doctor_failed(&r));
	assert_false(doctor_add(&r, DOCTOR_TCP, DOCTOR_FAILED, "do it", "say \"%s\"", "no"));
	assert_true(doctor_failed(&r));
	char *text = printed(false, &r);
	assert_string_equal(text, "a/b source 2 (s3://x/)\n"
				  "  ok       dns          fine\n"
				  "  failed   tcp          say \"no\"\n"
				  "                        -> do it\n");
	free(text);
	text = printed(true, &r);
	assert_string_equal(
		text,
		"\n{\"dataset\":\"a/b\",\"source\":2,\"url\":\"s3://x/\",\"good\":false,\"steps\":["
		"{\"step\":\"dns\",\"finding\":\"ok\",\"detail\":\"fine\",\"remedy\":\"\"},"
		"{\"step\":\"tcp\",\"finding\":\"failed\",\"detail\":\"say \\\"no\\\"\",\"remedy\":\"do it\"}]}");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_refusal_belongs_to_one_step_and_has_a_remedy),
		cmocka_unit_test(only_what_is_signed_minds_the_clock),
		cmocka_unit_test(a_report_is_printed_for_people_and_for_programs),
	};
	return cmocka_run_group_tests_name("doctor_report", tests, NULL, NULL);
}
