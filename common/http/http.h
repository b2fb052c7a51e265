/*
 * http - one thread with one libcurl multi handle: tasks, timers and GET or HEAD transfers run on it.
 *
 * Other threads only post tasks; everything else here is called on the loop's thread, and all callbacks come on it. That
 * is why nothing in a transfer needs a lock. libcurl stays behind this header.
 *
 * A pool is the connection budget of one store: it has connections of its own, at most its limit of transfers run, each on
 * one of them, the others wait in order. The request
 * of a waiting transfer is asked for when its turn comes, so that a signature is never older than the wait.
 */
#ifndef COMMON_HTTP_HTTP_H
#define COMMON_HTTP_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/list.h"

struct http_loop;
struct http_pool;
struct http_transfer;

/* Starts the thread; @name (at most 15 bytes) is the thread's. 0, -ENOMEM, -EAGAIN. */
MUST_CHECK int http_loop_new(const char *name, struct http_loop **ret);

/* Runs the tasks that are posted, then ends the thread. Its pools must have been freed, its timers be off. NULL is fine;
 * returns NULL. */
struct http_loop *http_loop_free(struct http_loop *loop);
DEFINE_CLEANUP(struct http_loop *, http_loop_free)

/* CLOCK_MONOTONIC as read at the last step of the loop. Loop thread only. */
int64_t http_now_ns(const struct http_loop *loop);

/* ---- tasks ---- */

struct http_task {
	struct list node; /* guarded by the loop's lock */
	void (*run)(struct http_task *task);
};

/* Makes @task ready to be posted; the caller keeps its memory until run() was called. */
void http_task_init(struct http_task *task, void (*run)(struct http_task *task));

/* Runs @task soon on the loop's thread; a task that is waiting already runs once. Any thread. */
void http_post(struct http_loop *loop, struct http_task *task);

/* Takes back a posted task. Any thread; on the loop's thread it surely does not run afterwards. */
void http_unpost(struct http_loop *loop, struct http_task *task);

/* ---- timers ---- */

#define HTTP_NEVER INT64_MAX

struct http_timer {
	struct list node;
	int64_t at_ns; /* CLOCK_MONOTONIC */
	void (*fire)(struct http_timer *timer);
};

/* Makes @timer, not set. The caller keeps its memory as long as it is set. */
void http_timer_init(struct http_timer *timer, void (*fire)(struct http_timer *timer));

/* (Re)sets @timer to fire once, not before @at_ns; HTTP_NEVER turns it off. */
void http_timer_set(struct http_loop *loop, struct http_timer *timer, int64_t at_ns);

/* ---- transfers ---- */

#define HTTP_CONNECTIONS_MAX 1024

struct http_pool_config {
	uint32_t connections_max;   /* 1 to HTTP_CONNECTIONS_MAX */
	int64_t connect_timeout_ns; /* a transfer that gets no byte for twice this time fails */
};

/* 0, -EINVAL, -ENOMEM. Any thread. */
MUST_CHECK int http_pool_new(struct http_loop *loop, const struct http_pool_config *config,
			     struct http_pool **ret);

/* No transfer may wait or run. NULL is fine; returns NULL. */
struct http_pool *http_pool_free(struct http_pool *pool);

/* So many transfers at once from now on, at least 1, at most connections_max. Loop thread. */
void http_pool_limit(struct http_pool *pool, uint32_t at_once);

/* What is sent. Strings are borrowed until the transfer has ended. */
struct http_request {
	bool head; /* HEAD instead of GET */
	const char *url;
	const char *const *headers; /* "Name: value" */
	size_t header_count;
	const char *proxy;  /* URL; NULL: as the environment says */
	const char *ca_pem; /* certificates trusted besides the system's; NULL: none */
};

enum http_taken { HTTP_TAKEN, HTTP_PAUSED, HTTP_ABORTED };

struct http_transfer_ops {
	/* It is this transfer's turn: fill in the request. 0, or a negative code that ends the transfer. */
	int (*request)(struct http_transfer *t, struct http_request *ret);
	/* One header of the final response, the value without blanks around it. Neither is ended by NUL. */
	void (*header)(struct http_transfer *t, const char *name, size_t name_len, const char *value,
		       size_t value_len);
	/* All headers came; t->status is set. Non-zero ends the transfer with that code. */
	int (*head)(struct http_transfer *t);
	/* Body bytes. TAKEN: all were used. PAUSED: the first *ret_used were, the others come again after
	 * http_transfer_resume(). ABORTED: t->abort_code was set, the transfer ends with it. */
	enum http_taken (*body)(struct http_transfer *t, const uint8_t *p, size_t len, size_t *ret_used);
	/* The transfer ended: 0, a code from above, -ENOMEM, or -ERR_UNREACHABLE with @words (connection, DNS, TLS, a body
	 * cut short, no byte for too long). The transfer may be started again from here. */
	void (*done)(struct http_transfer *t, int status, const char *words);
};

enum http_state { HTTP_IDLE, HTTP_WAITING, HTTP_RUNNING };

/* What a transfer that failed was at: finding the address of the server (or proxy), reaching it, TLS with it, or its answer. */
enum http_stage { HTTP_STAGE_NAME, HTTP_STAGE_CONNECT, HTTP_STAGE_TLS, HTTP_STAGE_ANSWER };

struct http_transfer {
	const struct http_transfer_ops *ops;
	int status;            /* HTTP status, 0 before there is one */
	int abort_code;        /* see body */
	bool permanent;        /* in done: trying again cannot help (a certificate nobody trusts) */
	enum http_stage stage; /* in done, of -ERR_UNREACHABLE */
	char peer[64]; /* in done: "ADDRESS port N" of the server or proxy, once it was reached; else "" */
	/* Private from here. */
	enum http_state state;
	bool paused, head_done;
	size_t used; /* bytes of the paused stretch that were used already */
	int64_t activity_ns;
	struct http_pool *pool;
	struct http_timer timer;
	struct list node;
	void *easy, *header_list;
	char words[256];
};

/* Makes @t, not started. @ops must outlive it. */
void http_transfer_init(struct http_transfer *t, const struct http_transfer_ops *ops);

/* Queues an idle transfer; done() tells the rest, never from inside this call. */
void http_transfer_start(struct http_pool *pool, struct http_transfer *t);

/* Ends a transfer without done(). An idle one is left alone. Not from a callback of this transfer but done(). */
void http_transfer_cancel(struct http_transfer *t);

/* Goes on after a pause. Not from a callback of this transfer. May end the transfer: done() is called inside. */
void http_transfer_resume(struct http_transfer *t);

/* True while the transfer waits for its turn, or for http_transfer_resume(): time that is not the store's fault. */
bool http_transfer_held(const struct http_transfer *t);

#endif
