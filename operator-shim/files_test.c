#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/base/fd.h"
#include "common/base/log.h"
#include "operator-shim/check.h"
#include "operator-shim/files.h"

#define DATASET(name, rest)                                                            \
	"apiVersion: larder.dev/v1alpha1\nkind: Dataset\nmetadata: {name: " name "}\n" \
	"spec: {sources: [{file: {path: /x}}]" rest "}\n"

struct folder {
	char path[32];
	int fd;
	struct reconcile *reconcile;
	struct files *files;
};

static struct folder make_folder(void)
{
	struct folder f = {.path = "/tmp/operator-XXXXXX"};
	assert_non_null(mkdtemp(f.path));
	f.fd = open(f.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(reconcile_new(&f.reconcile), 0);
	assert_int_equal(files_new(f.fd, f.reconcile, &f.files), 0);
	return f;
}

static void remove_folder(struct folder *f)
{
	(void)files_free(f->files);
	(void)reconcile_free(f->reconcile);
	(void)close(f->fd);
	assert_int_equal(rmdir(f->path), 0);
}

static void put(const struct folder *f, const char *name, const char *text)
{
	assert_int_equal(fd_write_file(f->fd, name, text, strlen(text), 0600), 0);
}

/* What is to be told after a scan, as text. */
static const char *scanned(struct folder *f)
{
	static char out[256];
	struct reconcile_action a;
	out[0] = 0;
	assert_int_equal(files_scan(f->files, 1), 0);
	reconcile_round(f->reconcile);
	while (reconcile_next(f->reconcile, &a)) {
		size_t used = strlen(out);
		(void)snprintf(out + used, sizeof out - used, "%s%s ",
			       a.kind == RECONCILE_DELETE_DATASET ? "-" : "+", a.name);
		reconcile_told(f->reconcile, &a, true);
	}
	return out;
}

static void files_come_change_and_go(void **state)
{
	struct folder f = make_folder();
	assert_string_equal(scanned(&f), "");
	put(&f, "a.yaml", DATASET("a", ""));
	put(&f, "b.json", DATASET("b", ""));
	put(&f, "notes.txt", "not ours");
	put(&f, ".hidden.yaml", "not ours");
	assert_string_equal(scanned(&f), "+a +b ");
	assert_string_equal(scanned(&f), "");
	put(&f, "a.yaml", DATASET("a", ", version: 3"));
	assert_string_equal(scanned(&f), "+a ");
	(void)unlinkat(f.fd, "a.yaml", 0);
	assert_string_equal(scanned(&f), "-a ");
	(void)unlinkat(f.fd, "b.json", 0);
	(void)unlinkat(f.fd, "notes.txt", 0);
	(void)unlinkat(f.fd, ".hidden.yaml", 0);
	assert_string_equal(scanned(&f), "-b ");
	remove_folder(&f);
}

static void a_bad_file_keeps_its_last_good_state(void **state)
{
	struct folder f = make_folder();
	put(&f, "a.yaml", DATASET("a", ""));
	assert_string_equal(scanned(&f), "+a ");
	put(&f, "a.yaml", "kind: [");
	assert_string_equal(scanned(&f), "");
	assert_int_equal(files_bad(f.files), 1);
	put(&f, "a.yaml", DATASET("a", ""));
	assert_string_equal(scanned(&f), "");
	assert_int_equal(files_bad(f.files), 0);
	(void)unlinkat(f.fd, "a.yaml", 0);
	assert_string_equal(scanned(&f), "-a ");
	remove_folder(&f);
}

static void a_file_that_names_anothers_dataset_is_taken_once_the_other_is_gone(void **state)
{
	struct folder f = make_folder();
	put(&f, "a.yaml", DATASET("d", ""));
	assert_string_equal(scanned(&f), "+d ");
	put(&f, "b.yaml", DATASET("d", ", version: 7"));
	assert_string_equal(scanned(&f), "");
	assert_int_equal(files_bad(f.files), 1);
	(void)unlinkat(f.fd, "a.yaml", 0);
	assert_string_equal(scanned(&f), "+d ");
	assert_int_equal(files_bad(f.files), 0);
	(void)unlinkat(f.fd, "b.yaml", 0);
	assert_string_equal(scanned(&f), "-d ");
	remove_folder(&f);
}

static void check_says_what_is_right_and_what_is_not(void **state)
{
	struct folder f = make_folder();
	char a[64], b[64], *out = NULL, *errors = NULL, expected[256];
	size_t out_len, errors_len;
	(void)snprintf(a, sizeof a, "%s/a.yaml", f.path);
	(void)snprintf(b, sizeof b, "%s/b.yaml", f.path);
	const char *const paths[] = {a, b};
	put(&f, "a.yaml",
	    "apiVersion: larder.dev/v1alpha1\nkind: Dataset\nmetadata: {name: a}\nspec:\n  sources:\n"
	    "  - {s3: {bucket: data}, secretRef: {name: keys}}\n  cache: {replicas: 2}\n");
	FILE *o = open_memstream(&out, &out_len), *e = open_memstream(&errors, &errors_len);
	assert_int_equal(check_files(paths, 1, o, e), 0);
	(void)fflush(o);
	assert_string_equal(out, "ok default/a\n"
				 "note default/a: spec.cache.replicas is not acted on yet\n"
				 "note default/a: Secret default/keys is in none of these files\n");
	put(&f, "b.yaml", "kind: Datset\n");
	assert_int_equal(check_files(paths, 2, o, e), 1);
	(void)fflush(e);
	(void)snprintf(expected, sizeof expected,
		       "%s:1:1: kind Datset: not in this version (has: Dataset, Secret)\n", b);
	assert_string_equal(errors, expected);
	(void)fclose(o);
	(void)fclose(e);
	free(out);
	free(errors);
	(void)unlinkat(f.fd, "a.yaml", 0);
	(void)unlinkat(f.fd, "b.yaml", 0);
	remove_folder(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(files_come_change_and_go),
		cmocka_unit_test(a_bad_file_keeps_its_last_good_state),
		cmocka_unit_test(a_file_that_names_anothers_dataset_is_taken_once_the_other_is_gone),
		cmocka_unit_test(check_says_what_is_right_and_what_is_not),
	};
	log_setup("files_test", LOG_ERROR, false);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
