#include "cache-node/sync/answer.h"

#include "common/base/clock.h"

void answer_init(struct answer *a)
{
	*a = (struct answer){.done = false};
	(void)pthread_mutex_init(&a->lock, NULL);
	(void)pthread_cond_init(&a->ended, NULL);
}

void answer_over(struct answer *a)
{
	(void)pthread_mutex_destroy(&a->lock);
	(void)pthread_cond_destroy(&a->ended);
}

void answer_came(struct answer *a, int status)
{
	a->status = status;
	a->done = true;
	(void)pthread_cond_signal(&a->ended);
}

int answer_wait(struct answer *a, struct source_op *op, const _Atomic bool *stop)
{
	bool told = false;

	(void)pthread_mutex_lock(&a->lock);
	while (!a->done) {
		clock_cond_wait(&a->ended, &a->lock, 200 * NS_PER_MS);
		if (!a->done && !told && atomic_load(stop)) {
			source_op_cancel(op); /* its end needs our lock, so the operation is alive */
			told = true;
		}
	}
	(void)pthread_mutex_unlock(&a->lock);
	return a->status;
}
