#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "cache-node/supervisor/node_memory.h"

static struct node_memory *fresh(int *fd)
{
	struct node_memory *m;

	assert_int_equal(node_memory_create(fd), 0);
	assert_int_equal(node_memory_map(*fd, &m, NULL), 0);
	return m;
}

static void the_last_whole_blob_is_found_again(void **state)
{
	int fd;
	struct node_memory *m = fresh(&fd), *again;
	size_t len;

	(void)node_memory_load(m, &len);
	assert_int_equal(len, 0);
	assert_int_equal(node_memory_save(m, "one", 3), 0);
	assert_int_equal(node_memory_save(m, "second", 6), 0);
	assert_int_equal(node_memory_map(fd, &again, NULL), 0);
	const uint8_t *p = node_memory_load(again, &len);
	assert_int_equal(len, 6);
	assert_memory_equal(p, "second", 6);
	node_memory_unmap(m);
	node_memory_unmap(again);
	close(fd);
}

static void a_blob_cut_by_a_kill_leaves_the_one_before(void **state)
{
	int fd;
	struct node_memory *m = fresh(&fd);
	size_t len;

	assert_int_equal(node_memory_save(m, "one", 3), 0);
	assert_int_equal(node_memory_save(m, "second", 6), 0);
	int newer = atomic_load(&m->place[1].sequence) > atomic_load(&m->place[0].sequence);
	m->blob[newer][2] ^= 1;
	assert_memory_equal(node_memory_load(m, &len), "one", 3);
	assert_int_equal(len, 3);
	node_memory_unmap(m);
	close(fd);
}

static void a_worker_cannot_make_it_shorter_under_the_supervisor(void **state)
{
	int fd;
	struct node_memory *m = fresh(&fd), *other;

	assert_int_equal(ftruncate(fd, 0), -1);
	assert_int_equal(errno, EPERM);
	node_memory_unmap(m);
	close(fd);
	int open_ended = memfd_create("unsealed", MFD_CLOEXEC);
	assert_int_equal(ftruncate(open_ended, (off_t)sizeof *m), 0);
	assert_int_equal(node_memory_map(open_ended, &other, NULL), -ERR_CORRUPT);
	close(open_ended);
}

static void replaced_bytes_do_not_linger(void **state)
{
	int fd;
	struct node_memory *m = fresh(&fd);

	assert_int_equal(node_memory_save(m, "long-secret", 11), 0);
	assert_int_equal(node_memory_save(m, "x", 1), 0);
	assert_int_equal(node_memory_save(m, "y", 1), 0);
	for (int i = 0; i < 2; i++)
		assert_null(memmem(m->blob[i], 64, "secret", 6));
	assert_int_equal(node_memory_save(m, "", NODE_MEMORY_BLOB_MAX + 1), -EFBIG);
	node_memory_unmap(m);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_last_whole_blob_is_found_again),
		cmocka_unit_test(a_blob_cut_by_a_kill_leaves_the_one_before),
		cmocka_unit_test(a_worker_cannot_make_it_shorter_under_the_supervisor),
		cmocka_unit_test(replaced_bytes_do_not_linger),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
