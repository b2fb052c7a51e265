/* FIFO and LRU: one queue; they differ in what a hit does. */
#include <errno.h>

#include "bench/policy/rings.h"
#include "bench/policy/sim.h"
#include "common/base/mem.h"

enum { HERE = 1 };

struct fifo {
	struct rings rings;
	uint64_t room;
};

static void *fifo_end(void *sim)
{
	struct fifo *f = sim;
	if (f)
		rings_done(&f->rings);
	return mem_free(f);
}

static int fifo_make(const struct trace *t, uint64_t room, const struct policy_config *config, void **ret)
{
	struct fifo *f = mem_calloc(1, sizeof *f);
	(void)config; /* it has no settings */
	if (!f)
		return -ENOMEM;
	f->room = room;
	int r = rings_init(&f->rings, t);
	if (r)
		(void)fifo_end(f);
	else
		*ret = f;
	return r;
}

static void enter(struct fifo *f, uint32_t key)
{
	uint32_t size = f->rings.trace->sizes[key];
	if (size > f->room)
		return;
	while (f->rings.units[HERE] + size > f->room)
		rings_move(&f->rings, rings_oldest(&f->rings, HERE), 0);
	rings_move(&f->rings, key, HERE);
}

static bool fifo_access(void *sim, uint32_t at)
{
	struct fifo *f = sim;
	uint32_t key = f->rings.trace->keys[at];
	bool hit = f->rings.where[key] == HERE;
	if (!hit)
		enter(f, key);
	return hit;
}

static bool lru_access(void *sim, uint32_t at)
{
	struct fifo *f = sim;
	uint32_t key = f->rings.trace->keys[at];
	bool hit = f->rings.where[key] == HERE;
	if (hit)
		rings_move(&f->rings, key, HERE);
	else
		enter(f, key);
	return hit;
}

const struct sim_kind sim_fifo = {"fifo", fifo_make, fifo_access, fifo_end, false};
const struct sim_kind sim_lru = {"lru", fifo_make, lru_access, fifo_end, false};
