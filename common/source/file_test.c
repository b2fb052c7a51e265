/* The file source against a temporary folder. */
#include "common/source/testing.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "common/base/fd.h"

struct fixture {
	char root[64];
	int root_fd;
	struct source_loop *loop;
	struct source *s;
};

static struct fixture fx;

static void put(const char *path, const void *bytes, size_t len)
{
	CLEANUP(fd_close) int fd = openat(fx.root_fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
	assert_true(fd >= 0);
	assert_int_equal(fd_write_full(fd, bytes, len), 0);
}

static int setup(void **state)
{
	const struct source_config c = {.kind = SOURCE_FILE, .label = "files"};
	struct source_config config = c;

	(void)snprintf(fx.root, sizeof fx.root, "/tmp/larder-file-test-XXXXXX");
	assert_non_null(mkdtemp(fx.root));
	fx.root_fd = open(fx.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fx.root_fd >= 0);
	assert_int_equal(source_loop_new("test", &fx.loop), 0);
	config.file.root_fd = fx.root_fd;
	assert_int_equal(source_new(fx.loop, &config, &fx.s, NULL), 0);
	return 0;
}

static int teardown(void **state)
{
	source_free(fx.s);
	source_loop_free(fx.loop);
	fd_close(fx.root_fd);
	return remove_tree(fx.root);
}

static void make_tree(void)
{
	assert_int_equal(mkdirat(fx.root_fd, "a", 0755), 0);
	assert_int_equal(mkdirat(fx.root_fd, "a/empty", 0700), 0);
	put("a/one", "1", 1);
	put("top", "22", 2);
	assert_int_equal(symlinkat("../../etc", fx.root_fd, "a/out"), 0);
	assert_int_equal(mkfifoat(fx.root_fd, "fifo", 0600), 0);
}

static void a_listing_shows_files_folders_and_links_and_skips_the_rest(void **state)
{
	static const char *const want[] = {"d a 0", "d a/empty 0", "f a/one 1", "f top 2",
					   "l a/out 0 -> ../../etc"};
	struct waiter w;

	make_tree();
	waiter_init(&w);
	assert_int_equal(list_and_wait(fx.s, "", &w), 0);
	assert_int_equal(w.line_count, LENGTH(want));
	qsort(w.lines, w.line_count, sizeof w.lines[0], compare_lines);
	for (size_t i = 0; i < LENGTH(want); i++)
		assert_string_equal(w.lines[i], want[i]);
	waiter_clear(&w);
}

static struct source *make_with(enum source_symlinks symlinks)
{
	const struct source_config c = {
		.kind = SOURCE_FILE, .label = "files", .file = {.root_fd = fx.root_fd, .symlinks = symlinks}};
	struct source *s = NULL;

	assert_int_equal(source_new(fx.loop, &c, &s, NULL), 0);
	return s;
}

static void lists(struct source *s, const char *const *want, size_t count, uint64_t left_out)
{
	struct source_stats stats;
	struct waiter w;

	waiter_init(&w);
	assert_int_equal(list_and_wait(s, "", &w), 0);
	qsort(w.lines, w.line_count, sizeof w.lines[0], compare_lines);
	for (size_t i = 0; i < MIN(count, w.line_count); i++)
		assert_string_equal(w.lines[i], want[i]);
	assert_int_equal(w.line_count, count);
	source_stats_get(s, &stats);
	assert_int_equal(stats.left_out, left_out);
	waiter_clear(&w);
}

static void links_are_kept_followed_inside_the_root_or_left_out(void **state)
{
	static const char *const keep[] = {"d a 0",
					   "d a/empty 0",
					   "f a/hard 1",
					   "f a/one 1",
					   "f top 2",
					   "l a/circle 0 -> ..",
					   "l a/dangling 0 -> none",
					   "l a/file 0 -> ../top",
					   "l a/out 0 -> ../../etc",
					   "l dir 0 -> a/empty",
					   "l root 0 -> /etc"};
	static const char *const follow[] = {"d a 0",      "d a/empty 0", "d dir 0", "f a/file 2",
					     "f a/hard 1", "f a/one 1",   "f top 2"};
	static const char *const skip[] = {"d a 0", "d a/empty 0", "f a/hard 1", "f a/one 1", "f top 2"};

	make_tree();
	assert_int_equal(linkat(fx.root_fd, "a/one", fx.root_fd, "a/hard", 0), 0);
	assert_int_equal(symlinkat("../top", fx.root_fd, "a/file"), 0);
	assert_int_equal(symlinkat("a/empty", fx.root_fd, "dir"), 0);
	assert_int_equal(symlinkat("..", fx.root_fd, "a/circle"), 0);
	assert_int_equal(symlinkat("none", fx.root_fd, "a/dangling"), 0);
	assert_int_equal(symlinkat("/etc", fx.root_fd, "root"), 0);
	struct source *s = make_with(SOURCE_SYMLINKS_KEEP);
	lists(s, keep, LENGTH(keep), 1); /* the fifo */
	source_free(s);
	s = make_with(SOURCE_SYMLINKS_SKIP);
	lists(s, skip, LENGTH(skip), 7);
	source_free(s);
	s = make_with(SOURCE_SYMLINKS_FOLLOW);
	lists(s, follow, LENGTH(follow), 5); /* fifo, out, circle, dangling, root */
	struct waiter w;
	waiter_init(&w);
	assert_int_equal(stat_and_wait(s, "a/file", &w), 0);
	const struct source_read_request r = {
		.key = "a/file", .length = 2, .object_size = 2, .validator = w.entry.validator};
	waiter_clear(&w);
	waiter_init(&w);
	assert_int_equal(read_and_wait(s, &r, &w), 0);
	assert_memory_equal(w.bytes, "22", 2);
	waiter_clear(&w);
	/* The link is turned to a place outside meanwhile: its bytes are nobody's. */
	assert_int_equal(unlinkat(fx.root_fd, "a/file", 0), 0);
	assert_int_equal(symlinkat("../../../etc/passwd", fx.root_fd, "a/file"), 0);
	waiter_init(&w);
	assert_int_equal(read_and_wait(s, &r, &w), -ESTALE);
	waiter_clear(&w);
	source_free(s);
}

static void a_listing_of_a_prefix_keeps_whole_keys(void **state)
{
	struct waiter w;

	make_tree();
	waiter_init(&w);
	assert_int_equal(list_and_wait(fx.s, "a/", &w), 0);
	assert_int_equal(w.line_count, 3);
	qsort(w.lines, w.line_count, sizeof w.lines[0], compare_lines);
	assert_string_equal(w.lines[1], "f a/one 1");
	waiter_clear(&w);
	waiter_init(&w);
	assert_int_equal(list_and_wait(fx.s, "none/", &w), -ENOENT);
	waiter_clear(&w);
}

static void large_folders_come_in_pages(void **state)
{
	char name[32];
	struct waiter w;

	for (int i = 0; i < 2300; i++) {
		snprintf(name, sizeof name, "%d", i);
		put(name, "", 0);
	}
	waiter_init(&w);
	assert_int_equal(list_and_wait(fx.s, "", &w), 0);
	assert_int_equal(w.line_count, 2300);
	assert_int_equal(w.pages, 3);
	waiter_clear(&w);
	waiter_init(&w);
	w.stop_after_page = -ENOSPC;
	assert_int_equal(list_and_wait(fx.s, "", &w), -ENOSPC);
	assert_int_equal(w.pages, 1);
	waiter_clear(&w);
}

static struct source_read_request request_of(const char *key, uint64_t offset, uint64_t length)
{
	struct waiter w;

	waiter_init(&w);
	assert_int_equal(stat_and_wait(fx.s, key, &w), 0);
	assert_int_equal(w.entry.validator.kind, VALIDATOR_WEAK);
	const struct source_read_request r = {.key = key,
					      .offset = offset,
					      .length = length,
					      .object_size = w.entry.size,
					      .validator = w.entry.validator};
	waiter_clear(&w);
	return r;
}

static void a_range_is_read_with_and_without_pauses(void **state)
{
	enum { SIZE = 3 << 20 };
	uint8_t *bytes = malloc(SIZE);
	struct waiter w;

	for (size_t i = 0; i < SIZE; i++)
		bytes[i] = (uint8_t)(i * 2654435761u >> 13);
	put("big", bytes, SIZE);
	const struct source_read_request r = request_of("big", 1234, SIZE - 2000);
	waiter_init(&w);
	assert_int_equal(read_and_wait(fx.s, &r, &w), 0);
	assert_memory_equal(w.bytes, bytes + 1234, w.len);
	waiter_clear(&w);
	waiter_init(&w);
	w.pause_every = 50000;
	w.stretch = 4096;
	start_read(fx.s, &r, &w);
	assert_int_equal(resume_until_done(&w), 0);
	assert_memory_equal(w.bytes, bytes + 1234, SIZE - 2000);
	waiter_clear(&w);
	free(bytes);
}

static void a_file_replaced_after_the_listing_is_stale(void **state)
{
	struct waiter w;

	put("f", "old", 3);
	const struct source_read_request r = request_of("f", 0, 3);
	put("g", "new", 3);
	assert_int_equal(renameat(fx.root_fd, "g", fx.root_fd, "f"), 0);
	waiter_init(&w);
	assert_int_equal(read_and_wait(fx.s, &r, &w), -ESTALE);
	assert_int_equal(w.len, 0);
	assert_non_null(strstr(w.err.text, "files: f: the file was changed"));
	waiter_clear(&w);
}

static void a_file_changed_during_a_read_is_stale_and_its_new_bytes_stay_inside(void **state)
{
	uint8_t old[100000];
	struct waiter w;

	memset(old, 'o', sizeof old);
	put("f", old, sizeof old);
	const struct source_read_request r = request_of("f", 0, sizeof old);
	waiter_init(&w);
	w.pause_every = 40000;
	start_read(fx.s, &r, &w);
	wait_for_pause(&w);
	memset(old, 'n', sizeof old);
	put("f", old, sizeof old);
	pthread_mutex_lock(&w.lock);
	source_op_resume(w.op);
	pthread_mutex_unlock(&w.lock);
	assert_int_equal(waiter_wait(&w), -ESTALE);
	assert_int_equal(w.len, 40000);
	for (size_t i = 0; i < w.len; i++)
		assert_int_equal(w.bytes[i], 'o');
	waiter_clear(&w);
}

static void a_missing_file_is_stale_for_reads_and_enoent_for_stat(void **state)
{
	struct source_read_request r = {.key = "none", .length = 1, .object_size = 1};
	struct waiter w;

	waiter_init(&w);
	assert_int_equal(read_and_wait(fx.s, &r, &w), -ESTALE);
	waiter_clear(&w);
	waiter_init(&w);
	assert_int_equal(stat_and_wait(fx.s, "none", &w), -ENOENT);
	waiter_clear(&w);
}

static void nothing_outside_the_root_can_be_read(void **state)
{
	static const char *const keys[] = {"../../etc/passwd", "/etc/passwd", "link", "dir/passwd",
					   "a/../../etc/passwd"};

	assert_int_equal(symlinkat("/etc/passwd", fx.root_fd, "link"), 0);
	assert_int_equal(symlinkat("/etc", fx.root_fd, "dir"), 0);
	for (size_t i = 0; i < LENGTH(keys); i++) {
		const struct source_read_request r = {.key = keys[i], .length = 1, .object_size = 1};
		struct waiter w;
		waiter_init(&w);
		assert_int_equal(read_and_wait(fx.s, &r, &w), -ESTALE);
		waiter_clear(&w);
	}
}

static void a_fifo_in_place_of_a_file_does_not_hold_a_thread(void **state)
{
	const struct source_read_request r = {.key = "fifo", .length = 1, .object_size = 1};
	struct waiter w;

	make_tree();
	waiter_init(&w);
	assert_int_equal(read_and_wait(fx.s, &r, &w), -ESTALE);
	waiter_clear(&w);
}

static void a_file_that_may_not_be_read_is_denied(void **state)
{
	struct waiter w;
	struct source_stats stats;

	put("secret", "x", 1);
	const struct source_read_request r = request_of("secret", 0, 1);
	assert_int_equal(fchmodat(fx.root_fd, "secret", 0, 0), 0);
	assert_int_equal(fchmod(fx.root_fd, 0755), 0);
	/* Root may read everything, so for one read all threads are somebody else. */
	const uid_t self = geteuid();
	if (self == 0)
		assert_int_equal(seteuid(65534), 0);
	waiter_init(&w);
	int got = read_and_wait(fx.s, &r, &w);
	assert_int_equal(seteuid(self), 0);
	assert_int_equal(got, -EACCES);
	waiter_clear(&w);
	source_stats_get(fx.s, &stats);
	assert_int_equal(stats.denied, 1);
}

static void paused_reads_are_canceled_alone_and_with_their_source(void **state)
{
	struct waiter w[2];

	put("f", "12345678", 8);
	const struct source_read_request r = request_of("f", 0, 8);
	for (size_t i = 0; i < 2; i++) {
		waiter_init(&w[i]);
		w[i].pause_every = 3;
		start_read(fx.s, &r, &w[i]);
		wait_for_pause(&w[i]);
	}
	source_op_cancel(w[0].op);
	assert_int_equal(waiter_wait(&w[0]), -ECANCELED);
	fx.s = source_free(fx.s);
	assert_int_equal(waiter_wait(&w[1]), -ECANCELED);
	waiter_clear(&w[0]);
	waiter_clear(&w[1]);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(links_are_kept_followed_inside_the_root_or_left_out),
		TEST(a_listing_shows_files_folders_and_links_and_skips_the_rest),
		TEST(a_listing_of_a_prefix_keeps_whole_keys),
		TEST(large_folders_come_in_pages),
		TEST(a_range_is_read_with_and_without_pauses),
		TEST(a_file_replaced_after_the_listing_is_stale),
		TEST(a_file_changed_during_a_read_is_stale_and_its_new_bytes_stay_inside),
		TEST(a_missing_file_is_stale_for_reads_and_enoent_for_stat),
		TEST(nothing_outside_the_root_can_be_read),
		TEST(a_fifo_in_place_of_a_file_does_not_hold_a_thread),
		TEST(a_file_that_may_not_be_read_is_denied),
		TEST(paused_reads_are_canceled_alone_and_with_their_source),
	};
	return cmocka_run_group_tests_name("file", tests, NULL, NULL);
}
