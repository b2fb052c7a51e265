/*
 * The S3 source: lists, stats and reads as small state machines on the loop's thread.
 *
 * Life of an operation: STARTED (its task is posted) -> TRYING (its transfer waits for a connection or runs) <-> WAITING
 * (a try failed, the timer leads to the next) -> ended: done callback, memory gone. A listing goes from page to page
 * within TRYING and WAITING. One timer serves both the wait and the limit of patience.
 */
#include "common/source/internal.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/source/retry.h"
#include "common/source/s3_list.h"
#include "common/source/s3_place.h"
#include "common/source/s3_response.h"
#include "common/source/s3_sign.h"

enum { CONNECTIONS_DEFAULT = 16, HEADERS_MAX = 6 };
#define CONNECT_TIMEOUT_NS (5 * NS_PER_S)

/* A credential as requests use it; immutable, counted, since a transfer outlives a rotation. */
struct credential {
	atomic_uint refs;
	char *access_key, *secret_key, *session_token; /* access_key NULL: anonymous */
	char *ca_pem;
};

struct s3_source {
	struct source base;
	struct s3_place place;
	struct http_pool *pool;
	struct credential *credential; /* guarded by base.lock */
	uint64_t seed;                 /* for jitter; the loop's thread */
};

enum op_state { OP_STARTED, OP_TRYING, OP_WAITING };

struct s3_op {
	struct source_op base;
	enum s3_request_kind kind;
	enum op_state state;
	struct http_task task;
	struct http_transfer transfer;
	struct http_timer timer;
	struct retry retry;
	int64_t sent_ns, wall_ns;
	union {
		struct source_list_request list;
		struct source_stat_request stat;
		struct source_read_request read;
	} want;
	char *key;            /* READ, STAT: the key; LIST: the prefix below the source's */
	uint64_t delivered;   /* READ: bytes given to the sink */
	struct s3_list *page; /* LIST */
	char *token;          /* LIST: of the page that is asked for; NULL: the first */
	struct s3_response head;
	uint8_t *error_body; /* S3_ERROR_BODY_MAX bytes, once there was an error */
	size_t error_len;
	struct err err;  /* words of the last failure */
	bool bytes_came; /* in this try */
	/* The request, while the transfer uses it. */
	struct credential *credential;
	char *url, *headers[HEADERS_MAX];
	size_t header_count;
};

static struct s3_source *s3_of(const struct s3_op *op)
{
	return (struct s3_source *)(void *)op->base.source;
}

/* What an error names: the key or prefix, or the bucket when all of it is listed. */
static const char *subject_of(const struct s3_op *op)
{
	return *op->key ? op->key : s3_of(op)->place.bucket;
}

static struct http_loop *loop_of(const struct s3_op *op)
{
	return op->base.source->loop->http;
}

/* ---- credentials ---- */

static struct credential *credential_unref(struct credential *c)
{
	if (!c || atomic_fetch_sub(&c->refs, 1) > 1)
		return NULL;
	mem_free(c->access_key);
	if (c->secret_key)
		explicit_bzero(c->secret_key, strlen(c->secret_key));
	mem_free(c->secret_key);
	mem_free(c->session_token);
	mem_free(c->ca_pem);
	return mem_free(c);
}

/* A key or token without the line break that `echo` leaves at the end of many a secret. One inside would end a header. */
static int copy_key(const char *key, char **ret)
{
	size_t len = key ? strlen(key) : 0;

	while (len > 0 && isspace((unsigned char)key[len - 1]))
		len--;
	for (size_t i = 0; i < len; i++)
		if (iscntrl((unsigned char)key[i]))
			return -EINVAL;
	*ret = len > 0 ? mem_strndup(key, len) : NULL;
	return len > 0 && !*ret ? -ENOMEM : 0;
}

/* 0 with a reference in *ret, -EINVAL, -ENOMEM. */
static int credential_new(const struct source_credential *from, struct credential **ret)
{
	struct credential *c = mem_calloc(1, sizeof *c);

	if (!c)
		return -ENOMEM;
	atomic_init(&c->refs, 1);
	int rc = copy_key(from->access_key, &c->access_key);
	if (rc == 0)
		rc = copy_key(from->secret_key, &c->secret_key);
	if (rc == 0)
		rc = copy_key(from->session_token, &c->session_token);
	if (rc == 0 && !c->access_key != !c->secret_key)
		rc = -EINVAL;
	if (rc == 0 && from->ca_pem && *from->ca_pem) {
		c->ca_pem = mem_strdup(from->ca_pem);
		rc = c->ca_pem ? 0 : -ENOMEM;
	}
	if (rc == 0)
		*ret = c;
	else
		(void)credential_unref(c);
	return rc;
}

static int set_credential(struct source *base, const struct source_credential *from)
{
	struct s3_source *s = (struct s3_source *)(void *)base;
	struct credential *c = NULL;
	int rc = credential_new(from, &c);

	if (rc < 0)
		return rc;
	pthread_mutex_lock(&base->lock);
	struct credential *old = s->credential;
	s->credential = c;
	pthread_mutex_unlock(&base->lock);
	(void)credential_unref(old);
	return 0;
}

static struct credential *credential_now(struct s3_source *s)
{
	pthread_mutex_lock(&s->base.lock);
	struct credential *c = s->credential;
	atomic_fetch_add(&c->refs, 1);
	pthread_mutex_unlock(&s->base.lock);
	return c;
}

/* ---- the request of one try ---- */

static void drop_request(struct s3_op *op)
{
	op->credential = credential_unref(op->credential);
	op->url = mem_free(op->url);
	while (op->header_count > 0)
		mem_free(op->headers[--op->header_count]);
}

static int add_header(struct s3_op *op, char *line)
{
	if (!line)
		return -ENOMEM;
	CHECK(op->header_count < HEADERS_MAX);
	op->headers[op->header_count++] = line;
	return 0;
}

/* The secret that signs must be there, and nothing in it may end a header. */
static int sign_request(struct s3_op *op, const char *path, const char *query)
{
	const struct s3_place *place = &s3_of(op)->place;
	const struct credential *c = op->credential;
	char date[S3_DATE_SIZE], auth[S3_AUTH_SIZE];

	if (!c->access_key || !c->secret_key)
		return 0;
	s3_sign_date(op->wall_ns, date);
	const struct s3_header headers[] = {
		{"host", place->host},
		{"x-amz-content-sha256", S3_EMPTY_SHA256},
		{"x-amz-date", date},
		{"x-amz-security-token", c->session_token},
	};
	const struct s3_to_sign in = {
		.method = op->kind == S3_STAT ? "HEAD" : "GET",
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
		rc = add_header(op, mem_printf("%s: %s", headers[i].name, headers[i].value));
	if (rc == 0)
		rc = add_header(op, mem_printf("Authorization: %s", auth));
	return rc;
}

/* If-Match only with an etag that can stand in a header as it is. */
static bool can_match(const struct validator *v)
{
	if (v->kind != VALIDATOR_STRONG || (v->len >= 7 && memcmp(v->bytes, "sha256:", 7) == 0))
		return false;
	for (size_t i = 0; i < v->len; i++)
		if (v->bytes[i] <= ' ' || v->bytes[i] > '~' || v->bytes[i] == '"')
			return false;
	return true;
}

static int add_read_headers(struct s3_op *op)
{
	const struct source_read_request *r = &op->want.read;
	unsigned long long first = r->offset + op->delivered, last = r->offset + r->length - 1;
	int rc = add_header(op, mem_printf("Range: bytes=%llu-%llu", first, last));

	if (rc == 0 && can_match(&r->validator))
		rc = add_header(op, mem_printf("If-Match: \"%.*s\"", (int)r->validator.len,
					       (const char *)r->validator.bytes));
	return rc;
}

static int fill_request(struct s3_op *op, struct http_request *ret)
{
	struct s3_source *s = s3_of(op);
	CLEANUP(free_str)
	char *path = op->kind == S3_LIST ? mem_strdup(s->place.bucket_path)
					 : s3_place_key_path(&s->place, op->key);
	CLEANUP(free_str)
	char *query =
		op->kind == S3_LIST ? s3_place_list_query(&s->place, op->key, op->token) : mem_strdup("");

	if (!path || !query)
		return -ENOMEM;
	op->url = mem_printf("%s%s%s%s", s->place.origin, path, *query ? "?" : "", query);
	if (!op->url)
		return -ENOMEM;
	int rc = sign_request(op, path, query);
	if (rc == 0 && op->kind == S3_READ)
		rc = add_read_headers(op);
	ret->head = op->kind == S3_STAT;
	ret->url = op->url;
	ret->headers = (const char *const *)op->headers;
	ret->header_count = op->header_count;
	ret->ca_pem = op->credential->ca_pem;
	return rc;
}

static int on_request(struct http_transfer *t, struct http_request *ret)
{
	struct s3_op *op = CONTAINER_OF(t, struct s3_op, transfer);

	op->sent_ns = clock_mono_ns();
	op->wall_ns = clock_wall_ns();
	op->credential = credential_now(s3_of(op));
	atomic_fetch_add(&op->base.source->requests, 1);
	if (!op->retry.deadline_ns)
		retry_excuse(&op->retry, op->sent_ns); /* the time in the queue does not count */
	return fill_request(op, ret);
}

/* ---- ending, waiting, trying ---- */

/* Ends the operation; @op is gone afterwards. */
static void finish(struct s3_op *op, int status, const struct source_entry *entry)
{
	const struct err *err = status < 0 ? &op->err : NULL;
	struct http_loop *loop = loop_of(op); /* outlives the source */

	if (status < 0 && op->err.code != status)
		(void)err_set(&op->err, status, "%.80s: %s for %.200s", op->base.source->label,
			      err_text(status), subject_of(op));
	http_timer_set(loop, &op->timer, HTTP_NEVER);
	http_transfer_cancel(&op->transfer);
	drop_request(op);
	source_op_count(&op->base, status);
	switch (op->kind) {
	case S3_LIST:
		op->want.list.done(op->want.list.ctx, status, err);
		break;
	case S3_STAT:
		op->want.stat.done(op->want.stat.ctx, status, entry, err);
		break;
	case S3_READ:
		op->want.read.sink->done(op->want.read.ctx, status, err);
		break;
	}
	(void)s3_list_free(op->page);
	mem_free(op->token);
	mem_free(op->key);
	mem_free(op->error_body);
	source_op_end(&op->base);
	http_unpost(loop, &op->task); /* now nobody can post it again */
	mem_free(op);
}

/* The time is up. What kept us from an answer is in op->err, if anything ended yet. */
static void give_up(struct s3_op *op)
{
	bool flowing = op->state == OP_TRYING && op->bytes_came;
	int code = flowing ? -ETIMEDOUT : -ERR_UNREACHABLE;
	CLEANUP(free_str) char *last = op->err.text[0] ? mem_strdup(op->err.text) : NULL;

	if (flowing)
		(void)err_set(&op->err, code, "%.80s: the deadline passed while %.120s was read",
			      op->base.source->label, subject_of(op));
	else if (last)
		(void)err_set(&op->err, code, "%s; gave up at the deadline", last);
	else
		(void)err_set(&op->err, code, "%.80s: no answer from %.100s before the deadline for %.120s",
			      op->base.source->label, s3_of(op)->place.origin, subject_of(op));
	finish(op, code, NULL);
}

static void try_now(struct s3_op *op)
{
	struct http_loop *loop = loop_of(op);

	op->state = OP_TRYING;
	op->head = (struct s3_response){0};
	op->error_len = 0;
	op->bytes_came = false;
	drop_request(op);
	if (op->page && s3_list_reset(op->page) < 0) {
		finish(op, -ENOMEM, NULL);
		return;
	}
	http_timer_set(loop, &op->timer, retry_limit_ns(&op->retry));
	http_transfer_start(s3_of(op)->pool, &op->transfer);
}

static void on_timer(struct http_timer *timer)
{
	struct s3_op *op = CONTAINER_OF(timer, struct s3_op, timer);
	int64_t now_ns = http_now_ns(loop_of(op));

	if (op->state == OP_WAITING) {
		atomic_fetch_add(&op->base.source->retries, 1);
		try_now(op);
		return;
	}
	if (!op->retry.deadline_ns && http_transfer_held(&op->transfer))
		retry_excuse(&op->retry, now_ns);
	if (now_ns >= retry_limit_ns(&op->retry))
		give_up(op);
	else
		http_timer_set(loop_of(op), timer, retry_limit_ns(&op->retry));
}

static void try_later(struct s3_op *op)
{
	int64_t at_ns = retry_failed(&op->retry, http_now_ns(loop_of(op)), op->head.retry_after_s * NS_PER_S);

	op->state = OP_WAITING;
	if (at_ns == RETRY_NEVER)
		give_up(op);
	else
		http_timer_set(loop_of(op), &op->timer, at_ns);
}

/* ---- responses ---- */

static void on_header(struct http_transfer *t, const char *name, size_t name_len, const char *value,
		      size_t value_len)
{
	struct s3_op *op = CONTAINER_OF(t, struct s3_op, transfer);

	s3_response_header(&op->head, op->wall_ns, name, name_len, value, value_len);
}

static bool succeeded(const struct s3_op *op)
{
	return op->head.status == 200 || (op->head.status == 206 && op->kind == S3_READ);
}

static int on_head(struct http_transfer *t)
{
	struct s3_op *op = CONTAINER_OF(t, struct s3_op, transfer);
	struct source *s = op->base.source;
	int64_t now_ns = clock_mono_ns();
	struct err why = {0};

	op->head.status = t->status;
	atomic_fetch_add(&s->first_byte_count, 1);
	atomic_fetch_add(&s->first_byte_ns_sum, (uint64_t)(now_ns - op->sent_ns));
	if (op->kind != S3_READ || !succeeded(op))
		return 0;
	const struct source_read_request *r = &op->want.read;
	const struct s3_expected want = {.offset = r->offset + op->delivered,
					 .length = r->length - op->delivered,
					 .object_size = r->object_size,
					 .validator = &r->validator};
	int rc = s3_check_read(&op->head, &want, &why);
	if (rc < 0)
		(void)err_set(&op->err, rc, "%.80s: %s: %.200s", s->label, op->key, why.text);
	return rc;
}

static enum http_taken keep_error_body(struct s3_op *op, const uint8_t *p, size_t len)
{
	if (!op->error_body)
		op->error_body = mem_alloc(S3_ERROR_BODY_MAX);
	if (!op->error_body)
		return HTTP_TAKEN; /* the status alone must do */
	size_t n = MIN(len, S3_ERROR_BODY_MAX - op->error_len);
	memcpy(op->error_body + op->error_len, p, n);
	op->error_len += n;
	return HTTP_TAKEN;
}

static enum http_taken fill_sink(struct s3_op *op, const uint8_t *p, size_t len, size_t *ret_used)
{
	const struct source_read_request *r = &op->want.read;
	size_t used = 0;

	if (len > r->length - op->delivered) {
		op->transfer.abort_code =
			err_set(&op->err, -ERR_CORRUPT, "%.80s: %.200s: more bytes than announced",
				op->base.source->label, op->key);
		return HTTP_ABORTED;
	}
	while (used < len) {
		size_t room = 0;
		uint8_t *space = r->sink->space(r->ctx, &room);
		if (!space)
			break;
		size_t n = MIN(room, len - used);
		CHECK(n > 0);
		memcpy(space, p + used, n);
		r->sink->filled(r->ctx, n);
		used += n;
		op->delivered += n;
	}
	if (used > 0)
		retry_progress(&op->retry, http_now_ns(loop_of(op)));
	atomic_fetch_add_explicit(&op->base.source->bytes, used, memory_order_relaxed);
	*ret_used = used;
	return used == len ? HTTP_TAKEN : HTTP_PAUSED;
}

static enum http_taken on_body(struct http_transfer *t, const uint8_t *p, size_t len, size_t *ret_used)
{
	struct s3_op *op = CONTAINER_OF(t, struct s3_op, transfer);

	if (!succeeded(op))
		return keep_error_body(op, p, len);
	op->bytes_came = true;
	if (op->kind == S3_READ)
		return fill_sink(op, p, len, ret_used);
	if (op->kind == S3_STAT)
		return HTTP_TAKEN;
	struct err why = {0};
	/* A store may find out late and send <Error> under a 200: keep the start, to say so. */
	(void)keep_error_body(op, p, len);
	atomic_fetch_add_explicit(&op->base.source->bytes, len, memory_order_relaxed);
	t->abort_code = s3_list_feed(op->page, p, len, &why);
	if (t->abort_code == 0)
		return HTTP_TAKEN;
	(void)err_set(&op->err, t->abort_code, "%.80s: prefix \"%.120s\": %.200s", op->base.source->label,
		      op->key, why.text);
	return HTTP_ABORTED;
}

/* A status that is no success, or an <Error> under a 200 of a listing. */
static void end_refused(struct s3_op *op)
{
	struct s3_error e = {0};
	bool retry;

	if (op->error_body)
		s3_error_parse(op->error_body, op->error_len, &e);
	int code = s3_error_code(op->kind, op->head.status, e.code, &retry);
	(void)s3_error_words(&op->err, code, op->base.source->label, subject_of(op), &op->head, &e);
	if (retry)
		try_later(op);
	else
		finish(op, code, NULL);
}

static void end_stat(struct s3_op *op)
{
	size_t len = strlen(op->key);
	bool dir = len > 0 && op->key[len - 1] == '/';
	const struct source_entry entry = {
		.type = dir ? SOURCE_TYPE_DIR : SOURCE_TYPE_FILE,
		.key = op->key,
		.key_len = len - dir,
		.size = dir ? 0 : op->head.length,
		.mtime_ns = op->head.mtime_ns,
		.validator = op->head.validator,
	};

	if (!op->head.has_length || op->head.bad)
		finish(op,
		       err_set(&op->err, -ERR_CORRUPT, "%.80s: %.200s: an answer to HEAD without a length",
			       op->base.source->label, op->key),
		       NULL);
	else
		finish(op, 0, &entry);
}

static void end_page(struct s3_op *op)
{
	const struct source_entry *entries;
	const char *token;
	size_t count;
	struct err why = {0};
	int rc = s3_list_finish(op->page, &entries, &count, &token, &why);

	if (rc == 0 && token && op->token && strcmp(token, op->token) == 0)
		rc = err_set(&why, -ERR_CORRUPT, "the continuation token leads to itself");
	if (rc < 0) {
		finish(op,
		       err_set(&op->err, rc, "%.80s: prefix \"%.120s\": %.200s", op->base.source->label,
			       op->key, err_words(&why, rc)),
		       NULL);
		return;
	}
	if (count > 0)
		rc = op->want.list.entries(op->want.list.ctx, entries, count);
	if (rc != 0 || !token) {
		finish(op, rc, NULL);
		return;
	}
	char *next = mem_strdup(token);
	if (!next) {
		finish(op, -ENOMEM, NULL);
		return;
	}
	mem_free(op->token);
	op->token = next;
	int64_t now_ns = clock_mono_ns(); /* the callback may have taken long */
	retry_init(&op->retry, now_ns, now_ns + op->want.list.deadline_ns, ++s3_of(op)->seed);
	try_now(op);
}

/* The parser refused the body of a 200: because it is an <Error>? */
static bool error_under_200(const struct s3_op *op, int status)
{
	struct s3_error e = {0};

	if (op->kind == S3_LIST && status == -ERR_CORRUPT && op->head.status == 200 && op->error_body)
		s3_error_parse(op->error_body, op->error_len, &e);
	return e.code[0] != '\0';
}

static void on_done(struct http_transfer *t, int status, const char *words)
{
	struct s3_op *op = CONTAINER_OF(t, struct s3_op, transfer);

	if (error_under_200(op, status)) {
		op->head.status = 500;
		end_refused(op);
	} else if (status == -ERR_UNREACHABLE) {
		(void)err_set(&op->err, status, "%.80s: %.200s for %.120s", op->base.source->label, words,
			      subject_of(op));
		if (t->permanent)
			finish(op, status, NULL);
		else
			try_later(op);
	} else if (status < 0) {
		finish(op, status, NULL);
	} else if (!succeeded(op)) {
		end_refused(op);
	} else if (op->kind == S3_STAT) {
		end_stat(op);
	} else if (op->kind == S3_LIST) {
		end_page(op);
	} else if (op->delivered == op->want.read.length) {
		finish(op, 0, NULL);
	} else {
		/* Only without a Content-Length: the end of the connection was the end of the body. */
		(void)err_set(&op->err, -ERR_UNREACHABLE, "%.80s: the body of %.200s was cut short",
			      op->base.source->label, subject_of(op));
		try_later(op);
	}
}

static const struct http_transfer_ops transfer_ops = {
	.request = on_request,
	.header = on_header,
	.head = on_head,
	.body = on_body,
	.done = on_done,
};

/* ---- operations ---- */

static void on_task(struct http_task *task)
{
	struct s3_op *op = CONTAINER_OF(task, struct s3_op, task);
	unsigned wants = atomic_exchange(&op->base.wants, 0);

	if (wants & WANT_CANCEL) {
		finish(op,
		       err_set(&op->err, -ECANCELED, "%.80s: canceled for %.200s", op->base.source->label,
			       subject_of(op)),
		       NULL);
	} else if (op->state == OP_STARTED) {
		try_now(op);
	} else if (wants & WANT_RESUME) {
		if (!op->retry.deadline_ns)
			retry_excuse(&op->retry, http_now_ns(loop_of(op)));
		http_transfer_resume(&op->transfer);
	}
}

static void poke(struct source_op *base)
{
	struct s3_op *op = (struct s3_op *)(void *)base;

	http_post(loop_of(op), &op->task);
}

static struct s3_op *op_new(struct source *s, enum s3_request_kind kind, const char *key, int64_t deadline_ns)
{
	struct s3_op *op = mem_calloc(1, sizeof *op);

	if (!op)
		return NULL;
	op->key = mem_strdup(key);
	if (!op->key)
		return mem_free(op);
	op->kind = kind;
	op->base.source = s;
	http_task_init(&op->task, on_task);
	http_timer_init(&op->timer, on_timer);
	http_transfer_init(&op->transfer, &transfer_ops);
	int64_t now_ns = clock_mono_ns();
	/* The jitter needs no more than that two operations differ. */
	retry_init(&op->retry, now_ns, deadline_ns, (uint64_t)now_ns ^ (uint64_t)(uintptr_t)op);
	return op;
}

static int op_start(struct source *s, struct s3_op *op, struct source_op **ret)
{
	if (!op)
		return -ENOMEM;
	*ret = &op->base; /* before a callback can come */
	source_op_begin(s, &op->base);
	http_post(s->loop->http, &op->task);
	return 0;
}

static int s3_list_start(struct source *s, const struct source_list_request *r, struct source_op **ret)
{
	int64_t page_ns = r->deadline_ns ? r->deadline_ns : SOURCE_OP_TIME_NS;
	struct s3_op *op = op_new(s, S3_LIST, r->prefix ? r->prefix : "", clock_mono_ns() + page_ns);

	if (!op)
		return -ENOMEM;
	op->want.list = *r;
	op->want.list.prefix = op->key;
	op->want.list.deadline_ns = page_ns;
	if (s3_list_new(s3_of(op)->place.prefix, &op->page) < 0) {
		mem_free(op->key);
		mem_free(op);
		return -ENOMEM;
	}
	return op_start(s, op, ret);
}

static int s3_stat_start(struct source *s, const struct source_stat_request *r, struct source_op **ret)
{
	int64_t deadline_ns = r->deadline_ns ? r->deadline_ns : clock_mono_ns() + SOURCE_OP_TIME_NS;
	struct s3_op *op = op_new(s, S3_STAT, r->key, deadline_ns);

	if (op) {
		op->want.stat = *r;
		op->want.stat.key = op->key;
	}
	return op_start(s, op, ret);
}

static int s3_read_start(struct source *s, const struct source_read_request *r, struct source_op **ret)
{
	struct s3_op *op = op_new(s, S3_READ, r->key, r->deadline_ns);

	if (op) {
		op->want.read = *r;
		op->want.read.key = op->key;
	}
	return op_start(s, op, ret);
}

/* ---- the source ---- */

static void s3_done(struct source *base)
{
	struct s3_source *s = (struct s3_source *)(void *)base;

	(void)http_pool_free(s->pool);
	(void)credential_unref(s->credential);
	s3_place_done(&s->place);
}

static const struct source_kind_ops s3_ops = {
	.poke = poke,
	.set_credential = set_credential,
	.list = s3_list_start,
	.stat = s3_stat_start,
	.read = s3_read_start,
	.done = s3_done,
};

int source_s3_new(struct source_loop *loop, const struct source_config *config, struct source **ret,
		  struct err *err)
{
	const struct http_pool_config pool = {
		.connections_max = config->connections_max ? config->connections_max : CONNECTIONS_DEFAULT,
		.connect_timeout_ns =
			config->connect_timeout_ns ? config->connect_timeout_ns : CONNECT_TIMEOUT_NS,
	};

	if (pool.connect_timeout_ns < NS_PER_MS)
		return err_set(err, -EINVAL, "%s: the connect timeout must be at least 1 ms", config->label);
	struct s3_source *s = mem_calloc(1, sizeof *s);
	if (!s)
		return -ENOMEM;
	s->base.kind = &s3_ops;
	int rc = s3_place_init(&s->place, config, err);
	if (rc == 0)
		rc = http_pool_new(loop->http, &pool, &s->pool);
	if (rc == 0) {
		rc = credential_new(&config->credential, &s->credential);
		if (rc == -EINVAL)
			(void)err_set(err, rc,
				      "%s: access key and secret key must come together, without line breaks",
				      config->label);
	}
	if (rc < 0) {
		s3_done(&s->base);
		mem_free(s);
		return rc;
	}
	*ret = &s->base;
	return 0;
}
