/* internal - what loop.c and transfer.c share. */
#ifndef COMMON_HTTP_INTERNAL_H
#define COMMON_HTTP_INTERNAL_H

#include <curl/curl.h>
#include <pthread.h>

#include "common/http/http.h"

struct http_loop {
	CURLM *multi;
	pthread_t thread;
	char name[16];
	pthread_mutex_t lock; /* guards tasks and stop */
	struct list tasks;
	bool stop;
	/* The loop's thread only. */
	struct list timers;
	int64_t timer_least_ns; /* no timer fires before; may be earlier than the true one */
	int64_t now_ns;
};

/* The multi handle says that @easy ended with @code. */
void http_transfer_ended(CURL *easy, CURLcode code);

#endif
