#include "common/source/aws_text.h"

#include <cjson/cJSON.h>
#include <ctype.h>
#include <errno.h>
#include <expat.h>
#include <string.h>
#include <time.h>

#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/source/response.h"

static char *wipe(char *secret)
{
	if (secret)
		explicit_bzero(secret, strlen(secret));
	return mem_free(secret);
}

void aws_keys_done(struct aws_keys *k)
{
	mem_free(k->access_key);
	wipe(k->secret_key);
	wipe(k->session_token);
	*k = (struct aws_keys){0};
}

void aws_profile_done(struct aws_profile *p)
{
	char *const plain[] = {p->access_key, p->role_arn, p->token_file, p->session_name, p->region};

	for (size_t i = 0; i < LENGTH(plain); i++)
		mem_free(plain[i]);
	wipe(p->secret_key);
	wipe(p->session_token);
	*p = (struct aws_profile){0};
}

/* ---- profiles ---- */

static void trim(const char **p, size_t *len)
{
	for (; *len > 0 && isspace((unsigned char)**p); (*len)--)
		(*p)++;
	while (*len > 0 && isspace((unsigned char)(*p)[*len - 1]))
		(*len)--;
}

static bool is(const char *p, size_t len, const char *text)
{
	return len == strlen(text) && memcmp(p, text, len) == 0;
}

/* Whether "[...]" is the section of @name. */
static bool section_is(const char *p, size_t len, const char *name, bool config)
{
	const char *end = memchr(p, ']', len);

	if (!end)
		return false;
	len = (size_t)(end - p) - 1;
	p++;
	trim(&p, &len);
	if (config && !is(p, len, "default")) {
		if (len < 8 || memcmp(p, "profile", 7) != 0 || !isspace((unsigned char)p[7]))
			return false;
		p += 8;
		len -= 8;
		trim(&p, &len);
	}
	return is(p, len, name);
}

static int take_setting(struct aws_profile *p, const char *line, size_t len)
{
	const struct {
		const char *name;
		char **slot;
	} slots[] = {
		{"aws_access_key_id", &p->access_key},
		{"aws_secret_access_key", &p->secret_key},
		{"aws_session_token", &p->session_token},
		{"role_arn", &p->role_arn},
		{"web_identity_token_file", &p->token_file},
		{"role_session_name", &p->session_name},
		{"region", &p->region},
	};
	const char *equal = memchr(line, '=', len);

	if (!equal)
		return 0;
	const char *name = line, *value = equal + 1;
	size_t name_len = (size_t)(equal - line), value_len = len - name_len - 1;
	trim(&name, &name_len);
	trim(&value, &value_len);
	if (value_len == 0 || value_len > AWS_VALUE_MAX || memchr(value, '\0', value_len))
		return 0;
	for (size_t i = 0; i < LENGTH(slots); i++)
		if (is(name, name_len, slots[i].name) && !*slots[i].slot) {
			*slots[i].slot = mem_strndup(value, value_len);
			return *slots[i].slot ? 0 : -ENOMEM;
		}
	return 0;
}

int aws_profile_parse(const char *text, size_t len, const char *name, bool config, struct aws_profile *p,
		      bool *ret_found)
{
	const char *end = text + len;
	bool mine = false;
	int rc = 0;

	*ret_found = false;
	while (rc == 0 && text < end) {
		const char *eol = memchr(text, '\n', (size_t)(end - text)), *line = text;
		size_t n = (size_t)((eol ? eol : end) - text);
		bool nested = n > 0 && isspace((unsigned char)*line); /* a setting below another: not ours */
		text += n + (eol != NULL);
		trim(&line, &n);
		if (n == 0 || *line == '#' || *line == ';')
			continue;
		if (*line == '[') {
			mine = section_is(line, n, name, config);
			*ret_found |= mine;
		} else if (mine && !nested) {
			rc = take_setting(p, line, n);
		}
	}
	return rc;
}

/* ---- answers ---- */

/* "2026-11-25T12:00:00Z"; 0 when it is something else. */
static int64_t parse_time(const char *text)
{
	struct tm tm = {0};
	const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);

	if (!rest || tm.tm_year < 70 || tm.tm_year > 300)
		return 0;
	return (int64_t)timegm(&tm) * NS_PER_S;
}

static bool plain(const char *value)
{
	size_t len = strlen(value);

	for (size_t i = 0; i < len; i++)
		if (value[i] <= ' ' || value[i] > '~')
			return false;
	return len > 0 && len <= AWS_VALUE_MAX;
}

static int make_keys(const char *access, const char *secret, const char *token, const char *expiry,
		     struct aws_keys *ret, struct err *err)
{
	if (!access || !secret || !token || !expiry || !plain(access) || !plain(secret) || !plain(token) ||
	    parse_time(expiry) == 0)
		return err_set(err, -ERR_CORRUPT, "an answer without keys, or without their end");
	struct aws_keys k = {.access_key = mem_strdup(access),
			     .secret_key = mem_strdup(secret),
			     .session_token = mem_strdup(token),
			     .expiry_ns = parse_time(expiry)};
	if (!k.access_key || !k.secret_key || !k.session_token) {
		aws_keys_done(&k);
		return -ENOMEM;
	}
	*ret = k;
	return 0;
}

int aws_metadata_parse(const char *text, size_t len, struct aws_keys *ret, struct err *err)
{
	cJSON *j = cJSON_ParseWithLength(text, len);
	const char *names[] = {"AccessKeyId", "SecretAccessKey", "Token", "Expiration"}, *values[4];

	for (size_t i = 0; i < LENGTH(names); i++)
		values[i] = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(j, names[i]));
	int rc = make_keys(values[0], values[1], values[2], values[3], ret, err);
	cJSON_Delete(j);
	return rc;
}

enum { STS_ACCESS, STS_SECRET, STS_TOKEN, STS_EXPIRY, STS_CODE, STS_MESSAGE, STS_FIELDS };

struct sts {
	XML_Parser xml;
	int field; /* -1: none */
	size_t len[STS_FIELDS];
	char text[STS_FIELDS][AWS_VALUE_MAX + 1];
};

static void sts_start(void *arg, const XML_Char *name, const XML_Char **attrs)
{
	static const char *const names[] = {"AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration",
					    "Code",        "Message"};
	struct sts *s = arg;

	(void)attrs;
	s->field = -1;
	for (int i = 0; i < STS_FIELDS; i++)
		if (strcmp(name, names[i]) == 0 && s->len[i] == 0)
			s->field = i;
}

static void sts_end(void *arg, const XML_Char *name)
{
	(void)name;
	((struct sts *)arg)->field = -1;
}

static void sts_text(void *arg, const XML_Char *text, int len)
{
	struct sts *s = arg;

	if (s->field < 0)
		return;
	size_t *used = &s->len[s->field], n = MIN((size_t)len, (size_t)AWS_VALUE_MAX - *used);
	memcpy(s->text[s->field] + *used, text, n);
	*used += n;
}

static void sts_doctype(void *arg, const XML_Char *name, const XML_Char *sys, const XML_Char *pub,
			int internal)
{
	(void)name;
	(void)sys;
	(void)pub;
	(void)internal;
	(void)XML_StopParser(((struct sts *)arg)->xml, XML_FALSE);
}

static int read_sts(struct sts *s, const char *text, size_t len, struct aws_keys *ret, struct err *err)
{
	XML_SetUserData(s->xml, s);
	XML_SetElementHandler(s->xml, sts_start, sts_end);
	XML_SetCharacterDataHandler(s->xml, sts_text);
	XML_SetStartDoctypeDeclHandler(s->xml, sts_doctype);
	s->field = -1;
	(void)XML_Parse(s->xml, text, (int)MIN(len, (size_t)AWS_TEXT_MAX), XML_TRUE);
	if (s->len[STS_CODE] > 0) {
		char code[80], message[200];
		response_copy_clean(code, sizeof code, s->text[STS_CODE], s->len[STS_CODE]);
		response_copy_clean(message, sizeof message, s->text[STS_MESSAGE], s->len[STS_MESSAGE]);
		return err_set(err, -EACCES, "%s: %s", code, message);
	}
	return make_keys(s->text[STS_ACCESS], s->text[STS_SECRET], s->text[STS_TOKEN], s->text[STS_EXPIRY],
			 ret, err);
}

int aws_sts_parse(const char *text, size_t len, struct aws_keys *ret, struct err *err)
{
	struct sts *s = mem_calloc(1, sizeof *s);
	int rc = -ENOMEM;

	if (!s)
		return rc;
	s->xml = XML_ParserCreate(NULL);
	if (s->xml) {
		rc = read_sts(s, text, len, ret, err);
		XML_ParserFree(s->xml);
	}
	explicit_bzero(s->text, sizeof s->text);
	mem_free(s);
	return rc;
}
