#include "cache-node/service.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "cache-node/fuse/nodes.h"
#include "cache-node/job/job.h"
#include "cache-node/job/scrub_job.h"
#include "cache-node/listing.h"
#include "cache-node/tier_status.h"
#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/rpc.h"

#define TASKS_MAX       64
#define PUBLISH_WAIT_NS (15 * 60 * NS_PER_S) /* the caller's own deadline is usually shorter */

struct service {
	struct service_config config;
	struct rpc_server *server;
	pthread_mutex_t lock; /* guards tasks */
	pthread_cond_t idle;
	uint32_t tasks;
};

/* A call that has a thread of its own. */
struct task {
	struct service *service;
	struct rpc_call *call;
	const ProtobufCMessage *request; /* lives as long as the call */
	void (*run)(struct task *t);
};

static void *task_main(void *arg)
{
	struct task *t = arg;
	struct service *s = t->service;

	(void)prctl(PR_SET_NAME, "call");
	t->run(t);
	(void)mem_free(t);
	(void)pthread_mutex_lock(&s->lock);
	if (--s->tasks == 0)
		(void)pthread_cond_broadcast(&s->idle);
	(void)pthread_mutex_unlock(&s->lock);
	return NULL;
}

static int start_thread(struct task *t)
{
	pthread_t thread;
	int r = pthread_create(&thread, NULL, task_main, t);

	if (!r)
		(void)pthread_detach(thread);
	return -r;
}

static void spawn(struct service *s, struct rpc_call *call, const ProtobufCMessage *request,
		  void (*run)(struct task *t))
{
	struct task *t = mem_calloc(1, sizeof *t);
	struct err err = {0};

	(void)pthread_mutex_lock(&s->lock);
	bool room = t && s->tasks < TASKS_MAX;
	s->tasks += room;
	(void)pthread_mutex_unlock(&s->lock);
	int r = room ? 0 : err_set(&err, -EAGAIN, "%d calls run already; try again", TASKS_MAX);
	if (!r) {
		*t = (struct task){.service = s, .call = call, .request = request, .run = run};
		r = start_thread(t);
	}
	if (!r)
		return;
	if (room) {
		(void)pthread_mutex_lock(&s->lock);
		s->tasks--;
		(void)pthread_mutex_unlock(&s->lock);
	}
	(void)mem_free(t);
	rpc_finish(call, r, &err);
}

static void reply_empty(struct rpc_call *call, int r, const struct err *err)
{
	Larder__V1__Empty empty = LARDER__V1__EMPTY__INIT;

	if (r)
		rpc_finish(call, r, err);
	else
		rpc_reply(call, &empty.base);
}

static struct node_dataset *find(struct service *s, const Larder__V1__DatasetName *name, struct err *err)
{
	char full[DATASET_FULL_MAX];

	if (!name || !dataset_label_valid(name->namespace_) || !dataset_label_valid(name->name)) {
		(void)err_set(err, -EINVAL,
			      "a dataset is named [NAMESPACE/]NAME, in lower-case letters, digits and \"-\"");
		return NULL;
	}
	(void)snprintf(full, sizeof full, "%s/%s", name->namespace_, name->name);
	struct node_dataset *d = datasets_find(s->config.datasets, full);
	if (!d)
		(void)err_set(err, -ENOENT, "there is no dataset %s on this node", full);
	return d;
}

/* ---- the set of datasets ---- */

/* Opening a file source asks the mounter, deleting waits for a sync: not on the queue's thread. */
static void run_put_dataset(struct task *t)
{
	struct err err = {0};
	int r = datasets_put(t->service->config.datasets, (const Larder__V1__Dataset *)t->request, &err);

	reply_empty(t->call, r, &err);
}

static void put_dataset(void *ctx, struct rpc_call *call, const ProtobufCMessage *request)
{
	spawn(ctx, call, request, run_put_dataset);
}

static void run_delete_dataset(struct task *t)
{
	const Larder__V1__DatasetName *q = (const void *)t->request;
	struct err err = {0};
	int r = datasets_delete(t->service->config.datasets, q->namespace_, q->name, &err);

	reply_empty(t->call, r, &err);
}

static void delete_dataset(void *ctx, struct rpc_call *call, const ProtobufCMessage *request)
{
	spawn(ctx, call, request, run_delete_dataset);
}

static void run_put_credential(struct task *t)
{
	struct err err = {0};
	int r = datasets_put_credential(t->service->config.datasets,
					(const Larder__V1__Credential *)t->request, &err);

	reply_empty(t->call, r, &err);
}

static void put_credential(void *ctx, struct rpc_call *call, const ProtobufCMessage *request)
{
	spawn(ctx, call, request, run_put_credential);
}

static void incarnation(void *ctx, struct rpc_call *call, const ProtobufCMessage *request)
{
	struct service *s = ctx;
	char version[] = LARDER_VERSION;
	Larder__V1__IncarnationReply reply = LARDER__V1__INCARNATION_REPLY__INIT;

	(void)request;
	reply.incarnation = s->config.memory->incarnation;
	reply.version = version;
	rpc_reply(call, &reply.base);
}

/* ---- mounts ---- */

static bool call_is_gone(void *ctx)
{
	return rpc_cancelled(ctx);
}

static void run_publish(struct task *t)
{
	const Larder__V1__PublishRequest *q = (const void *)t->request;
	Larder__V1__PublishReply reply = LARDER__V1__PUBLISH_REPLY__INIT;
	struct catalog_head head = {0};
	struct err err = {0};
	CLEANUP(datasets_unref) struct node_dataset *d = find(t->service, q->dataset, &err);
	CLEANUP(manifest_free) struct manifest *m = NULL;
	struct manifest_stats stats;

	int r = !d              ? err.code
		: q->wait_ready ? node_dataset_wait(d, clock_mono_ns() + PUBLISH_WAIT_NS, call_is_gone,
						    t->call, &head, &err)
				: node_dataset_head(d, &head, &err);
	/* Nothing is published that was not read through first: the root and its statistics at least. */
	if (!r)
		r = node_dataset_open(d, &head.root, &m, &err);
	if (!r)
		r = mounts_publish(t->service->config.mounts, d, q->target, &head, &err);
	if (r) {
		rpc_finish(t->call, r, &err);
		return;
	}
	manifest_stats_get(m, &stats);
	reply.version = head.version;
	reply.files = stats.files;
	reply.bytes = stats.bytes;
	rpc_reply(t->call, &reply.base);
}

static void publish(void *ctx, struct rpc_call *call, const ProtobufCMessage *request)
{
	spawn(ctx, call, request, run_publish);
}

static void run_unpublish(struct task *t)
{
	const Larder__V1__UnpublishRequest *q = (const void *)t->request;
	struct err err = {0};
	int r = mounts_unpublish(t->service->config.mounts, q->target, q->lazy, &err);

	reply_empty(t->call, r, &err);
}

static void unpublish(void *ctx, struct rpc_call *call, const ProtobufCMessage *request)
{
	spawn(ctx, call, request, run_unpublish);
}

/* ---- status ---- */

struct status_work {
	Larder__V1__StatusReply reply;
	const char *only; /* full name, or NULL */
	bool named;       /* conflicts by name */
	int error;
};

static int grow(void *list, size_t count)
{
	void **items = *(void ***)list;
	void **more = mem_resize(items, count + 1, sizeof *more);

	if (!more)
		return -ENOMEM;
	*(void ***)list = more;
	return 0;
}

static void add_dataset(void *ctx, struct node_dataset *d)
{
	struct status_work *w = ctx;
	Larder__V1__DatasetStatus *s;

	if (w->error || (w->only && strcmp(w->only, node_dataset_name(d)) != 0))
		return;
	w->error = node_dataset_status(d, w->named, &s);
	if (w->error)
		return;
	w->error = grow(&w->reply.datasets, w->reply.n_datasets);
	if (w->error)
		larder__v1__dataset_status__free_unpacked(s, NULL);
	else
		w->reply.datasets[w->reply.n_datasets++] = s;
}

static char *text_or_empty(const char *text)
{
	char *copy = mem_strdup(text);
	return copy ? copy : (char *)(uintptr_t)protobuf_c_empty_string;
}

static void add_mount(void *ctx, const struct session_stats *stats)
{
	struct status_work *w = ctx;
	Larder__V1__Mount *m = w->error ? NULL : mem_alloc(sizeof *m);

	if (!m || grow(&w->reply.mounts, w->reply.n_mounts)) {
		(void)mem_free(m);
		w->error = -ENOMEM;
		return;
	}
	larder__v1__mount__init(m);
	m->target = text_or_empty(stats->target);
	m->dataset = text_or_empty(stats->dataset);
	m->version = stats->version;
	m->passthrough = stats->passthrough;
	m->nodes = stats->nodes;
	m->opens = stats->opens;
	w->reply.mounts[w->reply.n_mounts++] = m;
}

static void add_node(struct status_work *w, const struct service_config *c)
{
	Larder__V1__NodeStatus *n = w->error ? NULL : mem_alloc(sizeof *n);

	if (!n) {
		w->error = -ENOMEM;
		return;
	}
	larder__v1__node_status__init(n);
	n->version = text_or_empty(LARDER_VERSION);
	n->started_ns = c->started_ns;
	n->worker_pid = (uint32_t)getpid();
	n->supervisor_pid = (uint32_t)getppid();
	n->worker_restarts = atomic_load(&c->memory->worker_restarts);
	n->kills_with_read = atomic_load(&c->memory->kills_with_read);
	n->requests_recovered = atomic_load(&c->memory->recovered);
	n->reads_recovered = atomic_load(&c->memory->recovered_reads);
	static const char *const names[] = {"passthrough", "readdirplus"};
	for (size_t i = 0; i < LENGTH(names); i++)
		if (c->node->without & 1u << i && !grow(&n->without, n->n_without))
			n->without[n->n_without++] = text_or_empty(names[i]);
	w->reply.node = n;
}

static void run_status(struct task *t)
{
	const Larder__V1__StatusRequest *q = (const void *)t->request;
	const struct service_config *c = &t->service->config;
	Larder__V1__StatusReply *reply = mem_alloc(sizeof *reply);
	struct status_work w = {.named = q->conflicts};
	struct err err = {0};
	char full[DATASET_FULL_MAX];

	larder__v1__status_reply__init(&w.reply);
	if (q->dataset && q->dataset->name[0]) {
		CLEANUP(datasets_unref) struct node_dataset *d = find(t->service, q->dataset, &err);
		w.error = d ? 0 : err.code;
		if (d)
			(void)snprintf(full, sizeof full, "%s", node_dataset_name(d));
		w.only = full;
	}
	if (!w.error)
		datasets_each(c->datasets, add_dataset, &w);
	if (!w.error)
		w.error = tier_status_add(c->cache, c->datasets, q->objects, &w.reply);
	if (!w.error)
		mounts_each(c->mounts, add_mount, &w);
	if (!w.error)
		add_node(&w, c);
	if (!reply || w.error)
		rpc_finish(t->call, w.error ? w.error : -ENOMEM, &err);
	else
		rpc_reply(t->call, &w.reply.base);
	if (reply) { /* frees from the heap: the whole message, its pieces included */
		*reply = w.reply;
		larder__v1__status_reply__free_unpacked(reply, NULL);
	}
}

static void status(void *ctx, struct rpc_call *call, const ProtobufCMessage *request)
{
	spawn(ctx, call, request, run_status);
}

/* ---- trees ---- */

static bool send_batch(void *ctx, const Larder__V1__EntryBatch *batch)
{
	return rpc_send(ctx, &batch->base) == 0;
}

static void run_list(struct task *t)
{
	const Larder__V1__PathRequest *q = (const void *)t->request;
	struct err err = {0};
	CLEANUP(datasets_unref) struct node_dataset *d = find(t->service, q->dataset, &err);
	int r = d ? listing_run(d, q, send_batch, t->call, &err) : err.code;

	rpc_finish(t->call, r, &err);
}

static void list(void *ctx, struct rpc_call *call, const ProtobufCMessage *request)
{
	spawn(ctx, call, request, run_list);
}

static void run_stat(struct task *t)
{
	const Larder__V1__PathRequest *q = (const void *)t->request;
	struct err err = {0};
	Larder__V1__Entry *e = NULL;
	CLEANUP(datasets_unref) struct node_dataset *d = find(t->service, q->dataset, &err);
	int r = d ? listing_stat(d, q, &e, &err) : err.code;

	if (r)
		rpc_finish(t->call, r, &err);
	else
		rpc_reply(t->call, &e->base);
	if (e)
		larder__v1__entry__free_unpacked(e, NULL);
}

static void stat_path(void *ctx, struct rpc_call *call, const ProtobufCMessage *request)
{
	spawn(ctx, call, request, run_stat);
}

static bool send_changes(void *ctx, const Larder__V1__ChangeBatch *batch)
{
	return rpc_send(ctx, &batch->base) == 0;
}

static void run_diff(struct task *t)
{
	const Larder__V1__DiffRequest *q = (const void *)t->request;
	struct err err = {0};
	CLEANUP(datasets_unref) struct node_dataset *d = find(t->service, q->dataset, &err);
	int r = d ? listing_diff(d, q, send_changes, t->call, &err) : err.code;

	rpc_finish(t->call, r, &err);
}

static void diff(void *ctx, struct rpc_call *call, const ProtobufCMessage *request)
{
	spawn(ctx, call, request, run_diff);
}

struct mount_count {
	const char *dataset;
	Larder__V1__VersionsReply *reply;
};

static void count_mount(void *ctx, const struct session_stats *stats)
{
	const struct mount_count *c = ctx;

	for (size_t i = 0; i < c->reply->n_versions && strcmp(stats->dataset, c->dataset) == 0; i++)
		c->reply->versions[i]->mounts += c->reply->versions[i]->version == stats->version;
}

static void run_versions(struct task *t)
{
	const Larder__V1__DatasetName *q = (const void *)t->request;
	Larder__V1__VersionsReply *reply = NULL;
	struct err err = {0};
	CLEANUP(datasets_unref) struct node_dataset *d = find(t->service, q, &err);
	int r = d ? listing_versions(d, &reply, &err) : err.code;

	if (r) {
		rpc_finish(t->call, r, &err);
		return;
	}
	struct mount_count c = {.dataset = node_dataset_name(d), .reply = reply};
	mounts_each(t->service->config.mounts, count_mount, &c);
	rpc_reply(t->call, &reply->base);
	larder__v1__versions_reply__free_unpacked(reply, NULL);
}

static void versions(void *ctx, struct rpc_call *call, const ProtobufCMessage *request)
{
	spawn(ctx, call, request, run_versions);
}

static bool send_chunk(void *ctx, const Larder__V1__DataChunk *chunk)
{
	return rpc_send(ctx, &chunk->base) == 0;
}

static void run_cat(struct task *t)
{
	const Larder__V1__CatRequest *q = (const void *)t->request;
	struct err err = {0};
	CLEANUP(datasets_unref) struct node_dataset *d = find(t->service, q->dataset, &err);
	int r = d ? listing_cat(d, q, send_chunk, t->call, &err) : err.code;

	rpc_finish(t->call, r, &err);
}

static void cat(void *ctx, struct rpc_call *call, const ProtobufCMessage *request)
{
	spawn(ctx, call, request, run_cat);
}

/* ---- jobs ---- */

static bool send_progress(void *ctx, const Larder__V1__JobProgress *progress)
{
	return rpc_send(ctx, &progress->base) == 0;
}

struct sync_watch {
	struct rpc_call *call;
	char *id;
};

static bool send_sync_progress(void *ctx, const struct node_sync *now)
{
	const struct sync_watch *w = ctx;
	Larder__V1__JobProgress p = LARDER__V1__JOB_PROGRESS__INIT;

	p.id = w->id;
	p.state = LARDER__V1__JOB_PROGRESS__STATE__RUNNING;
	p.objects_done = now->objects;
	p.objects_total = now->expected;
	p.bytes_done = now->bytes;
	return rpc_send(w->call, &p.base) == 0;
}

static int run_sync(struct task *t, struct node_dataset *d, const Larder__V1__JobSpec *q, struct err *err)
{
	struct sync_watch w = {.call = t->call, .id = q->id};
	Larder__V1__JobProgress p = LARDER__V1__JOB_PROGRESS__INIT;
	struct node_sync_request request = {
		.globs = q->globs, .count = q->n_globs, .progress = send_sync_progress, .ctx = &w};
	struct node_sync done;

	int r = node_dataset_sync(d, &request, &done, err);
	if (r)
		return r;
	p.id = q->id;
	p.state = LARDER__V1__JOB_PROGRESS__STATE__COMPLETE;
	p.objects_done = p.objects_total = done.objects;
	p.bytes_done = p.bytes_total = done.bytes;
	p.version = done.version;
	p.changed = done.changed;
	return rpc_send(t->call, &p.base);
}

static void run_scrub(struct task *t, const Larder__V1__JobSpec *q)
{
	struct err err = {0};
	int r = scrub_job_run(t->service->config.cache, q, send_progress, t->call, &err);

	rpc_finish(t->call, r, &err);
}

static void run_job(struct task *t)
{
	const Larder__V1__JobSpec *q = (const void *)t->request;
	Larder__V1__DatasetName name = LARDER__V1__DATASET_NAME__INIT;
	struct err err = {0};

	if (q->kind == LARDER__V1__JOB_SPEC__KIND__SCRUB) {
		run_scrub(t, q);
		return;
	}
	name.namespace_ = q->namespace_;
	name.name = q->dataset;
	CLEANUP(datasets_unref) struct node_dataset *d = find(t->service, &name, &err);
	int r = err.code;
	if (d && q->kind == LARDER__V1__JOB_SPEC__KIND__SYNC)
		r = run_sync(t, d, q, &err);
	else if (d && (q->kind == LARDER__V1__JOB_SPEC__KIND__LOAD ||
		       q->kind == LARDER__V1__JOB_SPEC__KIND__EVICT))
		r = job_run(d, q, send_progress, t->call, &err);
	else if (d)
		r = err_set(&err, -EINVAL, "a job is a load, an evict, a sync or a scrub");
	rpc_finish(t->call, r, &err);
}

static void run(void *ctx, struct rpc_call *call, const ProtobufCMessage *request)
{
	spawn(ctx, call, request, run_job);
}

/* ---- the service ---- */

#define METHOD(name, in, out, is_stream, handler)                                                      \
	{                                                                                              \
		.path = "/larder.v1.Node/" name, .request = &larder__v1__##in##__descriptor,           \
		.reply = &larder__v1__##out##__descriptor, .streams = (is_stream), .handle = (handler) \
	}

static const struct rpc_method methods[] = {
	METHOD("PutDataset", dataset, empty, false, put_dataset),
	METHOD("DeleteDataset", dataset_name, empty, false, delete_dataset),
	METHOD("PutCredential", credential, empty, false, put_credential),
	METHOD("Incarnation", empty, incarnation_reply, false, incarnation),
	METHOD("Publish", publish_request, publish_reply, false, publish),
	METHOD("Unpublish", unpublish_request, empty, false, unpublish),
	METHOD("Status", status_request, status_reply, false, status),
	METHOD("List", path_request, entry_batch, true, list),
	METHOD("Stat", path_request, entry, false, stat_path),
	METHOD("Cat", cat_request, data_chunk, true, cat),
	METHOD("Versions", dataset_name, versions_reply, false, versions),
	METHOD("Diff", diff_request, change_batch, true, diff),
	METHOD("Run", job_spec, job_progress, true, run),
};

int service_new(const struct service_config *config, struct service **ret, struct err *err)
{
	struct service *s = mem_calloc(1, sizeof *s);

	if (!s)
		return err_set(err, -ENOMEM, "out of memory");
	s->config = *config;
	(void)pthread_mutex_init(&s->lock, NULL);
	(void)pthread_cond_init(&s->idle, NULL);
	struct rpc_server_config c = {.methods = methods,
				      .method_count = LENGTH(methods),
				      .ctx = s,
				      .addresses = config->node->addresses};
	int r = rpc_server_new(&c, &s->server, err);
	if (r) {
		(void)mem_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

struct service *service_free(struct service *s, int64_t grace_ns)
{
	if (!s)
		return NULL;
	(void)rpc_server_free(s->server, grace_ns);
	(void)pthread_mutex_lock(&s->lock);
	while (s->tasks)
		(void)pthread_cond_wait(&s->idle, &s->lock);
	(void)pthread_mutex_unlock(&s->lock);
	(void)pthread_mutex_destroy(&s->lock);
	(void)pthread_cond_destroy(&s->idle);
	return mem_free(s);
}
