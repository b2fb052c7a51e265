/* Tasks, timers and refusals of the loop. Transfers are tested against a server by common/source/s3_test. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <semaphore.h>
#include <time.h>
#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/http/http.h"

struct probe {
	struct http_task task;
	struct http_timer timers[3];
	struct http_loop *loop;
	int fired[4], fired_count;
	int64_t start_ns, end_ns;
	int runs;
	sem_t done;
};

static struct probe *probe_of(struct http_task *task)
{
	return CONTAINER_OF(task, struct probe, task);
}

static void probe_init(struct probe *p, void (*run)(struct http_task *))
{
	*p = (struct probe){0};
	assert_int_equal(sem_init(&p->done, 0, 0), 0);
	http_task_init(&p->task, run);
	assert_int_equal(http_loop_new("test", &p->loop), 0);
}

static void probe_done(struct probe *p)
{
	assert_null(http_loop_free(p->loop));
	sem_destroy(&p->done);
}

static void wait_done(struct probe *p)
{
	struct timespec at;

	clock_gettime(CLOCK_REALTIME, &at);
	at.tv_sec += 30;
	assert_int_equal(sem_timedwait(&p->done, &at), 0);
}

static void run_again(struct http_task *task)
{
	struct probe *p = probe_of(task);

	if (++p->runs < 1000)
		http_post(p->loop, task); /* from the loop itself */
	else
		sem_post(&p->done);
}

static void a_task_may_post_itself_again(void **state)
{
	struct probe p;

	probe_init(&p, run_again);
	http_post(p.loop, &p.task);
	wait_done(&p);
	probe_done(&p);
	assert_int_equal(p.runs, 1000);
}

static void run_count(struct http_task *task)
{
	probe_of(task)->runs++;
}

static void tasks_posted_before_the_end_still_run_and_only_once(void **state)
{
	struct probe p;

	for (int i = 0; i < 20; i++) {
		probe_init(&p, run_count);
		http_post(p.loop, &p.task);
		probe_done(&p);
		assert_int_equal(p.runs, 1);
	}
}

static void note(struct probe *p, int which)
{
	p->fired[p->fired_count++] = which;
	p->end_ns = clock_mono_ns();
	if (p->fired_count == 2)
		sem_post(&p->done);
}

static void fire_0(struct http_timer *t)
{
	note(CONTAINER_OF(t, struct probe, timers[0]), 0);
}

static void fire_1(struct http_timer *t)
{
	struct probe *p = CONTAINER_OF(t, struct probe, timers[1]);

	http_timer_set(p->loop, &p->timers[2], HTTP_NEVER); /* due at the same moment */
	note(p, 1);
}

static void fire_2(struct http_timer *t)
{
	note(CONTAINER_OF(t, struct probe, timers[2]), 2);
}

static void set_timers(struct http_task *task)
{
	struct probe *p = probe_of(task);

	p->start_ns = http_now_ns(p->loop);
	http_timer_init(&p->timers[0], fire_0);
	http_timer_init(&p->timers[1], fire_1);
	http_timer_init(&p->timers[2], fire_2);
	http_timer_set(p->loop, &p->timers[0], p->start_ns + 40 * NS_PER_MS);
	http_timer_set(p->loop, &p->timers[1], HTTP_NEVER);
	http_timer_set(p->loop, &p->timers[1], p->start_ns + 10 * NS_PER_MS);
	http_timer_set(p->loop, &p->timers[2], p->start_ns + 10 * NS_PER_MS);
}

static void timers_fire_in_order_not_early_and_not_once_cleared(void **state)
{
	struct probe p;

	probe_init(&p, set_timers);
	http_post(p.loop, &p.task);
	wait_done(&p);
	probe_done(&p);
	assert_int_equal(p.fired_count, 2);
	assert_int_equal(p.fired[0], 1);
	assert_int_equal(p.fired[1], 0);
	assert_true(p.end_ns - p.start_ns >= 40 * NS_PER_MS);
}

static void a_pool_without_connections_or_patience_is_refused(void **state)
{
	struct probe p;
	struct http_pool *pool = NULL;
	struct http_pool_config c = {.connections_max = 0, .connect_timeout_ns = NS_PER_S};

	probe_init(&p, run_count);
	assert_int_equal(http_pool_new(p.loop, &c, &pool), -EINVAL);
	c.connections_max = HTTP_CONNECTIONS_MAX + 1;
	assert_int_equal(http_pool_new(p.loop, &c, &pool), -EINVAL);
	c = (struct http_pool_config){.connections_max = 1, .connect_timeout_ns = 1};
	assert_int_equal(http_pool_new(p.loop, &c, &pool), -EINVAL);
	assert_null(pool);
	probe_done(&p);
}

/* ---- a transfer whose request cannot be built, then one to a closed port ---- */

struct
try {
	struct probe probe;
	struct http_pool *pool;
	struct http_transfer t;
	bool inside_start;
	int rc, statuses[2], count;
};

static int try_request(struct http_transfer *t, struct http_request *ret)
{
	struct try *y = CONTAINER_OF(t, struct try, t);

	ret->url = "http://127.0.0.1:1/";
	return y->rc;
}

static void try_done(struct http_transfer *t, int status, const char *words)
{
	struct try *y = CONTAINER_OF(t, struct try, t);

	assert_false(y->inside_start);
	y->statuses[y->count++] = status;
	if (y->count == 2) {
		assert_true(words[0] != '\0');
		sem_post(&y->probe.done);
		return;
	}
	y->rc = 0;
	y->inside_start = true;
	http_transfer_start(y->pool, t);
	y->inside_start = false;
}

static void try_start(struct http_task *task)
{
	static const struct http_transfer_ops ops = {.request = try_request, .done = try_done};
	struct try *y = CONTAINER_OF(probe_of(task), struct try, probe);

	http_transfer_init(&y->t, &ops);
	y->inside_start = true;
	http_transfer_start(y->pool, &y->t);
	y->inside_start = false;
}

static void a_transfer_that_fails_ends_later_and_may_start_again_from_done(void **state)
{
	const struct http_pool_config c = {.connections_max = 1, .connect_timeout_ns = NS_PER_S};
	struct try y = {.rc = -ENOMEM};

	probe_init(&y.probe, try_start);
	assert_int_equal(http_pool_new(y.probe.loop, &c, &y.pool), 0);
	http_post(y.probe.loop, &y.probe.task);
	wait_done(&y.probe);
	assert_int_equal(y.statuses[0], -ENOMEM);
	assert_int_equal(y.statuses[1], -ERR_UNREACHABLE);
	assert_int_equal(y.t.stage, HTTP_STAGE_CONNECT);
	assert_null(http_pool_free(y.pool));
	probe_done(&y.probe);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_task_may_post_itself_again),
		cmocka_unit_test(tasks_posted_before_the_end_still_run_and_only_once),
		cmocka_unit_test(timers_fire_in_order_not_early_and_not_once_cleared),
		cmocka_unit_test(a_pool_without_connections_or_patience_is_refused),
		cmocka_unit_test(a_transfer_that_fails_ends_later_and_may_start_again_from_done),
	};
	return cmocka_run_group_tests_name("http", tests, NULL, NULL);
}
