#include "metadata/raft/log.h"

#include <errno.h>
#include <string.h>

#include "common/base/mem.h"

int raft_log_init(struct raft_log *l, uint32_t entries_max, uint64_t bytes_max)
{
	*l = (struct raft_log){.mask = entries_max - 1, .bytes_max = bytes_max};
	l->ring = mem_calloc(entries_max, sizeof *l->ring);
	l->place = mem_calloc(entries_max, sizeof *l->place);
	l->bytes = mem_alloc(bytes_max);
	if (l->ring && l->place && l->bytes)
		return 0;
	raft_log_done(l);
	return -ENOMEM;
}

void raft_log_done(struct raft_log *l)
{
	l->ring = mem_free(l->ring);
	l->place = mem_free(l->place);
	l->bytes = mem_free(l->bytes);
}

void raft_log_reset(struct raft_log *l, uint64_t index, uint64_t term, uint64_t next_batch)
{
	l->base = l->last = l->stable = l->saved = l->commit = l->handed = index;
	l->base_term = term;
	l->bytes_head = 0;
	l->cut_batch = next_batch;
	l->cut_index = index + 1;
}

struct raft_entry *raft_log_at(const struct raft_log *l, uint64_t index)
{
	return index > l->base && index <= l->last ? &l->ring[index & l->mask] : NULL;
}

uint64_t raft_log_term(const struct raft_log *l, uint64_t index)
{
	const struct raft_entry *e = raft_log_at(l, index);

	if (e)
		return e->term;
	return index == l->base ? l->base_term : 0;
}

bool raft_log_matches(const struct raft_log *l, uint64_t index, uint64_t term)
{
	return index >= l->base && index <= l->last && raft_log_term(l, index) == term;
}

bool raft_log_is_covered(const struct raft_log *l, uint64_t index, uint64_t term)
{
	uint64_t own = raft_log_last_term(l);

	return term > own || (term == own && index >= l->last);
}

/* Where the bytes of an entry of @len go: never over the end of the ring. */
static uint64_t place_for(const struct raft_log *l, uint64_t len)
{
	uint64_t at = l->bytes_head % l->bytes_max;

	return at + len > l->bytes_max ? l->bytes_head + (l->bytes_max - at) : l->bytes_head;
}

bool raft_log_fits(const struct raft_log *l, uint64_t count, uint64_t bytes, uint64_t longest)
{
	uint64_t entries = l->last - l->base;
	uint64_t used = entries ? l->bytes_head - l->place[(l->base + 1) & l->mask] : 0;

	/* At most one gap at the end of the ring, shorter than the entry that did not fit there. */
	return entries + count <= l->mask + 1 && used + bytes + longest <= l->bytes_max;
}

void raft_log_push(struct raft_log *l, const struct raft_entry *e, uint64_t term)
{
	uint64_t place = place_for(l, e->len), slot = ++l->last & l->mask;
	uint8_t *to = l->bytes + place % l->bytes_max;

	if (e->len)
		memcpy(to, e->data, e->len);
	l->place[slot] = place;
	l->ring[slot] = (struct raft_entry){.index = l->last, .term = term, .kind = e->kind, .len = e->len};
	l->ring[slot].data = e->len ? to : NULL;
	l->bytes_head = place + e->len;
}

void raft_log_cut(struct raft_log *l, uint64_t index, uint64_t next_batch)
{
	CHECK(index <= l->last && index > l->base);
	CHECK(index > l->commit);
	l->bytes_head = l->place[index & l->mask];
	l->last = index - 1;
	l->stable = MIN(l->stable, l->last);
	l->saved = MIN(l->saved, l->last);
	l->cut_index = l->cut_batch ? MIN(l->cut_index, index) : index;
	l->cut_batch = next_batch;
}

void raft_log_drop(struct raft_log *l, uint64_t index)
{
	CHECK(index >= l->base && index <= l->handed);
	l->base_term = raft_log_term(l, index);
	l->base = index;
}

void raft_log_persisted(struct raft_log *l, const struct raft_batch *batch)
{
	uint64_t to = MIN(batch->last, l->last);

	/* What an older batch wrote at or above a cut was written over since, or will be. */
	if (batch->number < l->cut_batch)
		to = MIN(to, l->cut_index - 1);
	else
		l->cut_batch = 0;
	l->stable = MAX(l->stable, to);
}

uint64_t raft_log_last_of_term(const struct raft_log *l, uint64_t index, uint64_t term, uint64_t *ret_term)
{
	*ret_term = 0;
	if (index > l->last)
		return index; /* nothing is known there, so nothing can be skipped */
	while (index > l->base && raft_log_term(l, index) > term)
		index--;
	*ret_term = raft_log_term(l, index);
	return index;
}
