#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <cmocka.h>

#include "common/source/pool.h"

enum { ROUNDS = 2000 };

struct job {
	struct pool_task task;
	struct pool *pool;
	atomic_int runs, inside;
	int last; /* the run that ends it; 0: none does */
};

static void run(struct pool_task *task)
{
	struct job *j = CONTAINER_OF(task, struct job, task);

	CHECK(atomic_fetch_add(&j->inside, 1) == 0); /* never twice at a time */
	int n = atomic_fetch_add(&j->runs, 1) + 1;
	atomic_fetch_sub(&j->inside, 1);
	if (n == j->last)
		pool_task_done(j->pool, task);
	else if (j->last)
		pool_submit(j->pool, task); /* while it runs: again */
}

static void a_task_submitted_while_it_runs_runs_again_and_never_twice_at_a_time(void **state)
{
	struct pool *pool = NULL;
	struct job jobs[3] = {0};

	assert_int_equal(pool_new("test", 4, &pool), 0);
	for (size_t i = 0; i < LENGTH(jobs); i++) {
		jobs[i].pool = pool;
		jobs[i].last = ROUNDS;
		pool_task_init(&jobs[i].task, run);
		pool_submit(pool, &jobs[i].task);
	}
	assert_null(pool_free(pool));
	for (size_t i = 0; i < LENGTH(jobs); i++)
		assert_int_equal(atomic_load(&jobs[i].runs), ROUNDS);
}

static void a_waiting_task_is_not_queued_twice(void **state)
{
	struct pool *pool = NULL;
	struct job j = {0};

	assert_int_equal(pool_new("test", 1, &pool), 0);
	pool_task_init(&j.task, run);
	for (int i = 0; i < ROUNDS; i++)
		pool_submit(pool, &j.task);
	assert_null(pool_free(pool));
	assert_in_range(atomic_load(&j.runs), 1, ROUNDS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_task_submitted_while_it_runs_runs_again_and_never_twice_at_a_time),
		cmocka_unit_test(a_waiting_task_is_not_queued_twice),
	};
	return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
