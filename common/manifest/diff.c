/*
 * Versions that share their base differ only where a delta that they do not share has an edit: those keys are looked up on both
 * sides. Otherwise both tables are walked side by side. A side that stands at the beginning of a chunk knows its key from the
 * root and has decoded nothing; when both stand so at chunks of one hash, both step over them unread. (With deltas over them,
 * chunks do not say what the table holds; then all is read.)
 */
#include <errno.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/manifest/reader.h"

struct side {
	struct manifest *m;
	struct manifest_found *f; /* owned */
	uint64_t at;              /* ordinal of the entry it stands before */
	size_t chunk;             /* that holds it */
	struct chunk_entry x;     /* the entry, once decoded; its path stands in f */
	bool decoded;
};

static bool at_end(const struct side *s)
{
	return s->at >= s->m->stats.entries;
}

static bool at_chunk(const struct side *s)
{
	return s->m->t.count == 1 && s->at == s->m->t.tables[0].chunks[s->chunk].first_ordinal;
}

static int decode(struct side *s)
{
	if (s->decoded)
		return 0;
	int r = s->f->position.owner && s->f->position.next == s->at ? 0 : reader_seek(s->m, s->at, s->f);
	if (r == 0)
		r = reader_step(s->m, s->f, &s->x);
	s->decoded = r == 0;
	return r;
}

/* The decoded entry as others see it: written out only where it is reported. */
static const struct manifest_entry *found(struct side *s)
{
	chunk_entry_found(&s->x, s->at, s->f);
	return &s->f->e;
}

static int key_of(struct side *s, struct path_key *ret)
{
	if (!s->decoded && at_chunk(s)) {
		*ret = s->m->t.tables[0].chunks[s->chunk].first;
		return 0;
	}
	int r = decode(s);
	if (r == 0)
		*ret = (struct path_key){s->f->path, s->x.path_len, manifest_type_is_dir(s->x.type)};
	return r;
}

static void move_to(struct side *s, uint64_t ordinal)
{
	s->at = ordinal;
	s->decoded = false;
	const struct root_table *t = &s->m->t.tables[0];
	const struct root_chunk *c = &t->chunks[s->chunk];
	if (s->m->t.count == 1 && ordinal - c->first_ordinal >= c->entries && s->chunk + 1 < t->count)
		s->chunk++;
}

static bool same_bytes(const void *a, size_t a_len, const void *b, size_t b_len)
{
	return a_len == b_len && (a_len == 0 || memcmp(a, b, a_len) == 0);
}

static const void *key_bytes(const struct side *s, size_t *ret_len)
{
	*ret_len = s->x.key ? s->x.key_len : s->x.path_len - s->x.key_skip;
	return s->x.key ? (const char *)s->x.key : s->f->path + s->x.key_skip;
}

/* Shapes are what writers choose: the same validator may stand in two, but then it has to be written out to be seen. */
static bool same_validator(struct side *a, struct side *b)
{
	const struct validator_shape *p = &a->x.shape, *q = &b->x.shape;

	if (p->head == q->head && p->hex == q->hex && p->tail == q->tail)
		return same_bytes(a->x.validator, (size_t)p->hex + p->tail, b->x.validator,
				  (size_t)q->hex + q->tail);
	return validator_equal(&found(a)->validator, &found(b)->validator);
}

static bool same_entry(struct side *a, struct side *b)
{
	size_t key_a, key_b;
	const void *p = key_bytes(a, &key_a), *q = key_bytes(b, &key_b);

	if (a->x.type == MANIFEST_DIR && b->x.type == MANIFEST_DIR)
		return true;
	return a->x.type == b->x.type && a->x.size == b->x.size && a->x.mtime_ns == b->x.mtime_ns &&
	       a->x.mode == b->x.mode && a->x.source == b->x.source && same_validator(a, b) &&
	       same_bytes(p, key_a, q, key_b) &&
	       same_bytes(a->x.target, a->x.target_len, b->x.target, b->x.target_len);
}

static int both(struct side *old, struct side *new_, const struct manifest_diff *diff)
{
	const struct root_chunk *a = &old->m->t.tables[0].chunks[old->chunk],
				*b = &new_->m->t.tables[0].chunks[new_->chunk];

	if (!old->decoded && !new_->decoded && at_chunk(old) && at_chunk(new_) && a->entries == b->entries &&
	    hash256_compare(&a->hash, &b->hash) == 0) {
		move_to(old, a->first_ordinal + a->entries);
		move_to(new_, b->first_ordinal + b->entries);
		return 0;
	}
	int r = decode(old);
	if (r == 0)
		r = decode(new_);
	if (r == 0 && !same_entry(old, new_))
		r = diff->change(diff->ctx, MANIFEST_CHANGED, found(old), found(new_));
	if (r != 0)
		return r;
	move_to(old, old->at + 1);
	move_to(new_, new_->at + 1);
	return 0;
}

static int one(struct side *s, enum manifest_change kind, const struct manifest_diff *diff)
{
	const bool added = kind == MANIFEST_ADDED;
	int r = decode(s);

	if (r == 0)
		r = diff->change(diff->ctx, kind, added ? NULL : found(s), added ? found(s) : NULL);
	if (r == 0)
		move_to(s, s->at + 1);
	return r;
}

static int step(struct side *old, struct side *new_, const struct manifest_diff *diff)
{
	struct path_key a, b;

	if (at_end(old))
		return one(new_, MANIFEST_ADDED, diff);
	if (at_end(new_))
		return one(old, MANIFEST_REMOVED, diff);
	int r = key_of(old, &a);
	if (r == 0)
		r = key_of(new_, &b);
	if (r != 0)
		return r;
	int c = path_key_compare(&a, &b);
	if (c == 0)
		return both(old, new_, diff);
	return c < 0 ? one(old, MANIFEST_REMOVED, diff) : one(new_, MANIFEST_ADDED, diff);
}

/* ---- versions that share their base ---- */

static bool same_table(const struct root_table *a, const struct root_table *b)
{
	if (a->count != b->count || a->entries != b->entries)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (hash256_compare(&a->chunks[i].hash, &b->chunks[i].hash) != 0)
			return false;
	return true;
}

/* How many tables from the base on both have. */
static size_t shared_tables(const struct manifest *a, const struct manifest *b)
{
	size_t n = 0;

	while (n < a->t.count && n < b->t.count && same_table(&a->t.tables[n], &b->t.tables[n]))
		n++;
	return n;
}

/* The edits of a delta, one after the other. */
struct edits {
	struct manifest *m;
	size_t table, chunk;
	struct manifest_cursor cursor;
	struct path_key key; /* of the edit it stands at */
	bool ended;
	char path[MANIFEST_PATH_MAX + 1];
};

static int next_edit(struct edits *e)
{
	const struct root_table *t = &e->m->t.tables[e->table];
	struct chunk_entry x;
	int r = -ENOENT;

	while (r == -ENOENT && e->chunk < t->count) {
		struct chunk_view v;
		r = reader_chunk(e->m, e->table, e->chunk, &v);
		if (r == 0)
			r = chunk_next(&v, &e->cursor, e->path, &x);
		if (r == -ENOENT) {
			e->chunk++;
			e->cursor = (struct manifest_cursor){0};
		}
	}
	if (r == 0)
		e->key = (struct path_key){e->path, x.path_len, manifest_type_is_dir(x.type)};
	e->ended = r == -ENOENT;
	return e->ended ? 0 : r;
}

static int find_side(struct side *s, const struct path_key *k, bool *ret)
{
	int r = reader_find(s->m, k, s->f, &s->x, &s->at);

	s->decoded = *ret = r == 0;
	return r == -ENOENT ? 0 : r;
}

static int compare_at(struct side *old, struct side *new_, const struct path_key *k,
		      const struct manifest_diff *diff)
{
	bool in_old, in_new;
	int r = find_side(old, k, &in_old);

	if (r == 0)
		r = find_side(new_, k, &in_new);
	if (r != 0 || (!in_old && !in_new))
		return r;
	if (in_old && in_new)
		return same_entry(old, new_)
			       ? 0
			       : diff->change(diff->ctx, MANIFEST_CHANGED, found(old), found(new_));
	return in_old ? diff->change(diff->ctx, MANIFEST_REMOVED, found(old), NULL)
		      : diff->change(diff->ctx, MANIFEST_ADDED, NULL, found(new_));
}

/* The stream that stands at the least key; NULL: all ended. */
static const struct edits *least(const struct edits *streams, size_t count)
{
	const struct edits *first = NULL;

	for (size_t i = 0; i < count; i++)
		if (!streams[i].ended && (!first || path_key_compare(&streams[i].key, &first->key) < 0))
			first = &streams[i];
	return first;
}

/* All streams at @k go on. */
static int pass(struct edits *streams, size_t count, const struct path_key *k)
{
	int r = 0;

	for (size_t i = 0; i < count && r == 0; i++)
		if (!streams[i].ended && path_key_compare(&streams[i].key, k) == 0)
			r = next_edit(&streams[i]);
	return r;
}

static int diff_edits(struct side *old, struct side *new_, size_t shared, const struct manifest_diff *diff)
{
	size_t count = 0, most = old->m->t.count + new_->m->t.count;
	CLEANUP(mem_free) void *memory = mem_calloc(most, sizeof(struct edits));
	struct edits *streams = memory;
	char path[MANIFEST_PATH_MAX + 1];
	int r = streams ? 0 : -ENOMEM;

	for (size_t i = shared; r == 0 && i < old->m->t.count; i++)
		streams[count++] = (struct edits){.m = old->m, .table = i};
	for (size_t i = shared; r == 0 && i < new_->m->t.count; i++)
		streams[count++] = (struct edits){.m = new_->m, .table = i};
	for (size_t i = 0; i < count && r == 0; i++)
		r = next_edit(&streams[i]);
	for (const struct edits *e; r == 0 && (e = least(streams, count));) {
		struct path_key k = {path, e->key.len, e->key.dir};
		memcpy(path, e->key.path, e->key.len);
		r = compare_at(old, new_, &k, diff);
		if (r == 0)
			r = pass(streams, count, &k);
	}
	return r;
}

int manifest_diff_run(struct manifest *old, struct manifest *new_, const struct manifest_diff *diff,
		      struct err *err)
{
	struct side a = {.m = old, .f = mem_calloc(1, sizeof *a.f)},
		    b = {.m = new_, .f = mem_calloc(1, sizeof *b.f)};
	size_t shared = shared_tables(old, new_);
	int r = a.f && b.f ? 0 : -ENOMEM;

	if (r == 0 && shared > 0)
		r = diff_edits(&a, &b, shared, diff);
	while (r == 0 && shared == 0 && !(at_end(&a) && at_end(&b)))
		r = step(&a, &b, diff);
	(void)mem_free(a.f);
	(void)mem_free(b.f);
	return r >= 0 ? r : err_set(err, r, "manifest: comparing versions: %s", err_text(r));
}
