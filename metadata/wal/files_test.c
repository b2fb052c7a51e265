/* The log on real files: what was synced is there after a kill, a power cut, and a full disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/fd.h"
#include "common/base/rng.h"
#include "metadata/wal/syncer.h"
#include "metadata/wal/test_folder.h"

#define SEGMENT_BYTES (UINT64_C(64) << 10)
#define ENTRY_BYTES   700u

static const struct wal_config config = {.groups = 1, .segment_bytes = SEGMENT_BYTES, .entries_max = 1 << 16};

/* An entry whose bytes follow from its index. */
static const struct raft_entry *entry_of(const void *source, uint64_t index)
{
	static struct raft_entry e;
	static uint8_t data[ENTRY_BYTES];

	(void)source;
	for (uint32_t i = 0; i < ENTRY_BYTES; i++)
		data[i] = (uint8_t)(index * 131 + i * 7);
	e = (struct raft_entry){index, 1, RAFT_NORMAL, 1 + (uint32_t)(index % ENTRY_BYTES), data};
	return &e;
}

static void entry_check(const struct wal *w, uint64_t index)
{
	const struct raft_entry *is = wal_entry(w, 0, index), *want = entry_of(NULL, index);

	assert_non_null(is);
	assert_int_equal(is->len, want->len);
	assert_memory_equal(is->data, want->data, want->len);
}

struct rig {
	int dir_fd;
	struct wal_files *files;
	struct wal *wal;
};

static void rig_open(struct rig *rig, const char *dir, uint64_t snapshot)
{
	struct wal_position at = {snapshot, snapshot ? 1 : 0};
	struct err err = {0};

	rig->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(rig->dir_fd >= 0);
	assert_int_equal(wal_files_open(rig->dir_fd, SEGMENT_BYTES, &rig->files, &err), 0);
	int r = wal_open(&config, &wal_files_ops, rig->files, &at, &rig->wal, &err);
	if (r)
		fail_msg("%s", err_words(&err, r));
}

static void rig_close(struct rig *rig)
{
	rig->wal = wal_free(rig->wal);
	rig->files = wal_files_free(rig->files);
	rig->dir_fd = fd_close(rig->dir_fd);
}

static int append(struct rig *rig, uint64_t first, uint64_t last)
{
	struct wal_batch b = {.hard = {1, 1, first - 1}, .first = first, .last = last, .entry = entry_of};

	return wal_append(rig->wal, 0, &b);
}

static int sync_all(struct rig *rig)
{
	struct wal_sync what;

	if (!wal_sync_begin(rig->wal, &what))
		return 0;
	int r = wal_files_sync(rig->files, what.first, what.last);
	return r ? r : wal_sync_end(rig->wal);
}

static void what_was_synced_is_read_again_over_many_segments(void **state)
{
	struct rig rig;

	rig_open(&rig, *state, 0);
	assert_int_equal(wal_state(rig.wal, 0).last, 0);
	assert_int_equal(wal_begin(rig.wal), 0);
	for (uint64_t i = 1; i <= 600; i += 3)
		assert_int_equal(append(&rig, i, i + 2), 0);
	assert_int_equal(sync_all(&rig), 0);
	assert_in_range(folder_count(*state, ".wal"), 4, 16);
	rig_close(&rig);
	rig_open(&rig, *state, 0);
	assert_int_equal(wal_state(rig.wal, 0).last, 600);
	for (uint64_t i = 1; i <= 600; i++)
		entry_check(rig.wal, i);
	rig_close(&rig);
}

static void removed_segments_are_used_again_and_their_old_bytes_are_not_read(void **state)
{
	struct rig rig;
	uint64_t index = 0;

	rig_open(&rig, *state, 0);
	assert_int_equal(wal_begin(rig.wal), 0);
	for (int round = 0; round < 40; round++) {
		assert_int_equal(append(&rig, index + 1, index + 60), 0);
		index += 60;
		assert_int_equal(sync_all(&rig), 0);
		assert_int_equal(wal_drop(rig.wal, 0, index - 10), 0);
		assert_in_range(folder_count(*state, ".wal"), 1, 4 + WAL_FILES_SPARES);
	}
	assert_in_range(folder_count(*state, "spare-"), 1, WAL_FILES_SPARES);
	rig_close(&rig);
	rig_open(&rig, *state, index - 10);
	assert_int_equal(wal_state(rig.wal, 0).last, index);
	for (uint64_t i = index - 9; i <= index; i++)
		entry_check(rig.wal, i);
	assert_int_equal(wal_begin(rig.wal), 0);
	rig_close(&rig);
}

static void a_folder_belongs_to_one_process(void **state)
{
	struct wal_files *second = NULL;
	struct err err = {0};
	struct rig rig;

	rig_open(&rig, *state, 0);
	assert_int_equal(wal_files_open(rig.dir_fd, SEGMENT_BYTES, &second, &err), -EBUSY);
	assert_string_equal(err.text, "the log's folder: another process writes to it");
	rig_close(&rig);
	rig_open(&rig, *state, 0);
	rig_close(&rig);
}

static void unfinished_files_and_spares_of_another_size_are_removed(void **state)
{
	static const char *const odd[] = {"segment.new", "spare.new", "spare-0.wal", "spare-1.wal"};
	struct rig rig;

	for (size_t i = 0; i < LENGTH(odd); i++)
		folder_write(*state, odd[i], "short");
	folder_write(*state, "notes.txt", "not ours");
	rig_open(&rig, *state, 0);
	assert_int_equal(folder_count(*state, ""), 1);
	assert_int_equal(wal_files_prepare(rig.files), 0);
	assert_int_equal(wal_files_prepare(rig.files), 0);
	assert_int_equal(folder_count(*state, "spare-"), 1);
	rig_close(&rig);
}

/* ---- kills ---- */

/* Appends and syncs for ever, and tells after each sync how far all is durable. */
static _Noreturn void writer(const char *dir, int tell)
{
	struct rig rig;
	int event = eventfd(0, EFD_CLOEXEC);
	struct wal_syncer *syncer = NULL;
	bool under_way = false;
	uint64_t index, syncing = 0;

	rig_open(&rig, dir, 0);
	index = wal_state(rig.wal, 0).last;
	CHECK(wal_begin(rig.wal) == 0);
	CHECK(wal_syncer_new(rig.files, event, &syncer) == 0);
	for (;;) {
		struct pollfd p = {.fd = event, .events = POLLIN};
		struct wal_sync what;
		eventfd_t n;
		int r;
		if (append(&rig, index + 1, index + 3) != 0)
			_exit(1); /* the power is gone */
		index += 3;
		if (!under_way && wal_sync_begin(rig.wal, &what)) {
			wal_syncer_start(syncer, &what);
			under_way = true;
			syncing = index;
		}
		/* More is appended while a sync runs, but not without end. */
		if (poll(&p, 1, index > syncing + 30 ? -1 : 0) != 1)
			continue;
		CHECK(eventfd_read(event, &n) == 0);
		if (!wal_syncer_take(syncer, &r))
			continue;
		if (r || wal_sync_end(rig.wal) != 0)
			_exit(1);
		under_way = false;
		CHECK(write(tell, &syncing, sizeof syncing) == (ssize_t)sizeof syncing);
	}
}

struct child {
	pid_t pid;
	int hear;
};

static struct child child_start(const char *dir)
{
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	struct child c = {.pid = fork(), .hear = ends[0]};
	assert_true(c.pid >= 0);
	if (c.pid == 0) {
		(void)close(ends[0]);
		writer(dir, ends[1]);
	}
	(void)close(ends[1]);
	return c;
}

/* What it called durable when it has told @tells times. */
static uint64_t child_hear(const struct child *c, uint64_t tells)
{
	uint64_t durable = 0;

	while (tells-- > 0)
		assert_int_equal(read(c->hear, &durable, sizeof durable), sizeof durable);
	return durable;
}

static int child_wait(struct child *c)
{
	int status;

	assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
	(void)close(c->hear);
	return status;
}

/* Everything up to @durable, and whatever follows it, is as it was written. */
static void check_log(const char *dir, uint64_t durable)
{
	struct rig rig;

	rig_open(&rig, dir, 0);
	assert_true(wal_state(rig.wal, 0).last >= durable);
	assert_int_equal(wal_state(rig.wal, 0).lost_to, 0);
	for (uint64_t at = 1; at <= wal_state(rig.wal, 0).last; at++)
		entry_check(rig.wal, at);
	rig_close(&rig);
}

static void what_a_killed_process_called_durable_is_there(void **state)
{
	struct rng rng = rng_seeded(20261125);
	uint64_t durable = 0, heard;

	for (int i = 0; i < 25; i++) {
		struct child c = child_start(*state);
		durable = child_hear(&c, 1 + rng_below(&rng, 12));
		assert_int_equal(kill(c.pid, SIGKILL), 0);
		while (read(c.hear, &heard, sizeof heard) == (ssize_t)sizeof heard)
			durable = heard;
		int status = child_wait(&c);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		check_log(*state, durable);
	}
}

static void what_was_called_durable_survives_a_power_cut(void **state)
{
	struct rng rng = rng_seeded(20261126);
	struct loop_disk *disk = *state;
	uint64_t durable = 0;

	if (!disk) {
		skip(); /* does not return, but says so to nobody */
		return;
	}
	for (int i = 0; i < 8; i++) {
		loop_disk_mount(disk);
		check_log(disk->mount, durable);
		struct child c = child_start(disk->mount);
		durable = child_hear(&c, 1 + rng_below(&rng, 20));
		loop_disk_cut(disk);
		/* It meets an error at its next sync and ends; what it says after the cut counts no more. */
		int status = child_wait(&c);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
		loop_disk_unmount(disk);
	}
}

/* Leaves no room on the disk. */
static void fill_disk(const char *mount)
{
	int dir = folder_open(mount), fd = openat(dir, "filler", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	off_t at = 0;

	assert_true(fd >= 0);
	for (off_t piece = 1 << 20; piece >= 1024; piece /= 2)
		while (posix_fallocate(fd, at, piece) == 0)
			at += piece;
	(void)close(fd);
	(void)close(dir);
}

static void a_full_disk_stops_the_log_when_its_last_segment_is_full_and_loses_nothing(void **state)
{
	struct loop_disk *disk = *state;
	uint64_t index = 0;
	struct rig rig;
	int r = 0;

	if (!disk) {
		skip(); /* does not return, but says so to nobody */
		return;
	}
	loop_disk_mount(disk);
	rig_open(&rig, disk->mount, 0);
	assert_int_equal(wal_begin(rig.wal), 0);
	fill_disk(disk->mount);
	assert_int_equal(wal_files_prepare(rig.files), -ENOSPC);
	assert_int_equal(folder_count(disk->mount, ".new"), 0);
	while (r == 0 && index < 10000) {
		r = append(&rig, index + 1, index + 5);
		if (r == 0)
			r = sync_all(&rig);
		index += r == 0 ? 5 : 0;
	}
	assert_int_equal(r, -ENOSPC);
	assert_in_range(index, 50, 400);
	assert_int_equal(unlinkat(rig.dir_fd, "filler", 0), 0);
	assert_int_equal(wal_files_prepare(rig.files), 0);
	rig_close(&rig);
	check_log(disk->mount, index);
}

static int setup(void **state)
{
	*state = folder_new();
	return 0;
}

static int teardown(void **state)
{
	folder_free(*state);
	return 0;
}

static int setup_disk(void **state)
{
	*state = loop_disk_new();
	return 0;
}

static int teardown_disk(void **state)
{
	loop_disk_free(*state);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(what_was_synced_is_read_again_over_many_segments),
		T(removed_segments_are_used_again_and_their_old_bytes_are_not_read),
		T(a_folder_belongs_to_one_process),
		T(unfinished_files_and_spares_of_another_size_are_removed),
#define D(f) cmocka_unit_test_setup_teardown(f, setup_disk, teardown_disk)
		D(a_full_disk_stops_the_log_when_its_last_segment_is_full_and_loses_nothing),
		T(what_a_killed_process_called_durable_is_there),
		D(what_was_called_durable_survives_a_power_cut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
