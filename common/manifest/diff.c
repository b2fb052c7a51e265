/*
 * Both tables are walked side by side. A side that stands at the beginning of a chunk knows its key from the root and has
 * decoded nothing; when both stand so at chunks of one hash, both step over them unread.
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
	return s->at == s->m->list[s->chunk].first_ordinal;
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
		*ret = s->m->list[s->chunk].first;
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
	const struct root_chunk *c = &s->m->list[s->chunk];
	if (ordinal - c->first_ordinal >= c->entries && s->chunk + 1 < s->m->count)
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
	const struct root_chunk *a = &old->m->list[old->chunk], *b = &new_->m->list[new_->chunk];

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

int manifest_diff_run(struct manifest *old, struct manifest *new_, const struct manifest_diff *diff,
		      struct err *err)
{
	struct side a = {.m = old, .f = mem_calloc(1, sizeof *a.f)},
		    b = {.m = new_, .f = mem_calloc(1, sizeof *b.f)};
	int r = a.f && b.f ? 0 : -ENOMEM;

	while (r == 0 && !(at_end(&a) && at_end(&b)))
		r = step(&a, &b, diff);
	(void)mem_free(a.f);
	(void)mem_free(b.f);
	return r >= 0 ? r : err_set(err, r, "manifest: comparing versions: %s", err_text(r));
}
