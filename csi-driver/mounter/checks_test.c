#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
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
		cmocka_unit_test(a_session_is_found_by_its_owner_alone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
