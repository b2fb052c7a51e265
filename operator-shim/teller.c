#include "operator-shim/teller.h"

#include <errno.h>

#include "api/larder/v1/node.pb-c.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/base/rng.h"

#define ASK_EVERY_NS   (2 * NS_PER_S)
#define CALL_NS        (5 * NS_PER_S)
#define BACKOFF_MIN_NS (250 * NS_PER_MS)
#define BACKOFF_MAX_NS (2 * NS_PER_S) /* a node that came back knows nothing until it is told */

struct teller {
	struct rpc_client *client;
	struct reconcile *reconcile;
	struct rng rng;
	bool reached, complained;
	uint64_t incarnation;
	int64_t backoff_ns; /* 0: all goes well */
};

int teller_new(struct rpc_client *client, struct reconcile *reconcile, uint64_t seed, struct teller **ret)
{
	struct teller *t = mem_calloc(1, sizeof *t);
	if (!t)
		return -ENOMEM;
	t->client = client;
	t->reconcile = reconcile;
	t->rng = rng_seeded(seed);
	*ret = t;
	return 0;
}

struct teller *teller_free(struct teller *t)
{
	return mem_free(t);
}

/* A call whose reply says nothing. */
static int call(struct teller *t, const char *path, const ProtobufCMessage *request, struct err *err)
{
	ProtobufCMessage *reply = NULL;
	int r = rpc_unary(t->client, path, request, &larder__v1__empty__descriptor, CALL_NS, false, &reply,
			  err);
	if (r == 0)
		protobuf_c_message_free_unpacked(reply, NULL);
	return r;
}

/* Whether the node answers; when it is another life of it, all is to be told again. */
static bool ask(struct teller *t)
{
	Larder__V1__Empty request = LARDER__V1__EMPTY__INIT;
	struct err err = {0};
	ProtobufCMessage *reply = NULL;
	int r = rpc_unary(t->client, "/larder.v1.Node/Incarnation", &request.base,
			  &larder__v1__incarnation_reply__descriptor, CALL_NS, false, &reply, &err);
	if (r != 0) {
		if (!t->complained)
			log_write(LOG_WARN, "node does not answer", LOG_STR("error", err_words(&err, r)),
				  NULL);
		t->complained = true;
		return false;
	}
	const Larder__V1__IncarnationReply *life = (const Larder__V1__IncarnationReply *)(const void *)reply;
	if (!t->reached || life->incarnation != t->incarnation) {
		log_write(LOG_INFO, "node reached", LOG_STR("version", life->version), NULL);
		reconcile_forget(t->reconcile);
	}
	t->incarnation = life->incarnation;
	t->reached = true;
	t->complained = false;
	protobuf_c_message_free_unpacked(reply, NULL);
	return true;
}

static int put_secret(struct teller *t, const struct secret *s, struct err *err)
{
	Larder__V1__Credential *m;
	int r = secret_to_message(s, &m);
	if (r != 0)
		return err_set(err, r, "out of memory");
	r = call(t, "/larder.v1.Node/PutCredential", &m->base, err);
	(void)secret_message_free(m);
	return r;
}

static int put_dataset(struct teller *t, const struct dataset *d, struct err *err)
{
	Larder__V1__Dataset *m;
	int r = dataset_to_message(d, &m);
	if (r != 0)
		return err_set(err, r, "out of memory");
	r = call(t, "/larder.v1.Node/PutDataset", &m->base, err);
	larder__v1__dataset__free_unpacked(m, NULL);
	return r;
}

static int delete_dataset(struct teller *t, const struct reconcile_action *a, struct err *err)
{
	CLEANUP(free_str) char *namespace_ = mem_strdup(a->namespace_), *name = mem_strdup(a->name);
	Larder__V1__DatasetName m;

	if (!namespace_ || !name)
		return err_set(err, -ENOMEM, "out of memory");
	larder__v1__dataset_name__init(&m);
	m.namespace_ = namespace_;
	m.name = name;
	int r = call(t, "/larder.v1.Node/DeleteDataset", &m.base, err);
	return r == -ENOENT ? 0 : r; /* gone is gone */
}

static bool tell(struct teller *t, const struct reconcile_action *a)
{
	static const char *const said[] = {"", "credential told", "dataset deleted", "dataset told"};
	struct err err = {0};
	int r = a->kind == RECONCILE_PUT_SECRET    ? put_secret(t, a->secret, &err)
		: a->kind == RECONCILE_PUT_DATASET ? put_dataset(t, a->dataset, &err)
						   : delete_dataset(t, a, &err);

	if (r == 0)
		log_write(LOG_INFO, said[a->kind], LOG_STR("namespace", a->namespace_),
			  LOG_STR("name", a->name), NULL);
	else
		log_write(LOG_WARN, "node refuses", LOG_STR("call", said[a->kind]),
			  LOG_STR("namespace", a->namespace_), LOG_STR("name", a->name),
			  LOG_STR("error", err_words(&err, r)), NULL);
	reconcile_told(t->reconcile, a, r == 0);
	return r == 0;
}

/* Full jitter between the least wait and twice the last. */
static int64_t back_off(struct teller *t)
{
	t->backoff_ns = MIN(MAX(t->backoff_ns * 2, BACKOFF_MIN_NS), BACKOFF_MAX_NS);
	return BACKOFF_MIN_NS + (int64_t)rng_below(&t->rng, (uint64_t)t->backoff_ns);
}

int64_t teller_run(struct teller *t, int64_t now_ns)
{
	struct reconcile_action a;
	bool answers = ask(t), well = answers;

	reconcile_round(t->reconcile);
	while (answers &&
	       reconcile_next(t->reconcile, &a)) /* one that is refused does not hold up the others */
		well = tell(t, &a) && well;
	if (!well)
		return now_ns + back_off(t);
	t->backoff_ns = 0;
	return now_ns + ASK_EVERY_NS;
}
