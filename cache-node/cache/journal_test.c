/* The log of a tier: what is noted is read by the next process, and a log that is damaged or cannot be written is none. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "cache-node/cache/journal.h"
#include "cache-node/cache/test_dir.h"
#include "common/base/err.h"

static const uint8_t boot[SIDECAR_BOOT_BYTES] = "this boot", other_boot[SIDECAR_BOOT_BYTES] = "another";

struct place {
	char *dir;
	int fd;
};

static int setup(void **state)
{
	struct place *p = calloc(1, sizeof *p);
	p->dir = test_dir_new();
	p->fd = open(p->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct place *p = *state;
	close(p->fd);
	test_dir_free(p->dir);
	free(p);
	return 0;
}

static struct journal_record record(unsigned i, enum journal_kind kind)
{
	struct journal_record r = {.share = 7, .kind = kind};
	memset(r.id.bytes, (int)i, sizeof r.id.bytes);
	if (kind >= JOURNAL_PARTIAL) {
		r.bytes = 4096 * (i + 1);
		r.used_ns = i;
	}
	return r;
}

static void open_log(const struct place *p, struct journal *j)
{
	assert_int_equal(journal_open(j, p->fd, boot), 0);
}

/* A log of records 0 to @count - 1, as a process leaves it. */
static void leave(const struct place *p, unsigned count)
{
	struct journal j;
	open_log(p, &j);
	assert_int_equal(journal_begin(&j), 0);
	for (unsigned i = 0; i < count; i++) {
		struct journal_record r = record(i, (enum journal_kind)(i % 4));
		if (i % 2)
			assert_true(journal_fill(&j, &r, 1));
		else
			journal_note(&j, &r);
	}
	journal_commit(&j);
	assert_true(journal_counts(&j));
	assert_int_equal(journal_records(&j), count + 1);
	journal_done(&j);
}

static int visit(void *ctx, const struct journal_record *r)
{
	unsigned *n = ctx;
	struct journal_record want = record(*n, (enum journal_kind)(*n % 4));
	assert_memory_equal(&r->id, &want.id, sizeof want.id);
	assert_true(r->bytes == want.bytes && r->used_ns == want.used_ns && r->share == 7 &&
		    r->kind == want.kind);
	++*n;
	return 0;
}

static void the_next_process_reads_what_was_noted_in_order_and_goes_on(void **state)
{
	struct place *p = *state;
	struct journal j;
	unsigned n = 0;
	leave(p, 700);
	open_log(p, &j);
	assert_true(journal_counts(&j));
	struct journal_record more = record(700, JOURNAL_GONE);
	journal_note(&j, &more); /* is none of what was there */
	assert_int_equal(journal_read(&j, visit, &n), 0);
	assert_int_equal(n, 700);
	assert_int_equal(journal_read(&j, visit, &n), -ENOENT);
	journal_done(&j);
	n = 0;
	open_log(p, &j);
	assert_int_equal(journal_read(&j, visit, &n), 0);
	assert_int_equal(n, 701);
	journal_done(&j);
}

static void in_another_boot_there_is_no_log(void **state)
{
	struct place *p = *state;
	struct journal j;
	leave(p, 5);
	assert_int_equal(journal_open(&j, p->fd, other_boot), 0);
	assert_false(journal_counts(&j));
	assert_int_equal(journal_read(&j, visit, NULL), -ENOENT);
	journal_done(&j);
	assert_int_equal(faccessat(p->fd, "index", F_OK, 0), -1);
}

static void no_flipped_bit_is_believed_and_no_record_before_it(void **state)
{
	struct place *p = *state;
	for (unsigned at = 0; at < 3 * JOURNAL_RECORD_BYTES; at++) {
		struct journal j;
		uint8_t byte;
		leave(p, 2);
		int fd = openat(p->fd, "index", O_RDWR | O_CLOEXEC);
		assert_int_equal(pread(fd, &byte, 1, at), 1);
		byte ^= (uint8_t)(1u << at % 8);
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		close(fd);
		open_log(p, &j);
		unsigned n = 0;
		int r = journal_read(&j, visit, &n);
		assert_true(r == -ERR_CORRUPT || r == -ENOENT);
		assert_int_equal(n, 0);
		assert_false(journal_counts(&j));
		journal_done(&j);
		assert_int_equal(faccessat(p->fd, "index", F_OK, 0), -1);
	}
}

static void a_record_cut_short_or_a_file_of_another_sort_is_no_log(void **state)
{
	struct place *p = *state;
	struct journal j;
	leave(p, 3);
	int fd = openat(p->fd, "index", O_RDWR | O_CLOEXEC);
	assert_int_equal(ftruncate(fd, 3 * JOURNAL_RECORD_BYTES + 9), 0);
	close(fd);
	open_log(p, &j);
	assert_false(journal_counts(&j));
	journal_done(&j);
	assert_int_equal(symlinkat("/etc/passwd", p->fd, "index"), 0);
	open_log(p, &j);
	assert_false(journal_counts(&j));
	journal_done(&j);
}

static void a_record_of_an_older_log_is_not_one_of_this(void **state)
{
	struct place *p = *state;
	uint8_t old[JOURNAL_RECORD_BYTES];
	struct journal j;
	leave(p, 2);
	int fd = openat(p->fd, "index", O_RDONLY | O_CLOEXEC);
	assert_int_equal(pread(fd, old, sizeof old, 2 * JOURNAL_RECORD_BYTES), (ssize_t)sizeof old);
	close(fd);
	leave(p, 2);
	fd = openat(p->fd, "index", O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(fd, old, sizeof old, 2 * JOURNAL_RECORD_BYTES), (ssize_t)sizeof old);
	close(fd);
	open_log(p, &j);
	assert_int_equal(journal_read(&j, visit, NULL), -ERR_CORRUPT);
	journal_done(&j);
}

static void a_next_log_that_was_not_committed_leaves_the_one_before(void **state)
{
	struct place *p = *state;
	struct journal j;
	unsigned n = 0;
	leave(p, 4);
	open_log(p, &j);
	assert_int_equal(journal_begin(&j), 0);
	struct journal_record r = record(4, JOURNAL_GONE);
	journal_note(&j, &r);
	journal_done(&j);
	assert_int_equal(faccessat(p->fd, "index.next", F_OK, 0), -1);
	open_log(p, &j);
	assert_int_equal(journal_read(&j, visit, &n), 0);
	assert_int_equal(n, 5);
	journal_done(&j);
}

static void a_log_that_cannot_be_written_is_no_log_any_more(void **state)
{
	struct place *p = *state;
	struct rlimit before, low;
	struct journal j;
	leave(p, 4);
	open_log(p, &j);
	assert_int_equal(journal_begin(&j), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	low = before;
	low.rlim_cur = JOURNAL_RECORD_BYTES + 20; /* less than either has */
	(void)signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
	struct journal_record r = record(4, JOURNAL_GONE);
	journal_note(&j, &r);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	(void)signal(SIGXFSZ, SIG_DFL);
	assert_false(journal_counts(&j));
	journal_commit(&j);
	assert_false(journal_counts(&j));
	assert_int_equal(faccessat(p->fd, "index", F_OK, 0), -1);
	journal_done(&j);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(the_next_process_reads_what_was_noted_in_order_and_goes_on),
		T(in_another_boot_there_is_no_log),
		T(no_flipped_bit_is_believed_and_no_record_before_it),
		T(a_record_cut_short_or_a_file_of_another_sort_is_no_log),
		T(a_record_of_an_older_log_is_not_one_of_this),
		T(a_next_log_that_was_not_committed_leaves_the_one_before),
		T(a_log_that_cannot_be_written_is_no_log_any_more),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
