/*
 * The S3 source: what its requests say and what its answers mean. The rest is that of all sources over HTTP (web.h).
 * A listing goes from page to page with one fetch.
 */
#include <errno.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/source/s3_error.h"
#include "common/source/s3_keys.h"
#include "common/source/s3_list.h"
#include "common/source/s3_place.h"
#include "common/source/s3_sign.h"
#include "common/source/web.h"

enum { MOVES_MAX = 4 };

struct s3_source {
	struct web_source web;
	struct s3_place place; /* the loop's thread changes it, when the bucket is in another region */
	unsigned moves;
	atomic_bool no_sums;  /* the store does not know the question for a checksum */
	struct s3_keys *keys; /* NULL: its own, or none */
};

/* Where a bucket keeps versions they are listed with their ids, if the credential may read by them. */
enum list_step { LIST_ASK, LIST_TRY, LIST_VERSIONS, LIST_OBJECTS };

/* A listing on its way: op->data. */
struct listing {
	enum list_step step;
	struct s3_list *page;
	char *token; /* of the page that is asked for; NULL: the first */
	char *probe_key;
	struct validator probe;
	bool tried;        /* whether a read by version id is allowed is known */
	char answer[1024]; /* to "versioning" */
	size_t answer_len;
};

static struct s3_source *s3_of(const struct web_op *op)
{
	return (struct s3_source *)(void *)op->base.source;
}

static const char *label_of(const struct web_op *op)
{
	return op->base.source->label;
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

static int fill_request(struct web_op *op, struct web_fetch *f, const char *path, const char *query)
{
	if (!path || !query)
		return -ENOMEM;
	int rc = web_fetch_url(
		f, mem_printf("%s%s%s%s", s3_of(op)->place.origin, path, *query ? "?" : "", query));
	return rc == 0 ? sign_request(op, f, path, query) : rc;
}

/* "versionId=..." where the validator holds one, else "". */
static char *version_query(const struct validator *v)
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
	CLEANUP(free_str) char *query = version_query(op->kind == WEB_READ ? &op->want.read.validator : NULL);

	return fill_request(op, f, path, query);
}

static int list_request(struct web_fetch *f)
{
	struct web_op *op = web_op_of(f);
	struct listing *l = op->data;
	const struct s3_place *place = &s3_of(op)->place;
	CLEANUP(free_str)
	char *path =
		l->step == LIST_TRY ? s3_place_key_path(place, l->probe_key) : mem_strdup(place->bucket_path);
	CLEANUP(free_str) char *query = NULL;
	int rc = s3_list_reset(l->page);

	f->head_only = l->step == LIST_TRY;
	l->answer_len = 0;
	switch (l->step) {
	case LIST_ASK:
		query = mem_strdup("versioning=");
		break;
	case LIST_TRY:
		query = version_query(&l->probe);
		break;
	case LIST_VERSIONS:
		query = s3_place_versions_query(place, op->key, l->token);
		break;
	case LIST_OBJECTS:
		query = s3_place_list_query(place, op->key, l->token);
		break;
	}
	return rc == 0 ? fill_request(op, f, path, query) : rc;
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

static bool keys_are_old(struct web_op *op, const struct s3_error *e)
{
	bool expired = strcmp(e->code, "ExpiredToken") == 0 || strcmp(e->code, "TokenRefreshRequired") == 0;

	return expired && s3_of(op)->keys && s3_keys_expired(s3_of(op)->keys);
}

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
	if (elsewhere(op, f, &e) || asks_too_much(op, f) || keys_are_old(op, &e)) {
		*ret = WEB_AGAIN;
		return -ERR_UNREACHABLE;
	}
	web_fetch_note_refusal(f, e.code);
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
	const struct listing *l = web_op_of(f)->data;

	return refused_as(web_op_of(f), f, l->step == LIST_TRY ? S3_STAT : S3_LIST, ret);
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
	if (l->step == LIST_ASK || l->step == LIST_TRY) {
		size_t n = MIN(len, sizeof l->answer - l->answer_len);
		memcpy(l->answer + l->answer_len, p, n);
		l->answer_len += n;
		return HTTP_TAKEN;
	}
	atomic_fetch_add_explicit(&op->base.source->bytes, len, memory_order_relaxed);
	f->transfer.abort_code = s3_list_feed(l->page, p, len, &why);
	if (f->transfer.abort_code == 0)
		return HTTP_TAKEN;
	(void)err_set(&f->err, f->transfer.abort_code, "%.80s: prefix \"%.120s\": %.200s", label_of(op),
		      op->key, why.text);
	return HTTP_ABORTED;
}

static int bad_page(struct web_op *op, int code, const struct err *why)
{
	return err_set(&op->fetch.err, code, "%.80s: prefix \"%.120s\": %.200s", label_of(op), op->key,
		       err_words(why, code));
}

static void list_page(struct web_op *op)
{
	web_fetch_start(&op->fetch, clock_mono_ns() + op->want.list.deadline_ns);
}

/* The first object with a version id, in the first page of them: whether reads by id are allowed is tried with it. */
static int find_probe(struct listing *l, const struct source_entry *entries, size_t count)
{
	size_t len;

	for (size_t i = 0; i < count; i++) {
		if (!s3_version_of(&entries[i].validator, &len) || entries[i].type != SOURCE_TYPE_FILE)
			continue;
		mem_free(l->probe_key);
		l->probe_key = mem_strndup(entries[i].key, entries[i].key_len);
		l->probe = entries[i].validator;
		return l->probe_key ? 1 : -ENOMEM;
	}
	return 0;
}

/* The page came: its entries go out. 1: another fetch was started; 0: it was the last; or a code, words in f->err. */
static int take_page(struct web_op *op)
{
	struct listing *l = op->data;
	const struct source_entry *entries;
	const char *token;
	size_t count;
	struct err why = {0};
	int rc = s3_list_finish(l->page, &entries, &count, &token, &why);

	if (rc == 0 && token && l->token && strcmp(token, l->token) == 0)
		rc = err_set(&why, -ERR_CORRUPT, "the continuation token leads to itself");
	if (rc < 0)
		return bad_page(op, rc, &why);
	rc = l->step == LIST_VERSIONS && !l->tried ? find_probe(l, entries, count) : 0;
	if (rc < 0)
		return rc;
	if (rc == 1) { /* the page comes again after the try */
		l->step = LIST_TRY;
		list_page(op);
		return 1;
	}
	rc = count > 0 ? op->want.list.entries(op->want.list.ctx, entries, count) : 0;
	if (rc != 0 || !token)
		return rc;
	char *next = mem_strdup(token);
	if (!next)
		return -ENOMEM;
	mem_free(l->token);
	l->token = next;
	list_page(op);
	return 1;
}

static int list_with(struct web_op *op, enum list_step step)
{
	((struct listing *)op->data)->step = step;
	list_page(op);
	return 1;
}

/* Whatever is no clear answer but "wait", and whatever is refused, means: no versions, or none for this credential. */
static bool no_versions(int status)
{
	return status == -EACCES || status == -ENOENT || status == -ERR_UNSUPPORTED || status == -ERR_CORRUPT;
}

static int take_answer(struct web_op *op, int status)
{
	struct listing *l = op->data;

	switch (l->step) {
	case LIST_ASK:
		if (status < 0 && !no_versions(status))
			return status;
		return list_with(op, status == 0 && s3_versioning_enabled(l->answer, l->answer_len)
					     ? LIST_VERSIONS
					     : LIST_OBJECTS);
	case LIST_TRY:
		if (status < 0 && !no_versions(status))
			return status;
		l->tried = true;
		return list_with(op, status == 0 ? LIST_VERSIONS : LIST_OBJECTS);
	case LIST_VERSIONS:
		if (no_versions(status) && !l->token)
			return list_with(op, LIST_OBJECTS);
		break;
	case LIST_OBJECTS:
		break;
	}
	return status < 0 ? status : take_page(op);
}

static void list_done(struct web_fetch *f, int status)
{
	struct web_op *op = web_op_of(f);

	status = take_answer(op, status);
	if (status != 1)
		web_op_end(op, status, NULL, &f->err);
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
	web_fetch_init(&op->fetch, web_source_of(op), &list_ops, op);
	op->fetch.subject = *op->key ? op->key : s3_of(op)->place.bucket;
	list_page(op);
}

static void stop(struct web_op *op)
{
	struct listing *l = op->data; /* of a listing; else NULL */

	if (!l)
		return;
	(void)s3_list_free(l->page);
	mem_free(l->probe_key);
	mem_free(l->token);
	op->data = mem_free(l);
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
	.list = list_start,
	.stop = stop,
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
