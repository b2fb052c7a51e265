/*
 * Messages to the kernel leave from a thread of their own: an invalidation waits for locks that a lookup in progress may
 * hold, and that lookup waits for an answer of ours.
 */
#include <errno.h>
#include <string.h>

#include "cache-node/fuse/session_impl.h"
#include "common/base/mem.h"

static void push(struct session *s, struct notice *n)
{
	(void)pthread_mutex_lock(&s->notify.lock);
	list_push_back(&s->notify.notices, &n->link);
	(void)pthread_cond_signal(&s->notify.more);
	(void)pthread_mutex_unlock(&s->notify.lock);
}

/* Without memory for a notice the kernel keeps the old name until its timeout: say so by nothing else than that. */
static void push_new(struct session *s, uint64_t node_id, bool entry, const char *name, size_t len)
{
	struct notice *n = len < sizeof n->name ? mem_calloc(1, sizeof *n) : NULL;

	if (!n)
		return;
	n->node_id = node_id;
	n->entry = entry;
	n->name_len = len;
	if (len)
		memcpy(n->name, name, len);
	push(s, n);
}

void notify_entry(struct session *s, uint64_t parent, const char *name, size_t len)
{
	push_new(s, parent, true, name, len);
}

void notify_inode(struct session *s, uint64_t node_id)
{
	push_new(s, node_id, false, NULL, 0);
}

void notify_begin(struct session *s, uint32_t from)
{
	(void)pthread_mutex_lock(&s->notify.lock);
	s->notify.changes++;
	if (!atomic_load(&s->shm.h->untold))
		atomic_store(&s->shm.h->untold, from + 1);
	(void)pthread_mutex_unlock(&s->notify.lock);
}

void notify_end(struct session *s)
{
	struct notice *n = mem_calloc(1, sizeof *n);

	if (!n)
		return;                /* the mark stays: a successor tells more than it must */
	n->end_of = s->notify.changes; /* changes are made one at a time: the tree's lock */
	push(s, n);
}

static void end_change(struct session *s, uint64_t change)
{
	(void)pthread_mutex_lock(&s->notify.lock);
	if (change == s->notify.changes)
		atomic_store(&s->shm.h->untold, 0);
	(void)pthread_mutex_unlock(&s->notify.lock);
}

/* The last reference frees the slot: one that is gone must not come back. */
static bool read_op_ref(struct read_op *op)
{
	uint32_t refs = atomic_load(&op->refs);

	while (refs && !atomic_compare_exchange_weak(&op->refs, &refs, refs + 1))
		;
	return refs != 0;
}

void notify_cancel(struct session *s, struct read_op *op)
{
	(void)pthread_mutex_lock(&s->notify.lock);
	if (!op->cancel_queued && read_op_ref(op)) {
		op->cancel_queued = true;
		list_push_back(&s->notify.cancels, &op->cancel_link);
		(void)pthread_cond_signal(&s->notify.more);
	}
	(void)pthread_mutex_unlock(&s->notify.lock);
}

/* ENOENT: the kernel does not know that name or node (any more): nothing to invalidate. */
static void send_notice(struct session *s, const struct notice *n)
{
	if (n->end_of)
		end_change(s, n->end_of);
	else if (n->entry)
		(void)fuse_lowlevel_notify_inval_entry(s->fuse, n->node_id, n->name, n->name_len);
	else
		(void)fuse_lowlevel_notify_inval_inode(s->fuse, n->node_id, 0, 0);
}

static void cancel(struct session *s, struct read_op *op)
{
	if (!atomic_load(&op->done))
		cache_read_cancel(&op->read);
	(void)pthread_mutex_lock(&s->notify.lock);
	op->cancel_queued = false;
	(void)pthread_mutex_unlock(&s->notify.lock);
	read_op_unref(op);
}

static struct list *pop(struct list *head)
{
	struct list *first = list_empty(head) ? NULL : head->next;

	if (first)
		list_remove(first);
	return first;
}

static void *notify_main(void *arg)
{
	struct session *s = arg;

	(void)pthread_mutex_lock(&s->notify.lock);
	while (!s->notify.stop) {
		struct list *c = pop(&s->notify.cancels), *n = c ? NULL : pop(&s->notify.notices);
		if (!c && !n) {
			(void)pthread_cond_wait(&s->notify.more, &s->notify.lock);
			continue;
		}
		(void)pthread_mutex_unlock(&s->notify.lock);
		if (c) {
			cancel(s, LIST_ENTRY(c, struct read_op, cancel_link));
		} else {
			send_notice(s, LIST_ENTRY(n, struct notice, link));
			(void)mem_free(LIST_ENTRY(n, struct notice, link));
		}
		(void)pthread_mutex_lock(&s->notify.lock);
	}
	(void)pthread_mutex_unlock(&s->notify.lock);
	return NULL;
}

int notify_start(struct session *s)
{
	list_init(&s->notify.notices);
	list_init(&s->notify.cancels);
	(void)pthread_mutex_init(&s->notify.lock, NULL);
	(void)pthread_cond_init(&s->notify.more, NULL);
	int r = pthread_create(&s->notify.thread, NULL, notify_main, s);
	s->notify.started = r == 0;
	return -r;
}

void notify_stop(struct session *s)
{
	if (!s->notify.started)
		return;
	(void)pthread_mutex_lock(&s->notify.lock);
	s->notify.stop = true;
	(void)pthread_cond_signal(&s->notify.more);
	(void)pthread_mutex_unlock(&s->notify.lock);
	(void)pthread_join(s->notify.thread, NULL);
	for (struct list *l; (l = pop(&s->notify.cancels));)
		read_op_unref(LIST_ENTRY(l, struct read_op, cancel_link));
	for (struct list *l; (l = pop(&s->notify.notices));)
		(void)mem_free(LIST_ENTRY(l, struct notice, link));
	(void)pthread_mutex_destroy(&s->notify.lock);
	(void)pthread_cond_destroy(&s->notify.more);
}
