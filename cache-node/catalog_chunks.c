/*
 * Chunks of the local catalog: files named by the hash of their bytes.
 *
 * A chunk goes when nothing has a use for it: no version names it (its root does, and the version the root), no open manifest
 * has it (the roots that are mapped are known, and a manifest keeps its root mapped for its life), and no build that runs put it
 * (or found it there and wrote nothing). The last is why a put is noted before the file is looked for.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache-node/catalog_impl.h"
#include "common/base/bytes.h"
#include "common/base/fd.h"
#include "common/base/mem.h"

#define CHUNK_MAX (160u << 20) /* the format's own limit */
#define ROOT_MAX  (256u << 20)

struct mapped_root {
	struct list link;
	const uint8_t *bytes;
	size_t len;
	struct hash256 hash;
};

/* ---- sets of hashes ---- */

static const struct hash256 no_hash;

/* Where @h stands or would stand. The set has a free slot. */
static struct hash256 *find_slot(const struct hash_set *s, const struct hash256 *h)
{
	size_t i;

	memcpy(&i, h->bytes, sizeof i);
	for (i &= s->size - 1;; i = (i + 1) & (s->size - 1))
		if (hash256_compare(&s->slots[i], &no_hash) == 0 || hash256_compare(&s->slots[i], h) == 0)
			return &s->slots[i];
}

static bool hash_set_has(const struct hash_set *s, const struct hash256 *h)
{
	return s->size && hash256_compare(find_slot(s, h), h) == 0;
}

static int hash_set_grow(struct hash_set *s)
{
	struct hash_set more = {.size = s->size ? 2 * s->size : 1024, .count = s->count};

	more.slots = mem_calloc(more.size, sizeof *more.slots);
	if (!more.slots)
		return -ENOMEM;
	for (size_t i = 0; i < s->size; i++)
		if (hash256_compare(&s->slots[i], &no_hash) != 0)
			*find_slot(&more, &s->slots[i]) = s->slots[i];
	(void)mem_free(s->slots);
	*s = more;
	return 0;
}

static int hash_set_add(struct hash_set *s, const struct hash256 *h)
{
	int r = 2 * (s->count + 1) > s->size ? hash_set_grow(s) : 0;

	if (r || hash_set_has(s, h))
		return r;
	*find_slot(s, h) = *h;
	s->count++;
	return 0;
}

static void hash_set_done(struct hash_set *s)
{
	(void)mem_free(s->slots);
	*s = (struct hash_set){.slots = NULL};
}

/* ---- life ---- */

void catalog_chunks_init(struct catalog *c)
{
	list_init(&c->mapped);
	(void)pthread_mutex_init(&c->chunk_lock, NULL);
}

void catalog_chunks_done(struct catalog *c)
{
	list_for_each_safe (l, next, &c->mapped)
		(void)mem_free(LIST_ENTRY(l, struct mapped_root, link));
	hash_set_done(&c->building);
	(void)pthread_mutex_destroy(&c->chunk_lock);
}

void catalog_builds_ended(struct catalog *c)
{
	(void)pthread_mutex_lock(&c->chunk_lock);
	hash_set_done(&c->building);
	(void)pthread_mutex_unlock(&c->chunk_lock);
}

bool catalog_root_is_open(struct catalog *c, const struct hash256 *root)
{
	bool found = false;

	(void)pthread_mutex_lock(&c->chunk_lock);
	list_for_each (l, &c->mapped)
		found |= hash256_compare(&LIST_ENTRY(l, struct mapped_root, link)->hash, root) == 0;
	(void)pthread_mutex_unlock(&c->chunk_lock);
	return found;
}

/* ---- files ---- */

static void chunk_path(const struct hash256 *hash, char out[HASH256_HEX + 1])
{
	char hex[HASH256_HEX];

	hash256_hex(hash, hex);
	(void)snprintf(out, HASH256_HEX + 1, "%.2s/%s", hex, hex + 2);
}

/* That a file lies whole under its name was fsynced, or it would have its temporary one; the name itself may not have been: whoever
 * put it may have been killed before, or is another build that is still at it. */
static int keep_name(const struct catalog *c, const char *folder)
{
	CLEANUP(fd_close) int dir = openat(c->chunks, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return dir < 0 || fsync(dir) < 0 ? -errno : 0;
}

static int chunk_put(void *ctx, const struct hash256 *hash, const void *bytes, size_t len, struct err *err)
{
	struct catalog *c = ctx;
	char path[HASH256_HEX + 1], folder[3];
	struct stat st;

	(void)pthread_mutex_lock(&c->chunk_lock);
	int r = hash_set_add(&c->building, hash);
	(void)pthread_mutex_unlock(&c->chunk_lock);
	if (r)
		return err_set(err, r, "out of memory");
	chunk_path(hash, path);
	(void)snprintf(folder, sizeof folder, "%.2s", path);
	if (fstatat(c->chunks, path, &st, 0) == 0 && (size_t)st.st_size == len)
		r = keep_name(c, folder);
	else if (mkdirat(c->chunks, folder, 0700) < 0 && errno != EEXIST) /* fsynced before the head moves */
		r = -errno;
	else
		r = fd_write_file(c->chunks, path, bytes, len, 0400);
	return r ? err_set(err, r, "manifest chunk: %s", err_text(r)) : 0;
}

static int map_file(struct catalog *c, const char *path, const uint8_t **ret, size_t *ret_len)
{
	struct stat st;
	CLEANUP(fd_close) int fd = openat(c->chunks, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size <= 0 || st.st_size > (off_t)MAX(CHUNK_MAX, ROOT_MAX))
		return -ERR_CORRUPT;
	void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	*ret = p;
	*ret_len = (size_t)st.st_size;
	return 0;
}

/* Notes a root before its file is opened, so that what it names does not go in between. */
static struct mapped_root *note_root(struct catalog *c, const struct hash256 *hash)
{
	struct mapped_root *m = mem_calloc(1, sizeof *m);

	if (!m)
		return NULL;
	m->hash = *hash;
	(void)pthread_mutex_lock(&c->chunk_lock);
	list_push_back(&c->mapped, &m->link);
	(void)pthread_mutex_unlock(&c->chunk_lock);
	return m;
}

static void forget_root(struct catalog *c, struct mapped_root *m)
{
	(void)pthread_mutex_lock(&c->chunk_lock);
	list_remove(&m->link);
	(void)pthread_mutex_unlock(&c->chunk_lock);
	(void)mem_free(m);
}

/* Whether a chunk or a root lies there shows when it is mapped, so both are noted until then. */
static int chunk_map(void *ctx, const struct hash256 *hash, const uint8_t **ret, size_t *ret_len,
		     struct err *err)
{
	struct catalog *c = ctx;
	char path[HASH256_HEX + 1];
	struct mapped_root *m = note_root(c, hash);

	if (!m)
		return err_set(err, -ENOMEM, "out of memory");
	chunk_path(hash, path);
	int r = map_file(c, path, ret, ret_len);
	if (r || !manifest_is_root(*ret, *ret_len)) {
		forget_root(c, m);
		return r ? err_set(err, r, "manifest chunk %.12s: %s", path, err_text(r)) : 0;
	}
	(void)pthread_mutex_lock(&c->chunk_lock);
	m->bytes = *ret;
	m->len = *ret_len;
	(void)pthread_mutex_unlock(&c->chunk_lock);
	return 0;
}

static void chunk_unmap(void *ctx, const uint8_t *bytes, size_t len)
{
	struct catalog *c = ctx;
	struct mapped_root *gone = NULL;

	if (manifest_is_root(bytes, len)) {
		(void)pthread_mutex_lock(&c->chunk_lock);
		list_for_each (l, &c->mapped)
			if (LIST_ENTRY(l, struct mapped_root, link)->bytes == bytes)
				gone = LIST_ENTRY(l, struct mapped_root, link);
		(void)pthread_mutex_unlock(&c->chunk_lock);
	}
	if (gone)
		forget_root(c, gone);
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

/* ---- collecting ---- */

struct collection {
	struct catalog *catalog;
	struct hash_set used;
	struct catalog_collected done;
};

static int mark(void *ctx, const struct hash256 *hash)
{
	return hash_set_add(&((struct collection *)ctx)->used, hash);
}

static int mark_root(struct collection *k, const struct hash256 *root)
{
	const uint8_t *bytes = NULL;
	size_t len = 0;
	char path[HASH256_HEX + 1];

	if (hash_set_has(&k->used, root))
		return 0; /* with all that it names, also where several versions share it */
	chunk_path(root, path);
	int r = map_file(k->catalog, path, &bytes, &len);
	if (r == -ENOENT)
		return 0; /* a version that cannot be opened names nothing */
	if (r)
		return r;
	r = manifest_is_root(bytes, len) ? manifest_root_names(bytes, len, mark, k) : 0;
	(void)munmap((void *)(uintptr_t)bytes, len);
	return r ? r : mark(k, root);
}

static int mark_version(void *ctx, const struct catalog_head *head)
{
	return mark_root(ctx, &head->root);
}

/* The chunk lock is held. */
static int mark_open(struct collection *k)
{
	int r = 0;

	list_for_each (l, &k->catalog->mapped)
		if (!r)
			r = mark_root(k, &LIST_ENTRY(l, struct mapped_root, link)->hash);
	return r;
}

static bool parse_hash(const char *folder, const char *name, struct hash256 *ret)
{
	char hex[HASH256_HEX];

	if (strlen(name) != HASH256_HEX - 3)
		return false;
	(void)snprintf(hex, sizeof hex, "%.2s%s", folder, name);
	return !hex[strspn(hex, "0123456789abcdef")] && hex_decode(hex, ret->bytes, HASH256_BYTES) == 0;
}

/* Removes one file unless it is used. The temporary file of a put that was killed goes when no build runs. The chunk lock is
 * held. */
static void sweep_file(struct collection *k, int dir, const char *folder, const char *name)
{
	const struct hash_set *building = &k->catalog->building;
	struct hash256 hash;
	struct stat st;

	if (parse_hash(folder, name, &hash) ? hash_set_has(&k->used, &hash) || hash_set_has(building, &hash)
					    : building->count || !strstr(name, ".tmp"))
		return;
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || unlinkat(dir, name, 0) < 0)
		return;
	k->done.chunks++;
	k->done.bytes += (uint64_t)st.st_size;
}

/* The chunk lock is held. */
static int sweep(struct collection *k)
{
	for (unsigned i = 0; i < 256; i++) {
		char folder[3];
		(void)snprintf(folder, sizeof folder, "%02x", i);
		int fd = openat(k->catalog->chunks, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		DIR *d = fd < 0 ? NULL : fdopendir(fd);
		if (!d) {
			int r = errno == ENOENT ? 0 : -errno;
			(void)fd_close(fd);
			if (r)
				return r;
			continue;
		}
		for (const struct dirent *e; (e = readdir(d));)
			if (e->d_name[0] != '.')
				sweep_file(k, fd, folder, e->d_name);
		(void)closedir(d);
	}
	return 0;
}

int catalog_collect(struct catalog *c, struct catalog_collected *ret, struct err *err)
{
	struct collection k = {.catalog = c};

	/* No head moves meanwhile, so the versions that are seen are all there are; what builds put is in their set. */
	(void)pthread_mutex_lock(&c->lock);
	(void)pthread_mutex_lock(&c->chunk_lock);
	int r = catalog_each_version(c, mark_version, &k);
	if (!r)
		r = mark_open(&k);
	if (!r)
		r = sweep(&k);
	(void)pthread_mutex_unlock(&c->chunk_lock);
	(void)pthread_mutex_unlock(&c->lock);
	hash_set_done(&k.used);
	*ret = k.done;
	return r ? err_set(err, r, "collecting manifest chunks: %s", err_text(r)) : 0;
}
