/*
 * Life of a connection: accepted -> its thread reads requests and answers them -> closed by either side, by a fault, or by
 * server_free(), which shuts the socket down. The thread unlinks and frees its connection as its last act.
 */
#include "bench/origin/server.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "bench/origin/auth.h"
#include "bench/origin/fault.h"
#include "bench/origin/pace.h"
#include "bench/origin/request.h"
#include "bench/origin/synthetic.h"
#include "common/base/bytes.h"
#include "common/base/clock.h"
#include "common/base/fd.h"
#include "common/base/list.h"
#include "common/base/mem.h"
#include "common/source/s3_place.h"

enum {
	THREAD_STACK = 1 << 20,
	SLICES = 256,
	PAGE_MAX = 1000,
	SMALL_BODY_MAX = 65536,
	STATUS_MAX = 600,
	FULL_MS = 5
};

struct server {
	struct server_config config;
	struct faults *faults;
	struct pace pace;
	pthread_mutex_t lock; /* guards connections, count and stopping */
	pthread_cond_t gone;  /* a connection ended */
	struct list connections;
	uint32_t count;
	_Atomic uint64_t requests, bytes, by_status[STATUS_MAX];
	_Atomic uint32_t inflight, inflight_max;
};

struct connection {
	struct server *server;
	struct list node;
	struct pace pace;
	bool dead; /* nothing more can be sent in order */
	struct request_reader reader;
};

/* A growing text. Out of memory: `failed`, and the text is short. */
struct text {
	char *s;
	size_t len, room;
	bool failed;
};

static bool text_room(struct text *t, size_t more)
{
	if (t->room - t->len > more)
		return true;
	size_t room = MAX(t->room * 2, t->len + more + 256);
	char *more_room = t->failed ? NULL : mem_resize(t->s, room, 1);
	t->failed = !more_room;
	if (!more_room)
		return false;
	t->s = more_room;
	t->room = room;
	return true;
}

static void text_put(struct text *t, const char *s, size_t len)
{
	if (!text_room(t, len))
		return;
	memcpy(t->s + t->len, s, len);
	t->len += len;
}

PRINTF(2, 3) static void text_add(struct text *t, const char *fmt, ...)
{
	va_list args;

	for (;;) {
		size_t left = t->room - t->len;
		va_start(args, fmt);
		int n = vsnprintf(t->s ? t->s + t->len : NULL, left, fmt, args);
		va_end(args);
		if (n < 0 || t->failed)
			return;
		if ((size_t)n < left) {
			t->len += (size_t)n;
			return;
		}
		if (!text_room(t, (size_t)n))
			return;
	}
}

/* Bytes outside printable ASCII, and those that mean something to XML, as character references or %XX. */
static void text_add_escaped(struct text *t, const char *s)
{
	for (; *s; s++) {
		if (strchr("<>&\"'", *s))
			text_add(t, "&#%d;", *s);
		else
			text_add(t, "%c", *s);
	}
}

/* ---- sending ---- */

static bool send_all(struct connection *c, const void *p, size_t len, int flags)
{
	for (size_t done = 0; done < len && !c->dead;) {
		ssize_t n = send(c->reader.fd, (const char *)p + done, len - done, MSG_NOSIGNAL | flags);
		if (n < 0 && errno == EINTR)
			continue;
		c->dead = n <= 0;
		done += n > 0 ? (size_t)n : 0;
	}
	return !c->dead;
}

static const char *reason_of(int status)
{
	return status < 300 ? "OK" : status < 400 ? "Redirect" : status < 500 ? "Refused" : "Fault";
}

static void count_status(struct connection *c, int status)
{
	if (status > 0 && status < STATUS_MAX)
		atomic_fetch_add(&c->server->by_status[status], 1);
}

/* A head and a small body. @more: further header lines, each ended. */
static void answer(struct connection *c, const struct request *q, int status, const char *more,
		   const char *type, const char *body, size_t len)
{
	bool head = strcmp(q->method, "HEAD") == 0;
	struct text t = {0};

	text_add(&t,
		 "HTTP/1.1 %d %s\r\nContent-Length: %zu\r\nContent-Type: %s\r\nx-amz-request-id: %016" PRIX64
		 "\r\n%s\r\n",
		 status, reason_of(status), len, type, atomic_load(&c->server->requests), more);
	c->dead |= t.failed;
	if (send_all(c, t.s, t.len, head || len == 0 ? 0 : MSG_MORE) && !head)
		(void)send_all(c, body, len, 0);
	mem_free(t.s);
}

static void answer_error(struct connection *c, const struct request *q, int status, const char *code,
			 const char *message, const char *more)
{
	struct text t = {0};

	text_add(&t,
		 "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>%s</Message>"
		 "<RequestId>%016" PRIX64 "</RequestId></Error>",
		 code, message, atomic_load(&c->server->requests));
	answer(c, q, status, more, "application/xml", t.s ? t.s : "", t.len);
	mem_free(t.s);
	count_status(c, status);
}

/* ---- bodies of objects ---- */

/* Sends what one call can of made-up content; bytes, or -errno. */
static ssize_t send_slices(struct connection *c, const struct store_object *o, uint64_t offset, size_t len)
{
	const uint8_t *pattern = store_pattern(c->server->config.store);
	struct iovec iov[SLICES];
	size_t n = 0;

	for (; n < SLICES && len > 0; n++) {
		size_t part = MIN(SYNTHETIC_BLOCK - (size_t)(offset % SYNTHETIC_BLOCK), len);
		iov[n].iov_base = (void *)(uintptr_t)(pattern + synthetic_place(o->key, offset));
		iov[n].iov_len = part;
		offset += part;
		len -= part;
	}
	const struct msghdr msg = {.msg_iov = iov, .msg_iovlen = n};
	ssize_t sent = sendmsg(c->reader.fd, &msg, MSG_NOSIGNAL);
	return sent < 0 ? -errno : sent;
}

static ssize_t send_some(struct connection *c, const struct store_object *o, uint64_t offset, size_t len)
{
	if (o->fd < 0)
		return send_slices(c, o, offset, len);
	off_t at = (off_t)offset;
	ssize_t n = sendfile(c->reader.fd, o->fd, &at, len);
	return n < 0 ? -errno : n == 0 ? -ENODATA : n;
}

static void send_body(struct connection *c, const struct store_object *o, uint64_t offset, uint64_t len)
{
	struct server *s = c->server;

	while (len > 0 && !c->dead) {
		size_t slice = (size_t)MIN(len, (uint64_t)SLICES * SYNTHETIC_BLOCK);
		slice = pace_slice(&c->pace, pace_slice(&s->pace, slice));
		pace_wait(&s->pace, slice);
		pace_wait(&c->pace, slice);
		for (size_t done = 0; done < slice;) {
			ssize_t n = send_some(c, o, offset, slice - done);
			if (n == -EINTR)
				continue;
			if (n < 0) {
				c->dead = true;
				return;
			}
			done += (size_t)n;
			offset += (uint64_t)n;
			len -= (uint64_t)n;
			atomic_fetch_add_explicit(&s->bytes, (uint64_t)n, memory_order_relaxed);
		}
	}
}

/* Silent until the client goes away, or server_free() shuts the socket down. */
static void stall(struct connection *c)
{
	struct pollfd p = {.fd = c->reader.fd, .events = POLLRDHUP};

	while (poll(&p, 1, -1) < 0 && errno == EINTR)
		;
	c->dead = true;
}

/* ---- objects ---- */

struct range {
	uint64_t first, len;
	bool given, bad;
};

/* "bytes=A-B", "bytes=A-", "bytes=-N"; anything else is ignored, as HTTP says. */
static struct range parse_range(const char *text, uint64_t size)
{
	struct range r = {.len = size};
	unsigned long long a = 0, b = 0;
	int end = 0;

	if (!text)
		return r;
	r.given = true;
	if (sscanf(text, "bytes=%llu-%llu%n", &a, &b, &end) == 2 && !text[end] && a <= b) {
		r.bad = false; /* both ends are given */
	} else if (sscanf(text, "bytes=%llu-%n", &a, &end) == 1 && end > 0 && !text[end]) {
		b = UINT64_MAX;
	} else if (sscanf(text, "bytes=-%llu%n", &b, &end) == 1 && !text[end]) {
		a = size - MIN(size, b);
		b = UINT64_MAX;
	} else {
		r.given = false;
		return r;
	}
	r.bad = a >= size;
	r.first = a;
	r.len = r.bad ? 0 : MIN(b, (unsigned long long)size - 1) - a + 1;
	return r;
}

static bool matches(const struct request *q, const char *etag)
{
	const char *want = request_header(q, "if-match");

	if (!want || strcmp(want, "*") == 0)
		return true;
	size_t len = strlen(etag);
	return strlen(want) == len + 2 && want[0] == '"' && strncmp(want + 1, etag, len) == 0 &&
	       want[len + 1] == '"';
}

/* As in headers, or (@iso) as in listings. */
static void format_time(int64_t ns, bool iso, char *out, size_t size)
{
	time_t t = (time_t)(ns / NS_PER_S);
	struct tm tm;

	(void)gmtime_r(&t, &tm);
	size_t n = iso ? strftime(out, size, "%Y-%m-%dT%H:%M:%S", &tm)
		       : strftime(out, size, "%a, %d %b %Y %H:%M:%S GMT", &tm);
	if (n == 0)
		out[0] = '\0';
}

static void send_object(struct connection *c, const struct request *q, const struct store_object *o,
			const struct fault *f)
{
	struct range r = parse_range(f->ignore_range ? NULL : request_header(q, "range"), o->size);
	char head[1024], range[128] = "", when[64];
	bool head_only = strcmp(q->method, "HEAD") == 0;

	if (!f->wrong_etag && !matches(q, o->etag)) {
		answer_error(c, q, 412, "PreconditionFailed",
			     "At least one of the preconditions did not hold", "");
		return;
	}
	if (r.bad) {
		(void)snprintf(range, sizeof range, "Content-Range: bytes */%" PRIu64 "\r\n", o->size);
		answer_error(c, q, 416, "InvalidRange", "The requested range is not satisfiable", range);
		return;
	}
	if (r.given)
		(void)snprintf(range, sizeof range,
			       "Content-Range: bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64 "\r\n",
			       r.first + f->wrong_range, r.first + r.len - 1 + f->wrong_range,
			       o->size + f->wrong_size);
	format_time(o->mtime_ns, false, when, sizeof when);
	int n = snprintf(head, sizeof head,
			 "HTTP/1.1 %s\r\nContent-Length: %" PRIu64
			 "\r\nContent-Type: application/octet-stream\r\n"
			 "Accept-Ranges: bytes\r\nETag: \"%s%s\"\r\nLast-Modified: %s\r\n%s\r\n",
			 r.given ? "206 Partial Content" : "200 OK", r.len, f->wrong_etag ? "0" : "", o->etag,
			 when, range);
	count_status(c, r.given ? 206 : 200);
	bool body = !head_only && r.len > 0;
	if (!send_all(c, head, (size_t)n, body && r.len < SMALL_BODY_MAX ? MSG_MORE : 0) || !body)
		return;
	bool cut = f->stall || f->truncate_at >= 0;
	uint64_t at = f->truncate_at >= 0 ? (uint64_t)f->truncate_at : 0;
	send_body(c, o, r.first, cut ? MIN(r.len, at) : r.len);
	if (f->stall)
		stall(c);
	c->dead |= cut;
}

/* ---- listings ---- */

struct page {
	struct text t;
	const struct fault *fault;
	bool encode;
	char last[STORE_KEY_MAX + 1];
	size_t count;
	size_t starts[PAGE_MAX + 1]; /* of each entry in the text */
	int64_t mtime_ns;            /* which `when` says */
	char when[64];
};

static void add_key(struct page *p, const char *key)
{
	char out[3 * STORE_KEY_MAX + 1];

	if (!p->encode) {
		text_add_escaped(&p->t, key);
		return;
	}
	size_t len = s3_encode(key, strlen(key), 1, out);
	text_put(&p->t, out, len);
}

static void put_text(struct page *p, const char *s)
{
	text_put(&p->t, s, strlen(s));
}

static void put_number(struct page *p, uint64_t v)
{
	char digits[24] = "", *at = digits + sizeof digits;

	do
		*--at = (char)('0' + v % 10);
	while (v /= 10);
	text_put(&p->t, at, (size_t)(digits + sizeof digits - at));
}

static void add_entry(void *ctx, const char *key, const struct store_object *o)
{
	struct page *p = ctx;

	if (p->count == 0 || o->mtime_ns != p->mtime_ns) {
		char when[32];
		format_time(o->mtime_ns, true, when, sizeof when);
		(void)snprintf(p->when, sizeof p->when, "%s.%03dZ", when,
			       (int)(o->mtime_ns % NS_PER_S / NS_PER_MS));
		p->mtime_ns = o->mtime_ns;
	}
	p->starts[p->count++] = p->t.len;
	put_text(p, "<Contents><Key>");
	add_key(p, key);
	put_text(p, "</Key><LastModified>");
	put_text(p, p->when);
	put_text(p, "</LastModified><ETag>&quot;");
	put_text(p, o->etag);
	put_text(p, "&quot;</ETag><Size>");
	put_number(p, o->size);
	put_text(p, "</Size><StorageClass>STANDARD</StorageClass></Contents>");
	memcpy(p->last, key, MIN(strlen(key), sizeof p->last - 1) + 1);
}

/* Does to the entries what the fault says. */
static void spoil_entries(struct page *p, size_t begin)
{
	struct text t = {0};
	bool turned = strcmp(p->fault->list, "turned") == 0, twice = strcmp(p->fault->list, "twice") == 0;

	p->starts[p->count] = p->t.len;
	text_put(&t, p->t.s, begin);
	for (size_t i = 0; i < p->count && (turned || twice); i++) {
		size_t at = turned ? p->count - 1 - i : i;
		for (int times = twice ? 2 : 1; times > 0; times--)
			text_put(&t, p->t.s + p->starts[at], p->starts[at + 1] - p->starts[at]);
	}
	mem_free(p->t.s); /* of a hollow page nothing is left */
	p->t = t;
}

/* What leads on. */
static void add_token(struct connection *c, struct page *p, bool more)
{
	bool ever_new = strcmp(p->fault->list, "endless") == 0 || strcmp(p->fault->list, "hollow") == 0;

	text_add(&p->t, "<KeyCount>%zu</KeyCount><IsTruncated>%s</IsTruncated>", p->count,
		 more || ever_new ? "true" : "false");
	if (ever_new)
		text_add(&p->t, "<NextContinuationToken>ever-new-%" PRIu64 "</NextContinuationToken>",
			 atomic_load(&c->server->requests));
	else if (more && p->count > 0) {
		char token[2 * STORE_KEY_MAX +
			   3]; /* no client may guess what it means, and any byte of a key fits into XML */
		hex_encode((const uint8_t *)p->last, strlen(p->last), token);
		text_add(&p->t, "<NextContinuationToken>%s</NextContinuationToken>", token);
	}
}

/* The key after which a listing goes on, into @ret, which holds STORE_KEY_MAX. False: it begins at the start. */
static bool begins_after(const struct request *q, char *ret)
{
	char token[2 * STORE_KEY_MAX];

	if (!request_param(q, "continuation-token", token, sizeof token))
		return request_param(q, "start-after", ret, STORE_KEY_MAX);
	size_t len = strlen(token) / 2;
	if (hex_decode(token, (uint8_t *)ret, len) == 0)
		ret[len] = '\0';
	else /* one of those that are ever new */
		(void)snprintf(ret, STORE_KEY_MAX, "%.*s", STORE_KEY_MAX - 1, token);
	return true;
}

static void send_listing(struct connection *c, const struct request *q, const char *bucket,
			 const struct fault *f)
{
	char prefix[STORE_KEY_MAX] = "", after[STORE_KEY_MAX] = "", word[32] = "";
	struct page p = {.fault = f};
	bool more = false, has_after = begins_after(q, after);

	if (strcmp(f->list, "endless") == 0)
		has_after = false;
	(void)request_param(q, "prefix", prefix, sizeof prefix);
	size_t max = request_param(q, "max-keys", word, sizeof word) ? strtoul(word, NULL, 10) : PAGE_MAX;
	p.encode = request_param(q, "encoding-type", word, sizeof word) && strcmp(word, "url") == 0;
	const struct store_list list = {.bucket = bucket,
					.prefix = prefix,
					.after = has_after ? after : NULL,
					.max = MIN(max, (size_t)PAGE_MAX),
					.fresh = !has_after,
					.entry = add_entry,
					.ctx = &p};
	text_add(&p.t,
		 "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
		 "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>%s</Name>%s",
		 bucket, p.encode ? "<EncodingType>url</EncodingType>" : "");
	size_t begin = p.t.len;
	if (store_list_run(c->server->config.store, &list, &more) < 0) {
		mem_free(p.t.s);
		answer_error(c, q, 404, "NoSuchBucket", "The specified bucket does not exist", "");
		return;
	}
	if (f->list[0] && strcmp(f->list, "endless") != 0)
		spoil_entries(&p, begin);
	add_token(c, &p, more);
	text_add(&p.t, "</ListBucketResult>");
	c->dead |= p.t.failed;
	if (!c->dead)
		answer(c, q, 200, "", "application/xml", p.t.s, p.t.len);
	count_status(c, 200);
	mem_free(p.t.s);
}

/* ---- changes and control ---- */

/* Reads the body into memory: at most @size - 1 bytes, NUL-ended. Its length, or -1. */
static ssize_t read_body(struct connection *c, const struct request *q, char *out, size_t size)
{
	size_t len = 0;

	if (q->body_len >= size)
		return -1;
	while (len < q->body_len) {
		int64_t n = request_body(&c->reader, out + len, q->body_len - len);
		if (n <= 0)
			return -1;
		len += (size_t)n;
	}
	out[len] = '\0';
	return (ssize_t)len;
}

static int store_body(struct connection *c, const struct request *q, int fd)
{
	char buf[65536];

	for (uint64_t left = q->body_len; left > 0;) {
		int64_t n = request_body(&c->reader, buf, (size_t)MIN(left, (uint64_t)sizeof buf));
		int rc = n > 0 ? fd_write_full(fd, buf, (size_t)n) : -EPIPE;
		if (rc < 0)
			return rc;
		left -= (uint64_t)n;
	}
	return 0;
}

static void put_object(struct connection *c, const struct request *q)
{
	struct store *store = c->server->config.store;
	char temp[64];
	CLEANUP(fd_close) int fd = store_temp(store, temp, sizeof temp);
	int rc = fd;

	if (fd >= 0) {
		rc = store_body(c, q, fd);
		c->dead |= rc < 0;
		if (rc == 0)
			rc = store_put(store, temp, q->path);
		store_drop_temp(store, temp);
	}
	if (rc < 0) {
		c->dead = true; /* the body may not have been read */
		answer_error(c, q, 403, "AccessDenied", "cannot store it", "");
		return;
	}
	answer(c, q, 200, "", "text/plain", "", 0);
	count_status(c, 200);
}

static void send_stats(struct connection *c, const struct request *q)
{
	struct server *s = c->server;
	struct text t = {0};
	const char *comma = "";

	text_add(&t,
		 "{\"requests\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"inflight_max\": %u, \"by_status\": {",
		 atomic_load(&s->requests), atomic_load(&s->bytes), atomic_load(&s->inflight_max));
	for (int i = 0; i < STATUS_MAX; i++) {
		uint64_t n = atomic_load(&s->by_status[i]);
		if (n > 0) {
			text_add(&t, "%s\"%d\": %" PRIu64, comma, i, n);
			comma = ", ";
		}
	}
	text_add(&t, "}}\n");
	answer(c, q, 200, "", "application/json", t.s ? t.s : "", t.len);
	mem_free(t.s);
}

static void reset_stats(struct server *s)
{
	atomic_store(&s->requests, 0);
	atomic_store(&s->bytes, 0);
	atomic_store(&s->inflight_max, 0);
	for (int i = 0; i < STATUS_MAX; i++)
		atomic_store(&s->by_status[i], 0);
}

static void control(struct connection *c, const struct request *q)
{
	struct server *s = c->server;
	char body[4096];
	ssize_t len = read_body(c, q, body, sizeof body);
	const char *what = q->path + strlen("_control/");
	unsigned long long count, seed;
	int status = 200;

	if (len < 0) {
		c->dead = true;
		return;
	}
	if (strcmp(what, "stats") == 0) {
		send_stats(c, q);
		return;
	}
	if (strcmp(what, "fault") == 0 && strcmp(q->method, "PUT") == 0)
		status = faults_add(s->faults, body, (size_t)len) == 0 ? 200 : 400;
	else if (strcmp(what, "fault") == 0 && strcmp(q->method, "DELETE") == 0)
		faults_clear(s->faults);
	else if (strcmp(what, "reset") == 0)
		reset_stats(s);
	else if (sscanf(what, "change/%llu/%llu", &count, &seed) == 2)
		store_change(s->config.store, count, seed);
	else
		status = 404;
	const char *words = status == 200 ? "ok\n" : "no such control or fault\n";
	answer(c, q, status, "", "text/plain", words, strlen(words));
}

/* ---- requests ---- */

static void sleep_ms(uint32_t ms)
{
	const struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * NS_PER_MS};

	if (ms > 0)
		(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &t,
				      NULL); /* cut short by nothing: signals are blocked */
}

static void get(struct connection *c, const struct request *q, const struct fault *f)
{
	struct store *store = c->server->config.store;
	struct store_object o = {.fd = -1};
	char bucket[256];
	size_t bucket_len = strcspn(q->path, "/");

	(void)snprintf(bucket, sizeof bucket, "%.*s", (int)MIN(bucket_len, sizeof bucket - 1), q->path);
	if (q->path[bucket_len] == '\0' || q->path[bucket_len + 1] == '\0') {
		send_listing(c, q, bucket, f);
		return;
	}
	int rc = strlen(q->path) > STORE_KEY_MAX ? -ENOENT : store_open(store, q->path, &o);
	if (rc == -EACCES)
		answer_error(c, q, 403, "AccessDenied", "Access Denied", "");
	else if (rc < 0 && !store_has_bucket(store, bucket))
		answer_error(c, q, 404, "NoSuchBucket", "The specified bucket does not exist", "");
	else if (rc < 0)
		answer_error(c, q, 404, "NoSuchKey", "The specified key does not exist.", "");
	else
		send_object(c, q, &o, f);
	if (rc == 0)
		o.fd = fd_close(o.fd);
}

/* True: the fault was the whole answer. */
static bool do_fault(struct connection *c, const struct request *q, const struct fault *f)
{
	char more[64] = "";

	sleep_ms(f->delay_ms);
	if (f->close) {
		c->dead = true;
		return true;
	}
	if (!f->status)
		return false;
	if (f->retry_after_s >= 0)
		(void)snprintf(more, sizeof more, "Retry-After: %d\r\n", f->retry_after_s);
	if (f->body[0]) {
		answer(c, q, f->status, more, "application/xml", f->body, strlen(f->body));
		count_status(c, f->status);
	} else {
		answer_error(c, q, f->status, f->code[0] ? f->code : "InternalError", "as was asked for",
			     more);
	}
	return true;
}

static void serve_object(struct connection *c, const struct request *q)
{
	const struct server_config *config = &c->server->config;
	struct fault f = {.truncate_at = -1};
	CLEANUP(free_str) char *subject = mem_printf("%s?%s", q->path, q->query);
	const char *refused =
		config->access_key ? auth_check(q, config->access_key, config->secret_key) : NULL;

	sleep_ms(config->first_byte_ms);
	if (refused)
		answer_error(c, q, 403, refused, "the request was refused", "");
	else if (subject && faults_take(c->server->faults, subject, &f) && do_fault(c, q, &f))
		return;
	else if (strcmp(q->method, "GET") == 0 || strcmp(q->method, "HEAD") == 0)
		get(c, q, &f);
	else if (strcmp(q->method, "PUT") == 0)
		put_object(c, q);
	else if (strcmp(q->method, "DELETE") == 0 && store_delete(config->store, q->path) == 0)
		answer(c, q, 204, "", "text/plain", "", 0);
	else
		answer_error(c, q, 405, "MethodNotAllowed", "cannot do that here", "");
}

static void serve(struct connection *c, const struct request *q)
{
	struct server *s = c->server;

	if (strncmp(q->path, "_control/", 9) == 0) {
		control(c, q);
		return;
	}
	atomic_fetch_add(&s->requests, 1);
	uint32_t now = atomic_fetch_add(&s->inflight, 1) + 1, most = atomic_load(&s->inflight_max);
	while (now > most && !atomic_compare_exchange_weak(&s->inflight_max, &most, now))
		;
	serve_object(c, q);
	atomic_fetch_sub(&s->inflight, 1);
}

static void *connection_main(void *arg)
{
	struct connection *c = arg;
	struct server *s = c->server;
	struct request q;

	while (!c->dead && request_read(&c->reader, &q) == 0) {
		serve(c, &q);
		c->dead |= q.close;
	}
	pthread_mutex_lock(&s->lock);
	list_remove(&c->node);
	(void)fd_close(c->reader.fd);
	mem_free(c);
	s->count--;
	pthread_cond_broadcast(&s->gone);
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* ---- the server ---- */

int server_new(const struct server_config *config, struct server **ret)
{
	struct server *s = mem_calloc(1, sizeof *s);

	if (!s)
		return -ENOMEM;
	s->config = *config;
	s->pace.rate = config->rate;
	list_init(&s->connections);
	(void)pthread_mutex_init(&s->lock, NULL);
	(void)pthread_cond_init(&s->gone, NULL);
	int rc = faults_new(&s->faults);
	if (rc < 0) {
		(void)server_free(s);
		return rc;
	}
	*ret = s;
	return 0;
}

struct server *server_free(struct server *s)
{
	if (!s)
		return NULL;
	pthread_mutex_lock(&s->lock);
	list_for_each (pos, &s->connections)
		(void)shutdown(LIST_ENTRY(pos, struct connection, node)->reader.fd, SHUT_RDWR);
	while (s->count > 0)
		pthread_cond_wait(&s->gone, &s->lock);
	pthread_mutex_unlock(&s->lock);
	(void)faults_free(s->faults);
	(void)pthread_cond_destroy(&s->gone);
	(void)pthread_mutex_destroy(&s->lock);
	return mem_free(s);
}

/* Takes @fd. */
static void start_connection(struct server *s, int fd)
{
	struct connection *c = mem_calloc(1, sizeof *c);
	pthread_attr_t attr;
	pthread_t thread;
	int one = 1;

	if (!c) {
		(void)fd_close(fd);
		return;
	}
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	c->server = s;
	c->reader.fd = fd;
	c->pace.rate = s->config.connection_rate;
	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	(void)pthread_attr_setstacksize(&attr, THREAD_STACK);
	pthread_mutex_lock(&s->lock);
	if (pthread_create(&thread, &attr, connection_main, c) == 0) {
		list_push_back(&s->connections, &c->node);
		s->count++;
	} else {
		(void)fd_close(fd);
		mem_free(c);
	}
	pthread_mutex_unlock(&s->lock);
	(void)pthread_attr_destroy(&attr);
}

static bool full(struct server *s)
{
	pthread_mutex_lock(&s->lock);
	bool yes = s->count >= s->config.connections_max;
	pthread_mutex_unlock(&s->lock);
	return yes;
}

int server_run(struct server *s, int listen_fd, int stop_fd)
{
	struct pollfd p[] = {{.fd = stop_fd, .events = POLLIN}, {.fd = listen_fd, .events = POLLIN}};

	for (;;) {
		bool wait = full(s); /* then look again soon, at the stop descriptor alone */
		if (poll(p, wait ? 1 : 2, wait ? FULL_MS : -1) < 0 && errno != EINTR)
			return -errno;
		if (p[0].revents)
			return 0;
		if (wait)
			continue;
		int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0)
			start_connection(s, fd);
		else if (errno == EMFILE || errno == ENFILE)
			sleep_ms(10); /* until one ends */
	}
}
