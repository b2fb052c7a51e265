/* The way of one request: credentials, redirects, and what statuses mean. */
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/source/http_site.h"
#include "common/source/http_url.h"

enum { HOPS_MAX = 5 };

void http_trip_done(struct http_trip *trip)
{
	trip->url = mem_free(trip->url);
}

/* ---- requests ---- */

static char *basic(const struct credential *c)
{
	CLEANUP(free_str) char *pair = mem_printf("%s:%s", c->username, c->password ? c->password : "");
	size_t len = pair ? strlen(pair) : 0;
	CLEANUP(free_str) char *code = pair ? mem_alloc((len + 2) / 3 * 4 + 1) : NULL;
	char *line = NULL;

	if (code) {
		(void)EVP_EncodeBlock((uint8_t *)code, (const uint8_t *)pair, (int)len);
		line = mem_printf("Authorization: Basic %s", code);
		explicit_bzero(code, strlen(code));
	}
	if (pair)
		explicit_bzero(pair, len);
	return line;
}

/* A credential goes to the server it was given for, and to no other that one leads to. */
static int add_credential(const struct http_site *site, const struct http_trip *trip, struct web_fetch *f)
{
	const struct credential *c = f->credential;

	if ((!c->username && !c->token) || !http_url_same_origin(trip->url, site->base))
		return 0;
	return web_fetch_header(f, c->token ? mem_printf("Authorization: Bearer %s", c->token) : basic(c));
}

int http_trip_request(const struct http_site *site, struct http_trip *trip, struct web_fetch *f, char *url)
{
	if (trip->follow && trip->url) {
		mem_free(url);
	} else {
		mem_free(trip->url);
		trip->url = url;
		trip->hops = 0;
	}
	trip->follow = false;
	if (!trip->url)
		return -ENOMEM;
	http_url_clean(trip->url, trip->clean, sizeof trip->clean);
	f->subject = trip->clean;
	f->head_only = trip->size_only && !atomic_load(&site->no_head);
	int rc = web_fetch_url(f, mem_strdup(trip->url));
	if (rc == 0)
		rc = web_fetch_header(f, mem_strdup("Accept-Encoding: identity"));
	if (rc == 0 && trip->size_only && !f->head_only)
		rc = web_fetch_header(f, mem_strdup("Range: bytes=0-0"));
	return rc == 0 ? add_credential(site, trip, f) : rc;
}

/* ---- answers ---- */

static int follow(struct http_trip *trip, struct web_fetch *f, enum web_verdict *ret)
{
	const char *label = f->source->base.label;
	char there[200];
	char *next = *f->head.location ? http_url_join(trip->url, f->head.location) : NULL;

	if (!next)
		return err_set(&f->err, -ERR_CORRUPT,
			       "%.80s: HTTP %d for %.200s leads to no URL that can be followed", label,
			       f->head.status, trip->clean);
	http_url_clean(next, there, sizeof there);
	if (http_url_secure(trip->url) && !http_url_secure(next)) {
		mem_free(next);
		return err_set(
			&f->err, -EACCES,
			"%.80s: HTTP %d for %.150s leads from https to %.150s, which nobody vouches for",
			label, f->head.status, trip->clean, there);
	}
	if (++trip->hops > HOPS_MAX) {
		web_fetch_note_refusal(f, "");
		mem_free(next);
		return err_set(&f->err, -ERR_UNREACHABLE, "%.80s: HTTP %d for %.200s: over %d redirects",
			       label, f->head.status, trip->clean, HOPS_MAX);
	}
	mem_free(trip->url);
	trip->url = next;
	trip->follow = true;
	*ret = WEB_AGAIN;
	return -ERR_UNREACHABLE;
}

static const char *hint_of(const struct web_fetch *f)
{
	bool known = f->credential && (f->credential->username || f->credential->token);

	switch (f->head.status) {
	case 401:
		return known ? "; the server does not take the credential of the Secret"
			     : "; give username and password or token by secretRef";
	case 403:
		return "; the server lets nobody, or not this credential, read it";
	case 407:
		return "; a proxy wants a credential";
	default:
		return "";
	}
}

static bool redirected(int status)
{
	return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

int http_trip_refused(struct http_site *site, struct http_trip *trip, struct web_fetch *f, bool read,
		      enum web_verdict *ret)
{
	int status = f->head.status;
	bool retry;

	if (web_fetch_succeeded(f))
		return f->err.code; /* its body was no good: the words are there */
	if (redirected(status))
		return follow(trip, f, ret);
	if (f->head_only && (status == 405 || status == 501) && !atomic_exchange(&site->no_head, true)) {
		*ret = WEB_AGAIN;
		return -ERR_UNREACHABLE;
	}
	web_fetch_note_refusal(f, "");
	int code = response_code(read, status, &retry);
	*ret = retry ? WEB_RETRY : WEB_FAIL;
	return err_set(&f->err, code, "%.80s: HTTP %d for %.200s%s", f->source->base.label, status,
		       trip->clean, hint_of(f));
}

int http_trip_entry(const struct http_trip *trip, struct web_fetch *f, struct source_entry *ret)
{
	const struct response *r = &f->head;
	bool one = r->status == 206;

	if (r->bad || !(one ? r->has_total : r->has_length))
		return err_set(&f->err, -ERR_CORRUPT, "%.80s: %.200s: the server does not say how long it is",
			       f->source->base.label, trip->clean);
	ret->type = SOURCE_TYPE_FILE;
	ret->size = one ? r->total : r->length;
	ret->mtime_ns = r->mtime_ns;
	ret->validator = r->validator;
	if (ret->validator.kind == VALIDATOR_NONE)
		ret->validator = response_dated_validator(r->mtime_ns, ret->size);
	return 0;
}
