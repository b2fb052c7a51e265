/*
 * session_impl - what the files of the session share: session.c (life, threads), slots.c (where requests lie), tree_ops.c
 * (lookup, getattr, readdir), file_ops.c (open, read, release), backing.c (the mounter's part in it), switch.c (change of
 * version), notify.c (messages to the kernel). Private to fuse/.
 */
#ifndef CACHE_NODE_FUSE_SESSION_IMPL_H
#define CACHE_NODE_FUSE_SESSION_IMPL_H

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdatomic.h>

#include "cache-node/fuse/nodes.h"
#include "cache-node/fuse/session.h"
#include "cache-node/fuse/shm.h"
#include "common/base/list.h"

#define SESSION_TIMEOUT_S    3600.0 /* of attributes and names: changes are pushed */
#define SESSION_THREADS_MAX  16
#define SESSION_OPEN_BUCKETS 1024

/* File handle numbers: kind in the low two bits. Files: a counter above; directories: version place and ordinal. */
enum handle_kind { HANDLE_CACHED = 0, HANDLE_PASSTHROUGH = 1, HANDLE_DIR = 2 };

/* A file that is open, in this process: found again by its node id; made anew by the first use after a restart. */
struct open_file {
	struct list link; /* in opens.buckets */
	uint64_t node_id;
	struct cache_object *object; /* NULL: an empty file */
	uint64_t size;
	uint32_t refs; /* users at this moment, and one while the node has opens */
	bool resident; /* holds that one */
};

/* A READ on its way; one a parking place, so none is allocated while serving. */
struct read_op {
	struct cache_read read;
	struct session *session;
	struct open_file *file;
	fuse_req_t req;
	uint32_t slot;         /* where its request lies; none: in its parking place */
	_Atomic uint32_t refs; /* the read, and an interrupt being handled */
	_Atomic bool done, started, interrupted;
	struct list cancel_link; /* in notify.cancels */
	bool cancel_queued;      /* guarded by notify.lock */
};

/* Something to tell the kernel, or a read to cancel, off the request threads. */
struct notice {
	struct list link;
	uint64_t node_id; /* parent for an entry */
	bool entry;
	uint64_t end_of; /* not 0: nothing to send; all messages of that change of version were */
	char name[256];
	size_t name_len;
};

struct session {
	struct shm shm;
	struct nodes *nodes;
	struct session_view view;
	struct mounter_client *mounter; /* borrowed */
	struct fuse_session *fuse;
	int dev_fd;
	_Atomic bool passthrough; /* until the kernel says no */

	pthread_rwlock_t tree; /* guards manifests, and versions and current of the memory */
	struct manifest *manifests[SHM_VERSIONS_MAX];

	struct {
		pthread_mutex_t
			lock; /* guards all here, and modes of nodes while one is opened or released */
		struct list buckets[SESSION_OPEN_BUCKETS];
	} opens;

	struct {
		_Atomic int64_t resume_ns; /* CLOCK_MONOTONIC: until then the mounter is not asked */
		pthread_mutex_t lock;      /* guards the rest */
		int32_t *to_close;         /* backing ids that nobody uses and that could not be closed yet */
		size_t count;
	} backing;

	struct {
		pthread_mutex_t lock;
		pthread_cond_t more;
		struct list notices, cancels;
		uint64_t changes; /* of version, counted */
		bool stop;
		pthread_t thread;
		bool started;
	} notify;

	struct {
		pthread_mutex_t lock; /* guards free */
		pthread_cond_t more;
		uint32_t free[SHM_SLOTS], count;
	} slots;
	struct {
		pthread_mutex_t lock; /* guards free, count, high */
		pthread_cond_t more;
		uint32_t *free, count;
		uint32_t high; /* places at and above were never used */
	} parking;
	struct read_op *read_ops; /* one a parking place: SHM_PARKED */

	pthread_t threads[SESSION_THREADS_MAX];
	uint32_t thread_count;
	_Atomic uint32_t running;
	_Atomic bool ended;
	uint32_t recovered, recovered_reads;
	_Atomic uint64_t requests, reads, opened_passthrough, opened_cached, errors;
};

/* ---- session.c ---- */

static inline struct session *session_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* Answers with an errno made from a negative code, and counts it. */
void session_reply_error(struct session *s, fuse_req_t req, int code);

/* ---- slots.c ---- */

/* Slots and parking places that hold nothing. 0 or -ENOMEM; slots_done() ends it in either case. */
MUST_CHECK int slots_init(struct session *s);
void slots_done(struct session *s);

/* Answers what a former worker left. */
void slots_answer_leftovers(struct session *s);

/* A slot for the next request; waits for one. Then it is processed, or given back. */
uint32_t slots_get(struct session *s);
void slots_process(struct session *s, uint32_t slot);
void slots_free(struct session *s, uint32_t slot);

/* The slot of the request that this thread is answering. */
struct shm_slot *session_current_slot(struct session *s);

/* What holds the request that this thread is answering: it is the caller's from here on, who answers later. */
uint32_t slots_take_holder(void);

/* The read_op for the READ in @holder; waits for one while SHM_PARKED reads are on their way. slots_read_op_done() gives
 * back both. */
struct read_op *slots_read_op(struct session *s, uint32_t holder);
void slots_read_op_done(struct read_op *op);

/* The READ will wait: its slot is needed for others. For whoever holds a reference of @op. */
void slots_park(struct read_op *op);

/* Until no READ is on its way: each ends by its deadline at the latest. */
void slots_wait_for_reads(struct session *s);

/* ---- tree_ops.c ---- */
void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_forget(fuse_req_t req, fuse_ino_t id, uint64_t count);
void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void op_getattr(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi);
void op_readlink(fuse_req_t req, fuse_ino_t id);
void op_opendir(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi);
void op_readdir(fuse_req_t req, fuse_ino_t id, size_t size, off_t off, struct fuse_file_info *fi);
void op_readdirplus(fuse_req_t req, fuse_ino_t id, size_t size, off_t off, struct fuse_file_info *fi);
void op_releasedir(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi);
void op_statfs(fuse_req_t req, fuse_ino_t id);
void op_getxattr(fuse_req_t req, fuse_ino_t id, const char *name, size_t size);
void op_listxattr(fuse_req_t req, fuse_ino_t id, size_t size);

/* The manifest entry of a node; session.tree is held. 0, -ESTALE, -EIO... */
MUST_CHECK int session_entry(struct session *s, const struct shm_node *node, struct manifest_found *ret);

/* ---- file_ops.c ---- */
void op_open(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi);
void op_read(fuse_req_t req, fuse_ino_t id, size_t size, off_t off, struct fuse_file_info *fi);
void op_release(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi);
void read_op_unref(struct read_op *op);
int opens_init(struct session *s);
void opens_done(struct session *s);

/* ---- backing.c ---- */

/* Whether an open of this node could be passed through if the mounter were asked. opens.lock is held. */
bool backing_is_wanted(struct session *s, struct shm_node *node, struct open_file *f);

/* Asks the mounter: a backing id, or 0 after a log line. May take a second; no lock is held. */
int32_t backing_ask(struct session *s, struct open_file *f);

/* Gives the id to the node (NULL: it is gone), if it has a use for it: 0. Else the id, to be closed. opens.lock is held. */
int32_t backing_install(struct session *s, struct shm_node *node, int32_t id);

/* Closes an id, now or later; 0 is fine. No lock is held. */
void backing_close(struct session *s, int32_t id);

void backing_done(struct session *s); /* frees what the session remembers */

/* ---- notify.c ---- */
MUST_CHECK int notify_start(struct session *s);
void notify_stop(struct session *s);
void notify_entry(struct session *s, uint64_t parent, const char *name, size_t len);
void notify_inode(struct session *s, uint64_t node_id);
void notify_cancel(struct session *s, struct read_op *op); /* takes a reference of @op, unless none is left */

/* Between the two, the memory says that the kernel may not know of all changes since version place @from. */
void notify_begin(struct session *s, uint32_t from);
void notify_end(struct session *s); /* takes effect when all that was pushed before was sent */

/* ---- switch.c ---- */

/* Tells the kernel again what a killed predecessor may not have told it. Before the session serves. */
void switch_tell_again(struct session *s);

#endif
