/*
 * The sorted tree and the version before are walked side by side; where they differ an edit is written. Up to four deltas lie over
 * one base. When there are four, the new one takes their place: it is written over the base alone and so says all that they said.
 * When the deltas would be over an eighth of the base's bytes, there is none: the tree becomes a base of its own.
 */
#include "common/manifest/delta.h"

#include <errno.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/manifest/output.h"
#include "common/manifest/reader.h"

#define DELTAS_SHARE 8 /* of the base's bytes, all deltas together */

enum { TOO_MUCH = 1 };

struct walk {
	const struct delta_request *q;
	struct manifest *under;       /* what the edits are of */
	struct manifest_found *found; /* owned: the entry of `under` at hand */
	struct chunk_entry x;
	bool has_old, has_new;
	uint64_t below; /* ordinal of x */
	struct manifest_entry e;
	uint64_t descendants, ordinal; /* of e */
	struct output out;
	uint64_t budget; /* bytes that the delta may take */
	uint64_t edits;
	struct manifest_stats stats;
	struct err *err;
};

static int next_old(struct walk *w)
{
	int r = w->below < w->under->stats.entries ? reader_step(w->under, w->found, &w->x) : -ENOENT;

	w->has_old = r == 0;
	return r == -ENOENT ? 0 : r;
}

static int next_new(struct walk *w)
{
	const struct record *rec;
	int r = tree_next(w->q->tree, &rec, &w->descendants);

	w->has_new = r == 1;
	if (r != 1)
		return r;
	record_read(rec, &w->e);
	output_count(&w->stats, &w->e);
	return 0;
}

static int edit(struct walk *w, enum edit_kind kind, const struct manifest_entry *e)
{
	const struct edit_place place = {kind, w->ordinal, w->below};

	w->edits++;
	if (output_bytes(&w->out) > w->budget)
		return TOO_MUCH;
	return output_edit(&w->out, &place, e, w->descendants, w->err);
}

static bool same_text(const char *a, size_t a_len, const char *b, size_t b_len)
{
	return a_len == b_len && (a_len == 0 || memcmp(a, b, a_len) == 0);
}

/* Whether the entry says all that the version before said at that path. */
static bool is_same(const struct walk *w)
{
	const struct manifest_entry *a = &w->found->e, *b = &w->e;
	size_t key_len;
	const char *key = manifest_key(w->found, &key_len);

	return a->type == b->type && a->mode == b->mode && a->source == b->source &&
	       a->mtime_ns == b->mtime_ns && (a->type != MANIFEST_FILE || a->size == b->size) &&
	       (a->type != MANIFEST_DIR || a->end - a->ordinal - 1 == w->descendants) &&
	       a->validator.kind == b->validator.kind &&
	       same_text((const char *)a->validator.bytes, a->validator.len, (const char *)b->validator.bytes,
			 b->validator.len) &&
	       same_text(key, key_len, b->key_len ? b->key : b->path,
			 b->key_len ? b->key_len : b->path_len) &&
	       same_text(a->target, a->target_len, b->target, b->target_len);
}

static int pass_old(struct walk *w)
{
	w->below++;
	return next_old(w);
}

static int pass_new(struct walk *w)
{
	w->ordinal++;
	return next_new(w);
}

/* <0: the old entry comes first, >0: the new one does. */
static int order(const struct walk *w)
{
	struct path_key old = {w->found->path, w->x.path_len, manifest_type_is_dir(w->x.type)};
	struct path_key now = {w->e.path, w->e.path_len, manifest_type_is_dir(w->e.type)};

	if (!w->has_old || !w->has_new)
		return w->has_old ? -1 : 1;
	return path_key_compare(&old, &now);
}

static int step(struct walk *w)
{
	int c = order(w), r = 0;

	if (c < 0) {
		struct manifest_entry gone = {
			.type = w->x.type, .path = w->found->path, .path_len = w->x.path_len};
		r = edit(w, EDIT_REMOVE, &gone);
		return r == 0 ? pass_old(w) : r;
	}
	if (c > 0) {
		r = edit(w, EDIT_ADD, &w->e);
		return r == 0 ? pass_new(w) : r;
	}
	chunk_entry_found(&w->x, w->below, w->found);
	if (!is_same(w))
		r = edit(w, EDIT_CHANGE, &w->e);
	if (r == 0)
		r = pass_old(w);
	return r == 0 ? pass_new(w) : r;
}

static int walk_both(struct walk *w)
{
	int r = reader_seek(w->under, 0, w->found);

	if (r == 0)
		r = next_old(w);
	if (r == 0)
		r = next_new(w);
	while (r == 0 && (w->has_old || w->has_new))
		r = step(w);
	if (r == 0 && output_bytes(&w->out) > w->budget)
		r = TOO_MUCH;
	return r == 0 ? output_end(&w->out, w->err) : r;
}

/* Whether nothing is to be told at all: chunks and bytes are of how it is written, not of what. */
static bool same_stats(const struct manifest_stats *a, const struct manifest_stats *b)
{
	struct manifest_stats x = *a, y = *b;

	x.chunks = y.chunks = x.encoded_bytes = y.encoded_bytes = 0;
	return memcmp(&x, &y, sizeof x) == 0;
}

/* The root: the tables of `under`, and the delta over them unless it is empty. */
static int write_root(struct walk *w, struct hash256 *ret, struct err *err)
{
	struct root_writer tables[2 + MANIFEST_DELTAS_MAX] = {{.list = NULL}};
	size_t count = w->under->t.count;
	int r = 0;

	for (size_t i = 0; i < count && r == 0; i++)
		r = root_writer_add_table(&tables[i], &w->under->t.tables[i], i > 0);
	w->out.list.entries = w->stats.entries;
	if (w->out.list.chunks > 0)
		tables[count] = w->out.list; /* borrowed */
	if (r == 0)
		r = output_root(w->q->sink, tables, count + (w->out.list.chunks > 0), &w->stats, ret, err);
	for (size_t i = 0; i < count; i++)
		root_writer_done(&tables[i]);
	return r;
}

static int write_over(struct walk *w, struct hash256 *ret, struct manifest_stats *ret_stats, struct err *err)
{
	int r = walk_both(w);

	if (r != 0)
		return r;
	if (w->edits == 0 && w->under == w->q->before && same_stats(&w->stats, &w->under->stats)) {
		*ret = w->under->root;
		*ret_stats = w->under->stats;
		return 0;
	}
	r = write_root(w, ret, err);
	if (r == 0)
		*ret_stats = w->stats;
	return r;
}

/* The base of a version, without its deltas, as a version of its own. */
static int open_base(const struct manifest *m, struct manifest **ret, struct err *err)
{
	struct manifest *base;
	int r = manifest_open(&m->root, &m->chunks, &base, err);

	if (r != 0)
		return r;
	reader_only_base(base);
	*ret = base;
	return 0;
}

static int write_with(const struct delta_request *q, struct manifest *under, uint64_t budget,
		      struct hash256 *ret_root, struct manifest_stats *ret_stats, struct err *err)
{
	struct walk w = {
		.q = q, .under = under, .budget = budget, .stats = {.skipped = q->skipped}, .err = err};

	w.found = mem_calloc(1, sizeof *w.found);
	if (!w.found)
		return -ENOMEM;
	output_init(&w.out, q->sink, q->target, true);
	int r = write_over(&w, ret_root, ret_stats, err);
	output_done(&w.out);
	(void)mem_free(w.found);
	return r;
}

int delta_write(const struct delta_request *q, struct hash256 *ret_root, struct manifest_stats *ret_stats,
		struct err *err)
{
	const struct root_tables *t = &q->before->t;
	uint64_t most = root_table_bytes(&t->tables[0]) / DELTAS_SHARE, used = 0;
	CLEANUP(manifest_free) struct manifest *base = NULL;
	int r;

	for (size_t i = 1; i < t->count; i++)
		used += root_table_bytes(&t->tables[i]);
	/* Over four deltas a tree that changed nothing is still the same version, so that is tried with no room at all. */
	bool room = t->count <= MANIFEST_DELTAS_MAX && used < most;
	r = write_with(q, q->before, room ? most - used : 0, ret_root, ret_stats, err);
	if (r != TOO_MUCH || t->count == 1)
		return r;
	tree_rewind(q->tree);
	r = open_base(q->before, &base, err);
	return r == 0 ? write_with(q, base, most, ret_root, ret_stats, err) : r;
}
