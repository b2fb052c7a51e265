/* Versions of a dataset: how a listing becomes one, what its entries' objects read, how failures are told. */
#include <errno.h>

#include "cache-node/test_node.h"

static int setup(void **state)
{
	struct test_node *t = test_node_new();

	test_datasets_start(t);
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	test_node_free(*state);
	return 0;
}

struct one_read {
	struct cache_read read;
	pthread_mutex_t lock;
	pthread_cond_t ended;
	bool done;
	int status;
	char bytes[64];
};

static void read_done(struct cache_read *r, int status, const struct iovec *iov, int iov_count,
		      const struct err *err)
{
	struct one_read *o = r->ctx;
	size_t at = 0;

	pthread_mutex_lock(&o->lock);
	for (int i = 0; !status && i < iov_count; i++) {
		memcpy(o->bytes + at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	o->status = status;
	o->done = true;
	pthread_cond_signal(&o->ended);
	pthread_mutex_unlock(&o->lock);
}

/* Reads a whole small file of the version @head. */
static int read_file(struct node_dataset *d, const struct catalog_head *head, const char *path, char *ret)
{
	CLEANUP(manifest_free) struct manifest *m = NULL;
	CLEANUP(cache_put) struct cache_object *o = NULL;
	struct manifest_found f;
	struct one_read one = {.lock = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER};

	assert_int_equal(node_dataset_open(d, &head->root, &m, NULL), 0);
	assert_int_equal(manifest_lookup(m, path, strlen(path), &f), 0);
	int r = node_dataset_object(d, head->config, &f, &o, NULL);
	if (r)
		return r;
	one.read = (struct cache_read){.length = (uint32_t)f.e.size, .done = read_done, .ctx = &one};
	cache_read_start(o, &one.read);
	pthread_mutex_lock(&one.lock);
	while (!one.done)
		pthread_cond_wait(&one.ended, &one.lock);
	pthread_mutex_unlock(&one.lock);
	if (!one.status)
		memcpy(ret, one.bytes, f.e.size + 1);
	return one.status;
}

static void a_listing_becomes_a_version_whose_files_can_be_read(void **state)
{
	struct test_node *t = *state;
	char text[64];

	test_file(t, "data/f", "hello", 5);
	test_put_folder(t, "x", "data", 1);
	struct node_dataset *d = test_find(t, "default/x");
	struct catalog_head head = test_head(d);
	assert_int_equal(head.version, 1);
	assert_int_equal(read_file(d, &head, "f", text), 0);
	assert_string_equal(text, "hello");
	datasets_unref(d);
}

static void a_sync_moves_the_head_only_when_something_changed(void **state)
{
	struct test_node *t = *state;

	test_file(t, "data/f", "1", 1);
	test_put_folder(t, "x", "data", 1);
	struct node_dataset *d = test_find(t, "default/x");
	struct catalog_head first = test_head(d), again = test_sync(d);
	assert_int_equal(again.version, first.version);
	test_file(t, "data/g", "2", 1);
	struct catalog_head next = test_sync(d);
	assert_int_equal(next.version, first.version + 1);
	while (atomic_load(&t->moves) < 2) /* told after whoever waits for the sync */
		(void)usleep(1000);
	datasets_unref(d);
}

static void a_folder_that_is_not_there_fails_with_its_name_and_is_tried_again(void **state)
{
	struct test_node *t = *state;
	struct catalog_head head;
	struct err err = {0};

	test_put_folder(t, "x", "later", 1);
	struct node_dataset *d = test_find(t, "default/x");
	assert_int_equal(node_dataset_wait(d, clock_mono_ns() + TEST_WAIT_NS, test_never, NULL, &head, &err),
			 -ENOENT);
	assert_non_null(strstr(err.text, "/later"));
	test_make_folder(t, "later");
	test_file(t, "later/f", "1", 1);
	/* The thread of the dataset comes back to it by itself. */
	int64_t deadline = clock_mono_ns() + TEST_WAIT_NS;
	while (node_dataset_head(d, &head, NULL)) {
		assert_true(clock_mono_ns() < deadline);
		(void)usleep(1000);
	}
	assert_int_equal(head.version, 1);
	datasets_unref(d);
}

static bool at_once(void *ctx)
{
	return true;
}

static void waiting_for_a_version_ends_with_the_reason(void **state)
{
	struct test_node *t = *state;
	struct catalog_head head;
	struct err err = {0};

	assert_int_equal(
		test_put(t, 1, NULL,
			 "apiVersion: larder.dev/v1alpha1\nkind: Dataset\nmetadata: {name: s}\nspec:\n"
			 "  sources:\n    - mountPath: /\n"
			 "      s3: {bucket: bucket, endpoint: \"http://127.0.0.1:9\", region: r}\n"
			 "      secretRef: {name: keys}\n"),
		0);
	struct node_dataset *d = test_find(t, "default/s");
	assert_int_equal(node_dataset_wait(d, clock_mono_ns(), test_never, NULL, &head, &err), -ETIMEDOUT);
	assert_string_equal(err.text, "waiting for Secret default/keys");
	assert_int_equal(node_dataset_wait(d, clock_mono_ns() + TEST_WAIT_NS, at_once, NULL, &head, &err),
			 -ECANCELED);
	struct node_sync_request q = {.progress = test_go_on};
	struct node_sync done;
	assert_int_equal(node_dataset_sync(d, &q, &done, &err), -EAGAIN);
	datasets_unref(d);
}

static void a_pinned_version_that_is_not_held_is_not_shown(void **state)
{
	struct test_node *t = *state;
	struct catalog_head head;
	struct err err = {0};

	test_put_folder(t, "x", "data", 1);
	struct node_dataset *d = test_find(t, "default/x");
	test_head(d);
	assert_int_equal(test_put(t, 2, NULL, TEST_DATASET "  version: \"9\"\n", "x", t->dir, "data"), 0);
	assert_int_equal(node_dataset_head(d, &head, &err), -ENOENT);
	assert_string_equal(err.text, "version 9 of default/x is not kept; the newest is 1");
	datasets_unref(d);
}

static void until_the_new_spec_is_listed_files_are_read_from_the_old_one(void **state)
{
	struct test_node *t = *state;
	char text[64];

	test_file(t, "data/f", "old", 3);
	test_put_folder(t, "x", "data", 1);
	struct node_dataset *d = test_find(t, "default/x");
	struct catalog_head head = test_head(d);
	test_put_folder(t, "x", "missing", 2);
	assert_int_equal(node_dataset_head(d, &head, NULL), 0);
	assert_int_equal(read_file(d, &head, "f", text), 0);
	assert_string_equal(text, "old");
	datasets_unref(d);
}

static void a_version_of_a_replaced_spec_is_read_from_its_own_source_also_by_a_new_worker(void **state)
{
	struct test_node *t = *state;
	char text[64];

	test_file(t, "data/f", "old", 3);
	test_file(t, "other/f", "new", 3);
	test_put_folder(t, "x", "data", 1);
	struct node_dataset *d = test_find(t, "default/x");
	struct catalog_head old = test_head(d);
	test_put_folder(t, "x", "other", 2);
	struct catalog_head new_ = test_sync(d);
	assert_true(new_.config != old.config);
	datasets_unref(d);
	t->datasets = datasets_free(t->datasets);
	test_datasets_start(t);
	d = test_find(t, "default/x");
	assert_int_equal(read_file(d, &old, "f", text), 0);
	assert_string_equal(text, "old");
	assert_int_equal(read_file(d, &new_, "f", text), 0);
	assert_string_equal(text, "new");
	struct catalog_head unknown = old;
	unknown.config++;
	assert_int_equal(read_file(d, &unknown, "f", text), -ESTALE);
	datasets_unref(d);
}

static void a_new_worker_goes_on_showing_the_old_head_while_the_new_spec_cannot_be_listed(void **state)
{
	struct test_node *t = *state;
	struct catalog_head head, again;
	char text[64];

	test_file(t, "data/f", "old", 3);
	test_put_folder(t, "x", "data", 1);
	struct node_dataset *d = test_find(t, "default/x");
	head = test_head(d);
	test_put_folder(t, "x", "missing", 2);
	datasets_unref(d);
	t->datasets = datasets_free(t->datasets);
	test_datasets_start(t);
	d = test_find(t, "default/x");
	assert_int_equal(node_dataset_head(d, &again, NULL), 0);
	assert_int_equal(again.version, head.version);
	assert_int_equal(read_file(d, &again, "f", text), 0);
	assert_string_equal(text, "old");
	test_make_folder(t, "missing");
	test_file(t, "missing/g", "1", 1);
	int64_t deadline = clock_mono_ns() + TEST_WAIT_NS;
	do {
		assert_int_equal(node_dataset_head(d, &again, NULL), 0);
		assert_true(clock_mono_ns() < deadline);
		(void)usleep(1000);
	} while (again.version == head.version);
	assert_int_equal(read_file(d, &again, "g", text), 0);
	assert_int_equal(read_file(d, &head, "f", text), 0);
	datasets_unref(d);
}

static void specs_too_many_to_be_saved_cost_the_oldest_their_versions_and_no_dataset(void **state)
{
	struct test_node *t = *state;
	char folder[32], text[64];
	struct catalog_head first = {0};
	enum { SPECS = 36 };

	for (int i = 0; i < SPECS; i++) {
		snprintf(folder, sizeof folder, "data/%d", i);
		test_make_folder(t, folder);
		test_put_folder(t, "x", folder, (uint64_t)i + 1);
		if (i == 0) {
			struct node_dataset *d = test_find(t, "default/x");
			char path[64];
			snprintf(path, sizeof path, "%s/f", folder);
			test_file(t, path, "1", 1);
			first = test_sync(d);
			datasets_unref(d);
		}
	}
	t->datasets = datasets_free(t->datasets);
	test_datasets_start(t);
	struct node_dataset *d = test_find(t, "default/x");
	assert_int_equal(read_file(d, &first, "f", text), -ESTALE);
	datasets_unref(d);
}

static void status_counts_files_and_bytes(void **state)
{
	struct test_node *t = *state;
	Larder__V1__DatasetStatus *s;

	test_file(t, "data/f", "hello", 5);
	test_file(t, "data/g", "you", 3);
	test_put_folder(t, "x", "data", 1);
	struct node_dataset *d = test_find(t, "default/x");
	test_head(d);
	assert_int_equal(node_dataset_status(d, false, &s), 0);
	assert_string_equal(s->namespace_, "default");
	assert_string_equal(s->name, "x");
	assert_int_equal(s->phase, LARDER__V1__DATASET_STATUS__PHASE__READY);
	assert_int_equal(s->files, 2);
	assert_int_equal(s->bytes, 8);
	assert_int_equal(s->version, 1);
	larder__v1__dataset_status__free_unpacked(s, NULL);
	datasets_unref(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(a_listing_becomes_a_version_whose_files_can_be_read),
		T(a_sync_moves_the_head_only_when_something_changed),
		T(a_folder_that_is_not_there_fails_with_its_name_and_is_tried_again),
		T(waiting_for_a_version_ends_with_the_reason),
		T(a_pinned_version_that_is_not_held_is_not_shown),
		T(until_the_new_spec_is_listed_files_are_read_from_the_old_one),
		T(a_version_of_a_replaced_spec_is_read_from_its_own_source_also_by_a_new_worker),
		T(a_new_worker_goes_on_showing_the_old_head_while_the_new_spec_cannot_be_listed),
		T(specs_too_many_to_be_saved_cost_the_oldest_their_versions_and_no_dataset),
		T(status_counts_files_and_bytes),
#undef T
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
