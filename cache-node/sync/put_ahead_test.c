#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "cache-node/sync/put_ahead.h"
#include "common/base/err.h"

#define CHUNKS 200

/* A sink that notes what it got; it holds puts back while `shut`. */
struct notes {
	pthread_mutex_t lock;
	pthread_cond_t change;
	bool shut;
	size_t inside, inside_most, count;
	bool got[CHUNKS];
	size_t fail_at; /* the chunk that cannot be stored */
};

static int note(void *ctx, const struct hash256 *hash, const void *bytes, size_t len, struct err *err)
{
	struct notes *n = ctx;
	uint32_t which;

	assert_int_equal(len, sizeof which);
	memcpy(&which, bytes, len);
	assert_memory_equal(hash->bytes, &which, sizeof which);
	pthread_mutex_lock(&n->lock);
	n->inside++;
	n->inside_most = MAX(n->inside_most, n->inside);
	pthread_cond_broadcast(&n->change);
	while (n->shut)
		pthread_cond_wait(&n->change, &n->lock);
	n->inside--;
	n->count++;
	n->got[which] = true;
	pthread_mutex_unlock(&n->lock);
	return which == n->fail_at ? err_set(err, -ENOSPC, "chunk %u: no space", which) : 0;
}

static void start(struct notes *n, struct put_ahead **ret)
{
	const struct manifest_sink sink = {.put = note, .ctx = n};

	*n = (struct notes){.fail_at = SIZE_MAX};
	pthread_mutex_init(&n->lock, NULL);
	pthread_cond_init(&n->change, NULL);
	assert_int_equal(put_ahead_new(&sink, ret), 0);
}

static void stop(struct notes *n, struct put_ahead *p)
{
	put_ahead_free(p);
	pthread_cond_destroy(&n->change);
	pthread_mutex_destroy(&n->lock);
}

static int put_one(struct put_ahead *p, uint32_t which, struct err *err)
{
	struct manifest_sink sink = put_ahead_sink(p);
	struct hash256 hash = {{0}};

	memcpy(hash.bytes, &which, sizeof which);
	int r = sink.put(sink.ctx, &hash, &which, sizeof which, err);
	which = UINT32_MAX; /* what was put is a copy */
	return r;
}

static void let(struct notes *n, bool shut)
{
	pthread_mutex_lock(&n->lock);
	n->shut = shut;
	pthread_cond_broadcast(&n->change);
	pthread_mutex_unlock(&n->lock);
}

static void wait_inside(struct notes *n, size_t count)
{
	pthread_mutex_lock(&n->lock);
	while (n->inside < count)
		pthread_cond_wait(&n->change, &n->lock);
	pthread_mutex_unlock(&n->lock);
}

static void all_that_was_put_is_stored_after_the_wait(void **state)
{
	struct put_ahead *p;
	struct notes n;

	start(&n, &p);
	assert_int_equal(put_ahead_wait(p, NULL), 0);
	for (uint32_t i = 0; i < CHUNKS; i++)
		assert_int_equal(put_one(p, i, NULL), 0);
	assert_int_equal(put_ahead_wait(p, NULL), 0);
	assert_int_equal(n.count, CHUNKS);
	for (size_t i = 0; i < CHUNKS; i++)
		assert_true(n.got[i]);
	assert_in_range(n.inside_most, 1, PUT_AHEAD_THREADS);
	stop(&n, p);
}

static void chunks_are_stored_beside_each_other(void **state)
{
	struct put_ahead *p;
	struct notes n;

	start(&n, &p);
	let(&n, true);
	for (uint32_t i = 0; i < PUT_AHEAD_THREADS; i++)
		assert_int_equal(put_one(p, i, NULL), 0); /* comes back although nothing is stored */
	wait_inside(&n, PUT_AHEAD_THREADS);
	let(&n, false);
	assert_int_equal(put_ahead_wait(p, NULL), 0);
	assert_int_equal(n.inside_most, PUT_AHEAD_THREADS);
	stop(&n, p);
}

static void the_first_error_is_told_by_puts_and_by_the_wait(void **state)
{
	struct put_ahead *p;
	struct notes n;
	struct err err = {0};
	int r = 0;

	start(&n, &p);
	n.fail_at = 3;
	for (uint32_t i = 0; i < CHUNKS && r == 0; i++)
		r = put_one(p, i, &err);
	assert_int_equal(r, -ENOSPC);
	assert_string_equal(err.text, "chunk 3: no space");
	pthread_mutex_lock(&n.lock); /* others may still be on their way */
	size_t count = n.count;
	pthread_mutex_unlock(&n.lock);
	assert_in_range(count, 4, 4 + PUT_AHEAD_THREADS);
	err = (struct err){0};
	assert_int_equal(put_ahead_wait(p, &err), -ENOSPC);
	assert_string_equal(err.text, "chunk 3: no space");
	stop(&n, p);
	start(&n, &p);
	n.fail_at = 0;
	assert_int_equal(put_one(p, 0, NULL), 0);
	assert_int_equal(put_ahead_wait(p, NULL), -ENOSPC); /* of the last one nobody else would tell */
	stop(&n, p);
}

static void it_can_be_left_at_any_time(void **state)
{
	for (uint32_t puts = 0; puts < 3; puts++) {
		struct put_ahead *p;
		struct notes n;
		start(&n, &p);
		for (uint32_t i = 0; i < puts; i++)
			assert_int_equal(put_one(p, i, NULL), 0);
		stop(&n, p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_that_was_put_is_stored_after_the_wait),
		cmocka_unit_test(chunks_are_stored_beside_each_other),
		cmocka_unit_test(the_first_error_is_told_by_puts_and_by_the_wait),
		cmocka_unit_test(it_can_be_left_at_any_time),
	};
	return cmocka_run_group_tests_name("put_ahead", tests, NULL, NULL);
}
