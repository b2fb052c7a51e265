#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/mem.h"
#include "operator-shim/reconcile.h"

#define DATASET(name, path)                                                                 \
	"---\napiVersion: larder.dev/v1alpha1\nkind: Dataset\nmetadata: {name: " name "}\n" \
	"spec: {sources: [{file: {path: " path "}}]}\n"
#define SECRET(name, token) \
	"---\napiVersion: v1\nkind: Secret\nmetadata: {name: " name "}\nstringData: {token: " token "}\n"

static int says(struct reconcile *r, const char *file, const char *text, uint64_t now, struct err *err)
{
	struct dataset_file *f = NULL;
	if (text)
		assert_int_equal(dataset_file_parse(file, text, strlen(text), &f, NULL), 0);
	int s = reconcile_file(r, file, f, now, err);
	if (s != 0)
		(void)dataset_file_free(f);
	return s;
}

/* A round in which actions go well, or those on @failing do not; as text. */
static const char *round_of(struct reconcile *r, const char *failing)
{
	static char out[512];
	struct reconcile_action a;
	size_t used = 0;
	out[0] = 0;
	reconcile_round(r);
	while (reconcile_next(r, &a)) {
		static const char *const kinds[] = {"", "secret", "delete", "put"};
		used += (size_t)snprintf(out + used, sizeof out - used, "%s%s %s/%s", used ? ", " : "",
					 kinds[a.kind], a.namespace_, a.name);
		reconcile_told(r, &a, !failing || strcmp(a.name, failing) != 0);
	}
	return out;
}

static void credentials_come_before_datasets(void **state)
{
	struct reconcile *r;
	assert_int_equal(reconcile_new(&r), 0);
	assert_int_equal(says(r, "a", DATASET("a", "/a") SECRET("s", "x"), 1, NULL), 0);
	assert_true(reconcile_pending(r));
	assert_string_equal(round_of(r, NULL), "secret default/s, put default/a");
	assert_false(reconcile_pending(r));
	assert_string_equal(round_of(r, NULL), "");
	(void)reconcile_free(r);
}

static void only_what_changed_is_told_again(void **state)
{
	struct reconcile *r;
	assert_int_equal(reconcile_new(&r), 0);
	assert_int_equal(says(r, "f", DATASET("a", "/a") DATASET("b", "/b") SECRET("s", "x"), 1, NULL), 0);
	(void)round_of(r, NULL);
	assert_int_equal(says(r, "f", DATASET("a", "/a") DATASET("b", "/other") SECRET("s", "x"), 2, NULL),
			 0);
	assert_string_equal(round_of(r, NULL), "put default/b");
	assert_int_equal(says(r, "f", DATASET("a", "/a") DATASET("b", "/other") SECRET("s", "y"), 3, NULL),
			 0);
	assert_string_equal(round_of(r, NULL), "secret default/s");
	assert_int_equal(says(r, "f", DATASET("b", "/other"), 4, NULL), 0);
	assert_string_equal(round_of(r, NULL), "delete default/a");
	assert_int_equal(says(r, "f", NULL, 5, NULL), 0);
	assert_string_equal(round_of(r, NULL), "delete default/b");
	assert_false(reconcile_pending(r));
	(void)reconcile_free(r);
}

static void a_dataset_that_moved_to_another_file_is_not_deleted(void **state)
{
	struct reconcile *r;
	assert_int_equal(reconcile_new(&r), 0);
	assert_int_equal(says(r, "f", DATASET("a", "/a"), 1, NULL), 0);
	(void)round_of(r, NULL);
	assert_int_equal(says(r, "f", NULL, 2, NULL), 0);
	assert_int_equal(says(r, "g", DATASET("a", "/a"), 2, NULL), 0);
	assert_string_equal(round_of(r, NULL), "");
	(void)reconcile_free(r);
}

static void what_failed_is_tried_once_a_round_until_it_goes_well(void **state)
{
	struct reconcile *r;
	assert_int_equal(reconcile_new(&r), 0);
	assert_int_equal(says(r, "f", DATASET("a", "/a") DATASET("b", "/b"), 1, NULL), 0);
	assert_string_equal(round_of(r, "a"), "put default/a, put default/b");
	assert_true(reconcile_pending(r));
	assert_string_equal(round_of(r, NULL), "put default/a");
	assert_int_equal(says(r, "f", NULL, 2, NULL), 0);
	assert_string_equal(round_of(r, "b"), "delete default/a, delete default/b");
	assert_string_equal(round_of(r, NULL), "delete default/b");
	(void)reconcile_free(r);
}

static void a_node_that_lost_its_memory_is_told_everything(void **state)
{
	struct reconcile *r;
	assert_int_equal(reconcile_new(&r), 0);
	assert_int_equal(says(r, "f", DATASET("a", "/a") DATASET("b", "/b") SECRET("s", "x"), 1, NULL), 0);
	(void)round_of(r, NULL);
	assert_int_equal(says(r, "f", DATASET("a", "/a") SECRET("s", "x"), 1, NULL), 0);
	reconcile_forget(r); /* it knows nothing of b any more either */
	assert_string_equal(round_of(r, NULL), "secret default/s, put default/a");
	(void)reconcile_free(r);
}

static uint64_t generation_of(struct reconcile *r)
{
	struct reconcile_action a;
	uint64_t g = 0;
	reconcile_round(r);
	while (reconcile_next(r, &a)) {
		if (a.dataset)
			g = a.dataset->generation;
		reconcile_told(r, &a, true);
	}
	return g;
}

static void generations_rise_with_changes_and_only_then(void **state)
{
	struct reconcile *r;
	assert_int_equal(reconcile_new(&r), 0);
	assert_int_equal(says(r, "f", DATASET("a", "/a"), 100, NULL), 0);
	assert_int_equal(generation_of(r), 100);
	assert_int_equal(says(r, "f", DATASET("a", "/b"), 50, NULL), 0); /* the clock was set back */
	assert_int_equal(generation_of(r), 101);
	assert_int_equal(says(r, "f", "# other bytes, same meaning\n" DATASET("a", "/b"), 200, NULL), 0);
	assert_int_equal(generation_of(r), 0); /* nothing to tell */
	reconcile_forget(r);
	assert_int_equal(generation_of(r), 101);
	(void)reconcile_free(r);
}

static void two_files_cannot_name_one_dataset(void **state)
{
	struct reconcile *r;
	struct err err = {0};
	assert_int_equal(reconcile_new(&r), 0);
	assert_int_equal(says(r, "f.yaml", DATASET("a", "/a") SECRET("s", "x"), 1, &err), 0);
	assert_int_equal(says(r, "g.yaml", DATASET("b", "/b") DATASET("a", "/z"), 1, &err), -EEXIST);
	assert_string_equal(err.text, "Dataset default/a stands in f.yaml too; only one file may name it");
	assert_int_equal(says(r, "g.yaml", SECRET("s", "z"), 1, &err), -EEXIST);
	assert_string_equal(err.text, "Secret default/s stands in f.yaml too; only one file may name it");
	assert_string_equal(round_of(r, NULL), "secret default/s, put default/a");
	assert_int_equal(says(r, "f.yaml", NULL, 1, &err), 0);
	assert_int_equal(says(r, "g.yaml", DATASET("a", "/z"), 1, &err), 0);
	assert_string_equal(round_of(r, NULL), "put default/a");
	(void)reconcile_free(r);
}

static void running_out_of_memory_changes_nothing(void **state)
{
	struct reconcile *r;
	assert_int_equal(reconcile_new(&r), 0);
	assert_int_equal(says(r, "f", DATASET("a", "/a"), 1, NULL), 0);
	(void)round_of(r, NULL);
	const char *text = DATASET("a", "/b") DATASET("c", "/c") SECRET("s", "x");
	int s = -ENOMEM;
	for (int64_t n = 0; s != 0; n++) {
		struct dataset_file *f = NULL;
		assert_int_equal(dataset_file_parse("g", text, strlen(text), &f, NULL), 0);
		mem_fail_after(n, 0);
		s = reconcile_file(r, "f", f, 2, NULL);
		mem_fail_after(-1, 0);
		assert_true(s == 0 || s == -ENOMEM);
		if (s != 0) {
			(void)dataset_file_free(f);
			assert_string_equal(round_of(r, NULL), "");
		}
	}
	assert_string_equal(round_of(r, NULL), "secret default/s, put default/a, put default/c");
	(void)reconcile_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(credentials_come_before_datasets),
		cmocka_unit_test(only_what_changed_is_told_again),
		cmocka_unit_test(a_dataset_that_moved_to_another_file_is_not_deleted),
		cmocka_unit_test(what_failed_is_tried_once_a_round_until_it_goes_well),
		cmocka_unit_test(a_node_that_lost_its_memory_is_told_everything),
		cmocka_unit_test(generations_rise_with_changes_and_only_then),
		cmocka_unit_test(two_files_cannot_name_one_dataset),
		cmocka_unit_test(running_out_of_memory_changes_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
