/*
 * The catalog on one machine's disk, until masters hold it:
 *
 *   heads/NAMESPACE/NAME             a head (docs/formats/head.md): fixed size, CRC, replaced whole
 *   versions/NAMESPACE/NAME/NUMBER   the same bytes for each version that is kept, the head's too
 *   chunks/ab/cdef...                chunks and roots of manifests by SHA-256, written once (catalog_chunks.c)
 *
 * A chunk is fsynced before the head that names it moves, and a version is written before the head moves to it: one that is
 * newer than the head is of a move that never ended, and does not count.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache-node/catalog_impl.h"
#include "common/base/bytes.h"
#include "common/base/fd.h"
#include "common/base/mem.h"

#define HEAD_MAGIC   0x4448524cU /* "LRHD" */
#define HEAD_VERSION 1u
#define HEAD_BYTES   68u /* magic 4, version 4, number 8, root 32, committed 8, config 8, crc 4 */

struct lease_row {
	struct list link;
	char dataset[CATALOG_NAME_MAX];
	uint64_t token; /* of the lease that counts; 0: dropped */
};

/* ---- opening ---- */

static int make_dir(int at, const char *name, struct err *err)
{
	if (mkdirat(at, name, 0700) < 0 && errno != EEXIST)
		return err_set(err, -errno, "state folder: making %s: %s", name, err_text(errno));
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? err_set(err, -errno, "state folder: opening %s: %s", name, err_text(errno)) : fd;
}

static int open_dirs(struct catalog *c, int dir_fd, struct err *err)
{
	c->dir = fcntl(dir_fd, F_DUPFD_CLOEXEC, 3);
	if (c->dir < 0)
		return err_set(err, -errno, "state folder: %s", err_text(errno));
	c->lock_fd = openat(c->dir, "catalog.lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (c->lock_fd < 0)
		return err_set(err, -errno, "state folder: making catalog.lock: %s", err_text(errno));
	if (flock(c->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return err_set(err, -EBUSY, "the state folder is used by another node");
	c->heads = make_dir(c->dir, "heads", err);
	if (c->heads < 0)
		return c->heads;
	c->versions = make_dir(c->dir, "versions", err);
	if (c->versions < 0)
		return c->versions;
	c->chunks = make_dir(c->dir, "chunks", err);
	return c->chunks < 0 ? c->chunks : 0;
}

int catalog_local_new(int dir_fd, struct catalog **ret, struct err *err)
{
	CLEANUP(catalog_free) struct catalog *c = mem_calloc(1, sizeof *c);
	if (!c)
		return err_set(err, -ENOMEM, "out of memory");
	c->dir = c->heads = c->versions = c->chunks = c->lock_fd = -1;
	list_init(&c->leases);
	(void)pthread_mutex_init(&c->lock, NULL);
	(void)pthread_mutex_init(&c->watch_lock, NULL);
	catalog_chunks_init(c);
	int r = open_dirs(c, dir_fd, err);
	if (r)
		return r;
	*ret = TAKE(c);
	return 0;
}

struct catalog *catalog_free(struct catalog *c)
{
	if (!c)
		return NULL;
	list_for_each_safe (l, next, &c->leases)
		(void)mem_free(LIST_ENTRY(l, struct lease_row, link));
	catalog_chunks_done(c);
	(void)fd_close(c->chunks);
	(void)fd_close(c->versions);
	(void)fd_close(c->heads);
	(void)fd_close(c->lock_fd);
	(void)fd_close(c->dir);
	(void)pthread_mutex_destroy(&c->lock);
	(void)pthread_mutex_destroy(&c->watch_lock);
	return mem_free(c);
}

/* ---- heads ---- */

static void head_encode(const struct catalog_head *h, uint8_t out[HEAD_BYTES])
{
	put_le32(out, HEAD_MAGIC);
	put_le32(out + 4, HEAD_VERSION);
	put_le64(out + 8, h->version);
	memcpy(out + 16, h->root.bytes, HASH256_BYTES);
	put_le64(out + 48, (uint64_t)h->committed_ns);
	put_le64(out + 56, h->config);
	put_le32(out + 64, crc32c(0, out, HEAD_BYTES - 4));
}

static int head_decode(const void *bytes, size_t len, struct catalog_head *ret)
{
	struct reader r = reader_over(bytes, len);

	uint32_t magic = read_le32(&r), version = read_le32(&r);
	if (magic != HEAD_MAGIC || version != HEAD_VERSION || len != HEAD_BYTES ||
	    get_le32((const uint8_t *)bytes + HEAD_BYTES - 4) != crc32c(0, bytes, HEAD_BYTES - 4))
		return -ERR_CORRUPT;
	ret->version = read_le64(&r);
	memcpy(ret->root.bytes, read_bytes(&r, HASH256_BYTES), HASH256_BYTES);
	ret->committed_ns = (int64_t)read_le64(&r);
	ret->config = read_le64(&r);
	return 0;
}

/* "namespace/name": one slash and no dots, so the name is a safe relative path and no temporary file's. */
static bool is_name(const char *dataset)
{
	const char *slash = strchr(dataset, '/');

	return slash && slash != dataset && slash[1] && !strchr(slash + 1, '/') && !strchr(dataset, '.') &&
	       strlen(dataset) < CATALOG_NAME_MAX;
}

#define VERSION_PATH_MAX (CATALOG_NAME_MAX + 21) /* and a slash and a number */

static void version_path(const char *dataset, uint64_t version, char out[VERSION_PATH_MAX])
{
	(void)snprintf(out, VERSION_PATH_MAX, "%s/%llu", dataset, (unsigned long long)version);
}

/* A file of a head's bytes. */
static int read_head(int dir, const char *path, struct catalog_head *ret)
{
	CLEANUP(free_str) char *text = NULL;
	size_t len;
	int r = fd_read_file(dir, path, HEAD_BYTES, &text, &len);

	return r ? r : head_decode(text, len, ret);
}

int catalog_head_get(struct catalog *c, const char *dataset, struct catalog_head *ret)
{
	return is_name(dataset) ? read_head(c->heads, dataset, ret) : -EINVAL;
}

/* Makes the folder of a file below @dir, one level; the path ends at its last slash. */
static int make_folder(int dir, const char *path)
{
	char folder[CATALOG_NAME_MAX];
	const char *slash = strrchr(path, '/');

	(void)snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
	if (mkdirat(dir, folder, 0700) < 0)
		return errno == EEXIST ? 0 : -errno;
	char *above = strrchr(folder, '/');
	if (above)
		*above = 0;
	CLEANUP(fd_close) int fd = openat(dir, above ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

static int head_write(struct catalog *c, const char *dataset, const struct catalog_head *head,
		      struct err *err)
{
	uint8_t bytes[HEAD_BYTES];
	char path[VERSION_PATH_MAX];

	head_encode(head, bytes);
	version_path(dataset, head->version, path);
	int r = make_folder(c->versions, dataset);
	if (!r)
		r = make_folder(c->versions, path);
	if (!r)
		r = fd_write_file(c->versions, path, bytes, sizeof bytes, 0600);
	if (!r)
		r = make_folder(c->heads, dataset);
	if (!r)
		r = fd_write_file(c->heads, dataset, bytes, sizeof bytes, 0600);
	return r ? err_set(err, r, "head of %s: %s", dataset, err_text(r)) : 0;
}

/* ---- versions ---- */

static int newest_first(const void *a, const void *b)
{
	const struct catalog_head *x = a, *y = b;
	return x->version < y->version ? 1 : x->version > y->version ? -1 : 0;
}

/* Calls @visit with the folder's descriptor and the name of each of its entries but "." and "..", until it answers other than 0.
 * 0, -errno (an error of reading is not taken for the end), what it answered. */
static int each_name(int at, const char *folder, int (*visit)(void *ctx, int dir, const char *name),
		     void *ctx)
{
	int r = 0, fd = openat(at, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d) {
		r = -errno;
		(void)fd_close(fd);
		return r;
	}
	while (r == 0) {
		errno = 0;
		const struct dirent *e = readdir(d);
		if (!e) {
			r = -errno;
			break;
		}
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			r = visit(ctx, fd, e->d_name);
	}
	(void)closedir(d);
	return r;
}

struct head_list {
	struct catalog_head *items; /* owned */
	size_t count;
};

/* Adds the version that a file name says; other names and files that are no head are none. An error of reading is one: whoever
 * collects chunks must not take a version for absent. */
static int add_version(void *ctx, int dir, const char *name)
{
	struct head_list *list = ctx;
	struct catalog_head head;

	if (name[strspn(name, "0123456789")])
		return 0;
	int r = read_head(dir, name, &head);
	if (r)
		return r == -ENOENT || r == -EFBIG || r == -ERR_CORRUPT ? 0 : r;
	struct catalog_head *more = mem_resize(list->items, list->count + 1, sizeof *more);
	if (!more)
		return -ENOMEM;
	more[list->count++] = head;
	list->items = more;
	return 0;
}

/* All that is written of a dataset, newest first, owned by the caller; also of a move that never ended. */
static int version_files(struct catalog *c, const char *dataset, struct catalog_head **ret, size_t *ret_count)
{
	struct head_list list = {.items = NULL};
	int r = each_name(c->versions, dataset, add_version, &list);

	*ret = NULL;
	*ret_count = 0;
	if (r) {
		(void)mem_free(list.items);
		return r == -ENOENT ? 0 : r;
	}
	if (list.count)
		qsort(list.items, list.count, sizeof *list.items, newest_first);
	*ret = list.items;
	*ret_count = list.count;
	return 0;
}

int catalog_versions(struct catalog *c, const char *dataset, struct catalog_head **ret, size_t *ret_count)
{
	struct catalog_head head = {0}, *list;
	size_t count, first = 0;

	*ret = NULL;
	*ret_count = 0;
	int r = catalog_head_get(c, dataset, &head);
	if (r)
		return r == -ENOENT ? 0 : r;
	r = version_files(c, dataset, &list, &count);
	if (r)
		return r;
	while (first < count && list[first].version >= head.version)
		first++;
	struct catalog_head *all = mem_calloc(count - first + 1, sizeof *all);
	if (all) {
		all[0] = head; /* of a catalog without versions, its file is not there */
		if (count > first)
			memcpy(all + 1, list + first, (count - first) * sizeof *all);
		*ret = all;
		*ret_count = count - first + 1;
	}
	(void)mem_free(list);
	return all ? 0 : -ENOMEM;
}

int catalog_version_get(struct catalog *c, const char *dataset, uint64_t version, struct catalog_head *ret)
{
	struct catalog_head head;
	char path[VERSION_PATH_MAX];
	int r = catalog_head_get(c, dataset, &head);

	if (r)
		return r;
	if (version == head.version) {
		*ret = head;
		return 0;
	}
	version_path(dataset, version, path);
	return version < head.version ? read_head(c->versions, path, ret) : -ENOENT;
}

/* ---- notes ---- */

#define NOTE_PATH_MAX (VERSION_PATH_MAX + 5)

/* Beside the version's file; its name is no number, so it is none of the versions. */
static void note_path(const char *dataset, uint64_t version, char out[NOTE_PATH_MAX])
{
	(void)snprintf(out, NOTE_PATH_MAX, "%s/%llu.note", dataset, (unsigned long long)version);
}

static void drop_note(struct catalog *c, const char *dataset, uint64_t version)
{
	char path[NOTE_PATH_MAX];

	note_path(dataset, version, path);
	(void)unlinkat(c->versions, path, 0);
}

int catalog_note_put(struct catalog *c, const char *dataset, uint64_t version, const void *bytes, size_t len)
{
	char path[NOTE_PATH_MAX];
	struct catalog_head head;

	if (!is_name(dataset) || len > CATALOG_NOTE_MAX)
		return -EINVAL;
	note_path(dataset, version, path);
	(void)pthread_mutex_lock(&c->lock);
	int r = catalog_version_get(c, dataset, version, &head);
	if (!r)
		r = make_folder(c->versions, dataset);
	if (!r)
		r = make_folder(c->versions, path);
	if (!r)
		r = fd_write_file(c->versions, path, bytes, len, 0600);
	(void)pthread_mutex_unlock(&c->lock);
	return r;
}

int catalog_note_get(struct catalog *c, const char *dataset, uint64_t version, uint8_t **ret, size_t *ret_len)
{
	char path[NOTE_PATH_MAX];
	char *text;

	if (!is_name(dataset))
		return -EINVAL;
	note_path(dataset, version, path);
	int r = fd_read_file(c->versions, path, CATALOG_NOTE_MAX, &text, ret_len);
	if (!r)
		*ret = (uint8_t *)text;
	return r;
}

/* The lock is held. */
static int drop_locked(struct catalog *c, const char *dataset, uint64_t version)
{
	struct catalog_head head, gone;
	char path[VERSION_PATH_MAX];
	int r = catalog_head_get(c, dataset, &head);

	if (!r)
		r = catalog_version_get(c, dataset, version, &gone);
	if (r)
		return r;
	if (version == head.version || catalog_root_is_open(c, &gone.root))
		return -EBUSY;
	drop_note(c, dataset, version);
	version_path(dataset, version, path);
	if (unlinkat(c->versions, path, 0) < 0)
		return -errno;
	/* On the disk before its chunks go: a version that came back would name what is not there. */
	CLEANUP(fd_close) int fd = openat(c->versions, dataset, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

int catalog_version_drop(struct catalog *c, const char *dataset, uint64_t version)
{
	if (!is_name(dataset))
		return -EINVAL;
	(void)pthread_mutex_lock(&c->lock);
	int r = drop_locked(c, dataset, version);
	(void)pthread_mutex_unlock(&c->lock);
	return r;
}

struct visit {
	struct catalog *catalog;
	const char *namespace_;
	int (*version)(void *ctx, const struct catalog_head *head);
	void *ctx;
};

/* Names that are no head's (of a write that was killed) have a dot. */
static int visit_dataset(void *ctx, int dir, const char *name)
{
	const struct visit *v = ctx;
	char dataset[CATALOG_NAME_MAX];
	struct catalog_head *list;
	size_t count;

	(void)dir;
	if (strchr(name, '.'))
		return 0;
	(void)snprintf(dataset, sizeof dataset, "%s/%.255s", v->namespace_, name);
	int r = catalog_versions(v->catalog, dataset, &list, &count);
	for (size_t i = 0; !r && i < count; i++)
		r = v->version(v->ctx, &list[i]);
	(void)mem_free(list);
	return r;
}

static int visit_namespace(void *ctx, int dir, const char *name)
{
	struct visit v = *(const struct visit *)ctx;

	v.namespace_ = name;
	return name[0] == '.' ? 0 : each_name(dir, name, visit_dataset, &v);
}

int catalog_each_version(struct catalog *c, int (*visit)(void *ctx, const struct catalog_head *head),
			 void *ctx)
{
	struct visit v = {.catalog = c, .version = visit, .ctx = ctx};

	return each_name(c->heads, ".", visit_namespace, &v);
}

/* ---- leases ---- */

/* The lock is held. */
static struct lease_row *find_lease(struct catalog *c, const char *dataset)
{
	list_for_each (l, &c->leases)
		if (strcmp(LIST_ENTRY(l, struct lease_row, link)->dataset, dataset) == 0)
			return LIST_ENTRY(l, struct lease_row, link);
	return NULL;
}

int catalog_lease_take(struct catalog *c, const char *dataset, struct catalog_lease *ret, struct err *err)
{
	if (!is_name(dataset))
		return err_set(err, -EINVAL, "\"%s\" is not namespace/name", dataset);
	(void)pthread_mutex_lock(&c->lock);
	struct lease_row *row = find_lease(c, dataset);
	if (!row) {
		row = mem_calloc(1, sizeof *row);
		if (row) {
			(void)snprintf(row->dataset, sizeof row->dataset, "%s", dataset);
			list_push_back(&c->leases, &row->link);
		}
	}
	if (row)
		ret->token = row->token = ++c->last_token;
	(void)pthread_mutex_unlock(&c->lock);
	return row ? 0 : err_set(err, -ENOMEM, "out of memory");
}

void catalog_lease_drop(struct catalog *c, const char *dataset, struct catalog_lease lease)
{
	(void)pthread_mutex_lock(&c->lock);
	struct lease_row *row = find_lease(c, dataset);
	if (row && row->token == lease.token) {
		list_remove(&row->link);
		(void)mem_free(row);
	}
	if (list_empty(&c->leases))
		catalog_builds_ended(c);
	(void)pthread_mutex_unlock(&c->lock);
}

/* ---- moving ---- */

static void tell(struct catalog *c, const char *dataset, const struct catalog_head *head)
{
	(void)pthread_mutex_lock(&c->watch_lock);
	if (c->moved)
		c->moved(c->moved_ctx, dataset, head);
	(void)pthread_mutex_unlock(&c->watch_lock);
}

/* The lock is held. */
static int move_locked(struct catalog *c, const char *dataset, uint64_t expected,
		       const struct catalog_head *head, struct catalog_lease lease, struct err *err)
{
	struct catalog_head now = {0};
	struct lease_row *row = find_lease(c, dataset);

	if (!row || row->token != lease.token)
		return err_set(err, -ERR_LEASE_LOST, "another sync of %s took over", dataset);
	int r = catalog_head_get(c, dataset, &now);
	if (r && r != -ENOENT)
		return err_set(err, r, "head of %s: %s", dataset, err_text(r));
	if (now.version != expected || head->version != expected + 1)
		return err_set(err, -ERR_CONFLICT, "the head of %s is version %llu, not %llu", dataset,
			       (unsigned long long)now.version, (unsigned long long)expected);
	if (fsync(c->chunks) < 0) /* folders of chunks made by this build */
		return err_set(err, -errno, "chunks of %s: %s", dataset, err_text(errno));
	return head_write(c, dataset, head, err);
}

int catalog_head_move(struct catalog *c, const char *dataset, uint64_t expected,
		      const struct catalog_head *head, struct catalog_lease lease, struct err *err)
{
	if (!is_name(dataset))
		return err_set(err, -EINVAL, "\"%s\" is not namespace/name", dataset);
	(void)pthread_mutex_lock(&c->lock);
	int r = move_locked(c, dataset, expected, head, lease, err);
	(void)pthread_mutex_unlock(&c->lock);
	if (!r)
		tell(c, dataset, head);
	return r;
}

/* The lock is held. */
static int delete_locked(struct catalog *c, const char *dataset)
{
	struct catalog_head *list = NULL;
	char path[VERSION_PATH_MAX];
	size_t count = 0;
	int r = unlinkat(c->heads, dataset, 0) < 0 && errno != ENOENT ? -errno : 0;

	if (!r)
		r = version_files(c, dataset, &list, &count);
	for (size_t i = 0; i < count; i++) {
		drop_note(c, dataset, list[i].version);
		version_path(dataset, list[i].version, path);
		(void)unlinkat(c->versions, path, 0);
	}
	(void)unlinkat(c->versions, dataset, AT_REMOVEDIR); /* stays where it holds what is not ours */
	(void)mem_free(list);
	return r;
}

int catalog_dataset_delete(struct catalog *c, const char *dataset, struct err *err)
{
	if (!is_name(dataset))
		return err_set(err, -EINVAL, "\"%s\" is not namespace/name", dataset);
	(void)pthread_mutex_lock(&c->lock);
	int r = delete_locked(c, dataset);
	(void)pthread_mutex_unlock(&c->lock);
	if (r)
		return err_set(err, r, "head of %s: %s", dataset, err_text(r));
	tell(c, dataset, NULL);
	return 0;
}

void catalog_watch(struct catalog *c,
		   void (*moved)(void *ctx, const char *dataset, const struct catalog_head *head), void *ctx)
{
	(void)pthread_mutex_lock(&c->watch_lock);
	c->moved = moved;
	c->moved_ctx = ctx;
	(void)pthread_mutex_unlock(&c->watch_lock);
}
