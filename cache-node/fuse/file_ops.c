/*
 * Open, read, release. A complete object is passed through: the kernel reads the tier's file itself and this process sees
 * no READ. Anything else is cached mode: the reply goes out straight from the cache's buffers.
 *
 * The two modes never mix on one node while it is open (the kernel answers EIO): the counts in the node's record say
 * which one rules, and an object that is sealed while open in cached mode gets a new node (session_object_sealed).
 */
#include <errno.h>
#include <string.h>

#include "cache-node/fuse/session_impl.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/fuse_kernel.h"

/* ---- open files of this process ---- */

static struct list *bucket_of(struct session *s, uint64_t node_id)
{
	return &s->opens.buckets[(node_id ^ node_id >> 32) % SESSION_OPEN_BUCKETS];
}

/* opens.lock is held. */
static struct open_file *file_find(struct session *s, uint64_t node_id)
{
	list_for_each (l, bucket_of(s, node_id)) {
		struct open_file *f = LIST_ENTRY(l, struct open_file, link);
		if (f->node_id == node_id)
			return f;
	}
	return NULL;
}

static int file_make(struct session *s, uint64_t config, const struct manifest_found *entry, uint64_t node_id,
		     struct open_file **ret)
{
	struct open_file *f = mem_calloc(1, sizeof *f);

	if (!f)
		return -ENOMEM;
	*f = (struct open_file){.node_id = node_id, .size = entry->e.size};
	list_init(&f->link);
	struct err err = {0};
	int r = f->size ? s->view.object(s->view.ctx, config, entry, &f->object, &err) : 0;
	if (r) {
		log_write(LOG_WARN, "file cannot be served", LOG_STR("path", entry->e.path),
			  LOG_STR("error", err_words(&err, r)), NULL);
		(void)mem_free(f);
		return r;
	}
	*ret = f;
	return 0;
}

static void file_destroy(struct open_file *f)
{
	(void)cache_put(f->object);
	(void)mem_free(f);
}

/* opens.lock is held; true: the caller destroys it outside the lock. */
static bool file_drop(struct open_file *f)
{
	if (--f->refs)
		return false;
	list_remove(&f->link);
	return true;
}

static void file_put(struct session *s, struct open_file *f)
{
	(void)pthread_mutex_lock(&s->opens.lock);
	bool last = file_drop(f);
	(void)pthread_mutex_unlock(&s->opens.lock);
	if (last)
		file_destroy(f);
}

/* The open file of a node with one reference more; made when this process has not met it yet. */
static int file_get(struct session *s, uint64_t id, struct open_file **ret)
{
	(void)pthread_mutex_lock(&s->opens.lock);
	struct open_file *f = file_find(s, id), *fresh = NULL;
	if (f)
		f->refs++;
	(void)pthread_mutex_unlock(&s->opens.lock);
	if (f) {
		*ret = f;
		return 0;
	}
	struct manifest_found entry;
	uint64_t config = 0;
	(void)pthread_rwlock_rdlock(&s->tree);
	struct shm_node *node = nodes_get(s->nodes, id);
	int r = node ? session_entry(s, node, &entry) : -ESTALE;
	if (!r && entry.e.type != MANIFEST_FILE)
		r = -EISDIR;
	if (!r)
		config = s->shm.h->versions[node->version].config;
	(void)pthread_rwlock_unlock(&s->tree);
	if (!r)
		r = file_make(s, config, &entry, id, &fresh);
	if (r)
		return r;
	(void)pthread_mutex_lock(&s->opens.lock);
	f = file_find(s, id); /* another thread may have been faster */
	if (!f) {
		f = TAKE(fresh);
		list_push_back(bucket_of(s, id), &f->link);
	}
	f->refs++;
	(void)pthread_mutex_unlock(&s->opens.lock);
	if (fresh)
		file_destroy(fresh);
	*ret = f;
	return 0;
}

/* opens.lock is held. The file has openers: its object is no victim, and the record stays found. */
static void make_resident(struct open_file *f)
{
	if (f->resident)
		return;
	f->resident = true;
	f->refs++;
	if (f->object)
		cache_open(f->object);
}

/* opens.lock is held and the caller has a reference. */
static void end_resident(struct open_file *f)
{
	if (!f->resident)
		return;
	f->resident = false;
	f->refs--;
	if (f->object)
		cache_close(f->object);
}

/* ---- open ---- */

/* opens.lock is held. The backing id to open with, or 0: cached mode. */
static int32_t choose_mode(const struct session *s, struct shm_node *node, const struct open_file *f)
{
	int32_t id = atomic_load(&node->backing_id);

	if (id <= 0)
		return 0;
	return atomic_load(&node->opens_passthrough) ||
			       (s->passthrough && f->object && !atomic_load(&node->opens_cached))
		       ? id
		       : 0;
}

static int reply_passthrough(fuse_req_t req, uint64_t fh, int32_t id)
{
	struct fuse_open_reply out = {
		.fh = fh, .open_flags = FOPEN_PASSTHROUGH | FOPEN_NOFLUSH, .backing_id = id};

	return fuse_reply_buf(req, (const char *)&out, sizeof out); /* libfuse 3.14 does not know the field */
}

static int reply_cached(fuse_req_t req, struct fuse_file_info *fi, uint64_t fh)
{
	fi->fh = fh;
	fi->keep_cache = 1;
	fi->noflush = 1;
	return fuse_reply_open(req, fi);
}

/* opens.lock is held. The backing id that nobody needs any more, or 0. */
static int32_t forget_open(struct shm_node *node, struct open_file *f)
{
	if (atomic_load(&node->opens_passthrough))
		return 0;
	int32_t id = atomic_exchange(&node->backing_id, 0);
	if (f && !atomic_load(&node->opens_cached))
		end_resident(f);
	return id;
}

/* opens.lock is held. The backing id that nobody needs any more, or 0. */
static int32_t open_locked(struct session *s, fuse_req_t req, struct shm_node *node, struct open_file *f,
			   struct fuse_file_info *fi)
{
	struct shm_slot *slot = session_current_slot(s);
	int32_t id = choose_mode(s, node, f);
	_Atomic uint32_t *opens = id > 0 ? &node->opens_passthrough : &node->opens_cached;
	uint64_t fh = atomic_fetch_add(&s->shm.h->next_handle, 1) << 2 |
		      (id > 0 ? HANDLE_PASSTHROUGH : HANDLE_CACHED);

	if (id <= 0)
		node->flags |= SHM_NODE_PAGES;
	make_resident(f);
	bool fresh = atomic_load(&slot->effect) == SHM_EFFECT_NONE;
	if (fresh)
		atomic_fetch_add(opens, 1);
	atomic_store(&slot->effect, SHM_EFFECT_COUNTED);
	atomic_fetch_add(id > 0 ? &s->opened_passthrough : &s->opened_cached, 1);
	int r = id > 0 ? reply_passthrough(req, fh, id) : reply_cached(req, fi, fh);
	/* Nobody waits: no RELEASE will come for this reply. What a killed predecessor counted it had answered, though: its
	 * opener will release it. */
	if (r != -ENOENT || !fresh)
		return 0;
	atomic_fetch_sub(opens, 1);
	return forget_open(node, f);
}

void op_open(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	struct session *s = session_of(req);
	int32_t spare = 0, unused = 0;
	struct open_file *f;

	int r = file_get(s, id, &f);
	if (r) {
		session_reply_error(s, req, r);
		return;
	}
	(void)pthread_mutex_lock(&s->opens.lock);
	struct shm_node *node = nodes_get(s->nodes, id);
	if (node && backing_is_wanted(s, node, f)) {
		(void)pthread_mutex_unlock(&s->opens.lock);
		spare = backing_ask(s, f);
		(void)pthread_mutex_lock(&s->opens.lock);
		node = nodes_get(s->nodes, id);
		spare = backing_install(s, node, spare);
	}
	if (node)
		unused = open_locked(s, req, node, f, fi);
	else
		session_reply_error(s, req, -ESTALE);
	bool last = file_drop(f);
	(void)pthread_mutex_unlock(&s->opens.lock);
	if (last)
		file_destroy(f);
	backing_close(s, spare);
	backing_close(s, unused);
}

/* ---- release ---- */

static void decrement(_Atomic uint32_t *count)
{
	if (atomic_load(count))
		atomic_fetch_sub(count, 1);
}

/* opens.lock is held. The backing id that nobody needs any more, or 0. Its record is cleared before the mounter closes it:
 * a process killed in between leaks an id, but never answers with a dead one. */
static int32_t release_locked(struct shm_node *node, struct open_file *f, uint64_t fh)
{
	decrement((fh & 3) == HANDLE_PASSTHROUGH ? &node->opens_passthrough : &node->opens_cached);
	return forget_open(node, f);
}

void op_release(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	struct session *s = session_of(req);
	struct open_file *f = NULL;
	int32_t backing = 0;

	bool known = file_get(s, id, &f) == 0;
	(void)pthread_mutex_lock(&s->opens.lock);
	struct shm_node *node = nodes_get(s->nodes, id);
	bool fresh = atomic_exchange(&session_current_slot(s)->effect, SHM_EFFECT_COUNTED) == SHM_EFFECT_NONE;
	if (node && fresh)
		backing = release_locked(node, known ? f : NULL, fi->fh);
	bool last = known && file_drop(f);
	(void)pthread_mutex_unlock(&s->opens.lock);
	if (last)
		file_destroy(f);
	(void)fuse_reply_err(req, 0);
	backing_close(s, backing);
}

/* ---- read ---- */

void read_op_unref(struct read_op *op)
{
	if (atomic_fetch_sub(&op->refs, 1) == 1)
		slots_read_op_done(op);
}

static void read_done(struct cache_read *r, int status, const struct iovec *iov, int iov_count,
		      const struct err *err)
{
	struct read_op *op = r->ctx;
	struct session *s = op->session;

	atomic_store(&op->done, true);
	fuse_req_interrupt_func(op->req, NULL, NULL);
	if (!status) {
		(void)fuse_reply_iov(op->req, iov, iov_count);
	} else {
		if (status != -ECANCELED)
			log_write(LOG_WARN, "read failed", LOG_STR("dataset", s->shm.h->dataset),
				  LOG_STR("error", err_words(err, status)), NULL);
		session_reply_error(s, op->req, status == -ECANCELED ? -EINTR : status);
	}
	file_put(s, op->file);
	read_op_unref(op);
}

static void on_interrupt(fuse_req_t req, void *arg)
{
	struct read_op *op = arg;

	(void)req;
	atomic_store(&op->interrupted, true);
	if (atomic_load(&op->started))
		notify_cancel(op->session, op); /* elsewhere: libfuse holds a lock of the request here */
}

static void read_start(struct session *s, fuse_req_t req, struct open_file *f, uint64_t off, uint32_t len,
		       uint64_t fh)
{
	struct read_op *op = slots_read_op(s, slots_take_holder());

	op->read = (struct cache_read){
		.offset = off, .length = len, .stream = fh | 1ULL << 63, .done = read_done, .ctx = op};
	op->session = s;
	op->file = f;
	op->req = req;
	atomic_store(&op->refs, 2); /* one is this function's, so that an early end frees nothing under it */
	atomic_store(&op->done, false);
	atomic_store(&op->started, false);
	atomic_store(&op->interrupted, false);
	list_init(&op->cancel_link);
	fuse_req_interrupt_func(req, on_interrupt, op);
	cache_read_start(f->object, &op->read);
	/* The cache knows only reads that were started: an interrupt that came before is handled here. */
	atomic_store(&op->started, true);
	if (!atomic_load(&op->done))
		slots_park(op);
	if (atomic_load(&op->interrupted) && !atomic_load(&op->done))
		notify_cancel(s, op);
	read_op_unref(op);
}

void op_read(fuse_req_t req, fuse_ino_t id, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct session *s = session_of(req);
	struct open_file *f;

	atomic_fetch_add(&s->reads, 1);
	int r = off < 0 ? -EINVAL : file_get(s, id, &f);
	if (r) {
		session_reply_error(s, req, r);
		return;
	}
	if ((uint64_t)off >= f->size || size == 0) {
		(void)fuse_reply_buf(req, NULL, 0);
		file_put(s, f);
		return;
	}
	uint64_t left = f->size - (uint64_t)off;
	uint64_t len = MIN(MIN((uint64_t)size, left), (uint64_t)s->shm.h->max_read);
	read_start(s, req, f, (uint64_t)off, (uint32_t)len, fi->fh);
}

/* ---- promotion, start and end ---- */

/* The path gets a new node at its next look-up; this one serves those who have it open. */
static void renew(struct session *s, struct shm_node *node)
{
	struct manifest_found entry;

	if (node->flags & SHM_NODE_DETACHED || session_entry(s, node, &entry))
		return;
	const char *slash = strrchr(entry.e.path, '/'), *name = slash ? slash + 1 : entry.e.path;
	nodes_detach(s->nodes, node);
	notify_entry(s, node->parent, name, strlen(name));
}

/* Renews the nodes of an object that is open, all of them or those open in cached mode. */
static void renew_object(struct session *s, const struct hash256 *object, bool all)
{
	(void)pthread_rwlock_rdlock(&s->tree);
	(void)pthread_mutex_lock(&s->opens.lock);
	for (size_t i = 0; i < SESSION_OPEN_BUCKETS; i++)
		list_for_each (l, &s->opens.buckets[i]) {
			struct open_file *f = LIST_ENTRY(l, struct open_file, link);
			if (!f->object || hash256_compare(cache_object_hash(f->object), object) != 0)
				continue;
			struct shm_node *node = nodes_get(s->nodes, f->node_id);
			if (node && (all || atomic_load(&node->opens_cached)))
				renew(s, node);
		}
	(void)pthread_mutex_unlock(&s->opens.lock);
	(void)pthread_rwlock_unlock(&s->tree);
}

void session_object_sealed(struct session *s, const struct hash256 *object)
{
	if (s->passthrough)
		renew_object(s, object, false);
}

void session_object_spoiled(struct session *s, const struct hash256 *object)
{
	renew_object(s, object, true);
}

static void adopt_open(void *ctx, struct shm_node *node)
{
	struct session *s = ctx;
	struct open_file *f;

	if (!atomic_load(&node->opens_cached) && !atomic_load(&node->opens_passthrough))
		return;
	if (file_get(s, atomic_load(&node->id), &f))
		return; /* its reads will say why */
	(void)pthread_mutex_lock(&s->opens.lock);
	make_resident(f);
	(void)file_drop(f); /* not the last: it is resident */
	(void)pthread_mutex_unlock(&s->opens.lock);
}

int opens_init(struct session *s)
{
	(void)pthread_mutex_init(&s->opens.lock, NULL);
	for (size_t i = 0; i < SESSION_OPEN_BUCKETS; i++)
		list_init(&s->opens.buckets[i]);
	nodes_each(s->nodes, adopt_open, s);
	return 0;
}

void opens_done(struct session *s)
{
	for (size_t i = 0; i < SESSION_OPEN_BUCKETS; i++) {
		list_for_each_safe (l, next, &s->opens.buckets[i]) {
			struct open_file *f = LIST_ENTRY(l, struct open_file, link);
			end_resident(f);
			list_remove(&f->link);
			file_destroy(f);
		}
	}
	(void)pthread_mutex_destroy(&s->opens.lock);
}
