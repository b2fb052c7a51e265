#include "operator-shim/doctor_report.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"

/* Amazon and those like it refuse a request that was signed a quarter of an hour off. */
#define SKEW_REFUSED_NS (900 * NS_PER_S)
#define SKEW_WARN_NS    (300 * NS_PER_S)

static const char *const step_names[] = {
	[DOCTOR_SETTINGS] = "settings",
	[DOCTOR_DNS] = "dns",
	[DOCTOR_TCP] = "tcp",
	[DOCTOR_TLS] = "tls",
	[DOCTOR_CLOCK] = "clock",
	[DOCTOR_ROOT] = "root",
	[DOCTOR_PERMISSION] = "permission",
	[DOCTOR_CREDENTIALS] = "credentials",
	[DOCTOR_LIST] = "list",
	[DOCTOR_GET] = "get",
};
static const char *const finding_names[] = {
	[DOCTOR_OK] = "ok", [DOCTOR_WARNING] = "warning", [DOCTOR_FAILED] = "failed"};

bool doctor_add(struct doctor_report *r, enum doctor_step step, enum doctor_finding finding,
		const char *remedy, const char *fmt, ...)
{
	va_list args;

	CHECK(r->row_count < DOCTOR_ROWS_MAX);
	struct doctor_row *row = &r->rows[r->row_count++];
	row->step = step;
	row->finding = finding;
	(void)snprintf(row->remedy, sizeof row->remedy, "%s", remedy);
	va_start(args, fmt);
	(void)vsnprintf(row->detail, sizeof row->detail, fmt, args);
	va_end(args);
	return finding != DOCTOR_FAILED;
}

bool doctor_failed(const struct doctor_report *r)
{
	for (size_t i = 0; i < r->row_count; i++)
		if (r->rows[i].finding == DOCTOR_FAILED)
			return true;
	return false;
}

/* ---- judgement ---- */

/* What the codes of S3 stores say of the step that failed. */
static const struct {
	const char *code;
	enum doctor_step step;
	const char *remedy;
} s3_codes[] = {
	{"InvalidAccessKeyId", DOCTOR_CREDENTIALS,
	 "the store does not know this access key; check AWS_ACCESS_KEY_ID and the endpoint"},
	{"XAdminUserNotFound", DOCTOR_CREDENTIALS, /* versitygw, as a 404 */
	 "the store does not know this access key; check AWS_ACCESS_KEY_ID and the endpoint"},
	{"SignatureDoesNotMatch", DOCTOR_CREDENTIALS,
	 "the secret key does not belong to the access key; check AWS_SECRET_ACCESS_KEY"},
	{"ExpiredToken", DOCTOR_CREDENTIALS, "the session has ended; get new keys"},
	{"TokenRefreshRequired", DOCTOR_CREDENTIALS, "the session has ended; get new keys"},
	{"InvalidToken", DOCTOR_CREDENTIALS, "check AWS_SESSION_TOKEN; keys that are no session's have none"},
	{"RequestTimeTooSkewed", DOCTOR_CLOCK, "set this machine's clock, by chrony or systemd-timesyncd"},
	{"NoSuchBucket", DOCTOR_LIST, "check bucket, and region or endpoint: there is none of that name"},
	{"PermanentRedirect", DOCTOR_LIST, "the bucket is elsewhere; set region or endpoint"},
	{"AuthorizationHeaderMalformed", DOCTOR_LIST, "set region to that of the bucket"},
	{"SlowDown", DOCTOR_LIST, "the store is busy; set s3.requestsPerSecond, or try later"},
};

static enum doctor_step judge_s3(const struct dataset_source *s, bool listing,
				 const struct source_refusal *refusal, const char **ret_remedy)
{
	for (size_t i = 0; i < LENGTH(s3_codes); i++)
		if (strcmp(refusal->code, s3_codes[i].code) == 0) {
			*ret_remedy = s3_codes[i].remedy;
			return s3_codes[i].step;
		}
	if (s->anonymous)
		*ret_remedy =
			listing ? "allow everybody s3:ListBucket on the bucket, or give keys by secretRef"
				: "allow everybody s3:GetObject on its objects, or give keys by secretRef";
	else
		*ret_remedy =
			listing ? "allow these keys s3:ListBucket on the bucket"
				: "allow these keys s3:GetObject on its objects; where versions are kept "
				  "also s3:GetObjectVersion, where they are encrypted kms:Decrypt";
	return listing ? DOCTOR_LIST : DOCTOR_GET;
}

static enum doctor_step judge_http(const struct dataset_source *s, bool listing,
				   const struct source_refusal *refusal, const char **ret_remedy)
{
	if (refusal->status == 401) {
		*ret_remedy = s->secret ? "check username and password, or token, of the Secret"
					: "give username and password, or token, by secretRef";
		return DOCTOR_CREDENTIALS;
	}
	if (refusal->status == 403)
		*ret_remedy = "the server lets nobody, or not this credential, read it; see its settings";
	else
		*ret_remedy = "check http.url, and that http.index fits what is there";
	return listing ? DOCTOR_LIST : DOCTOR_GET;
}

enum doctor_step doctor_judge(const struct dataset_source *s, bool listing, int code,
			      const struct source_refusal *refusal, const char **ret_remedy)
{
	enum doctor_step step = listing ? DOCTOR_LIST : DOCTOR_GET;

	if (s->kind == SOURCE_FILE) {
		*ret_remedy = code == -EACCES
				      ? "let that uid in: setfacl -R -m u:UID:rX, chmod, or up --run-as"
			      : code == -ESTALE ? "something writes there now; try again"
						: "see the file system's own log: dmesg";
	} else if (refusal->status == 407) {
		*ret_remedy = "the proxy wants a credential; put it into the proxy's URL";
	} else if (code == -ERR_UNREACHABLE && refusal->status >= 500) {
		*ret_remedy = "the server is in trouble or busy; try again, and look at its log";
	} else if ((code == -ERR_UNREACHABLE && refusal->status == 0) || code == -ETIMEDOUT) {
		*ret_remedy = "the server does not answer in time; try again, and look at its log";
	} else if (code == -ERR_CORRUPT) {
		*ret_remedy = s->kind == SOURCE_S3
				      ? "does the endpoint speak S3? check it, and proxies between"
				      : "check http.url, and that http.index fits what is there";
	} else if (code == -EACCES && refusal->status == 0) { /* nothing was asked: there are no keys */
		*ret_remedy = "give keys by secretRef, or s3.profile, or say anonymous: true";
		step = DOCTOR_CREDENTIALS;
	} else {
		step = s->kind == SOURCE_S3 ? judge_s3(s, listing, refusal, ret_remedy)
					    : judge_http(s, listing, refusal, ret_remedy);
	}
	return step;
}

const char *doctor_contact_remedy(const struct dataset_source *s, enum http_stage stage)
{
	switch (stage) {
	case HTTP_STAGE_NAME:
		return s->kind == SOURCE_HTTP
			       ? "check the host in http.url, and this machine's name servers"
			       : "check the host in s3.endpoint (or region, or the proxy), and this "
				 "machine's name servers";
	case HTTP_STAGE_CONNECT:
		return s->kind == SOURCE_S3 && s->s3.proxy
			       ? "check host and port of the proxy, that it runs, and firewalls or network "
				 "policies between"
			       : "check the port, that the server runs, and firewalls or network policies "
				 "between";
	case HTTP_STAGE_TLS:
		return s->kind == SOURCE_S3
			       ? "is it https? give the CA that signed the server's certificate by "
				 "s3.caSecretRef, or as ca.crt of the Secret"
			       : "is it https? give the CA that signed the server's certificate as ca.crt of "
				 "the Secret";
	case HTTP_STAGE_ANSWER:
	default:
		return "something listens, but does not answer as a web server does; check the port";
	}
}

enum doctor_finding doctor_judge_skew(enum source_kind kind, int64_t skew_ns)
{
	int64_t off_ns = llabs(skew_ns);

	if (kind != SOURCE_S3)
		return DOCTOR_OK; /* nothing of it is signed with a time */
	return off_ns >= SKEW_REFUSED_NS ? DOCTOR_FAILED
	       : off_ns >= SKEW_WARN_NS  ? DOCTOR_WARNING
					 : DOCTOR_OK;
}

/* ---- printing ---- */

void doctor_print_text(const struct doctor_report *r, FILE *out)
{
	(void)fprintf(out, "%s source %zu (%s)\n", r->dataset, r->source, r->text);
	for (size_t i = 0; i < r->row_count; i++) {
		const struct doctor_row *row = &r->rows[i];
		(void)fprintf(out, "  %-8s %-12s %s\n", finding_names[row->finding], step_names[row->step],
			      row->detail);
		if (row->remedy[0])
			(void)fprintf(out, "  %-21s -> %s\n", "", row->remedy);
	}
}

static cJSON *row_object(const struct doctor_row *row)
{
	cJSON *o = cJSON_CreateObject();

	(void)cJSON_AddStringToObject(o, "step", step_names[row->step]);
	(void)cJSON_AddStringToObject(o, "finding", finding_names[row->finding]);
	(void)cJSON_AddStringToObject(o, "detail", row->detail);
	(void)cJSON_AddStringToObject(o, "remedy", row->remedy);
	return o;
}

void doctor_print_json(const struct doctor_report *r, bool first, FILE *out)
{
	cJSON *o = cJSON_CreateObject();
	cJSON *steps = NULL;

	(void)cJSON_AddStringToObject(o, "dataset", r->dataset);
	(void)cJSON_AddNumberToObject(o, "source", (double)r->source);
	(void)cJSON_AddStringToObject(o, "url", r->text);
	(void)cJSON_AddBoolToObject(o, "good", !doctor_failed(r));
	steps = cJSON_AddArrayToObject(o, "steps");
	for (size_t i = 0; i < r->row_count; i++)
		(void)cJSON_AddItemToArray(steps, row_object(&r->rows[i]));
	char *text = cJSON_PrintUnformatted(o);
	(void)fprintf(out, "%s\n%s", first ? "" : ",", text ? text : "{}");
	cJSON_free(text);
	cJSON_Delete(o);
}
