#include "common/source/web.h"

#include <errno.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/mem.h"

enum { CONNECTIONS_DEFAULT = 16 };
/* Retries: a fifth of the requests, and ten a second in any case. Second requests: one in fifty, ten saved up at most. */
enum { RETRY_SHARE_MILLI = 200, RETRY_FLOOR = 10, RETRY_CAP = 100, HEDGE_SHARE_MILLI = 20, HEDGE_CAP = 10 };
#define BURST_NS           (100 * NS_PER_MS)
#define CONNECT_TIMEOUT_NS (5 * NS_PER_S)

struct web_op *web_op_of(struct web_fetch *f)
{
	return f->owner;
}

struct web_source *web_source_of(const struct web_op *op)
{
	return (struct web_source *)(void *)op->base.source;
}

static struct http_loop *loop_of(const struct web_op *op)
{
	return op->base.source->loop->http;
}

const char *web_label_of(const struct web_op *op)
{
	return op->base.source->label;
}

/* ---- ending ---- */

static void drop_fetch(struct web_op *op, struct web_fetch *f)
{
	web_fetch_stop(f);
	if (op->kind != WEB_LIST && web_source_of(op)->kind->fetch_done)
		web_source_of(op)->kind->fetch_done(f);
}

void web_op_end(struct web_op *op, int status, const struct source_entry *entry, const struct err *err)
{
	struct http_loop *loop = loop_of(op); /* outlives the source */
	struct err words = {0};

	if (status < 0 && err)
		words = *err;
	if (status < 0 && words.code != status)
		(void)err_set(&words, status, "%.80s: %s for %.200s", web_label_of(op), err_text(status),
			      *op->key ? op->key : web_source_of(op)->origin);
	const struct err *why = status < 0 ? &words : NULL;
	http_timer_set(loop, &op->hedge, HTTP_NEVER);
	drop_fetch(op, &op->fetch);
	if (op->second)
		drop_fetch(op, op->second);
	op->second = mem_free(op->second);
	web_source_of(op)->kind->stop(op);
	checksum_done(&op->sum);
	source_op_count(&op->base, status);
	switch (op->kind) {
	case WEB_LIST:
		op->want.list.done(op->want.list.ctx, status, why);
		break;
	case WEB_STAT:
		op->want.stat.done(op->want.stat.ctx, status, entry, why);
		break;
	case WEB_READ:
		op->want.read.sink->done(op->want.read.ctx, status, why);
		break;
	case WEB_STREAM:
		break;
	}
	mem_free(op->key);
	source_op_end(&op->base);
	http_unpost(loop, &op->task); /* now nobody can post it again */
	mem_free(op);
}

/* ---- reads ---- */

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

static int add_read_headers(struct web_op *op, struct web_fetch *f)
{
	const struct source_read_request *r = &op->want.read;
	unsigned long long first = r->offset + op->delivered, last = r->offset + r->length - 1;
	bool whole = web_source_of(op)->kind->whole_get && first == 0 && last + 1 == r->object_size;
	int rc = whole ? 0 : web_fetch_header(f, mem_printf("Range: bytes=%llu-%llu", first, last));

	if (rc == 0 && can_match(&r->validator))
		rc = web_fetch_header(f, mem_printf("If-Match: \"%.*s\"", (int)r->validator.len,
						    (const char *)r->validator.bytes));
	return rc;
}

/* ---- a second request ----
 * Of a hundred requests the slowest often waits for a disk or a server that another request does not meet. Past the moving
 * 98th percentile a second one is sent for the same bytes; the head that comes first wins. At most one in fifty is. */

static struct web_fetch *other_of(struct web_op *op, const struct web_fetch *f)
{
	return f == op->second ? &op->fetch : op->second;
}

static void plan_hedge(struct web_op *op, const struct web_fetch *f)
{
	if (op->kind == WEB_READ && f == &op->fetch && !op->second && op->delivered == 0)
		http_timer_set(loop_of(op), &op->hedge, hedge_at(&web_source_of(op)->latency, f->sent_ns));
}

static const struct web_fetch_ops fetch_ops;

static void on_hedge(struct http_timer *timer)
{
	struct web_op *op = CONTAINER_OF(timer, struct web_op, hedge);
	struct web_source *s = web_source_of(op);

	if (op->winner || op->second || op->fetch.head.status || !web_fetch_sent(&op->fetch) ||
	    budget_take(&s->hedge_budget, 0) != 0)
		return;
	op->second = mem_alloc(sizeof *op->second);
	if (!op->second)
		return;
	web_fetch_init(op->second, s, &fetch_ops, op);
	op->second->subject = op->key;
	atomic_fetch_add(&s->base.hedges, 1);
	web_fetch_start(op->second, op->want.read.deadline_ns);
}

/* The head of @f came and is right: whether the bytes are its to give. */
static bool wins(struct web_op *op, struct web_fetch *f)
{
	if (!op->winner) {
		op->winner = f;
		if (op->second) /* the other cannot be stopped from inside a callback of libcurl */
			http_post(loop_of(op), &op->task);
	}
	return op->winner == f;
}

static int on_request(struct web_fetch *f)
{
	struct web_op *op = web_op_of(f);

	plan_hedge(op, f);
	int rc = web_source_of(op)->kind->request(op, f);

	return rc == 0 && op->kind == WEB_READ ? add_read_headers(op, f) : rc;
}

/* Only a whole object can be held against a checksum. */
static int start_sum(struct web_op *op, const struct response *r)
{
	if (op->sum.kind == CHECKSUM_NONE && !r->has_range && *r->checksum &&
	    !checksum_parse(&op->sum, r->checksum))
		CHECK(false); /* response.c wrote it */
	if (op->want.read.length != op->want.read.object_size)
		op->sum.kind = CHECKSUM_NONE;
	return checksum_start(&op->sum);
}

static int on_head(struct web_fetch *f)
{
	struct web_op *op = web_op_of(f);
	struct err why = {0};

	if (op->kind != WEB_READ)
		return 0;
	const struct source_read_request *r = &op->want.read;
	const struct response_expected want = {.offset = r->offset + op->delivered,
					       .length = r->length - op->delivered,
					       .object_size = r->object_size,
					       .validator = &r->validator,
					       .whole_ok = web_source_of(op)->kind->whole_ok};
	uint64_t skip = 0;
	int rc = response_check_read(&f->head, &want, &skip, &why);
	if (rc == 0 && !wins(op, f))
		return err_set(&f->err, -ECANCELED, "another answer came first");
	op->skip = skip;
	if (rc == 0 && web_source_of(op)->kind->learn)
		web_source_of(op)->kind->learn(op, f);
	if (rc == 0 && op->delivered == 0)
		rc = start_sum(op, &f->head);
	if (rc < 0)
		(void)err_set(&f->err, rc, "%.80s: %.200s: %.200s", web_label_of(op), f->subject,
			      err_words(&why, rc));
	return rc;
}

/* The last bytes are handed over only once the checksum agreed. 0 or an error with words. */
static int sum_up(struct web_op *op, struct web_fetch *f, const uint8_t *p, size_t len)
{
	struct err why = {0};

	checksum_add(&op->sum, p, len);
	if (op->delivered + len < op->want.read.length || checksum_check(&op->sum, &why) == 0)
		return 0;
	return err_set(&f->err, -ERR_CORRUPT, "%.80s: %.200s: %.200s", web_label_of(op), f->subject,
		       why.text);
}

/* Puts bytes into the sink; *ret_used: how many found room. 0 or an error with words. */
static int fill_sink(struct web_op *op, struct web_fetch *f, const uint8_t *p, size_t len, size_t *ret_used)
{
	const struct source_read_request *r = &op->want.read;
	size_t used = 0;
	int rc = 0;

	while (used < len) {
		size_t room = 0;
		uint8_t *space = r->sink->space(r->ctx, &room);
		if (!space)
			break;
		size_t n = MIN(room, len - used);
		CHECK(n > 0);
		memcpy(space, p + used, n);
		rc = sum_up(op, f, space, n);
		if (rc < 0)
			break;
		r->sink->filled(r->ctx, n);
		used += n;
		op->delivered += n;
	}
	*ret_used = used;
	return rc;
}

void web_read_push(struct web_op *op, const uint8_t *p, size_t len, size_t *ret_used)
{
	CHECK(op->sum.kind == CHECKSUM_NONE); /* whoever serves it looks at that */
	int rc = fill_sink(op, &op->fetch, p, len, ret_used);
	CHECK(rc == 0);
	atomic_fetch_add_explicit(&op->base.source->bytes, *ret_used, memory_order_relaxed);
}

static enum http_taken take_body(struct web_op *op, struct web_fetch *f, const uint8_t *p, size_t len,
				 size_t *ret_used)
{
	const struct source_read_request *r = &op->want.read;
	size_t skipped = (size_t)MIN(op->skip, (uint64_t)len);
	uint64_t left = r->length - op->delivered;

	op->skip -= skipped;
	/* Of a whole body what follows the range is cut off; more than a range that was announced is a fault. */
	bool more = len - skipped > left, whole = !f->head.has_range;
	if (more && !(whole && web_source_of(op)->kind->whole_ok)) {
		f->transfer.abort_code =
			err_set(&f->err, -ERR_CORRUPT, "%.80s: %.200s: more bytes than announced",
				web_label_of(op), f->subject);
		return HTTP_ABORTED;
	}
	size_t want = more ? (size_t)left : len - skipped, used;
	f->transfer.abort_code = fill_sink(op, f, p + skipped, want, &used);
	if (f->transfer.abort_code < 0)
		return HTTP_ABORTED;
	if (skipped + used > 0)
		web_fetch_progress(f);
	atomic_fetch_add_explicit(&op->base.source->bytes, used, memory_order_relaxed);
	*ret_used = skipped + used;
	if (used < want)
		return HTTP_PAUSED;
	f->enough = more || (whole && op->delivered == r->length && r->offset + r->length < r->object_size);
	return f->enough ? HTTP_ABORTED : HTTP_TAKEN;
}

static enum http_taken on_body(struct web_fetch *f, const uint8_t *p, size_t len, size_t *ret_used)
{
	struct web_op *op = web_op_of(f);

	return op->kind == WEB_READ ? take_body(op, f, p, len, ret_used) : HTTP_TAKEN;
}

static int on_refused(struct web_fetch *f, enum web_verdict *ret)
{
	struct web_op *op = web_op_of(f);

	return web_source_of(op)->kind->refused(op, f, ret);
}

static void on_done(struct web_fetch *f, int status)
{
	struct web_op *op = web_op_of(f);
	struct source_entry entry = {0};

	struct web_fetch *other = op->kind == WEB_READ ? other_of(op, f) : NULL;
	bool first = !op->winner || op->winner == f;
	if (!first || (status == -ERR_UNREACHABLE && !op->winner && other && web_fetch_runs(other)))
		return; /* the other one goes on */
	if (status < 0) {
		web_op_end(op, status, NULL, &f->err);
	} else if (op->kind == WEB_STAT) {
		int rc = web_source_of(op)->kind->entry(op, &entry);
		web_op_end(op, rc, rc == 0 ? &entry : NULL, &f->err);
	} else if (op->delivered == op->want.read.length) {
		web_op_end(op, 0, NULL, NULL);
	} else {
		/* Only without a Content-Length: the end of the connection was the end of the body. */
		(void)err_set(&f->err, -ERR_UNREACHABLE, "%.80s: the body of %.200s was cut short",
			      web_label_of(op), f->subject);
		web_fetch_again(f);
	}
}

static const struct web_fetch_ops fetch_ops = {
	.request = on_request,
	.head = on_head,
	.body = on_body,
	.refused = on_refused,
	.done = on_done,
};

/* ---- operations ---- */

void web_read_restart(struct web_op *op)
{
	const struct web_kind *kind = web_source_of(op)->kind;

	if (!kind->join || !kind->join(op))
		web_fetch_start(&op->fetch, op->want.read.deadline_ns);
}

static void start(struct web_op *op)
{
	op->started = true;
	switch (op->kind) {
	case WEB_LIST:
		web_source_of(op)->kind->list(op);
		break;
	case WEB_STAT:
		op->fetch.head_only = true;
		web_fetch_start(&op->fetch, op->want.stat.deadline_ns);
		break;
	case WEB_READ:
		budget_request(&web_source_of(op)->hedge_budget);
		web_read_restart(op);
		break;
	case WEB_STREAM:
		web_source_of(op)->kind->stream(op);
		break;
	}
}

/* The sink has room, the race of two requests is over, or a stream has something to do. */
static void go_on(struct web_op *op, unsigned wants)
{
	struct web_fetch *f = op->winner ? op->winner : &op->fetch;

	if (op->kind == WEB_STREAM) {
		web_source_of(op)->kind->stream(op);
		return;
	}
	if (op->kind == WEB_READ && op->data) {
		if (wants & WANT_RESUME)
			web_source_of(op)->kind->resume(op);
		return;
	}
	if (op->winner && op->second && web_fetch_runs(other_of(op, f)))
		web_fetch_stop(other_of(op, f));
	if (wants & WANT_RESUME)
		web_fetch_resume(f); /* may end the operation */
}

static void on_task(struct http_task *task)
{
	struct web_op *op = CONTAINER_OF(task, struct web_op, task);
	unsigned wants = atomic_exchange(&op->base.wants, 0);
	struct err err = {0};

	if (wants & WANT_CANCEL)
		web_op_end(op,
			   err_set(&err, -ECANCELED, "%.80s: canceled for %.200s", web_label_of(op),
				   *op->key ? op->key : web_source_of(op)->origin),
			   NULL, &err);
	else if (!op->started)
		start(op);
	else if (op->kind == WEB_LIST && web_source_of(op)->kind->list_poke)
		web_source_of(op)->kind->list_poke(op);
	else
		go_on(op, wants);
}

static void poke(struct source_op *base)
{
	struct web_op *op = (struct web_op *)(void *)base;

	http_post(loop_of(op), &op->task);
}

struct web_op *web_op_new(struct source *s, enum web_op_kind kind, const char *key)
{
	struct web_op *op = mem_calloc(1, sizeof *op);

	if (!op)
		return NULL;
	op->key = mem_strdup(key);
	if (!op->key)
		return mem_free(op);
	op->kind = kind;
	op->base.source = s;
	http_task_init(&op->task, on_task);
	http_timer_init(&op->hedge, on_hedge);
	web_fetch_init(&op->fetch, (struct web_source *)(void *)s, &fetch_ops, op);
	op->fetch.subject = op->key;
	return op;
}

void web_op_begin(struct web_op *op)
{
	source_op_begin(op->base.source, &op->base);
	http_post(loop_of(op), &op->task);
}

static int op_start(struct web_op *op, struct source_op **ret)
{
	*ret = &op->base; /* before a callback can come */
	web_op_begin(op);
	return 0;
}

static int list_start(struct source *s, const struct source_list_request *r, struct source_op **ret)
{
	struct web_op *op = web_op_new(s, WEB_LIST, r->prefix ? r->prefix : "");

	if (!op)
		return -ENOMEM;
	op->want.list = *r;
	op->want.list.prefix = op->key;
	if (!op->want.list.deadline_ns)
		op->want.list.deadline_ns = SOURCE_OP_TIME_NS;
	return op_start(op, ret);
}

static int stat_start(struct source *s, const struct source_stat_request *r, struct source_op **ret)
{
	struct web_op *op = web_op_new(s, WEB_STAT, r->key);

	if (!op)
		return -ENOMEM;
	op->want.stat = *r;
	op->want.stat.key = op->key;
	if (!op->want.stat.deadline_ns)
		op->want.stat.deadline_ns = clock_mono_ns() + SOURCE_OP_TIME_NS;
	return op_start(op, ret);
}

static int read_start(struct source *s, const struct source_read_request *r, struct source_op **ret)
{
	struct web_op *op = web_op_new(s, WEB_READ, r->key);

	if (!op)
		return -ENOMEM;
	op->want.read = *r;
	op->want.read.key = op->key;
	return op_start(op, ret);
}

/* ---- the source ---- */

static int set_credential(struct source *base, const struct source_credential *from)
{
	struct web_source *s = (struct web_source *)(void *)base;
	struct credential *c = NULL;
	int rc = credential_new(from, &c);

	if (rc < 0)
		return rc;
	pthread_mutex_lock(&base->lock);
	struct credential *old = s->credential;
	if (!c->ca_pem && old->ca_pem) { /* they may be those of another Secret */
		c->ca_pem = mem_strdup(old->ca_pem);
		rc = c->ca_pem ? 0 : -ENOMEM;
	}
	if (rc == 0)
		s->credential = c;
	pthread_mutex_unlock(&base->lock);
	(void)credential_unref(rc == 0 ? old : c);
	return rc;
}

void web_source_done(struct web_source *s)
{
	s->kind->done(s);
	s->pool = http_pool_free(s->pool);
	s->credential = credential_unref(s->credential);
	s->origin = mem_free(s->origin);
	s->proxy = mem_free(s->proxy);
}

static void source_done(struct source *base)
{
	web_source_done((struct web_source *)(void *)base);
}

static const struct source_kind_ops source_ops = {
	.poke = poke,
	.set_credential = set_credential,
	.list = list_start,
	.stat = stat_start,
	.read = read_start,
	.done = source_done,
};

struct web_source *web_source_cast(struct source *s)
{
	return s->kind == &source_ops ? (struct web_source *)(void *)s : NULL;
}

int web_source_init(struct web_source *s, struct source_loop *loop, const struct source_config *config,
		    const struct web_kind *kind, char *origin, struct err *err)
{
	const struct http_pool_config pool = {
		.connections_max = config->connections_max ? config->connections_max : CONNECTIONS_DEFAULT,
		.connect_timeout_ns =
			config->connect_timeout_ns ? config->connect_timeout_ns : CONNECT_TIMEOUT_NS,
	};

	s->base.kind = &source_ops;
	s->kind = kind;
	s->origin = origin;
	s->proxy = config->s3.proxy && *config->s3.proxy ? mem_strdup(config->s3.proxy) : NULL;
	if (!origin || (config->s3.proxy && *config->s3.proxy && !s->proxy))
		return -ENOMEM;
	if (pool.connect_timeout_ns < NS_PER_MS)
		return err_set(err, -EINVAL, "%s: the connect timeout must be at least 1 ms", config->label);
	s->connections = pool.connections_max;
	bucket_init(&s->request_rate, config->requests_per_second, BURST_NS);
	bucket_init(&s->byte_rate, config->bandwidth, BURST_NS);
	throttle_init(&s->throttle, pool.connections_max);
	budget_init(&s->retry_budget, RETRY_SHARE_MILLI, RETRY_FLOOR, RETRY_CAP);
	budget_init(&s->hedge_budget, HEDGE_SHARE_MILLI, 0, HEDGE_CAP);
	s->hedge_budget.tokens_micro = 0; /* they must be earned */
	int rc = http_pool_new(loop->http, &pool, &s->pool);
	if (rc == 0)
		rc = credential_new(&config->credential, &s->credential);
	if (rc == -EINVAL)
		(void)err_set(err, rc,
			      "%s: a key and its secret must come together, without line breaks inside",
			      config->label);
	return rc;
}
