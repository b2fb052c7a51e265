/*
 * W-TinyLFU: what is new enters an LRU window of a hundredth of the room; who falls out of it is let into the main part only if
 * it was read more often than the main part's victim, by a sketch of counters that are halved now and then.
 */
#include <errno.h>
#include <string.h>

#include "bench/policy/rings.h"
#include "bench/policy/sim.h"
#include "common/base/mem.h"

enum { WINDOW = 1, PROBATION, PROTECTED };
enum { ROWS = 4, COUNT_MAX = 15, SAMPLES = 10 };

struct tinylfu {
	struct rings rings;
	uint64_t window, main_room, protected_room;
	uint8_t *counts; /* ROWS times @width */
	uint32_t width;  /* a power of two */
	uint64_t added, halve_at;
};

static void *tinylfu_end(void *sim)
{
	struct tinylfu *w = sim;
	if (w) {
		rings_done(&w->rings);
		(void)mem_free(w->counts);
	}
	return mem_free(w);
}

static int tinylfu_make(const struct trace *t, uint64_t room, const struct policy_config *config, void **ret)
{
	struct tinylfu *w = mem_calloc(1, sizeof *w);
	(void)config; /* it has no settings */
	if (!w)
		return -ENOMEM;
	w->window = MAX(room / 100, 1);
	w->main_room = room - w->window;
	w->protected_room = w->main_room / 5 * 4;
	uint64_t mean = MAX(t->units / t->objects, 1), held = MAX(room / mean, 64);
	for (w->width = 64; w->width < held; w->width *= 2)
		;
	w->halve_at = SAMPLES * held;
	w->counts = mem_calloc((size_t)ROWS * w->width, 1);
	int r = rings_init(&w->rings, t);
	if (r || !w->counts) {
		(void)tinylfu_end(w);
		return -ENOMEM;
	}
	*ret = w;
	return 0;
}

static uint8_t *counter(const struct tinylfu *w, uint32_t key, uint32_t row)
{
	static const uint64_t seeds[ROWS] = {UINT64_C(0xc3a5c85c97cb3127), UINT64_C(0xb492b66fbe98f273),
					     UINT64_C(0x9ae16a3b2f90404f), UINT64_C(0xcbf29ce484222325)};
	uint64_t h = (key + seeds[row]) * seeds[row];
	h = (h ^ h >> 32) * seeds[row];
	return &w->counts[(size_t)row * w->width + (h >> 32 & (w->width - 1))];
}

static uint8_t frequency(const struct tinylfu *w, uint32_t key)
{
	uint8_t least = COUNT_MAX;
	for (uint32_t row = 0; row < ROWS; row++)
		least = MIN(least, *counter(w, key, row));
	return least;
}

static void count(struct tinylfu *w, uint32_t key)
{
	uint8_t least = frequency(w, key);
	for (uint32_t row = 0; row < ROWS && least < COUNT_MAX; row++) {
		uint8_t *c = counter(w, key, row);
		if (*c == least) /* only the least: fewer overestimates */
			(*c)++;
	}
	if (++w->added < w->halve_at)
		return;
	for (size_t i = 0; i < (size_t)ROWS * w->width; i++)
		w->counts[i] /= 2;
	w->added /= 2;
}

static void admit(struct tinylfu *w, uint32_t key)
{
	struct rings *r = &w->rings;
	uint32_t size = r->trace->sizes[key];
	bool in = size <= w->main_room;
	while (in && r->units[PROBATION] + r->units[PROTECTED] + size > w->main_room) {
		uint32_t victim = rings_oldest(r, r->units[PROBATION] ? PROBATION : PROTECTED);
		in = frequency(w, key) > frequency(w, victim);
		if (in)
			rings_move(r, victim, 0);
	}
	rings_move(r, key, in ? PROBATION : 0);
}

static void hit(struct tinylfu *w, uint32_t key)
{
	struct rings *r = &w->rings;
	rings_move(r, key, r->where[key] == WINDOW ? WINDOW : PROTECTED);
	while (r->units[PROTECTED] > w->protected_room)
		rings_move(r, rings_oldest(r, PROTECTED), PROBATION);
}

static bool tinylfu_access(void *sim, uint32_t at)
{
	struct tinylfu *w = sim;
	struct rings *r = &w->rings;
	uint32_t key = r->trace->keys[at];
	count(w, key);
	if (r->where[key]) {
		hit(w, key);
		return true;
	}
	rings_move(r, key, WINDOW);
	while (r->units[WINDOW] > w->window)
		admit(w, rings_oldest(r, WINDOW));
	return false;
}

const struct sim_kind sim_tinylfu = {"w-tinylfu", tinylfu_make, tinylfu_access, tinylfu_end, false};
