/*
 * Life of a stream: made by the read that needs it -> its transfer runs; stands still where the lowest read has no room, or
 * where nobody reads (then a timer runs) -> the body ended, the timer fired, or it failed: its reads end or go elsewhere.
 *
 * Inside a callback of libcurl no operation may be ended or started. So a read whose bytes are all there is only marked; the
 * stream's task ends it, and sends those elsewhere that the stream has passed.
 */
#include "common/source/http_stream.h"

#include <errno.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/hash.h"
#include "common/base/mem.h"

#define KEEP_NS (20 * NS_PER_S)
#define AHEAD_MOST \
	(UINT64_C(64) << 20) /* where there are ranges: a read further on is a request of its own */

/* op->data of a READ that is served by a stream. */
struct part {
	struct list node; /* in stream.parts, by place */
	struct web_op *op, *stream;
	struct http_timer deadline;
};

/* op->data of a WEB_STREAM. */
struct stream {
	struct web_op *op;
	struct list node; /* in site->streams, the oldest first */
	struct list parts;
	uint64_t at;          /* how far the transfer is */
	uint64_t hashed;      /* how far the checksum is */
	bool idle;            /* nobody reads; the timer runs */
	struct part *stalled; /* its sink had no room; NULL: none */
	struct http_timer timer;
};

static struct http_site *site_of(const struct web_op *op)
{
	return (struct http_site *)(void *)op->base.source;
}

static struct http_loop *loop_of(const struct web_op *op)
{
	return op->base.source->loop->http;
}

/* Where the read goes on. */
static uint64_t place(const struct part *p)
{
	return p->op->want.read.offset + p->op->delivered;
}

static bool whole(const struct part *p)
{
	return p->op->delivered == p->op->want.read.length;
}

/* The read that is to be served next: the lowest that the stream has not passed. NULL: none. */
static struct part *next_part(const struct stream *s)
{
	list_for_each (pos, &s->parts) {
		struct part *p = LIST_ENTRY(pos, struct part, node);
		if (!whole(p) && place(p) >= s->at)
			return p;
	}
	return NULL;
}

static void later(struct stream *s)
{
	http_post(loop_of(s->op), &s->op->task);
}

/* ---- the transfer ---- */

static int on_request(struct web_fetch *f)
{
	struct stream *s = web_op_of(f)->data;
	struct http_site *site = site_of(s->op);

	s->at = s->hashed = 0;
	if (!f->data)
		f->data = mem_calloc(1, sizeof(struct http_trip));
	int rc = f->data ? checksum_start(&s->op->sum) : -ENOMEM;
	if (rc == 0)
		rc = http_trip_request(site, f->data, f, http_site_url(site, s->op->key));
	return rc == 0 ? web_fetch_header(f, mem_strdup("Range: bytes=0-")) : rc;
}

static int on_head(struct web_fetch *f)
{
	struct web_op *op = web_op_of(f);
	const struct source_read_request *r = &op->want.read;
	const struct response_expected want = {.length = r->object_size,
					       .object_size = r->object_size,
					       .validator = &r->validator,
					       .whole_ok = true};
	struct err why = {0};
	uint64_t skip = 0;
	int rc = response_check_read(&f->head, &want, &skip, &why);

	site_of(op)->no_ranges = !f->head.has_range;
	return rc == 0 ? 0
		       : err_set(&f->err, rc, "%.80s: %.200s: %.200s", op->base.source->label, f->subject,
				 err_words(&why, rc));
}

/* A collision only makes a stream of what needed none. */
static uint64_t key_hash(const char *key)
{
	static const uint8_t fixed[16] = {0};

	return siphash24(fixed, key, strlen(key));
}

static bool is_wrong(const struct http_site *site, uint64_t key)
{
	for (size_t i = 0; i < MIN(site->wrong_count, LENGTH(site->wrong)); i++)
		if (site->wrong[i] == key)
			return true;
	return false;
}

/* A part of such an object must not be had by a request of its own, which proves nothing: it is streamed as long as the source
 * lives. */
static void note_wrong(struct http_site *site, const char *key)
{
	uint64_t hash = key_hash(key);

	if (!is_wrong(site, hash))
		site->wrong[site->wrong_count++ % LENGTH(site->wrong)] = hash;
}

/* Takes @len bytes at the stream's place into the checksum, unless they were before; the last ones tell. */
static int hash(struct stream *s, struct web_fetch *f, const uint8_t *p, size_t len)
{
	uint64_t end = s->at + len;
	struct err why = {0};

	if (end <= s->hashed)
		return 0;
	size_t known = (size_t)(s->hashed - s->at);
	checksum_add(&s->op->sum, p + known, len - known);
	s->hashed = end;
	if (end < s->op->want.read.object_size || checksum_check(&s->op->sum, &why) == 0)
		return 0;
	note_wrong(site_of(s->op), s->op->key);
	return err_set(&f->err, -ERR_CORRUPT, "%.80s: %.200s: %.200s", s->op->base.source->label, f->subject,
		       why.text);
}

/* One stretch: dropped up to the next read, or put into its sink. *ret_used: how much of it went; *ret_stuck: the sink had no
 * room for more. */
static int take_stretch(struct stream *s, struct web_fetch *f, struct part *next, const uint8_t *p,
			size_t len, size_t *ret_used, bool *ret_stuck)
{
	uint64_t gap = place(next) - s->at;
	uint64_t wanted = gap ? gap : next->op->want.read.length - next->op->delivered;
	size_t n = (size_t)MIN((uint64_t)len, wanted), went = n;
	int rc = hash(s, f, p, n);

	if (rc < 0)
		return rc;
	if (!gap)
		web_read_push(next->op, p, n, &went);
	*ret_used = went;
	*ret_stuck = went < n;
	s->at += went;
	if (went > 0)
		web_fetch_progress(f);
	if (whole(next))
		later(s);
	return 0;
}

static enum http_taken on_body(struct web_fetch *f, const uint8_t *p, size_t len, size_t *ret_used)
{
	struct stream *s = web_op_of(f)->data;
	size_t used = 0;

	if (len > s->op->want.read.object_size - s->at) {
		f->transfer.abort_code =
			err_set(&f->err, -ERR_CORRUPT, "%.80s: %.200s: more bytes than announced",
				s->op->base.source->label, f->subject);
		return HTTP_ABORTED;
	}
	while (used < len) {
		struct part *next = next_part(s);
		bool stuck = !next;
		size_t n = 0;
		int rc = next ? take_stretch(s, f, next, p + used, len - used, &n, &stuck) : 0;
		f->transfer.abort_code = rc;
		if (rc < 0)
			return HTTP_ABORTED;
		used += n;
		if (stuck) {
			s->stalled = next;
			*ret_used = used;
			later(s);
			return HTTP_PAUSED;
		}
	}
	return HTTP_TAKEN;
}

static int on_refused(struct web_fetch *f, enum web_verdict *ret)
{
	return http_trip_refused(site_of(web_op_of(f)), f->data, f, true, ret);
}

/* Ends the reads that are whole; those that were passed begin anew elsewhere. */
static void settle(struct stream *s)
{
	list_for_each_safe (pos, tmp, &s->parts) {
		struct part *p = LIST_ENTRY(pos, struct part, node);
		struct web_op *op = p->op;
		if (whole(p)) {
			web_op_end(op, 0, NULL,
				   NULL); /* its callback may start others, but no one of this list ends */
		} else if (place(p) < s->at) {
			http_stream_leave(op);
			web_read_restart(op);
		}
	}
}

static void on_done(struct web_fetch *f, int status)
{
	struct stream *s = web_op_of(f)->data;
	struct web_op *op = s->op;
	struct err err = f->err;

	if (status == 0 && s->at < op->want.read.object_size) {
		(void)err_set(&f->err, -ERR_UNREACHABLE, "%.80s: the body of %.200s was cut short",
			      op->base.source->label, f->subject);
		web_fetch_again(f);
		return;
	}
	list_remove(&s->node); /* nobody joins any more */
	settle(s);
	while (status < 0 && !list_empty(&s->parts))
		web_op_end(LIST_ENTRY(s->parts.next, struct part, node)->op, status, NULL, &err);
	web_op_end(op, 0, NULL, NULL);
}

static const struct web_fetch_ops stream_ops = {
	.request = on_request,
	.head = on_head,
	.body = on_body,
	.refused = on_refused,
	.done = on_done,
};

/* ---- streams ---- */

static void on_idle(struct http_timer *timer)
{
	struct stream *s = CONTAINER_OF(timer, struct stream, timer);

	if (list_empty(&s->parts))
		web_op_end(s->op, 0, NULL, NULL);
}

void http_stream_run(struct web_op *op)
{
	struct stream *s = op->data;

	if (!web_fetch_runs(&op->fetch)) {
		web_fetch_start(&op->fetch, 0);
		return;
	}
	settle(s);
	struct part *next = next_part(s);
	if (!next != s->idle)
		http_timer_set(loop_of(op), &s->timer, next ? HTTP_NEVER : clock_mono_ns() + KEEP_NS);
	s->idle = !next;
	if (next && next != s->stalled)
		web_fetch_resume(&op->fetch); /* may end the stream */
}

void http_stream_stop(struct web_op *op)
{
	struct stream *s = op->data;

	if (!s)
		return;
	list_remove(&s->node);
	while (!list_empty(&s->parts))
		web_op_end(LIST_ENTRY(s->parts.next, struct part, node)->op, -ECANCELED, NULL, NULL);
	http_timer_set(loop_of(op), &s->timer, HTTP_NEVER);
	op->data = mem_free(s);
}

/* Where streams that nobody reads would keep connections from others, the oldest go. */
static void shed(struct http_site *site)
{
	uint32_t most = throttle_window(&site->web.throttle) / 2, idle = 0;

	list_for_each (pos, &site->streams)
		idle += LIST_ENTRY(pos, struct stream, node)->idle;
	list_for_each_safe (pos, tmp, &site->streams) {
		struct stream *s = LIST_ENTRY(pos, struct stream, node);
		if (idle > most && s->idle) {
			idle--;
			web_op_end(s->op, 0, NULL, NULL);
		}
	}
}

/* The stream of the same version that is nearest before the read. NULL: none. */
static struct stream *find(const struct http_site *site, const struct web_op *op)
{
	const struct source_read_request *r = &op->want.read;
	uint64_t at = r->offset + op->delivered;
	struct stream *best = NULL;

	list_for_each (pos, &site->streams) {
		struct stream *s = LIST_ENTRY(pos, struct stream, node);
		const struct source_read_request *has = &s->op->want.read;
		if (s->at <= at && (site->no_ranges || at - s->at <= AHEAD_MOST) &&
		    (!best || best->at < s->at) && has->object_size == r->object_size &&
		    validator_equal(&has->validator, &r->validator) && strcmp(s->op->key, op->key) == 0)
			best = s;
	}
	return best;
}

static struct stream *make(struct http_site *site, const struct web_op *from)
{
	struct stream *s = mem_calloc(1, sizeof *s);
	struct web_op *op = s ? web_op_new(&site->web.base, WEB_STREAM, from->key) : NULL;
	const char *sum = site->index == SOURCE_INDEX_LIST ? strchr(from->key, '#') : NULL;

	if (!op)
		return mem_free(s);
	op->want.read = from->want.read;
	op->want.read.key = op->key;
	if (sum && !checksum_parse(&op->sum, sum + 1))
		op->sum.kind = CHECKSUM_NONE; /* on_request() of its reads says so */
	web_fetch_init(&op->fetch, &site->web, &stream_ops, op);
	op->fetch.subject = op->key;
	op->data = s;
	s->op = op;
	list_init(&s->parts);
	http_timer_init(&s->timer, on_idle);
	list_push_back(&site->streams, &s->node);
	web_op_begin(op);
	return s;
}

static void on_deadline(struct http_timer *timer)
{
	struct web_op *op = CONTAINER_OF(timer, struct part, deadline)->op;

	web_op_end(op, op->delivered ? -ETIMEDOUT : -ERR_UNREACHABLE, NULL, NULL);
}

static bool join(struct stream *s, struct web_op *op)
{
	struct part *p = mem_calloc(1, sizeof *p);
	struct list *before = &s->parts;

	if (!p)
		return false;
	p->op = op;
	p->stream = s->op;
	op->data = p;
	list_for_each (pos, &s->parts) {
		if (place(LIST_ENTRY(pos, struct part, node)) > place(p)) {
			before = pos;
			break;
		}
	}
	list_add_before(before, &p->node);
	s->idle = false;
	http_timer_set(loop_of(op), &s->timer, HTTP_NEVER);
	http_timer_init(&p->deadline, on_deadline);
	if (op->want.read.deadline_ns)
		http_timer_set(loop_of(op), &p->deadline, op->want.read.deadline_ns);
	later(s);
	return true;
}

bool http_stream_join(struct web_op *op)
{
	const struct source_read_request *r = &op->want.read;
	struct http_site *site = site_of(op);
	bool has_sum = site->index == SOURCE_INDEX_LIST && strchr(op->key, '#');
	bool first = r->offset == 0 && op->delivered == 0;
	struct stream *s = NULL;

	shed(site);
	if (r->length < r->object_size) {
		s = find(site, op);
		if (!s && (site->no_ranges || (has_sum && (first || is_wrong(site, key_hash(op->key))))))
			s = make(site, op);
	}
	return s && join(s, op);
}

void http_stream_leave(struct web_op *op)
{
	struct part *p = op->data;

	if (!p)
		return;
	struct stream *s = p->stream->data;
	if (s->stalled == p)
		s->stalled = NULL;
	http_timer_set(loop_of(op), &p->deadline, HTTP_NEVER);
	list_remove(&p->node);
	op->data = mem_free(p);
	later(s);
}

void http_stream_resume(struct web_op *op)
{
	struct part *p = op->data;
	struct stream *s = p->stream->data;

	if (s->stalled == p)
		s->stalled = NULL;
	later(s);
}

void http_stream_learn(struct web_op *op, const struct web_fetch *f)
{
	if (op->want.read.length < op->want.read.object_size)
		site_of(op)->no_ranges = !f->head.has_range;
}
