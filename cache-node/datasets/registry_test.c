/* Datasets as they are told, found, deleted and remembered. */
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

/* As after a kill: nothing but the node memory, the state folder and the tiers is left. */
static void restart(struct test_node *t)
{
	t->datasets = datasets_free(t->datasets);
	test_datasets_start(t);
}

static void add_name(void *ctx, struct node_dataset *d)
{
	snprintf((char *)ctx + strlen(ctx), 200 - strlen(ctx), "%s ", node_dataset_name(d));
}

static void what_was_told_is_found_by_name_and_listed_in_order(void **state)
{
	struct test_node *t = *state;
	char names[200] = "";

	test_put_folder(t, "b", "data", 1);
	test_put_folder(t, "a", "other", 1);
	assert_null(datasets_find(t->datasets, "default/c"));
	assert_null(datasets_find(t->datasets, "b"));
	struct node_dataset *d = test_find(t, "default/a");
	assert_string_equal(node_dataset_name(d), "default/a");
	datasets_unref(d);
	datasets_each(t->datasets, add_name, names);
	assert_string_equal(names, "default/b default/a ");
}

static void an_older_generation_undoes_nothing(void **state)
{
	struct test_node *t = *state;
	struct node_dataset_access access;

	assert_int_equal(test_put(t, 5, NULL, TEST_DATASET "  access: {uid: 5}\n", "x", t->dir, "data"), 0);
	struct node_dataset *d = test_find(t, "default/x");
	assert_int_equal(test_put(t, 4, NULL, TEST_DATASET "  access: {uid: 4}\n", "x", t->dir, "data"), 0);
	node_dataset_access_get(d, &access);
	assert_int_equal(access.uid, 5);
	assert_int_equal(test_put(t, 6, NULL, TEST_DATASET "  access: {uid: 6}\n", "x", t->dir, "data"), 0);
	node_dataset_access_get(d, &access);
	assert_int_equal(access.uid, 6);
	datasets_unref(d);
}

static void a_wrong_message_is_refused_with_words(void **state)
{
	struct test_node *t = *state;
	Larder__V1__Dataset m = LARDER__V1__DATASET__INIT;
	struct err err = {0};

	m.namespace_ = (char[]){"default"};
	m.name = (char[]){"Not A Label"};
	assert_int_equal(datasets_put(t->datasets, &m, &err), -EINVAL);
	assert_true(err.text[0]);
}

static void a_deleted_dataset_is_gone_with_its_head_and_its_cached_bytes(void **state)
{
	struct test_node *t = *state;
	struct catalog_head head;
	struct err err = {0};

	test_file(t, "data/f", "hello", 5);
	test_put_folder(t, "x", "data", 1);
	struct node_dataset *d = test_find(t, "default/x");
	test_head(d);
	assert_int_equal(datasets_delete(t->datasets, "default", "x", &err), 0);
	assert_null(datasets_find(t->datasets, "default/x"));
	assert_int_equal(catalog_head_get(t->catalog, "default/x", &head), -ENOENT);
	const struct node_sync_request q = {.progress = test_go_on};
	struct node_sync done;
	assert_int_equal(node_dataset_sync(d, &q, &done, &err), -ENOENT); /* who still holds it is told */
	datasets_unref(d);
	assert_int_equal(datasets_delete(t->datasets, "default", "x", &err), -ENOENT);
	assert_string_equal(err.text, "there is no dataset default/x");
	restart(t);
	assert_null(datasets_find(t->datasets, "default/x"));
}

static void a_mounted_dataset_is_not_deleted(void **state)
{
	struct test_node *t = *state;
	struct err err = {0};

	test_put_folder(t, "x", "data", 1);
	struct node_dataset *d = test_find(t, "default/x");
	assert_int_equal(node_dataset_mount(d), 0);
	assert_int_equal(datasets_delete(t->datasets, "default", "x", &err), -EBUSY);
	node_dataset_unmount(d);
	datasets_unref(d);
	assert_int_equal(datasets_delete(t->datasets, "default", "x", &err), 0);
}

static void a_new_worker_knows_what_the_former_was_told_and_has_its_heads_at_once(void **state)
{
	struct test_node *t = *state;
	struct catalog_head before, after;

	test_file(t, "data/f", "hello", 5);
	test_put_folder(t, "x", "data", 7);
	test_put_folder(t, "y", "other", 1);
	struct node_dataset *d = test_find(t, "default/x");
	before = test_head(d);
	datasets_unref(d);
	restart(t);
	d = test_find(t, "default/x");
	assert_int_equal(node_dataset_head(d, &after, NULL), 0);
	assert_int_equal(after.version, before.version);
	assert_int_equal(hash256_compare(&after.root, &before.root), 0);
	datasets_unref(d);
	datasets_unref(test_find(t, "default/y"));
	/* Its generation too: an older spec is still an older one. */
	assert_int_equal(test_put(t, 6, NULL, TEST_DATASET "  access: {uid: 6}\n", "x", t->dir, "data"), 0);
	struct node_dataset_access access;
	d = test_find(t, "default/x");
	node_dataset_access_get(d, &access);
	assert_int_equal(access.uid, 0);
	datasets_unref(d);
}

static const char secret[] = "apiVersion: v1\nkind: Secret\nmetadata: {name: keys}\nstringData:\n"
			     "  AWS_ACCESS_KEY_ID: AKIA\n  AWS_SECRET_ACCESS_KEY: %s\n";
static const char secured[] =
	"apiVersion: larder.dev/v1alpha1\nkind: Dataset\nmetadata: {name: s}\nspec:\n  sources:\n"
	"    - mountPath: /\n      s3: {bucket: bucket, endpoint: \"http://127.0.0.1:9\", region: r}\n"
	"      secretRef: {name: keys}\n";

static void status_message(struct node_dataset *d, char *text, size_t len)
{
	Larder__V1__DatasetStatus *s;

	assert_int_equal(node_dataset_status(d, false, &s), 0);
	snprintf(text, len, "%s", s->message);
	larder__v1__dataset_status__free_unpacked(s, NULL);
}

static void a_dataset_waits_for_its_secret_and_goes_on_when_it_comes(void **state)
{
	struct test_node *t = *state;
	char text[600];

	assert_int_equal(test_put(t, 1, NULL, secured), 0);
	struct node_dataset *d = test_find(t, "default/s");
	status_message(d, text, sizeof text);
	assert_string_equal(text, "waiting for Secret default/keys");
	assert_int_equal(test_put(t, 1, NULL, secret, "first"), 0);
	status_message(d, text, sizeof text);
	assert_string_not_equal(text, "waiting for Secret default/keys");
	datasets_unref(d);
	restart(t); /* the secret is remembered as well */
	d = test_find(t, "default/s");
	status_message(d, text, sizeof text);
	assert_string_not_equal(text, "waiting for Secret default/keys");
	assert_int_equal(test_put(t, 1, NULL, secret, "second"), 0);
	datasets_unref(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(what_was_told_is_found_by_name_and_listed_in_order),
		T(an_older_generation_undoes_nothing),
		T(a_wrong_message_is_refused_with_words),
		T(a_deleted_dataset_is_gone_with_its_head_and_its_cached_bytes),
		T(a_mounted_dataset_is_not_deleted),
		T(a_new_worker_knows_what_the_former_was_told_and_has_its_heads_at_once),
		T(a_dataset_waits_for_its_secret_and_goes_on_when_it_comes),
#undef T
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
