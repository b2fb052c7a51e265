#include "operator-shim/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <string.h>
#include <unistd.h>

#include "common/base/fd.h"
#include "common/base/mem.h"
#include "operator-shim/check.h"
#include "operator-shim/doctor_steps.h"

struct doctor {
	const struct doctor_options *options;
	FILE *out, *errors;
	struct dataset_file **files; /* options->path_count */
	int *roots;                  /* of the sources, in their order; -1 where it is no file source's */
	size_t root_count;
};

static int read_files(struct doctor *d)
{
	const struct doctor_options *o = d->options;
	size_t sources = 0;

	d->files = mem_calloc(o->path_count, sizeof(struct dataset_file *));
	if (!d->files)
		return -ENOMEM;
	for (size_t i = 0; i < o->path_count; i++) {
		d->files[i] = check_read(o->paths[i], d->errors);
		if (!d->files[i])
			return -EINVAL;
		for (size_t j = 0; j < d->files[i]->dataset_count; j++)
			sources += d->files[i]->datasets[j]->source_count;
	}
	d->roots = mem_calloc(MAX(sources, (size_t)1), sizeof(int));
	if (!d->roots)
		return -ENOMEM;
	if (!sources)
		(void)fprintf(d->errors, "there is no Dataset in the files given\n");
	return sources ? 0 : -EINVAL;
}

/* As whoever started us: in an instance the mounter does it, which is root. */
static void open_roots(struct doctor *d)
{
	for (size_t i = 0; i < d->options->path_count; i++) {
		for (size_t j = 0; j < d->files[i]->dataset_count; j++) {
			const struct dataset *set = d->files[i]->datasets[j];
			for (size_t k = 0; k < set->source_count; k++) {
				int fd = -1;
				if (set->sources[k].kind == SOURCE_FILE &&
				    (fd = open(set->sources[k].file.path,
					       O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK)) < 0)
					fd = -errno;
				d->roots[d->root_count++] = fd;
			}
		}
	}
}

static int become(const struct doctor_options *o, FILE *errors)
{
	if (!o->uid)
		return 0;
	if (geteuid() != 0) {
		if (geteuid() != o->uid)
			(void)fprintf(errors, "note: tried as uid %u; the node is uid %u\n",
				      (unsigned)geteuid(), (unsigned)o->uid);
		return 0;
	}
	if (setgroups(0, NULL) == 0 && setresgid(o->gid, o->gid, o->gid) == 0 &&
	    setresuid(o->uid, o->uid, o->uid) == 0)
		return 0;
	int rc = -errno;
	(void)fprintf(errors, "becoming uid %u: %s\n", (unsigned)o->uid, err_text(rc));
	return rc;
}

static const struct secret *find_secret(const struct doctor *d, const char *namespace_, const char *name)
{
	for (size_t i = 0; name && i < d->options->path_count; i++)
		for (size_t j = 0; j < d->files[i]->secret_count; j++)
			if (strcmp(d->files[i]->secrets[j]->name, name) == 0 &&
			    strcmp(d->files[i]->secrets[j]->namespace_, namespace_) == 0)
				return d->files[i]->secrets[j];
	return NULL;
}

static bool try_dataset(const struct doctor *d, struct source_loop *loop, const struct dataset *set,
			const int *roots, bool first)
{
	bool good = true;

	for (size_t i = 0; i < set->source_count; i++) {
		struct doctor_report r = {.source = i};
		const struct dataset_source *s = &set->sources[i];
		const struct doctor_target t = {.source = s,
						.secret = find_secret(d, set->namespace_, s->secret),
						.ca = find_secret(d, set->namespace_, s->s3.ca_secret),
						.root_fd = roots[i]};
		dataset_full_name(set, r.dataset);
		(void)dataset_source_text(s, r.text, sizeof r.text);
		doctor_try(loop, &t, &r);
		good = good && !doctor_failed(&r);
		if (d->options->json)
			doctor_print_json(&r, first && i == 0, d->out);
		else
			doctor_print_text(&r, d->out);
		(void)fflush(d->out); /* the next one may take its time */
	}
	return good;
}

static bool try_all(const struct doctor *d, struct source_loop *loop)
{
	const int *roots = d->roots;
	bool good = true, first = true;

	if (d->options->json)
		(void)fputc('[', d->out);
	for (size_t i = 0; i < d->options->path_count; i++) {
		for (size_t j = 0; j < d->files[i]->dataset_count; j++) {
			const struct dataset *set = d->files[i]->datasets[j];
			good = try_dataset(d, loop, set, roots, first) && good;
			first = false;
			roots += set->source_count;
		}
	}
	if (d->options->json)
		(void)fputs("\n]\n", d->out);
	return good;
}

static void done(struct doctor *d)
{
	for (size_t i = 0; i < d->root_count; i++)
		(void)fd_close(d->roots[i]);
	mem_free(d->roots);
	for (size_t i = 0; d->files && i < d->options->path_count; i++)
		(void)dataset_file_free(d->files[i]);
	mem_free(d->files);
}

int doctor_run(const struct doctor_options *o, FILE *out, FILE *errors)
{
	struct doctor d = {.options = o, .out = out, .errors = errors};
	struct source_loop *loop = NULL;
	int rc = read_files(&d);

	if (rc == 0) {
		open_roots(&d);
		rc = become(o, errors);
	}
	if (rc == 0)
		rc = source_loop_new("doctor", &loop);
	bool good = rc == 0 && try_all(&d, loop);
	(void)source_loop_free(loop);
	done(&d);
	if (rc == -ENOMEM)
		(void)fprintf(errors, "out of memory\n");
	return good ? 0 : 1;
}
