/*
 * The list changes seldom and is walked often, so a read-write lock guards it. It is not held while a mount is made or
 * ended: such a mount is marked busy in the list meanwhile.
 *
 * A worker that ends leaves its sessions as they are: the process goes, the next one takes over.
 */
#include "cache-node/mounts.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/base/fd.h"
#include "common/base/list.h"
#include "common/base/log.h"
#include "common/base/mem.h"

#define MAX_READ (1u << 20)

struct mount_point {
	struct list link;
	struct mounts *all;
	struct node_dataset *dataset; /* a mount's reference */
	struct session *session;      /* NULL while it is being made */
	uint8_t id[SHM_SESSION_BYTES];
	char *target;
	bool busy;  /* being made or ended */
	bool ended; /* its mount is gone */
};

struct mounts {
	struct mounts_config config;
	struct datasets *datasets;
	pthread_rwlock_t lock; /* guards list and the marks of its members */
	struct list list;
	pthread_mutex_t threads_lock; /* guards threads */
	pthread_cond_t threads_ended;
	uint32_t threads; /* that end a mount or wait for its last user */
};

int mounts_new(const struct mounts_config *config, struct mounts **ret)
{
	struct mounts *m = mem_calloc(1, sizeof *m);

	if (!m)
		return -ENOMEM;
	m->config = *config;
	list_init(&m->list);
	(void)pthread_rwlock_init(&m->lock, NULL);
	(void)pthread_mutex_init(&m->threads_lock, NULL);
	(void)pthread_cond_init(&m->threads_ended, NULL);
	*ret = m;
	return 0;
}

struct mounts *mounts_free(struct mounts *m)
{
	if (!m)
		return NULL;
	(void)pthread_mutex_lock(&m->threads_lock);
	while (m->threads)
		(void)pthread_cond_wait(&m->threads_ended, &m->threads_lock);
	(void)pthread_mutex_unlock(&m->threads_lock);
	CHECK(list_empty(&m->list));
	(void)pthread_rwlock_destroy(&m->lock);
	(void)pthread_mutex_destroy(&m->threads_lock);
	(void)pthread_cond_destroy(&m->threads_ended);
	return mem_free(m);
}

static void thread_begins(struct mounts *m)
{
	(void)pthread_mutex_lock(&m->threads_lock);
	m->threads++;
	(void)pthread_mutex_unlock(&m->threads_lock);
}

static void thread_ends(struct mounts *m)
{
	(void)pthread_mutex_lock(&m->threads_lock);
	if (--m->threads == 0)
		(void)pthread_cond_broadcast(&m->threads_ended);
	(void)pthread_mutex_unlock(&m->threads_lock);
}

void mounts_attach(struct mounts *m, struct datasets *datasets)
{
	m->datasets = datasets;
}

/* ---- what a session asks of its dataset ---- */

static int view_open(void *ctx, const struct hash256 *root, struct manifest **ret, struct err *err)
{
	const struct mount_point *p = ctx;

	return node_dataset_open(p->dataset, root, ret, err);
}

static int view_object(void *ctx, uint64_t config, const struct manifest_found *entry,
		       struct cache_object **ret, struct err *err)
{
	const struct mount_point *p = ctx;

	return node_dataset_object(p->dataset, config, entry, ret, err);
}

/* What a thread of its own needs to end a mount: the point may be gone before the thread runs, and its target lead to
 * another mount. */
struct ending {
	struct mounts *all;
	uint8_t id[SHM_SESSION_BYTES];
};

static struct mount_point *find_id(struct mounts *m, const uint8_t *id);
static int end_point(struct mounts *m, struct mount_point *p, bool lazy, struct err *err);

static void *end_main(void *arg)
{
	struct ending *e = arg;
	struct err err = {0};

	(void)pthread_rwlock_wrlock(&e->all->lock);
	struct mount_point *p = find_id(e->all, e->id);
	if (p && p->busy)
		p = NULL; /* somebody else is ending it */
	if (p) {
		p->busy = true;
		p->ended = false; /* seen: should ending it fail, it is not tried again and again */
	}
	(void)pthread_rwlock_unlock(&e->all->lock);
	if (p) {
		log_write(LOG_WARN, "a mount was taken away from outside", LOG_STR("target", p->target),
			  NULL);
		if (end_point(e->all, p, true, &err))
			log_write(LOG_WARN, "ending it", LOG_STR("error", err.text), NULL);
	}
	thread_ends(e->all);
	(void)mem_free(e);
	return NULL;
}

static void end_elsewhere(struct mounts *m, const uint8_t *id)
{
	struct ending *e = mem_calloc(1, sizeof *e);
	pthread_t thread;

	if (!e)
		return; /* it stays listed until somebody unmounts it */
	e->all = m;
	memcpy(e->id, id, sizeof e->id);
	thread_begins(m);
	if (pthread_create(&thread, NULL, end_main, e) == 0) {
		(void)pthread_detach(thread);
	} else {
		thread_ends(m);
		(void)mem_free(e);
	}
}

/* From a thread of the session, which cannot wait for itself. Whoever holds the mount busy looks at the mark afterwards. */
static void view_ended(void *ctx, struct session *s)
{
	struct mount_point *p = ctx;

	(void)s;
	(void)pthread_rwlock_wrlock(&p->all->lock);
	p->ended = true;
	if (!p->busy)
		end_elsewhere(p->all, p->id);
	(void)pthread_rwlock_unlock(&p->all->lock);
}

/* The mount is made, or stays after all. */
static void not_busy(struct mounts *m, struct mount_point *p)
{
	(void)pthread_rwlock_wrlock(&m->lock);
	p->busy = false;
	if (p->ended)
		end_elsewhere(m, p->id);
	(void)pthread_rwlock_unlock(&m->lock);
}

/* ---- making ---- */

static struct mount_point *point_free(struct mount_point *p)
{
	if (!p)
		return NULL;
	(void)session_free(p->session);
	(void)node_dataset_unmount(p->dataset);
	(void)mem_free(p->target);
	return mem_free(p);
}
DEFINE_CLEANUP(struct mount_point *, point_free)

/* Holds the dataset from here on, so that it is not deleted while the mount is being made. 0, -ENOENT, -ENOMEM. */
static int point_new(struct mounts *m, struct node_dataset *d, const char *target, struct mount_point **ret)
{
	CLEANUP(point_free) struct mount_point *p = mem_calloc(1, sizeof *p);
	if (!p)
		return -ENOMEM;
	p->all = m;
	list_init(&p->link);
	p->target = mem_strdup(target);
	if (!p->target)
		return -ENOMEM;
	int r = node_dataset_mount(d);
	if (r)
		return r;
	p->dataset = d;
	*ret = TAKE(p);
	return 0;
}

static struct session_version version_of(const struct catalog_head *head)
{
	return (struct session_version){.number = head->version, .root = head->root, .config = head->config};
}

static int start_session(struct mount_point *p, int dev_fd, int memory_fd, const struct catalog_head *head,
			 struct err *err)
{
	struct node_dataset_access access;

	node_dataset_access_get(p->dataset, &access);
	struct session_config c = {
		.dev_fd = dev_fd,
		.memory_fd = memory_fd,
		.mounter = p->all->config.mounter,
		.view = {.open_version = view_open,
			 .object = view_object,
			 .ended = view_ended,
			 .ctx = p,
			 .uid = access.uid,
			 .gid = access.gid,
			 .mode = access.mode},
		.version = version_of(head),
	};
	return session_new(&c, &p->session, err);
}

static void link_point(struct mounts *m, struct mount_point *p)
{
	(void)pthread_rwlock_wrlock(&m->lock);
	list_push_back(&m->list, &p->link);
	(void)pthread_rwlock_unlock(&m->lock);
}

static void unlink_point(struct mounts *m, struct mount_point *p)
{
	(void)pthread_rwlock_wrlock(&m->lock);
	list_remove(&p->link);
	(void)pthread_rwlock_unlock(&m->lock);
}

/* The lock is held. */
static struct mount_point *find_target(struct mounts *m, const char *target)
{
	list_for_each (l, &m->list)
		if (strcmp(LIST_ENTRY(l, struct mount_point, link)->target, target) == 0)
			return LIST_ENTRY(l, struct mount_point, link);
	return NULL;
}

/* The lock is held. */
static struct mount_point *find_id(struct mounts *m, const uint8_t *id)
{
	list_for_each (l, &m->list)
		if (memcmp(LIST_ENTRY(l, struct mount_point, link)->id, id, SHM_SESSION_BYTES) == 0)
			return LIST_ENTRY(l, struct mount_point, link);
	return NULL;
}

static int adopt_one(struct mounts *m, const struct kept_session *k, struct err *err)
{
	struct catalog_head head = {0};
	struct shm shm;

	int r = shm_map(k->memory_fd, &shm, err);
	if (r)
		return r;
	CLEANUP(point_free) struct mount_point *p = NULL;
	CLEANUP(datasets_unref) struct node_dataset *d = datasets_find(m->datasets, shm.h->dataset);
	r = d ? point_new(m, d, shm.h->target, &p) : -ENOENT;
	if (r)
		(void)err_set(err, r, "dataset %s is not known", shm.h->dataset);
	/* A session that never got its version (its maker died first) shows the head. */
	if (!r && atomic_load(&shm.h->current) >= SHM_VERSIONS_MAX)
		r = node_dataset_head(p->dataset, &head, err);
	shm_unmap(&shm);
	if (r)
		return r;
	memcpy(p->id, k->id, sizeof p->id);
	p->busy = true;
	link_point(m, p);
	r = start_session(p, k->dev_fd, k->memory_fd, &head, err);
	if (r) {
		unlink_point(m, p);
		return r;
	}
	not_busy(m, TAKE(p));
	/* The head may have moved just before the former worker died, and its change of version be half done. */
	mounts_follow(m, d);
	return 0;
}

void mounts_adopt(struct mounts *m, const struct kept_session *sessions, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct err err = {0};
		int r = adopt_one(m, &sessions[i], &err);
		if (!r)
			continue;
		log_write(LOG_ERROR, "a kept mount cannot be served and is ended",
			  LOG_STR("error", err_words(&err, r)), NULL);
		if (control_unmount(m->config.control, sessions[i].id, true, &err))
			log_write(LOG_ERROR, "and it cannot be ended", LOG_STR("error", err.text), NULL);
	}
}

static int make_mount(struct mounts *m, struct mount_point *p, const struct catalog_head *head,
		      struct err *err)
{
	CLEANUP(fd_close) int dev_fd = -1;
	CLEANUP(fd_close) int memory_fd = -1;
	struct control_mount c = {.dataset = node_dataset_name(p->dataset),
				  .target = p->target,
				  .max_read = MAX_READ,
				  .features = m->config.features};
	struct shm shm;

	int r = control_mount(m->config.control, &c, &dev_fd, &memory_fd, err);
	if (r)
		return r;
	r = shm_map(memory_fd, &shm, err);
	if (!r) {
		(void)pthread_rwlock_wrlock(&m->lock);
		memcpy(p->id, shm.h->session, sizeof p->id);
		(void)pthread_rwlock_unlock(&m->lock);
		shm_unmap(&shm);
		r = start_session(p, dev_fd, memory_fd, head, err);
	}
	if (r)
		(void)!control_unmount(m->config.control, p->id, true,
				       NULL); /* the first error is the one to report */
	return r;
}

/* Reserves the target. 0; 1: mounted already, the same dataset; -EBUSY. */
static int reserve(struct mounts *m, struct mount_point *p, struct err *err)
{
	int r = 0;

	(void)pthread_rwlock_wrlock(&m->lock);
	const struct mount_point *there = find_target(m, p->target);
	if (!there) {
		p->busy = true;
		list_push_back(&m->list, &p->link);
	} else if (there->busy || there->dataset != p->dataset) {
		r = err_set(err, -EBUSY, "%s is mounted already, with %s", p->target,
			    node_dataset_name(there->dataset));
	} else {
		r = 1;
	}
	(void)pthread_rwlock_unlock(&m->lock);
	return r;
}

int mounts_publish(struct mounts *m, struct node_dataset *d, const char *target,
		   const struct catalog_head *head, struct err *err)
{
	CLEANUP(point_free) struct mount_point *p = NULL;

	int r = point_new(m, d, target, &p);
	if (r)
		return err_set(err, r, "mounting %s: %s", node_dataset_name(d),
			       r == -ENOENT ? "it was deleted" : err_text(r));
	r = reserve(m, p, err);
	if (r)
		return r < 0 ? r : 0;
	r = make_mount(m, p, head, err);
	if (r) {
		unlink_point(m, p);
		return r;
	}
	not_busy(m, TAKE(p));
	log_write(LOG_INFO, "mounted", LOG_STR("dataset", node_dataset_name(d)), LOG_STR("target", target),
		  LOG_INT("version", head->version), NULL);
	/* The head may have moved between its choice and the list: follow what is the head now. */
	mounts_follow(m, d);
	return 0;
}

/* ---- ending ---- */

/* A mount that was detached while in use is served until its last user lets go of it: only then do its threads end. */
static void *drain_main(void *arg)
{
	struct mount_point *p = arg;
	struct mounts *m = p->all;

	(void)point_free(p);
	thread_ends(m);
	return NULL;
}

static int mark_busy(struct mounts *m, const char *target, struct mount_point **ret, struct err *err)
{
	(void)pthread_rwlock_wrlock(&m->lock);
	struct mount_point *p = find_target(m, target);
	int r = !p        ? err_set(err, -ENOENT, "nothing of Larder is mounted at %s", target)
		: p->busy ? err_set(err, -EBUSY, "%s is being mounted or unmounted", target)
			  : 0;
	if (!r)
		p->busy = true;
	(void)pthread_rwlock_unlock(&m->lock);
	*ret = p;
	return r;
}

#define DRAIN_WAIT_S 2

/* Takes @p, which is marked busy, off the list and lets its session go. -errno: it stays, and is not busy any more. */
static int end_point(struct mounts *m, struct mount_point *p, bool lazy, struct err *err)
{
	pthread_t thread;
	struct timespec until;

	int r = control_unmount(m->config.control, p->id, lazy, err);
	if (r) {
		not_busy(m, p);
		return r;
	}
	unlink_point(m, p);
	log_write(LOG_INFO, "unmounted", LOG_STR("target", p->target), NULL);
	thread_begins(m);
	if (pthread_create(&thread, NULL, drain_main, p)) {
		(void)drain_main(p);
		return 0;
	}
	/* A copy of the mount in another mount namespace keeps the session alive: nobody waits for that. */
	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += DRAIN_WAIT_S;
	if (lazy || pthread_timedjoin_np(thread, NULL, &until))
		(void)pthread_detach(thread);
	return 0;
}

int mounts_unpublish(struct mounts *m, const char *target, bool lazy, struct err *err)
{
	struct mount_point *p;
	int r = mark_busy(m, target, &p, err);

	return r ? r : end_point(m, p, lazy, err);
}

/* ---- telling them ---- */

static void show(struct mounts *m, const struct node_dataset *d, const struct catalog_head *head)
{
	const struct session_version version = version_of(head);

	(void)pthread_rwlock_rdlock(&m->lock);
	list_for_each (l, &m->list) {
		struct mount_point *p = LIST_ENTRY(l, struct mount_point, link);
		struct err err = {0};
		if (p->busy || p->dataset != d)
			continue;
		int r = session_switch(p->session, &version, &err);
		if (r)
			log_write(LOG_ERROR, "a mount stays at its version", LOG_STR("target", p->target),
				  LOG_STR("error", err_words(&err, r)), NULL);
	}
	(void)pthread_rwlock_unlock(&m->lock);
}

void mounts_follow(struct mounts *m, struct node_dataset *d)
{
	struct catalog_head head, then = {0};

	/* Two that follow at once may end in either order: the one that sees an older version than now shows again. */
	while (node_dataset_head(d, &head, NULL) == 0 && head.version != then.version) {
		show(m, d, &head);
		then = head;
	}
}

static void tell_all(struct mounts *m, const struct hash256 *object,
		     void (*tell)(struct session *s, const struct hash256 *object))
{
	(void)pthread_rwlock_rdlock(&m->lock);
	list_for_each (l, &m->list) {
		struct mount_point *p = LIST_ENTRY(l, struct mount_point, link);
		if (!p->busy)
			tell(p->session, object);
	}
	(void)pthread_rwlock_unlock(&m->lock);
}

void mounts_sealed(struct mounts *m, const struct hash256 *object)
{
	tell_all(m, object, session_object_sealed);
}

void mounts_spoiled(struct mounts *m, const struct hash256 *object)
{
	tell_all(m, object, session_object_spoiled);
}

void mounts_each(struct mounts *m, void (*visit)(void *ctx, const struct session_stats *stats), void *ctx)
{
	(void)pthread_rwlock_rdlock(&m->lock);
	list_for_each (l, &m->list) {
		struct mount_point *p = LIST_ENTRY(l, struct mount_point, link);
		struct session_stats stats;
		if (p->busy)
			continue;
		session_stats_get(p->session, &stats);
		visit(ctx, &stats);
	}
	(void)pthread_rwlock_unlock(&m->lock);
}
