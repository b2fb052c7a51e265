/*
 * The calling thread walks the manifest and starts loads, at most `concurrency` at once; their ends come on threads of the
 * cache. Two walks: the first counts what matches, so that percentages are true.
 */
#include "cache-node/job/job.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/list.h"
#include "common/base/mem.h"
#include "common/dataset/glob.h"

#define PROGRESS_NS (500 * NS_PER_MS)

struct job {
	struct node_dataset *dataset;
	const Larder__V1__JobSpec *spec;
	job_progress_fn progress;
	void *ctx;
	struct manifest *manifest;
	uint64_t config; /* of the version */
	struct manifest_found found;
	int64_t started_ns, told_ns;
	bool cancelled;

	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t changed;
	uint32_t running;
	uint64_t objects_total, objects_done, bytes_total, bytes_done, failed;
	Larder__V1__Failure failures[JOB_FAILURES_MAX];
	size_t failure_count;
};

/* An object being loaded. */
struct load {
	struct cache_load load;
	struct job *job;
	struct cache_object *object;
	uint64_t size;
	char *path, *key;
};

static bool matches(const struct job *j, const struct manifest_entry *e)
{
	if (e->type != MANIFEST_FILE)
		return false;
	if (!j->spec->n_globs)
		return true;
	for (size_t i = 0; i < j->spec->n_globs; i++)
		if (glob_match(j->spec->globs[i], e->path, e->path_len))
			return true;
	return false;
}

/* ---- telling ---- */

static Larder__V1__JobProgress__State state_of(const struct job *j, bool over)
{
	if (!over)
		return LARDER__V1__JOB_PROGRESS__STATE__RUNNING;
	if (j->cancelled)
		return LARDER__V1__JOB_PROGRESS__STATE__CANCELLED;
	if (!j->failed)
		return LARDER__V1__JOB_PROGRESS__STATE__COMPLETE;
	return j->objects_done ? LARDER__V1__JOB_PROGRESS__STATE__PARTLY
			       : LARDER__V1__JOB_PROGRESS__STATE__FAILED;
}

/* The lock is held; failures are sent once, at the end. */
static bool tell(struct job *j, bool over)
{
	Larder__V1__JobProgress p = LARDER__V1__JOB_PROGRESS__INIT;
	Larder__V1__Failure *failures[JOB_FAILURES_MAX];
	int64_t now = clock_mono_ns();
	double seconds = (double)(now - j->started_ns) / 1e9;

	for (size_t i = 0; i < j->failure_count; i++)
		failures[i] = &j->failures[i];
	p.id = j->spec->id;
	p.state = state_of(j, over);
	p.objects_total = j->objects_total;
	p.objects_done = j->objects_done;
	p.bytes_total = j->bytes_total;
	p.bytes_done = j->bytes_done;
	p.objects_failed = j->failed;
	p.bytes_per_second = seconds > 0 ? (uint64_t)((double)j->bytes_done / seconds) : 0;
	p.n_failures = over ? j->failure_count : 0;
	p.failures = failures;
	j->told_ns = now;
	return j->progress(j->ctx, &p);
}

static void tell_if_due(struct job *j)
{
	if (clock_mono_ns() - j->told_ns >= PROGRESS_NS && !tell(j, false))
		j->cancelled = true;
}

/* The lock is held. */
static void note_failure(struct job *j, const char *path, const char *key, int status, const struct err *err)
{
	j->failed++;
	if (j->failure_count == JOB_FAILURES_MAX)
		return;
	Larder__V1__Failure *f = &j->failures[j->failure_count];
	char *texts[3] = {mem_strdup(path), mem_strdup(key), mem_strdup(err_words(err, status))};
	if (!texts[0] || !texts[1] || !texts[2]) {
		for (size_t i = 0; i < 3; i++)
			(void)mem_free(texts[i]);
		return; /* counted, not named */
	}
	larder__v1__failure__init(f);
	f->path = texts[0];
	f->key = texts[1];
	f->message = texts[2];
	f->code = status;
	j->failure_count++;
}

/* ---- loading ---- */

static void on_loaded(struct cache_load *l, int status, const struct err *err)
{
	struct load *load = l->ctx;
	struct job *j = load->job;

	(void)pthread_mutex_lock(&j->lock);
	if (status) {
		note_failure(j, load->path, load->key, status, err);
	} else {
		j->objects_done++;
		j->bytes_done += load->size;
	}
	(void)cache_put(load->object); /* before `running` says that nobody needs the source any more */
	j->running--;
	(void)pthread_cond_signal(&j->changed);
	(void)pthread_mutex_unlock(&j->lock);
	(void)mem_free(load->path);
	(void)mem_free(load->key);
	(void)mem_free(load);
}

static void wait_a_bit(struct job *j)
{
	clock_cond_wait(&j->changed, &j->lock, 100 * NS_PER_MS);
	tell_if_due(j);
}

static struct load *load_new(struct job *j, struct cache_object *o)
{
	size_t key_len;
	const char *key = manifest_key(&j->found, &key_len);
	struct load *load = mem_calloc(1, sizeof *load);

	if (!load)
		return NULL;
	*load = (struct load){.load = {.done = on_loaded, .ctx = load},
			      .job = j,
			      .object = o,
			      .size = j->found.e.size,
			      .path = mem_strdup(j->found.e.path),
			      .key = mem_strndup(key, key_len)};
	if (load->path && load->key)
		return load;
	(void)mem_free(load->path);
	(void)mem_free(load->key);
	return mem_free(load);
}

/* Counts an object that needs no work, or that cannot be worked on. */
static void note_done(struct job *j, int status, const struct err *err)
{
	(void)pthread_mutex_lock(&j->lock);
	if (status) {
		note_failure(j, j->found.e.path, j->found.e.path, status, err);
	} else {
		j->objects_done++;
		j->bytes_done += j->found.e.size;
	}
	tell_if_due(j);
	(void)pthread_mutex_unlock(&j->lock);
}

static void load_one(struct job *j)
{
	struct cache_object *o = NULL;
	struct err err = {0};
	uint32_t limit = j->spec->concurrency ? j->spec->concurrency : JOB_CONCURRENCY;

	int r = j->found.e.size ? node_dataset_object(j->dataset, j->config, &j->found, &o, &err) : 0;
	if (r || !o) {
		note_done(j, r, &err);
		(void)cache_put(o);
		return;
	}
	struct load *load = load_new(j, o);
	if (!load) {
		note_done(j, -ENOMEM, NULL);
		(void)cache_put(o);
		return;
	}
	(void)pthread_mutex_lock(&j->lock);
	while (j->running >= limit)
		wait_a_bit(j);
	j->running++;
	(void)pthread_mutex_unlock(&j->lock);
	cache_load_start(o, &load->load);
}

static void evict_one(struct job *j)
{
	CLEANUP(cache_put) struct cache_object *o = NULL;
	struct err err = {0};
	uint64_t freed;

	int r = j->found.e.size ? node_dataset_object(j->dataset, j->config, &j->found, &o, &err) : 0;
	if (!r && o) {
		r = cache_evict(o, false, &freed);
		if (r == -EBUSY)
			(void)err_set(&err, r, "it is open; close it and evict again");
	}
	note_done(j, r, &err);
}

/* ---- walking ---- */

static int walk(struct job *j, void (*visit)(struct job *j), struct err *err)
{
	for (uint64_t i = 0; !j->cancelled; i++) {
		int r = manifest_at(j->manifest, i, &j->found);
		if (r == -ENOENT)
			return 0;
		if (r)
			return err_set(err, r, "reading the manifest: %s", err_text(r));
		if (matches(j, &j->found.e))
			visit(j);
	}
	return -ECANCELED;
}

static void count_one(struct job *j)
{
	j->objects_total++;
	j->bytes_total += j->found.e.size;
}

static int run(struct job *j, struct err *err)
{
	struct catalog_head head;

	int r = node_dataset_head(j->dataset, &head, err);
	if (!r)
		j->config = head.config;
	if (!r)
		r = node_dataset_open(j->dataset, &head.root, &j->manifest, err);
	if (!r)
		r = walk(j, count_one, err);
	if (!r && !j->objects_total)
		r = err_set(err, -ENOENT, "no file of %s matches", node_dataset_name(j->dataset));
	if (!r)
		r = walk(j, j->spec->kind == LARDER__V1__JOB_SPEC__KIND__EVICT ? evict_one : load_one, err);
	(void)pthread_mutex_lock(&j->lock);
	while (j->running)
		wait_a_bit(j);
	if (!r)
		(void)tell(j, true);
	(void)pthread_mutex_unlock(&j->lock);
	return r;
}

static void job_done(struct job *j)
{
	for (size_t i = 0; i < j->failure_count; i++) {
		(void)mem_free(j->failures[i].path);
		(void)mem_free(j->failures[i].key);
		(void)mem_free(j->failures[i].message);
	}
	(void)manifest_free(j->manifest);
	(void)pthread_mutex_destroy(&j->lock);
	(void)pthread_cond_destroy(&j->changed);
	(void)mem_free(j);
}

int job_run(struct node_dataset *d, const Larder__V1__JobSpec *spec, job_progress_fn progress, void *ctx,
	    struct err *err)
{
	for (size_t i = 0; i < spec->n_globs; i++) {
		const char *wrong = glob_error(spec->globs[i]);
		if (wrong)
			return err_set(err, -EINVAL, "glob \"%s\": %s", spec->globs[i], wrong);
	}
	struct job *j = mem_calloc(1, sizeof *j);
	if (!j)
		return err_set(err, -ENOMEM, "out of memory");
	j->dataset = d;
	j->spec = spec;
	j->progress = progress;
	j->ctx = ctx;
	j->started_ns = j->told_ns = clock_mono_ns();
	(void)pthread_mutex_init(&j->lock, NULL);
	(void)pthread_cond_init(&j->changed, NULL);
	int r = run(j, err);
	job_done(j);
	return r;
}
