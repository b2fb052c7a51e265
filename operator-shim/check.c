#include "operator-shim/check.h"

#include <fcntl.h>
#include <string.h>

#include "common/base/fd.h"
#include "common/base/mem.h"
#include "common/dataset.h"

struct dataset_file *check_read(const char *path, FILE *errors)
{
	struct err err = {0};
	struct dataset_file *f = NULL;
	char *text = NULL;
	size_t len = 0;
	int r = fd_read_file(AT_FDCWD, path, DATASET_TEXT_MAX, &text, &len);

	if (r != 0)
		(void)fprintf(errors, "%s: cannot be read: %s\n", path, err_text(r));
	else if ((r = dataset_file_parse(path, text, len, &f, &err)) != 0)
		(void)fprintf(errors, "%s\n", err_words(&err, r));
	if (text)
		explicit_bzero(text, len); /* it may hold secrets */
	(void)mem_free(text);
	return f;
}

static bool has_secret(struct dataset_file *const *files, size_t count, const char *namespace_,
		       const char *name)
{
	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; files[i] && j < files[i]->secret_count; j++)
			if (strcmp(files[i]->secrets[j]->name, name) == 0 &&
			    strcmp(files[i]->secrets[j]->namespace_, namespace_) == 0)
				return true;
	return false;
}

static void write_dataset(const struct dataset *d, struct dataset_file *const *files, size_t count, FILE *out)
{
	(void)fprintf(out, "ok %s/%s\n", d->namespace_, d->name);
	for (size_t i = 0; i < d->unacted.count; i++)
		(void)fprintf(out, "note %s/%s: %s is not acted on yet\n", d->namespace_, d->name,
			      d->unacted.items[i]);
	for (size_t i = 0; i < d->source_count; i++)
		if (d->sources[i].secret && !has_secret(files, count, d->namespace_, d->sources[i].secret))
			(void)fprintf(out, "note %s/%s: Secret %s/%s is in none of these files\n",
				      d->namespace_, d->name, d->namespace_, d->sources[i].secret);
}

int check_files(const char *const *paths, size_t count, FILE *out, FILE *errors)
{
	struct dataset_file **files = mem_calloc(count, sizeof *files);
	bool failed = false;

	if (!files) {
		(void)fprintf(errors, "out of memory\n");
		return 1;
	}
	for (size_t i = 0; i < count; i++) {
		files[i] = check_read(paths[i], errors);
		failed = failed || !files[i];
	}
	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; files[i] && j < files[i]->dataset_count; j++)
			write_dataset(files[i]->datasets[j], files, count, out);
	for (size_t i = 0; i < count; i++)
		(void)dataset_file_free(files[i]);
	(void)mem_free(files);
	return failed;
}
