#include "common/source/aws_chain.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "common/base/fd.h"
#include "common/base/mem.h"
#include "common/source/s3_place.h"

#define METADATA "http://169.254.169.254"

enum { ANSWER_MAX = 64 << 10, STS_TIME_MS = 10000, METADATA_TIME_MS = 2000 };

static const char *var(const struct aws_chain *c, const char *name)
{
	const char *value = c->env(name);

	return value && *value ? value : NULL;
}

/* ---- one short request ---- */

struct answer {
	long status;
	size_t len;
	char text[ANSWER_MAX + 1];
};

static size_t take(char *p, size_t size, size_t count, void *arg)
{
	struct answer *a = arg;
	size_t len = size * count;

	if (len > ANSWER_MAX - a->len)
		return 0;
	memcpy(a->text + a->len, p, len);
	a->len += len;
	a->text[a->len] = '\0';
	return len;
}

struct question {
	const char *method, *url;
	const char *header, *body; /* NULL: none */
	const char *ca_pem;
	long time_ms;
	bool near; /* on this machine's link: never through a proxy */
};

static CURLcode set_up(CURL *e, const struct question *q, struct curl_slist *headers, struct answer *ret,
		       char *words)
{
	CURLcode rc = curl_easy_setopt(e, CURLOPT_URL, q->url);

	(void)curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, q->time_ms);
	(void)curl_easy_setopt(e, CURLOPT_ERRORBUFFER, words);
	(void)curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, take);
	(void)curl_easy_setopt(e, CURLOPT_WRITEDATA, ret);
	(void)curl_easy_setopt(e, CURLOPT_HTTPHEADER, headers);
	if (q->near)
		(void)curl_easy_setopt(e, CURLOPT_NOPROXY, "*");
	if (rc == CURLE_OK && q->body)
		rc = curl_easy_setopt(e, CURLOPT_COPYPOSTFIELDS, q->body);
	if (rc == CURLE_OK)
		rc = curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, q->method);
	if (rc == CURLE_OK && q->ca_pem && *q->ca_pem) {
		struct curl_blob blob = {.data = (void *)(uintptr_t)q->ca_pem,
					 .len = strlen(q->ca_pem),
					 .flags = CURL_BLOB_COPY};
		rc = curl_easy_setopt(e, CURLOPT_CAINFO_BLOB, &blob);
	}
	return rc == CURLE_OK ? curl_easy_perform(e) : rc;
}

static int ask(const struct question *q, struct answer *ret, struct err *err)
{
	char words[CURL_ERROR_SIZE] = "";
	CURL *e = curl_easy_init();
	struct curl_slist *headers = q->header ? curl_slist_append(NULL, q->header) : NULL;

	ret->len = 0;
	ret->text[0] = '\0';
	if (!e || (q->header && !headers)) {
		curl_slist_free_all(headers);
		curl_easy_cleanup(e);
		return -ENOMEM;
	}
	CURLcode rc = set_up(e, q, headers, ret, words);
	(void)curl_easy_getinfo(e, CURLINFO_RESPONSE_CODE, &ret->status);
	curl_easy_cleanup(e);
	curl_slist_free_all(headers);
	if (rc == CURLE_OK)
		return 0;
	return err_set(err, rc == CURLE_OUT_OF_MEMORY ? -ENOMEM : -ERR_UNREACHABLE, "%s",
		       words[0] ? words : curl_easy_strerror(rc));
}

static struct answer *answer_free(struct answer *a)
{
	if (a)
		explicit_bzero(a, sizeof *a);
	return mem_free(a);
}
DEFINE_CLEANUP(struct answer *, answer_free)

/* ---- web identity ---- */

static char *escaped(const char *text)
{
	size_t len = strlen(text);
	char *out = mem_alloc(3 * len + 1);

	if (out)
		(void)s3_encode(text, len, 0, out);
	return out;
}

static int read_token(const char *path, char **ret, struct err *err)
{
	size_t len;
	int rc = fd_read_file(AT_FDCWD, path, AWS_TEXT_MAX, ret, &len);

	if (rc < 0)
		return err_set(err, rc == -ENOMEM ? rc : -EACCES, "web identity: token file %.200s: %s", path,
			       err_text(rc));
	while (len > 0 && (*ret)[len - 1] <= ' ' && (*ret)[len - 1] >= 0)
		(*ret)[--len] = '\0';
	return 0;
}

static char *sts_body(const char *role, const char *session, const char *token)
{
	CLEANUP(free_str) char *r = escaped(role);
	CLEANUP(free_str) char *s = escaped(session ? session : "larder");
	CLEANUP(free_str) char *t = escaped(token);

	if (!r || !s || !t)
		return NULL;
	return mem_printf("Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=%s&RoleSessionName=%s"
			  "&WebIdentityToken=%s",
			  r, s, t);
}

static int from_web_identity(const struct aws_chain *c, const char *role, const char *file,
			     const char *session, struct aws_keys *ret, struct err *err)
{
	CLEANUP(free_str) char *token = NULL;
	int rc = read_token(file, &token, err);

	if (rc < 0)
		return rc;
	const char *given = var(c, "AWS_ENDPOINT_URL_STS");
	CLEANUP(free_str)
	char *url = given ? mem_printf("%s/", given) : mem_printf("https://sts.%s.amazonaws.com/", c->region);
	CLEANUP(free_str) char *body = sts_body(role, session, token);
	CLEANUP(answer_free) struct answer *a = mem_calloc(1, sizeof *a);
	if (!url || !body || !a)
		return -ENOMEM;
	const struct question q = {
		.method = "POST", .url = url, .body = body, .ca_pem = c->ca_pem, .time_ms = STS_TIME_MS};
	rc = ask(&q, a, err);
	explicit_bzero(body, strlen(body));
	if (rc == 0)
		rc = aws_sts_parse(a->text, a->len, ret, err);
	return rc < 0 ? err_wrap(err, rc, "web identity: STS at %.100s: HTTP %ld", url, a->status) : 0;
}

/* ---- shared files ---- */

static int read_shared(const struct aws_chain *c, const char *name, const char *file, bool config,
		       const char *profile, struct aws_profile *p, bool *ret_found, bool *ret_denied,
		       struct err *err)
{
	const char *given = var(c, name), *home = var(c, "HOME");
	CLEANUP(free_str)
	char *path = given ? mem_strdup(given) : mem_printf("%s/.aws/%s", home ? home : "", file);
	CLEANUP(free_str) char *text = NULL;
	bool found = false;
	size_t len;

	if (!path)
		return -ENOMEM;
	int rc = fd_read_file(AT_FDCWD, path, AWS_TEXT_MAX, &text, &len);
	/* The home of another user says nothing: `larder up` is root's, the node is not. */
	*ret_denied |= !given && rc == -EACCES;
	if (rc == -ENOENT || rc == -ENOTDIR || (!given && rc == -EACCES))
		return 0;
	if (rc < 0)
		return err_set(err, rc == -ENOMEM ? rc : -EACCES,
			       "shared files: %.200s: %s; the node's uid must be able to read it", path,
			       err_text(rc));
	rc = aws_profile_parse(text, len, profile, config, p, &found);
	explicit_bzero(text, len);
	*ret_found |= found;
	return rc;
}

static int from_profile(const struct aws_chain *c, const char *profile, struct aws_profile *p,
			struct aws_keys *ret, struct err *err)
{
	if (p->access_key && p->secret_key) {
		ret->access_key = TAKE(p->access_key);
		ret->secret_key = TAKE(p->secret_key);
		ret->session_token = TAKE(p->session_token);
		ret->expiry_ns = INT64_MAX;
		return 0;
	}
	if (p->role_arn && p->token_file)
		return from_web_identity(c, p->role_arn, p->token_file, p->session_name, ret, err);
	return err_set(err, -EACCES,
		       "profile %.64s has neither a pair of keys nor role_arn with web_identity_token_file",
		       profile);
}

/* -ENOENT: no file has the section; *ret_denied: HOME has files that this uid may not read. */
static int from_files(const struct aws_chain *c, const char *profile, struct aws_keys *ret, bool *ret_denied,
		      struct err *err)
{
	struct aws_profile p = {0};
	bool found = false;
	int rc = read_shared(c, "AWS_SHARED_CREDENTIALS_FILE", "credentials", false, profile, &p, &found,
			     ret_denied, err);

	if (rc == 0)
		rc = read_shared(c, "AWS_CONFIG_FILE", "config", true, profile, &p, &found, ret_denied, err);
	if (rc == 0)
		rc = found ? from_profile(c, profile, &p, ret, err) : -ENOENT;
	aws_profile_done(&p);
	return rc;
}

/* ---- instance metadata ---- */

static int ask_metadata(const char *base, const char *path, const char *method, const char *header,
			struct answer *a, struct err *err)
{
	CLEANUP(free_str) char *url = mem_printf("%s/latest/%s", base, path);
	const struct question q = {
		.method = method, .url = url, .header = header, .time_ms = METADATA_TIME_MS, .near = true};
	int rc = url ? ask(&q, a, err) : -ENOMEM;

	if (rc == 0 && a->status != 200)
		rc = err_set(err, -EACCES, "HTTP %ld for %s", a->status, path);
	return rc;
}

static int from_metadata(const struct aws_chain *c, struct aws_keys *ret, struct err *err)
{
	const char *base = var(c, "AWS_EC2_METADATA_SERVICE_ENDPOINT");
	CLEANUP(answer_free) struct answer *a = mem_calloc(1, sizeof *a);

	if (!a)
		return -ENOMEM;
	base = base ? base : METADATA;
	int rc = ask_metadata(base, "api/token", "PUT", "X-aws-ec2-metadata-token-ttl-seconds: 300", a, err);
	if (rc < 0)
		return rc;
	a->text[strcspn(a->text, "\r\n")] = '\0';
	CLEANUP(free_str) char *token = mem_printf("X-aws-ec2-metadata-token: %.1000s", a->text);
	rc = token ? ask_metadata(base, "meta-data/iam/security-credentials/", "GET", token, a, err)
		   : -ENOMEM;
	if (rc < 0)
		return rc;
	a->text[strcspn(a->text, "\r\n/")] = '\0'; /* the role's name; the first, if there are more */
	CLEANUP(free_str) char *role = escaped(a->text);
	CLEANUP(free_str)
	char *path = role ? mem_printf("meta-data/iam/security-credentials/%s", role) : NULL;
	rc = path ? ask_metadata(base, path, "GET", token, a, err) : -ENOMEM;
	return rc == 0 ? aws_metadata_parse(a->text, a->len, ret, err) : rc;
}

/* ---- */

static int from_environment(const char *access, const char *secret, const char *token, struct aws_keys *ret,
			    struct err *err)
{
	if (!secret)
		return err_set(err, -EACCES, "environment: AWS_ACCESS_KEY_ID without AWS_SECRET_ACCESS_KEY");
	struct aws_keys k = {.access_key = mem_strdup(access),
			     .secret_key = mem_strdup(secret),
			     .session_token = token ? mem_strdup(token) : NULL,
			     .expiry_ns = INT64_MAX};
	if (!k.access_key || !k.secret_key || (token && !k.session_token)) {
		aws_keys_done(&k);
		return -ENOMEM;
	}
	*ret = k;
	return 0;
}

static const char *hint(bool denied)
{
	return denied ? " (those of HOME cannot be read by the node's uid; name one by AWS_SHARED_CREDENTIALS_FILE)"
		      : "";
}

int aws_chain_find(const struct aws_chain *c, struct aws_keys *ret, struct err *err)
{
	const char *access = var(c, "AWS_ACCESS_KEY_ID"), *role = var(c, "AWS_ROLE_ARN"),
		   *file = var(c, "AWS_WEB_IDENTITY_TOKEN_FILE"), *named = var(c, "AWS_PROFILE"),
		   *off = var(c, "AWS_EC2_METADATA_DISABLED");
	bool denied = false;
	int rc;

	if (c->profile) {
		rc = from_files(c, c->profile, ret, &denied, err);
		return rc == -ENOENT ? err_set(err, -EACCES, "no shared file has a profile \"%.64s\"%s",
					       c->profile, hint(denied))
				     : rc;
	}
	if (access)
		return from_environment(access, var(c, "AWS_SECRET_ACCESS_KEY"), var(c, "AWS_SESSION_TOKEN"),
					ret, err);
	if (role && file)
		return from_web_identity(c, role, file, var(c, "AWS_ROLE_SESSION_NAME"), ret, err);
	rc = from_files(c, named ? named : "default", ret, &denied, err);
	if (rc != -ENOENT)
		return rc;
	if (off && strcmp(off, "true") == 0)
		return err_set(
			err, -EACCES,
			"no keys in the environment or the shared files, and instance metadata is switched off");
	rc = from_metadata(c, ret, err);
	return rc < 0 ? err_wrap(err, rc == -ERR_UNREACHABLE ? -EACCES : rc,
				 "no keys in the environment or the shared files%s, and instance metadata",
				 hint(denied))
		      : 0;
}
