/*
 * The S3 source: what its requests say and what its answers mean. The rest is that of all sources over HTTP (web.h).
 * A listing goes from page to page with one fetch.
 */
#include <errno.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/source/s3_error.h"
#include "common/source/s3_list.h"
#include "common/source/s3_place.h"
#include "common/source/s3_sign.h"
#include "common/source/web.h"

struct s3_source {
	struct web_source web;
	struct s3_place place;
};

/* A listing on its way: op->data. */
struct listing {
	struct s3_list *page;
	char *token; /* of the page that is asked for; NULL: the first */
};

static const struct s3_source *s3_of(const struct web_op *op)
{
	return (const struct s3_source *)(const void *)op->base.source;
}

static const char *label_of(const struct web_op *op)
{
	return op->base.source->label;
}

/* ---- requests ---- */

/* The secret that signs must be there, and nothing in it may end a header. */
static int sign_request(struct web_op *op, struct web_fetch *f, const char *path, const char *query)
{
	const struct s3_place *place = &s3_of(op)->place;
	const struct credential *c = f->credential;
	char date[S3_DATE_SIZE], auth[S3_AUTH_SIZE];

	if (!c->access_key || !c->secret_key)
		return 0;
	s3_sign_date(f->wall_ns, date);
	const struct s3_header headers[] = {
		{"host", place->host},
		{"x-amz-content-sha256", S3_EMPTY_SHA256},
		{"x-amz-date", date},
		{"x-amz-security-token", c->session_token},
	};
	const struct s3_to_sign in = {
		.method = f->head_only ? "HEAD" : "GET",
		.path = path,
		.query = query,
		.headers = headers,
		.header_count = c->session_token ? 4 : 3,
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

static int fill_request(struct web_op *op, struct web_fetch *f, const char *path, const char *query)
{
	if (!path || !query)
		return -ENOMEM;
	int rc = web_fetch_url(
		f, mem_printf("%s%s%s%s", s3_of(op)->place.origin, path, *query ? "?" : "", query));
	return rc == 0 ? sign_request(op, f, path, query) : rc;
}

static int object_request(struct web_op *op, struct web_fetch *f)
{
	CLEANUP(free_str) char *path = s3_place_key_path(&s3_of(op)->place, op->key);

	return fill_request(op, f, path, "");
}

static int list_request(struct web_fetch *f)
{
	struct web_op *op = web_op_of(f);
	const struct listing *l = op->data;
	CLEANUP(free_str) char *query = s3_place_list_query(&s3_of(op)->place, op->key, l->token);
	int rc = s3_list_reset(l->page);

	return rc == 0 ? fill_request(op, f, s3_of(op)->place.bucket_path, query) : rc;
}

/* ---- refusals ---- */

static int refused_as(struct web_op *op, struct web_fetch *f, enum s3_request_kind kind,
		      enum web_verdict *ret)
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
	int code = s3_error_code(kind, f->head.status, e.code, &retry);
	*ret = retry ? WEB_RETRY : WEB_FAIL;
	return s3_error_words(&f->err, code, label_of(op), f->subject, &f->head, &e);
}

static int object_refused(struct web_op *op, struct web_fetch *f, enum web_verdict *ret)
{
	return refused_as(op, f, op->kind == WEB_STAT ? S3_STAT : S3_READ, ret);
}

static int list_refused(struct web_fetch *f, enum web_verdict *ret)
{
	return refused_as(web_op_of(f), f, S3_LIST, ret);
}

/* ---- stat ---- */

static int stat_entry(struct web_op *op, struct source_entry *ret)
{
	struct web_fetch *f = &op->fetch;
	size_t len = strlen(op->key);
	bool dir = len > 0 && op->key[len - 1] == '/';

	if (!f->head.has_length || f->head.bad)
		return err_set(&f->err, -ERR_CORRUPT, "%.80s: %.200s: an answer to HEAD without a length",
			       label_of(op), op->key);
	*ret = (struct source_entry){
		.type = dir ? SOURCE_TYPE_DIR : SOURCE_TYPE_FILE,
		.key = op->key,
		.key_len = len - dir,
		.size = dir ? 0 : f->head.length,
		.mtime_ns = f->head.mtime_ns,
		.validator = f->head.validator,
	};
	return 0;
}

/* ---- listings ---- */

static int list_head(struct web_fetch *f)
{
	(void)f;
	return 0;
}

static enum http_taken list_body(struct web_fetch *f, const uint8_t *p, size_t len, size_t *ret_used)
{
	struct web_op *op = web_op_of(f);
	struct listing *l = op->data;
	struct err why = {0};

	(void)ret_used;
	web_fetch_keep(f, p, len); /* it may be an <Error> */
	atomic_fetch_add_explicit(&op->base.source->bytes, len, memory_order_relaxed);
	f->transfer.abort_code = s3_list_feed(l->page, p, len, &why);
	if (f->transfer.abort_code == 0)
		return HTTP_TAKEN;
	(void)err_set(&f->err, f->transfer.abort_code, "%.80s: prefix \"%.120s\": %.200s", label_of(op),
		      op->key, why.text);
	return HTTP_ABORTED;
}

/* The page came: its entries go out. 0 with the token of the next page or NULL; or a code, words in f->err. */
static int take_page(struct web_op *op, const char **ret_token)
{
	const struct listing *l = op->data;
	const struct source_entry *entries;
	size_t count;
	struct err why = {0};
	int rc = s3_list_finish(l->page, &entries, &count, ret_token, &why);

	if (rc == 0 && *ret_token && l->token && strcmp(*ret_token, l->token) == 0)
		rc = err_set(&why, -ERR_CORRUPT, "the continuation token leads to itself");
	if (rc < 0)
		return err_set(&op->fetch.err, rc, "%.80s: prefix \"%.120s\": %.200s", label_of(op), op->key,
			       err_words(&why, rc));
	return count > 0 ? op->want.list.entries(op->want.list.ctx, entries, count) : 0;
}

static void list_page(struct web_op *op)
{
	web_fetch_start(&op->fetch, clock_mono_ns() + op->want.list.deadline_ns);
}

static void list_done(struct web_fetch *f, int status)
{
	struct web_op *op = web_op_of(f);
	struct listing *l = op->data;
	const char *token = NULL;

	if (status == 0)
		status = take_page(op, &token);
	if (status != 0 || !token) {
		web_op_end(op, status, NULL, &f->err);
		return;
	}
	char *next = mem_strdup(token);
	if (!next) {
		web_op_end(op, -ENOMEM, NULL, NULL);
		return;
	}
	mem_free(l->token);
	l->token = next;
	list_page(op);
}

static const struct web_fetch_ops list_ops = {
	.request = list_request,
	.head = list_head,
	.body = list_body,
	.refused = list_refused,
	.done = list_done,
};

static void list_start(struct web_op *op)
{
	struct listing *l = mem_calloc(1, sizeof *l);

	op->data = l;
	if (!l || s3_list_new(s3_of(op)->place.prefix, &l->page) < 0) {
		web_op_end(op, -ENOMEM, NULL, NULL);
		return;
	}
	web_fetch_init(&op->fetch, web_source_of(op), &list_ops);
	op->fetch.subject = *op->key ? op->key : s3_of(op)->place.bucket;
	list_page(op);
}

static void stop(struct web_op *op)
{
	struct listing *l = op->data; /* of a listing; else NULL */

	if (!l)
		return;
	(void)s3_list_free(l->page);
	mem_free(l->token);
	op->data = mem_free(l);
}

/* ---- the source ---- */

static void s3_done(struct web_source *web)
{
	s3_place_done(&((struct s3_source *)(void *)web)->place);
}

static const struct web_kind s3_kind = {
	.request = object_request,
	.refused = object_refused,
	.entry = stat_entry,
	.list = list_start,
	.stop = stop,
	.done = s3_done,
};

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
	if (rc < 0) {
		web_source_done(&s->web);
		mem_free(s);
		return rc;
	}
	*ret = &s->web.base;
	return 0;
}
