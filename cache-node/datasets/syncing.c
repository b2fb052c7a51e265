/*
 * The thread of a dataset: it syncs it when it is new, changed, asked for, or due, and makes sources that could not be made.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "cache-node/datasets/internal.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/dataset/glob.h"

#define WANT_MAX       DATASET_LIST_MAX
#define SYNC_MEMORY    (32ULL << 20)
#define RETRY_FIRST_NS (1 * NS_PER_S) /* after a failed sync; doubles */
#define RETRY_LAST_NS  (60 * NS_PER_S)

void syncing_want(struct node_dataset *d)
{
	d->wanted++;
	d->want_all = true;
}

void syncing_forget(struct dataset_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		(void)mem_free(list->items[i]);
	(void)mem_free(list->items);
	*list = (struct dataset_list){.items = NULL};
}

/* Adds to what the next sync lists; where that grows too long, it lists everything. The lock is held. */
static void want_globs(struct node_dataset *d, char *const *globs, size_t count)
{
	size_t all = d->want.count + count;
	char **more = NULL;

	if (count && all <= WANT_MAX)
		more = mem_resize(d->want.items, all, sizeof(char *));
	d->wanted++;
	if (more)
		d->want.items = more;
	d->want_all |= !more;
	for (size_t i = 0; more && i < count; i++) {
		char *copy = mem_strdup(globs[i]);
		d->want_all |= !copy;
		if (copy)
			d->want.items[d->want.count++] = copy;
	}
}

/* What the sync that begins now lists: a borrowed list in *ret, whose memory is in *ret_taken. None: all. The lock is held. */
static bool take_wanted(struct node_dataset *d, struct sync_scope *ret, struct dataset_list *ret_taken)
{
	const struct dataset_list *paths = &d->set->spec->sync.paths;
	bool asked = d->wanted > d->finished, all = asked ? d->want_all : d->due_all || !paths->count;

	*ret_taken = d->want;
	const struct dataset_list *from = asked ? ret_taken : paths;
	*ret = (struct sync_scope){.globs = from->items, .count = all ? 0 : from->count};
	d->want = (struct dataset_list){.items = NULL};
	d->want_all = false;
	return all;
}

static void note_result(struct node_dataset *d, const struct sync_result *result)
{
	d->made_version = result->moved;
	d->head = result->head;
	d->stats = result->stats;
	(void)conflicts_free(d->conflicts);
	d->conflicts = result->conflicts;
	d->phase = LARDER__V1__DATASET_STATUS__PHASE__READY;
	d->message_text[0] = 0;
	d->last_error = 0;
	d->retry_ns = 0;
}

/* A dataset that has a version stays ready; status says what went wrong. */
static void note_failure(struct node_dataset *d, int r, const struct err *err)
{
	d->last_error = r;
	(void)snprintf(d->message_text, sizeof d->message_text, "sync: %s", err_words(err, r));
	d->phase = d->head.version ? LARDER__V1__DATASET_STATUS__PHASE__READY
				   : LARDER__V1__DATASET_STATUS__PHASE__FAILED;
	d->retry_ns = d->retry_ns ? MIN(2 * d->retry_ns, RETRY_LAST_NS) : RETRY_FIRST_NS;
}

/* One sync. node_dataset.lock is held and given up meanwhile. */
static void sync_once(struct node_dataset *d)
{
	struct source_set *set = d->set;
	uint64_t ticket = d->wanted;
	struct sync_request q = {.catalog = d->all->config.catalog,
				 .dataset = set->spec,
				 .sources = set->list,
				 .conflicts = d->conflicts,
				 .temp_dir_fd = d->all->config.temp_dir_fd,
				 .memory_max = SYNC_MEMORY,
				 .progress = &d->progress};
	struct dataset_list taken;
	struct sync_result result;
	struct err err = {0};
	bool all = take_wanted(d, &q.scope, &taken);

	atomic_store(&d->progress.objects, 0);
	atomic_store(&d->progress.bytes, 0);
	atomic_store(&d->progress.expected, all ? d->stats.files : 0);
	if (!d->head.version)
		d->phase = LARDER__V1__DATASET_STATUS__PHASE__SYNCING;
	(void)pthread_mutex_unlock(&d->lock);
	int r = sync_run(&q, &result, &err);
	if (!r)
		versions_keep_conflicts(d, result.head.version, result.conflicts); /* waits for a disk */
	syncing_forget(&taken);
	(void)pthread_mutex_lock(&d->lock);
	if (r == -ECANCELED)
		return;
	if (r) {
		note_failure(d, r, &err);
		log_write(LOG_WARN, "sync failed", LOG_STR("dataset", d->name),
			  LOG_STR("error", err_words(&err, r)), NULL);
	} else {
		note_result(d, &result);
		log_write(LOG_INFO, result.moved ? "new version" : "nothing changed",
			  LOG_STR("dataset", d->name), LOG_INT("version", result.head.version),
			  LOG_INT("files", result.stats.files), LOG_INT("bytes", result.stats.bytes), NULL);
	}
	d->due_all = all ? r != 0
			 : d->due_all; /* what failed is listed again, not less, whatever part came between */
	int64_t wait = r ? d->retry_ns : d->due_all ? RETRY_FIRST_NS : set->spec->sync.interval_ns;
	d->due_ns = wait ? clock_mono_ns() + wait : 0;
	d->finished = ticket;
	if (!r && result.moved) {
		d->announce = true;
		d->retain_ns = 1;
	}
	(void)pthread_cond_broadcast(&d->changed);
}

/* Tells mounts of the version that they show now. node_dataset.lock is held and given up meanwhile. */
static void announce(struct node_dataset *d)
{
	struct catalog_head shown;
	bool known = versions_shown(d, &shown, NULL) == 0;

	d->announce = false;
	(void)pthread_mutex_unlock(&d->lock);
	if (known && d->all->config.moved)
		d->all->config.moved(d->all->config.ctx, d);
	(void)pthread_mutex_lock(&d->lock);
}

void node_dataset_wait_until(struct node_dataset *d, int64_t mono_ns)
{
	clock_cond_wait(&d->changed, &d->lock, mono_ns - clock_mono_ns());
}

/* node_dataset.lock is held, and given up for a moment: datasets.lock comes first. */
static void sources_again(struct node_dataset *d)
{
	(void)pthread_mutex_unlock(&d->lock);
	(void)pthread_mutex_lock(&d->all->lock);
	(void)pthread_mutex_lock(&d->lock);
	if (!d->stop && !d->sources_ready)
		sources_make(d);
	(void)pthread_mutex_unlock(&d->all->lock);
}

/* The earliest of what is waited for; 0: nothing. node_dataset.lock is held. */
static int64_t next_event(const struct node_dataset *d)
{
	int64_t at = d->sources_ready ? d->due_ns : d->source_retry_ns;

	if (d->retain_ns && atomic_load(&d->all->retains))
		at = at ? MIN(at, d->retain_ns) : d->retain_ns;
	return at;
}

/* One thing that is due. False: nothing is. node_dataset.lock is held, and given up meanwhile. */
static bool step(struct node_dataset *d)
{
	int64_t now = clock_mono_ns();

	if (d->announce)
		announce(d);
	else if (d->sources_ready && (d->wanted > d->finished || (d->due_ns && now >= d->due_ns)))
		sync_once(d);
	else if (!d->sources_ready && d->source_retry_ns && now >= d->source_retry_ns)
		sources_again(d);
	else if (d->retain_ns && now >= d->retain_ns && atomic_load(&d->all->retains))
		retention_run(d);
	else
		return false;
	return true;
}

static void *sync_main(void *arg)
{
	struct node_dataset *d = arg;

	(void)prctl(PR_SET_NAME, "sync");
	(void)pthread_mutex_lock(&d->lock);
	while (!d->stop) {
		if (step(d))
			continue;
		int64_t at = next_event(d);
		if (at)
			node_dataset_wait_until(d, at);
		else
			(void)pthread_cond_wait(&d->changed, &d->lock);
	}
	(void)pthread_mutex_unlock(&d->lock);
	return NULL;
}

int syncing_start(struct node_dataset *d, struct err *err)
{
	int r = pthread_create(&d->thread, NULL, sync_main, d);

	d->thread_started = r == 0;
	return r ? err_set(err, -r, "no thread for a dataset: %s", err_text(r)) : 0;
}

void syncing_stop(struct node_dataset *d)
{
	if (!d->thread_started)
		return;
	(void)pthread_mutex_lock(&d->lock);
	d->stop = true;
	atomic_store(&d->progress.stop, true);
	(void)pthread_cond_broadcast(&d->changed);
	(void)pthread_mutex_unlock(&d->lock);
	(void)pthread_join(d->thread, NULL);
	d->thread_started = false;
}

/* One turn of waiting. The lock is held, and given up meanwhile. */
static int wait_for_sync(struct node_dataset *d, const struct node_sync_request *q, struct err *err)
{
	if (d->stop)
		return err_set(err, -ENOENT, "%s is being deleted", d->name);
	if (!d->sources_ready)
		return err_set(err, -EAGAIN, "%s", d->message_text);
	node_dataset_wait_until(d, clock_mono_ns() + 200 * NS_PER_MS);
	struct node_sync now = {.objects = atomic_load(&d->progress.objects),
				.bytes = atomic_load(&d->progress.bytes),
				.expected = atomic_load(&d->progress.expected)};
	(void)pthread_mutex_unlock(&d->lock);
	int r = q->progress(q->ctx, &now) ? 0 : err_set(err, -ECANCELED, "the caller went away");
	(void)pthread_mutex_lock(&d->lock);
	return r;
}

int node_dataset_sync(struct node_dataset *d, const struct node_sync_request *request, struct node_sync *ret,
		      struct err *err)
{
	int r = 0;

	for (size_t i = 0; i < request->count; i++) {
		const char *wrong = glob_error(request->globs[i]);
		if (wrong)
			return err_set(err, -EINVAL, "\"%.150s\": %s", request->globs[i], wrong);
	}
	(void)pthread_mutex_lock(&d->lock);
	want_globs(d, request->globs, request->count);
	uint64_t ticket = d->wanted;
	(void)pthread_cond_broadcast(&d->changed);
	while (d->finished < ticket && !r)
		r = wait_for_sync(d, request, err);
	if (!r && d->last_error)
		r = err_set(err, d->last_error, "%s", d->message_text);
	*ret = (struct node_sync){.objects = d->stats.files,
				  .bytes = d->stats.bytes,
				  .version = d->head.version,
				  .changed = d->made_version};
	(void)pthread_mutex_unlock(&d->lock);
	return r;
}
