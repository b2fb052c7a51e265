#include "common/source/s3_error.h"

#include <errno.h>
#include <expat.h>
#include <stdio.h>
#include <string.h>

/* ---- error bodies ---- */

struct error_parser {
	struct s3_error *e;
	XML_Parser xml;
	int depth;
	char *field; /* where text goes now, or NULL */
	size_t size, len;
};

static void error_start(void *arg, const XML_Char *name, const XML_Char **attrs)
{
	struct error_parser *p = arg;
	struct s3_error *e = p->e;
	const struct {
		const char *name;
		char *field;
		size_t size;
	} fields[] = {
		{"Code", e->code, sizeof e->code},
		{"Message", e->message, sizeof e->message},
		{"RequestId", e->request_id, sizeof e->request_id},
		{"Region", e->region, sizeof e->region},
		{"Status", e->status, sizeof e->status},
	};

	(void)attrs;
	p->field = NULL;
	p->depth++;
	for (size_t i = 0; p->depth == 2 && i < LENGTH(fields); i++)
		if (strcmp(name, fields[i].name) == 0) {
			p->field = fields[i].field;
			p->size = fields[i].size;
			p->len = 0;
		}
}

static void error_end(void *arg, const XML_Char *name)
{
	struct error_parser *p = arg;

	(void)name;
	p->field = NULL;
	p->depth--;
}

static void error_text(void *arg, const XML_Char *text, int len)
{
	struct error_parser *p = arg;

	if (!p->field || p->len + 1 >= p->size)
		return;
	response_copy_clean(p->field + p->len, p->size - p->len, text, (size_t)len);
	p->len += strlen(p->field + p->len);
}

static void error_doctype(void *arg, const XML_Char *name, const XML_Char *sys, const XML_Char *pub,
			  int internal)
{
	struct error_parser *p = arg;

	(void)name;
	(void)sys;
	(void)pub;
	(void)internal;
	(void)XML_StopParser(p->xml, XML_FALSE); /* entities can only harm; an HTML page says nothing to us */
}

void s3_error_parse(const void *body, size_t len, struct s3_error *ret)
{
	struct error_parser p = {.e = ret, .xml = XML_ParserCreate(NULL)};

	*ret = (struct s3_error){0};
	if (!p.xml)
		return;
	XML_SetUserData(p.xml, &p);
	XML_SetElementHandler(p.xml, error_start, error_end);
	XML_SetCharacterDataHandler(p.xml, error_text);
	XML_SetStartDoctypeDeclHandler(p.xml, error_doctype);
	/* A body that was cut still gives what came before the cut. */
	(void)XML_Parse(p.xml, body, (int)MIN(len, (size_t)RESPONSE_ERROR_MAX), XML_TRUE);
	XML_ParserFree(p.xml);
}

bool s3_versioning_enabled(const void *body, size_t len)
{
	struct s3_error e;

	s3_error_parse(body, len, &e);
	return strcmp(e.status, "Enabled") == 0;
}

/* ---- verdicts ---- */

/* Codes that say more than their status, and what helps. code 0: as the status says. */
static const struct {
	const char *name;
	int code;
	bool retry;
	const char *hint;
} known[] = {
	{"NoSuchBucket", 0, false, "check bucket and endpoint"},
	{"NoSuchKey", 0, false, NULL},
	{"SignatureDoesNotMatch", -EACCES, false,
	 "the secret key is wrong, or something on the way changes requests"},
	{"InvalidAccessKeyId", -EACCES, false, "the store does not know this access key"},
	{"XAdminUserNotFound", -EACCES, false,
	 "the store does not know this access key"}, /* versitygw's, a 404 */
	{"AccessDenied", -EACCES, false, "the credential may not do this"},
	{"RequestTimeTooSkewed", -EACCES, false, "set this machine's clock"},
	{"ExpiredToken", -EACCES, false, "renew the session token"},
	{"TokenRefreshRequired", -EACCES, false, "renew the session token"},
	{"InvalidToken", -EACCES, false, "the session token is not valid"},
	{"AuthorizationHeaderMalformed", -EACCES, false, "check the region"},
	{"PermanentRedirect", 0, false, "check region and endpoint"},
	{"RequestTimeout", -ERR_UNREACHABLE, true, NULL},
	{"SlowDown", -ERR_UNREACHABLE, true, NULL},
	{"InternalError", -ERR_UNREACHABLE, true, NULL},
};

int s3_error_code(enum s3_request_kind kind, int status, const char *code, bool *ret_retry)
{
	int by_status = response_code(kind == S3_READ, status, ret_retry);

	for (size_t i = 0; i < LENGTH(known); i++)
		if (known[i].code && strcmp(code, known[i].name) == 0) {
			*ret_retry = known[i].retry;
			return known[i].code;
		}
	return by_status;
}

static bool is_one_of(const char *code, const char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(code, names[i]) == 0)
			return true;
	return false;
}

bool s3_error_is_of_expiry(const char *code)
{
	static const char *const names[] = {"ExpiredToken", "TokenRefreshRequired", "InvalidToken"};

	return is_one_of(code, names, LENGTH(names));
}

bool s3_error_is_of_keys(const char *code)
{
	static const char *const names[] = {"InvalidAccessKeyId", "XAdminUserNotFound",
					    "SignatureDoesNotMatch"};

	return is_one_of(code, names, LENGTH(names)) || s3_error_is_of_expiry(code);
}

static const char *hint_of(const char *code)
{
	for (size_t i = 0; i < LENGTH(known); i++)
		if (strcmp(code, known[i].name) == 0)
			return known[i].hint;
	return NULL;
}

int s3_error_words(struct err *err, int code, const char *label, const char *subject,
		   const struct response *r, const struct s3_error *e)
{
	const char *hint = hint_of(e->code), *id = e->request_id[0] ? e->request_id : r->request_id;
	const char *region = e->region[0] ? e->region : r->region;
	char where[96] = "";

	if (region[0] &&
	    (r->status == 301 || r->status == 307 || strcmp(e->code, "AuthorizationHeaderMalformed") == 0))
		(void)snprintf(where, sizeof where, "; the bucket is in region %s", region);
	return err_set(err, code, "%.80s: HTTP %d%s%s for %.120s%s%s%s%s%s%s%s%s", label, r->status,
		       e->code[0] ? " " : "", e->code, subject, e->message[0] ? ": " : "", e->message, where,
		       hint ? "; " : "", hint ? hint : "", id[0] ? " (request id " : "", id,
		       id[0] ? ")" : "");
}
