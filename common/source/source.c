/*
 * What all kinds of sources have in common: making and freeing them, the set of running operations, the counters.
 *
 * Life of an operation: begin (linked in source->ops) -> runs on threads of the loop -> done callback -> end (unlinked,
 * freed). Other threads only set bits in `wants` and poke; the kind looks at the bits on its own thread.
 */
#include "common/source/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/mem.h"

enum { POOL_THREADS = 4, LOOP_NAME_MAX = 8 };

int source_loop_new(const char *name, struct source_loop **ret)
{
	char thread[16];
	struct source_loop *loop = mem_calloc(1, sizeof *loop);

	if (!loop)
		return -ENOMEM;
	(void)snprintf(thread, sizeof thread, "%.*s-http", LOOP_NAME_MAX, name);
	int rc = http_loop_new(thread, &loop->http);
	(void)snprintf(thread, sizeof thread, "%.*s-file", LOOP_NAME_MAX, name);
	if (rc == 0)
		rc = pool_new(thread, POOL_THREADS, &loop->pool);
	if (rc < 0) {
		(void)source_loop_free(loop);
		return rc;
	}
	*ret = loop;
	return 0;
}

struct source_loop *source_loop_free(struct source_loop *loop)
{
	if (!loop)
		return NULL;
	(void)pool_free(loop->pool);
	(void)http_loop_free(loop->http);
	return mem_free(loop);
}

static int base_init(struct source *s, struct source_loop *loop, const char *label)
{
	s->loop = loop;
	s->label = mem_strdup(label);
	if (!s->label)
		return -ENOMEM;
	list_init(&s->ops);
	atomic_store(&s->request_bytes, pace_bytes(&s->pace, SOURCE_REQUEST_MIN, SOURCE_REQUEST_MAX));
	(void)pthread_mutex_init(&s->lock, NULL);
	(void)pthread_cond_init(&s->idle, NULL);
	return 0;
}

int source_new(struct source_loop *loop, const struct source_config *config, struct source **ret,
	       struct err *err)
{
	struct source_config c = *config;
	struct source *s = NULL;
	int rc;

	if (!c.label || !*c.label)
		c.label = "source";
	if (c.connections_max > HTTP_CONNECTIONS_MAX)
		return err_set(err, -EINVAL, "%s: at most %d connections, not %u", c.label,
			       HTTP_CONNECTIONS_MAX, c.connections_max);
	switch (c.kind) {
	case SOURCE_S3:
		rc = source_s3_new(loop, &c, &s, err);
		break;
	case SOURCE_FILE:
		rc = source_file_new(loop, &c, &s, err);
		break;
	case SOURCE_HTTP:
		rc = source_http_new(loop, &c, &s, err);
		break;
	default:
		return err_set(err, -ERR_UNSUPPORTED, "%s: a kind of source that is not in this version",
			       c.label);
	}
	if (rc < 0)
		return rc == -ENOMEM ? err_set(err, rc, "%s: out of memory", c.label) : rc;
	rc = base_init(s, loop, c.label);
	if (rc < 0) {
		s->kind->done(s);
		mem_free(s);
		return err_set(err, rc, "%s: out of memory", c.label);
	}
	*ret = s;
	return 0;
}

struct source *source_free(struct source *s)
{
	if (!s)
		return NULL;
	pthread_mutex_lock(&s->lock);
	s->closing = true;
	list_for_each (pos, &s->ops) {
		struct source_op *op = LIST_ENTRY(pos, struct source_op, node);
		atomic_fetch_or(&op->wants, WANT_CANCEL);
		s->kind->poke(op);
	}
	while (!list_empty(&s->ops))
		pthread_cond_wait(&s->idle, &s->lock);
	pthread_mutex_unlock(&s->lock);
	s->kind->done(s);
	(void)pthread_cond_destroy(&s->idle);
	(void)pthread_mutex_destroy(&s->lock);
	mem_free(s->label);
	return mem_free(s);
}

void source_op_begin(struct source *s, struct source_op *op)
{
	op->source = s;
	pthread_mutex_lock(&s->lock);
	list_push_back(&s->ops, &op->node);
	if (s->closing)
		atomic_fetch_or(&op->wants, WANT_CANCEL);
	pthread_mutex_unlock(&s->lock);
}

void source_op_count(struct source_op *op, int status)
{
	struct source *s = op->source;

	if (status < 0 && status != -ECANCELED)
		atomic_fetch_add(&s->errors, 1);
	if (status == -EACCES)
		atomic_fetch_add(&s->denied, 1);
}

void source_op_end(struct source_op *op)
{
	struct source *s = op->source;

	pthread_mutex_lock(&s->lock);
	list_remove(&op->node);
	if (list_empty(&s->ops))
		pthread_cond_broadcast(&s->idle);
	pthread_mutex_unlock(&s->lock); /* @s may be gone from here */
}

void source_op_cancel(struct source_op *op)
{
	atomic_fetch_or(&op->wants, WANT_CANCEL);
	op->source->kind->poke(op);
}

void source_op_resume(struct source_op *op)
{
	atomic_fetch_or(&op->wants, WANT_RESUME);
	op->source->kind->poke(op);
}

int source_set_credential(struct source *s, const struct source_credential *c)
{
	return s->kind->set_credential(s, c);
}

int source_list(struct source *s, const struct source_list_request *request, struct source_op **ret)
{
	return s->kind->list(s, request, ret);
}

int source_stat(struct source *s, const struct source_stat_request *request, struct source_op **ret)
{
	return s->kind->stat(s, request, ret);
}

int source_read(struct source *s, const struct source_read_request *request, struct source_op **ret)
{
	CHECK(request->length > 0);
	CHECK(request->offset <= request->object_size &&
	      request->length <= request->object_size - request->offset);
	return s->kind->read(s, request, ret);
}

void source_took(struct source *s, uint64_t bytes, int64_t first_ns, int64_t whole_ns)
{
	pthread_mutex_lock(&s->lock);
	pace_took(&s->pace, clock_mono_ns(), bytes, first_ns, whole_ns);
	atomic_store(&s->request_bytes, pace_bytes(&s->pace, SOURCE_REQUEST_MIN, SOURCE_REQUEST_MAX));
	pthread_mutex_unlock(&s->lock);
}

uint64_t source_request_bytes(const struct source *s)
{
	return atomic_load(&s->request_bytes);
}

void source_stats_get(struct source *s, struct source_stats *ret)
{
	*ret = (struct source_stats){
		.requests = atomic_load(&s->requests),
		.retries = atomic_load(&s->retries),
		.hedges = atomic_load(&s->hedges),
		.errors = atomic_load(&s->errors),
		.bytes = atomic_load(&s->bytes),
		.denied = atomic_load(&s->denied),
		.left_out = atomic_load(&s->left_out),
		.first_byte_ns_sum = atomic_load(&s->first_byte_ns_sum),
		.first_byte_count = atomic_load(&s->first_byte_count),
	};
}
