#include "common/source/pool.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "common/base/mem.h"

struct pool {
	pthread_mutex_t lock; /* guards everything here */
	pthread_cond_t work;
	struct list tasks;
	bool stop;
	char name[16];
	uint32_t count;
	pthread_t threads[];
};

/* Which task each thread is in: pool_task_done() clears it through this pointer. */
struct worker {
	struct pool_task *task;
};
static _Thread_local struct worker worker;

void pool_task_init(struct pool_task *task, void (*run)(struct pool_task *task))
{
	list_init(&task->node);
	task->running = task->again = false;
	task->run = run;
}

void pool_submit(struct pool *pool, struct pool_task *task)
{
	pthread_mutex_lock(&pool->lock);
	if (task->running) {
		task->again = true;
	} else if (list_empty(&task->node)) {
		list_push_back(&pool->tasks, &task->node);
		pthread_cond_signal(&pool->work);
	}
	pthread_mutex_unlock(&pool->lock);
}

void pool_task_done(struct pool *pool, struct pool_task *task)
{
	CHECK(worker.task == task);
	pthread_mutex_lock(&pool->lock);
	task->again = false;
	worker.task = NULL;
	pthread_mutex_unlock(&pool->lock);
}

static void run_next(struct pool *pool)
{
	struct pool_task *task = LIST_ENTRY(pool->tasks.next, struct pool_task, node);

	list_remove(&task->node);
	task->running = true;
	task->again = false;
	worker.task = task;
	pthread_mutex_unlock(&pool->lock);
	task->run(task);
	pthread_mutex_lock(&pool->lock);
	if (!worker.task)
		return; /* it ended and may be freed */
	task->running = false;
	if (task->again)
		list_push_back(&pool->tasks, &task->node);
	worker.task = NULL;
}

static void *pool_main(void *arg)
{
	struct pool *pool = arg;

	pthread_mutex_lock(&pool->lock);
	(void)pthread_setname_np(pthread_self(), pool->name); /* only for people */
	while (!pool->stop || !list_empty(&pool->tasks)) {
		if (list_empty(&pool->tasks))
			pthread_cond_wait(&pool->work, &pool->lock);
		else
			run_next(pool);
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

int pool_new(const char *name, uint32_t threads, struct pool **ret)
{
	struct pool *pool = mem_calloc(1, sizeof *pool + threads * sizeof(pthread_t));

	if (!pool)
		return -ENOMEM;
	list_init(&pool->tasks);
	(void)strncpy(pool->name, name, sizeof pool->name - 1);
	(void)pthread_mutex_init(&pool->lock, NULL);
	(void)pthread_cond_init(&pool->work, NULL);
	for (; pool->count < threads; pool->count++) {
		int rc = -pthread_create(&pool->threads[pool->count], NULL, pool_main, pool);
		if (rc < 0) {
			(void)pool_free(pool);
			return rc;
		}
	}
	*ret = pool;
	return 0;
}

struct pool *pool_free(struct pool *pool)
{
	if (!pool)
		return NULL;
	pthread_mutex_lock(&pool->lock);
	pool->stop = true;
	pthread_cond_broadcast(&pool->work);
	pthread_mutex_unlock(&pool->lock);
	for (uint32_t i = 0; i < pool->count; i++)
		(void)pthread_join(pool->threads[i], NULL);
	(void)pthread_cond_destroy(&pool->work);
	(void)pthread_mutex_destroy(&pool->lock);
	return mem_free(pool);
}
