#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/checks.h"
#include "cli/child.h"
#include "cli/instance.h"
#include "cli/mountinfo.h"
#include "cli/proc.h"
#include "cli/record.h"
#include "common/base/fd.h"

/* A folder that plays /proc. */
struct world {
	char path[64];
	int fd;
};

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof *w);

	assert_non_null(w);
	*state = w; /* tear_down() frees it */
	(void)snprintf(w->path, sizeof w->path, "/tmp/larder-cli-test-XXXXXX");
	assert_non_null(mkdtemp(w->path));
	w->fd = open(w->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return w->fd < 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;
	int r = instance_remove_tree(AT_FDCWD, w->path);

	(void)close(w->fd);
	free(w);
	return r;
}

static void put(const struct world *w, const char *path, const char *text, size_t len)
{
	int fd = openat(w->fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(fd_write_full(fd, text, len), 0);
	(void)close(fd);
}

static void make(const struct world *w, const char *path)
{
	assert_int_equal(mkdirat(w->fd, path, 0700), 0);
}

static const char table[] =
	"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
	"90 22 0:51 / /mnt/one ro,nosuid,nodev shared:9 - fuse.larder larder ro,user_id=0\n"
	"91 22 0:52 / /mnt/with\\040space rw - fuse.sshfs x rw\n"
	"92 90 0:53 / /mnt/one rw,nosuid - fuse.larder larder rw\n"
	"93 22 0:54 / /sys/fs/fuse/connections rw - fusectl none rw\n";

static void the_topmost_mount_of_a_path_counts(void **state)
{
	const struct world *w = *state;
	struct mount_entry m;

	make(w, "self");
	put(w, "self/mountinfo", table, sizeof table - 1);
	assert_int_equal(mount_at(w->fd, "/mnt/one", &m), 0);
	assert_int_equal(m.id, 92);
	assert_int_equal(m.minor, 53);
	assert_true(mount_is_larder(&m));
	assert_false(m.read_only);
	assert_int_equal(mount_at(w->fd, "/mnt/with space", &m), 0);
	assert_true(mount_is_fuse(&m));
	assert_false(mount_is_larder(&m));
	assert_int_equal(mount_at(w->fd, "/mnt", &m), -ENOENT);
	assert_int_equal(mount_at(w->fd, "/sys/fs/fuse/connections", &m), 0);
	assert_false(mount_is_fuse(&m));
	assert_int_equal(mount_of(w->fd, "/mnt/one/a/b", &m), 0);
	assert_int_equal(m.id, 92);
	assert_int_equal(mount_of(w->fd, "/mnt/ones", &m), 0);
	assert_int_equal(m.id, 22);
}

static void a_broken_line_of_mountinfo_is_passed_over(void **state)
{
	static const char *const wrong[] = {"", "x", "1 2 3", "1 2 0:1 / /x rw",
					    "1 2 0:1 / /x rw shared:1 fuse y rw"};
	struct mount_entry m;

	for (size_t i = 0; i < LENGTH(wrong); i++)
		assert_int_equal(mount_entry_parse(wrong[i], &m), -EINVAL);
	assert_int_equal(mount_entry_parse("1 2 0:1 / /x ro - fuse y rw", &m), 0);
	assert_true(m.read_only);
}

static void make_process(const struct world *w, const char *pid, const char *exe, const char *cwd)
{
	char path[64];

	make(w, pid);
	(void)snprintf(path, sizeof path, "%s/exe", pid);
	assert_int_equal(symlinkat(exe, w->fd, path), 0);
	(void)snprintf(path, sizeof path, "%s/cwd", pid);
	assert_int_equal(symlinkat(cwd, w->fd, path), 0);
	(void)snprintf(path, sizeof path, "%s/comm", pid);
	put(w, path, "name\n", 5);
	(void)snprintf(path, sizeof path, "%s/fd", pid);
	make(w, path);
	(void)snprintf(path, sizeof path, "%s/fdinfo", pid);
	make(w, path);
	(void)snprintf(path, sizeof path, "%s/maps", pid);
	put(w, path, "", 0);
}

static void a_recycled_pid_is_not_ours(void **state)
{
	static const char line[] = "/x/larder-node\0--state=/s\0--listen=unix:/run/larder/a/node/node.sock";
	const struct world *w = *state;

	make_process(w, "7", "/usr/libexec/larder/larder-node", "/");
	make_process(w, "8", "/usr/libexec/larder/larder-node (deleted)", "/");
	put(w, "7/cmdline", line, sizeof line);
	assert_true(proc_is(w->fd, 7, "larder-node", NULL));
	assert_true(proc_is(w->fd, 8, "larder-node", NULL));
	assert_true(proc_is(w->fd, 7, "larder-node", "/run/larder/a/"));
	assert_false(proc_is(w->fd, 7, "larder-node", "/run/larder/b/"));
	assert_false(proc_is(w->fd, 8, "larder-node", "/run/larder/a/"));
	assert_false(proc_is(w->fd, 7, "larder", NULL));
	assert_false(proc_is(w->fd, 9, "larder-node", NULL));
	assert_false(proc_is(w->fd, 0, "larder-node", NULL));
}

static const struct holder *holder_of(const struct holder *h, size_t count, pid_t pid)
{
	for (size_t i = 0; i < count; i++)
		if (h[i].pid == pid)
			return &h[i];
	return NULL;
}

static void who_holds_a_mount_is_found_without_touching_it(void **state)
{
	static const char map[] = "7f00-7f01 r--p 00000000 00:35 12 /mnt/one/m.bin\n";
	const struct world *w = *state;
	const struct mount_entry m = {.id = 92, .minor = 0x35, .type = "fuse.larder", .point = "/mnt/one"};
	struct holder h[HOLDERS_MAX];

	make_process(w, "10", "/bin/sh", "/mnt/one/sub");
	make_process(w, "11", "/bin/sh", "/mnt/ones");
	make_process(w, "12", "/bin/sh", "/");
	put(w, "12/fdinfo/3", "pos:\t0\nflags:\t0\nmnt_id:\t92\n", 27);
	assert_int_equal(symlinkat("/mnt/one/f", w->fd, "12/fd/3"), 0);
	make_process(w, "13", "/bin/sh", "/");
	put(w, "13/maps", map, sizeof map - 1);
	make_process(w, "14", "/bin/sh", "/");
	put(w, "14/fdinfo/3", "pos:\t0\nmnt_id:\t922\n", 19);
	assert_int_equal(symlinkat("/other", w->fd, "14/fd/3"), 0);
	size_t count = proc_holders(w->fd, &m, h);
	assert_int_equal(count, 3);
	assert_string_equal(holder_of(h, count, 10)->how, "working folder /mnt/one/sub");
	assert_string_equal(holder_of(h, count, 10)->name, "name");
	assert_string_equal(holder_of(h, count, 12)->how, "file /mnt/one/f");
	assert_string_equal(holder_of(h, count, 13)->how, "map of /mnt/one/m.bin");
	assert_true(proc_has_open(w->fd, 12, "/mnt/one/f"));
	assert_false(proc_has_open(w->fd, 12, "/mnt/one"));
}

static void an_instance_runs_as_long_as_its_lock_is_held(void **state)
{
	const struct world *w = *state;
	char names[INSTANCES_MAX][NAME_LABEL_MAX + 1], name[NAME_LABEL_MAX + 1];
	int lock, second;
	pid_t pid;

	assert_int_equal(instance_look(w->fd, "a"), INSTANCE_ABSENT);
	make(w, "a");
	make(w, "b");
	assert_int_equal(instance_look(w->fd, "a"), INSTANCE_LEFT);
	int dir = openat(w->fd, "a", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(instance_lock(dir, &lock), 0);
	assert_int_equal(instance_lock(dir, &second), -EAGAIN);
	assert_int_equal(instance_look(w->fd, "a"), INSTANCE_RUNNING);
	assert_int_equal(instance_list(w->fd, INSTANCE_RUNNING, names), 1);
	assert_string_equal(names[0], "a");
	assert_int_equal(instance_choose(w->fd, NULL, name, NULL), 0);
	assert_string_equal(name, "a");
	assert_int_equal(instance_pid_write(dir, "x.pid", 4711), 0);
	assert_int_equal(instance_pid_read(dir, "x.pid", &pid), 0);
	assert_int_equal(pid, 4711);
	put(w, "a/y.pid", "-4", 2);
	assert_int_equal(instance_pid_read(dir, "y.pid", &pid), -EINVAL);
	(void)close(lock);
	assert_int_equal(instance_look(w->fd, "a"), INSTANCE_LEFT);
	(void)close(dir);
	assert_int_equal(instance_choose(-1, NULL, name, NULL), 0);
	assert_string_equal(name, "default");
	assert_int_equal(instance_choose(w->fd, "A b", name, NULL), -EINVAL);
}

static void a_mount_point_that_cannot_be_used_is_told_in_one_sentence(void **state)
{
	const struct world *w = *state;
	char path[128], want[300];
	struct err err;

	make(w, "self");
	put(w, "self/mountinfo", "", 0);
	(void)snprintf(path, sizeof path, "%s/none", w->path);
	assert_int_equal(check_mount_point(w->fd, path, &err), -ENOENT);
	(void)snprintf(want, sizeof want, "mount point %s does not exist; make it: mkdir -p %s", path, path);
	assert_string_equal(err.text, want);
	put(w, "none", "", 0);
	assert_int_equal(check_mount_point(w->fd, path, &err), -ENOTDIR);
	assert_int_equal(check_mount_point(w->fd, w->path, &err), -ENOTEMPTY);
	make(w, "good");
	(void)snprintf(path, sizeof path, "%s/good", w->path);
	assert_int_equal(check_mount_point(w->fd, path, &err), 0);
	(void)snprintf(want, sizeof want, "9 1 0:5 / %s rw - tmpfs x rw\n", path);
	put(w, "self/mountinfo", want, strlen(want));
	assert_int_equal(check_mount_point(w->fd, path, &err), -EBUSY);
	(void)snprintf(want, sizeof want,
		       "%s is a mount point already (tmpfs); unmount it or choose another folder", path);
	assert_string_equal(err.text, want);
	assert_int_equal(check_fuse_device("/nonexistent", &err), -ENOENT);
	assert_int_equal(check_port("metrics", "nonsense", &err), -EINVAL);
}

static void paths_are_made_absolute_as_text(void **state)
{
	char out[PATH_MAX];

	assert_int_equal(path_absolute("/a//b/./../c/", out, NULL), 0);
	assert_string_equal(out, "/a/c");
	assert_int_equal(path_absolute("/../..", out, NULL), 0);
	assert_string_equal(out, "/");
	assert_int_equal(path_resolve_parent("/tmp/../tmp/x", out, NULL), 0);
	assert_string_equal(out, "/tmp/x");
	assert_int_equal(path_resolve_parent("/", out, NULL), -EINVAL);
	assert_int_equal(path_absolute("", out, NULL), -EINVAL);
}

static void a_record_comes_back_as_it_was_written(void **state)
{
	const struct world *w = *state;
	struct record r = {.mount = "/mnt/x", .state = "/s", .started_ns = 5000000000},
		      back = {.targets = NULL};
	char names[3][RECORD_DATASET_MAX] = {"default/one", "b/one", "b/two"};

	assert_int_equal(record_read(w->fd, &back), -ENOENT);
	assert_int_equal(record_plan(&r, names, 3, NULL), 0);
	assert_int_equal(record_write(&r, w->fd), 0);
	assert_int_equal(record_read(w->fd, &back), 0);
	assert_int_equal(back.target_count, 3);
	assert_string_equal(back.targets[0].target, "/mnt/x/default/one");
	assert_string_equal(back.targets[1].target, "/mnt/x/b/one");
	assert_string_equal(back.targets[2].target, "/mnt/x/two");
	assert_true(back.targets[2].made);
	assert_int_equal(back.started_ns, 5000000000);
	record_done(&r);
	record_done(&back);
	assert_int_equal(record_plan(&r, names, 1, NULL), 0);
	assert_string_equal(r.targets[0].target, "/mnt/x");
	assert_false(r.targets[0].made);
	record_done(&r);
	put(w, "instance.json", "{\"mount\": 3}", 12);
	assert_int_equal(record_read(w->fd, &back), -EINVAL);
}

static void a_child_is_started_stopped_and_restarted_ever_more_slowly(void **state)
{
	const struct world *w = *state;
	struct child c = {.name = "sleep", .pid_file = "sleep.pid", .error_fd = -1};
	pid_t pid;

	(void)snprintf(c.program, sizeof c.program, "/bin/sleep");
	child_arg(&c, "%s", c.program);
	child_arg(&c, "%d", 1000);
	assert_int_equal(child_start(&c, w->fd, NULL), 0);
	assert_int_equal(instance_pid_read(w->fd, "sleep.pid", &pid), 0);
	assert_int_equal(pid, c.pid);
	child_stop(&c, 5000);
	assert_int_equal(c.pid, 0);
	child_died(&c, c.started_ns + 1);
	assert_int_equal(c.delay_ms, CHILD_DELAY_MS);
	child_died(&c, c.started_ns + 1);
	assert_int_equal(c.delay_ms, 2 * CHILD_DELAY_MS);
	for (int i = 0; i < 20; i++)
		child_died(&c, c.started_ns + 1);
	assert_int_equal(c.delay_ms, CHILD_DELAY_MS_MAX);
	child_died(&c, c.started_ns + CHILD_STEADY_NS);
	assert_int_equal(c.delay_ms, CHILD_DELAY_MS);
	child_done(&c);
	(void)snprintf(c.program, sizeof c.program, "/nonexistent");
	assert_int_equal(child_start(&c, w->fd, NULL), -ENOENT);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(the_topmost_mount_of_a_path_counts),
		T(a_broken_line_of_mountinfo_is_passed_over),
		T(a_recycled_pid_is_not_ours),
		T(who_holds_a_mount_is_found_without_touching_it),
		T(an_instance_runs_as_long_as_its_lock_is_held),
		T(a_mount_point_that_cannot_be_used_is_told_in_one_sentence),
		T(paths_are_made_absolute_as_text),
		T(a_record_comes_back_as_it_was_written),
		T(a_child_is_started_stopped_and_restarted_ever_more_slowly),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
