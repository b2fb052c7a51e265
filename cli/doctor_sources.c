#include "cli/doctor_sources.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli/checks.h"
#include "cli/child.h"
#include "cli/commands.h"
#include "cli/secret_file.h"
#include "common/base/fd.h"
#include "common/base/mem.h"

enum { DOCTOR_FILE = 1, DOCTOR_SECRET, DOCTOR_RUN_AS, DOCTOR_OUTPUT, DOCTOR_HELP };

const struct option_spec doctor_option_specs[] = {
	{DOCTOR_FILE, 'f', "file", "FILE", "try each source of these Datasets, step by step (repeatable)"},
	{DOCTOR_SECRET, 0, "secret", "NAME=FILE",
	 "a Secret from a file of KEY=VALUE or KEY=@FILE lines (repeatable)"},
	{DOCTOR_RUN_AS, 0, "run-as", "UID[:GID]", "with -f: who would serve (65532)"},
	{DOCTOR_OUTPUT, 'o', "output", "text|json", "how to print (text)"},
	{DOCTOR_HELP, 'h', "help", NULL, "this text"},
};

static int take(struct doctor_words *w, int id, const char *value, struct err *err)
{
	int r = 0;

	switch (id) {
	case DOCTOR_FILE:
		if (w->file_count == UP_FILES_MAX)
			return err_set(err, -EINVAL, "%d files are the limit of --file", UP_FILES_MAX);
		r = path_absolute(value, w->files[w->file_count], err);
		w->file_count += r == 0;
		return r;
	case DOCTOR_SECRET:
		if (w->secret_count == UP_SECRETS_MAX)
			return err_set(err, -EINVAL, "%d secrets are the limit", UP_SECRETS_MAX);
		r = up_secret_parse(value, &w->secrets[w->secret_count], err);
		w->secret_count += r == 0;
		return r;
	case DOCTOR_RUN_AS:
		return up_run_as_parse(value, &w->uid, &w->gid, err);
	case DOCTOR_OUTPUT:
		w->json = strcmp(value, "json") == 0;
		return w->json || strcmp(value, "text") == 0
			       ? 0
			       : err_set(err, -EINVAL, "--output \"%.80s\" must be text or json", value);
	case DOCTOR_HELP:
		w->help = true;
		return 0;
	default:
		return err_set(err, -EINVAL, "\"%.80s\" is not expected here; files are given with -f",
			       value);
	}
}

int doctor_words_parse(int argc, char **argv, struct doctor_words **ret, struct err *err)
{
	CLEANUP(mem_free) void *memory = mem_calloc(1, sizeof **ret);
	struct doctor_words *w = memory;
	struct options words = options_over(doctor_option_specs, DOCTOR_OPTIONS, argc, argv);
	int r = 0;

	if (!w)
		return err_set(err, -ENOMEM, "out of memory");
	w->uid = w->gid = UP_RUN_AS;
	for (int id; !r && (id = options_next(&words, err)) != OPTIONS_END;)
		r = id < 0 ? id : take(w, id, words.value, err);
	if (!r && w->secret_count && !w->file_count)
		r = err_set(err, -EINVAL, "--secret is for the sources of a Dataset: -f dataset.yaml");
	if (!r)
		*ret = TAKE(memory);
	return r;
}

/* A Secret as a document in memory that the next program inherits: it never reaches a disk. */
static int secret_document(const struct up_secret *s, int *ret_fd, struct err *err)
{
	char *document = NULL;
	int r = secret_file_read(&s->name, s->file, &document, err);

	if (r)
		return r;
	CLEANUP(fd_close) int fd = memfd_create("larder-secret", 0);
	size_t len = strlen(document);
	if (fd < 0 || write(fd, document, len) != (ssize_t)len)
		r = err_set(err, -errno, "keeping Secret %s: %s", s->name.name, err_text(-errno));
	explicit_bzero(document, len);
	(void)mem_free(document);
	if (r == 0)
		*ret_fd = fd_take(&fd);
	return r;
}

int doctor_sources(const struct doctor_words *w, struct err *err)
{
	char folder[PATH_MAX];
	struct child c = {.name = "larder-operator"};
	int r = libexec_folder(folder, err);

	if (r)
		return r;
	child_arg(&c, "%s/larder-operator", folder);
	child_arg(&c, "--probe");
	child_arg(&c, "--output");
	child_arg(&c, w->json ? "json" : "text");
	child_arg(&c, "--run-as");
	child_arg(&c, "%u:%u", (unsigned)w->uid, (unsigned)w->gid);
	child_arg(&c, "--");
	for (size_t i = 0; i < w->file_count; i++)
		child_arg(&c, "%s", w->files[i]);
	for (size_t i = 0; r == 0 && i < w->secret_count; i++) {
		int fd = -1;
		r = secret_document(&w->secrets[i], &fd, err);
		child_arg(&c, "/proc/self/fd/%d", fd); /* open until the other program ends */
	}
	if (r == 0 && c.truncated)
		r = err_set(err, -E2BIG, "too many files and secrets; put several documents into one file");
	if (r == 0) {
		c.args[c.arg_count] = NULL;
		(void)execv(c.args[0], c.args);
		r = err_set(err, -errno, "%s: %s; the programs of Larder belong together, install them again",
			    c.args[0], err_text(-errno));
	}
	child_done(&c);
	return r;
}
