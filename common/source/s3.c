/*
 * The S3 source: what its requests say and what its answers mean. The rest is that of all sources over HTTP (web.h); its
 * listings are in s3_listing.c.
 */
#include <errno.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/source/s3_error.h"
#include "common/source/s3_keys.h"
#include "common/source/s3_sign.h"
#include "common/source/s3_source.h"

enum { MOVES_MAX = 4 };

struct s3_source *s3_of(const struct web_op *op)
{
	return (struct s3_source *)(void *)op->base.source;
}

/* ---- requests ---- */

enum { SIGNED_MAX = 5 };

/* The headers that are sent and signed, in order of name, as SigV4 wants them. */
static size_t fill_headers(const struct web_op *op, const struct web_fetch *f, const char *date,
			   struct s3_header ret[SIGNED_MAX])
{
	const char *token = f->credential->access_key ? f->credential->session_token : NULL;
	bool whole = op->kind == WEB_READ && op->want.read.length == op->want.read.object_size;
	bool sum = whole && !atomic_load(&s3_of(op)->no_sums);
	size_t n = 0;

	ret[n++] = (struct s3_header){"host", s3_of(op)->place.host};
	if (sum)
		ret[n++] = (struct s3_header){"x-amz-checksum-mode", "ENABLED"};
	ret[n++] = (struct s3_header){"x-amz-content-sha256", S3_EMPTY_SHA256};
	ret[n++] = (struct s3_header){"x-amz-date", date};
	if (token)
		ret[n++] = (struct s3_header){"x-amz-security-token", token};
	return n;
}

/* The secret that signs must be there, and nothing in it may end a header. */
static int sign_request(struct web_op *op, struct web_fetch *f, const char *path, const char *query)
{
	const struct s3_place *place = &s3_of(op)->place;
	const struct credential *c = f->credential;
	char date[S3_DATE_SIZE], auth[S3_AUTH_SIZE];
	struct s3_header headers[SIGNED_MAX];

	s3_sign_date(f->wall_ns, date);
	size_t count = fill_headers(op, f, date, headers);
	if (!c->access_key || !c->secret_key)
		return strcmp(headers[1].name, "x-amz-checksum-mode") == 0
			       ? web_fetch_header(f, mem_strdup("x-amz-checksum-mode: ENABLED"))
			       : 0;
	const struct s3_to_sign in = {
		.method = f->head_only ? "HEAD" : "GET",
		.path = path,
		.query = query,
		.headers = headers,
		.header_count = count,
		.payload_hash = S3_EMPTY_SHA256,
		.date = date,
		.region = place->region,
		.service = "s3",
		.access_key = c->access_key,
		.secret_key = c->secret_key,
	};
	int rc = s3_sign(&in, auth, sizeof auth);
	for (size_t i = 1; rc == 0 && i < in.header_count; i++)
		rc = web_fetch_header(f, mem_printf("%s: %s", headers[i].name, headers[i].value));
	if (rc == 0)
		rc = web_fetch_header(f, mem_printf("Authorization: %s", auth));
	return rc;
}

int s3_fill_request(struct web_op *op, struct web_fetch *f, const char *path, const char *query)
{
	if (!path || !query)
		return -ENOMEM;
	int rc = web_fetch_url(
		f, mem_printf("%s%s%s%s", s3_of(op)->place.origin, path, *query ? "?" : "", query));
	return rc == 0 ? sign_request(op, f, path, query) : rc;
}

char *s3_version_query(const struct validator *v)
{
	size_t len = 0;
	const char *id = v ? s3_version_of(v, &len) : NULL;
	char code[3 * VALIDATOR_BYTES_MAX + 1] = "";

	if (id)
		(void)s3_encode(id, len, 0, code);
	return mem_printf("%s%s", id ? "versionId=" : "", code);
}

static int object_request(struct web_op *op, struct web_fetch *f)
{
	CLEANUP(free_str) char *path = s3_place_key_path(&s3_of(op)->place, op->key);
	CLEANUP(free_str)
	char *query = s3_version_query(op->kind == WEB_READ ? &op->want.read.validator : NULL);

	return s3_fill_request(op, f, path, query);
}

/* ---- refusals ---- */

/* The answer names another region: the source moves there. */
static bool elsewhere(struct web_op *op, const struct web_fetch *f, const struct s3_error *e)
{
	struct s3_source *s = s3_of(op);
	int status = f->head.status;

	if ((status != 301 && status != 307 && status != 400) || s->moves == MOVES_MAX)
		return false;
	if (s3_place_move(&s->place, *e->region ? e->region : f->head.region) < 0)
		return false;
	s->moves++;
	return true;
}

/* S3Proxy answers 501 to a header it does not know. */
static bool asks_too_much(struct web_op *op, const struct web_fetch *f)
{
	return op->kind == WEB_READ && f->head.status == 501 && !atomic_exchange(&s3_of(op)->no_sums, true);
}

/* Asked last: the fetch may have to wait for the answer, with its words. */
static bool keys_are_old(struct web_op *op, struct web_fetch *f, const struct s3_error *e)
{
	struct s3_keys *keys = s3_of(op)->keys;

	return keys && s3_error_is_of_keys(e->code) &&
	       s3_keys_refused(keys, f, s3_error_is_of_expiry(e->code));
}

int s3_refused_as(struct web_op *op, struct web_fetch *f, enum s3_request_kind kind, enum web_verdict *ret)
{
	struct s3_error e = {0};
	bool retry;

	if (f->error_body)
		s3_error_parse(f->error_body, f->error_len, &e);
	if (web_fetch_succeeded(
		    f)) { /* a store may find out late and send <Error> under the 200 of a listing */
		if (!e.code[0])
			return f->err.code;
		f->head.status = 500;
	}
	if (elsewhere(op, f, &e) || asks_too_much(op, f)) {
		*ret = WEB_AGAIN;
		return -ERR_UNREACHABLE;
	}
	int code = s3_error_code(kind, f->head.status, e.code, &retry);
	(void)s3_error_words(&f->err, code, web_label_of(op), f->subject, &f->head, &e);
	if (keys_are_old(op, f, &e)) {
		*ret = WEB_AGAIN;
		return -ERR_UNREACHABLE;
	}
	web_fetch_note_refusal(f, e.code);
	*ret = retry ? WEB_RETRY : WEB_FAIL;
	return code;
}

static int object_refused(struct web_op *op, struct web_fetch *f, enum web_verdict *ret)
{
	return s3_refused_as(op, f, op->kind == WEB_STAT ? S3_STAT : S3_READ, ret);
}

/* ---- stat ---- */

static int stat_entry(struct web_op *op, struct source_entry *ret)
{
	struct web_fetch *f = &op->fetch;
	size_t len = strlen(op->key);
	bool dir = len > 0 && op->key[len - 1] == '/' && f->head.length == 0;

	if (!f->head.has_length || f->head.bad)
		return err_set(&f->err, -ERR_CORRUPT, "%.80s: %.200s: an answer to HEAD without a length",
			       web_label_of(op), op->key);
	*ret = (struct source_entry){
		.type = dir ? SOURCE_TYPE_DIR : SOURCE_TYPE_FILE,
		.key = op->key,
		.key_len = len - dir,
		.size = f->head.length,
		.mtime_ns = f->head.mtime_ns,
		.validator = f->head.validator,
	};
	return 0;
}

/* ---- the source ---- */

static void s3_done(struct web_source *web)
{
	struct s3_source *s = (struct s3_source *)(void *)web;

	s->keys = s3_keys_free(s->keys);
	s3_place_done(&s->place);
}

static const struct web_kind s3_kind = {
	.request = object_request,
	.refused = object_refused,
	.entry = stat_entry,
	.list = s3_list_start,
	.stop = s3_list_stop,
	.done = s3_done,
	.whole_get = true,
};

static bool ready(struct web_fetch *f)
{
	return s3_keys_ready(((struct s3_source *)(void *)f->source)->keys, f);
}

int source_s3_new(struct source_loop *loop, const struct source_config *config, struct source **ret,
		  struct err *err)
{
	struct s3_source *s = mem_calloc(1, sizeof *s);

	if (!s)
		return -ENOMEM;
	int rc = s3_place_init(&s->place, config, err);
	if (rc < 0) {
		mem_free(s);
		return rc;
	}
	rc = web_source_init(&s->web, loop, config, &s3_kind, mem_strdup(s->place.origin), err);
	if (rc == 0 && config->s3.find_keys) {
		s->web.base.loop = loop;
		s->web.ready = ready;
		rc = s3_keys_new(&s->web, config->s3.profile, s->place.region, config->credential.ca_pem,
				 &s->keys);
	}
	if (rc < 0) {
		web_source_done(&s->web);
		mem_free(s);
		return rc;
	}
	*ret = &s->web.base;
	return 0;
}
