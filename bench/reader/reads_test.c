/* The reader of the benchmarks: what it says it read is what is in the file, in every mode. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "bench/reader/reads.h"
#include "common/base/clock.h"
#include "common/base/fd.h"
#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/base/rng.h"

enum { FILE_BYTES = 10 * 4096 + 123, BLOCKS = 11 };

struct fixture {
	int fd;
	uint8_t bytes[FILE_BYTES];
};

static int make_file(void **state)
{
	struct fixture *f = mem_calloc(1, sizeof *f);
	struct rng rng = rng_seeded(7);

	assert_non_null(f);
	for (size_t i = 0; i < sizeof f->bytes; i++)
		f->bytes[i] = (uint8_t)rng_next(&rng);
	f->fd = memfd_create("reads_test", MFD_CLOEXEC);
	assert_true(f->fd >= 0);
	assert_int_equal(fd_write_full(f->fd, f->bytes, sizeof f->bytes), 0);
	*state = f;
	return 0;
}

static int drop_file(void **state)
{
	struct fixture *f = *state;

	(void)fd_close(f->fd);
	(void)mem_free(f);
	return 0;
}

static struct reads_result read_with(int fd, struct reads_config config)
{
	struct reads_result result;
	struct reads *r = NULL;

	assert_int_equal(reads_new(fd, &config, &r), 0);
	assert_int_equal(reads_run(r, &result), 0);
	reads_free(r);
	return result;
}

static void without_a_limit_the_file_is_read_once_and_whole(void **state)
{
	struct fixture *f = *state;
	uint32_t crc = crc32c(0, f->bytes, sizeof f->bytes);

	for (int i = 0; i < 2; i++) {
		enum reads_mode mode = i ? READS_MMAPSEQ : READS_SEQ;
		struct reads_result got = read_with(
			f->fd, (struct reads_config){.mode = mode, .block = 4096, .checksum = true});
		assert_int_equal(got.bytes, FILE_BYTES);
		assert_int_equal(got.ops, BLOCKS);
		assert_int_equal(got.crc, crc);
		assert_int_equal(got.latency.total, BLOCKS);
	}
}

static void a_random_pass_reads_every_block_once(void **state)
{
	struct fixture *f = *state;
	uint32_t crc = 0;

	for (uint64_t i = 0; i < BLOCKS; i++) {
		size_t at = reads_shuffle(i, BLOCKS, 5) * 4096;
		crc = crc32c(crc, f->bytes + at, MIN((size_t)4096, FILE_BYTES - at));
	}
	for (int i = 0; i < 2; i++) {
		enum reads_mode mode = i ? READS_MMAPRAND : READS_RAND;
		struct reads_result got = read_with(
			f->fd,
			(struct reads_config){.mode = mode, .block = 4096, .seed = 5, .checksum = true});
		assert_int_equal(got.bytes, FILE_BYTES);
		assert_int_equal(got.crc, crc);
	}
}

static void more_reads_than_blocks_go_through_the_file_again(void **state)
{
	struct fixture *f = *state;

	for (enum reads_mode mode = READS_SEQ; mode <= READS_MMAPRAND; mode++) {
		struct reads_result got = read_with(
			f->fd, (struct reads_config){.mode = mode, .block = 4096, .ops_max = 3 * BLOCKS});
		assert_int_equal(got.ops, 3 * BLOCKS);
		assert_int_equal(got.bytes, 3 * FILE_BYTES);
	}
}

static void a_limit_of_time_ends_the_pass(void **state)
{
	struct fixture *f = *state;

	for (enum reads_mode mode = READS_SEQ; mode <= READS_MMAPRAND; mode++) {
		struct reads_result got = read_with(
			f->fd, (struct reads_config){.mode = mode, .block = 512, .time_ns = 20 * NS_PER_MS});
		assert_true(got.end_ns - got.start_ns >= 20 * NS_PER_MS);
		assert_true(got.ops > 0);
		assert_true(latency_at(&got.latency, 0.5) <= latency_at(&got.latency, 0.99));
	}
}

static void a_file_that_shrinks_is_an_error_and_not_a_short_count(void **state)
{
	struct fixture *f = *state;
	struct reads_config config = {.mode = READS_SEQ, .block = 4096};
	struct reads_result result;
	struct reads *r = NULL;

	assert_int_equal(reads_new(f->fd, &config, &r), 0);
	assert_int_equal(ftruncate(f->fd, 4096), 0);
	assert_int_equal(reads_run(r, &result), -ENODATA);
	reads_free(r);
	assert_int_equal(ftruncate(f->fd, 0), 0);
	assert_int_equal(reads_new(f->fd, &config, &r), -ENODATA);
	config.block = 0;
	assert_int_equal(reads_new(f->fd, &config, &r), -EINVAL);
}

static void a_shuffle_is_a_permutation(void **state)
{
	static const uint64_t counts[] = {1, 2, 3, 63, 64, 65, 1000};

	for (size_t c = 0; c < LENGTH(counts); c++) {
		uint8_t seen[1000] = {0};
		for (uint64_t i = 0; i < counts[c]; i++) {
			uint64_t at = reads_shuffle(i, counts[c], 12345);
			assert_true(at < counts[c]);
			assert_int_equal(seen[at]++, 0);
		}
	}
}

static void percentiles_are_within_a_step(void **state)
{
	struct latency a = {0}, b = {0};

	assert_int_equal(latency_at(&a, 0.5), 0);
	latency_add(&a, 7, 1);
	assert_int_equal(latency_at(&a, 0.5), 7);
	for (uint64_t ns = 1; ns <= 100000; ns++)
		latency_add(&b, ns, 1);
	assert_in_range(latency_at(&b, 0.5), 50000, 53200);
	assert_in_range(latency_at(&b, 0.99), 99000, 105300);
	latency_merge(&a, &b);
	assert_int_equal(a.total, 100001);
	latency_add(&a, UINT64_MAX, 1000000);
	assert_true(latency_at(&a, 0.99) > UINT64_C(1) << 60);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(without_a_limit_the_file_is_read_once_and_whole, make_file,
						drop_file),
		cmocka_unit_test_setup_teardown(a_random_pass_reads_every_block_once, make_file, drop_file),
		cmocka_unit_test_setup_teardown(more_reads_than_blocks_go_through_the_file_again, make_file,
						drop_file),
		cmocka_unit_test_setup_teardown(a_limit_of_time_ends_the_pass, make_file, drop_file),
		cmocka_unit_test_setup_teardown(a_file_that_shrinks_is_an_error_and_not_a_short_count,
						make_file, drop_file),
		cmocka_unit_test(a_shuffle_is_a_permutation),
		cmocka_unit_test(percentiles_are_within_a_step),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
