/*
 * web_fetch - one GET or HEAD that is tried until it succeeds, is refused for good, or its time is up.
 *
 * It stands between a transfer (common/http: one try) and the operations of sources (web.h). Life: IDLE -> TRYING (its
 * transfer waits for a connection or runs) <-> WAITING (a try failed, the timer leads to the next) -> IDLE: done(). Before
 * each TRYING it is QUEUED while the source may not send (limit.h). One timer serves the waits and the limit of patience,
 * another the bandwidth. All of it runs on the loop's thread.
 */
#ifndef COMMON_SOURCE_WEB_FETCH_H
#define COMMON_SOURCE_WEB_FETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/http/http.h"
#include "common/source/contact.h"
#include "common/source/credential.h"
#include "common/source/internal.h"
#include "common/source/limit.h"
#include "common/source/response.h"
#include "common/source/retry.h"

#define WEB_HEADERS_MAX 8

struct web_fetch;

/* What all sources over HTTP have. */
struct web_source {
	struct source base;
	struct http_pool *pool;
	struct credential *credential; /* guarded by base.lock */
	char *proxy;                   /* NULL: as the environment says */
	uint32_t connections;          /* at most */
	uint64_t seed;                 /* for jitter; the loop's thread */
	const struct web_kind *kind;   /* see web.h */
	char *origin;                  /* "https://host:port", for words */
	/* Before each try: false parks the fetch (web_fetch_unpark). NULL: always ready. */
	bool (*ready)(struct web_fetch *f);
	/* How it holds itself back; the loop's thread. */
	struct bucket request_rate, byte_rate;
	struct throttle throttle;
	struct budget retry_budget, hedge_budget;
	struct latency latency;
	struct source_refusal refusal; /* the last one; guarded by base.lock */
};

/* @s as what all sources over HTTP are; NULL: it is none. */
struct web_source *web_source_cast(struct source *s);

/* A reference to the credential that a request gets now. */
struct credential *web_credential_now(struct web_source *s);

enum web_verdict { WEB_FAIL, WEB_RETRY, WEB_AGAIN /* at once: elsewhere, or with another credential */ };

struct web_fetch;
struct web_fetch_ops {
	/* Before each try: web_fetch_url() and web_fetch_header(). 0 or a negative code that ends the fetch. */
	int (*request)(struct web_fetch *f);
	/* The head of a success. Non-zero ends the fetch with it; words in f->err. */
	int (*head)(struct web_fetch *f);
	/* Body bytes of a success, as in struct http_transfer_ops. */
	enum http_taken (*body)(struct web_fetch *f, const uint8_t *p, size_t len, size_t *ret_used);
	/* Another status: its code, with words in f->err; f->error_body holds what came with it. */
	int (*refused)(struct web_fetch *f, enum web_verdict *ret);
	/* Last; 0: the body of a success came whole, or f->enough was set. May start or free @f. */
	void (*done)(struct web_fetch *f, int status);
};

struct web_fetch {
	const struct web_fetch_ops *ops;
	struct web_source *source;
	void *owner;         /* whose fetch it is */
	void *data;          /* its owner's */
	const char *subject; /* what errors name; borrowed until done() */
	bool head_only;      /* HEAD */
	bool enough;         /* set by body() with HTTP_ABORTED: the rest is not wanted, that is no error */
	int64_t sent_ns, wall_ns;
	struct response head;
	uint8_t *error_body; /* RESPONSE_ERROR_MAX bytes, once there was an error */
	size_t error_len;
	struct err err;                /* words of the last failure */
	struct credential *credential; /* of this try */
	struct retry retry;
	struct http_transfer transfer;
	/* Private from here. */
	enum { WEB_IDLE, WEB_QUEUED, WEB_TRYING, WEB_WAITING } state;
	int64_t go_ns; /* QUEUED: when it may be sent; INT64_MAX: when somebody unparks it */
	struct http_timer timer, pace;
	struct list node; /* of who parked it */
	bool bytes_came;  /* in this try */
	char *url, *headers[WEB_HEADERS_MAX];
	size_t header_count;
};

/* Makes @f, idle. @ops must outlive it. */
void web_fetch_init(struct web_fetch *f, struct web_source *s, const struct web_fetch_ops *ops, void *owner);

/* Whether it was started and has not ended. */
bool web_fetch_runs(const struct web_fetch *f);

/* Whether its request is with the store now. */
bool web_fetch_sent(const struct web_fetch *f);

/* Starts an idle fetch, with all the time until @deadline_ns (absolute; 0: as retry.h says). Never calls back inside. */
void web_fetch_start(struct web_fetch *f, int64_t deadline_ns);

/* From done(): what came was not all; tries again within the time of the start. Words must be in f->err. */
void web_fetch_again(struct web_fetch *f);

/* Back to idle without done(); frees what a try needed. */
void web_fetch_stop(struct web_fetch *f);

/* Ends with done(). Not from request(), head(), body() or refused(). */
void web_fetch_end(struct web_fetch *f, int status);

/* A fetch that was parked by its kind's ready(): goes on, or with @status < 0 ends with the words of @err. Its node is in no
 * list any more. */
void web_fetch_unpark(struct web_fetch *f, int status, const struct err *err);

/* Bytes were used, or room came after a pause: the patience starts anew. */
void web_fetch_progress(struct web_fetch *f);
void web_fetch_resume(struct web_fetch *f);

/* From request(): takes over @url, a header line. NULL: out of memory. 0 or -ENOMEM. */
MUST_CHECK int web_fetch_url(struct web_fetch *f, char *url);
MUST_CHECK int web_fetch_header(struct web_fetch *f, char *line);

/* Keeps the start of a body for words. */
void web_fetch_keep(struct web_fetch *f, const uint8_t *p, size_t len);

/* The answer to @f was a refusal, with the store's own @code or "": kept for source_refusal_take(). */
void web_fetch_note_refusal(struct web_fetch *f, const char *code);

/* Whether the status is a success. */
bool web_fetch_succeeded(const struct web_fetch *f);

#endif
