/* The loop's thread: tasks, timers, curl_multi_perform, and a sleep in curl_multi_poll that http_post() cuts short. */
#include "common/http/internal.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/mem.h"

enum { CONNECTIONS_KEPT = 512, SLEEP_MAX_MS = 60000, TASKS_A_STEP = 256, SENDS_A_STEP = 64 };

void http_task_init(struct http_task *task, void (*run)(struct http_task *task))
{
	list_init(&task->node);
	task->run = run;
}

void http_post(struct http_loop *loop, struct http_task *task)
{
	pthread_mutex_lock(&loop->lock);
	bool wake = list_empty(&loop->tasks);
	if (list_empty(&task->node))
		list_push_back(&loop->tasks, &task->node);
	pthread_mutex_unlock(&loop->lock);
	if (wake && !pthread_equal(pthread_self(), loop->thread))
		(void)curl_multi_wakeup(loop->multi); /* fails only for a bad handle */
}

void http_unpost(struct http_loop *loop, struct http_task *task)
{
	pthread_mutex_lock(&loop->lock);
	list_remove(&task->node);
	pthread_mutex_unlock(&loop->lock);
}

static struct http_task *next_task(struct http_loop *loop)
{
	struct http_task *task = NULL;

	pthread_mutex_lock(&loop->lock);
	if (!list_empty(&loop->tasks)) {
		task = LIST_ENTRY(loop->tasks.next, struct http_task, node);
		list_remove(&task->node);
	}
	pthread_mutex_unlock(&loop->lock);
	return task;
}

void http_timer_init(struct http_timer *timer, void (*fire)(struct http_timer *timer))
{
	list_init(&timer->node);
	timer->at_ns = HTTP_NEVER;
	timer->fire = fire;
}

void http_timer_set(struct http_loop *loop, struct http_timer *timer, int64_t at_ns)
{
	list_remove(&timer->node);
	timer->at_ns = at_ns;
	if (at_ns == HTTP_NEVER)
		return;
	list_push_back(&loop->timers, &timer->node);
	loop->timer_least_ns = MIN(loop->timer_least_ns, at_ns);
}

/* Timers are few (two per running operation) and rarely due, so a scan when the least is due beats a heap. Those due are
 * moved aside first: a callback may set or clear any timer, also one that is due. */
static void run_timers(struct http_loop *loop)
{
	struct list due;

	if (loop->now_ns < loop->timer_least_ns)
		return;
	list_init(&due);
	loop->timer_least_ns = HTTP_NEVER;
	list_for_each_safe (pos, tmp, &loop->timers) {
		struct http_timer *timer = LIST_ENTRY(pos, struct http_timer, node);
		if (timer->at_ns <= loop->now_ns) {
			list_remove(pos);
			list_push_back(&due, pos);
		} else {
			loop->timer_least_ns = MIN(loop->timer_least_ns, timer->at_ns);
		}
	}
	while (!list_empty(&due)) {
		struct http_timer *timer = LIST_ENTRY(due.next, struct http_timer, node);
		list_remove(&timer->node);
		timer->at_ns = HTTP_NEVER;
		timer->fire(timer);
	}
}

/* Tasks may post tasks: a bound, so that transfers and timers get their turn. */
static void run_tasks(struct http_loop *loop)
{
	struct http_task *task;

	for (int i = 0; i < TASKS_A_STEP && (task = next_task(loop)); i++)
		task->run(task);
}

static void run_transfers(struct http_loop *loop)
{
	int running, left;
	CURLMsg *msg;

	(void)curl_multi_perform(loop->multi, &running); /* per-transfer results come as messages */
	loop->now_ns = clock_mono_ns();
	for (int n = 0; (msg = curl_multi_info_read(loop->multi, &left)); n++) {
		if (msg->msg == CURLMSG_DONE)
			http_transfer_ended(msg->easy_handle, msg->data.result);
		if (left == 0 || n >= SENDS_A_STEP)
			continue;
		/* What one that ended starts is sent before the next is looked at, which may take a while. */
		(void)curl_multi_perform(loop->multi, &running);
		loop->now_ns = clock_mono_ns();
	}
}

/* Milliseconds to sleep; -1: stop was asked for and nothing is left to do. */
static int sleep_ms(struct http_loop *loop)
{
	pthread_mutex_lock(&loop->lock);
	bool busy = !list_empty(&loop->tasks), stop = loop->stop;
	pthread_mutex_unlock(&loop->lock);
	if (busy)
		return 0;
	if (stop)
		return -1;
	int64_t ns = loop->timer_least_ns - loop->now_ns;
	if (ns <= 0)
		return 0;
	/* Rounded up, so that the timer is due after the sleep. */
	return ns / NS_PER_MS >= SLEEP_MAX_MS ? SLEEP_MAX_MS : (int)(ns / NS_PER_MS) + 1;
}

static void *loop_main(void *arg)
{
	struct http_loop *loop = arg;

	(void)pthread_setname_np(pthread_self(), loop->name); /* only for people */
	for (int ms; (ms = sleep_ms(loop)) >= 0;) {
		(void)curl_multi_poll(loop->multi, NULL, 0, ms, NULL);
		loop->now_ns = clock_mono_ns();
		run_tasks(loop);
		run_timers(loop);
		run_transfers(loop);
	}
	return NULL;
}

static void init_curl(void)
{
	(void)curl_global_init(CURL_GLOBAL_DEFAULT); /* if it failed, curl_multi_init() will */
}

int http_loop_new(const char *name, struct http_loop **ret)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, init_curl);
	struct http_loop *loop = mem_calloc(1, sizeof *loop);
	if (!loop)
		return -ENOMEM;
	list_init(&loop->tasks);
	list_init(&loop->timers);
	loop->timer_least_ns = HTTP_NEVER;
	loop->now_ns = clock_mono_ns();
	(void)strncpy(loop->name, name, sizeof loop->name - 1);
	(void)pthread_mutex_init(&loop->lock, NULL);
	loop->multi = curl_multi_init();
	int rc = loop->multi ? 0 : -ENOMEM;
	if (rc == 0) {
		(void)curl_multi_setopt(loop->multi, CURLMOPT_MAXCONNECTS, (long)CONNECTIONS_KEPT);
		(void)curl_multi_setopt(loop->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
		/* The lock keeps the thread from posting to itself before loop->thread is written. */
		pthread_mutex_lock(&loop->lock);
		rc = -pthread_create(&loop->thread, NULL, loop_main, loop);
		pthread_mutex_unlock(&loop->lock);
	}
	if (rc < 0) {
		if (loop->multi)
			(void)curl_multi_cleanup(loop->multi);
		(void)pthread_mutex_destroy(&loop->lock);
		mem_free(loop);
		return rc;
	}
	*ret = loop;
	return 0;
}

struct http_loop *http_loop_free(struct http_loop *loop)
{
	if (!loop)
		return NULL;
	pthread_mutex_lock(&loop->lock);
	loop->stop = true;
	pthread_mutex_unlock(&loop->lock);
	(void)curl_multi_wakeup(loop->multi);
	(void)pthread_join(loop->thread, NULL);
	CHECK(list_empty(&loop->timers));
	(void)curl_multi_cleanup(loop->multi);
	(void)pthread_mutex_destroy(&loop->lock);
	return mem_free(loop);
}

int64_t http_now_ns(const struct http_loop *loop)
{
	return loop->now_ns;
}
