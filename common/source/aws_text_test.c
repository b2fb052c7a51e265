#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/clock.h"
#include "common/source/aws_text.h"

static const char credentials[] =
	"# comment\n[default]\naws_access_key_id = AKD\naws_secret_access_key=sd=+/\r\n"
	"[ team-a ]\naws_access_key_id=AKA\n; more\naws_secret_access_key = sa\n"
	"aws_session_token = ta\n[empty]\n";
static const char config[] =
	"[default]\nregion = eu-west-1\n[profile team-a]\nregion=eu-west-2\n"
	"aws_access_key_id = overridden\ns3 =\n  aws_secret_access_key = nested\n"
	"[team-b]\nregion = not-a-profile\n[profile team-b]\nrole_arn = arn:aws:iam::1:role/b\n"
	"web_identity_token_file = /run/token\nrole_session_name = me\n";

static void profiles_are_taken_from_both_files_the_credentials_first(void **state)
{
	struct aws_profile p = {0};
	bool found;

	assert_int_equal(aws_profile_parse(credentials, sizeof credentials - 1, "team-a", false, &p, &found),
			 0);
	assert_true(found);
	assert_int_equal(aws_profile_parse(config, sizeof config - 1, "team-a", true, &p, &found), 0);
	assert_true(found);
	assert_string_equal(p.access_key, "AKA");
	assert_string_equal(p.secret_key, "sa");
	assert_string_equal(p.session_token, "ta");
	assert_string_equal(p.region, "eu-west-2");
	aws_profile_done(&p);
	assert_int_equal(aws_profile_parse(credentials, sizeof credentials - 1, "default", false, &p, &found),
			 0);
	assert_string_equal(p.secret_key, "sd=+/");
	assert_null(p.session_token);
	aws_profile_done(&p);
	assert_int_equal(aws_profile_parse(config, sizeof config - 1, "team-b", true, &p, &found), 0);
	assert_string_equal(p.role_arn, "arn:aws:iam::1:role/b");
	assert_string_equal(p.token_file, "/run/token");
	assert_string_equal(p.session_name, "me");
	assert_null(p.region);
	aws_profile_done(&p);
	assert_int_equal(aws_profile_parse(credentials, sizeof credentials - 1, "team", false, &p, &found),
			 0);
	assert_false(found);
	assert_int_equal(aws_profile_parse(credentials, sizeof credentials - 1, "empty", false, &p, &found),
			 0);
	assert_true(found);
	assert_null(p.access_key);
}

#define METADATA(end)                                                                                                  \
	"{\"Code\":\"Success\",\"AccessKeyId\":\"AK\",\"SecretAccessKey\":\"s\",\"Token\":\"t\",\"Expiration\":\"" end \
	"\"}"

static void metadata_gives_keys_with_their_end(void **state)
{
	static const char line_break[] =
		"{\"AccessKeyId\":\"A\\nB\",\"SecretAccessKey\":\"s\",\"Token\":\"t\","
		"\"Expiration\":\"2026-01-01T00:00:00Z\"}";
	static const char no_time[] = METADATA("soon");
	static const char *const bad[] = {"", "{}", "[]", no_time, "{\"AccessKeyId\":1}", line_break};
	static const char good[] = METADATA("2001-09-09T01:46:40Z");
	struct aws_keys k = {0};

	assert_int_equal(aws_metadata_parse(good, sizeof good - 1, &k, NULL), 0);
	assert_string_equal(k.access_key, "AK");
	assert_string_equal(k.secret_key, "s");
	assert_string_equal(k.session_token, "t");
	assert_int_equal(k.expiry_ns, 1000000000 * NS_PER_S);
	aws_keys_done(&k);
	for (size_t i = 0; i < LENGTH(bad); i++)
		assert_int_equal(aws_metadata_parse(bad[i], strlen(bad[i]), &k, NULL), -ERR_CORRUPT);
}

static void sts_gives_keys_or_its_refusal(void **state)
{
	static const char good[] =
		"<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>"
		"<AccessKeyId>AK</AccessKeyId><SecretAccessKey>s&amp;x</SecretAccessKey><SessionToken>t</SessionToken>"
		"<Expiration>2001-09-09T01:46:40Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>"
		"</AssumeRoleWithWebIdentityResponse>",
			  refusal[] = "<ErrorResponse><Error><Code>ExpiredTokenException</Code>"
				      "<Message>Token expired</Message></Error></ErrorResponse>",
			  entity[] = "<!DOCTYPE x [<!ENTITY a \"b\">]><x/>";
	struct aws_keys k = {0};
	struct err err = {0};

	assert_int_equal(aws_sts_parse(good, sizeof good - 1, &k, NULL), 0);
	assert_string_equal(k.secret_key, "s&x");
	aws_keys_done(&k);
	assert_int_equal(aws_sts_parse(refusal, sizeof refusal - 1, &k, &err), -EACCES);
	assert_string_equal(err.text, "ExpiredTokenException: Token expired");
	assert_int_equal(aws_sts_parse(entity, sizeof entity - 1, &k, NULL), -ERR_CORRUPT);
	assert_int_equal(aws_sts_parse("", 0, &k, NULL), -ERR_CORRUPT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(profiles_are_taken_from_both_files_the_credentials_first),
		cmocka_unit_test(metadata_gives_keys_with_their_end),
		cmocka_unit_test(sts_gives_keys_or_its_refusal),
	};
	return cmocka_run_group_tests_name("aws_text", tests, NULL, NULL);
}
