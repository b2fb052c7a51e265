#include "cache-node/sync/look.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "common/base/clock.h"

#define ANSWER_NS (30 * NS_PER_S)

/* A question on its way: the answer comes on the source's thread, the caller waits. */
struct look {
	const struct manifest_entry *before;
	pthread_mutex_t lock; /* guards the rest */
	pthread_cond_t ended;
	bool done, same;
	int status;
};

static bool is_same(const struct manifest_entry *before, const struct source_entry *now)
{
	const struct validator *a = &before->validator, *b = &now->validator;

	return before->type == MANIFEST_FILE && now->type == SOURCE_TYPE_FILE && before->size == now->size &&
	       a->kind == b->kind && a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0 &&
	       before->mtime_ns / NS_PER_S == now->mtime_ns / NS_PER_S;
}

static void on_done(void *ctx, int status, const struct source_entry *entry, const struct err *err)
{
	struct look *l = ctx;

	(void)err;
	(void)pthread_mutex_lock(&l->lock);
	l->status = status;
	l->same = status == 0 && l->before && is_same(l->before, entry);
	l->done = true;
	(void)pthread_cond_signal(&l->ended);
	(void)pthread_mutex_unlock(&l->lock);
}

static void wait_done(struct look *l, struct source_op *op, const _Atomic bool *stop)
{
	bool told = false;

	(void)pthread_mutex_lock(&l->lock);
	while (!l->done) {
		clock_cond_wait(&l->ended, &l->lock, 200 * NS_PER_MS);
		if (!l->done && !told && atomic_load(stop)) {
			source_op_cancel(op); /* done() needs our lock, so the operation is alive */
			told = true;
		}
	}
	(void)pthread_mutex_unlock(&l->lock);
}

int look_same(struct source *s, const char *key, const struct manifest_entry *before,
	      const _Atomic bool *stop, bool *ret_same)
{
	struct look l = {.before = before};
	struct source_stat_request request = {
		.key = key, .deadline_ns = clock_mono_ns() + ANSWER_NS, .done = on_done, .ctx = &l};
	struct source_op *op;

	(void)pthread_mutex_init(&l.lock, NULL);
	(void)pthread_cond_init(&l.ended, NULL);
	int r = source_stat(s, &request, &op);
	if (!r) {
		wait_done(&l, op, stop);
		r = l.status;
	}
	(void)pthread_mutex_destroy(&l.lock);
	(void)pthread_cond_destroy(&l.ended);
	*ret_same = l.same;
	return r == -ESTALE ? -ENOENT : r;
}
