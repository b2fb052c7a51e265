/*
 * Names and attributes: answered from the manifest of the node's version, no network, no waiting.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "cache-node/fuse/session_impl.h"
#include "common/base/mem.h"

#define DOT_COOKIES 2 /* "." and ".." come first; a child's cookie is its end ordinal plus this */

int session_entry(struct session *s, const struct shm_node *node, struct manifest_found *ret)
{
	uint16_t place = node->version;

	if (place >= SHM_VERSIONS_MAX || !s->manifests[place])
		return -ESTALE;
	return manifest_at(s->manifests[place], node->ordinal, ret);
}

static mode_t mode_of(const struct session *s, const struct manifest_entry *e)
{
	mode_t bits = s->view.mode;
	mode_t readers = (bits & 0444) >> 2; /* as x bits */

	switch (e->type) {
	case MANIFEST_DIR:
	case MANIFEST_UNLISTED:
		return S_IFDIR | (bits & 0777) | readers; /* who may read a folder may enter it */
	case MANIFEST_SYMLINK:
		return S_IFLNK | 0777;
	case MANIFEST_FILE:
		break;
	}
	return S_IFREG | (bits & 0777) | (e->mode & 0111 & readers); /* a program stays one for its readers */
}

static void attributes_of(const struct session *s, const struct manifest_entry *e, uint64_t ino,
			  struct stat *st)
{
	*st = (struct stat){
		.st_ino = ino,
		.st_mode = mode_of(s, e),
		.st_nlink = e->type == MANIFEST_DIR ? 2 : 1,
		.st_uid = s->view.uid,
		.st_gid = s->view.gid,
		.st_size = (off_t)(e->type == MANIFEST_SYMLINK ? e->target_len
				   : e->type == MANIFEST_DIR   ? 4096
							       : e->size),
		.st_blksize = 1 << 17,
		.st_blocks = (blkcnt_t)((e->size + 511) / 512),
		.st_mtim = {.tv_sec = e->mtime_ns / 1000000000, .tv_nsec = e->mtime_ns % 1000000000},
	};
	if (st->st_mtim.tv_nsec < 0) { /* before 1970 */
		st->st_mtim.tv_sec--;
		st->st_mtim.tv_nsec += 1000000000;
	}
	st->st_atim = st->st_ctim = st->st_mtim;
}

static void entry_param(const struct session *s, const struct manifest_entry *e, const struct shm_node *node,
			struct fuse_entry_param *p)
{
	*p = (struct fuse_entry_param){.ino = atomic_load(&node->id),
				       .attr_timeout = SESSION_TIMEOUT_S,
				       .entry_timeout = SESSION_TIMEOUT_S};
	attributes_of(s, e, node->ino, &p->attr);
}

static struct shm_node *intern_child(struct session *s, const struct shm_node *dir, uint16_t version,
				     bool attached, const struct manifest_entry *e)
{
	struct nodes_key key = {.ino = nodes_ino(s->nodes, e->path, e->path_len),
				.parent = atomic_load(&dir->id),
				.ordinal = e->ordinal,
				.version = version,
				.attached = attached};

	return nodes_intern(s->nodes, &key);
}

/* The tree lock is held. 0 with *ret_node NULL: there is no such name. */
static int look_up(struct session *s, fuse_ino_t parent, const char *name, struct manifest_found *f,
		   struct shm_node **ret_node)
{
	struct shm_node *dir = nodes_get(s->nodes, parent);

	*ret_node = NULL;
	if (!dir || dir->version >= SHM_VERSIONS_MAX || !s->manifests[dir->version])
		return -ESTALE;
	size_t len = strlen(name);
	if (len > MANIFEST_NAME_MAX)
		return -ENAMETOOLONG;
	int r = manifest_child(s->manifests[dir->version], dir->ordinal, name, len, f);
	if (r == -ENOENT)
		return 0;
	if (r)
		return r;
	*ret_node = intern_child(s, dir, dir->version, !(dir->flags & SHM_NODE_DETACHED), &f->e);
	return *ret_node ? 0 : -ENOMEM;
}

void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct session *s = session_of(req);
	struct manifest_found f;
	struct shm_node *node;

	/* The lock is held over the reply, so that a change of version invalidates what was answered before it. */
	(void)pthread_rwlock_rdlock(&s->tree);
	int r = look_up(s, parent, name, &f, &node);
	if (r) {
		session_reply_error(s, req, r);
	} else {
		struct fuse_entry_param p = {.entry_timeout =
						     SESSION_TIMEOUT_S}; /* ino 0: a cached "no such name" */
		if (node)
			entry_param(s, &f.e, node, &p);
		if (fuse_reply_entry(req, &p) && node)
			nodes_forget(s->nodes, p.ino, 1); /* nobody waited for it */
	}
	(void)pthread_rwlock_unlock(&s->tree);
}

/* A successor that finds a FORGET in a slot cannot know how far it got: counting too little only costs memory. */
static bool forget_is_fresh(struct session *s)
{
	struct shm_slot *slot = session_current_slot(s);

	return atomic_exchange(&slot->effect, SHM_EFFECT_COUNTED) == SHM_EFFECT_NONE;
}

void op_forget(fuse_req_t req, fuse_ino_t id, uint64_t count)
{
	struct session *s = session_of(req);

	if (forget_is_fresh(s))
		nodes_forget(s->nodes, id, count);
	fuse_reply_none(req);
}

void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	struct session *s = session_of(req);

	if (forget_is_fresh(s))
		for (size_t i = 0; i < count; i++)
			nodes_forget(s->nodes, forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

void op_getattr(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	struct session *s = session_of(req);
	struct manifest_found f;
	struct stat st;

	(void)fi;
	(void)pthread_rwlock_rdlock(&s->tree);
	struct shm_node *node = nodes_get(s->nodes, id);
	int r = node ? session_entry(s, node, &f) : -ESTALE;
	if (r) {
		session_reply_error(s, req, r);
	} else {
		attributes_of(s, &f.e, node->ino, &st);
		(void)fuse_reply_attr(req, &st, SESSION_TIMEOUT_S);
	}
	(void)pthread_rwlock_unlock(&s->tree);
}

static int entry_of(struct session *s, fuse_ino_t id, struct manifest_found *ret)
{
	(void)pthread_rwlock_rdlock(&s->tree);
	struct shm_node *node = nodes_get(s->nodes, id);
	int r = node ? session_entry(s, node, ret) : -ESTALE;
	(void)pthread_rwlock_unlock(&s->tree);
	return r;
}

void op_readlink(fuse_req_t req, fuse_ino_t id)
{
	struct session *s = session_of(req);
	struct manifest_found f;
	int r = entry_of(s, id, &f);

	if (!r && f.e.type != MANIFEST_SYMLINK)
		r = -EINVAL;
	if (r)
		session_reply_error(s, req, r);
	else
		(void)fuse_reply_readlink(req, f.e.target);
}

/* ---- extended attributes ---- */

#define KEY_ATTRIBUTE "user.larder.key"

/* A value, or a list: its length where the caller asks for that with size 0. */
static void reply_text(fuse_req_t req, const char *text, size_t len, size_t size)
{
	if (size == 0)
		(void)fuse_reply_xattr(req, len);
	else if (len > size)
		(void)fuse_reply_err(req, ERANGE);
	else
		(void)fuse_reply_buf(req, text, len);
}

/* Programs ask every file that they list for attributes (labels, POSIX ACLs): that there is none is no error of ours, and nothing
 * is looked up for it. ls(1) asks no more files of the mount when it hears that there are none at all of a kind. */
void op_getxattr(fuse_req_t req, fuse_ino_t id, const char *name, size_t size)
{
	struct session *s = session_of(req);
	struct manifest_found f;
	size_t len;

	if (strcmp(name, KEY_ATTRIBUTE) != 0) {
		(void)fuse_reply_err(req, strncmp(name, "user.", 5) == 0 ? ENODATA : EOPNOTSUPP);
		return;
	}
	int r = entry_of(s, id, &f);
	if (r) {
		session_reply_error(s, req, r);
	} else if (f.e.type != MANIFEST_FILE) {
		(void)fuse_reply_err(req, ENODATA);
	} else {
		const char *key = manifest_key(&f, &len);
		reply_text(req, key, len, size);
	}
}

/* Whether the path, below a mount path or not, tells the key. */
static bool path_tells_key(const struct manifest_found *f)
{
	size_t len, path_len = f->e.path_len;
	const char *key = manifest_key(f, &len);

	return len <= path_len && memcmp(f->e.path + path_len - len, key, len) == 0 &&
	       (len == path_len || f->e.path[path_len - len - 1] == '/');
}

void op_listxattr(fuse_req_t req, fuse_ino_t id, size_t size)
{
	struct session *s = session_of(req);
	struct manifest_found f;
	int r = entry_of(s, id, &f);

	if (r)
		session_reply_error(s, req, r);
	else if (f.e.type == MANIFEST_FILE && !path_tells_key(&f))
		reply_text(req, KEY_ATTRIBUTE, sizeof KEY_ATTRIBUTE, size);
	else
		reply_text(req, "", 0, size);
}

/* ---- directories ---- */

/* A directory handle pins version and ordinal, so that it goes on in its version while others see the next one. */
static uint64_t dir_handle(uint16_t version, uint64_t ordinal)
{
	return ordinal << 8 | (uint64_t)version << 2 | HANDLE_DIR;
}

static uint16_t handle_version(uint64_t fh)
{
	return (uint16_t)(fh >> 2 & (SHM_VERSIONS_MAX - 1));
}

void op_opendir(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	struct session *s = session_of(req);
	struct manifest_found f;

	(void)pthread_rwlock_rdlock(&s->tree);
	struct shm_node *node = nodes_get(s->nodes, id);
	int r = node ? session_entry(s, node, &f) : -ESTALE;
	if (!r && f.e.type != MANIFEST_DIR)
		r = -ENOTDIR;
	if (r) {
		session_reply_error(s, req, r);
	} else {
		struct shm_version *v = &s->shm.h->versions[node->version];
		struct shm_slot *slot = session_current_slot(s);
		fi->fh = dir_handle(node->version, node->ordinal);
		fi->cache_readdir = fi->keep_cache = !(node->flags & SHM_NODE_DETACHED);
		bool fresh = atomic_load(&slot->effect) == SHM_EFFECT_NONE;
		if (fresh)
			atomic_fetch_add(&v->dir_handles, 1);
		atomic_store(&slot->effect, SHM_EFFECT_COUNTED);
		/* Nobody waited: no RELEASEDIR will come. But one will for what a killed predecessor counted and answered. */
		if (fuse_reply_open(req, fi) == -ENOENT && fresh)
			atomic_fetch_sub(&v->dir_handles, 1);
	}
	(void)pthread_rwlock_unlock(&s->tree);
}

void op_releasedir(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	struct session *s = session_of(req);
	struct shm_version *v = &s->shm.h->versions[handle_version(fi->fh)];

	(void)id;
	if (forget_is_fresh(s) && atomic_load(&v->dir_handles) > 0)
		atomic_fetch_sub(&v->dir_handles, 1);
	(void)fuse_reply_err(req, 0);
}

/* A READDIR reply being filled. */
struct listing {
	struct session *s;
	fuse_req_t req;
	struct shm_node *dir;
	uint16_t version;
	bool plus; /* with attributes */
	bool nodes; /* and with nodes; not through a handle of an older version than its directory's: a name must not lead
		     * to an old file after the change of version was told */
	char *buf;
	size_t size, used;
};

/* Adds a name without a node of ours: "." and "..". False: full. */
static bool add_dot(struct listing *l, const char *name, off_t next)
{
	struct fuse_entry_param p = {.attr = {.st_ino = l->dir->ino, .st_mode = S_IFDIR}};
	size_t left = l->size - l->used;
	size_t need = l->plus ? fuse_add_direntry_plus(l->req, l->buf + l->used, left, name, &p, next)
			      : fuse_add_direntry(l->req, l->buf + l->used, left, name, &p.attr, next);

	l->used += need <= left ? need : 0;
	return need <= left;
}

/* The child with its attributes and a node, on which the kernel gets a reference: only when it fits. */
static size_t put_child_plus(struct listing *l, const struct manifest_found *f, const char *name, off_t next)
{
	struct fuse_entry_param p = {.attr_timeout = 0};
	size_t left = l->size - l->used, need = fuse_add_direntry_plus(l->req, NULL, 0, name, NULL, 0);

	if (need > left)
		return need;
	bool attached = !(l->dir->flags & SHM_NODE_DETACHED);
	struct shm_node *node = l->nodes && !nodes_crowded(l->s->nodes)
					? intern_child(l->s, l->dir, l->version, attached, &f->e)
					: NULL;
	if (node) {
		entry_param(l->s, &f->e, node, &p);
	} else { /* node id 0: the kernel takes the name alone; no name is lost, and lookups find places in the table */
		attributes_of(l->s, &f->e, nodes_ino(l->s->nodes, f->e.path, f->e.path_len), &p.attr);
	}
	return fuse_add_direntry_plus(l->req, l->buf + l->used, left, name, &p, next);
}

/* False: full. */
static bool add_child(struct listing *l, const struct manifest_found *f)
{
	size_t left = l->size - l->used, need;
	const char *slash = strrchr(f->e.path, '/'), *name = slash ? slash + 1 : f->e.path;
	off_t next = (off_t)(f->e.end + DOT_COOKIES);

	if (l->plus) {
		need = put_child_plus(l, f, name, next);
	} else {
		struct stat st;
		attributes_of(l->s, &f->e, nodes_ino(l->s->nodes, f->e.path, f->e.path_len), &st);
		need = fuse_add_direntry(l->req, l->buf + l->used, left, name, &st, next);
	}
	l->used += need <= left ? need : 0;
	return need <= left;
}

static int fill_listing(struct listing *l, struct manifest *m, uint64_t ordinal, off_t off)
{
	struct manifest_found f = {.path = ""};

	if (off == 0 && !add_dot(l, ".", 1))
		return 0;
	if (off <= 1 && !add_dot(l, "..", DOT_COOKIES))
		return 0;
	uint64_t from = off > DOT_COOKIES ? (uint64_t)off - DOT_COOKIES : ordinal + 1;
	for (;;) {
		int r = manifest_next_child(m, ordinal, from, &f);
		if (r)
			return r == -ENOENT ? 0 : r;
		if (!add_child(l, &f))
			return 0;
		from = f.e.end;
	}
}

static void list_dir(fuse_req_t req, fuse_ino_t id, size_t size, off_t off, const struct fuse_file_info *fi,
		     bool plus)
{
	struct session *s = session_of(req);
	struct listing l = {.s = s, .req = req, .plus = plus, .size = MIN(size, (size_t)1 << 20)};
	int r = off < 0 ? -EINVAL : 0;

	l.version = handle_version(fi->fh);
	l.buf = mem_alloc(l.size);
	(void)pthread_rwlock_rdlock(&s->tree);
	l.dir = nodes_get(s->nodes, id);
	struct manifest *m = s->manifests[l.version];
	if (!r)
		r = !l.buf ? -ENOMEM : !l.dir || !m ? -ESTALE : 0;
	l.nodes = !r && l.dir->version == l.version;
	if (!r)
		r = fill_listing(&l, m, fi->fh >> 8, off);
	if (r && !l.used)
		session_reply_error(s, req, r);
	else
		(void)fuse_reply_buf(req, l.buf, l.used);
	(void)pthread_rwlock_unlock(&s->tree);
	(void)mem_free(l.buf);
}

void op_readdir(fuse_req_t req, fuse_ino_t id, size_t size, off_t off, struct fuse_file_info *fi)
{
	list_dir(req, id, size, off, fi, false);
}

void op_readdirplus(fuse_req_t req, fuse_ino_t id, size_t size, off_t off, struct fuse_file_info *fi)
{
	list_dir(req, id, size, off, fi, true);
}

void op_statfs(fuse_req_t req, fuse_ino_t id)
{
	struct session *s = session_of(req);
	struct manifest_stats m = {0};
	uint32_t current;

	(void)id;
	(void)pthread_rwlock_rdlock(&s->tree);
	current = atomic_load(&s->shm.h->current);
	if (current < SHM_VERSIONS_MAX && s->manifests[current])
		manifest_stats_get(s->manifests[current], &m);
	(void)pthread_rwlock_unlock(&s->tree);
	struct statvfs v = {.f_bsize = 1 << 17,
			    .f_frsize = 4096,
			    .f_blocks = (m.bytes + 4095) / 4096,
			    .f_files = m.entries,
			    .f_namemax = MANIFEST_NAME_MAX};
	(void)fuse_reply_statfs(req, &v);
}
