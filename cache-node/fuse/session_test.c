/* A session against a kernel played by the test. */
#include "cache-node/fuse/test_kernel.h"

static const char *const first_version[] = {"a=1", "dir/b=2", "dir/c=3", "dir/sub/d=4"};

static int setup(void **state)
{
	/* One request at a time: that a node is forgotten only after its reply was read is an order that goes through the kernel,
	 * which a thread sanitizer does not see. */
	const struct kernel_config c = {.threads = 1};

	*state = kernel_new(first_version, LENGTH(first_version), &c);
	return 0;
}

static int teardown(void **state)
{
	kernel_free(*state);
	return 0;
}

/* ---- tests ---- */

static void names_lead_to_nodes_with_the_datasets_owner_and_mode(void **state)
{
	struct kernel *k = *state;
	struct fuse_entry_out e = {0}, again = {0};
	struct fuse_attr_out a = {0};

	assert_int_equal(lookup(k, 1, "a", &e), 0);
	assert_true(e.nodeid > 1);
	assert_int_equal(e.attr.mode, S_IFREG | 0440);
	assert_int_equal(e.attr.uid, 7);
	assert_int_equal(e.attr.gid, 8);
	assert_int_equal(e.attr.mtime, 1);
	assert_int_equal(lookup(k, 1, "a", &again), 0);
	assert_int_equal(again.nodeid, e.nodeid);
	assert_int_equal(lookup(k, 1, "none", &e), 0);
	assert_int_equal(e.nodeid, 0); /* a cached "no such name" */
	assert_true(e.entry_valid > 0);
	assert_int_equal(lookup(k, 1, "dir", &e), 0);
	assert_int_equal(e.attr.mode, S_IFDIR | 0550);
	assert_int_equal(getattr(k, e.nodeid, &a), 0);
	assert_int_equal(a.attr.ino, e.attr.ino);
}

static void an_unknown_node_is_estale(void **state)
{
	struct kernel *k = *state;
	struct fuse_attr_out a = {0};
	struct fuse_entry_out e = {0};

	assert_int_equal(getattr(k, 12345ULL << 32 | 77, &a), -ESTALE);
	assert_int_equal(lookup(k, 999, "a", &e), -ESTALE);
}

static void a_directory_is_read_in_pieces_without_gaps(void **state)
{
	struct kernel *k = *state;
	struct fuse_entry_out dir = {0};
	char names[256], all[512] = "";
	uint64_t next = 0, before;

	assert_int_equal(lookup(k, 1, "dir", &dir), 0);
	uint64_t fh = open_dir(k, dir.nodeid);
	do {
		before = next;
		read_dir(k, dir.nodeid, fh, before, 64, names, &next);
		if (names[0])
			snprintf(all + strlen(all), sizeof all - strlen(all), "%s ", names);
	} while (names[0]);
	assert_string_equal(all, ". .. b c sub ");
}

/* A walk over more names than there are places must leave some to those who open files. */
static void listings_leave_a_quarter_of_the_table_to_lookups(void **state)
{
	static const char *const files[] = {"a=1", "b=1", "c=1", "d=1", "e=1",
					    "f=1", "g=1", "h=1", "i=1", "j=1"};
	const struct kernel_config c = {.threads = 1};
	struct kernel *k = kernel_new(files, LENGTH(files), &c);
	struct fuse_entry_out e = {.nodeid = 0};
	struct shm shm;
	size_t names;

	assert_int_equal(shm_map(k->memory_fd, &shm, NULL), 0);
	shm.h->node_max = 8 + 1; /* place 0 is nobody's, 1 the root's */
	assert_int_equal(names_with_nodes(k, 1, &names), 5);
	assert_int_equal(names, 2 + LENGTH(files));
	assert_int_equal(names_with_nodes(k, 1, &names), 0);
	assert_int_equal(names, 2 + LENGTH(files));
	assert_int_equal(lookup(k, 1, "i", &e), 0);
	assert_true(e.nodeid > 1);
	assert_int_equal(lookup(k, 1, "j", &e), 0);
	assert_int_equal(lookup(k, 1, "h", &e), -ENOMEM);
	shm.h->node_max = SHM_NODES_MAX;
	shm_unmap(&shm);
	kernel_free(k);
}

/* The value of an attribute, "!" and the error, or for size 0 "#" and the length. */
static const char *attribute(struct kernel *k, uint64_t node, const char *name, uint32_t size)
{
	static char text[8192];
	struct fuse_getxattr_in in = {.size = size};
	struct fuse_getxattr_out out;
	uint8_t body[sizeof in + 64], reply[8192];
	size_t len, body_len = sizeof in + (name ? strlen(name) + 1 : 0);

	memcpy(body, &in, sizeof in);
	if (name)
		memcpy(body + sizeof in, name, strlen(name) + 1);
	int r = ask(k, name ? FUSE_GETXATTR : FUSE_LISTXATTR, node, body, body_len, reply, &len);
	memcpy(&out, reply, MIN(len, sizeof out));
	if (r)
		snprintf(text, sizeof text, "!%d", -r);
	else if (size == 0)
		snprintf(text, sizeof text, "#%u", out.size);
	else
		snprintf(text, sizeof text, "%.*s", (int)len, (char *)reply);
	return text;
}

static void the_key_of_a_file_is_its_attribute(void **state)
{
	static const char *const files[] = {"dir=1", "dir/b=2", "e=3"};
	struct kernel *k = kernel_new(files, LENGTH(files), NULL);
	struct fuse_entry_out e = {0}, beside = {0}, dir = {0};

	assert_int_equal(lookup(k, 1, "e", &e), 0);
	assert_int_equal(lookup(k, 1, "dir%~f", &beside), 0);
	assert_int_equal(lookup(k, 1, "dir", &dir), 0);
	assert_string_equal(attribute(k, e.nodeid, "user.larder.key", 100), "e");
	assert_string_equal(attribute(k, beside.nodeid, "user.larder.key", 3), "dir");
	assert_string_equal(attribute(k, beside.nodeid, "user.larder.key", 0), "#3");
	assert_string_equal(attribute(k, beside.nodeid, "user.larder.key", 2), "!34"); /* ERANGE */
	assert_string_equal(attribute(k, dir.nodeid, "user.larder.key", 100), "!61");  /* ENODATA */
	assert_string_equal(attribute(k, e.nodeid, "system.posix_acl_access", 100), "!95");
	assert_string_equal(attribute(k, e.nodeid, "user.larder.key2", 100), "!61");
	assert_string_equal(attribute(k, 999, "user.larder.key", 100), "!116"); /* ESTALE */
	/* Named where the path does not tell it. */
	assert_string_equal(attribute(k, beside.nodeid, NULL, 100), "user.larder.key");
	assert_string_equal(attribute(k, beside.nodeid, NULL, 0), "#16");
	assert_string_equal(attribute(k, e.nodeid, NULL, 0), "#0");
	assert_string_equal(attribute(k, e.nodeid, NULL, 100), "");
	assert_string_equal(attribute(k, dir.nodeid, NULL, 100), "");
	kernel_free(k);
}

static void forgotten_nodes_are_gone_and_their_ids_not_reused(void **state)
{
	struct kernel *k = *state;
	struct fuse_entry_out e = {0}, again = {0};
	struct fuse_attr_out a = {0};
	struct fuse_forget_in in = {.nlookup = 1};
	uint8_t buf[256];

	assert_int_equal(lookup(k, 1, "a", &e), 0);
	size_t n = make_request(k, buf, FUSE_FORGET, e.nodeid, &in, sizeof in);
	assert_int_equal(send(k->kernel, buf, n, 0), n);
	while (getattr(k, e.nodeid, &a) ==
	       0) /* FORGET has no answer, and another thread may be the slower one */
		;
	assert_int_equal(getattr(k, e.nodeid, &a), -ESTALE);
	assert_int_equal(lookup(k, 1, "a", &again), 0);
	assert_true(again.nodeid != e.nodeid);
	assert_int_equal(again.attr.ino, e.attr.ino);
}

static void a_new_version_moves_what_is_the_same_and_invalidates_what_is_not(void **state)
{
	struct kernel *k = *state;
	static const char *const second[] = {"a=1", "dir/b=20", "dir/new=5", "dir/sub/d=4"};
	struct fuse_entry_out a = {0}, dir = {0}, b = {0}, c = {0}, absent = {0}, e = {0};
	struct fuse_attr_out attr = {0};
	char text[4][300];

	assert_int_equal(lookup(k, 1, "a", &a), 0);
	assert_int_equal(lookup(k, 1, "dir", &dir), 0);
	assert_int_equal(lookup(k, dir.nodeid, "b", &b), 0);
	assert_int_equal(lookup(k, dir.nodeid, "c", &c), 0);
	assert_int_equal(lookup(k, dir.nodeid, "new", &absent), 0);
	assert_int_equal(absent.nodeid, 0);
	uint64_t fh = open_dir(k, dir.nodeid);
	struct hash256 root = build_version(k, second, LENGTH(second));
	assert_int_equal(
		session_switch(k->session, &(struct session_version){.number = 2, .root = root}, NULL), 0);
	/* b changed, c went, "new" came: three names, and the listing they stand in, as often as it changed. */
	bool seen_b = false, seen_c = false, seen_new = false, seen_dir = false;
	for (int i = 0; i < 6; i++) {
		char want[64];
		notification(k, text[0]);
		snprintf(want, sizeof want, "entry %llu b", (unsigned long long)dir.nodeid);
		seen_b |= strcmp(text[0], want) == 0;
		want[strlen(want) - 1] = 'c';
		seen_c |= strcmp(text[0], want) == 0;
		snprintf(want, sizeof want, "entry %llu new", (unsigned long long)dir.nodeid);
		seen_new |= strcmp(text[0], want) == 0;
		snprintf(want, sizeof want, "inode %llu", (unsigned long long)dir.nodeid);
		seen_dir |= strcmp(text[0], want) == 0;
	}
	assert_true(seen_b && seen_c && seen_new && seen_dir);
	assert_int_equal(lookup(k, 1, "a", &e), 0);
	assert_int_equal(e.nodeid, a.nodeid); /* unchanged: the same node */
	assert_int_equal(lookup(k, dir.nodeid, "b", &e), 0);
	assert_true(e.nodeid != b.nodeid); /* changed: another node of the same inode number */
	assert_int_equal(e.attr.ino, b.attr.ino);
	assert_int_equal(e.attr.mtime, 20);
	assert_int_equal(getattr(k, b.nodeid, &attr), 0); /* who holds the old one still sees the old one */
	assert_int_equal(attr.attr.mtime, 2);
	assert_int_equal(getattr(k, c.nodeid, &attr), 0);
	assert_int_equal(lookup(k, dir.nodeid, "c", &e), 0);
	assert_int_equal(e.nodeid, 0);
	char names[256];
	uint64_t next;
	read_dir(k, dir.nodeid, fh, 0, 4096, names, &next);
	assert_string_equal(names, ". .. b c sub"); /* an open directory handle goes on in its version */
	read_dir(k, dir.nodeid, open_dir(k, dir.nodeid), 0, 4096, names, &next);
	assert_string_equal(names, ". .. b new sub");
}

static void a_version_of_other_sources_shares_no_file_with_the_former_one(void **state)
{
	struct kernel *k = *state;
	struct fuse_entry_out dir = {0}, a = {0}, e = {0};

	assert_int_equal(lookup(k, 1, "a", &a), 0);
	assert_int_equal(lookup(k, 1, "dir", &dir), 0);
	struct session_version next = {
		.number = 2, .root = build_version(k, first_version, LENGTH(first_version)), .config = 9};
	assert_int_equal(session_switch(k->session, &next, NULL), 0);
	k->ignores_notices = true;
	assert_int_equal(lookup(k, 1, "a", &e), 0);
	assert_true(e.nodeid != a.nodeid); /* the same name, size and validator, in another store */
	assert_int_equal(e.attr.ino, a.attr.ino);
	assert_int_equal(lookup(k, 1, "dir", &e), 0);
	assert_int_equal(e.nodeid, dir.nodeid);
}

static void a_successor_answers_what_a_killed_worker_left_in_its_slots(void **state)
{
	struct kernel *k = *state;
	struct fuse_entry_out a = {0}, e = {0};
	struct fuse_out_header out;
	struct shm shm;
	uint8_t buf[4096];

	assert_int_equal(lookup(k, 1, "a", &a), 0);
	detach(k);
	k->ended = false;
	/* What a worker killed between read(2) and its answer leaves behind. */
	assert_int_equal(shm_map(k->memory_fd, &shm, NULL), 0);
	make_request(k, shm.slots[5].request, FUSE_LOOKUP, 1, "a", 2);
	atomic_store(&shm.slots[5].state, SHM_SLOT_READING);
	shm_unmap(&shm);
	open_pair(k);
	attach(k, NULL); /* the version is in the memory */
	swallow_init(k);
	assert_true(recv(k->kernel, buf, sizeof buf, 0) > 0);
	memcpy(&out, buf, sizeof out);
	assert_int_equal(out.unique, k->unique);
	assert_int_equal(out.error, 0);
	memcpy(&e, buf + sizeof out, sizeof e);
	assert_int_equal(e.nodeid, a.nodeid);
	struct session_stats stats;
	session_stats_get(k->session, &stats);
	assert_int_equal(stats.recovered, 1);
	assert_int_equal(stats.recovered_reads, 0);
	assert_int_equal(stats.version, 1);
}

static void names_that_a_killed_worker_did_not_invalidate_are_told_by_its_successor(void **state)
{
	struct kernel *k = *state;
	static const char *const second[] = {"a=1", "dir/b=20", "dir/c=3", "dir/new=5", "dir/sub/d=4"};
	struct fuse_entry_out dir = {0}, e = {0};
	char text[300], want[3][64];
	bool seen[3] = {false};
	struct shm shm;

	assert_int_equal(lookup(k, 1, "dir", &dir), 0);
	assert_int_equal(lookup(k, dir.nodeid, "b", &e), 0);
	assert_int_equal(lookup(k, dir.nodeid, "new", &e), 0);
	assert_int_equal(e.nodeid, 0);
	struct hash256 root = build_version(k, second, LENGTH(second));
	assert_int_equal(
		session_switch(k->session, &(struct session_version){.number = 2, .root = root}, NULL), 0);
	detach(k);
	k->ended = false;
	/* As if it had been killed before its first message: the mark of the change is still there. */
	assert_int_equal(shm_map(k->memory_fd, &shm, NULL), 0);
	atomic_store(&shm.h->untold, 1);
	open_pair(k);
	attach(k, NULL);
	swallow_init(k);
	snprintf(want[0], sizeof want[0], "entry %llu b", (unsigned long long)dir.nodeid);
	snprintf(want[1], sizeof want[1], "entry %llu new", (unsigned long long)dir.nodeid);
	snprintf(want[2], sizeof want[2], "inode %llu", (unsigned long long)dir.nodeid);
	while (!seen[0] || !seen[1] || !seen[2]) {
		notification(k, text);
		for (size_t i = 0; i < LENGTH(want); i++)
			seen[i] |= strcmp(text, want[i]) == 0;
	}
	while (atomic_load(&shm.h->untold)) /* cleared once all of it was sent */
		(void)usleep(1000);
	shm_unmap(&shm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(names_lead_to_nodes_with_the_datasets_owner_and_mode),
		T(an_unknown_node_is_estale),
		T(a_directory_is_read_in_pieces_without_gaps),
		T(listings_leave_a_quarter_of_the_table_to_lookups),
		cmocka_unit_test(the_key_of_a_file_is_its_attribute),
		T(forgotten_nodes_are_gone_and_their_ids_not_reused),
		T(a_new_version_moves_what_is_the_same_and_invalidates_what_is_not),
		T(a_version_of_other_sources_shares_no_file_with_the_former_one),
		T(a_successor_answers_what_a_killed_worker_left_in_its_slots),
		T(names_that_a_killed_worker_did_not_invalidate_are_told_by_its_successor),
#undef T
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
