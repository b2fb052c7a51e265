#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "csi-driver/mounter/state.h"

static const dev_t devs[] = {7, 9};

static struct backing_facts good_facts(void)
{
	return (struct backing_facts){
		.fl_flags = O_RDONLY,
		.st = {.st_mode = S_IFREG | 0400, .st_dev = 9, .st_uid = 65532, .st_nlink = 1},
		.client_uid = 65532,
		.tier_devs = devs,
		.tier_dev_count = 2,
	};
}

static void own_cache_files_are_accepted_also_when_unlinked(void **state)
{
	struct backing_facts f = good_facts();

	assert_null(backing_refusal(&f));
	f.st.st_nlink = 0;
	assert_null(backing_refusal(&f));
}

static void what_is_not_the_clients_own_cache_file_is_refused(void **state)
{
	struct backing_facts f = good_facts();

	f.fl_flags = O_PATH;
	assert_string_equal(backing_refusal(&f), "it was opened with O_PATH");
	f.fl_flags = O_RDWR;
	assert_string_equal(backing_refusal(&f), "it is not opened read-only");
	f = good_facts();
	f.st.st_mode = S_IFIFO | 0600;
	assert_string_equal(backing_refusal(&f), "it is not a regular file");
	f = good_facts();
	f.st.st_dev = 8;
	assert_string_equal(backing_refusal(&f), "it does not lie on a tier of this client");
	f.tier_dev_count = 0;
	f.st.st_dev = 7;
	assert_non_null(backing_refusal(&f));
	f = good_facts();
	f.st.st_uid = 0;
	assert_string_equal(backing_refusal(&f), "it belongs to another user");
	f = good_facts();
	f.st.st_nlink = 2;
	assert_string_equal(backing_refusal(&f), "it has more than one link");
}

static void paths_with_dots_or_without_end_are_not_clean(void **state)
{
	static const char *const good[] = {"/", "/a", "/a/b.c", "/..a", "/a.."};
	static const char *const bad[] = {"", "a", "/a/", "//a", "/a//b", "/.", "/..", "/a/../b", "/a/."};

	for (size_t i = 0; i < LENGTH(good); i++)
		assert_true(path_is_clean(good[i], 4096));
	for (size_t i = 0; i < LENGTH(bad); i++)
		assert_false(path_is_clean(bad[i], 4096));
	assert_false(path_is_clean("/abc", 4));
}

static void a_path_is_below_its_root_only_at_a_component(void **state)
{
	assert_string_equal(path_below("/a", "/a/b"), "b");
	assert_string_equal(path_below("/a", "/a"), "");
	assert_string_equal(path_below("/", "/x/y"), "x/y");
	assert_null(path_below("/a", "/ab"));
	assert_null(path_below("/a/b", "/a"));
}

static bool read_line(const char *text, struct marked_mount *ret)
{
	static char line[1024];

	snprintf(line, sizeof line, "%s", text);
	return mark_read(line, ret);
}

#define ID  "000102030405060708090a0b0c0d0eff"
#define END " rw,user_id=0,group_id=0,default_permissions,allow_other\n"

static void a_mark_tells_whose_a_mount_is(void **state)
{
	static const uint8_t id[MOUNTER_SESSION_BYTES] = {0, 1, 2,  3,  4,  5,  6,  7,
							  8, 9, 10, 11, 12, 13, 14, 255};
	struct marked_mount m;
	char mark[MOUNTER_MARK_MAX];

	assert_int_equal(mark_format(id, "/run/a b/s", mark), 0);
	assert_string_equal(mark, "larder:" ID ":/run/a b/s");
	assert_true(read_line("36 35 0:77 / /mnt/a\\040b ro,nosuid shared:1 master:2 - fuse.larder larder:" ID
			      ":/run/a\\040b/s" END,
			      &m));
	assert_memory_equal(m.session, id, sizeof id);
	assert_int_equal(m.minor, 77);
	assert_string_equal(m.path, "/mnt/a b");
	assert_string_equal(m.socket, "/run/a b/s");
	char socket[MOUNTER_MARK_MAX];
	memset(socket, 'x', sizeof socket - 1);
	socket[sizeof socket - 1] = 0;
	assert_int_equal(mark_format(id, socket, mark), -1);
}

static void what_only_looks_like_a_mark_is_nobodys(void **state)
{
	static const char *const lines[] = {
		"",
		"\n",
		"36 35 0:77 / /mnt/a",
		"36 35 0:77 / /mnt/a ro -",
		"36 35 0:77 / /mnt/a ro - fuse.larder larder:" ID ":/s",
		/* mounted by a user with a setuid helper */
		"36 35 0:77 / /mnt/a ro - fuse.larder larder:" ID ":/s rw,user_id=1000,group_id=0\n",
		"36 35 0:77 / /mnt/a ro - fuse.larder larder:" ID ":/s rw,xuser_id=0\n",
		"36 35 0:77 / /mnt/a ro - fuse.other larder:" ID ":/s" END,
		"36 35 8:77 / /mnt/a ro - fuse.larder larder:" ID ":/s" END,
		"36 35 0:x / /mnt/a ro - fuse.larder larder:" ID ":/s" END,
		/* a part of it, bound elsewhere */
		"36 35 0:77 /sub /mnt/a ro - fuse.larder larder:" ID ":/s" END,
		"36 35 0:77 / /mnt/a ro - fuse.larder larder" END,
		"36 35 0:77 / /mnt/a ro - fuse.larder larder:0001:/s" END,
		"36 35 0:77 / /mnt/a ro - fuse.larder larder:" ID END,
		"36 35 0:77 / /mnt/a ro - fuse.larder larder:0001020304050607080G0A0B0C0D0EFF:/s" END,
	};
	struct marked_mount m;

	for (size_t i = 0; i < LENGTH(lines); i++)
		assert_false(read_line(lines[i], &m));
}

static void a_session_is_found_by_its_owner_alone(void **state)
{
	static struct session sessions[MOUNTER_SESSIONS_MAX];
	struct mounter m = {.sessions = sessions};
	uint8_t id[MOUNTER_SESSION_BYTES] = {1}, other[MOUNTER_SESSION_BYTES] = {2};
	uint8_t ids[MOUNTER_LIST_MAX][MOUNTER_SESSION_BYTES];

	sessions[3] = (struct session){.used = true, .client = 1, .dev_fd = -1, .memory_fd = -1};
	memcpy(sessions[3].id, id, sizeof id);
	assert_ptr_equal(session_find(&m, 1, id), &sessions[3]);
	assert_null(session_find(&m, 0, id));
	assert_null(session_find(&m, 1, other));
	assert_true(session_id_taken(&m, id));
	assert_int_equal(session_list(&m, 1, 0, ids), 1);
	assert_memory_equal(ids[0], id, sizeof id);
	assert_int_equal(session_list(&m, 0, 0, ids), 0);
	session_release(&sessions[3]);
	assert_false(session_id_taken(&m, id));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(own_cache_files_are_accepted_also_when_unlinked),
		cmocka_unit_test(what_is_not_the_clients_own_cache_file_is_refused),
		cmocka_unit_test(paths_with_dots_or_without_end_are_not_clean),
		cmocka_unit_test(a_path_is_below_its_root_only_at_a_component),
		cmocka_unit_test(a_mark_tells_whose_a_mount_is),
		cmocka_unit_test(what_only_looks_like_a_mark_is_nobodys),
		cmocka_unit_test(a_session_is_found_by_its_owner_alone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
