/*
 * Transfers and pools. Life of a transfer: IDLE -> WAITING (in the pool's queue) -> RUNNING (has an easy handle) -> IDLE.
 *
 * Body bytes go from curl's buffer straight to the user. A user without room pauses: curl keeps the stretch and delivers
 * it again from its start, so `used` remembers how much of it is done.
 */
#include "common/http/internal.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/base/mem.h"

enum { RECEIVE_BYTES = 512 * 1024 };
#define DNS_KEEP_S        30L
#define CONNECTION_LIFE_S 600L

struct http_pool {
	struct http_loop *loop;
	struct http_pool_config config;
	CURLSH *share; /* its connections: those of another pool to the same host are not counted with ours */
	uint32_t limit;    /* transfers at once now */
	bool name_suspect; /* the last connection failed: its address may be an old one */
	uint32_t running, idle_count;
	struct list waiting;
	CURL *idle[]; /* handles for reuse, connections_max places */
};

int http_pool_new(struct http_loop *loop, const struct http_pool_config *config, struct http_pool **ret)
{
	if (config->connections_max == 0 || config->connections_max > HTTP_CONNECTIONS_MAX ||
	    config->connect_timeout_ns < NS_PER_MS)
		return -EINVAL;
	struct http_pool *pool = mem_calloc(1, sizeof *pool + config->connections_max * sizeof(CURL *));
	if (!pool)
		return -ENOMEM;
	pool->share = curl_share_init();
	if (!pool->share ||
	    curl_share_setopt(pool->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_CONNECT) != CURLSHE_OK) {
		(void)curl_share_cleanup(pool->share);
		mem_free(pool);
		return -ENOMEM;
	}
	pool->loop = loop;
	pool->config = *config;
	pool->limit = config->connections_max;
	list_init(&pool->waiting);
	*ret = pool;
	return 0;
}

struct http_pool *http_pool_free(struct http_pool *pool)
{
	if (!pool)
		return NULL;
	CHECK(pool->running == 0);
	CHECK(list_empty(&pool->waiting));
	while (pool->idle_count > 0)
		curl_easy_cleanup(pool->idle[--pool->idle_count]);
	CHECK(curl_share_cleanup(pool->share) == CURLSHE_OK); /* no handle of it is left */
	return mem_free(pool);
}

static void timer_fired(struct http_timer *timer);

void http_transfer_init(struct http_transfer *t, const struct http_transfer_ops *ops)
{
	memset(t, 0, sizeof *t);
	t->ops = ops;
	list_init(&t->node);
	http_timer_init(&t->timer, timer_fired);
}

bool http_transfer_held(const struct http_transfer *t)
{
	return t->state == HTTP_WAITING || t->paused;
}

/* ---- callbacks from curl ---- */

static void head_line(struct http_transfer *t, const char *line, size_t len)
{
	const char *colon = memchr(line, ':', len);

	if (!colon)
		return;
	const char *value = colon + 1, *end = line + len;
	while (value < end && isspace((unsigned char)*value))
		value++;
	while (end > value && isspace((unsigned char)end[-1]))
		end--;
	t->ops->header(t, line, (size_t)(colon - line), value, (size_t)(end - value));
}

/* "HTTP/1.1 206 Partial Content": the number, or 0. */
static int status_of(const char *line, size_t len)
{
	const char *p = memchr(line, ' ', len);

	if (!p || (size_t)(line + len - p) < 4)
		return 0;
	for (int i = 1; i <= 3; i++)
		if (!isdigit((unsigned char)p[i]))
			return 0;
	return (p[1] - '0') * 100 + (p[2] - '0') * 10 + (p[3] - '0');
}

static size_t on_header(char *line, size_t size, size_t count, void *arg)
{
	struct http_transfer *t = arg;
	size_t len = size * count;

	t->activity_ns = t->pool->loop->now_ns;
	if (t->head_done)
		return len; /* trailers say nothing we want */
	if (len >= 5 && memcmp(line, "HTTP/", 5) == 0) {
		t->status = status_of(line, len);
		return len;
	}
	if (t->status < 200)
		return len; /* an interim answer */
	if (len > 2 || (len > 0 && line[0] != '\r' && line[0] != '\n')) {
		head_line(t, line, len);
		return len;
	}
	t->head_done = true;
	t->pool->name_suspect = false;
	t->abort_code = t->ops->head(t);
	return t->abort_code == 0 ? len : 0;
}

static size_t on_body(char *p, size_t size, size_t count, void *arg)
{
	struct http_transfer *t = arg;
	size_t len = size * count, used = 0;

	CHECK(t->used <= len); /* what was paused comes again from its start */
	t->activity_ns = t->pool->loop->now_ns;
	switch (t->ops->body(t, (const uint8_t *)p + t->used, len - t->used, &used)) {
	case HTTP_TAKEN:
		t->used = 0;
		return len;
	case HTTP_PAUSED:
		t->used += used;
		t->paused = true;
		return CURL_WRITEFUNC_PAUSE;
	case HTTP_ABORTED:
		break;
	}
	CHECK(t->abort_code < 0);
	return CURL_WRITEFUNC_ERROR;
}

/* ---- starting ---- */

static int build_headers(struct http_transfer *t, const struct http_request *r)
{
	struct curl_slist *list = NULL;

	for (size_t i = 0; i < r->header_count; i++) {
		struct curl_slist *more = curl_slist_append(list, r->headers[i]);
		if (!more) {
			curl_slist_free_all(list);
			return -ENOMEM;
		}
		list = more;
	}
	t->header_list = list;
	return 0;
}

static CURLcode set_tls(CURL *e, const struct http_request *r)
{
	if (!r->ca_pem || !*r->ca_pem)
		return CURLE_OK;
	/* Replaces the bundle file, not the system's folder of certificates. */
	struct curl_blob blob = {
		.data = (void *)(uintptr_t)r->ca_pem, .len = strlen(r->ca_pem), .flags = CURL_BLOB_COPY};
	return curl_easy_setopt(e, CURLOPT_CAINFO_BLOB, &blob);
}

static int set_options(struct http_transfer *t, const struct http_request *r)
{
	CURL *e = t->easy;

	/* These fail only when an option is unknown to the library, or, for the strings, when memory is out. */
	(void)curl_easy_setopt(e, CURLOPT_PRIVATE, t);
	(void)curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(e, CURLOPT_BUFFERSIZE, (long)RECEIVE_BYTES);
	(void)curl_easy_setopt(e, CURLOPT_TCP_NODELAY, 1L);
	(void)curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
	(void)curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
	(void)curl_easy_setopt(e, CURLOPT_PATH_AS_IS, 1L);
	(void)curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	(void)curl_easy_setopt(e, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	/* Names are asked for again while connections fail, and connections end now and then: a store that moved to
	 * another address is found. */
	(void)curl_easy_setopt(e, CURLOPT_DNS_CACHE_TIMEOUT, t->pool->name_suspect ? 0L : DNS_KEEP_S);
	(void)curl_easy_setopt(e, CURLOPT_MAXLIFETIME_CONN, CONNECTION_LIFE_S);
	(void)curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS,
			       (long)(t->pool->config.connect_timeout_ns / NS_PER_MS));
	(void)curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t->words);
	(void)curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
	(void)curl_easy_setopt(e, CURLOPT_HEADERDATA, t);
	(void)curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
	(void)curl_easy_setopt(e, CURLOPT_WRITEDATA, t);
	(void)curl_easy_setopt(e, CURLOPT_HTTPHEADER, t->header_list);
	(void)curl_easy_setopt(e, CURLOPT_NOBODY, r->head ? 1L : 0L);
#if LIBCURL_VERSION_NUM >= 0x075500
	CURLcode rc = curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
#else
	CURLcode rc = curl_easy_setopt(e, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
	if (rc == CURLE_OK)
		rc = curl_easy_setopt(e, CURLOPT_USERAGENT, "larder/" LARDER_VERSION);
	if (rc == CURLE_OK)
		rc = curl_easy_setopt(e, CURLOPT_URL, r->url);
	if (rc == CURLE_OK && r->proxy)
		rc = curl_easy_setopt(e, CURLOPT_PROXY, r->proxy);
	if (rc == CURLE_OK)
		rc = set_tls(e, r);
	return rc == CURLE_OK ? 0 : -ENOMEM;
}

static int launch(struct http_transfer *t)
{
	struct http_pool *pool = t->pool;
	struct http_request request = {0};

	t->easy = pool->idle_count > 0 ? pool->idle[--pool->idle_count] : curl_easy_init();
	if (!t->easy)
		return -ENOMEM;
	int rc = curl_easy_setopt(t->easy, CURLOPT_SHARE, pool->share) == CURLE_OK ? 0 : -ENOMEM;
	if (rc == 0)
		rc = t->ops->request(t, &request);
	if (rc == 0)
		rc = build_headers(t, &request);
	if (rc == 0)
		rc = set_options(t, &request);
	if (rc == 0 && curl_multi_add_handle(pool->loop->multi, t->easy) != CURLM_OK)
		rc = -ENOMEM;
	return rc;
}

static void start_waiting(struct http_pool *pool)
{
	while (pool->running < pool->limit && !list_empty(&pool->waiting)) {
		struct http_transfer *t = LIST_ENTRY(pool->waiting.next, struct http_transfer, node);
		int64_t now_ns = pool->loop->now_ns;
		list_remove(&t->node);
		t->state = HTTP_RUNNING;
		t->activity_ns = now_ns;
		pool->running++;
		t->abort_code = launch(t);
		/* A launch that failed ends from the timer: done() never comes from inside a start. */
		http_timer_set(pool->loop, &t->timer,
			       t->abort_code ? now_ns : now_ns + 2 * pool->config.connect_timeout_ns);
	}
}

void http_pool_limit(struct http_pool *pool, uint32_t at_once)
{
	CHECK(at_once > 0 && at_once <= pool->config.connections_max);
	pool->limit = at_once; /* more of those that wait start with the next that starts or ends */
}

void http_transfer_start(struct http_pool *pool, struct http_transfer *t)
{
	CHECK(t->state == HTTP_IDLE);
	t->pool = pool;
	t->state = HTTP_WAITING;
	t->status = 0;
	t->abort_code = 0;
	t->permanent = t->paused = t->head_done = false;
	t->used = 0;
	t->words[0] = t->peer[0] = '\0';
	list_push_back(&pool->waiting, &t->node);
	start_waiting(pool);
}

/* ---- ending ---- */

void http_transfer_cancel(struct http_transfer *t)
{
	struct http_pool *pool = t->pool;

	if (t->state == HTTP_IDLE)
		return;
	list_remove(&t->node);
	http_timer_set(pool->loop, &t->timer, HTTP_NEVER);
	if (t->state == HTTP_RUNNING) {
		if (t->easy) {
			/* Closes the connection unless the transfer was complete. Harmless if it was never added. */
			(void)curl_multi_remove_handle(pool->loop->multi, t->easy);
			curl_easy_reset(t->easy); /* it must not point at @t any more */
			pool->idle[pool->idle_count++] = t->easy;
		}
		pool->running--;
	}
	curl_slist_free_all(t->header_list);
	t->easy = t->header_list = NULL;
	t->state = HTTP_IDLE;
	t->paused = false;
	start_waiting(pool);
}

/* Whom it spoke to. The handle is still its own. */
static void note_peer(struct http_transfer *t)
{
	char *address = NULL;
	long port = 0;

	if (t->easy && curl_easy_getinfo(t->easy, CURLINFO_PRIMARY_IP, &address) == CURLE_OK && address &&
	    *address && curl_easy_getinfo(t->easy, CURLINFO_PRIMARY_PORT, &port) == CURLE_OK)
		(void)snprintf(t->peer, sizeof t->peer, "%s port %ld", address, port);
}

static bool since(CURL *easy, CURLINFO what)
{
	curl_off_t us = 0;

	return easy && curl_easy_getinfo(easy, what, &us) == CURLE_OK && us > 0;
}

/* How far it came before it failed with @code. A connection that was there before has done all but the answer. */
static enum http_stage stage_of(const struct http_transfer *t, CURLcode code)
{
	long fresh = 0;

	if (t->head_done ||
	    (t->easy && curl_easy_getinfo(t->easy, CURLINFO_NUM_CONNECTS, &fresh) == CURLE_OK && fresh == 0 &&
	     since(t->easy, CURLINFO_PRETRANSFER_TIME_T)))
		return HTTP_STAGE_ANSWER;
	if (code == CURLE_SSL_CONNECT_ERROR || code == CURLE_PEER_FAILED_VERIFICATION ||
	    code == CURLE_SSL_CACERT_BADFILE || code == CURLE_SSL_CIPHER || code == CURLE_SSL_CERTPROBLEM)
		return HTTP_STAGE_TLS;
	if (code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_RESOLVE_PROXY ||
	    !since(t->easy, CURLINFO_NAMELOOKUP_TIME_T))
		return HTTP_STAGE_NAME;
	if (!since(t->easy, CURLINFO_CONNECT_TIME_T))
		return HTTP_STAGE_CONNECT;
	return since(t->easy, CURLINFO_PRETRANSFER_TIME_T) ? HTTP_STAGE_ANSWER : HTTP_STAGE_TLS;
}

static void end(struct http_transfer *t, int status)
{
	note_peer(t);
	http_transfer_cancel(t);
	t->ops->done(t, status, t->words);
}

static void timer_fired(struct http_timer *timer)
{
	struct http_transfer *t = CONTAINER_OF(timer, struct http_transfer, timer);
	struct http_loop *loop = t->pool->loop;
	int64_t patience_ns = 2 * t->pool->config.connect_timeout_ns;

	if (t->abort_code) {
		end(t, t->abort_code);
		return;
	}
	if (t->paused)
		t->activity_ns = loop->now_ns;
	if (loop->now_ns - t->activity_ns < patience_ns) {
		http_timer_set(loop, timer, t->activity_ns + patience_ns);
		return;
	}
	t->pool->name_suspect = true;
	t->stage = stage_of(t, CURLE_OPERATION_TIMEDOUT);
	(void)snprintf(t->words, sizeof t->words, "no byte came for %lld ms",
		       (long long)(patience_ns / NS_PER_MS));
	end(t, -ERR_UNREACHABLE);
}

static bool hopeless(CURLcode code)
{
	return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE ||
	       code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL;
}

static void end_with(struct http_transfer *t, CURLcode code)
{
	if (code == CURLE_OK) {
		end(t, 0);
		return;
	}
	if (t->abort_code) {
		end(t, t->abort_code);
		return;
	}
	t->permanent = hopeless(code);
	t->stage = stage_of(t, code);
	t->pool->name_suspect = true;
	if (!t->words[0])
		(void)snprintf(t->words, sizeof t->words, "%s", curl_easy_strerror(code));
	end(t, code == CURLE_OUT_OF_MEMORY ? -ENOMEM : -ERR_UNREACHABLE);
}

void http_transfer_ended(CURL *easy, CURLcode code)
{
	char *t = NULL;

	(void)curl_easy_getinfo(easy, CURLINFO_PRIVATE, &t);
	end_with((struct http_transfer *)(void *)t, code);
}

void http_transfer_resume(struct http_transfer *t)
{
	if (t->state != HTTP_RUNNING || !t->paused)
		return;
	t->paused = false;
	t->activity_ns = t->pool->loop->now_ns;
	/* curl delivers what it kept inside this call; an error of ours ends the transfer here, it sends no message. */
	CURLcode code = curl_easy_pause(t->easy, CURLPAUSE_CONT);
	if (code != CURLE_OK)
		end_with(t, code);
}
