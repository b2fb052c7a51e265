/*
 * All passes make the same entries out of the sorter's: the last of equal keys, and directories that nobody listed before what is
 * below them. The first notes their fates, the second reads them. A file that lost against a directory stays among the entries,
 * dead, also when the sorter of those beside directories has it under its other name.
 */
#include "common/manifest/tree.h"

#include <errno.h>
#include <stdalign.h>
#include <unistd.h>

#include "common/base/fd.h"
#include "common/base/mem.h"
#include "common/manifest/name.h"
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
	uint16_t source;
};

struct input { /* one of the sorters */
	struct sorter *sorter;
	const struct record *head; /* its next record; NULL: none, or not read yet */
	bool stale;                /* the head was handed out */
};

struct room { /* for one record */
	alignas(8) uint8_t bytes[RECORD_MAX];
};

struct tree {
	struct tree_config config;
	struct input
		in[2]; /* as added; and files beside directories, the tree's own: NULL while there are none */
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

int tree_new(const struct tree_config *config, struct tree **ret)
{
	CLEANUP(tree_free) struct tree *t = mem_calloc(1, sizeof *t);
	if (!t)
		return -ENOMEM;
	t->config = *config;
	t->in[0] = (struct input){.sorter = config->sorter, .stale = true};
	t->fates_fd = spool_file(config->dir_fd);
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
	(void)sorter_free(t->in[1].sorter);
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

/* A file met a directory. One that has its other name already did so only if that was taken, which no source's key can do. */
static int lose(struct tree *t, const struct pending_file *f)
{
	int r = 0;

	t->pending_count--;
	t->live--;
	t->lost++;
	if (name_is_beside(t->file_path, f->path_len))
		r = conflicts_add(t->config.conflicts, CONFLICT_LEFT_OUT, t->file_path, f->path_len,
				  f->source);
	return r == 0 ? put_fate(t, f->number, FATE_LOST) : r;
}

/* Drops pending files that no directory can meet any more; the one that @k meets loses. */
static int settle_files(struct tree *t, const struct path_key *k)
{
	while (t->pending_count > 0) {
		const struct pending_file *f = &t->pending[t->pending_count - 1];
		bool prefix = k->len >= f->path_len && memcmp(k->path, t->file_path, f->path_len) == 0;
		if (prefix && k->len == f->path_len && k->dir)
			return lose(t, f);
		if (prefix && k->len > f->path_len && (unsigned char)k->path[f->path_len] < '/')
			return 0;
		t->pending_count--;
	}
	return 0;
}

/* ---- entries ---- */

static bool comes_first(const struct record *a, const struct record *b)
{
	struct path_key x = record_key(a), y = record_key(b);
	int c = path_key_compare(&x, &y);

	return c != 0 ? c < 0 : a->source <= b->source;
}

/* The next record of both sorters. 1, 0 at the end, -errno. */
static int next_sorted(struct tree *t, const struct record **ret)
{
	struct input *first = NULL;

	if (!t->in[1].sorter)
		return sorter_next(t->in[0].sorter, ret);
	for (size_t i = 0; i < LENGTH(t->in); i++) {
		struct input *in = &t->in[i];
		int r = in->stale ? sorter_next(in->sorter, &in->head) : 1;
		if (r < 0)
			return r;
		if (r == 0)
			in->head = NULL;
		in->stale = false;
		if (in->head && (!first || !comes_first(first->head, in->head)))
			first = in;
	}
	if (!first)
		return 0;
	first->stale = true;
	*ret = first->head;
	return 1;
}

/* The next of the sorted records, copied to where `current` is not. NULL at the end. */
static int look_ahead(struct tree *t)
{
	struct record *room = (struct record *)(void *)t->records[t->ahead == (void *)&t->records[0]].bytes;
	const struct record *rec;
	int r = next_sorted(t, &rec);

	if (r < 0)
		return r;
	if (r == 1)
		memcpy(room, rec, rec->bytes);
	t->ahead = r == 1 ? room : NULL;
	return 0;
}

/* `current` is replaced by the one ahead. Of one source that is what was listed last; of several the first pass notes it. */
static int cover(struct tree *t)
{
	const struct record *r = t->current;

	if (t->measured || t->in[1].sorter || r->source == t->ahead->source ||
	    manifest_type_is_dir((enum manifest_type)r->type))
		return 0;
	return conflicts_add(t->config.conflicts, CONFLICT_COVERED, r->text, r->path_len, r->source);
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
		if (r == 0 && same)
			r = cover(t);
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
		t->pending[t->pending_count++] = (struct pending_file){k.len, number, r->source};
		memcpy(t->file_path, k.path, k.len);
	}
	return status;
}

static int take_implied(struct tree *t, const char *path, size_t len, const struct record **ret)
{
	struct manifest_entry e = {
		.type = MANIFEST_DIR, .mtime_ns = t->config.dir_mtime_ns, .path = path, .path_len = len};
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

/* ---- passes ---- */

/* The first pass. */
static int measure(struct tree *t)
{
	const struct record *rec;
	int r;

	t->measured = false;
	t->lost = 0;
	t->pending_count = 0;
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

/* A file that lost, under its other name. Its key stays. */
static int set_beside(struct tree *t, struct sorter *beside, const struct record *rec)
{
	char path[MANIFEST_PATH_MAX + 1];
	struct manifest_entry e;
	size_t len;

	record_read(rec, &e);
	int r = name_beside_folder(e.path, e.path_len, path, &len);
	if (r == -EINVAL) /* no key's path; noted when it lost */
		return 0;
	if (r != 0)
		return conflicts_add(t->config.conflicts, CONFLICT_LEFT_OUT, e.path, e.path_len, e.source);
	if (e.key_len == 0) {
		e.key = e.path;
		e.key_len = e.path_len;
	}
	e.path = path;
	e.path_len = len;
	return sorter_add(beside, &e);
}

/* Sorts the files that lost in the first pass, which is to be done again then. */
static int sort_lost(struct tree *t)
{
	CLEANUP(sorter_free) struct sorter *beside = NULL;
	const struct record *rec = NULL;
	uint64_t fate = 0;
	int r = sorter_new(t->config.dir_fd, t->config.memory_max, &beside);

	while (r == 0 && (r = next_entry(t, &rec)) == 1) {
		r = get_fate(t, t->count - 1, &fate);
		if (r == 0 && fate == FATE_LOST)
			r = set_beside(t, beside, rec);
	}
	if (r == 0)
		r = sorter_finish(beside);
	if (r == 0 && ftruncate(t->fates_fd, 0) < 0)
		r = -errno;
	if (r != 0)
		return r;
	t->in[1].sorter = TAKE(beside);
	tree_rewind(t);
	return 0;
}

int tree_measure(struct tree *t)
{
	int r = measure(t);

	if (r == 0 && t->lost > 0) {
		r = sort_lost(t);
		if (r == 0)
			r = measure(t);
	}
	return r;
}

/* Counts an entry that is seen and is not where its store has it. */
static int note(struct tree *t, const struct record *r)
{
	if (manifest_type_is_dir((enum manifest_type)r->type) || !name_is_marked(r->text, r->path_len))
		return 0;
	return conflicts_add(t->config.conflicts,
			     name_is_beside(r->text, r->path_len) ? CONFLICT_BESIDE : CONFLICT_ESCAPED,
			     r->text, r->path_len, r->source);
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
		status = note(t, *ret);
		if (status != 0)
			return status;
		*ret_descendants = fate;
		return 1;
	}
	return r;
}

void tree_rewind(struct tree *t)
{
	for (size_t i = 0; i < LENGTH(t->in); i++)
		if (t->in[i].sorter) {
			sorter_rewind(t->in[i].sorter);
			t->in[i].head = NULL;
			t->in[i].stale = true;
		}
	conflicts_clear(t->config.conflicts, CONFLICT_BESIDE);
	conflicts_clear(t->config.conflicts, CONFLICT_ESCAPED);
	t->count = t->live = 0;
	t->depth = 0;
	t->ahead = t->current = NULL;
	t->started = false;
}
