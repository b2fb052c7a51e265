/*
 * Records grow from an arena's start, their offsets (the slots) from its end; twice as many slots are reserved as there are
 * records, since sorting wants room. When both meet, a thread sorts the records and writes them as a run, or behind the last run
 * where they go on from it (what is listed in order is one run), while the other arena is filled. At the end runs are merged
 * while they are read; if there are too many for that, until they are not. The arenas are cut into read buffers then.
 *
 * Most listings come in stretches that are in order, since pages are, and that do not overlap, since ranges do not: then it is
 * enough to sort the stretches.
 */
#include "common/manifest/sorter.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "common/base/mem.h"
#include "common/manifest/spool.h"

enum { WRITE_BUFFER = 256 << 10, READ_BUFFER_MAX = 1 << 20, RUNS_FAN_MAX = 512, STRETCHES_MAX = 4096 };

struct run {
	uint64_t from, to; /* bytes of the spool */
};

struct source_run { /* a run being merged */
	struct spool_reader reader;
	const struct record *now;
	size_t number; /* of equal keys the lower run's comes first */
};

struct arena {
	uint8_t *bytes;
	size_t size, used, count;
	const struct record *last; /* that was added; NULL: none */
	uint32_t stretch
		[STRETCHES_MAX]; /* where one that is in order begins: the number of its first record */
	size_t stretches;        /* over STRETCHES_MAX: not all are noted */
};

/* What writes runs. Its thread has `arena` from the moment that it is set until it is NULL again. */
struct writer {
	pthread_t thread;
	bool started;
	pthread_mutex_t lock;
	pthread_cond_t change; /* of arena or stop */
	struct arena *arena;
	bool stop;
	int rc; /* of the first that could not be written */
};

struct sorter {
	int dir_fd;
	uint8_t *memory; /* of both arenas */
	size_t size;
	struct arena arenas[2], *filling;
	struct writer writer;
	/* The writer's, until it ended. */
	struct spool spool;
	struct run *runs;
	size_t run_count, run_size;
	uint8_t *end_of_run; /* the last record of the last run, owned */
	/* Reading. */
	const uint64_t *slots; /* of the first arena; NULL unless everything fitted */
	size_t next;
	struct source_run *heap;
	size_t heap_count;
	bool advance;               /* the heap's top was handed out */
	const struct record *limit; /* the least of the others in the heap; NULL: there is none */
	int rc;                     /* of a rewind */
};

int sorter_new(int dir_fd, size_t memory_max, struct sorter **ret)
{
	CHECK(memory_max >= 1 << 20);
	CLEANUP(sorter_free) struct sorter *s = mem_calloc(1, sizeof *s);
	if (!s)
		return -ENOMEM;
	s->dir_fd = dir_fd;
	s->spool = SPOOL_NONE;
	s->size = memory_max & ~(size_t)15;
	(void)pthread_mutex_init(&s->writer.lock, NULL);
	(void)pthread_cond_init(&s->writer.change, NULL);
	s->memory = mem_alloc(s->size);
	if (!s->memory)
		return -ENOMEM;
	for (size_t i = 0; i < LENGTH(s->arenas); i++) {
		s->arenas[i].size = s->size / 2;
		s->arenas[i].bytes = s->memory + i * s->size / 2;
	}
	s->filling = &s->arenas[0];
	*ret = TAKE(s);
	return 0;
}

/* Ends the writer's thread, after what it has at hand. 0, or what it failed with. */
static int writer_end(struct writer *w)
{
	if (!w->started)
		return w->rc;
	(void)pthread_mutex_lock(&w->lock);
	w->stop = true;
	(void)pthread_cond_broadcast(&w->change);
	(void)pthread_mutex_unlock(&w->lock);
	(void)pthread_join(w->thread, NULL);
	w->started = false;
	return w->rc;
}

struct sorter *sorter_free(struct sorter *s)
{
	if (!s)
		return NULL;
	(void)writer_end(&s->writer);
	(void)pthread_cond_destroy(&s->writer.change);
	(void)pthread_mutex_destroy(&s->writer.lock);
	spool_done(&s->spool);
	(void)mem_free(s->memory);
	(void)mem_free(s->runs);
	(void)mem_free(s->end_of_run);
	(void)mem_free(s->heap);
	return mem_free(s);
}

static const struct record *record_at(const struct arena *a, uint64_t offset)
{
	return (const struct record *)(const void *)(a->bytes + offset);
}

static int compare(const struct record *a, const struct record *b)
{
	struct path_key x = record_key(a), y = record_key(b);
	int c = path_key_compare(&x, &y);
	return c != 0 ? c : (int)a->source - (int)b->source;
}

/* ---- sorting an arena ---- */

/* Merges the sorted halves [from, mid) and [mid, to) of @in into @out. */
static void merge_halves(const struct arena *s, const uint64_t *in, uint64_t *out, size_t from, size_t mid,
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

/* Sorts whatever is there: bottom-up merges between the slots and the room before them. What is returned is in order. */
static uint64_t *sort_any(const struct arena *a, uint64_t *slots, uint64_t *spare)
{
	for (size_t width = 1; width < a->count; width *= 2) {
		for (size_t from = 0; from < a->count; from += 2 * width) {
			size_t mid = MIN(from + width, a->count), to = MIN(from + 2 * width, a->count);
			merge_halves(a, slots, spare, from, mid, to);
		}
		uint64_t *t = slots;
		slots = spare;
		spare = t;
	}
	return slots;
}

/* A stretch of records that are in order. */
struct stretch {
	const struct record *first, *last;
	size_t from, count;
};

static int compare_stretches(const void *a, const void *b)
{
	const struct stretch *x = a, *y = b;
	return compare(x->first, y->first);
}

/* The stretches of an arena, sorted; NULL where they overlap, and where there is no memory to know. */
static struct stretch *sort_stretches(const struct arena *a, const uint64_t *slots)
{
	CLEANUP(mem_free) void *memory = mem_calloc(a->stretches, sizeof(struct stretch));
	struct stretch *list = memory;

	for (size_t i = 0; list && i < a->stretches; i++) {
		size_t to = i + 1 < a->stretches ? a->stretch[i + 1] : a->count;
		list[i] = (struct stretch){.first = record_at(a, slots[a->stretch[i]]),
					   .last = record_at(a, slots[to - 1]),
					   .from = a->stretch[i],
					   .count = to - a->stretch[i]};
	}
	if (!list)
		return NULL;
	qsort(list, a->stretches, sizeof *list, compare_stretches);
	for (size_t i = 1; i < a->stretches; i++)
		if (compare(list[i - 1].last, list[i].first) >= 0)
			return NULL; /* equal ones too: they come in the order in which they were added */
	memory = NULL;
	return list;
}

/* The slots of what is in the arena, in order. */
static const uint64_t *sort_slots(struct arena *a)
{
	uint64_t *slots = (uint64_t *)(void *)(a->bytes + a->size) - a->count, *spare = slots - a->count;
	size_t n = 0;

	for (size_t i = 0, j = a->count; i + 1 < j--; i++) { /* they were written from the end */
		uint64_t t = slots[i];
		slots[i] = slots[j];
		slots[j] = t;
	}
	if (a->stretches <= 1)
		return slots;
	CLEANUP(mem_free) void *memory = a->stretches <= STRETCHES_MAX ? sort_stretches(a, slots) : NULL;
	const struct stretch *list = memory;
	if (!list)
		return sort_any(a, slots, spare);
	for (size_t i = 0; i < a->stretches; n += list[i++].count)
		memcpy(spare + n, slots + list[i].from, list[i].count * sizeof *slots);
	return spare;
}

/* ---- runs ---- */

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

/* The arena's records go to the spool, and it is empty again. */
static int write_run(struct sorter *s, struct arena *a)
{
	int r = s->spool.fd >= 0 ? 0 : spool_init(&s->spool, s->dir_fd, WRITE_BUFFER);
	if (r == 0 && !s->end_of_run)
		r = (s->end_of_run = mem_alloc(RECORD_MAX)) != NULL ? 0 : -ENOMEM;
	if (r != 0) {
		spool_done(&s->spool);
		return r;
	}
	struct run run = {.from = spool_at(&s->spool)};
	const uint64_t *slots = sort_slots(a);
	bool more = goes_on(s, record_at(a, slots[0]));
	for (size_t i = 0; i < a->count && r == 0; i++)
		r = spool_append(&s->spool, record_at(a, slots[i]));
	run.to = spool_at(&s->spool);
	const struct record *last = record_at(a, slots[a->count - 1]);
	memcpy(s->end_of_run, last, last->bytes);
	a->used = a->count = a->stretches = 0;
	a->last = NULL;
	if (more)
		s->runs[s->run_count - 1].to = run.to;
	return r == 0 && !more ? add_run(s, run) : r;
}

static void *writer_main(void *arg)
{
	struct sorter *s = arg;
	struct writer *w = &s->writer;

	(void)pthread_setname_np(pthread_self(), "sorter"); /* only for people */
	(void)pthread_mutex_lock(&w->lock);
	for (;;) {
		while (!w->arena && !w->stop)
			(void)pthread_cond_wait(&w->change, &w->lock);
		if (!w->arena)
			break;
		(void)pthread_mutex_unlock(&w->lock);
		int r = write_run(s, w->arena);
		(void)pthread_mutex_lock(&w->lock);
		w->rc = w->rc ? w->rc : r;
		w->arena = NULL;
		(void)pthread_cond_broadcast(&w->change);
	}
	(void)pthread_mutex_unlock(&w->lock);
	return NULL;
}

/* Gives the full arena to the writer once that has none, and goes on with the other. */
static int give_arena(struct sorter *s)
{
	struct writer *w = &s->writer;
	int r = w->started ? 0 : -pthread_create(&w->thread, NULL, writer_main, s);

	if (r)
		return r;
	w->started = true;
	(void)pthread_mutex_lock(&w->lock);
	while (w->arena)
		(void)pthread_cond_wait(&w->change, &w->lock);
	r = w->rc;
	if (!r) {
		w->arena = s->filling;
		s->filling = &s->arenas[s->filling == &s->arenas[0]];
		(void)pthread_cond_broadcast(&w->change);
	}
	(void)pthread_mutex_unlock(&w->lock);
	return r;
}

int sorter_add(struct sorter *s, const struct manifest_entry *e)
{
	size_t bytes = record_bytes(e);

	if (s->filling->used + bytes + 2 * sizeof(uint64_t) * (s->filling->count + 1) > s->filling->size) {
		int r = give_arena(s);
		if (r != 0)
			return r;
	}
	struct arena *a = s->filling;
	struct record *rec = (struct record *)(void *)(a->bytes + a->used);
	record_write(rec, e);
	if (a->stretches <= STRETCHES_MAX && (!a->last || compare(a->last, rec) > 0)) {
		if (a->stretches < STRETCHES_MAX)
			a->stretch[a->stretches] = (uint32_t)a->count;
		a->stretches++;
	}
	a->count++;
	((uint64_t *)(void *)(a->bytes + a->size))[-(ptrdiff_t)a->count] = a->used;
	a->last = rec;
	a->used += bytes;
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

static void find_limit(struct sorter *s)
{
	const struct source_run *h = s->heap;
	size_t least = s->heap_count > 2 && before(&h[2], &h[1]) ? 2 : 1;

	s->limit = s->heap_count > 1 ? h[least].now : NULL;
}

/* Starts merging @count runs, whose buffers share the arenas. */
static int heap_start(struct sorter *s, const struct run *runs, size_t count)
{
	size_t size = MIN(s->size / count, (size_t)READ_BUFFER_MAX) & ~(size_t)7;

	s->heap_count = 0;
	s->advance = false;
	for (size_t i = 0; i < count; i++) {
		struct source_run *h = &s->heap[s->heap_count];
		*h = (struct source_run){
			.reader = {.fd = s->spool.fd,
				   .buffer = s->memory + i * size,
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
	find_limit(s);
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
		/* A run mostly stays the least for long. */
		if (r == 0 || (s->limit && compare(s->heap[0].now, s->limit) >= 0)) {
			sift_down(s->heap, s->heap_count, 0);
			find_limit(s);
		}
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
		s->rc = heap_start(s, s->runs, s->run_count);
}

int sorter_finish(struct sorter *s)
{
	size_t fan = MIN((size_t)RUNS_FAN_MAX, s->size / SPOOL_BUFFER_MIN);
	bool fitted = !s->writer.started;
	int r = writer_end(&s->writer);

	if (r == 0 && fitted) {
		s->slots = sort_slots(s->filling);
		return 0;
	}
	if (r == 0 && s->filling->count > 0)
		r = write_run(s, s->filling);
	if (r == 0)
		r = spool_flush(&s->spool);
	s->heap = r == 0 ? mem_calloc(fan, sizeof *s->heap) : NULL;
	if (r == 0 && !s->heap)
		r = -ENOMEM;
	while (r == 0 && s->run_count > fan)
		r = merge_pass(s, fan);
	if (r == 0)
		sorter_rewind(s);
	return r == 0 ? s->rc : r;
}

int sorter_next(struct sorter *s, const struct record **ret)
{
	if (!s->slots)
		return s->rc < 0 ? s->rc : heap_next(s, ret);
	if (s->next == s->filling->count)
		return 0;
	*ret = record_at(s->filling, s->slots[s->next++]);
	return 1;
}
