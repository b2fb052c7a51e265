/*
 * web - operations of sources over HTTP: a read or stat is one fetch, a listing what its kind makes of it.
 *
 * Life of an operation: made (its task is posted) -> on the loop's thread: its fetches run -> ended: done callback, memory
 * gone. A kind of source embeds struct web_source and gives a struct web_kind.
 */
#ifndef COMMON_SOURCE_WEB_H
#define COMMON_SOURCE_WEB_H

#include "common/source/checksum.h"
#include "common/source/web_fetch.h"

enum web_op_kind {
	WEB_LIST,
	WEB_STAT,
	WEB_READ,
	WEB_STREAM /* nobody waits for it: the kind makes it, it calls nobody back */
};

struct web_op {
	struct source_op base;
	enum web_op_kind kind;
	bool started;
	struct http_task task;
	union {
		struct source_list_request list;
		struct source_stat_request stat;
		struct source_read_request read;
	} want;
	char *key;          /* READ, STAT: the key; LIST: the prefix below the source's */
	uint64_t delivered; /* READ: bytes given to the sink */
	uint64_t skip;      /* READ: bytes of this body that come before those wanted */
	struct checksum
		sum; /* READ of a whole object: what its bytes must have; none unless the kind sets it */
	struct web_fetch fetch;
	struct web_fetch *
		second; /* READ: of the same bytes, where the first was slow to answer; NULL: there is none */
	struct web_fetch *winner; /* READ: the one whose head came first and was right */
	struct http_timer hedge;
	void *data; /* the kind's, for this operation; NULL at first */
};

struct web_kind {
	/* The request of a STAT or READ, but for a READ's Range and If-Match. */
	int (*request)(struct web_op *op, struct web_fetch *f);
	/* As in struct web_fetch_ops, for a STAT or READ. */
	int (*refused)(struct web_op *op, struct web_fetch *f, enum web_verdict *ret);
	/* The entry of a STAT's answer. 0 or a code with words in f->err. */
	int (*entry)(struct web_op *op, struct source_entry *ret);
	/* Starts a listing; it ends with web_op_end(). */
	void (*list)(struct web_op *op);
	/* Somebody posted the task of a listing that runs. NULL: nobody does. */
	void (*list_poke)(struct web_op *op);
	/* A READ is about to be sent, or begins anew: true: the kind serves it by other means. NULL: it never does. */
	bool (*join)(struct web_op *op);
	/* The sink of a READ that the kind serves has room again. */
	void (*resume)(struct web_op *op);
	/* A STREAM begins, or somebody posted its task. */
	void (*stream)(struct web_op *op);
	/* The right head of a READ's answer came. Inside a callback of libcurl. NULL: nothing is learned of it. */
	void (*learn)(struct web_op *op, const struct web_fetch *f);
	/* The operation ends: stops what a listing runs, frees op->data; also when it was never started. */
	void (*stop)(struct web_op *op);
	/* A fetch of a STAT or READ is over: frees its data. NULL: it has none. */
	void (*fetch_done)(struct web_fetch *f);
	/* Frees what the kind's source has besides struct web_source. */
	void (*done)(struct web_source *s);
	bool whole_get; /* a whole object is asked for without a range: the store then sends its checksum */
	bool whole_ok;  /* a whole body may answer a ranged read */
};

/* Fills the common part of a zeroed source: pool, credential. @origin is taken over. 0, -EINVAL with words, -ENOMEM; on
 * failure web_source_done() empties it. */
MUST_CHECK int web_source_init(struct web_source *s, struct source_loop *loop,
			       const struct source_config *config, const struct web_kind *kind, char *origin,
			       struct err *err);
void web_source_done(struct web_source *s);

/* The operation that a fetch of a STAT or READ belongs to. */
struct web_op *web_op_of(struct web_fetch *f);
struct web_source *web_source_of(const struct web_op *op);
/* What errors call it; borrowed from the source. */
const char *web_label_of(const struct web_op *op);

/* A new operation, zeroed but for kind, key and fetch; the caller fills it, then begins it. NULL: out of memory. */
struct web_op *web_op_new(struct source *s, enum web_op_kind kind, const char *key);
void web_op_begin(struct web_op *op);

/* Puts the bytes that come next into the sink of a READ that its kind serves; *ret_used: how many found room. */
void web_read_push(struct web_op *op, const uint8_t *p, size_t len, size_t *ret_used);

/* A READ that its kind does not serve any more goes on from where it is. */
void web_read_restart(struct web_op *op);

/* Ends the operation: counts, calls back, frees. @err: words of a failure. @op is gone afterwards. */
void web_op_end(struct web_op *op, int status, const struct source_entry *entry, const struct err *err);

#endif
