/* The local catalog: versions that are kept and dropped, and which chunks go with them. */
#include <errno.h>

#include "cache-node/test_node.h"

#define NAME "default/x"

struct fixture {
	char *dir;
	int fd;
	struct catalog *c;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);

	f->dir = test_dir_new();
	f->fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(catalog_local_new(f->fd, &f->c, NULL), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	catalog_free(f->c);
	fd_close(f->fd);
	test_dir_free(f->dir);
	free(f);
	return 0;
}

/* Writes a manifest of one file of that name. */
static struct hash256 build(struct fixture *f, const char *name)
{
	struct manifest_builder_config config = {.temp_dir_fd = f->fd, .memory_max = 1 << 20};
	struct manifest_sink sink = catalog_chunk_sink(f->c);
	struct manifest_entry e = {.type = MANIFEST_FILE, .path = name, .path_len = strlen(name)};
	struct manifest_builder *b;
	struct manifest_stats stats;
	struct hash256 root;

	assert_int_equal(manifest_builder_new(&config, &b), 0);
	assert_int_equal(manifest_builder_add(b, &e, NULL), 0);
	assert_int_equal(manifest_builder_finish(b, &sink, &root, &stats, NULL), 0);
	manifest_builder_free(b);
	return root;
}

static int move(struct fixture *f, uint64_t version, const struct hash256 *root)
{
	struct catalog_head head = {
		.version = version, .root = *root, .committed_ns = (int64_t)version, .config = 7};
	struct catalog_lease lease;

	assert_int_equal(catalog_lease_take(f->c, NAME, &lease, NULL), 0);
	int r = catalog_head_move(f->c, NAME, version - 1, &head, lease, NULL);
	catalog_lease_drop(f->c, NAME, lease);
	return r;
}

/* Versions 1 to @count, each of a file of its number. */
static void make_versions(struct fixture *f, unsigned count)
{
	for (unsigned i = 1; i <= count; i++) {
		char name[16];
		snprintf(name, sizeof name, "f%u", i);
		struct hash256 root = build(f, name);
		assert_int_equal(move(f, i, &root), 0);
	}
}

/* The numbers of the versions, "3 2 1". */
static const char *numbers(struct fixture *f)
{
	static char text[64];
	struct catalog_head *list;
	size_t count;

	assert_int_equal(catalog_versions(f->c, NAME, &list, &count), 0);
	text[0] = 0;
	for (size_t i = 0; i < count; i++)
		snprintf(text + strlen(text), sizeof text - strlen(text), "%s%d", i ? " " : "",
			 (int)list[i].version);
	mem_free(list);
	return text;
}

static uint64_t collect(struct fixture *f)
{
	struct catalog_collected gone;

	assert_int_equal(catalog_collect(f->c, &gone, NULL), 0);
	return gone.chunks;
}

static bool opens(struct fixture *f, uint64_t version, struct manifest **ret)
{
	struct manifest_chunks chunks = catalog_chunks(f->c);
	struct catalog_head head;

	return catalog_version_get(f->c, NAME, version, &head) == 0 &&
	       manifest_open(&head.root, &chunks, ret, NULL) == 0;
}

static void versions_are_kept_until_they_are_dropped(void **state)
{
	struct fixture *f = *state;
	struct catalog_head head;
	struct manifest *m = NULL;

	assert_string_equal(numbers(f), "");
	make_versions(f, 3);
	assert_string_equal(numbers(f), "3 2 1");
	assert_int_equal(collect(f), 0);
	assert_int_equal(catalog_version_get(f->c, NAME, 2, &head), 0);
	assert_int_equal(head.committed_ns, 2);
	assert_int_equal(catalog_version_get(f->c, NAME, 4, &head), -ENOENT);
	assert_int_equal(catalog_version_drop(f->c, NAME, 3), -EBUSY);
	assert_int_equal(catalog_version_drop(f->c, NAME, 2), 0);
	assert_int_equal(catalog_version_drop(f->c, NAME, 2), -ENOENT);
	assert_string_equal(numbers(f), "3 1");
	assert_int_equal(collect(f), 2); /* root and chunk */
	assert_true(opens(f, 1, &m));
	manifest_free(m);
}

/* The note of a version as text, "" for none. */
static const char *note(struct fixture *f, uint64_t version)
{
	static char text[64];
	uint8_t *bytes;
	size_t len = 0;
	int r = catalog_note_get(f->c, NAME, version, &bytes, &len);

	if (r)
		assert_int_equal(r, -ENOENT);
	else
		memcpy(text, bytes, len);
	text[len] = 0;
	if (!r)
		mem_free(bytes);
	return text;
}

static void a_note_stays_as_long_as_its_version(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(catalog_note_put(f->c, NAME, 1, "x", 1), -ENOENT);
	make_versions(f, 2);
	assert_string_equal(note(f, 1), "");
	assert_int_equal(catalog_note_put(f->c, NAME, 1, "first", 5), 0);
	assert_int_equal(catalog_note_put(f->c, NAME, 2, "second", 6), 0);
	assert_int_equal(catalog_note_put(f->c, NAME, 2, "again", 5), 0);
	assert_int_equal(catalog_note_put(f->c, NAME, 3, "none", 4), -ENOENT);
	assert_string_equal(numbers(f), "2 1");
	assert_string_equal(note(f, 1), "first");
	assert_string_equal(note(f, 2), "again");
	assert_int_equal(catalog_version_drop(f->c, NAME, 1), 0);
	assert_string_equal(note(f, 1), "");
	assert_int_equal(catalog_dataset_delete(f->c, NAME, NULL), 0);
	assert_string_equal(note(f, 2), "");
	assert_int_equal(faccessat(f->fd, "versions/default/x", F_OK, 0), -1);
}

static void what_an_open_manifest_names_stays(void **state)
{
	struct fixture *f = *state;
	struct manifest_found found;
	struct manifest *m = NULL;

	make_versions(f, 2);
	assert_true(opens(f, 1, &m));
	assert_int_equal(catalog_version_drop(f->c, NAME, 1), -EBUSY);
	assert_int_equal(catalog_dataset_delete(f->c, NAME, NULL), 0);
	assert_int_equal(collect(f), 2);                          /* of version 2 */
	assert_int_equal(manifest_lookup(m, "f1", 2, &found), 0); /* maps the chunk now */
	manifest_free(m);
	assert_int_equal(collect(f), 2);
}

static void what_a_build_puts_or_finds_stays_until_it_ends(void **state)
{
	struct fixture *f = *state;
	struct catalog_lease lease;
	struct manifest *m = NULL;

	make_versions(f, 2);
	assert_int_equal(catalog_lease_take(f->c, NAME, &lease, NULL), 0);
	assert_int_equal(catalog_version_drop(f->c, NAME, 1), 0);
	struct hash256 again = build(f, "f1"), other = build(f, "f3"); /* the first is there already */
	assert_int_equal(collect(f), 0);
	struct catalog_head head = {.version = 3, .root = again};
	assert_int_equal(catalog_head_move(f->c, NAME, 2, &head, lease, NULL), 0);
	catalog_lease_drop(f->c, NAME, lease);
	assert_int_equal(collect(f), 2); /* of the other, which no version names */
	assert_true(opens(f, 3, &m));
	manifest_free(m);
	assert_int_equal(hash256_compare(&again, &other) == 0, 0);
}

static void a_move_that_was_killed_half_way_does_not_count(void **state)
{
	struct fixture *f = *state;
	struct catalog_head head = {0};
	char from[64], to[64];

	make_versions(f, 3);
	/* As if the head had not been written: the version is newer than it. */
	snprintf(from, sizeof from, "versions/%s/2", NAME);
	snprintf(to, sizeof to, "heads/%s", NAME);
	assert_int_equal(renameat(f->fd, from, f->fd, to), 0);
	assert_string_equal(numbers(f), "2 1");
	assert_int_equal(catalog_version_get(f->c, NAME, 3, &head), -ENOENT);
	assert_int_equal(collect(f), 2);
	struct hash256 root = build(f, "f4");
	assert_int_equal(move(f, 3, &root), 0);
	assert_int_equal(catalog_version_get(f->c, NAME, 3, &head), 0);
	assert_int_equal(hash256_compare(&head.root, &root), 0);
}

static void a_deleted_dataset_begins_anew(void **state)
{
	struct fixture *f = *state;
	char path[64];

	make_versions(f, 3);
	assert_int_equal(catalog_dataset_delete(f->c, NAME, NULL), 0);
	assert_string_equal(numbers(f), "");
	assert_int_equal(collect(f), 6);
	snprintf(path, sizeof path, "versions/%s", NAME);
	assert_int_equal(faccessat(f->fd, path, F_OK, 0), -1);
	make_versions(f, 1);
	assert_string_equal(numbers(f), "1");
}

static void a_root_that_cannot_be_read_keeps_all_chunks(void **state)
{
	struct fixture *f = *state;
	struct catalog_collected gone;
	struct catalog_head head;
	char path[PATH_MAX], hex[HASH256_HEX];
	struct err err = {0};

	make_versions(f, 2);
	assert_int_equal(catalog_version_get(f->c, NAME, 1, &head), 0);
	hash256_hex(&head.root, hex);
	snprintf(path, sizeof path, "chunks/%.2s/%s", hex, hex + 2);
	assert_int_equal(unlinkat(f->fd, path, 0), 0);
	assert_int_equal(fd_write_file(f->fd, path, "LDRR\1\0\0\0 and no more", 20, 0400), 0);
	assert_int_equal(catalog_collect(f->c, &gone, &err), -ERR_CORRUPT);
	assert_int_equal(gone.chunks, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(versions_are_kept_until_they_are_dropped),
		TEST(a_note_stays_as_long_as_its_version),
		TEST(what_an_open_manifest_names_stays),
		TEST(what_a_build_puts_or_finds_stays_until_it_ends),
		TEST(a_move_that_was_killed_half_way_does_not_count),
		TEST(a_deleted_dataset_begins_anew),
		TEST(a_root_that_cannot_be_read_keeps_all_chunks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
