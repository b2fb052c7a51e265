#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "cache-node/cache/body.h"
#include "cache-node/cache/test_dir.h"
#include "common/base/fd.h"
#include "common/base/rng.h"

#define BLOCK ((uint64_t)SIDECAR_BLOCK_BYTES)

struct place {
	char *dir;
	int dir_fd;
	struct tier tier;
};

static int setup(void **state)
{
	struct place *p = calloc(1, sizeof *p);
	p->dir = test_dir_new();
	p->dir_fd = open(p->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct cache_tier_config config = {CACHE_TIER_DISK, p->dir_fd, 64 << 20, "t"};
	*state = p;
	return tier_init(&p->tier, &config, NULL);
}

static int teardown(void **state)
{
	struct place *p = *state;
	tier_done(&p->tier);
	close(p->dir_fd);
	test_dir_free(p->dir);
	free(p);
	return 0;
}

static struct body_spec spec_of(uint64_t size, uint8_t boot)
{
	struct body_spec s = {.size = size, .id = hash256_of(&size, sizeof size), .key = "k"};
	memset(s.boot, boot, sizeof s.boot);
	return s;
}

static uint8_t byte_at(uint64_t offset)
{
	return (uint8_t)((offset * 0x9e3779b97f4a7c15ull) >> 56);
}

static void pattern(uint8_t *buf, uint64_t offset, size_t len)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = byte_at(offset + i);
}

static void write_blocks(struct body *b, uint64_t first, uint64_t end)
{
	uint8_t *buf = malloc(BLOCK);
	for (uint64_t i = first; i < end; i++) {
		size_t len = MIN(BLOCK, b->size - i * BLOCK);
		pattern(buf, i * BLOCK, len);
		assert_int_equal(body_write(b, i, buf, len), 0);
	}
	free(buf);
}

static void check_blocks(struct body *b)
{
	uint8_t *buf = malloc(BLOCK), *want = malloc(BLOCK);
	uint64_t bad;
	for (uint64_t i = 0; i < b->blocks; i++)
		if (body_has(b, i)) {
			size_t len = MIN(BLOCK, b->size - i * BLOCK);
			assert_int_equal(body_read(b, i * BLOCK, buf, len, &bad), 0);
			pattern(want, i * BLOCK, len);
			assert_memory_equal(buf, want, len);
		}
	free(buf);
	free(want);
}

static void a_partial_body_is_found_again_with_its_blocks(void **state)
{
	struct place *p = *state;
	struct body_spec s = spec_of(10 * BLOCK + 100, 1);
	struct body *b = NULL;
	assert_int_equal(body_open(&p->tier, &s, 0, false, &b), -ENOENT);
	assert_int_equal(body_create(&p->tier, &s, &b), 0);
	write_blocks(b, 2, 5);
	write_blocks(b, 10, 11);
	uint64_t charged = body_charged(b);
	assert_int_equal(atomic_load(&p->tier.used), charged);
	body_unref(b);
	assert_int_equal(body_open(&p->tier, &s, charged, false, &b), 0);
	assert_int_equal(atomic_load(&b->have), 4);
	assert_true(body_has(b, 10) && body_has(b, 4) && !body_has(b, 5));
	check_blocks(b);
	body_unref(b);
}

static void a_sealed_body_has_its_final_name_and_mode_and_cannot_be_written(void **state)
{
	struct place *p = *state;
	struct body_spec s = spec_of(3 * BLOCK - 1, 1);
	struct body *b = NULL;
	struct stat st;
	char path[TIER_PATH_BYTES];
	assert_int_equal(body_create(&p->tier, &s, &b), 0);
	write_blocks(b, 0, 3);
	assert_int_equal(body_seal(b), 0);
	int fd = body_file(b);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0400);
	assert_int_equal(st.st_size, s.size);
	assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	close(fd);
	tier_path(&s.id, TIER_PART, path);
	assert_int_equal(faccessat(p->tier.objects_fd, path, F_OK, 0), -1);
	uint64_t charged = body_charged(b);
	assert_int_equal(body_unlink(b), charged);
	assert_int_equal(body_unlink(b), 0);
	assert_int_equal(atomic_load(&p->tier.used), 0);
	check_blocks(b); /* who has it open reads on */
	body_unref(b);
}

static void after_a_reboot_partial_bodies_are_dropped_and_sealed_ones_verified(void **state)
{
	struct place *p = *state;
	struct body_spec part = spec_of(5 * BLOCK, 1), full = spec_of(6 * BLOCK, 1);
	struct body *b = NULL;
	uint8_t *buf = malloc(BLOCK);
	assert_int_equal(body_create(&p->tier, &part, &b), 0);
	write_blocks(b, 0, 2);
	body_unref(b);
	assert_int_equal(body_create(&p->tier, &full, &b), 0);
	write_blocks(b, 0, 6);
	assert_int_equal(body_seal(b), 0);
	body_unref(b);
	part = spec_of(5 * BLOCK, 2);
	full = spec_of(6 * BLOCK, 2);
	assert_int_equal(body_open(&p->tier, &part, 0, false, &b), -ENOENT);
	assert_int_equal(body_open(&p->tier, &full, 0, false, &b), 0);
	assert_true(atomic_load(&b->unverified));
	assert_int_equal(body_verify(b, buf), 0);
	body_unref(b);
	assert_int_equal(body_open(&p->tier, &full, 0, false, &b), 0);
	assert_false(atomic_load(&b->unverified));
	body_unref(b);
	free(buf);
}

static void spoil(struct place *p, const struct hash256 *id, enum tier_file file, uint64_t at)
{
	char path[TIER_PATH_BYTES];
	uint8_t byte;
	tier_path(id, file, path);
	assert_int_equal(fchmodat(p->tier.objects_fd, path, 0600, 0), 0);
	int fd = openat(p->tier.objects_fd, path, O_RDWR | O_CLOEXEC);
	assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
	close(fd);
}

static void a_flipped_bit_in_a_block_is_noticed_and_the_block_dropped(void **state)
{
	struct place *p = *state;
	struct body_spec s = spec_of(5 * BLOCK, 1);
	struct body *b = NULL;
	uint8_t *buf = malloc(2 * BLOCK);
	uint64_t bad = 99;
	assert_int_equal(body_create(&p->tier, &s, &b), 0);
	write_blocks(b, 0, 4);
	spoil(p, &s.id, TIER_PART, BLOCK + 17);
	assert_int_equal(body_read(b, 0, buf, 2 * BLOCK, &bad), -ERR_CORRUPT);
	assert_int_equal(bad, 1);
	assert_false(body_has(b, 1));
	assert_int_equal(body_read(b, 2 * BLOCK, buf, 2 * BLOCK, &bad), 0);
	body_unref(b);
	free(buf);
}

static void a_sealed_body_with_a_flipped_bit_fails_verification_after_a_reboot(void **state)
{
	struct place *p = *state;
	struct body_spec s = spec_of(2 * BLOCK, 1);
	struct body *b = NULL;
	uint8_t *buf = malloc(BLOCK);
	assert_int_equal(body_create(&p->tier, &s, &b), 0);
	write_blocks(b, 0, 2);
	assert_int_equal(body_seal(b), 0);
	body_unref(b);
	spoil(p, &s.id, TIER_DATA, 2 * BLOCK - 1);
	s = spec_of(2 * BLOCK, 3);
	assert_int_equal(body_open(&p->tier, &s, 0, false, &b), 0);
	assert_int_equal(body_verify(b, buf), -ERR_CORRUPT);
	assert_true(atomic_load(&b->unverified));
	body_unref(b);
	free(buf);
}

static void a_damaged_or_foreign_sidecar_drops_the_object(void **state)
{
	struct place *p = *state;
	for (int k = 0; k < 4; k++) {
		struct body_spec s = spec_of(2 * BLOCK, 1);
		struct body *b = NULL;
		char path[TIER_PATH_BYTES];
		assert_int_equal(body_create(&p->tier, &s, &b), 0);
		write_blocks(b, 0, 1);
		uint64_t charged = body_charged(b);
		body_unref(b);
		tier_path(&s.id, k == 2 ? TIER_PART : TIER_SIDE, path);
		if (k == 0)
			spoil(p, &s.id, TIER_SIDE, 30);
		else if (k == 1 || k == 2)
			assert_int_equal(truncate(test_dir_path(p->dir, "objects", path), 100), 0);
		else
			s.validator = (struct validator){.kind = VALIDATOR_STRONG, .len = 1, .bytes = "x"};
		assert_int_equal(body_open(&p->tier, &s, charged, false, &b), -ENOENT);
		assert_int_equal(atomic_load(&p->tier.used), 0);
		assert_int_equal(faccessat(p->tier.objects_fd, path, F_OK, 0), -1);
	}
}

static void a_full_tier_refuses_blocks_and_takes_them_again_when_there_is_room(void **state)
{
	struct place *p = *state;
	struct body_spec s = spec_of(5 * BLOCK, 1);
	struct body *b = NULL;
	uint8_t *buf = calloc(1, BLOCK);
	p->tier.bytes_max = 2 * BLOCK + 4096;
	assert_int_equal(body_create(&p->tier, &s, &b), 0);
	write_blocks(b, 0, 2);
	assert_int_equal(body_write(b, 2, buf, BLOCK), -ENOSPC);
	assert_false(body_has(b, 2));
	p->tier.bytes_max += BLOCK;
	write_blocks(b, 2, 3);
	body_unref(b);
	free(buf);
}

/* The child fills and is killed at a random point; whatever the bitmap claims must be true. */
static void what_the_bitmap_claims_is_true_after_kill_9_at_any_point(void **state)
{
	struct place *p = *state;
	struct body_spec s = spec_of(40 * BLOCK + 1, 1);
	struct rng rng = rng_seeded(20261122);
	uint64_t claimed = 0;
	_Atomic uint64_t *progress =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	print_message("seed 20261122\n");
	for (int round = 0; round < 25; round++) {
		uint64_t kill_at = rng_below(&rng, 42);
		atomic_store(progress, 0);
		pid_t child = fork();
		if (child == 0) {
			struct body *b = NULL;
			if (body_create(&p->tier, &s, &b) != 0)
				_exit(1);
			uint8_t *buf = malloc(BLOCK);
			for (uint64_t i = 0; i < b->blocks; i++) {
				size_t len = MIN(BLOCK, b->size - i * BLOCK);
				pattern(buf, i * BLOCK, len);
				atomic_fetch_add(progress, 1);
				if (body_write(b, i, buf, len) != 0)
					_exit(2);
			}
			if (body_seal(b) != 0)
				_exit(3);
			atomic_fetch_add(progress, 1);
			_exit(0);
		}
		int status;
		pid_t ended = 0;
		while (atomic_load(progress) < kill_at && !(ended = waitpid(child, &status, WNOHANG)))
			;
		if (!ended) {
			kill(child, SIGKILL);
			assert_int_equal(waitpid(child, &status, 0), child);
		}
		assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
		struct body *b = NULL;
		int r = body_open(&p->tier, &s, 0, false, &b);
		if (r == -ENOENT)
			continue; /* killed while it was made */
		assert_int_equal(r, 0);
		claimed += atomic_load(&b->have);
		check_blocks(b);
		if (atomic_load(&b->sealed))
			assert_true(body_full(b));
		body_unlink(b);
		body_unref(b);
	}
	assert_true(claimed > 0);
	munmap((void *)progress, 4096);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(a_partial_body_is_found_again_with_its_blocks),
		T(a_sealed_body_has_its_final_name_and_mode_and_cannot_be_written),
		T(after_a_reboot_partial_bodies_are_dropped_and_sealed_ones_verified),
		T(a_flipped_bit_in_a_block_is_noticed_and_the_block_dropped),
		T(a_sealed_body_with_a_flipped_bit_fails_verification_after_a_reboot),
		T(a_damaged_or_foreign_sidecar_drops_the_object),
		T(a_full_tier_refuses_blocks_and_takes_them_again_when_there_is_room),
		T(what_the_bitmap_claims_is_true_after_kill_9_at_any_point),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
