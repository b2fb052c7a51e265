#include "common/source/s3_keys.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/source/aws_chain.h"

#define RENEW_BEFORE_NS (300 * NS_PER_S)
#define RETRY_NS        (30 * NS_PER_S) /* a renewal failed, the old keys are still good */
#define FRESH_NS        (10 * NS_PER_S) /* after a search none follows because the store refuses what there is */

struct s3_keys {
	struct web_source *source;
	char *profile, *region, *ca_pem;
	struct list parked;  /* fetches; the loop's thread, as all but the five below */
	struct list refused; /* fetches whose keys the store does not know: they wait for others */
	bool valid;
	int64_t expiry_ns, renew_ns; /* since 1970 */
	int64_t taken_ns, sought_ns; /* of the monotonic clock: when there were keys, when a search ended */
	struct http_task arrived;
	/* From the start of a search until arrived() only the pool's thread looks at found, err and status. */
	struct pool_task search;
	struct aws_keys found;
	struct err err;
	int status;
	bool searching; /* guarded by lock */
	pthread_mutex_t lock;
	pthread_cond_t ended;
};

int64_t s3_keys_renew_at(int64_t since_ns, int64_t expiry_ns)
{
	if (expiry_ns == INT64_MAX)
		return INT64_MAX;
	int64_t life_ns = MAX(expiry_ns - since_ns, 0);
	return expiry_ns - MIN(RENEW_BEFORE_NS, life_ns / 4);
}

static const char *get_env(const char *name)
{
	return getenv(name);
}

/* ---- the search: a thread of the pool ---- */

static void run_search(struct pool_task *task)
{
	struct s3_keys *k = CONTAINER_OF(task, struct s3_keys, search);
	struct source_loop *loop = k->source->base.loop;
	const struct aws_chain chain = {
		.profile = k->profile, .region = k->region, .ca_pem = k->ca_pem, .env = get_env};

	k->err = (struct err){0};
	k->status = aws_chain_find(&chain, &k->found, &k->err);
	pool_task_done(loop->pool, task); /* from here on the pool does not look at @k */
	http_post(loop->http, &k->arrived);
}

/* False: one runs already. */
static bool start_search(struct s3_keys *k)
{
	pthread_mutex_lock(&k->lock);
	bool start = !k->searching;
	k->searching = true;
	pthread_mutex_unlock(&k->lock);
	if (start) {
		pool_task_init(&k->search, run_search);
		pool_submit(k->source->base.loop->pool, &k->search);
	}
	return start;
}

/* ---- the loop's thread ---- */

static bool is_present(struct s3_keys *k, const struct credential *c)
{
	struct credential *now = web_credential_now(k->source);
	bool is = now == c;

	(void)credential_unref(now);
	return is;
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

/* The present credential stays where it has the keys that were found: it is by it that requests tell whether there are others. */
static int set_keys(struct s3_keys *k, const struct source_credential *from)
{
	struct source *base = &k->source->base;
	struct credential *now = web_credential_now(k->source);
	bool same = same_text(now->access_key, from->access_key) &&
		    same_text(now->secret_key, from->secret_key) &&
		    same_text(now->session_token, from->session_token);

	(void)credential_unref(now);
	return same ? 0 : base->kind->set_credential(base, from);
}

static int take_keys(struct s3_keys *k)
{
	const struct source_credential from = {.access_key = k->found.access_key,
					       .secret_key = k->found.secret_key,
					       .session_token = k->found.session_token,
					       .ca_pem = k->ca_pem};
	int64_t now_ns = clock_wall_ns();
	int rc = k->found.expiry_ns > now_ns
			 ? set_keys(k, &from)
			 : err_set(&k->err, -EACCES,
				   "the keys that were found have expired already; is the clock right?");

	if (rc == 0) {
		k->valid = true;
		k->taken_ns = clock_mono_ns();
		k->expiry_ns = k->found.expiry_ns;
		k->renew_ns = s3_keys_renew_at(now_ns, k->expiry_ns);
	}
	aws_keys_done(&k->found);
	return rc;
}

/* The first of @list, unlinked; NULL: it is empty. */
static struct web_fetch *pop(struct list *list)
{
	if (list_empty(list))
		return NULL;
	struct web_fetch *f = LIST_ENTRY(list->next, struct web_fetch, node);
	list_remove(&f->node);
	return f;
}

/* What waited goes on or ends. What comes meanwhile waits for another search. */
static void let_go(struct s3_keys *k, int status)
{
	const struct err err = k->err;
	struct list parked, refused;

	list_init(&parked);
	list_init(&refused);
	list_splice(&parked, &k->parked);
	list_splice(&refused, &k->refused);
	for (struct web_fetch *f; (f = pop(&parked));)
		web_fetch_unpark(f, status, &err);
	for (struct web_fetch *f; (f = pop(&refused));) {
		if (is_present(k, f->credential))
			web_fetch_end(f, f->err.code); /* with the store's words */
		else
			web_fetch_unpark(f, 0, NULL);
	}
}

static void on_arrived(struct http_task *task)
{
	struct s3_keys *k = CONTAINER_OF(task, struct s3_keys, arrived);
	int status = k->status == 0 ? take_keys(k) : k->status;

	k->sought_ns = clock_mono_ns();
	if (status < 0)
		k->renew_ns = clock_wall_ns() + RETRY_NS;
	let_go(k, status);
	pthread_mutex_lock(&k->lock);
	bool more = !list_empty(&k->parked) || !list_empty(&k->refused); /* their source cannot go */
	k->searching = false;
	pthread_cond_broadcast(&k->ended);
	pthread_mutex_unlock(&k->lock);
	if (more)
		(void)start_search(k);
	/* Else @k may be gone. */
}

bool s3_keys_ready(struct s3_keys *k, struct web_fetch *f)
{
	int64_t now_ns = clock_wall_ns();

	if (!list_empty(&f->node)) /* s3_keys_refused() parked it */
		return false;
	if (k->valid && now_ns >= k->expiry_ns)
		k->valid = false;
	if (k->valid) {
		if (now_ns >= k->renew_ns)
			(void)start_search(k); /* one may run already */
		return true;
	}
	list_push_back(&k->parked, &f->node);
	(void)start_search(k);
	return false;
}

bool s3_keys_refused(struct s3_keys *k, struct web_fetch *f, bool expired)
{
	int64_t last_ns = expired ? k->taken_ns : k->sought_ns;

	if (!is_present(k, f->credential) || !k->valid) /* there are others, or they are looked for */
		return true;
	if (clock_mono_ns() - last_ns < FRESH_NS)
		return false;
	if (expired) {
		k->valid = false;
	} else {
		list_push_back(&k->refused, &f->node);
		(void)start_search(k); /* one may run already */
	}
	return true;
}

/* ---- */

int s3_keys_new(struct web_source *s, const char *profile, const char *region, const char *ca_pem,
		struct s3_keys **ret)
{
	struct s3_keys *k = mem_calloc(1, sizeof *k);

	if (!k)
		return -ENOMEM;
	k->source = s;
	list_init(&k->parked);
	list_init(&k->refused);
	http_task_init(&k->arrived, on_arrived);
	(void)pthread_mutex_init(&k->lock, NULL);
	(void)pthread_cond_init(&k->ended, NULL);
	k->profile = profile && *profile ? mem_strdup(profile) : NULL;
	k->region = mem_strdup(region);
	k->ca_pem = ca_pem && *ca_pem ? mem_strdup(ca_pem) : NULL;
	if (!k->region || (profile && *profile && !k->profile) || (ca_pem && *ca_pem && !k->ca_pem)) {
		(void)s3_keys_free(k);
		return -ENOMEM;
	}
	*ret = k;
	return 0;
}

struct s3_keys *s3_keys_free(struct s3_keys *k)
{
	if (!k)
		return NULL;
	pthread_mutex_lock(&k->lock);
	while (k->searching)
		pthread_cond_wait(&k->ended, &k->lock);
	pthread_mutex_unlock(&k->lock);
	CHECK(list_empty(&k->parked) && list_empty(&k->refused));
	aws_keys_done(&k->found);
	(void)pthread_cond_destroy(&k->ended);
	(void)pthread_mutex_destroy(&k->lock);
	mem_free(k->profile);
	mem_free(k->region);
	mem_free(k->ca_pem);
	return mem_free(k);
}
