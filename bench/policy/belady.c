/* Belady's MIN with passing by: of what is there and what has just been read, the object that is read again last goes. */
#include <errno.h>

#include "bench/policy/sim.h"
#include "common/base/mem.h"

#define NEVER UINT32_MAX

struct due {
	uint32_t when, key;
};

struct belady {
	const struct trace *trace;
	uint64_t room, used;
	uint32_t *again; /* for each read, when its object is read next */
	uint32_t *when;  /* for each object, its next read */
	bool *here;
	struct due *heap; /* the latest first; what no longer agrees with @when is passed over */
	uint32_t due_count;
};

static void *belady_end(void *sim)
{
	struct belady *b = sim;
	if (b) {
		(void)mem_free(b->again);
		(void)mem_free(b->when);
		(void)mem_free(b->here);
		(void)mem_free(b->heap);
	}
	return mem_free(b);
}

static int belady_make(const struct trace *t, uint64_t room, const struct policy_config *config, void **ret)
{
	struct belady *b = mem_calloc(1, sizeof *b);
	(void)config; /* it has no settings */
	if (!b)
		return -ENOMEM;
	b->trace = t;
	b->room = room;
	b->again = mem_calloc(t->count, sizeof *b->again);
	b->when = mem_calloc(t->objects, sizeof *b->when);
	b->here = mem_calloc(t->objects, sizeof *b->here);
	b->heap = mem_calloc((size_t)t->count + 1, sizeof *b->heap);
	if (!b->again || !b->when || !b->here || !b->heap) {
		(void)belady_end(b);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < t->objects; i++)
		b->when[i] = NEVER;
	for (uint32_t i = t->count; i-- > 0;) {
		b->again[i] = b->when[t->keys[i]];
		b->when[t->keys[i]] = i;
	}
	*ret = b;
	return 0;
}

static void heap_push(struct belady *b, struct due d)
{
	uint32_t i = b->due_count++;
	for (; i > 0 && b->heap[(i - 1) / 2].when < d.when; i = (i - 1) / 2)
		b->heap[i] = b->heap[(i - 1) / 2];
	b->heap[i] = d;
}

static struct due heap_pop(struct belady *b)
{
	struct due top = b->heap[0], last = b->heap[--b->due_count];
	uint32_t i = 0;
	for (uint32_t child; (child = 2 * i + 1) < b->due_count; i = child) {
		child += child + 1 < b->due_count && b->heap[child + 1].when > b->heap[child].when;
		if (b->heap[child].when <= last.when)
			break;
		b->heap[i] = b->heap[child];
	}
	b->heap[i] = last;
	return top;
}

static void evict(struct belady *b)
{
	struct due d;
	do {
		CHECK(b->due_count > 0);
		d = heap_pop(b);
	} while (!b->here[d.key] || b->when[d.key] != d.when);
	b->here[d.key] = false;
	b->used -= b->trace->sizes[d.key];
}

static bool belady_access(void *sim, uint32_t at)
{
	struct belady *b = sim;
	uint32_t key = b->trace->keys[at];
	bool hit = b->here[key];
	b->when[key] = b->again[at];
	if (!hit && b->trace->sizes[key] > b->room)
		return false;
	if (!hit)
		b->used += b->trace->sizes[key];
	b->here[key] = true;
	heap_push(b, (struct due){b->when[key], key});
	while (b->used > b->room)
		evict(b);
	return hit;
}

const struct sim_kind sim_belady = {"belady", belady_make, belady_access, belady_end, true};
