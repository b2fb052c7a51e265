/*
 * Both passes make the same entries out of the sorter's: the last of equal keys, and directories that nobody listed before what is
 * below them. The first notes their fates, the second reads them.
 */
#include "common/manifest/tree.h"

#include <errno.h>
#include <stdalign.h>
#include <unistd.h>

#include "common/base/fd.h"
#include "common/base/mem.h"
#include "common/manifest/spool.h"

enum { FATES = 8192, DEPTH_MAX = MANIFEST_PATH_MAX / 2 + 2 };

#define FATE_LOST UINT64_MAX

struct open_dir {
	size_t path_len;
	uint64_t number; /* of its entry */
	uint64_t live;   /* entries before its first descendant */
};

struct pending_file { /* may still meet a directory of its name */
	size_t path_len;
	uint64_t number;
};

struct room { /* for one record */
	alignas(8) uint8_t bytes[RECORD_MAX];
};

struct tree {
	struct sorter *sorter; /* borrowed */
	int64_t dir_mtime_ns;
	int fates_fd;
	bool measured;              /* the first pass is over */
	uint64_t entries;           /* that the first pass made */
	uint64_t count, live, lost; /* entries made in this pass; of them alive; lost */
	/* The sorter's next record, which tells whether the one before is the last of its key; and that one, while directories
	 * are made for it. NULL: none. Both stand in `records`. */
	struct record *ahead, *current;
	bool started;
	/* The directories from the root to the last entry; all are prefixes of dir_path. */
	struct open_dir open[DEPTH_MAX];
	size_t depth;
	char dir_path[MANIFEST_PATH_MAX + 1];
	/* Files that are prefixes of the last key, which goes on with a byte below '/'; all are prefixes of file_path. */
	struct pending_file pending[MANIFEST_PATH_MAX + 1];
	size_t pending_count;
	char file_path[MANIFEST_PATH_MAX + 1];
	uint64_t fates[FATES];           /* those around the entry at hand */
	struct room records[2], implied; /* implied: a directory that nobody listed */
};

int tree_new(int dir_fd, int64_t dir_mtime_ns, struct sorter *sorter, struct tree **ret)
{
	CLEANUP(tree_free) struct tree *t = mem_calloc(1, sizeof *t);
	if (!t)
		return -ENOMEM;
	t->sorter = sorter;
	t->dir_mtime_ns = dir_mtime_ns;
	t->fates_fd = spool_file(dir_fd);
	if (t->fates_fd < 0)
		return t->fates_fd;
	*ret = TAKE(t);
	return 0;
}

struct tree *tree_free(struct tree *t)
{
	if (!t)
		return NULL;
	t->fates_fd = fd_close(t->fates_fd);
	return mem_free(t);
}

/* ---- fates ---- */

static int put_fate(struct tree *t, uint64_t number, uint64_t fate)
{
	return fate ? fd_pwrite_full(t->fates_fd, &fate, sizeof fate, number * sizeof fate) : 0;
}

static int get_fate(struct tree *t, uint64_t number, uint64_t *ret)
{
	size_t at = (size_t)(number % FATES);

	if (at == 0) {
		size_t n = (size_t)MIN((uint64_t)FATES, t->entries - number);
		int r = fd_pread_full(t->fates_fd, t->fates, n * sizeof *t->fates, number * sizeof *t->fates);
		if (r != 0)
			return r;
	}
	*ret = t->fates[at];
	return 0;
}

static int close_dir(struct tree *t)
{
	const struct open_dir *d = &t->open[--t->depth];
	return t->measured ? 0 : put_fate(t, d->number, t->live - d->live);
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

/* ---- entries ---- */

/* The next of the sorter's records, copied to where `current` is not. NULL at the end. */
static int look_ahead(struct tree *t)
{
	struct record *room = (struct record *)(void *)t->records[t->ahead == (void *)&t->records[0]].bytes;
	const struct record *rec;
	int r = sorter_next(t->sorter, &rec);

	if (r < 0)
		return r;
	if (r == 1)
		memcpy(room, rec, rec->bytes);
	t->ahead = r == 1 ? room : NULL;
	return 0;
}

/* The next record that no later one of its key replaces, in `current`; NULL at the end. */
static int next_record(struct tree *t)
{
	bool same;
	int r = t->started ? 0 : look_ahead(t);

	t->started = true;
	do {
		t->current = t->ahead;
		if (r != 0 || !t->current)
			return r;
		r = look_ahead(t);
		struct path_key now = record_key(t->current);
		struct path_key next = t->ahead ? record_key(t->ahead) : now;
		same = t->ahead && path_key_compare(&now, &next) == 0;
	} while (r == 0 && same);
	return r;
}

static int take(struct tree *t, const struct record *r)
{
	struct path_key k = record_key(r);
	int status = t->measured ? 0 : settle_files(t, &k);
	uint64_t number = t->count++;

	t->live++;
	if (k.dir) {
		CHECK(t->depth < DEPTH_MAX);
		t->open[t->depth++] = (struct open_dir){k.len, number, t->live};
		memcpy(t->dir_path, k.path, k.len);
	} else if (!t->measured) {
		CHECK(t->pending_count <= MANIFEST_PATH_MAX);
		t->pending[t->pending_count++] = (struct pending_file){k.len, number};
		memcpy(t->file_path, k.path, k.len);
	}
	return status;
}

static int take_implied(struct tree *t, const char *path, size_t len, const struct record **ret)
{
	struct manifest_entry e = {
		.type = MANIFEST_DIR, .mtime_ns = t->dir_mtime_ns, .path = path, .path_len = len};
	struct record *r = (struct record *)(void *)t->implied.bytes;

	record_write(r, &e);
	*ret = r;
	return take(t, r);
}

static bool is_inside(const struct tree *t, const struct open_dir *d, const struct path_key *k)
{
	if (d->path_len == 0)
		return true;
	return k->len > d->path_len && k->path[d->path_len] == '/' &&
	       memcmp(k->path, t->dir_path, d->path_len) == 0;
}

/* `current`, or the first of the directories that it needs. */
static int next_for_current(struct tree *t, const struct record **ret)
{
	struct path_key k = record_key(t->current);
	int r = 0;

	if (t->depth == 0 && k.len > 0)
		return take_implied(t, "", 0, ret);
	while (r == 0 && t->depth > 0 && !is_inside(t, &t->open[t->depth - 1], &k))
		r = close_dir(t);
	if (r != 0)
		return r;
	size_t from = t->depth > 0 && t->open[t->depth - 1].path_len ? t->open[t->depth - 1].path_len + 1 : 0;
	const char *slash = k.len > from ? memchr(k.path + from, '/', k.len - from) : NULL;
	if (slash)
		return take_implied(t, k.path, (size_t)(slash - k.path), ret);
	*ret = t->current;
	t->current = NULL;
	return take(t, *ret);
}

/* The next entry of the tree, those that lost among them. 1, 0 at the end, -errno. */
static int next_entry(struct tree *t, const struct record **ret)
{
	int r = t->current ? 0 : next_record(t);

	if (r == 0 && t->current)
		r = next_for_current(t, ret);
	else if (r == 0 && t->depth == 0)
		r = take_implied(t, "", 0, ret);
	else
		return r;
	return r == 0 ? 1 : r;
}

int tree_measure(struct tree *t)
{
	const struct record *rec;
	int r;

	while ((r = next_entry(t, &rec)) == 1)
		;
	while (r == 0 && t->depth > 0)
		r = close_dir(t);
	if (r == 0 && ftruncate(t->fates_fd, (off_t)(t->count * sizeof(uint64_t))) < 0)
		r = -errno;
	t->measured = true;
	t->entries = t->count;
	tree_rewind(t);
	return r;
}

int tree_next(struct tree *t, const struct record **ret, uint64_t *ret_descendants)
{
	uint64_t fate = 0;
	int r;

	while ((r = next_entry(t, ret)) == 1) {
		int status = get_fate(t, t->count - 1, &fate);
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
	sorter_rewind(t->sorter);
	t->count = t->live = 0;
	t->depth = 0;
	t->ahead = t->current = NULL;
	t->started = false;
}

uint64_t tree_lost(const struct tree *t)
{
	return t->lost;
}
