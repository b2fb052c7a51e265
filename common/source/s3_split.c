/*
 * Life of a range: new (its first page is on its way) -> begun -> done (it met a key beyond its end, or the listing's end) ->
 * gone, joined with the range after it once that has begun with the same key.
 */
#include "common/source/s3_split.h"

#include <errno.h>
#include <string.h>

#include "common/base/list.h"
#include "common/base/mem.h"

enum { KEY_ROOM = SOURCE_KEY_MAX, GUESSES_FREE = 1, GUESSES_EARLY = 32, GUESS_SHARE = 8, FURTHER_MAX = 16 };
#define NO_SLOT SIZE_MAX

/* A key that is kept; none: text NULL. */
struct kept {
	char *text;
	size_t len;
};

struct range {
	struct list node; /* in order of keys */
	size_t slot;      /* NO_SLOT: done */
	bool begun;
	unsigned turn;   /* which kind of cut is next */
	struct kept end; /* its last key may be this one; none: the listing's end */
	struct kept
		first; /* the first key it met, perhaps beyond its end; none: the listing ended. Once begun */
	struct kept beyond;     /* the first key after its end, as this range met it. Once done */
	struct kept page, last; /* first and last key of the page before; none: no page held a key */
	struct kept after;      /* where it began */
	bool uncuttable;        /* until its next page */
};

struct s3_split {
	size_t slots, base;
	struct list ranges;
	struct range *of_slot[S3_SPLIT_SLOTS_MAX];
	struct s3_alphabet alphabet;
	uint64_t pages;          /* that held keys of their ranges */
	uint64_t guesses_failed; /* ranges that began with nothing */
	size_t guesses;          /* ranges that have not begun */
	unsigned furthers;
};

static struct s3_key key_of(const struct kept *k)
{
	return (struct s3_key){k->text, k->len};
}

static bool keep(struct kept *k, struct s3_key key)
{
	char *copy = key.bytes ? mem_strndup(key.bytes, key.len) : NULL;

	if (key.bytes && !copy)
		return false;
	mem_free(k->text);
	*k = (struct kept){copy, key.len};
	return true;
}

static void move(struct kept *to, struct kept *from)
{
	mem_free(to->text);
	*to = *from;
	*from = (struct kept){0};
}

static struct range *range_free(struct range *r)
{
	if (!r)
		return NULL;
	list_remove(&r->node);
	mem_free(r->end.text);
	mem_free(r->first.text);
	mem_free(r->beyond.text);
	mem_free(r->page.text);
	mem_free(r->last.text);
	mem_free(r->after.text);
	return mem_free(r);
}
DEFINE_CLEANUP(struct range *, range_free)

static struct range *range_new(size_t slot)
{
	struct range *r = mem_calloc(1, sizeof *r);

	if (!r)
		return NULL;
	list_init(&r->node);
	r->slot = slot;
	return r;
}

static struct range *range_after(const struct s3_split *s, const struct range *r)
{
	return r->node.next == &s->ranges ? NULL : LIST_ENTRY(r->node.next, struct range, node);
}

static struct range *range_before(const struct s3_split *s, const struct range *r)
{
	return r->node.prev == &s->ranges ? NULL : LIST_ENTRY(r->node.prev, struct range, node);
}

int s3_split_new(size_t slots, size_t base, struct s3_split **ret)
{
	CHECK(slots >= 1 && slots <= S3_SPLIT_SLOTS_MAX);
	CLEANUP(s3_split_free) struct s3_split *s = mem_calloc(1, sizeof *s);
	if (!s)
		return -ENOMEM;
	list_init(&s->ranges);
	struct range *all = range_new(0);
	if (!all)
		return -ENOMEM;
	list_push_back(&s->ranges, &all->node);
	s->of_slot[0] = all;
	s->slots = slots;
	s->base = base;
	s->guesses = 1;
	*ret = TAKE(s);
	return 0;
}

struct s3_split *s3_split_free(struct s3_split *s)
{
	if (!s)
		return NULL;
	while (s->ranges.next && !list_empty(&s->ranges))
		(void)range_free(LIST_ENTRY(s->ranges.next, struct range, node));
	return mem_free(s);
}

struct s3_key s3_split_end(const struct s3_split *s, size_t slot)
{
	return key_of(&s->of_slot[slot]->end);
}

struct s3_key s3_split_after(const struct s3_split *s, size_t slot)
{
	const struct range *r = s->of_slot[slot];

	return key_of(r->last.text ? &r->last : &r->after);
}

bool s3_split_over(const struct s3_split *s)
{
	const struct range *r = LIST_ENTRY(s->ranges.next, struct range, node);

	return r->slot == NO_SLOT && r->node.next == &s->ranges;
}

/* ---- pages ---- */

static void free_slot(struct s3_split *s, struct range *r)
{
	s->of_slot[r->slot] = NULL;
	r->slot = NO_SLOT;
}

/* Joins @r, which is done, with the range after it, where that has begun. False: the seam does not hold. */
static bool join(struct s3_split *s, struct range *r)
{
	struct range *next = range_after(s, r);

	if (!next || !next->begun || r->slot != NO_SLOT)
		return true;
	if (s3_key_compare(key_of(&r->beyond), key_of(&next->first)) != 0)
		return false;
	move(&next->first, &r->first);
	(void)range_free(r);
	return true;
}

/* The range goes on through the one after it, which is gone. */
static enum s3_split_then go_further(struct s3_split *s, struct range *r, size_t *ret_stop)
{
	struct range *next = range_after(s, r);

	if (++s->furthers > FURTHER_MAX)
		return S3_SPLIT_DISORDER;
	*ret_stop = next->slot;
	if (next->slot != NO_SLOT)
		free_slot(s, next);
	move(&r->end, &next->end);
	(void)range_free(next);
	return S3_SPLIT_FURTHER;
}

static bool learn(struct s3_split *s, struct range *r, const struct s3_seen *seen)
{
	s3_alphabet_learn(&s->alphabet, seen->first);
	s3_alphabet_learn(&s->alphabet, seen->last);
	r->uncuttable = false;
	return keep(&r->page, seen->first) && keep(&r->last, seen->last);
}

/* The first keys of a range came, or its end without any. */
static bool begin(struct s3_split *s, struct range *r, const struct s3_seen *seen)
{
	if (r->begun || (!seen->first.bytes && seen->more))
		return true;
	r->begun = true;
	s->guesses--;
	if (!seen->first.bytes || s3_key_compare(seen->first, seen->beyond) == 0)
		s->guesses_failed++;
	return keep(&r->first, seen->first);
}

/* The range is done: the seams at both its ends are looked at. */
static enum s3_split_then end(struct s3_split *s, struct range *r, const struct s3_seen *seen,
			      size_t *ret_stop)
{
	struct range *next = range_after(s, r);

	if (next && next->begun && s3_key_compare(seen->beyond, key_of(&next->first)) != 0)
		return go_further(s, r, ret_stop);
	if (!keep(&r->beyond, seen->beyond))
		return S3_SPLIT_MEMORY;
	free_slot(s, r);
	struct range *before = range_before(s, r);
	(void)join(s, r); /* it was looked at above */
	return before && !join(s, before) ? S3_SPLIT_DISORDER : S3_SPLIT_ENDED;
}

enum s3_split_then s3_split_page(struct s3_split *s, size_t slot, const struct s3_seen *seen,
				 size_t *ret_stop)
{
	struct range *r = s->of_slot[slot], *before = range_before(s, r);

	*ret_stop = NO_SLOT;
	if (s->slots > 1 && !seen->ordered)
		return S3_SPLIT_DISORDER;
	if (!begin(s, r, seen))
		return S3_SPLIT_MEMORY;
	if (seen->first.bytes && s3_key_compare(seen->first, seen->beyond) < 0) {
		s->pages++;
		if (!learn(s, r, seen))
			return S3_SPLIT_MEMORY;
	}
	if (seen->beyond.bytes || !seen->more)
		return end(s, r, seen, ret_stop);
	return before && !join(s, before) ? S3_SPLIT_DISORDER : S3_SPLIT_ON;
}

/* ---- stealing ---- */

static size_t find_slot(const struct s3_split *s)
{
	for (size_t i = 0; i < s->slots; i++)
		if (!s->of_slot[i])
			return i;
	return NO_SLOT;
}

/* Guesses that may be wrong: as many as pages held something, later a share of them. */
static bool may_guess(const struct s3_split *s)
{
	uint64_t early = MIN(s->pages, (uint64_t)GUESSES_EARLY);
	uint64_t most = s->pages ? GUESSES_FREE + early + (s->pages - early) / GUESS_SHARE : 0;

	return s->guesses + s->guesses_failed < most;
}

static struct s3_stretch stretch_of(const struct s3_split *s, const struct range *r)
{
	return (struct s3_stretch){key_of(&r->page), key_of(&r->last), key_of(&r->end), s->base};
}

/* The range with the most left, at least a page and a half. */
static struct range *find_victim(const struct s3_split *s)
{
	struct range *best = NULL;
	double most = 1.5;

	for (size_t i = 0; i < s->slots; i++) {
		struct range *r = s->of_slot[i];
		if (!r || !r->last.text || r->uncuttable)
			continue;
		const struct s3_stretch left = stretch_of(s, r);
		double pages = s3_cut_pages(&s->alphabet, &left);
		if (pages > most) {
			most = pages;
			best = r;
		}
	}
	return best;
}

static size_t find_cut(const struct s3_split *s, struct range *r, char cut[KEY_ROOM])
{
	static const enum s3_cut_kind turns[] = {S3_CUT_DEEP, S3_CUT_NUMBER, S3_CUT_SHALLOW, S3_CUT_MIDDLE};
	const struct s3_stretch left = stretch_of(s, r);
	size_t len = 0;

	for (size_t i = 0; i < LENGTH(turns) && len == 0; i++)
		len = s3_cut(&s->alphabet, &left, turns[r->turn++ % LENGTH(turns)], cut);
	return len;
}

bool s3_split_steal(struct s3_split *s, size_t *ret_slot, struct s3_key *ret_after)
{
	char cut[KEY_ROOM];
	size_t slot = find_slot(s), len = 0;
	struct range *victim = NULL;

	if (slot == NO_SLOT || !may_guess(s))
		return false;
	while (len == 0 && (victim = find_victim(s))) {
		len = find_cut(s, victim, cut);
		victim->uncuttable = len == 0;
	}
	CLEANUP(range_free) struct range *r = len ? range_new(slot) : NULL;
	if (!r || !keep(&r->after, (struct s3_key){cut, len}))
		return false; /* without memory it goes on with the ranges it has */
	struct kept end = {0};
	if (!keep(&end, key_of(&r->after)))
		return false;
	r->turn = victim->turn;
	move(&r->end, &victim->end);
	victim->end = end;
	list_push_front(&victim->node, &r->node); /* behind the victim */
	s->of_slot[slot] = r;
	s->guesses++;
	*ret_slot = slot;
	*ret_after = key_of(&r->after);
	(void)TAKE(r);
	return true;
}

void s3_split_check(const struct s3_split *s)
{
	size_t running = 0, fresh = 0;

	for (const struct list *pos = s->ranges.next; pos != &s->ranges; pos = pos->next) {
		const struct range *r = LIST_ENTRY((struct list *)(uintptr_t)pos, struct range, node);
		const struct range *next = range_after(s, r);
		CHECK(r->slot == NO_SLOT || s->of_slot[r->slot] == r);
		CHECK(r->slot != NO_SLOT || r->begun);
		CHECK((next != NULL) == (r->end.text != NULL));
		CHECK(!next || s3_key_compare(key_of(&r->end), key_of(&next->end)) < 0);
		CHECK(!next || r->slot != NO_SLOT || !next->begun); /* else they would be one */
		running += r->slot != NO_SLOT;
		fresh += !r->begun;
	}
	CHECK(fresh == s->guesses);
	for (size_t i = 0; i < s->slots; i++)
		running -= s->of_slot[i] != NULL;
	CHECK(running == 0);
}
