/*
 * Records grow from the arena's start, their offsets (the slots) from its end; twice as many slots are reserved as there
 * are records, since merge sort wants room. When both meet, the records are sorted and written as a run, or behind the last
 * run where they go on from it: what is listed in order is one run. At the end runs are merged until there is one; the arena
 * is cut into read buffers for that.
 */
#include "common/manifest/sorter.h"

#include <errno.h>

#include "common/base/mem.h"
#include "common/manifest/spool.h"

enum { WRITE_BUFFER = 256 << 10, READ_BUFFER_MAX = 1 << 20, RUNS_FAN_MAX = 512 };

struct run {
	uint64_t from, to; /* bytes of the spool */
};

struct source_run { /* a run being merged */
	struct spool_reader reader;
	const struct record *now;
	size_t number; /* of equal keys the lower run's comes first */
};

struct sorter {
	int dir_fd;
	uint8_t *arena;
	size_t size, used, count;
	bool in_order; /* what was added since the last run came sorted, as most listings do */
	const struct record *last;
	struct spool spool;
	struct run *runs;
	size_t run_count, run_size;
	uint8_t *end_of_run; /* the last record of the last run, owned */
	/* Reading. */
	const uint64_t *slots; /* NULL unless everything fitted */
	size_t next;
	struct spool_reader reader; /* of the one run that was left */
	struct source_run *heap;
	size_t heap_count;
	bool advance; /* the heap's top was handed out */
};

int sorter_new(int dir_fd, size_t memory_max, struct sorter **ret)
{
	CHECK(memory_max >= 1 << 20);
	CLEANUP(sorter_free) struct sorter *s = mem_calloc(1, sizeof *s);
	if (!s)
		return -ENOMEM;
	s->dir_fd = dir_fd;
	s->spool = SPOOL_NONE;
	s->in_order = true;
	s->size = memory_max & ~(size_t)7;
	s->arena = mem_alloc(s->size);
	if (!s->arena)
		return -ENOMEM;
	*ret = TAKE(s);
	return 0;
}

struct sorter *sorter_free(struct sorter *s)
{
	if (!s)
		return NULL;
	spool_done(&s->spool);
	(void)mem_free(s->arena);
	(void)mem_free(s->runs);
	(void)mem_free(s->end_of_run);
	(void)mem_free(s->heap);
	return mem_free(s);
}

static const struct record *record_at(const struct sorter *s, uint64_t offset)
{
	return (const struct record *)(const void *)(s->arena + offset);
}

static int compare(const struct record *a, const struct record *b)
{
	struct path_key x = record_key(a), y = record_key(b);
	int c = path_key_compare(&x, &y);
	return c != 0 ? c : (int)a->source - (int)b->source;
}

/* Merges the sorted halves [from, mid) and [mid, to) of @in into @out. */
static void merge_halves(const struct sorter *s, const uint64_t *in, uint64_t *out, size_t from, size_t mid,
			 size_t to)
{
	size_t a = from, b = mid, n = from;

	if (mid < to && compare(record_at(s, in[mid - 1]), record_at(s, in[mid])) <= 0)
		b = to; /* in order already: copied below */
	if (b == to)
		mid = to;
	while (a < mid && b < to)
		out[n++] = compare(record_at(s, in[a]), record_at(s, in[b])) <= 0 ? in[a++] : in[b++];
	while (a < mid)
		out[n++] = in[a++];
	while (b < to)
		out[n++] = in[b++];
}

/* The slots of what is in the arena, in order. */
static uint64_t *sort_slots(struct sorter *s)
{
	uint64_t *slots = (uint64_t *)(void *)(s->arena + s->size) - s->count, *spare = slots - s->count;

	for (size_t i = 0, j = s->count; i + 1 < j--; i++) { /* they were written from the end */
		uint64_t t = slots[i];
		slots[i] = slots[j];
		slots[j] = t;
	}
	for (size_t width = 1; !s->in_order && width < s->count; width *= 2) {
		for (size_t from = 0; from < s->count; from += 2 * width) {
			size_t mid = MIN(from + width, s->count), to = MIN(from + 2 * width, s->count);
			merge_halves(s, slots, spare, from, mid, to);
		}
		uint64_t *t = slots;
		slots = spare;
		spare = t;
	}
	return slots;
}

static int add_run(struct sorter *s, struct run run)
{
	if (s->run_count == s->run_size) {
		size_t size = MAX(s->run_size * 2, (size_t)16);
		struct run *runs = mem_resize(s->runs, size, sizeof *runs);
		if (!runs)
			return -ENOMEM;
		s->runs = runs;
		s->run_size = size;
	}
	s->runs[s->run_count++] = run;
	return 0;
}

/* Whether the last run goes on with @first. */
static bool goes_on(const struct sorter *s, const struct record *first)
{
	return s->run_count > 0 && compare((const struct record *)(const void *)s->end_of_run, first) <= 0;
}

static int write_run(struct sorter *s)
{
	int r = s->spool.fd >= 0 ? 0 : spool_init(&s->spool, s->dir_fd, WRITE_BUFFER);
	if (r == 0 && !s->end_of_run)
		r = (s->end_of_run = mem_alloc(RECORD_MAX)) != NULL ? 0 : -ENOMEM;
	if (r != 0) {
		spool_done(&s->spool);
		return r;
	}
	struct run run = {.from = spool_at(&s->spool)};
	const uint64_t *slots = sort_slots(s);
	bool more = goes_on(s, record_at(s, slots[0]));
	for (size_t i = 0; i < s->count && r == 0; i++)
		r = spool_append(&s->spool, record_at(s, slots[i]));
	run.to = spool_at(&s->spool);
	const struct record *last = record_at(s, slots[s->count - 1]);
	memcpy(s->end_of_run, last, last->bytes);
	s->used = s->count = 0;
	s->in_order = true;
	s->last = NULL;
	if (more)
		s->runs[s->run_count - 1].to = run.to;
	return r == 0 && !more ? add_run(s, run) : r;
}

int sorter_add(struct sorter *s, const struct manifest_entry *e)
{
	size_t bytes = record_bytes(e);

	if (s->used + bytes + 2 * sizeof(uint64_t) * (s->count + 1) > s->size) {
		int r = write_run(s);
		if (r != 0)
			return r;
	}
	struct record *rec = (struct record *)(void *)(s->arena + s->used);
	record_write(rec, e);
	s->count++;
	((uint64_t *)(void *)(s->arena + s->size))[-(ptrdiff_t)s->count] = s->used;
	s->in_order = s->in_order && (!s->last || compare(s->last, rec) <= 0);
	s->last = rec;
	s->used += bytes;
	return 0;
}

/* ---- merging ---- */

static bool before(const struct source_run *a, const struct source_run *b)
{
	int c = compare(a->now, b->now);
	return c != 0 ? c < 0 : a->number < b->number;
}

static void sift_down(struct source_run *heap, size_t count, size_t i)
{
	for (size_t child; (child = 2 * i + 1) < count;) {
		if (child + 1 < count && before(&heap[child + 1], &heap[child]))
			child++;
		if (!before(&heap[child], &heap[i]))
			return;
		struct source_run t = heap[i];
		heap[i] = heap[child];
		heap[child] = t;
		i = child;
	}
}

/* Starts merging @count runs, whose buffers share the arena. */
static int heap_start(struct sorter *s, const struct run *runs, size_t count)
{
	size_t size = MIN(s->size / count, (size_t)READ_BUFFER_MAX) & ~(size_t)7;

	s->heap_count = 0;
	s->advance = false;
	for (size_t i = 0; i < count; i++) {
		struct source_run *h = &s->heap[s->heap_count];
		*h = (struct source_run){
			.reader = {.fd = s->spool.fd,
				   .buffer = s->arena + i * size,
				   .size = size,
				   .at = runs[i].from,
				   .end = runs[i].to},
			.number = i,
		};
		int r = spool_next(&h->reader, &h->now);
		if (r < 0)
			return r;
		s->heap_count += r == 1;
	}
	for (size_t i = s->heap_count / 2; i-- > 0;)
		sift_down(s->heap, s->heap_count, i);
	return 0;
}

static int heap_next(struct sorter *s, const struct record **ret)
{
	if (s->advance) {
		int r = spool_next(&s->heap[0].reader, &s->heap[0].now);
		if (r < 0)
			return r;
		if (r == 0)
			s->heap[0] = s->heap[--s->heap_count];
		sift_down(s->heap, s->heap_count, 0);
	}
	s->advance = s->heap_count > 0;
	if (!s->advance)
		return 0;
	*ret = s->heap[0].now;
	return 1;
}

/* Merges neighbours, @fan at a time, into a new spool with fewer runs. */
static int merge_pass(struct sorter *s, size_t fan)
{
	struct spool out = SPOOL_NONE;
	const struct record *rec;
	size_t made = 0;
	int r = spool_init(&out, s->dir_fd, WRITE_BUFFER);

	for (size_t i = 0; i < s->run_count && r == 0; i += fan) {
		struct run run = {.from = spool_at(&out)};
		r = heap_start(s, s->runs + i, MIN(fan, s->run_count - i));
		while (r == 0 && (r = heap_next(s, &rec)) == 1)
			r = spool_append(&out, rec);
		run.to = spool_at(&out);
		s->runs[made++] = run; /* never ahead of the runs still to be read */
	}
	if (r == 0)
		r = spool_flush(&out);
	if (r != 0) {
		spool_done(&out);
		return r;
	}
	spool_done(&s->spool);
	s->spool = out;
	s->run_count = made;
	return 0;
}

/* ---- reading ---- */

void sorter_rewind(struct sorter *s)
{
	s->next = 0;
	if (!s->slots)
		s->reader = (struct spool_reader){.fd = s->spool.fd,
						  .buffer = s->arena,
						  .size = MIN(s->size, (size_t)READ_BUFFER_MAX),
						  .at = s->runs[0].from,
						  .end = s->runs[0].to};
}

int sorter_finish(struct sorter *s)
{
	size_t fan = MIN((size_t)RUNS_FAN_MAX, s->size / SPOOL_BUFFER_MIN);
	int r = 0;

	if (s->run_count == 0) {
		s->slots = sort_slots(s);
		return 0;
	}
	if (s->count > 0)
		r = write_run(s);
	if (r == 0)
		r = spool_flush(&s->spool);
	s->heap = r == 0 && s->run_count > 1 ? mem_calloc(fan, sizeof *s->heap) : NULL;
	if (r == 0 && s->run_count > 1 && !s->heap)
		r = -ENOMEM;
	while (r == 0 && s->run_count > 1)
		r = merge_pass(s, fan);
	if (r == 0)
		sorter_rewind(s);
	return r;
}

int sorter_next(struct sorter *s, const struct record **ret)
{
	if (!s->slots)
		return spool_next(&s->reader, ret);
	if (s->next == s->count)
		return 0;
	*ret = record_at(s, s->slots[s->next++]);
	return 1;
}
