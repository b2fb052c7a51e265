#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "cache-node/fuse/nodes.h"
#include "common/base/mem.h"
#include "common/base/rng.h"

static int map_fresh(int *fd, struct shm *shm)
{
	static const uint8_t session[SHM_SESSION_BYTES] = {1};
	static const struct fuse_init_in offered = {.major = 7, .minor = 40};
	struct shm_config c = {.session = session,
			       .dataset = "ns/set",
			       .target = "/mnt",
			       .offered = &offered,
			       .max_read = 1 << 20};

	assert_int_equal(shm_create(&c, fd), 0);
	return shm_map(*fd, shm, NULL);
}

static struct nodes_key key(uint64_t ino, uint64_t ordinal)
{
	return (struct nodes_key){.ino = ino, .parent = 1, .ordinal = ordinal, .attached = true};
}

static void ids_are_never_given_out_twice(void **state)
{
	struct shm shm;
	struct nodes *n;
	int fd;

	assert_int_equal(map_fresh(&fd, &shm), 0);
	assert_int_equal(nodes_new(&shm, &n), 0);
	struct nodes_key k = key(100, 5);
	struct shm_node *a = nodes_intern(n, &k);
	uint64_t id = atomic_load(&a->id);
	assert_ptr_equal(nodes_intern(n, &k), a);
	nodes_forget(n, id, 1);
	assert_ptr_equal(nodes_get(n, id), a);
	nodes_forget(n, id, 1);
	assert_null(nodes_get(n, id));
	struct shm_node *b = nodes_intern(n, &k);
	assert_ptr_equal(a, b);                 /* the same place ... */
	assert_true(atomic_load(&b->id) != id); /* ... another id */
	nodes_check(n);
	nodes_free(n);
	shm_unmap(&shm);
	close(fd);
}

static void two_paths_with_one_hash_get_two_inode_numbers(void **state)
{
	struct shm shm;
	struct nodes *n;
	int fd;

	assert_int_equal(map_fresh(&fd, &shm), 0);
	assert_int_equal(nodes_new(&shm, &n), 0);
	struct nodes_key a = key(100, 5), b = key(100, 6);
	assert_int_equal(nodes_intern(n, &a)->ino, 100);
	assert_int_equal(nodes_intern(n, &b)->ino, 101);
	assert_int_equal(nodes_intern(n, &a)->ino, 100);
	nodes_free(n);
	shm_unmap(&shm);
	close(fd);
}

static void a_detached_node_lives_on_beside_its_successor(void **state)
{
	struct shm shm;
	struct nodes *n;
	int fd;

	assert_int_equal(map_fresh(&fd, &shm), 0);
	assert_int_equal(nodes_new(&shm, &n), 0);
	struct nodes_key k = key(100, 5);
	struct shm_node *old = nodes_intern(n, &k);
	nodes_detach(n, old);
	struct shm_node *fresh = nodes_intern(n, &k);
	assert_ptr_not_equal(old, fresh);
	assert_int_equal(fresh->ino, old->ino);
	assert_ptr_equal(nodes_get(n, atomic_load(&old->id)), old);
	nodes_check(n);
	nodes_free(n);
	shm_unmap(&shm);
	close(fd);
}

static void a_successor_process_finds_every_node_of_its_predecessor(void **state)
{
	enum { N = 3000 };
	static uint64_t ids[N];
	struct shm shm, again;
	struct nodes *n, *m;
	int fd;

	assert_int_equal(map_fresh(&fd, &shm), 0);
	assert_int_equal(nodes_new(&shm, &n), 0);
	for (uint64_t i = 0; i < N; i++) {
		struct nodes_key k = key(1000 + i, i);
		ids[i] = atomic_load(&nodes_intern(n, &k)->id);
	}
	for (uint64_t i = 0; i < N; i += 3)
		nodes_forget(n, ids[i], 1);
	nodes_detach(n, nodes_get(n, ids[1]));
	assert_int_equal(shm_map(fd, &again, NULL), 0);
	assert_int_equal(nodes_new(&again, &m), 0);
	nodes_check(m);
	for (uint64_t i = 0; i < N; i++)
		assert_int_equal(nodes_get(m, ids[i]) != NULL, i % 3 != 0);
	assert_non_null(nodes_find(m, 1002));
	assert_null(nodes_find(m, 1001));
	nodes_free(n);
	nodes_free(m);
	shm_unmap(&shm);
	shm_unmap(&again);
	close(fd);
}

static void random_histories_keep_table_and_index_equal(void **state)
{
	const char *given = getenv("SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : 20261122;
	struct rng r = rng_seeded(seed);
	struct shm shm;
	struct nodes *n;
	int fd;
	uint64_t held[64] = {0};

	printf("seed %llu (repeat: SEED=%llu)\n", (unsigned long long)seed, (unsigned long long)seed);
	assert_int_equal(map_fresh(&fd, &shm), 0);
	assert_int_equal(nodes_new(&shm, &n), 0);
	for (int step = 0; step < 20000; step++) {
		uint64_t i = rng_below(&r, LENGTH(held));
		struct shm_node *node = held[i] ? nodes_get(n, held[i]) : NULL;
		if (!node) {
			struct nodes_key k = key(2 + rng_below(&r, 40), rng_below(&r, 40));
			node = nodes_intern(n, &k);
			held[i] = atomic_load(&node->id);
		} else if (rng_below(&r, 4) == 0) {
			nodes_detach(n, node);
		} else {
			nodes_forget(n, held[i], 1);
			held[i] = 0;
		}
		if (step % 97 == 0)
			nodes_check(n);
	}
	nodes_check(n);
	nodes_free(n);
	shm_unmap(&shm);
	close(fd);
}

static void out_of_memory_answers_null_and_leaves_the_table_whole(void **state)
{
	struct shm shm;
	struct nodes *n;
	int fd;

	assert_int_equal(map_fresh(&fd, &shm), 0);
	assert_int_equal(nodes_new(&shm, &n), 0);
	int failed = 0;
	for (uint64_t i = 0; i < 4000; i++) {
		struct nodes_key k = key(1000 + i, i);
		mem_fail_after(i % 3 ? 0 : -1, 0);
		failed += nodes_intern(n, &k) == NULL;
		mem_fail_after(-1, 0);
	}
	assert_true(failed > 0);
	nodes_check(n);
	nodes_free(n);
	shm_unmap(&shm);
	close(fd);
}

static void memory_of_another_layout_is_refused_with_words(void **state)
{
	struct shm shm;
	struct err err = {0};
	int fd;

	assert_int_equal(map_fresh(&fd, &shm), 0);
	shm.h->version = SHM_VERSION + 1;
	struct shm other;
	assert_int_equal(shm_map(fd, &other, &err), -EPROTO);
	assert_string_equal(err.text, "session memory: layout version 3, this program knows 2");
	shm.h->version = SHM_VERSION;
	shm.h->nodes_at += 4096;
	assert_int_equal(shm_map(fd, &other, &err), -ERR_CORRUPT);
	shm.h->nodes_at -= 4096;
	static const uint32_t reads[] = {0, 4095, 5000, (1 << 20) + 4096, UINT32_MAX};
	for (size_t i = 0; i < LENGTH(reads); i++) {
		shm.h->max_read = reads[i];
		assert_int_equal(shm_map(fd, &other, &err), -ERR_CORRUPT);
	}
	shm.h->max_read = 4096;
	assert_int_equal(shm_map(fd, &other, &err), 0);
	shm_unmap(&other);
	shm.h->magic = 0;
	assert_int_equal(shm_map(fd, &other, &err), -ERR_CORRUPT);
	shm_unmap(&shm);
	close(fd);
}

static void memory_that_can_be_made_shorter_is_refused(void **state)
{
	struct shm shm, other;
	int fd, open_ended = memfd_create("unsealed", MFD_CLOEXEC);

	assert_int_equal(map_fresh(&fd, &shm), 0);
	assert_int_equal(ftruncate(open_ended, (off_t)shm.h->total_bytes), 0);
	assert_int_equal(pwrite(open_ended, shm.h, sizeof *shm.h, 0), sizeof *shm.h);
	assert_int_equal(shm_map(open_ended, &other, NULL), -ERR_CORRUPT);
	close(open_ended);
	shm_unmap(&shm);
	close(fd);
}

static void requests_are_counted_within_the_memory_whatever_its_header_says_later(void **state)
{
	struct shm shm;
	uint32_t all, reads;
	int fd;

	assert_int_equal(map_fresh(&fd, &shm), 0);
	shm.h->slot_count = UINT32_MAX;
	atomic_store(&shm.h->parked_high, UINT32_MAX);
	shm_count_requests(&shm, &all, &reads);
	assert_int_equal(all, 0);
	assert_int_equal(reads, 0);
	shm_unmap(&shm);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ids_are_never_given_out_twice),
		cmocka_unit_test(two_paths_with_one_hash_get_two_inode_numbers),
		cmocka_unit_test(a_detached_node_lives_on_beside_its_successor),
		cmocka_unit_test(a_successor_process_finds_every_node_of_its_predecessor),
		cmocka_unit_test(random_histories_keep_table_and_index_equal),
		cmocka_unit_test(out_of_memory_answers_null_and_leaves_the_table_whole),
		cmocka_unit_test(memory_of_another_layout_is_refused_with_words),
		cmocka_unit_test(memory_that_can_be_made_shorter_is_refused),
		cmocka_unit_test(requests_are_counted_within_the_memory_whatever_its_header_says_later),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
