#include "bench/policy/rings.h"

#include <errno.h>

#include "common/base/mem.h"

int rings_init(struct rings *r, const struct trace *t)
{
	*r = (struct rings){.trace = t};
	r->prev = mem_calloc((size_t)t->objects + RINGS_MAX, sizeof *r->prev);
	r->next = mem_calloc((size_t)t->objects + RINGS_MAX, sizeof *r->next);
	r->where = mem_calloc(t->objects, sizeof *r->where);
	if (!r->prev || !r->next || !r->where)
		return -ENOMEM;
	for (uint32_t q = t->objects; q < t->objects + RINGS_MAX; q++)
		r->prev[q] = r->next[q] = q;
	return 0;
}

void rings_done(struct rings *r)
{
	(void)mem_free(r->prev);
	(void)mem_free(r->next);
	(void)mem_free(r->where);
}

void rings_move(struct rings *r, uint32_t key, uint8_t queue)
{
	uint32_t end = r->trace->objects + queue;
	if (r->where[key]) {
		r->next[r->prev[key]] = r->next[key];
		r->prev[r->next[key]] = r->prev[key];
		r->units[r->where[key]] -= r->trace->sizes[key];
	}
	r->where[key] = queue;
	if (!queue)
		return;
	r->units[queue] += r->trace->sizes[key];
	r->prev[key] = end;
	r->next[key] = r->next[end];
	r->prev[r->next[end]] = key;
	r->next[end] = key;
}

uint32_t rings_oldest(const struct rings *r, uint8_t queue)
{
	CHECK(r->units[queue] > 0);
	return r->prev[r->trace->objects + queue];
}
