/* Reads that wait, and what goes on meanwhile: a session over a real cache, whose one source is a server that never answers. */
#include <sys/time.h>

#include "cache-node/fuse/test_rig.h"
#include "common/base/clock.h"

#define HANGING 300u /* reads: many more than there are slots */

static const char *const files[] = {"a=1", "big=2:67108864", "small=3:5"};

static int setup(void **state)
{
	struct kernel_config c = {.object = rig_object, .ctx = rig_new()};
	struct kernel *k = kernel_new(files, LENGTH(files), &c);
	const struct timeval patience = {.tv_sec = 20}; /* well below the deadline of a read */

	assert_int_equal(setsockopt(k->kernel, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
	*state = k;
	return 0;
}

static int teardown(void **state)
{
	struct kernel *k = *state;
	struct rig *r = k->ctx;

	kernel_free(k);
	rig_free(r);
	return 0;
}

static void start_read(struct kernel *k, uint64_t node, uint64_t fh, uint64_t offset)
{
	struct fuse_read_in in = {.fh = fh, .offset = offset, .size = 4096};
	uint8_t buf[256];
	size_t n = make_request(k, buf, FUSE_READ, node, &in, sizeof in);

	assert_int_equal(send(k->kernel, buf, n, 0), n);
}

static uint32_t count_parked(const struct shm *shm)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < SHM_PARKED; i++)
		n += shm_parked_request(&shm->parked[i]) != NULL;
	return n;
}

static uint32_t count_in_slots(const struct shm *shm)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < SHM_SLOTS; i++)
		n += shm_slot_request(&shm->slots[i]) != NULL;
	return n;
}

static void names_and_other_files_go_on_while_more_reads_hang_than_there_are_slots(void **state)
{
	struct kernel *k = *state;
	struct fuse_entry_out e = {0};
	struct fuse_attr_out a = {0};
	struct fuse_read_in in = {.size = 4096};
	uint8_t reply[8192];
	uint64_t big, small;
	struct shm shm;
	size_t len;

	uint64_t fh = open_file(k, "big", &big);
	for (uint32_t i = 0; i < HANGING; i++)
		start_read(k, big, fh, i * 65536ULL);
	assert_int_equal(lookup(k, 1, "a", &e), 0);
	assert_int_equal(getattr(k, big, &a), 0);
	in.fh = open_file(k, "small", &small);
	assert_int_equal(ask(k, FUSE_READ, small, &in, sizeof in, reply, &len), 0);
	assert_int_equal(len, 5);
	assert_memory_equal(reply, "hello", 5);
	/* All of them lie where a successor finds them, and none in a slot. */
	assert_int_equal(shm_map(k->memory_fd, &shm, NULL), 0);
	int64_t deadline = clock_mono_ns() + 20 * NS_PER_S;
	while (count_parked(&shm) != HANGING || count_in_slots(&shm)) {
		assert_true(clock_mono_ns() < deadline);
		(void)usleep(1000);
	}
	uint32_t all, reads;
	shm_count_requests(&shm, &all, &reads);
	assert_int_equal(all, HANGING);
	assert_int_equal(reads, HANGING);
	shm_unmap(&shm);
}

static void an_interrupted_read_gives_its_parking_place_back(void **state)
{
	struct kernel *k = *state;
	struct fuse_interrupt_in in = {0};
	struct fuse_out_header out;
	uint8_t buf[256];
	uint64_t big;
	struct shm shm;

	uint64_t fh = open_file(k, "big", &big);
	start_read(k, big, fh, 0);
	in.unique = k->unique;
	assert_int_equal(shm_map(k->memory_fd, &shm, NULL), 0);
	while (count_parked(&shm) != 1)
		(void)usleep(1000);
	size_t n = make_request(k, buf, FUSE_INTERRUPT, 0, &in, sizeof in);
	assert_int_equal(send(k->kernel, buf, n, 0), n);
	assert_true(recv(k->kernel, buf, sizeof buf, 0) >= (ssize_t)sizeof out);
	memcpy(&out, buf, sizeof out);
	assert_int_equal(out.unique, in.unique);
	assert_int_equal(out.error, -EINTR);
	while (count_parked(&shm)) /* given back after the reply */
		(void)usleep(1000);
	shm_unmap(&shm);
}

/* What a worker killed with reads on their way leaves behind. */
static void park_by_hand(struct kernel *k, uint32_t place, uint32_t opcode, uint64_t node)
{
	struct fuse_read_in in = {.size = 4096};
	struct shm shm;

	assert_int_equal(shm_map(k->memory_fd, &shm, NULL), 0);
	make_request(k, shm.parked[place].request, opcode, node, &in, sizeof in);
	atomic_store(&shm.parked[place].state, SHM_SLOT_READING);
	if (atomic_load(&shm.h->parked_high) <= place)
		atomic_store(&shm.h->parked_high, place + 1);
	shm_unmap(&shm);
}

static void a_successor_answers_the_parked_reads_of_a_killed_worker(void **state)
{
	struct kernel *k = *state;
	struct fuse_out_header out;
	uint8_t buf[256];
	uint64_t small, first;
	struct session_stats stats;

	(void)open_file(k, "small", &small);
	detach(k);
	k->ended = false;
	park_by_hand(k, 7, FUSE_READ, small);
	first = k->unique;
	park_by_hand(k, 70, FUSE_READ, small);
	park_by_hand(k, 71, FUSE_GETATTR, small); /* nothing else is ever parked: no request of ours */
	open_pair(k);
	attach(k, NULL);
	swallow_init(k);
	for (int i = 0; i < 2; i++) {
		ssize_t n = recv(k->kernel, buf, sizeof buf, 0);
		assert_int_equal(n, sizeof out + 5);
		memcpy(&out, buf, sizeof out);
		assert_int_equal(out.error, 0);
		assert_true(out.unique == first || out.unique == first + 2);
		assert_memory_equal(buf + sizeof out, "hello", 5);
	}
	session_stats_get(k->session, &stats);
	assert_int_equal(stats.recovered, 2);
	assert_int_equal(stats.recovered_reads, 2);
	struct fuse_attr_out a = {0};
	assert_int_equal(getattr(k, small, &a), 0);
}

static void a_memory_whose_parking_contradicts_itself_is_refused(void **state)
{
	struct kernel *k = *state;
	struct shm shm, again;

	assert_int_equal(shm_map(k->memory_fd, &shm, NULL), 0);
	atomic_store(&shm.h->parked_high, SHM_PARKED + 1);
	assert_int_equal(shm_map(k->memory_fd, &again, NULL), -ERR_CORRUPT);
	atomic_store(&shm.h->parked_high, 0);
	shm_unmap(&shm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(names_and_other_files_go_on_while_more_reads_hang_than_there_are_slots),
		T(an_interrupted_read_gives_its_parking_place_back),
		T(a_successor_answers_the_parked_reads_of_a_killed_worker),
		T(a_memory_whose_parking_contradicts_itself_is_refused),
#undef T
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
