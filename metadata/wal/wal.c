/* The writer: batches behind each other, segments behind each other, and what is known to be durable. */
#include "metadata/wal/wal.h"

#include <errno.h>
#include <string.h>

#include "common/base/mem.h"
#include "metadata/wal/internal.h"

#define MARK_BYTES wal_record_bytes(WAL_MARK_BYTES)

/* ---- life ---- */

static bool config_is_valid(const struct wal_config *c)
{
	return c->groups > 0 && c->groups <= WAL_GROUPS_MAX && c->segment_bytes >= 32 * WAL_SECTOR_BYTES &&
	       c->segment_bytes / 2 >= (c->groups + 2ULL) * WAL_SECTOR_BYTES &&
	       c->segment_bytes % WAL_SECTOR_BYTES == 0 && c->segment_bytes <= WAL_BODY_MAX * 4ULL &&
	       c->entries_max > 0;
}

int wal_open(const struct wal_config *c, const struct wal_ops *ops, void *disk,
	     const struct wal_position *snapshots, struct wal **ret, struct err *err)
{
	if (!config_is_valid(c))
		return err_set(err, -EINVAL, "the log's configuration");
	CLEANUP(wal_free) struct wal *w = mem_calloc(1, sizeof *w);
	if (!w)
		return -ENOMEM;
	*w = (struct wal){.c = *c, .ops = ops, .disk = disk};
	w->buf = mem_alloc(c->segment_bytes / 2);
	if (!w->buf)
		return -ENOMEM;
	for (uint32_t i = 0; i < c->groups; i++) {
		w->groups[i].snapshot = snapshots[i].segment;
		w->groups[i].snapshot_term = snapshots[i].offset;
	}
	int rc = wal_recover(w, err);
	if (rc != 0)
		return rc;
	*ret = TAKE(w);
	return 0;
}

struct wal *wal_free(struct wal *w)
{
	if (w) {
		wal_forget_read(w);
		w->buf = mem_free(w->buf);
	}
	return mem_free(w);
}

struct wal_state wal_state(const struct wal *w, uint32_t group)
{
	const struct wal_group *g = &w->groups[group];

	return (struct wal_state){g->hard, g->last, g->last_term, g->lost_to, g->lost_term};
}

const struct raft_entry *wal_entry(const struct wal *w, uint32_t group, uint64_t index)
{
	const struct wal_group *g = &w->groups[group];

	return index > g->snapshot && index - g->snapshot <= g->count ? &g->entries[index - g->snapshot - 1]
								      : NULL;
}

struct wal_position wal_end(const struct wal *w)
{
	return w->end;
}

struct wal_position wal_durable(const struct wal *w)
{
	return w->durable;
}

/* ---- records ---- */

/* Adds @r, behind the record with @chain, to the batch at @out; returns its bytes. */
static uint64_t put(const struct wal *w, struct wal_record *r, uint32_t *chain, uint8_t *out)
{
	r->segment = w->end.segment;
	r->chain = *chain;
	wal_record_encode(r, out);
	*chain = r->crc;
	return wal_record_bytes(r->len);
}

static uint64_t put_mark(const struct wal *w, uint32_t group, uint64_t batch_bytes, uint32_t flags,
			 uint32_t *chain, uint8_t *out)
{
	const struct wal_group *g = &w->groups[group];
	struct wal_mark m = {.hard = g->hard, .durable = w->durable, .bytes = batch_bytes};
	uint8_t body[WAL_MARK_BYTES];

	m.lost_to = g->lost_to;
	m.lost_term = g->lost_term;
	wal_mark_encode(&m, body);
	struct wal_record r = {.kind = WAL_MARK, .group = group, .index = g->last, .term = g->last_term};
	r.flags = flags;
	r.durable_index = g->durable_index;
	r.body = body;
	r.len = WAL_MARK_BYTES;
	return put(w, &r, chain, out);
}

/* Fills the sector up and writes @len bytes of the buffer at the end. The end itself stays. */
static int write_out(struct wal *w, uint64_t at, uint64_t len, uint64_t *ret_len)
{
	uint64_t whole = (len + WAL_SECTOR_BYTES - 1) / WAL_SECTOR_BYTES * WAL_SECTOR_BYTES;

	memset(w->buf + len, 0, whole - len);
	*ret_len = whole;
	return w->ops->write(w->disk, w->end.segment, at, w->buf, whole);
}

static int write_batch(struct wal *w, uint64_t len, uint32_t chain)
{
	uint64_t whole;
	int rc = write_out(w, w->end.offset, len, &whole);

	if (rc != 0)
		return rc;
	w->end.offset += whole;
	w->chain = chain;
	return 0;
}

/* ---- segments ---- */

/* A new segment: where the log ended, and how each group stands, so that older segments may go. */
static int start_segment(struct wal *w, uint64_t number)
{
	uint8_t body[WAL_START_BYTES];
	uint32_t chain = w->chain;

	if (w->segment_count == WAL_SEGMENTS_MAX)
		return -ENOSPC;
	int rc = w->ops->create(w->disk, number, w->c.segment_bytes);
	if (rc != 0)
		return rc;
	w->segments[w->segment_count++] = (struct wal_segment){.number = number, .limit = UINT64_MAX};
	wal_start_encode(w->end, body);
	w->end = (struct wal_position){number, 0};
	struct wal_record r = {.kind = WAL_START, .body = body, .len = WAL_START_BYTES};
	uint64_t len = put(w, &r, &chain, w->buf);
	rc = write_batch(w, len, chain);
	for (uint32_t i = 0; i < w->c.groups && rc == 0; i++) {
		len = put_mark(w, i, MARK_BYTES, 0, &chain, w->buf);
		rc = write_batch(w, len, chain);
	}
	return rc;
}

/* Whether nothing in the segment @s is needed any more. */
static bool is_done_with(const struct wal *w, const struct wal_segment *s)
{
	if (s->number >= w->durable.segment || w->durable.offset == 0)
		return false; /* the next one must hold its START durably */
	for (uint32_t i = 0; i < w->c.groups; i++)
		if (s->last[i] > w->groups[i].dropped)
			return false;
	return true;
}

static int drop_segments(struct wal *w)
{
	while (w->segment_count > 1 && is_done_with(w, &w->segments[0])) {
		int rc = w->ops->remove(w->disk, w->segments[0].number);
		if (rc != 0)
			return rc;
		w->segment_count--;
		memmove(&w->segments[0], &w->segments[1], w->segment_count * sizeof w->segments[0]);
	}
	return 0;
}

int wal_begin(struct wal *w)
{
	uint64_t newest = w->segment_count ? w->segments[w->segment_count - 1].number : 0;
	int rc = 0;

	wal_forget_read(w);
	for (uint32_t i = 0; i < w->segment_count && rc == 0; i++)
		if (!w->segments[i].is_void)
			rc = w->ops->sync(w->disk, w->segments[i].number);
	if (rc != 0)
		return rc;
	w->durable = (struct wal_position){newest + 1, 0};
	rc = start_segment(w, newest + 1);
	if (rc == 0)
		rc = w->ops->sync(w->disk, newest + 1);
	if (rc != 0)
		return rc;
	w->durable = w->end;
	w->unsynced = newest + 1;
	for (uint32_t i = 0; i < w->c.groups; i++) {
		w->groups[i].durable_index = w->groups[i].last;
		w->groups[i].dropped = w->groups[i].snapshot;
	}
	for (uint32_t i = w->segment_count - 1; i-- > 0 && rc == 0;) {
		if (!w->segments[i].is_void)
			continue;
		rc = w->ops->remove(w->disk, w->segments[i].number);
		w->segment_count--;
		memmove(&w->segments[i], &w->segments[i + 1], (w->segment_count - i) * sizeof w->segments[0]);
	}
	return rc == 0 ? drop_segments(w) : rc;
}

int wal_drop(struct wal *w, uint32_t group, uint64_t index)
{
	w->groups[group].dropped = MAX(w->groups[group].dropped, index);
	return drop_segments(w);
}

/* ---- appending ---- */

/* How many entries from @first go into a batch that has @used bytes already; its bytes then. */
static uint64_t count_entries(const struct wal *w, const struct wal_batch *b, uint64_t first, uint64_t *used)
{
	uint64_t n = 0;

	for (uint64_t i = first; i <= b->last; i++, n++) {
		uint64_t more = wal_record_bytes(b->entry(b->source, i)->len);
		if (*used + more > w->c.segment_bytes / 2)
			break;
		*used += more;
	}
	return n;
}

/* Encodes @count entries from @first behind what the buffer holds. */
static uint64_t put_entries(struct wal *w, uint32_t group, const struct wal_batch *b, uint64_t first,
			    uint64_t count, uint32_t *chain, uint64_t len)
{
	struct wal_group *g = &w->groups[group];
	struct wal_segment *s = &w->segments[w->segment_count - 1];

	for (uint64_t i = first; i < first + count; i++) {
		const struct raft_entry *e = b->entry(b->source, i);
		struct wal_record r = {
			.kind = WAL_ENTRY, .group = group, .flags = e->kind, .index = i, .term = e->term};
		r.durable_index = g->durable_index;
		r.len = e->len;
		r.body = e->data;
		len += put(w, &r, chain, w->buf + len);
		g->last = i;
		g->last_term = e->term;
		s->last[group] = MAX(s->last[group], i);
	}
	return len;
}

/* One batch with as many of the entries from @first as fit; how many to *ret_count. */
static int append_some(struct wal *w, uint32_t group, const struct wal_batch *b, uint64_t first,
		       uint64_t *ret_count)
{
	struct wal_group *g = &w->groups[group];
	bool restores = b->restore_index != 0 && first == b->first;
	uint64_t bytes = MARK_BYTES + (restores ? wal_record_bytes(0) : 0);
	uint64_t count = count_entries(w, b, first, &bytes);

	if (count == 0 && first <= b->last)
		return -EFBIG;
	if (w->end.offset + bytes + WAL_SECTOR_BYTES > w->c.segment_bytes) {
		int rc = start_segment(w, w->end.segment + 1);
		if (rc != 0)
			return rc;
	}
	uint32_t chain = w->chain;
	uint64_t len = put_mark(w, group, bytes, 0, &chain, w->buf);
	if (restores) {
		struct wal_record r = {.kind = WAL_SNAPSHOT,
				       .group = group,
				       .index = b->restore_index,
				       .term = b->restore_term};
		r.durable_index = g->durable_index;
		len += put(w, &r, &chain, w->buf + len);
		g->last = b->restore_index;
		g->last_term = b->restore_term;
	}
	len = put_entries(w, group, b, first, count, &chain, len);
	CHECK(len == bytes);
	*ret_count = count;
	return write_batch(w, len, chain);
}

int wal_append(struct wal *w, uint32_t group, const struct wal_batch *b)
{
	struct wal_group *g = &w->groups[group];
	uint64_t next = b->first, count = 0;

	CHECK(group < w->c.groups && w->segment_count > 0);
	g->hard = b->hard;
	if (b->repaired)
		g->lost_to = g->lost_term = 0;
	g->dirty = true;
	do {
		int rc = append_some(w, group, b, next, &count);
		if (rc != 0)
			return rc;
		next += count;
	} while (next <= b->last);
	return 0;
}

/* ---- syncing ---- */

bool wal_sync_begin(struct wal *w, struct wal_sync *ret)
{
	bool any = false;

	for (uint32_t i = 0; i < w->c.groups; i++) {
		struct wal_group *g = &w->groups[i];
		any = any || g->dirty;
		g->syncing = g->dirty;
		g->syncing_last = g->last;
		g->dirty = false;
	}
	if (!any)
		return false;
	w->syncing = w->end;
	*ret = (struct wal_sync){.first = w->unsynced, .last = w->end.segment};
	w->unsynced = w->end.segment;
	return true;
}

/* Says what is durable now, behind the end and without moving it: the next batch is written over it. It is one sector, so
 * that the shortest batch covers it; where more groups took part than fit, the position alone speaks for the rest. */
static int write_seal(struct wal *w)
{
	uint64_t len = 0, whole;

	for (uint32_t i = 0; i < w->c.groups && len + MARK_BYTES <= WAL_SECTOR_BYTES; i++) {
		uint32_t chain = w->chain; /* each follows on the log's end, none on another */
		if (w->groups[i].syncing)
			len += put_mark(w, i, MARK_BYTES, WAL_SEAL, &chain, w->buf + len);
	}
	return write_out(w, w->end.offset, len, &whole);
}

int wal_sync_end(struct wal *w)
{
	w->durable = w->syncing;
	for (uint32_t i = 0; i < w->c.groups; i++)
		if (w->groups[i].syncing)
			w->groups[i].durable_index = w->groups[i].syncing_last;
	return write_seal(w);
}
