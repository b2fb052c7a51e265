#include "cache-node/cache/index.h"

#include <errno.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/mem.h"

#define SLOTS_FIRST 64

void index_done(struct index *x)
{
	(void)mem_free(x->slots);
	*x = (struct index){.slots = NULL};
}

/* The slot where @id stands, or the free one where it would. There always is a free one. */
static size_t slot_of(const struct index *x, const struct hash256 *id)
{
	size_t mask = x->slot_count - 1;
	size_t i = (size_t)index_key(id) & mask; /* an id is a SHA-256: its bytes are as good as a hash */
	while (x->slots[i].bytes && hash256_compare(&x->slots[i].id, id) != 0)
		i = (i + 1) & mask;
	return i;
}

static int grow(struct index *x)
{
	struct index bigger = {.slot_count = x->slot_count ? 2 * x->slot_count : SLOTS_FIRST,
			       .count = x->count};
	bigger.slots = mem_calloc(bigger.slot_count, sizeof *bigger.slots);
	if (!bigger.slots)
		return -ENOMEM;
	for (size_t i = 0; i < x->slot_count; i++)
		if (x->slots[i].bytes)
			bigger.slots[slot_of(&bigger, &x->slots[i].id)] = x->slots[i];
	(void)mem_free(x->slots);
	*x = bigger;
	return 0;
}

int index_put(struct index *x, const struct index_entry *e)
{
	CHECK(e->bytes > 0);
	if (4 * (x->count + 1) > 3 * x->slot_count) {
		int r = x->count >= INDEX_ENTRIES_MAX ? -EBUSY : grow(x);
		if (r)
			return r;
	}
	size_t i = slot_of(x, &e->id);
	x->count += x->slots[i].bytes == 0;
	x->slots[i] = *e;
	return 0;
}

bool index_take(struct index *x, const struct hash256 *id, struct index_entry *ret)
{
	if (!x->slot_count)
		return false;
	size_t mask = x->slot_count - 1, hole = slot_of(x, id);
	if (!x->slots[hole].bytes)
		return false;
	if (ret)
		*ret = x->slots[hole];
	/* Entries behind the hole move up unless they stand between their own place and it (Knuth 6.4, algorithm R). */
	for (size_t i = (hole + 1) & mask; x->slots[i].bytes; i = (i + 1) & mask) {
		size_t home = (size_t)get_le64(x->slots[i].id.bytes) & mask;
		if (((i - home) & mask) < ((i - hole) & mask))
			continue;
		x->slots[hole] = x->slots[i];
		hole = i;
	}
	memset(&x->slots[hole], 0, sizeof x->slots[hole]);
	x->count--;
	return true;
}

const struct index_entry *index_find(const struct index *x, const struct hash256 *id)
{
	if (!x->slot_count)
		return NULL;
	const struct index_entry *e = &x->slots[slot_of(x, id)];
	return e->bytes ? e : NULL;
}

void index_confirm(struct index *x, const struct hash256 *id, uint64_t bytes)
{
	struct index_entry *e = &x->slots[slot_of(x, id)];
	CHECK(e->bytes && bytes);
	e->claimed = false;
	e->bytes = bytes;
}

size_t index_marked(struct index *x, uint8_t tier, uint8_t mark, size_t *at, struct index_entry *ret,
		    size_t max)
{
	size_t n = 0, end = MIN(*at + INDEX_SLOTS_AT_ONCE, x->slot_count);
	for (; *at < end && n < max; ++*at) {
		struct index_entry *e = &x->slots[*at];
		if (!e->bytes || e->tier != tier || e->mark == mark)
			continue;
		e->mark = mark;
		ret[n++] = *e;
	}
	return n;
}

size_t index_claimed(const struct index *x, uint8_t tier, size_t *at, struct hash256 *ret, size_t max)
{
	size_t n = 0, end = MIN(*at + INDEX_SLOTS_AT_ONCE, x->slot_count);
	for (; *at < end && n < max; ++*at) {
		const struct index_entry *e = &x->slots[*at];
		if (e->bytes && e->claimed && e->tier == tier)
			ret[n++] = e->id;
	}
	return n;
}

uint64_t index_key(const struct hash256 *id)
{
	return get_le64(id->bytes);
}

const struct index_entry *index_find_key(const struct index *x, uint64_t key)
{
	if (!x->slot_count)
		return NULL;
	size_t mask = x->slot_count - 1, i = (size_t)key & mask;
	while (x->slots[i].bytes && index_key(&x->slots[i].id) != key)
		i = (i + 1) & mask;
	return x->slots[i].bytes ? &x->slots[i] : NULL;
}
