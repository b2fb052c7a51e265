#include "cache-node/fill/plan.h"

#include <errno.h>

#include "common/base/mem.h"

#define PLAN_LAG (2 * PLAN_WINDOW_MIN) /* bytes that requests of one reader come late */

struct stream {
	uint64_t id;     /* 0: guessed */
	uint64_t next;   /* offset behind its last read */
	uint64_t window; /* bytes wanted ahead of next; 0: it jumps */
	uint64_t grow;   /* the window doubles when next gets here */
	uint64_t ahead;  /* asked for up to here */
	uint64_t used;   /* number of its last read; 0: free */
};

struct plan {
	uint64_t size, blocks, span_bytes;
	uint32_t block_bytes, loads, load_spans;
	uint64_t load_next; /* no block before it is absent, as far as a load knows */
	uint64_t reads;
	struct stream streams[PLAN_STREAMS];
	uint64_t *here, *flying; /* bitmaps; no block is in both */
};

static bool bit_get(const uint64_t *map, uint64_t i)
{
	return map[i / 64] >> (i % 64) & 1;
}

static void bit_put(uint64_t *map, uint64_t i, bool on)
{
	uint64_t bit = UINT64_C(1) << (i % 64);
	map[i / 64] = on ? map[i / 64] | bit : map[i / 64] & ~bit;
}

int plan_new(uint64_t size, uint32_t block_bytes, struct plan **ret)
{
	CHECK(size > 0);
	CHECK(block_bytes > 0 && (block_bytes & (block_bytes - 1)) == 0 && block_bytes <= PLAN_WINDOW_MIN);
	CLEANUP(plan_free) struct plan *p = mem_calloc(1, sizeof *p);
	if (!p)
		return -ENOMEM;
	p->size = size;
	p->block_bytes = block_bytes;
	p->span_bytes = PLAN_WINDOW_MIN;
	p->blocks = (size + block_bytes - 1) / block_bytes;
	size_t words = (size_t)((p->blocks + 63) / 64);
	p->here = mem_calloc(words, sizeof *p->here);
	p->flying = mem_calloc(words, sizeof *p->flying);
	if (!p->here || !p->flying)
		return -ENOMEM;
	*ret = TAKE(p);
	return 0;
}

struct plan *plan_free(struct plan *p)
{
	if (!p)
		return NULL;
	(void)mem_free(p->here);
	(void)mem_free(p->flying);
	return mem_free(p);
}

void plan_span_bytes(struct plan *p, uint64_t bytes)
{
	CHECK(bytes >= PLAN_WINDOW_MIN && bytes <= PLAN_SPAN_MAX && bytes % PLAN_WINDOW_MIN == 0);
	p->span_bytes = bytes;
}

void plan_here(struct plan *p, uint64_t first, uint64_t count)
{
	CHECK(first <= p->blocks && count <= p->blocks - first);
	for (uint64_t b = first; b < first + count; b++) {
		bit_put(p->here, b, true);
		bit_put(p->flying, b, false);
	}
}

void plan_lost(struct plan *p, uint64_t first, uint64_t count)
{
	CHECK(first <= p->blocks && count <= p->blocks - first);
	for (uint64_t b = first; b < first + count; b++)
		bit_put(p->here, b, false);
	p->load_next = MIN(p->load_next, first);
}

void plan_loads(struct plan *p, uint32_t loads)
{
	p->loads = loads;
	p->load_next = 0;
}

void plan_calm(struct plan *p)
{
	for (unsigned i = 0; i < PLAN_STREAMS; i++)
		p->streams[i] = (struct stream){.id = 0};
}

static bool continues(const struct stream *s, uint64_t offset)
{
	/* The kernel's own read-ahead runs beside the reader, so its requests come a little out of order. */
	return offset + PLAN_WINDOW_MIN >= s->next && offset <= s->next + PLAN_WINDOW_MIN;
}

static struct stream *stream_of(struct plan *p, uint64_t id, uint64_t offset)
{
	struct stream *oldest = &p->streams[0];
	for (unsigned i = 0; i < PLAN_STREAMS; i++) {
		struct stream *s = &p->streams[i];
		if (s->used && s->id == id && (id || continues(s, offset)))
			return s;
		if (s->used < oldest->used)
			oldest = s;
	}
	/* A new reader: one that begins at the front is believed to go on. */
	*oldest = (struct stream){.id = id, .next = offset, .window = 0, .ahead = offset, .grow = offset};
	return oldest;
}

void plan_read(struct plan *p, uint64_t offset, uint64_t length, uint64_t stream)
{
	CHECK(length > 0 && offset < p->size && length <= p->size - offset);
	struct stream *s = stream_of(p, stream, offset);
	bool fresh = s->used == 0;
	uint64_t end = offset + length;
	s->used = ++p->reads;
	if (!continues(s, offset) || (fresh && offset != 0)) {
		*s = (struct stream){.id = stream, .next = end, .ahead = end, .grow = end, .used = s->used};
		return;
	}
	s->next = MAX(s->next, end);
	if (s->next < s->grow)
		return;
	s->window = s->window ? MIN(2 * s->window, PLAN_WINDOW_MAX) : PLAN_WINDOW_MIN;
	s->grow = s->next + s->window / 2;
}

static uint64_t block_end(const struct plan *p, uint64_t offset)
{
	return (offset + p->block_bytes - 1) / p->block_bytes;
}

/* Where the window of a stream ends: a rest of the file smaller than half of it is taken along. */
static uint64_t window_end(const struct plan *p, const struct stream *s)
{
	if (!s->used || !s->window || s->next >= p->size)
		return 0;
	uint64_t left = p->size - s->next;
	return left <= s->window + s->window / 2 ? p->size : s->next + s->window;
}

static bool absent(const struct plan *p, uint64_t block)
{
	return !bit_get(p->here, block) && !bit_get(p->flying, block);
}

/* The run of absent blocks from @first on, before @end and within one span, marked as in flight. */
static void take_run(struct plan *p, uint64_t first, uint64_t end, enum plan_kind kind, struct plan_span *ret)
{
	uint64_t per_span = p->span_bytes / p->block_bytes;
	uint64_t span_end = MIN(MIN(end, p->blocks), (first / per_span + 1) * per_span);
	uint64_t b = first;
	CHECK(first < span_end);
	for (; b < span_end && absent(p, b); b++)
		bit_put(p->flying, b, true);
	CHECK(b > first);
	*ret = (struct plan_span){.first = first, .count = b - first, .kind = kind};
	if (kind == PLAN_LOAD)
		p->load_spans++;
}

bool plan_next_read(struct plan *p, uint64_t offset, uint64_t length, uint64_t room, struct plan_span *ret)
{
	CHECK(length > 0 && offset < p->size && length <= p->size - offset);
	uint64_t b = offset / p->block_bytes, end = block_end(p, offset + length);
	while (b < end && !absent(p, b))
		b++;
	if (b == end)
		return false;
	uint64_t more = end;
	for (unsigned i = 0; i < PLAN_STREAMS; i++) {
		const struct stream *s = &p->streams[i];
		uint64_t to = window_end(p, s);
		if (to && s->next >= offset && continues(s, offset))
			more = MAX(more, block_end(p, to));
	}
	take_run(p, b, MIN(more, end + room / p->block_bytes), PLAN_READ, ret);
	for (unsigned i = 0; i < PLAN_STREAMS; i++) {
		struct stream *s = &p->streams[i];
		uint64_t got = (ret->first + ret->count) * p->block_bytes;
		if (s->window && s->ahead < got && got <= s->next + 2 * PLAN_WINDOW_MAX && s->ahead >= offset)
			s->ahead = got;
	}
	return true;
}

/* Reads ahead for one stream in pieces that are worth a request. */
static bool next_ahead(struct plan *p, struct stream *s, uint64_t room, struct plan_span *ret,
		       bool *ret_short)
{
	uint64_t to = window_end(p, s);
	uint64_t from = MAX(s->ahead, s->next);
	uint64_t piece = MIN(MAX(s->window / 2, PLAN_WINDOW_MIN), p->span_bytes);
	if (from >= to || (to < p->size && to - from < piece))
		return false;
	uint64_t b = from / p->block_bytes, end = block_end(p, to);
	while (b < end && !absent(p, b))
		b++;
	s->ahead = b * p->block_bytes;
	if (b == end)
		return false;
	if (room < MIN(piece, (end - b) * p->block_bytes)) {
		*ret_short = true;
		return false;
	}
	take_run(p, b, MIN(end, b + room / p->block_bytes), PLAN_AHEAD, ret);
	s->ahead = (ret->first + ret->count) * p->block_bytes;
	return true;
}

static bool next_load(struct plan *p, uint64_t room, struct plan_span *ret, bool *ret_short)
{
	if (!p->loads || p->load_spans >= MAX(PLAN_LOAD_SPANS, PLAN_LOAD_BYTES / p->span_bytes))
		return false;
	while (p->load_next < p->blocks && !absent(p, p->load_next))
		p->load_next++;
	if (p->load_next == p->blocks)
		return false;
	if (room < MIN(p->span_bytes, (p->blocks - p->load_next) * p->block_bytes)) {
		*ret_short = true;
		return false;
	}
	take_run(p, p->load_next, p->load_next + room / p->block_bytes, PLAN_LOAD, ret);
	return true;
}

bool plan_next(struct plan *p, uint64_t room, struct plan_span *ret, bool *ret_short)
{
	*ret_short = false;
	for (unsigned i = 0; i < PLAN_STREAMS; i++)
		if (next_ahead(p, &p->streams[i], room, ret, ret_short))
			return true;
	return next_load(p, room, ret, ret_short);
}

void plan_ended(struct plan *p, const struct plan_span *span)
{
	for (uint64_t b = span->first; b < span->first + span->count; b++)
		bit_put(p->flying, b, false);
	if (span->kind == PLAN_LOAD) {
		CHECK(p->load_spans > 0);
		p->load_spans--;
	}
	p->load_next = MIN(p->load_next, span->first);
}

bool plan_wants(const struct plan *p, uint64_t first, uint64_t count)
{
	if (p->loads)
		return true;
	for (unsigned i = 0; i < PLAN_STREAMS; i++) {
		const struct stream *s = &p->streams[i];
		uint64_t to = window_end(p, s);
		if (to && s->next < (first + count) * p->block_bytes && first * p->block_bytes < to)
			return true;
	}
	return false;
}

bool plan_reads_soon(const struct plan *p, uint64_t first, uint64_t count)
{
	uint64_t from = first * p->block_bytes, to = (first + count) * p->block_bytes;
	for (unsigned i = 0; i < PLAN_STREAMS; i++) {
		const struct stream *s = &p->streams[i];
		if (s->used && s->window && s->next < to + PLAN_LAG && from < s->next + s->window)
			return true;
	}
	return false;
}

bool plan_is_here(const struct plan *p, uint64_t block)
{
	return bit_get(p->here, block);
}

bool plan_in_flight(const struct plan *p, uint64_t block)
{
	return bit_get(p->flying, block);
}

void plan_check(const struct plan *p)
{
	for (uint64_t i = 0; i < (p->blocks + 63) / 64; i++)
		CHECK((p->here[i] & p->flying[i]) == 0);
	CHECK(p->load_spans <= PLAN_LOAD_BYTES / PLAN_WINDOW_MIN);
	for (uint64_t b = 0; b < p->load_next; b++)
		CHECK(!absent(p, b));
	for (unsigned i = 0; i < PLAN_STREAMS; i++)
		CHECK(p->streams[i].window <= PLAN_WINDOW_MAX);
}
