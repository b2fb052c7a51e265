#include "cache-node/sync/look.h"

#include <errno.h>
#include <string.h>

#include "cache-node/sync/answer.h"
#include "common/base/clock.h"

#define ANSWER_NS (30 * NS_PER_S)

/* A question on its way: the answer comes on the source's thread, the caller waits. */
struct look {
	const struct manifest_entry *before;
	struct answer answer;
	bool same; /* answer.lock */
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
	(void)pthread_mutex_lock(&l->answer.lock);
	l->same = status == 0 && l->before && is_same(l->before, entry);
	answer_came(&l->answer, status);
	(void)pthread_mutex_unlock(&l->answer.lock);
}

int look_same(struct source *s, const char *key, const struct manifest_entry *before,
	      const _Atomic bool *stop, bool *ret_same)
{
	struct look l = {.before = before};
	struct source_stat_request request = {
		.key = key, .deadline_ns = clock_mono_ns() + ANSWER_NS, .done = on_done, .ctx = &l};
	struct source_op *op;

	answer_init(&l.answer);
	int r = source_stat(s, &request, &op);
	if (!r)
		r = answer_wait(&l.answer, op, stop);
	answer_over(&l.answer);
	*ret_same = l.same;
	return r == -ESTALE ? -ENOENT : r;
}
