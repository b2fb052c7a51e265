#include "cache-node/job/scrub_job.h"

#include <errno.h>
#include <stdio.h>

#include "common/base/clock.h"
#include "common/base/mem.h"

#define PROGRESS_NS (500 * NS_PER_MS)

struct scrub_job {
	struct cache_scrub scrub;
	const Larder__V1__JobSpec *spec;
	job_progress_fn progress;
	void *ctx;
	int64_t started_ns, told_ns;
	Larder__V1__Failure failures[JOB_FAILURES_MAX];
	size_t failure_count;
};

static bool tell(struct scrub_job *j, bool over)
{
	Larder__V1__JobProgress p = LARDER__V1__JOB_PROGRESS__INIT;
	Larder__V1__Failure *failures[JOB_FAILURES_MAX];
	const struct cache_scrub *s = &j->scrub;

	j->told_ns = clock_mono_ns();
	double seconds = (double)(j->told_ns - j->started_ns) / 1e9;
	for (size_t i = 0; i < j->failure_count; i++)
		failures[i] = &j->failures[i];
	p.id = j->spec->id;
	p.state = !over    ? LARDER__V1__JOB_PROGRESS__STATE__RUNNING
		  : s->bad ? LARDER__V1__JOB_PROGRESS__STATE__PARTLY
			   : LARDER__V1__JOB_PROGRESS__STATE__COMPLETE;
	p.objects_total = MAX(s->objects_total, s->objects); /* more may have come meanwhile */
	p.objects_done = s->objects;
	p.bytes_total = MAX(s->bytes_total, s->bytes);
	p.bytes_done = s->bytes;
	p.objects_failed = s->bad;
	p.bytes_per_second = seconds > 0 ? (uint64_t)((double)s->bytes / seconds) : 0;
	p.n_failures = over ? j->failure_count : 0;
	p.failures = failures;
	return j->progress(j->ctx, &p);
}

static bool on_progress(struct cache_scrub *s)
{
	struct scrub_job *j = s->ctx;
	return clock_mono_ns() - j->told_ns < PROGRESS_NS || tell(j, false);
}

static void on_found(struct cache_scrub *s, const struct cache_departure *d, int code)
{
	struct scrub_job *j = s->ctx;
	char id[HASH256_HEX];

	if (j->failure_count == JOB_FAILURES_MAX)
		return;
	Larder__V1__Failure *f = &j->failures[j->failure_count];
	hash256_hex(&d->id, id);
	char *key = mem_strdup(d->key), *path = mem_strdup(d->key[0] ? d->key : id),
	     *message = mem_printf("damaged (%s); dropped, the next read fetches it", err_text(code));
	if (!key || !path || !message) {
		(void)mem_free(key);
		(void)mem_free(path);
		(void)mem_free(message);
		return; /* counted, not named */
	}
	larder__v1__failure__init(f);
	f->path = path;
	f->key = key;
	f->message = message;
	f->code = code;
	j->failure_count++;
}

static void job_done(struct scrub_job *j)
{
	for (size_t i = 0; i < j->failure_count; i++) {
		(void)mem_free(j->failures[i].path);
		(void)mem_free(j->failures[i].key);
		(void)mem_free(j->failures[i].message);
	}
	(void)mem_free(j);
}

int scrub_job_run(struct cache *cache, const Larder__V1__JobSpec *spec, job_progress_fn progress, void *ctx,
		  struct err *err)
{
	struct scrub_job *j = mem_calloc(1, sizeof *j);

	if (!j)
		return err_set(err, -ENOMEM, "out of memory");
	j->scrub = (struct cache_scrub){
		.bytes_per_second = spec->bandwidth, .progress = on_progress, .found = on_found, .ctx = j};
	j->spec = spec;
	j->progress = progress;
	j->ctx = ctx;
	j->started_ns = j->told_ns = clock_mono_ns();
	int r = cache_scrub(cache, &j->scrub);
	if (r)
		(void)err_set(err, r, "the scrub was ended: %s", err_text(r));
	else
		(void)tell(j, true);
	job_done(j);
	return r;
}
