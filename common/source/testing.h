/* testing - for tests of sources: waits for callbacks, collects listings, and checks what reads deliver. */
#ifndef COMMON_SOURCE_TESTING_H
#define COMMON_SOURCE_TESTING_H

#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/source.h"

static inline int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

/* Removes a folder with all in it; follows no link. */
static inline int remove_tree(const char *dir)
{
	return nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

struct waiter {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int done_count, status;
	struct err err;
	/* stat */
	struct source_entry entry;
	/* list: "type key size" lines */
	char *lines[4096];
	size_t line_count, pages;
	int stop_after_page; /* entries() answers this */
	/* read */
	uint8_t *bytes;
	size_t len, room, stretch; /* stretch: what space() offers at most */
	size_t pause_every;        /* space() answers NULL once after so many bytes */
	size_t next_pause;
	int pauses;
	bool auto_resume, cancel_when_paused;
	struct source_op *op;
	int64_t delay_done_ns;
};

static inline void waiter_init(struct waiter *w)
{
	memset(w, 0, sizeof *w);
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->changed, NULL);
}

static inline void waiter_clear(struct waiter *w)
{
	for (size_t i = 0; i < w->line_count; i++)
		mem_free(w->lines[i]);
	mem_free(w->bytes);
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->changed);
}

static inline void waiter_end(struct waiter *w, int status, const struct err *err)
{
	pthread_mutex_lock(&w->lock);
	w->done_count++;
	w->status = status;
	w->op = NULL;
	if (err)
		w->err = *err;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
}

/* The status; fails after a minute. */
static inline int waiter_wait(struct waiter *w)
{
	struct timespec at;

	clock_gettime(CLOCK_REALTIME, &at);
	at.tv_sec += 60;
	pthread_mutex_lock(&w->lock);
	int rc = 0;
	while (w->done_count == 0 && rc == 0)
		rc = pthread_cond_timedwait(&w->changed, &w->lock, &at);
	int status = w->status;
	pthread_mutex_unlock(&w->lock);
	assert_int_equal(rc, 0);
	assert_int_equal(w->done_count, 1);
	return status;
}

/* ---- lists ---- */

static inline int waiter_entries(void *ctx, const struct source_entry *e, size_t count)
{
	static const char letters[] = "?fdl";
	struct waiter *w = ctx;

	w->pages++;
	for (size_t i = 0; i < count && w->line_count < 4096; i++)
		w->lines[w->line_count++] =
			mem_printf("%c %.*s %llu%s%.*s", letters[e[i].type], (int)e[i].key_len, e[i].key,
				   (unsigned long long)e[i].size, e[i].target ? " -> " : "",
				   (int)e[i].target_len, e[i].target ? e[i].target : "");
	return w->stop_after_page;
}

static inline void waiter_list_done(void *ctx, int status, const struct err *err)
{
	waiter_end(ctx, status, err);
}

static inline int list_and_wait(struct source *s, const char *prefix, struct waiter *w)
{
	struct source_op *op = NULL;
	const struct source_list_request r = {
		.prefix = prefix, .entries = waiter_entries, .done = waiter_list_done, .ctx = w};

	assert_int_equal(source_list(s, &r, &op), 0);
	assert_non_null(op);
	return waiter_wait(w);
}

static inline int compare_lines(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* ---- stat ---- */

static inline void waiter_stat_done(void *ctx, int status, const struct source_entry *entry,
				    const struct err *err)
{
	struct waiter *w = ctx;

	if (entry)
		w->entry = *entry;
	assert_int_equal(entry != NULL, status == 0);
	waiter_end(w, status, err);
}

static inline int stat_and_wait(struct source *s, const char *key, struct waiter *w)
{
	struct source_op *op = NULL;
	const struct source_stat_request r = {.key = key, .done = waiter_stat_done, .ctx = w};

	assert_int_equal(source_stat(s, &r, &op), 0);
	return waiter_wait(w);
}

/* ---- reads ---- */

static inline uint8_t *waiter_space(void *ctx, size_t *ret_len)
{
	struct waiter *w = ctx;

	if (w->pause_every && w->len >= w->next_pause) {
		pthread_mutex_lock(&w->lock);
		w->next_pause = w->len + w->pause_every;
		w->pauses++;
		pthread_cond_broadcast(&w->changed);
		pthread_mutex_unlock(&w->lock);
		return NULL;
	}
	assert_true(w->len < w->room);
	*ret_len = w->room - w->len;
	if (w->stretch && *ret_len > w->stretch)
		*ret_len = w->stretch;
	if (w->pause_every && *ret_len > w->next_pause - w->len)
		*ret_len = w->next_pause - w->len;
	return w->bytes + w->len;
}

static inline void waiter_filled(void *ctx, size_t len)
{
	struct waiter *w = ctx;

	assert_true(len > 0 && len <= w->room - w->len);
	w->len += len;
}

static const struct source_sink waiter_sink = {
	.space = waiter_space, .filled = waiter_filled, .done = waiter_list_done};

static inline void start_read(struct source *s, const struct source_read_request *from, struct waiter *w)
{
	struct source_read_request r = *from;

	r.sink = &waiter_sink;
	r.ctx = w;
	w->room = r.length;
	w->bytes = mem_alloc(r.length);
	assert_non_null(w->bytes);
	w->next_pause = w->pause_every;
	pthread_mutex_lock(&w->lock);
	assert_int_equal(source_read(s, &r, &w->op), 0);
	pthread_mutex_unlock(&w->lock);
}

static inline int read_and_wait(struct source *s, const struct source_read_request *from, struct waiter *w)
{
	start_read(s, from, w);
	return waiter_wait(w);
}

/* Resumes after every pause until the read is over; returns the status. */
static inline int resume_until_done(struct waiter *w)
{
	int seen = 0;

	pthread_mutex_lock(&w->lock);
	while (w->done_count == 0) {
		if (w->pauses > seen) {
			seen = w->pauses;
			source_op_resume(w->op);
		}
		pthread_cond_wait(&w->changed, &w->lock);
	}
	pthread_mutex_unlock(&w->lock);
	return waiter_wait(w);
}

static inline void wait_for_pause(struct waiter *w)
{
	pthread_mutex_lock(&w->lock);
	while (w->pauses == 0 && w->done_count == 0)
		pthread_cond_wait(&w->changed, &w->lock);
	pthread_mutex_unlock(&w->lock);
}

#endif
