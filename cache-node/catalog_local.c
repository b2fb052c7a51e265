/*
 * The catalog on one machine's disk, until masters hold it:
 *
 *   heads/NAMESPACE/NAME    a head (docs/formats/head.md): fixed size, CRC, replaced whole
 *   chunks/ab/cdef...       chunks and roots of manifests by SHA-256, written once
 *
 * A chunk is fsynced before the head that names it moves. Chunks of versions that no head names any more stay: telling
 * which of them are still in use is the masters' work.
 */
#include "cache-node/catalog.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/bytes.h"
#include "common/base/fd.h"
#include "common/base/list.h"
#include "common/base/mem.h"

#define HEAD_MAGIC   0x4448524cU /* "LRHD" */
#define HEAD_VERSION 1u
#define HEAD_BYTES   68u /* magic 4, version 4, number 8, root 32, committed 8, config 8, crc 4 */
#define CHUNK_MAX    (64u << 20)

struct lease_row {
	struct list link;
	char dataset[CATALOG_NAME_MAX];
	uint64_t token; /* of the lease that counts; 0: dropped */
};

struct catalog {
	int dir, heads, chunks, lock_fd;
	pthread_mutex_t lock; /* guards leases, tokens and the moves of heads */
	struct list leases;
	uint64_t last_token;
	pthread_mutex_t watch_lock; /* guards the watcher, and is held while it runs */
	void (*moved)(void *ctx, const char *dataset, const struct catalog_head *head);
	void *moved_ctx;
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
	c->chunks = make_dir(c->dir, "chunks", err);
	return c->chunks < 0 ? c->chunks : 0;
}

int catalog_local_new(int dir_fd, struct catalog **ret, struct err *err)
{
	CLEANUP(catalog_free) struct catalog *c = mem_calloc(1, sizeof *c);
	if (!c)
		return err_set(err, -ENOMEM, "out of memory");
	c->dir = c->heads = c->chunks = c->lock_fd = -1;
	list_init(&c->leases);
	(void)pthread_mutex_init(&c->lock, NULL);
	(void)pthread_mutex_init(&c->watch_lock, NULL);
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
	(void)fd_close(c->chunks);
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

/* "namespace/name": one slash, no dots at the start of either part, so the name is a safe relative path. */
static bool is_name(const char *dataset)
{
	const char *slash = strchr(dataset, '/');

	return slash && slash != dataset && slash[1] && !strchr(slash + 1, '/') && dataset[0] != '.' &&
	       slash[1] != '.' && strlen(dataset) < CATALOG_NAME_MAX;
}

int catalog_head_get(struct catalog *c, const char *dataset, struct catalog_head *ret)
{
	CLEANUP(free_str) char *text = NULL;
	size_t len;

	if (!is_name(dataset))
		return -EINVAL;
	int r = fd_read_file(c->heads, dataset, HEAD_BYTES, &text, &len);
	return r ? r : head_decode(text, len, ret);
}

static int head_write(struct catalog *c, const char *dataset, const struct catalog_head *head,
		      struct err *err)
{
	char folder[CATALOG_NAME_MAX];
	uint8_t bytes[HEAD_BYTES];

	(void)snprintf(folder, sizeof folder, "%.*s", (int)strcspn(dataset, "/"), dataset);
	if (mkdirat(c->heads, folder, 0700) == 0)
		(void)fsync(c->heads);
	else if (errno != EEXIST)
		return err_set(err, -errno, "head of %s: %s", dataset, err_text(errno));
	head_encode(head, bytes);
	int r = fd_write_file(c->heads, dataset, bytes, sizeof bytes, 0600);
	return r ? err_set(err, r, "head of %s: %s", dataset, err_text(r)) : 0;
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

int catalog_dataset_delete(struct catalog *c, const char *dataset, struct err *err)
{
	if (!is_name(dataset))
		return err_set(err, -EINVAL, "\"%s\" is not namespace/name", dataset);
	(void)pthread_mutex_lock(&c->lock);
	int r = unlinkat(c->heads, dataset, 0) < 0 && errno != ENOENT ? -errno : 0;
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

/* ---- chunks ---- */

static void chunk_path(const struct hash256 *hash, char out[HASH256_HEX + 1])
{
	char hex[HASH256_HEX];

	hash256_hex(hash, hex);
	(void)snprintf(out, HASH256_HEX + 1, "%.2s/%s", hex, hex + 2);
}

static int chunk_put(void *ctx, const struct hash256 *hash, const void *bytes, size_t len, struct err *err)
{
	struct catalog *c = ctx;
	char path[HASH256_HEX + 1], folder[3];
	struct stat st;

	chunk_path(hash, path);
	if (fstatat(c->chunks, path, &st, 0) == 0 && (size_t)st.st_size == len)
		return 0; /* written whole and fsynced by an earlier version, or it would have its temporary name */
	(void)snprintf(folder, sizeof folder, "%.2s", path);
	if (mkdirat(c->chunks, folder, 0700) < 0 && errno != EEXIST)
		return err_set(err, -errno, "manifest chunk: %s", err_text(errno));
	int r = fd_write_file(c->chunks, path, bytes, len, 0400);
	return r ? err_set(err, r, "manifest chunk: %s", err_text(r)) : 0;
}

static int chunk_map(void *ctx, const struct hash256 *hash, const uint8_t **ret, size_t *ret_len,
		     struct err *err)
{
	struct catalog *c = ctx;
	char path[HASH256_HEX + 1];
	struct stat st;

	chunk_path(hash, path);
	CLEANUP(fd_close) int fd = openat(c->chunks, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(err, -errno, "manifest chunk %.12s: %s", path, err_text(errno));
	if (st.st_size <= 0 || st.st_size > (off_t)CHUNK_MAX)
		return err_set(err, -ERR_CORRUPT, "manifest chunk %.12s has %lld bytes", path,
			       (long long)st.st_size);
	void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return err_set(err, -errno, "manifest chunk %.12s: %s", path, err_text(errno));
	*ret = p;
	*ret_len = (size_t)st.st_size;
	return 0;
}

static void chunk_unmap(void *ctx, const uint8_t *bytes, size_t len)
{
	(void)ctx;
	(void)munmap((void *)(uintptr_t)bytes, len);
}

struct manifest_sink catalog_chunk_sink(struct catalog *c)
{
	return (struct manifest_sink){.put = chunk_put, .ctx = c};
}

struct manifest_chunks catalog_chunks(struct catalog *c)
{
	return (struct manifest_chunks){.map = chunk_map, .unmap = chunk_unmap, .ctx = c};
}
