/*
 * Recovery: what do these segments mean?
 *
 * The log is a chain: each record names the header CRC of the one before, over the ends of batches and segments, so
 * something is missing exactly where the chain does not hold. The walk goes from record to record; where one is not whole
 * it looks for the next MARK or START, at the beginning of a sector. Does the chain hold there, nothing is missing (it was the rest
 * of a sector). Otherwise there is a hole, and what matters is whether its beginning lies before anything a MARK calls
 * durable. If not, it is a torn tail, and all from there on was never promised. If it does, it is corruption: the group's
 * log is broken until a MARK says that it ends where ours does, or inside the snapshot.
 *
 * A START names where the log before its segment ended. What lies behind that place was cut off by an older recovery.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "metadata/raft/mutant.h"
#include "metadata/wal/internal.h"

struct walk {
	struct wal *w;
	bool replay;                 /* second time: believe what is read */
	struct wal_position durable; /* the furthest any MARK calls durable */
	struct wal_position next;    /* behind the last good record */
	uint64_t batch_end;          /* in the segment of next */
	uint32_t chain;
	struct wal_position
		content; /* behind the last entry or snapshot; what follows is said again in a new segment */
	uint32_t content_chain;
	bool started;  /* a first record was seen */
	bool torn;     /* the log ends at next */
	bool has_hole; /* corruption was seen */
	struct wal_position hole;
};

/* ---- reading ---- */

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int read_segment(struct wal *w, uint64_t number, struct err *err)
{
	struct wal_segment *s = &w->segments[w->segment_count];

	*s = (struct wal_segment){.number = number, .limit = UINT64_MAX};
	int rc = w->ops->size(w->disk, number, &s->size);
	if (rc != 0)
		return err_set(err, rc, "segment %" PRIu64 " of the log: size", number);
	s->size = MIN(s->size, w->c.segment_bytes);
	s->bytes = mem_calloc(1, s->size + 1);
	if (!s->bytes)
		return -ENOMEM;
	w->segment_count++;
	rc = w->ops->read(w->disk, number, 0, s->bytes, s->size);
	return rc == 0 ? 0 : err_set(err, rc, "segment %" PRIu64 " of the log: read", number);
}

static int read_segments(struct wal *w, struct err *err)
{
	uint64_t numbers[WAL_SEGMENTS_MAX];
	uint32_t count;
	int rc = w->ops->list(w->disk, numbers, WAL_SEGMENTS_MAX, &count);

	if (rc != 0)
		return err_set(err, rc, "the log's folder cannot be listed");
	qsort(numbers, count, sizeof numbers[0], by_number);
	for (uint32_t i = 0; i < count && rc == 0; i++)
		rc = read_segment(w, numbers[i], err);
	return rc;
}

/* From the newest back: which segments belong to the log, and where each ends. */
static void link_segments(struct wal *w)
{
	for (uint32_t i = w->segment_count; i-- > 1;) {
		struct wal_segment *s = &w->segments[i];
		struct wal_record r;
		struct wal_position before = {w->segments[i - 1].number, UINT64_MAX};
		if (s->is_void)
			continue;
		if (wal_record_decode(s->bytes, s->size, 0, s->number, &r) == 0 && r.kind == WAL_START)
			before = wal_start_decode(r.body);
		for (uint32_t j = i; j-- > 0 && w->segments[j].number >= before.segment;) {
			w->segments[j].is_void = w->segments[j].number > before.segment;
			if (w->segments[j].number == before.segment)
				w->segments[j].limit = before.offset;
		}
	}
}

/* ---- believing ---- */

/* The log ends in (@index, @term), at or below the snapshot: nothing of it matters yet. */
static void end_below_snapshot(struct wal_group *g, uint64_t index, uint64_t term)
{
	g->count = 0;
	g->last = index;
	g->last_term = term;
	g->broken = false;
}

static void replay_mark(struct wal_group *g, const struct wal_record *r)
{
	struct wal_mark m = wal_mark_decode(r->body);

	g->hard = m.hard;
	g->lost_to = m.lost_to;
	g->lost_term = m.lost_term;
	g->end = r->index;
	g->end_term = r->term;
	g->marked = true;
	if (r->index == g->last && r->term == g->last_term)
		g->broken = false;
	else if (r->index <= g->snapshot)
		end_below_snapshot(g, r->index, r->term);
	else
		g->broken = true;
}

static int keep_entry(struct wal *w, struct wal_group *g, const struct wal_record *r)
{
	g->count = r->index - g->snapshot - 1;
	if (g->count == w->c.entries_max)
		return -E2BIG;
	if (g->count == g->room) {
		uint64_t room = MAX(g->room * 2, 64);
		struct raft_entry *more = mem_resize(g->entries, room, sizeof *more);
		if (!more)
			return -ENOMEM;
		g->entries = more;
		g->room = room;
	}
	struct raft_entry e = {.index = r->index, .term = r->term, .kind = r->flags, .len = r->len};
	e.data = r->len ? r->body : NULL;
	g->entries[g->count++] = e;
	g->last = r->index;
	g->last_term = r->term;
	return 0;
}

static int replay_entry(struct wal *w, struct wal_group *g, const struct wal_record *r)
{
	if (r->index <= g->snapshot) {
		end_below_snapshot(g, r->index, r->term);
		return 0;
	}
	if (r->index > g->last + 1)
		g->broken = true;
	if (g->broken)
		return 0;
	/* A snapshot was taken over from a leader, and the power went before this log was replaced: what follows in
	 * it is of another history. */
	if (g->last == g->snapshot)
		g->follows = g->last_term == g->snapshot_term;
	return keep_entry(w, g, r);
}

static int replay_record(struct wal *w, struct wal_segment *s, const struct wal_record *r)
{
	if (r->kind == WAL_START)
		return 0;
	if (r->group >= w->c.groups)
		return -E2BIG;
	struct wal_group *g = &w->groups[r->group];
	if (r->kind == WAL_MARK) {
		replay_mark(g, r);
		return 0;
	}
	g->end = r->index;
	g->end_term = r->term;
	s->last[r->group] = MAX(s->last[r->group], r->index);
	if (r->kind == WAL_ENTRY)
		return replay_entry(w, g, r);
	if (r->index <= g->snapshot)
		end_below_snapshot(g, r->index, r->term);
	else
		g->broken = true; /* the snapshot was durable before this record was */
	return 0;
}

/* ---- walking ---- */

/* Whether the log ends here: what is missing was never promised. Otherwise every group has to prove that it goes on. */
static bool hole_ends_log(struct walk *k)
{
	if (!k->replay)
		return false;
	if (MUTANT(CUT_DURABLE) || !wal_position_is_before(k->next, k->durable)) {
		k->torn = true;
		return true;
	}
	if (!k->has_hole)
		k->hole = k->next;
	k->has_hole = true;
	for (uint32_t i = 0; i < k->w->c.groups; i++) {
		k->w->groups[i].broken = true;
		k->w->groups[i].marked = false;
	}
	return false;
}

static bool is_seal(const struct wal_record *r)
{
	return r->kind == WAL_MARK && r->flags == WAL_SEAL && !MUTANT(SEAL_MOVES_END);
}

/* A seal says what is durable, but the log ends before it: what should have been written over it may be missing. */
static int take_record(struct walk *k, struct wal_segment *s, uint64_t at, const struct wal_record *r)
{
	if (r->kind == WAL_MARK) {
		struct wal_mark m = wal_mark_decode(r->body);
		if (wal_position_is_before(k->durable, m.durable))
			k->durable = m.durable;
		if (is_seal(r))
			return k->replay ? replay_record(k->w, s, r) : 0;
		k->batch_end = at + m.bytes;
	} else if (r->kind == WAL_START) {
		k->batch_end = at + wal_record_bytes(r->len);
	}
	k->started = true;
	k->chain = r->crc;
	k->next = (struct wal_position){s->number, at + wal_record_bytes(r->len)};
	if (k->next.offset >= k->batch_end) /* what fills the sector belongs to the batch */
		k->next.offset =
			(k->next.offset + WAL_SECTOR_BYTES - 1) / WAL_SECTOR_BYTES * WAL_SECTOR_BYTES;
	if (r->kind == WAL_ENTRY || r->kind == WAL_SNAPSHOT) {
		k->content = k->next;
		k->content_chain = r->crc;
	}
	return k->replay ? replay_record(k->w, s, r) : 0;
}

static bool is_anchor(const struct wal_record *r, uint64_t at)
{
	return at % WAL_SECTOR_BYTES == 0 && (r->kind == WAL_MARK || (r->kind == WAL_START && at == 0));
}

static int walk_segment(struct walk *k, struct wal_segment *s)
{
	uint64_t at = 0, end = MIN(s->limit, s->size);

	while (at < end && !k->torn) {
		struct wal_record r;
		bool whole = wal_record_decode(s->bytes, s->size, at, s->number, &r) == 0;
		bool linked = whole && (!k->started || r.chain == k->chain);
		if (whole && !linked && is_anchor(&r, at))
			linked = !hole_ends_log(k);
		if (k->torn)
			break;
		/* Only an anchor begins a batch; a record of an older one may have survived behind it. */
		bool begins =
			at % WAL_SECTOR_BYTES == 0 && (k->next.segment != s->number || at >= k->batch_end);
		if (!linked || (begins && !is_anchor(&r, at))) {
			at = (at / WAL_SECTOR_BYTES + 1) * WAL_SECTOR_BYTES;
			continue;
		}
		int rc = take_record(k, s, at, &r);
		if (rc != 0)
			return rc;
		at = is_seal(&r) ? at + wal_record_bytes(r.len) : k->next.offset;
	}
	return 0;
}

static int walk_all(struct walk *k)
{
	for (uint32_t i = 0; i < k->w->segment_count && !k->torn; i++) {
		struct wal_segment *s = &k->w->segments[i];
		int rc = s->is_void ? 0 : walk_segment(k, s);
		if (rc != 0)
			return rc;
	}
	return 0;
}

/* ---- the result ---- */

static int judge_group(const struct walk *k, uint32_t number, struct err *err)
{
	struct wal_group *g = &k->w->groups[number];

	/* The snapshot of a group's birth, index 1, may be older than its log. */
	if ((k->has_hole || g->snapshot > 1) && !g->marked)
		return err_set(err, -ERR_CORRUPT,
			       "the log is damaged at byte %" PRIu64 " of segment %" PRIu64
			       " and says nothing of group %" PRIu32 " behind that",
			       k->hole.offset, k->hole.segment, number);
	bool more = g->end_term > g->lost_term || (g->end_term == g->lost_term && g->end > g->lost_to);
	if (g->broken && more) {
		g->lost_to = g->end;
		g->lost_term = g->end_term;
	}
	if (g->last <= g->snapshot || !g->follows) {
		g->count = 0;
		g->last = g->snapshot;
		g->last_term = g->snapshot_term;
	}
	return 0;
}

int wal_recover(struct wal *w, struct err *err)
{
	int rc = read_segments(w, err);

	if (rc != 0)
		return rc;
	link_segments(w);
	struct walk first = {.w = w}, second = {.w = w, .replay = true};
	rc = walk_all(&first);
	second.durable = first.durable;
	if (rc == 0)
		rc = walk_all(&second);
	for (uint32_t i = 0; i < w->c.groups && rc == 0; i++)
		rc = judge_group(&second, i, err);
	w->end = second.content;
	w->chain = second.content_chain;
	/* Segments without entries, which a process that ends again and again leaves, go at once. */
	for (uint32_t i = 0; i < w->segment_count; i++)
		if (w->segments[i].number > w->end.segment)
			w->segments[i].is_void = true;
	return rc;
}

void wal_forget_read(struct wal *w)
{
	for (uint32_t i = 0; i < w->segment_count; i++)
		w->segments[i].bytes = mem_free(w->segments[i].bytes);
	for (uint32_t i = 0; i < w->c.groups; i++) {
		w->groups[i].entries = mem_free(w->groups[i].entries);
		w->groups[i].count = w->groups[i].room = 0;
	}
}
