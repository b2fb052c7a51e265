#include "common/manifest/tree.h"

#include <errno.h>
#include <stdalign.h>
#include <unistd.h>

#include "common/base/fd.h"
#include "common/base/mem.h"

enum { BUFFER = 256 << 10, FATES = 8192, DEPTH_MAX = MANIFEST_PATH_MAX / 2 + 2 };

#define FATE_LOST UINT64_MAX

struct open_dir {
	size_t path_len;
	uint64_t number; /* of its record */
	uint64_t live;   /* entries before its first descendant */
};

struct pending_file { /* may still meet a directory of its name */
	size_t path_len;
	uint64_t number;
};

struct tree {
	int64_t dir_mtime_ns;
	struct spool spool;
	int fates_fd;
	uint64_t count, live, lost; /* records written; of them alive; lost */
	/* The directories from the root to the last entry; all are prefixes of dir_path. */
	struct open_dir open[DEPTH_MAX];
	size_t depth;
	char dir_path[MANIFEST_PATH_MAX + 1];
	/* Files that are prefixes of the last key, which goes on with a byte below '/'; all are prefixes of file_path. */
	struct pending_file pending[MANIFEST_PATH_MAX + 1];
	size_t pending_count;
	char file_path[MANIFEST_PATH_MAX + 1];
	/* The second pass. */
	struct spool_reader reader;
	uint64_t number;
	uint64_t fates[FATES];
	/* An implied directory while it is written. */
	alignas(8) uint8_t implied[RECORD_MAX];
};

int tree_new(int dir_fd, int64_t dir_mtime_ns, struct tree **ret)
{
	CLEANUP(tree_free) struct tree *t = mem_calloc(1, sizeof *t);
	if (!t)
		return -ENOMEM;
	t->spool = SPOOL_NONE;
	t->dir_mtime_ns = dir_mtime_ns;
	t->fates_fd = spool_file(dir_fd);
	if (t->fates_fd < 0)
		return t->fates_fd;
	int r = spool_init(&t->spool, dir_fd, BUFFER);
	if (r != 0)
		return r;
	*ret = TAKE(t);
	return 0;
}

struct tree *tree_free(struct tree *t)
{
	if (!t)
		return NULL;
	spool_done(&t->spool);
	t->fates_fd = fd_close(t->fates_fd);
	return mem_free(t);
}

static int put_fate(struct tree *t, uint64_t number, uint64_t fate)
{
	return fate ? fd_pwrite_full(t->fates_fd, &fate, sizeof fate, number * sizeof fate) : 0;
}

static int close_dir(struct tree *t)
{
	const struct open_dir *d = &t->open[--t->depth];
	return put_fate(t, d->number, t->live - d->live);
}

/* Drops pending files that no directory can meet any more; the one that @k meets loses. */
static int settle_files(struct tree *t, const struct path_key *k)
{
	while (t->pending_count > 0) {
		const struct pending_file *f = &t->pending[t->pending_count - 1];
		bool prefix = k->len >= f->path_len && memcmp(k->path, t->file_path, f->path_len) == 0;
		if (prefix && k->len == f->path_len && k->dir) {
			t->pending_count--;
			t->live--;
			t->lost++;
			return put_fate(t, f->number, FATE_LOST);
		}
		if (prefix && k->len > f->path_len && (unsigned char)k->path[f->path_len] < '/')
			return 0;
		t->pending_count--;
	}
	return 0;
}

static int append(struct tree *t, const struct record *r)
{
	struct path_key k = record_key(r);
	int status = settle_files(t, &k);
	if (status == 0)
		status = spool_append(&t->spool, r);
	if (status != 0)
		return status;
	uint64_t number = t->count++;
	t->live++;
	if (k.dir) {
		CHECK(t->depth < DEPTH_MAX);
		t->open[t->depth++] = (struct open_dir){k.len, number, t->live};
		memcpy(t->dir_path, k.path, k.len);
	} else {
		CHECK(t->pending_count <= MANIFEST_PATH_MAX);
		t->pending[t->pending_count++] = (struct pending_file){k.len, number};
		memcpy(t->file_path, k.path, k.len);
	}
	return 0;
}

static int append_implied(struct tree *t, const char *path, size_t len)
{
	struct manifest_entry e = {
		.type = MANIFEST_DIR, .mtime_ns = t->dir_mtime_ns, .path = path, .path_len = len};
	struct record *r = (struct record *)(void *)t->implied;

	record_write(r, &e);
	return append(t, r);
}

static bool is_inside(const struct tree *t, const struct open_dir *d, const struct path_key *k)
{
	if (d->path_len == 0)
		return true;
	return k->len > d->path_len && k->path[d->path_len] == '/' &&
	       memcmp(k->path, t->dir_path, d->path_len) == 0;
}

int tree_add(struct tree *t, const struct record *r)
{
	struct path_key k = record_key(r);
	int status = 0;

	if (t->depth == 0) {
		if (k.len == 0)
			return append(t, r);
		status = append_implied(t, "", 0);
	}
	while (status == 0 && !is_inside(t, &t->open[t->depth - 1], &k))
		status = close_dir(t);
	size_t from = status == 0 ? t->open[t->depth - 1].path_len : 0;
	for (size_t i = from ? from + 1 : 0; i < k.len && status == 0; i++)
		if (k.path[i] == '/')
			status = append_implied(t, k.path, i);
	return status == 0 ? append(t, r) : status;
}

int tree_finish(struct tree *t)
{
	int r = t->depth == 0 ? append_implied(t, "", 0) : 0;

	while (r == 0 && t->depth > 0)
		r = close_dir(t);
	if (r == 0)
		r = spool_flush(&t->spool);
	if (r == 0 && ftruncate(t->fates_fd, (off_t)(t->count * sizeof(uint64_t))) < 0)
		r = -errno;
	t->reader = (struct spool_reader){
		.fd = t->spool.fd, .buffer = t->spool.buffer, .size = t->spool.size, .end = t->spool.flushed};
	return r;
}

static int next_fate(struct tree *t, uint64_t *ret)
{
	size_t at = (size_t)(t->number % FATES);

	if (at == 0) {
		size_t n = (size_t)MIN((uint64_t)FATES, t->count - t->number);
		int r = fd_pread_full(t->fates_fd, t->fates, n * sizeof *t->fates,
				      t->number * sizeof *t->fates);
		if (r != 0)
			return r;
	}
	*ret = t->fates[at];
	t->number++;
	return 0;
}

int tree_next(struct tree *t, const struct record **ret, uint64_t *ret_descendants)
{
	uint64_t fate;
	int r;

	while ((r = spool_next(&t->reader, ret)) == 1) {
		int status = next_fate(t, &fate);
		if (status != 0)
			return status;
		if (fate == FATE_LOST)
			continue;
		*ret_descendants = fate;
		return 1;
	}
	return r;
}

void tree_rewind(struct tree *t)
{
	t->number = 0;
	t->reader.at = 0;
	t->reader.from = t->reader.have = 0;
}

uint64_t tree_lost(const struct tree *t)
{
	return t->lost;
}
