/*
 * Showing another version under a live mount (design 3). Under the tree's write lock every attached node is moved to the
 * new version when its file is the same there, and detached when it changed or went; the names and directories that the
 * kernel must forget are sent afterwards, off this thread. What was answered before the lock was taken is invalidated by
 * those messages; what is asked after it is answered from the new version.
 */
#include <errno.h>
#include <string.h>

#include "cache-node/fuse/session_impl.h"
#include "common/base/log.h"
#include "common/base/mem.h"

/* ---- places for versions ---- */

struct usage {
	bool used[SHM_VERSIONS_MAX];
};

static void mark_used(void *ctx, struct shm_node *node)
{
	struct usage *u = ctx;

	if (node->version < SHM_VERSIONS_MAX)
		u->used[node->version] = true;
}

/* Gives back the places that no node and no directory handle uses. The write lock is held. */
static void drop_unused_versions(struct session *s)
{
	struct usage u = {0};
	struct shm_header *h = s->shm.h;

	u.used[atomic_load(&h->current)] = true;
	uint32_t untold = atomic_load(&h->untold);
	if (untold && untold <= SHM_VERSIONS_MAX)
		u.used[untold - 1] = true;
	nodes_each(s->nodes, mark_used, &u);
	for (uint32_t i = 0; i < SHM_VERSIONS_MAX; i++) {
		if (u.used[i] || !h->versions[i].number || atomic_load(&h->versions[i].dir_handles))
			continue;
		h->versions[i].number = 0;
		s->manifests[i] = manifest_free(s->manifests[i]);
	}
}

static uint32_t free_version_place(const struct session *s)
{
	for (uint32_t i = 0; i < SHM_VERSIONS_MAX; i++)
		if (!s->shm.h->versions[i].number)
			return i;
	return SHM_VERSIONS_MAX;
}

/* ---- nodes ---- */

struct move {
	struct session *s;
	uint32_t to;
	struct manifest_found *old, *new_; /* too large for a stack, twice */
};

static bool same_file(const struct manifest_found *a, const struct manifest_found *b)
{
	size_t a_len, b_len;
	const char *a_key = manifest_key(a, &a_len), *b_key = manifest_key(b, &b_len);

	return a->e.type == b->e.type && a->e.size == b->e.size && a->e.mtime_ns == b->e.mtime_ns &&
	       a->e.mode == b->e.mode && a->e.source == b->e.source &&
	       validator_equal(&a->e.validator, &b->e.validator) && a_len == b_len &&
	       memcmp(a_key, b_key, a_len) == 0 && a->e.target_len == b->e.target_len &&
	       (a->e.target_len == 0 || memcmp(a->e.target, b->e.target, a->e.target_len) == 0);
}

static void tell_name_changed(struct session *s, const struct shm_node *node, const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;

	notify_entry(s, node->parent, name, strlen(name));
}

static void move_node(void *ctx, struct shm_node *node)
{
	struct move *m = ctx;
	struct session *s = m->s;

	if (node->version == m->to || node->flags & SHM_NODE_DETACHED)
		return;
	if (session_entry(s, node, m->old))
		return; /* unreadable: stays in its version and answers EIO */
	int r = manifest_lookup(s->manifests[m->to], m->old->e.path, m->old->e.path_len, m->new_);
	bool is_dir = m->old->e.type == MANIFEST_DIR;
	const struct shm_version *versions = s->shm.h->versions;
	/* The numbers of sources, and with them keys and validators, mean the same only within one list of sources. */
	bool comparable = versions[node->version].config == versions[m->to].config;
	if (!r && (is_dir ? m->new_->e.type == MANIFEST_DIR : comparable && same_file(m->old, m->new_))) {
		node->ordinal = m->new_->e.ordinal;
		node->version = (uint16_t)m->to;
		return;
	}
	nodes_detach(s->nodes, node);
	tell_name_changed(s, node, m->old->e.path);
}

/* Nodes of whatever version: a worker killed half way leaves some in the place of a version that never became current.
 * They answer from it, and move with the others at the next change. */
static int move_nodes(struct session *s, uint32_t to)
{
	struct move m = {.s = s, .to = to};

	m.old = mem_alloc(sizeof *m.old);
	m.new_ = mem_alloc(sizeof *m.new_);
	if (m.old && m.new_)
		nodes_each(s->nodes, move_node, &m);
	int r = m.old && m.new_ ? 0 : -ENOMEM;
	(void)mem_free(m.old);
	(void)mem_free(m.new_);
	return r;
}

/* ---- directories whose listing changed, and names that were known to be absent ---- */

static struct shm_node *parent_node(struct session *s, const struct manifest_entry *e, const char **ret_name)
{
	const char *slash = strrchr(e->path, '/');
	size_t dir_len = slash ? (size_t)(slash - e->path) : 0;

	*ret_name = slash ? slash + 1 : e->path;
	return dir_len ? nodes_find(s->nodes, nodes_ino(s->nodes, e->path, dir_len)) : nodes_root(s->nodes);
}

static int tell_change(void *ctx, enum manifest_change kind, const struct manifest_entry *old,
		       const struct manifest_entry *new_)
{
	struct session *s = ctx;
	const struct manifest_entry *e = new_ ? new_ : old;
	const char *name;

	if (!e->path_len)
		return 0;
	struct shm_node *dir = parent_node(s, e, &name);
	if (!dir) /* nobody looked into it, so nobody knows of it */
		return 0;
	if (kind == MANIFEST_ADDED)
		notify_entry(s, atomic_load(&dir->id), name, strlen(name));
	notify_inode(s, atomic_load(&dir->id)); /* its cached listing and attributes */
	return 0;
}

/* ---- the change ---- */

static int switch_locked(struct session *s, const struct session_version *version, struct manifest **manifest,
			 struct err *err)
{
	struct shm_header *h = s->shm.h;
	uint32_t from = atomic_load(&h->current);

	drop_unused_versions(s);
	uint32_t to = free_version_place(s);
	if (to == SHM_VERSIONS_MAX)
		return err_set(err, -EBUSY, "%d versions of %s are held open", SHM_VERSIONS_MAX, h->dataset);
	h->versions[to].root = version->root;
	h->versions[to].config = version->config;
	atomic_store(&h->versions[to].dir_handles, 0);
	h->versions[to].number = version->number;
	s->manifests[to] = TAKE(*manifest);
	notify_begin(s, from);
	int r = move_nodes(s, to);
	atomic_store(&h->current, to);
	if (r) /* nodes that did not move answer from the old version until they are forgotten */
		return err_set(err, r, "moving the node table: %s", err_text(r));
	struct manifest_diff diff = {.change = tell_change, .ctx = s};
	r = manifest_diff_run(s->manifests[from], s->manifests[to], &diff, err);
	if (!r)
		notify_end(s);
	return r;
}

int session_switch(struct session *s, const struct session_version *version, struct err *err)
{
	CLEANUP(manifest_free) struct manifest *manifest = NULL;
	struct shm_header *h = s->shm.h;

	int r = s->view.open_version(s->view.ctx, &version->root, &manifest, err);
	if (r)
		return r;
	(void)pthread_rwlock_wrlock(&s->tree);
	if (h->versions[atomic_load(&h->current)].number != version->number)
		r = switch_locked(s, version, &manifest, err);
	(void)pthread_rwlock_unlock(&s->tree);
	return r;
}

/* ---- after a kill ---- */

struct again {
	struct session *s;
	struct manifest_found *found;
	bool directories;
};

static void tell_node_again(void *ctx, struct shm_node *node)
{
	struct again *a = ctx;

	if (session_entry(a->s, node, a->found))
		return;
	if (node->flags & SHM_NODE_DETACHED)
		tell_name_changed(a->s, node, a->found->e.path);
	else if (a->directories && a->found->e.type == MANIFEST_DIR)
		notify_inode(a->s, atomic_load(&node->id));
}

/* Notices live in the process alone. A node that was detached unbeknown to the kernel would keep its name, and an added
 * name its "no such file", for as long as names are cached. Telling again costs a lookup; not telling shows old data. */
void switch_tell_again(struct session *s)
{
	struct shm_header *h = s->shm.h;
	uint32_t untold = atomic_load(&h->untold), current = atomic_load(&h->current);
	struct again a = {.s = s, .directories = untold != 0};

	a.found = mem_alloc(sizeof *a.found);
	if (!a.found)
		return;
	nodes_each(s->nodes, tell_node_again, &a);
	(void)mem_free(a.found);
	if (!untold || untold > SHM_VERSIONS_MAX || !s->manifests[untold - 1])
		return;
	struct manifest_diff diff = {.change = tell_change, .ctx = s};
	notify_begin(s, untold - 1);
	if (!manifest_diff_run(s->manifests[untold - 1], s->manifests[current], &diff, NULL))
		notify_end(s);
}
