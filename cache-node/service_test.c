/* The node's service, called over a unix socket as the operator and the CLI do. */
#include "cache-node/service.h"
#include "cache-node/test_supervisor.h"
#include "common/rpc.h"

#define CALL_NS TEST_WAIT_NS

struct fixture {
	struct test_node *node;
	struct test_supervisor *supervisor;
	struct mounts *mounts;
	struct node_config config;
	char address[PATH_MAX];
	struct service *service;
	struct rpc_client *client;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);

	f->node = test_node_new();
	f->supervisor = test_supervisor_new();
	struct mounts_config m = {.control = &f->supervisor->control, .mounter = f->node->client};
	assert_int_equal(mounts_new(&m, &f->mounts), 0);
	test_datasets_start(f->node);
	mounts_attach(f->mounts, f->node->datasets);
	snprintf(f->address, sizeof f->address, "unix:%s/node.sock", f->node->dir);
	f->config.addresses[0] = f->address;
	struct service_config c = {.node = &f->config,
				   .datasets = f->node->datasets,
				   .mounts = f->mounts,
				   .cache = f->node->cache,
				   .memory = f->node->memory,
				   .started_ns = 5};
	assert_int_equal(service_new(&c, &f->service, NULL), 0);
	assert_int_equal(rpc_client_new(f->address, &f->client, NULL), 0);
	test_file(f->node, "data/f", "hello", 5);
	test_file(f->node, "data/g", "you", 3);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	rpc_client_free(f->client);
	service_free(f->service, 0);
	f->node->datasets = datasets_free(f->node->datasets); /* no sync tells of a version any more */
	mounts_free(f->mounts);
	test_node_free(f->node);
	test_supervisor_free(f->supervisor);
	free(f);
	return 0;
}

/* ---- calls ---- */

static int call(struct fixture *f, const char *method, const ProtobufCMessage *q,
		const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret, struct err *err)
{
	char path[64];

	snprintf(path, sizeof path, "/larder.v1.Node/%s", method);
	return rpc_unary(f->client, path, q, type, CALL_NS, true, ret, err);
}

/* A call whose reply does not matter, or that fails. */
static int try_call(struct fixture *f, const char *method, const ProtobufCMessage *q,
		    const ProtobufCMessageDescriptor *type, struct err *err)
{
	ProtobufCMessage *reply = NULL;
	int r = call(f, method, q, type, &reply, err);

	if (!r)
		protobuf_c_message_free_unpacked(reply, NULL);
	return r;
}

/* A call that must succeed: its reply, owned by the caller. */
static void *must_call(struct fixture *f, const char *method, const ProtobufCMessage *q,
		       const ProtobufCMessageDescriptor *type)
{
	ProtobufCMessage *reply = NULL;
	struct err err = {0};

	if (call(f, method, q, type, &reply, &err) || !reply) {
		fail_msg("%s: %s", method, err.text);
		abort(); /* not reached; the analyzers do not know that the line above does not return */
	}
	return reply;
}

static Larder__V1__DatasetName name_of(const char *name)
{
	Larder__V1__DatasetName n = LARDER__V1__DATASET_NAME__INIT;

	n.namespace_ = (char *)(uintptr_t) "default";
	n.name = (char *)(uintptr_t)name;
	return n;
}

static int put(struct fixture *f, const char *name, const char *folder, struct err *err)
{
	Larder__V1__Dataset m = LARDER__V1__DATASET__INIT;
	Larder__V1__Source source = LARDER__V1__SOURCE__INIT, *sources[] = {&source};
	Larder__V1__FileSource file = LARDER__V1__FILE_SOURCE__INIT;
	char path[PATH_MAX], root[] = "/";

	snprintf(path, sizeof path, "%s/%s", f->node->dir, folder);
	file.path = path;
	source.mount_path = root;
	source.store_case = LARDER__V1__SOURCE__STORE_FILE;
	source.file = &file;
	m.namespace_ = (char *)(uintptr_t) "default";
	m.name = (char *)(uintptr_t)name;
	m.generation = 1;
	m.sources = sources;
	m.n_sources = 1;
	return try_call(f, "PutDataset", &m.base, &larder__v1__empty__descriptor, err);
}

static void fill_publish(Larder__V1__PublishRequest *q, Larder__V1__DatasetName *name, const char *target)
{
	larder__v1__publish_request__init(q);
	q->dataset = name;
	q->target = (char *)(uintptr_t)target;
	q->wait_ready = true;
}

static int publish_fails(struct fixture *f, const char *name, const char *target, struct err *err)
{
	Larder__V1__PublishRequest q;
	Larder__V1__DatasetName n = name_of(name);

	fill_publish(&q, &n, target);
	return try_call(f, "Publish", &q.base, &larder__v1__publish_reply__descriptor, err);
}

static Larder__V1__PublishReply *publish(struct fixture *f, const char *name, const char *target)
{
	Larder__V1__PublishRequest q;
	Larder__V1__DatasetName n = name_of(name);

	fill_publish(&q, &n, target);
	return must_call(f, "Publish", &q.base, &larder__v1__publish_reply__descriptor);
}

static int unpublish(struct fixture *f, const char *target)
{
	Larder__V1__UnpublishRequest q = LARDER__V1__UNPUBLISH_REQUEST__INIT;

	q.target = (char *)(uintptr_t)target;
	return try_call(f, "Unpublish", &q.base, &larder__v1__empty__descriptor, NULL);
}

static int delete (struct fixture *f, const char *name, struct err *err)
{
	Larder__V1__DatasetName n = name_of(name);

	return try_call(f, "DeleteDataset", &n.base, &larder__v1__empty__descriptor, err);
}

static Larder__V1__StatusReply *status(struct fixture *f)
{
	Larder__V1__StatusRequest q = LARDER__V1__STATUS_REQUEST__INIT;

	return must_call(f, "Status", &q.base, &larder__v1__status_reply__descriptor);
}

/* Runs a stream to its end: how many messages came; @last is the caller's. */
static int stream(struct fixture *f, const char *method, const ProtobufCMessage *q,
		  const ProtobufCMessageDescriptor *type, ProtobufCMessage **last, struct err *err)
{
	struct rpc_stream *s;
	char path[64];
	int count = 0, r;
	ProtobufCMessage *m;

	*last = NULL;
	snprintf(path, sizeof path, "/larder.v1.Node/%s", method);
	assert_int_equal(rpc_stream_open(f->client, path, q, type, CALL_NS, true, &s, err), 0);
	while ((r = rpc_stream_next(s, &m, err)) == 1) {
		if (*last)
			protobuf_c_message_free_unpacked(*last, NULL);
		*last = m;
		count++;
	}
	rpc_stream_free(s);
	return r ? r : count;
}

/* ---- tests ---- */

static void a_dataset_is_put_published_seen_and_deleted(void **state)
{
	struct fixture *f = *state;
	struct err err = {0};

	assert_int_equal(put(f, "x", "data", NULL), 0);
	Larder__V1__PublishReply *published = publish(f, "x", "/mnt/a");
	assert_int_equal(published->version, 1);
	assert_int_equal(published->files, 2);
	assert_int_equal(published->bytes, 8);
	larder__v1__publish_reply__free_unpacked(published, NULL);
	Larder__V1__StatusReply *s = status(f);
	assert_int_equal(s->n_datasets, 1);
	assert_string_equal(s->datasets[0]->name, "x");
	assert_int_equal(s->n_mounts, 1);
	assert_string_equal(s->mounts[0]->target, "/mnt/a");
	assert_string_equal(s->mounts[0]->dataset, "default/x");
	assert_int_equal(s->n_tiers, 1);
	assert_string_equal(s->tiers[0]->kind, "disk");
	assert_int_equal(s->node->started_ns, 5);
	assert_int_equal(s->node->worker_pid, getpid());
	larder__v1__status_reply__free_unpacked(s, NULL);
	assert_int_equal(delete (f, "x", &err), -EBUSY);
	assert_non_null(strstr(err.text, "unmount it first"));
	assert_int_equal(unpublish(f, "/mnt/a"), 0);
	assert_int_equal(unpublish(f, "/mnt/a"), -ENOENT);
	assert_int_equal(delete (f, "x", NULL), 0);
	assert_int_equal(delete (f, "x", &err), -ENOENT);
}

static void what_is_not_there_is_named(void **state)
{
	struct fixture *f = *state;
	struct err err = {0};

	assert_int_equal(publish_fails(f, "none", "/mnt/a", &err), -ENOENT);
	assert_string_equal(err.text, "there is no dataset default/none on this node");
	assert_int_equal(publish_fails(f, "Not-A-Label", "/mnt/a", &err), -EINVAL);
	assert_int_equal(put(f, "x", "missing", NULL),
			 0); /* told is told; what is wrong with it shows at publish */
	assert_int_equal(publish_fails(f, "x", "/mnt/a", &err), -ENOENT);
	assert_non_null(strstr(err.text, "/missing"));
	assert_int_equal(put(f, "Not-A-Label", "data", &err), -EINVAL);
}

static void a_node_says_when_it_has_lost_what_it_was_told(void **state)
{
	struct fixture *f = *state;
	Larder__V1__Empty q = LARDER__V1__EMPTY__INIT;
	Larder__V1__IncarnationReply *reply =
		must_call(f, "Incarnation", &q.base, &larder__v1__incarnation_reply__descriptor);

	assert_int_equal(reply->incarnation, f->node->memory->incarnation);
	assert_true(reply->incarnation != 0);
	assert_string_equal(reply->version, LARDER_VERSION);
	larder__v1__incarnation_reply__free_unpacked(reply, NULL);
}

static void a_tree_is_listed_looked_at_and_read(void **state)
{
	struct fixture *f = *state;
	Larder__V1__DatasetName n = name_of("x");
	Larder__V1__PathRequest q = LARDER__V1__PATH_REQUEST__INIT;
	Larder__V1__CatRequest c = LARDER__V1__CAT_REQUEST__INIT;
	ProtobufCMessage *last;
	struct err err = {0};

	assert_int_equal(put(f, "x", "data", NULL), 0);
	CLEANUP(datasets_unref) struct node_dataset *d = test_find(f->node, "default/x");
	(void)test_head(d);
	q.dataset = &n;
	assert_int_equal(stream(f, "List", &q.base, &larder__v1__entry_batch__descriptor, &last, NULL), 1);
	assert_int_equal(((Larder__V1__EntryBatch *)last)->n_entries, 2);
	protobuf_c_message_free_unpacked(last, NULL);
	q.path = (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t) "f", .len = 1};
	Larder__V1__Entry *entry = must_call(f, "Stat", &q.base, &larder__v1__entry__descriptor);
	assert_int_equal(entry->size, 5);
	larder__v1__entry__free_unpacked(entry, NULL);
	q.path = (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t) "none", .len = 4};
	assert_int_equal(try_call(f, "Stat", &q.base, &larder__v1__entry__descriptor, &err), -ENOENT);
	c.dataset = &n;
	c.path = (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t) "f", .len = 1};
	c.offset = 1;
	assert_int_equal(stream(f, "Cat", &c.base, &larder__v1__data_chunk__descriptor, &last, NULL), 1);
	assert_int_equal(((Larder__V1__DataChunk *)last)->data.len, 4);
	assert_memory_equal(((Larder__V1__DataChunk *)last)->data.data, "ello", 4);
	protobuf_c_message_free_unpacked(last, NULL);
}

static Larder__V1__JobProgress *run_job(struct fixture *f, Larder__V1__JobSpec__Kind kind, int *ret,
					struct err *err)
{
	Larder__V1__JobSpec q = LARDER__V1__JOB_SPEC__INIT;
	ProtobufCMessage *last;

	q.id = (char *)(uintptr_t) "job";
	q.namespace_ = (char *)(uintptr_t) "default";
	q.dataset = (char *)(uintptr_t) "x";
	q.kind = kind;
	*ret = stream(f, "Run", &q.base, &larder__v1__job_progress__descriptor, &last, err);
	return (Larder__V1__JobProgress *)last;
}

static void jobs_load_evict_and_sync_with_progress_to_the_end(void **state)
{
	struct fixture *f = *state;
	struct err err = {0};
	int r;

	assert_int_equal(put(f, "x", "data", NULL), 0);
	Larder__V1__JobProgress *p = run_job(f, LARDER__V1__JOB_SPEC__KIND__SYNC, &r, NULL);
	assert_true(r >= 1);
	assert_int_equal(p->state, LARDER__V1__JOB_PROGRESS__STATE__COMPLETE);
	larder__v1__job_progress__free_unpacked(p, NULL);
	p = run_job(f, LARDER__V1__JOB_SPEC__KIND__LOAD, &r, NULL);
	assert_int_equal(p->state, LARDER__V1__JOB_PROGRESS__STATE__COMPLETE);
	assert_int_equal(p->objects_done, 2);
	assert_int_equal(p->bytes_done, 8);
	larder__v1__job_progress__free_unpacked(p, NULL);
	p = run_job(f, LARDER__V1__JOB_SPEC__KIND__EVICT, &r, NULL);
	assert_int_equal(p->state, LARDER__V1__JOB_PROGRESS__STATE__COMPLETE);
	larder__v1__job_progress__free_unpacked(p, NULL);
	assert_null(run_job(f, (Larder__V1__JobSpec__Kind)77, &r, &err));
	assert_int_equal(r, -EINVAL);
}

static void the_sixty_fifth_call_at_once_is_told_to_try_again(void **state)
{
	struct fixture *f = *state;
	enum { CALLS = 64 };
	struct rpc_stream *waiting[CALLS];
	Larder__V1__PublishRequest q = LARDER__V1__PUBLISH_REQUEST__INIT;
	Larder__V1__DatasetName n = name_of("x");
	struct err err = {0};

	assert_int_equal(put(f, "x", "missing", NULL), 0);
	/* Publishes that are held by the supervisor take their threads. */
	test_supervisor_hold(f->supervisor, true);
	assert_int_equal(put(f, "y", "data", NULL), 0);
	n = name_of("y");
	q.dataset = &n;
	q.wait_ready = true;
	char targets[CALLS][16];
	for (int i = 0; i < CALLS; i++) {
		snprintf(targets[i], sizeof targets[i], "/mnt/%d", i);
		q.target = targets[i];
		assert_int_equal(rpc_stream_open(f->client, "/larder.v1.Node/Publish", &q.base,
						 &larder__v1__publish_reply__descriptor, CALL_NS, true,
						 &waiting[i], NULL),
				 0);
	}
	int r;
	do { /* until all of them have arrived */
		Larder__V1__StatusRequest s = LARDER__V1__STATUS_REQUEST__INIT;
		r = try_call(f, "Status", &s.base, &larder__v1__status_reply__descriptor, &err);
	} while (!r);
	assert_int_equal(r, -EAGAIN);
	assert_string_equal(err.text, "64 calls run already; try again");
	f->supervisor->fail = -EXDEV;
	test_supervisor_hold(f->supervisor, false);
	for (int i = 0; i < CALLS; i++) {
		ProtobufCMessage *m;
		while (rpc_stream_next(waiting[i], &m, NULL) == 1)
			protobuf_c_message_free_unpacked(m, NULL);
		rpc_stream_free(waiting[i]);
	}
	assert_int_equal(f->supervisor->count, 0);
}

static int start_rpc(void **state)
{
	rpc_init();
	return 0;
}

static int end_rpc(void **state)
{
	rpc_done();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(a_dataset_is_put_published_seen_and_deleted),
		T(what_is_not_there_is_named),
		T(a_node_says_when_it_has_lost_what_it_was_told),
		T(a_tree_is_listed_looked_at_and_read),
		T(jobs_load_evict_and_sync_with_progress_to_the_end),
		T(the_sixty_fifth_call_at_once_is_told_to_try_again),
#undef T
	};
	return cmocka_run_group_tests(tests, start_rpc, end_rpc);
}
