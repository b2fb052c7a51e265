/*
 * larder load, evict, sync, scrub - a job on the node, watched until it ends. Ctrl-C ends the watching and with it the job.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/human.h"
#include "cli/json.h"
#include "cli/node_client.h"
#include "cli/terminal.h"
#include "common/base/quantity.h"

struct job_watch {
	struct progress_line line;
	bool json;
	Larder__V1__JobSpec__Kind kind;
	int64_t started_ns;
};

static void print_failures(const struct job_watch *w, const Larder__V1__JobProgress *p)
{
	for (size_t i = 0; i < p->n_failures; i++) {
		const Larder__V1__Failure *f = p->failures[i];
		(void)fputs(w->kind == LARDER__V1__JOB_SPEC__KIND__SCRUB ? "larder: " : "larder: /", stderr);
		term_text(stderr, f->path, strlen(f->path));
		(void)fputs(": ", stderr);
		term_text(stderr, f->message, strlen(f->message));
		if (f->key[0] && w->kind != LARDER__V1__JOB_SPEC__KIND__SCRUB) {
			(void)fputs(" (key ", stderr);
			term_text(stderr, f->key, strlen(f->key));
			(void)fputc(')', stderr);
		}
		(void)fputc('\n', stderr);
	}
	if (p->objects_failed > p->n_failures)
		(void)fprintf(stderr, "larder: and %llu more\n",
			      (unsigned long long)(p->objects_failed - p->n_failures));
}

static void print_end(const struct job_watch *w, const Larder__V1__JobProgress *p)
{
	char bytes[16], rate[16], files[HUMAN_COUNT_MAX];

	bytes_format(p->bytes_done, bytes);
	bytes_format(p->bytes_per_second, rate);
	if (w->kind == LARDER__V1__JOB_SPEC__KIND__SCRUB)
		(void)printf("%s objects, %s verified (%s/s), %llu damaged\n",
			     human_count(p->objects_done, files), bytes, rate,
			     (unsigned long long)p->objects_failed);
	else if (w->kind == LARDER__V1__JOB_SPEC__KIND__SYNC)
		(void)printf("%s %llu: %s files, %s\n",
			     p->changed ? "new version" : "nothing changed in version",
			     (unsigned long long)p->version, human_count(p->objects_done, files), bytes);
	else if (w->kind == LARDER__V1__JOB_SPEC__KIND__LOAD)
		(void)printf("%s files, %s cached (%s/s)\n", human_count(p->objects_done, files), bytes,
			     rate);
	else
		(void)printf("%s files, %s evicted\n", human_count(p->objects_done, files), bytes);
}

/* What the last message means for the exit status. */
static int end_job(struct job_watch *w, const Larder__V1__JobProgress *p, struct err *err)
{
	progress_line_clear(&w->line);
	if (w->json) {
		json_message(stdout, &p->base);
		(void)fputc('\n', stdout);
	} else {
		print_failures(w, p);
		print_end(w, p);
	}
	switch (p->state) {
	case LARDER__V1__JOB_PROGRESS__STATE__COMPLETE:
		return EXIT_GOOD;
	case LARDER__V1__JOB_PROGRESS__STATE__PARTLY:
		return EXIT_PARTLY;
	default:
		return command_fail(EXIT_FAILED, err,
				    err_set(err, -EIO, "%s",
					    p->message[0] ? p->message
					    : p->state == LARDER__V1__JOB_PROGRESS__STATE__FAILED
						    ? "nothing could be done"
						    : "the node gave the job up"));
	}
}

static void show(struct job_watch *w, const Larder__V1__JobProgress *p)
{
	const struct human_progress h = {.objects_done = p->objects_done,
					 .objects_total = p->objects_total,
					 .objects_failed = p->objects_failed,
					 .bytes_done = p->bytes_done,
					 .bytes_total = p->bytes_total,
					 .bytes_per_second = p->bytes_per_second};
	char line[256];

	if (w->json)
		return;
	if (w->kind == LARDER__V1__JOB_SPEC__KIND__SYNC)
		human_sync_line(&h, clock_mono_ns() - w->started_ns, line, sizeof line);
	else
		human_progress_line(&h, line, sizeof line);
	progress_line_show(&w->line, line, clock_mono_ns());
}

/* Reads the stream to its end. The exit status. */
static int watch(struct rpc_stream *s, struct job_watch *w)
{
	struct err err = {0};
	ProtobufCMessage *m, *last = NULL;
	int r;

	while ((r = rpc_stream_next(s, &m, &err)) > 0) {
		if (last)
			protobuf_c_message_free_unpacked(last, NULL);
		last = m;
		show(w, (const void *)m);
	}
	int status;
	if (r || !last) {
		progress_line_clear(&w->line);
		status = command_fail(EXIT_FAILED, &err, r ? r : -EPROTO);
	} else {
		status = end_job(w, (const void *)last, &err);
	}
	if (last)
		protobuf_c_message_free_unpacked(last, NULL);
	return status;
}

/* A path without glob characters means that file, or all below that folder. */
static size_t make_globs(const struct dataset_ref *ref, char below[PATH_MAX + 8], char *globs[2])
{
	if (!ref->path[0])
		return 0;
	globs[0] = (char *)(uintptr_t)ref->path; /* only read */
	if (path_is_glob(ref->path))
		return 1;
	size_t len = strlen(ref->path);
	while (len && ref->path[len - 1] == '/')
		len--;
	if (snprintf(below, PATH_MAX + 8, "%.*s/**", (int)MIN(len, (size_t)PATH_MAX), ref->path) < 0)
		return 1;
	globs[1] = below;
	return 2;
}

/* @ref: NULL for a scrub, which is of everything. */
static int run(const struct common_options *o, struct dataset_ref *ref, Larder__V1__JobSpec__Kind kind)
{
	Larder__V1__JobSpec q;
	struct job_watch w = {.line = progress_line_on(stderr),
			      .json = o->json,
			      .kind = kind,
			      .started_ns = clock_mono_ns()};
	char name[NAME_LABEL_MAX + 1], id[64], below[PATH_MAX + 8], *globs[2];
	CLEANUP(rpc_client_free) struct rpc_client *c = NULL;
	CLEANUP(rpc_stream_free) struct rpc_stream *s = NULL;
	struct err err = {0};

	(void)snprintf(id, sizeof id, "cli-%d-%lld", getpid(), (long long)clock_wall_ns());
	larder__v1__job_spec__init(&q);
	q.id = id;
	q.kind = kind;
	q.bandwidth = o->bandwidth;
	if (ref) {
		q.namespace_ = ref->namespace_;
		q.dataset = ref->name;
		q.globs = globs;
		q.n_globs = make_globs(ref, below, globs);
	}
	int r = node_connect(o->instance, name, &c, &err);
	if (!r)
		r = rpc_stream_open(c, "/larder.v1.Node/Run", &q.base, &larder__v1__job_progress__descriptor,
				    0, false, &s, &err);
	return r ? command_fail(EXIT_FAILED, &err, r) : watch(s, &w);
}

int scrub_command(const struct command *self, int argc, char **argv)
{
	struct common_options o;
	int status = common_options_read(self, argc, argv, 0, 0, &o);

	if (status >= 0)
		return status;
	rpc_init();
	status = run(&o, NULL, LARDER__V1__JOB_SPEC__KIND__SCRUB);
	rpc_done();
	return status;
}

int job_command(const struct command *self, int argc, char **argv)
{
	struct common_options o;
	struct dataset_ref ref;
	struct err err = {0};
	int status = common_options_read(self, argc, argv, 1, 1, &o);

	if (status >= 0)
		return status;
	int r = dataset_ref_parse(o.operand, &ref, &err);
	if (r)
		return command_fail(EXIT_USAGE, &err, r);
	rpc_init();
	status = run(&o, &ref,
		     strcmp(self->name, "load") == 0   ? LARDER__V1__JOB_SPEC__KIND__LOAD
		     : strcmp(self->name, "sync") == 0 ? LARDER__V1__JOB_SPEC__KIND__SYNC
						       : LARDER__V1__JOB_SPEC__KIND__EVICT);
	rpc_done();
	return status;
}
