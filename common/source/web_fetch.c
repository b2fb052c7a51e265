#include "common/source/web_fetch.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/mem.h"

static struct http_loop *loop_of(const struct web_fetch *f)
{
	return f->source->base.loop->http;
}

static const char *label_of(const struct web_fetch *f)
{
	return f->source->base.label;
}

/* ---- the request of one try ---- */

static void drop_request(struct web_fetch *f)
{
	f->credential = credential_unref(f->credential);
	f->url = mem_free(f->url);
	while (f->header_count > 0)
		mem_free(f->headers[--f->header_count]);
}

int web_fetch_url(struct web_fetch *f, char *url)
{
	mem_free(f->url);
	f->url = url;
	return url ? 0 : -ENOMEM;
}

int web_fetch_header(struct web_fetch *f, char *line)
{
	if (!line)
		return -ENOMEM;
	CHECK(f->header_count < WEB_HEADERS_MAX);
	f->headers[f->header_count++] = line;
	return 0;
}

struct credential *web_credential_now(struct web_source *s)
{
	pthread_mutex_lock(&s->base.lock);
	struct credential *c = credential_ref(s->credential);
	pthread_mutex_unlock(&s->base.lock);
	return c;
}

static int on_request(struct http_transfer *t, struct http_request *ret)
{
	struct web_fetch *f = CONTAINER_OF(t, struct web_fetch, transfer);

	f->sent_ns = clock_mono_ns();
	f->wall_ns = clock_wall_ns();
	f->credential = web_credential_now(f->source);
	atomic_fetch_add(&f->source->base.requests, 1);
	if (!f->retry.deadline_ns)
		retry_excuse(&f->retry, f->sent_ns); /* the time in the queue does not count */
	int rc = f->ops->request(f);
	ret->head = f->head_only;
	ret->url = f->url;
	ret->headers = (const char *const *)f->headers;
	ret->header_count = f->header_count;
	ret->proxy = f->source->proxy;
	ret->ca_pem = f->credential->ca_pem;
	return rc;
}

/* ---- ending, waiting, trying ---- */

void web_fetch_stop(struct web_fetch *f)
{
	http_timer_set(loop_of(f), &f->timer, HTTP_NEVER);
	http_timer_set(loop_of(f), &f->pace, HTTP_NEVER);
	list_remove(&f->node);
	http_transfer_cancel(&f->transfer);
	drop_request(f);
	f->error_body = mem_free(f->error_body);
	f->state = WEB_IDLE;
}

void web_fetch_end(struct web_fetch *f, int status)
{
	if (status < 0 && f->err.code != status)
		(void)err_set(&f->err, status, "%.80s: %s for %.200s", label_of(f), err_text(status),
			      f->subject);
	web_fetch_stop(f);
	f->ops->done(f, status);
}

/* The time is up. What kept us from an answer is in f->err, if anything ended yet. */
static void give_up(struct web_fetch *f)
{
	bool flowing = f->state == WEB_TRYING && f->bytes_came;
	int code = flowing ? -ETIMEDOUT : -ERR_UNREACHABLE;
	CLEANUP(free_str) char *last = f->err.text[0] ? mem_strdup(f->err.text) : NULL;

	if (flowing)
		(void)err_set(&f->err, code, "%.80s: the deadline passed while %.120s was read", label_of(f),
			      f->subject);
	else if (last)
		(void)err_set(&f->err, code, "%s; gave up at the deadline", last);
	else
		(void)err_set(&f->err, code, "%.80s: no answer from %.100s before the deadline for %.120s",
			      label_of(f), f->source->origin, f->subject);
	web_fetch_end(f, code);
}

static void send(struct web_fetch *f)
{
	f->state = WEB_TRYING;
	http_timer_set(loop_of(f), &f->timer, retry_limit_ns(&f->retry));
	http_transfer_start(f->source->pool, &f->transfer);
}

/* The clock may be ahead of the loop's: a timer set by the one must be due by it. */
static void queue(struct web_fetch *f, int64_t at_ns)
{
	f->state = WEB_QUEUED;
	f->go_ns = at_ns;
	http_timer_set(loop_of(f), &f->timer,
		       f->retry.deadline_ns ? MIN(at_ns, f->retry.deadline_ns) : at_ns);
}

/* Whether the source may send at all yet. */
static bool source_ready(struct web_fetch *f)
{
	if (!f->source->ready || f->source->ready(f))
		return true;
	f->state = WEB_QUEUED;
	f->go_ns = INT64_MAX;
	http_timer_set(loop_of(f), &f->timer, retry_limit_ns(&f->retry));
	return false;
}

static void try_now(struct web_fetch *f)
{
	f->head = (struct response){0};
	if (!source_ready(f))
		return;
	int64_t now_ns = clock_mono_ns();
	int64_t at_ns = MAX(bucket_take(&f->source->request_rate, now_ns, 1), f->source->throttle.hold_ns);

	f->head = (struct response){0};
	f->error_len = 0;
	f->bytes_came = f->enough = false;
	drop_request(f);
	if (at_ns > now_ns)
		queue(f, at_ns);
	else
		send(f);
}

/* The wait after a failure is over. */
static void try_again(struct web_fetch *f, int64_t now_ns)
{
	int64_t wait_ns = budget_take(&f->source->retry_budget, now_ns);

	if (wait_ns == 0) {
		atomic_fetch_add(&f->source->base.retries, 1);
		try_now(f);
	} else if (wait_ns >= retry_limit_ns(&f->retry) - now_ns) {
		give_up(f);
	} else {
		http_timer_set(loop_of(f), &f->timer, now_ns + wait_ns);
	}
}

static void on_timer(struct http_timer *timer)
{
	struct web_fetch *f = CONTAINER_OF(timer, struct web_fetch, timer);
	int64_t now_ns = http_now_ns(loop_of(f));

	if (f->state == WEB_WAITING) {
		try_again(f, now_ns);
		return;
	}
	if (f->state == WEB_QUEUED && now_ns >= f->go_ns) {
		if (!f->retry.deadline_ns)
			retry_excuse(&f->retry, now_ns);
		send(f);
		return;
	}
	if (!f->retry.deadline_ns && http_transfer_held(&f->transfer))
		retry_excuse(&f->retry, now_ns);
	if (now_ns >= retry_limit_ns(&f->retry))
		give_up(f);
	else
		http_timer_set(loop_of(f), timer, retry_limit_ns(&f->retry));
}

static void try_later(struct web_fetch *f)
{
	int64_t at_ns = retry_failed(&f->retry, http_now_ns(loop_of(f)), f->head.retry_after_s * NS_PER_S);

	f->state = WEB_WAITING;
	if (at_ns == RETRY_NEVER)
		give_up(f);
	else
		http_timer_set(loop_of(f), &f->timer, at_ns);
}

/* ---- the transfer's callbacks ---- */

static void on_header(struct http_transfer *t, const char *name, size_t name_len, const char *value,
		      size_t value_len)
{
	struct web_fetch *f = CONTAINER_OF(t, struct web_fetch, transfer);

	response_header(&f->head, f->wall_ns, name, name_len, value, value_len);
}

void web_fetch_note_refusal(struct web_fetch *f, const char *code)
{
	struct source *s = &f->source->base;

	pthread_mutex_lock(&s->lock);
	f->source->refusal.status = f->head.status;
	(void)snprintf(f->source->refusal.code, sizeof f->source->refusal.code, "%s", code);
	pthread_mutex_unlock(&s->lock);
}

bool web_fetch_succeeded(const struct web_fetch *f)
{
	return f->head.status == 200 || f->head.status == 206;
}

static int on_head(struct http_transfer *t)
{
	struct web_fetch *f = CONTAINER_OF(t, struct web_fetch, transfer);
	struct source *s = &f->source->base;

	f->head.status = t->status;
	int64_t took_ns = clock_mono_ns() - f->sent_ns;
	atomic_fetch_add(&s->first_byte_count, 1);
	atomic_fetch_add(&s->first_byte_ns_sum, (uint64_t)took_ns);
	latency_add(&f->source->latency, took_ns);
	return web_fetch_succeeded(f) ? f->ops->head(f) : 0;
}

void web_fetch_keep(struct web_fetch *f, const uint8_t *p, size_t len)
{
	if (!f->error_body)
		f->error_body = mem_alloc(RESPONSE_ERROR_MAX);
	if (!f->error_body)
		return; /* the status alone must do */
	size_t n = MIN(len, RESPONSE_ERROR_MAX - f->error_len);
	memcpy(f->error_body + f->error_len, p, n);
	f->error_len += n;
}

/* Whether the source has spent its bandwidth: then the transfer pauses until it has some again. */
static bool paced(struct web_fetch *f)
{
	int64_t now_ns = http_now_ns(loop_of(f)), at_ns = bucket_take(&f->source->byte_rate, now_ns, 0);

	if (at_ns <= now_ns)
		return false;
	http_timer_set(loop_of(f), &f->pace, at_ns);
	return true;
}

static void on_pace(struct http_timer *timer)
{
	http_transfer_resume(&CONTAINER_OF(timer, struct web_fetch, pace)->transfer);
}

static enum http_taken on_body(struct http_transfer *t, const uint8_t *p, size_t len, size_t *ret_used)
{
	struct web_fetch *f = CONTAINER_OF(t, struct web_fetch, transfer);

	if (!web_fetch_succeeded(f)) {
		web_fetch_keep(f, p, len);
		return HTTP_TAKEN;
	}
	f->bytes_came = true;
	if (paced(f)) {
		*ret_used = 0;
		return HTTP_PAUSED;
	}
	enum http_taken taken = f->ops->body(f, p, len, ret_used);
	if (taken == HTTP_ABORTED && f->enough)
		t->abort_code = -ECANCELED;
	(void)bucket_take(&f->source->byte_rate, http_now_ns(loop_of(f)),
			  taken == HTTP_PAUSED ? *ret_used : len);
	return taken;
}

/* What the answer says of how busy the store is. */
static void heed(struct web_fetch *f)
{
	struct web_source *s = f->source;

	if (f->head.status == 429 || f->head.status == 503)
		throttle_slow(&s->throttle, clock_mono_ns(), f->sent_ns, f->head.retry_after_s * NS_PER_S);
	else if (web_fetch_succeeded(f))
		throttle_good(&s->throttle);
	else
		return;
	http_pool_limit(s->pool, throttle_window(&s->throttle));
}

static void end_refused(struct web_fetch *f)
{
	enum web_verdict verdict = WEB_FAIL;
	int code = f->ops->refused(f, &verdict);

	switch (verdict) {
	case WEB_FAIL:
		web_fetch_end(f, code);
		break;
	case WEB_RETRY:
		try_later(f);
		break;
	case WEB_AGAIN:
		try_now(f);
		break;
	}
}

static void on_done(struct http_transfer *t, int status, const char *words)
{
	struct web_fetch *f = CONTAINER_OF(t, struct web_fetch, transfer);

	if (status == 0 || f->enough)
		heed(f);
	if (f->enough) {
		web_fetch_end(f, 0);
	} else if (status == -ERR_UNREACHABLE) {
		(void)err_set(&f->err, status, "%.80s: %.200s for %.120s", label_of(f), words, f->subject);
		if (t->permanent)
			web_fetch_end(f, status);
		else
			try_later(f);
	} else if (status == -ERR_CORRUPT && f->error_len > 0) {
		end_refused(f); /* a body that was kept may say why */
	} else if (status < 0) {
		web_fetch_end(f, status);
	} else if (!web_fetch_succeeded(f)) {
		end_refused(f);
	} else {
		web_fetch_end(f, 0);
	}
}

static const struct http_transfer_ops transfer_ops = {
	.request = on_request,
	.header = on_header,
	.head = on_head,
	.body = on_body,
	.done = on_done,
};

/* ---- */

void web_fetch_init(struct web_fetch *f, struct web_source *s, const struct web_fetch_ops *ops, void *owner)
{
	memset(f, 0, sizeof *f);
	f->owner = owner;
	f->ops = ops;
	f->source = s;
	list_init(&f->node);
	http_timer_init(&f->timer, on_timer);
	http_timer_init(&f->pace, on_pace);
	http_transfer_init(&f->transfer, &transfer_ops);
}

bool web_fetch_runs(const struct web_fetch *f)
{
	return f->state != WEB_IDLE;
}

bool web_fetch_sent(const struct web_fetch *f)
{
	return f->state == WEB_TRYING && !http_transfer_held(&f->transfer);
}

void web_fetch_start(struct web_fetch *f, int64_t deadline_ns)
{
	CHECK(f->state == WEB_IDLE);
	f->err = (struct err){0};
	/* The jitter needs no more than that two fetches differ. */
	retry_init(&f->retry, clock_mono_ns(), deadline_ns, ++f->source->seed ^ (uint64_t)(uintptr_t)f);
	budget_request(&f->source->retry_budget);
	try_now(f);
}

void web_fetch_unpark(struct web_fetch *f, int status, const struct err *err)
{
	CHECK(f->state == WEB_QUEUED);
	if (status == 0) {
		try_now(f);
		return;
	}
	(void)err_set(&f->err, status, "%.80s: %.350s", label_of(f), err_words(err, status));
	web_fetch_end(f, status);
}

void web_fetch_again(struct web_fetch *f)
{
	CHECK(f->state == WEB_IDLE);
	try_later(f);
}

void web_fetch_progress(struct web_fetch *f)
{
	retry_progress(&f->retry, http_now_ns(loop_of(f)));
}

void web_fetch_resume(struct web_fetch *f)
{
	if (!f->retry.deadline_ns)
		retry_excuse(&f->retry, http_now_ns(loop_of(f)));
	http_transfer_resume(&f->transfer);
}
