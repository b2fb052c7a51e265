/*
 * internal - what source.c shares with the kinds of sources (s3.c, file.c).
 *
 * A kind embeds struct source and struct source_op at the start of its own, and gives a table of functions. source.c keeps
 * the set of running operations, so that source_free() can cancel them and wait.
 */
#ifndef COMMON_SOURCE_INTERNAL_H
#define COMMON_SOURCE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "common/base/list.h"
#include "common/http/http.h"
#include "common/source.h"
#include "common/source/pace.h"
#include "common/source/pool.h"

#define SOURCE_OP_TIME_NS \
	30000000000LL /* a list page or stat may take so long unless its request says otherwise */

/* Bits of source_op.wants: what other threads ask of an operation. */
enum { WANT_CANCEL = 1, WANT_RESUME = 2 };

struct source_op {
	struct list node; /* in source->ops, guarded by source->lock */
	struct source *source;
	atomic_uint wants;
};

struct source_kind_ops {
	/* Bits of op->wants were set. Any thread; the operation cannot end meanwhile. */
	void (*poke)(struct source_op *op);
	int (*set_credential)(struct source *s, const struct source_credential *c);
	int (*list)(struct source *s, const struct source_list_request *r, struct source_op **ret);
	int (*stat)(struct source *s, const struct source_stat_request *r, struct source_op **ret);
	int (*read)(struct source *s, const struct source_read_request *r, struct source_op **ret);
	/* Frees all but the base. No operation runs. */
	void (*done)(struct source *s);
};

struct source {
	const struct source_kind_ops *kind;
	struct source_loop *loop;
	char *label;
	pthread_mutex_t lock; /* guards ops, closing and pace; taken before the locks of http and pool */
	pthread_cond_t idle;  /* ops became empty */
	struct list ops;
	bool closing;
	struct pace pace;
	_Atomic uint64_t request_bytes; /* what it says */
	_Atomic uint64_t left_out;      /* not a sum: of the last listing */
	_Atomic uint64_t requests, retries, hedges, errors, bytes, denied, first_byte_ns_sum,
		first_byte_count;
};

struct source_loop {
	struct http_loop *http;
	struct pool *pool; /* for file systems, whose calls block */
};

/* Each allocates and fills a source of its kind behind a zeroed base. 0, -EINVAL with words, -ENOMEM. */
int source_s3_new(struct source_loop *loop, const struct source_config *config, struct source **ret,
		  struct err *err);
int source_http_new(struct source_loop *loop, const struct source_config *config, struct source **ret,
		    struct err *err);
int source_file_new(struct source_loop *loop, const struct source_config *config, struct source **ret,
		    struct err *err);

/* A new operation of @s is known from here on. */
void source_op_begin(struct source *s, struct source_op *op);

/* Counts the result of an operation, before its done callback. */
void source_op_count(struct source_op *op, int status);

/* The operation has ended, its done callback returned: forgets it. From here on nobody pokes it, the source may be gone,
 * and the kind frees it. */
void source_op_end(struct source_op *op);

#endif
