/* Keys from each place where they may stand, against a stand-in for instance metadata, STS and a store that takes the keys of now
 * only. */
#include "common/source/testing.h"

#include <microhttpd.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common/source/s3_keys.h"

static struct {
	struct MHD_Daemon *daemon;
	char url[64], dir[64];
	struct source_loop *loop;
	atomic_int life_s;          /* of the keys that are given out */
	atomic_int given, refusing; /* keys given out so far; metadata answers 500 */
	atomic_int asked;           /* questions to metadata that were refused */
	atomic_int expired_left;    /* requests of S3 that are told that their token has expired */
	atomic_bool held;           /* the last web identity had the token of the file */
	char accept[40];            /* the access key that the store takes; "": the last one given out */
	atomic_int ahead_s;         /* so far the clock that people set is ahead */
} fx;

/* Before that of libc, for this program: to set the machine's clock is not for a test. */
int clock_gettime(clockid_t id, struct timespec *ret)
{
	long rc = syscall(SYS_clock_gettime, id, ret);

	if (rc == 0 && id == CLOCK_REALTIME)
		ret->tv_sec += atomic_load(&fx.ahead_s);
	return (int)rc;
}

/* ---- the stand-in ---- */

static enum MHD_Result answer(struct MHD_Connection *c, unsigned status, const char *text)
{
	struct MHD_Response *r =
		MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_MUST_COPY);

	(void)MHD_add_response_header(r, "ETag", "\"e\"");
	enum MHD_Result rc = MHD_queue_response(c, status, r);
	MHD_destroy_response(r);
	return rc;
}

static enum MHD_Result answer_keys(struct MHD_Connection *c, bool sts)
{
	char text[600], end[40];
	time_t at = time(NULL) + atomic_load(&fx.life_s);
	struct tm tm;
	int n = atomic_fetch_add(&fx.given, 1) + 1;

	strftime(end, sizeof end, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&at, &tm));
	snprintf(
		text, sizeof text,
		sts ? "<R><Credentials><AccessKeyId>GIVEN%d</AccessKeyId><SecretAccessKey>s</SecretAccessKey>"
		      "<SessionToken>t</SessionToken><Expiration>%s</Expiration></Credentials></R>"
		    : "{\"AccessKeyId\":\"GIVEN%d\",\"SecretAccessKey\":\"s\",\"Token\":\"t\",\"Expiration\":\"%s\"}",
		n, end);
	return answer(c, 200, text);
}

static enum MHD_Result answer_metadata(struct MHD_Connection *c, const char *path, const char *method)
{
	const char *token = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "X-aws-ec2-metadata-token");
	const char *ttl =
		MHD_lookup_connection_value(c, MHD_HEADER_KIND, "X-aws-ec2-metadata-token-ttl-seconds");

	if (atomic_load(&fx.refusing)) {
		atomic_fetch_add(&fx.asked, 1);
		return answer(c, 500, "");
	}
	if (strcmp(path, "/latest/api/token") == 0)
		return strcmp(method, "PUT") == 0 && ttl ? answer(c, 200, "session") : answer(c, 400, "");
	if (!token || strcmp(token, "session") != 0)
		return answer(c, 401, "");
	if (strcmp(path, "/latest/meta-data/iam/security-credentials/") == 0)
		return answer(c, 200, "my role");
	return strcmp(path, "/latest/meta-data/iam/security-credentials/my role") == 0 ? answer_keys(c, false)
										       : answer(c, 404, "");
}

static enum MHD_Result answer_s3(struct MHD_Connection *c, const char *path)
{
	const char *auth = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Authorization");
	const char *given = auth ? strstr(auth, "Credential=GIVEN") : NULL;
	char want[80];
	int n = 0;

	if (atomic_fetch_sub(&fx.expired_left, 1) > 0)
		return answer(c, 400, "<Error><Code>ExpiredToken</Code></Error>");
	if (strcmp(path, "/bucket/rewritten") == 0)
		return answer(c, 403, "<Error><Code>SignatureDoesNotMatch</Code></Error>");
	snprintf(want, sizeof want, "Credential=%s/", fx.accept);
	if (fx.accept[0] && auth && !strstr(auth, want))
		return answer(c, 403, "<Error><Code>InvalidAccessKeyId</Code></Error>");
	/* Of those given out, the last, and the ones before until the last are in use. */
	bool good = fx.accept[0] ? auth && strstr(auth, want)
				 : given && sscanf(given, "Credential=GIVEN%d/", &n) == 1 &&
					   n >= atomic_load(&fx.given) - 1;
	return good ? answer(c, 200, "x") : answer(c, 403, "<Error><Code>AccessDenied</Code></Error>");
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *c, const char *path, const char *method,
				  const char *version, const char *data, size_t *size, void **state)
{
	if (!*state) {
		*state = &fx;
		if (strcmp(path, "/sts/") == 0)
			atomic_store(&fx.held, false);
		return MHD_YES;
	}
	if (*size > 0) { /* the body of a question to STS, in one piece as it is short */
		char text[1000] = "";
		memcpy(text, data, MIN(*size, sizeof text - 1));
		atomic_store(&fx.held, strstr(text, "Action=AssumeRoleWithWebIdentity") &&
					       strstr(text, "RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr") &&
					       strstr(text, "WebIdentityToken=web%2Btoken"));
		*size = 0;
		return MHD_YES;
	}
	if (strncmp(path, "/latest/", 8) == 0)
		return answer_metadata(c, path, method);
	if (strcmp(path, "/sts/") == 0)
		return atomic_load(&fx.held)
			       ? answer_keys(c, true)
			       : answer(c, 400,
					"<E><Error><Code>InvalidIdentityToken</Code><Message>no</Message></Error></E>");
	return answer_s3(c, path);
}

/* ---- fixture ---- */

static const char *const vars[] = {
	"AWS_ACCESS_KEY_ID",
	"AWS_SECRET_ACCESS_KEY",
	"AWS_SESSION_TOKEN",
	"AWS_ROLE_ARN",
	"AWS_WEB_IDENTITY_TOKEN_FILE",
	"AWS_PROFILE",
	"AWS_SHARED_CREDENTIALS_FILE",
	"AWS_CONFIG_FILE",
	"AWS_EC2_METADATA_DISABLED",
	"AWS_ROLE_SESSION_NAME",
	"http_proxy",
	"all_proxy",
};

static int test_setup(void **state)
{
	char url[100];

	for (size_t i = 0; i < LENGTH(vars); i++)
		unsetenv(vars[i]);
	setenv("HOME", fx.dir, 1);
	setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", fx.url, 1);
	snprintf(url, sizeof url, "%s/sts", fx.url);
	setenv("AWS_ENDPOINT_URL_STS", url, 1);
	atomic_store(&fx.life_s, 3600);
	atomic_store(&fx.given, 0);
	atomic_store(&fx.refusing, 0);
	atomic_store(&fx.asked, 0);
	atomic_store(&fx.ahead_s, 0);
	atomic_store(&fx.expired_left, 0);
	fx.accept[0] = '\0';
	return 0;
}

static int suite_setup(void **state)
{
	struct sockaddr_in at = {.sin_family = AF_INET};

	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	fx.daemon = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, on_request, NULL,
				     MHD_OPTION_SOCK_ADDR, &at, MHD_OPTION_END);
	assert_non_null(fx.daemon);
	snprintf(fx.url, sizeof fx.url, "http://127.0.0.1:%u",
		 MHD_get_daemon_info(fx.daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
	snprintf(fx.dir, sizeof fx.dir, "/tmp/larder-keys-test-XXXXXX");
	assert_non_null(mkdtemp(fx.dir));
	return source_loop_new("test", &fx.loop);
}

static int suite_teardown(void **state)
{
	source_loop_free(fx.loop);
	MHD_stop_daemon(fx.daemon);
	return remove_tree(fx.dir);
}

static const char *file_with(const char *name, const char *text)
{
	static char path[128];

	snprintf(path, sizeof path, "%s/%s", fx.dir, name);
	FILE *f = fopen(path, "we");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	return path;
}

static void accept_key(const char *key)
{
	snprintf(fx.accept, sizeof fx.accept, "%s", key);
}

static struct source *make(const char *profile)
{
	const struct source_config c = {
		.kind = SOURCE_S3,
		.label = "t",
		.s3 = {.bucket = "bucket", .endpoint = fx.url, .find_keys = true, .profile = profile}};
	struct source *s = NULL;

	assert_int_equal(source_new(fx.loop, &c, &s, NULL), 0);
	return s;
}

/* Reads an object of one byte; its words must hold @words unless @code is 0. */
static void reads_key(struct source *s, const char *key, int code, const char *words)
{
	const struct source_read_request r = {
		.key = key,
		.length = 1,
		.object_size = 1,
		.validator = {.kind = VALIDATOR_STRONG, .len = 1, .bytes = "e"}};
	struct waiter w;

	waiter_init(&w);
	int rc = read_and_wait(s, &r, &w);
	if (rc != code || (words && !strstr(w.err.text, words)))
		fail_msg("%d: %s", rc, w.err.text);
	waiter_clear(&w);
}

static void reads(struct source *s, int code, const char *words)
{
	reads_key(s, "k", code, words);
}

static void once(const char *profile, int code, const char *words)
{
	struct source *s = make(profile);

	reads(s, code, words);
	source_free(s);
}

/* ---- tests ---- */

static void each_place_gives_keys_in_its_turn(void **state)
{
	once(NULL, 0, NULL); /* metadata is last, and here the only one */
	assert_int_equal(atomic_load(&fx.given), 1);
	file_with("credentials", "[default]\naws_access_key_id=FILE\naws_secret_access_key=s\n");
	setenv("AWS_SHARED_CREDENTIALS_FILE",
	       file_with("credentials", "[default]\naws_access_key_id=FILE\n"
					"aws_secret_access_key=s\n[p]\naws_access_key_id=PROFILE\n"
					"aws_secret_access_key=s\n"),
	       1);
	accept_key("FILE");
	once(NULL, 0, NULL);
	accept_key("PROFILE");
	once("p", 0, NULL);
	setenv("AWS_PROFILE", "p", 1);
	once(NULL, 0, NULL);
	setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/r", 1);
	setenv("AWS_WEB_IDENTITY_TOKEN_FILE", file_with("token", "web+token\n"), 1);
	fx.accept[0] = '\0';
	once(NULL, 0, NULL);
	assert_int_equal(atomic_load(&fx.given), 2);
	setenv("AWS_ACCESS_KEY_ID", "ENV", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "s", 1);
	accept_key("ENV");
	once(NULL, 0, NULL);
	accept_key("PROFILE");
	once("p", 0, NULL); /* a profile that is named wins over all */
}

static void a_profile_may_lead_to_a_web_identity(void **state)
{
	char text[400];

	snprintf(text, sizeof text,
		 "[profile w]\nrole_arn = arn:aws:iam::1:role/r\nweb_identity_token_file = %s\n",
		 file_with("token", "web+token"));
	setenv("AWS_CONFIG_FILE", file_with("config", text), 1);
	once("w", 0, NULL);
	file_with("token", "another");
	once("w", -EACCES, "STS at http");
	once("w", -EACCES, "InvalidIdentityToken: no");
}

static void what_is_missing_is_named(void **state)
{
	setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
	once(NULL, -EACCES,
	     "no keys in the environment or the shared files, and instance metadata is switched off");
	unsetenv("AWS_EC2_METADATA_DISABLED");
	atomic_store(&fx.refusing, 1);
	once(NULL, -EACCES, "instance metadata: HTTP 500 for api/token");
	setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1", 1);
	once(NULL, -EACCES, "onnect");
	once("none", -EACCES, "no shared file has a profile \"none\"");
	setenv("AWS_SHARED_CREDENTIALS_FILE", file_with("credentials", "[half]\naws_access_key_id=A\n"), 1);
	once("half", -EACCES, "profile half has neither a pair of keys");
	setenv("AWS_ACCESS_KEY_ID", "A", 1);
	once(NULL, -EACCES, "AWS_ACCESS_KEY_ID without AWS_SECRET_ACCESS_KEY");
	unsetenv("AWS_ACCESS_KEY_ID");
	setenv("AWS_ROLE_ARN", "r", 1);
	setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/nonexistent/token", 1);
	once(NULL, -EACCES, "token file /nonexistent/token: No such file");
}

static void reads_over_three_lives_of_keys(void)
{
	struct source *s = make(NULL);
	int64_t start_ns = clock_mono_ns();

	atomic_store(&fx.life_s, 3); /* renewed when a quarter is left */
	while (atomic_load(&fx.given) < 3 && clock_mono_ns() - start_ns < 30 * NS_PER_S) {
		reads(s, 0, NULL);
		usleep(10000);
	}
	reads(s, 0, NULL);
	assert_in_range(atomic_load(&fx.given), 3, 4);
	source_free(s);
}

static void keys_are_renewed_before_they_expire(void **state)
{
	reads_over_three_lives_of_keys(); /* of instance metadata */
}

static void keys_of_a_web_identity_are_renewed_before_they_expire(void **state)
{
	setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/r", 1);
	setenv("AWS_WEB_IDENTITY_TOKEN_FILE", file_with("token", "web+token\n"), 1);
	reads_over_three_lives_of_keys();
}

static void keys_that_the_store_calls_expired_are_looked_for_anew(void **state)
{
	struct source *s = make(NULL);

	reads(s, 0, NULL);
	assert_int_equal(atomic_load(&fx.given), 1);
	/* They were got a moment ago: the store is not believed. */
	atomic_store(&fx.expired_left, 1);
	reads(s, -EACCES, "ExpiredToken");
	assert_int_equal(atomic_load(&fx.given), 1);
	source_free(s);
}

static void a_refusal_is_one_also_when_the_clock_was_set_back(void **state)
{
	struct source *s = make(NULL);

	atomic_store(&fx.ahead_s, 600);
	reads(s, 0, NULL);
	atomic_store(&fx.ahead_s, 0);
	atomic_store(&fx.expired_left, 1000);
	reads(s, -EACCES, "ExpiredToken");
	reads_key(s, "rewritten", -EACCES, "ExpiredToken");
	assert_int_equal(atomic_load(&fx.expired_left), 998);
	source_free(s);
}

/* A proxy rewrites one key, so that its signature never fits: a search is worth a try, and is all that comes of it. Meanwhile
 * the keys of another source are replaced. */
static void keys_that_the_store_does_not_know_are_looked_for_while_others_go_on(void **state)
{
	static const char one[] = "[p]\naws_access_key_id=ONE\naws_secret_access_key=s\n";
	static const char two[] = "[p]\naws_access_key_id=TWO\naws_secret_access_key=s\n";
	setenv("AWS_SHARED_CREDENTIALS_FILE", file_with("credentials", one), 1);
	struct source *s = make(NULL), *replaced = make("p");
	int64_t start_ns = clock_mono_ns();

	reads(s, 0, NULL);
	accept_key("ONE");
	reads(replaced, 0, NULL);
	fx.accept[0] = '\0';
	atomic_store(&fx.refusing, 1);
	/* The search was a moment ago, and none runs before ten seconds have passed. */
	while (atomic_load(&fx.asked) == 0 && clock_mono_ns() - start_ns < 40 * NS_PER_S) {
		reads_key(s, "rewritten", -EACCES, "SignatureDoesNotMatch");
		reads(s, 0, NULL);
		usleep(10000);
	}
	assert_in_range(clock_mono_ns() - start_ns, 9 * NS_PER_S, 39 * NS_PER_S);
	int asked = atomic_load(&fx.asked);
	for (int i = 0; i < 20; i++)
		reads_key(s, "rewritten", -EACCES, "SignatureDoesNotMatch");
	assert_int_equal(atomic_load(&fx.asked), asked); /* a search that failed counts too */
	assert_int_equal(atomic_load(&fx.given), 1);
	file_with("credentials", two);
	accept_key("TWO");
	reads(replaced, 0, NULL);
	source_free(replaced);
	source_free(s);
}

static void the_time_of_renewal_is_five_minutes_before_or_a_quarter(void **state)
{
	const int64_t s = NS_PER_S;
	static const struct {
		int64_t since_s, expiry_s, at_s;
	} rows[] = {{0, 3600, 3300}, {0, 1200, 900},  {0, 400, 300},
		    {100, 104, 103}, {100, 100, 100}, {100, 50, 50}};

	for (size_t i = 0; i < LENGTH(rows); i++)
		assert_int_equal(s3_keys_renew_at(rows[i].since_s * s, rows[i].expiry_s * s),
				 rows[i].at_s * s);
	assert_int_equal(s3_keys_renew_at(5, INT64_MAX), INT64_MAX);
}

static void a_source_may_go_while_its_keys_are_looked_for(void **state)
{
	for (int i = 0; i < 20; i++) {
		struct source *s = make(NULL);
		const struct source_read_request r = {.key = "k", .length = 1, .object_size = 1};
		struct waiter w;
		waiter_init(&w);
		start_read(s, &r, &w);
		source_free(s);
		int rc = waiter_wait(&w);
		assert_true(rc == 0 || rc == -ECANCELED);
		waiter_clear(&w);
	}
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup(f, test_setup)
	const struct CMUnitTest tests[] = {
		TEST(each_place_gives_keys_in_its_turn),
		TEST(a_profile_may_lead_to_a_web_identity),
		TEST(what_is_missing_is_named),
		TEST(keys_are_renewed_before_they_expire),
		TEST(keys_of_a_web_identity_are_renewed_before_they_expire),
		TEST(keys_that_the_store_calls_expired_are_looked_for_anew),
		TEST(a_refusal_is_one_also_when_the_clock_was_set_back),
		TEST(keys_that_the_store_does_not_know_are_looked_for_while_others_go_on),
		TEST(the_time_of_renewal_is_five_minutes_before_or_a_quarter),
		TEST(a_source_may_go_while_its_keys_are_looked_for),
	};
	return cmocka_run_group_tests_name("s3_keys", tests, suite_setup, suite_teardown);
}
