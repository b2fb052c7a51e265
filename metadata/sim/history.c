#include "metadata/sim/history.h"

#include <errno.h>
#include <stdlib.h>

#include "common/base/mem.h"

int history_add(struct history *h, const struct operation *op, uint32_t *ret)
{
	if (h->count == h->room) {
		uint32_t room = MAX(2 * h->room, 256);
		struct operation *more = mem_resize(h->ops, room, sizeof *more);
		if (!more)
			return -ENOMEM;
		h->ops = more;
		h->room = room;
	}
	*ret = h->count;
	h->ops[h->count++] = *op;
	return 0;
}

int history_restart(struct history *h, uint64_t value)
{
	uint32_t at;

	h->count = 0;
	return history_add(h, &(struct operation){.begin = -1, .end = -1, .value = value, .is_write = true},
			   &at);
}

void history_done(struct history *h)
{
	h->ops = mem_free(h->ops);
	h->count = h->room = 0;
}

struct zone {
	int64_t first_end, last_begin;
	uint64_t value;
};

static int by_value(const void *a, const void *b)
{
	const struct operation *x = a, *y = b;

	if (x->value != y->value)
		return x->value < y->value ? -1 : 1;
	return y->is_write - x->is_write; /* the write first */
}

static int by_first_end(const void *a, const void *b)
{
	const struct zone *x = a, *y = b;

	return x->first_end < y->first_end ? -1 : x->first_end > y->first_end;
}

/* The operations of one value, sorted; how many to *ret_count. NULL or what is wrong. */
static const char *zone_of(const struct operation *ops, uint32_t left, struct zone *ret, uint32_t *ret_count)
{
	uint32_t n = 0;

	*ret = (struct zone){.first_end = INT64_MAX, .last_begin = INT64_MIN, .value = ops[0].value};
	*ret_count = left;
	if (!ops[0].is_write)
		return "was read, but never written";
	for (; n < left && ops[n].value == ops[0].value; n++) {
		if (ops[n].end < ops[0].begin)
			return "was read before it was written";
		ret->first_end = MIN(ret->first_end, ops[n].end);
		ret->last_begin = MAX(ret->last_begin, ops[n].begin);
	}
	*ret_count = n;
	return NULL;
}

/* The sorted forward zones do not overlap, and hold no backward one. */
static const char *check_zones(const struct zone *forward, uint32_t forwards, const struct zone *backward,
			       uint32_t backwards, uint64_t *ret_value)
{
	for (uint32_t i = 1; i < forwards; i++) {
		*ret_value = forward[i].value;
		if (forward[i].first_end < forward[i - 1].last_begin)
			return "was seen while another was, before and after";
	}
	for (uint32_t i = 0; i < backwards; i++) {
		uint32_t low = 0, high = forwards;
		while (low < high) { /* the last forward zone that begins before it */
			uint32_t mid = (low + high) / 2;
			if (forward[mid].first_end < backward[i].last_begin)
				low = mid + 1;
			else
				high = mid;
		}
		*ret_value = backward[i].value;
		if (low > 0 && backward[i].first_end < forward[low - 1].last_begin)
			return "was acknowledged, but others saw another before, during and after";
	}
	return NULL;
}

static const char *judge(struct operation *ops, uint32_t count, struct zone *forward, struct zone *backward,
			 uint64_t *ret_value)
{
	uint32_t forwards = 0, backwards = 0;

	for (uint32_t i = 0, n = 0; i < count; i += n) {
		struct zone z;
		const char *why = zone_of(ops + i, count - i, &z, &n);
		*ret_value = z.value;
		if (why)
			return why;
		if (n == 1 && ops[i].end == HISTORY_PENDING)
			continue; /* nobody saw it */
		if (z.first_end < z.last_begin)
			forward[forwards++] = z;
		else
			backward[backwards++] = z;
	}
	qsort(forward, forwards, sizeof *forward, by_first_end);
	return check_zones(forward, forwards, backward, backwards, ret_value);
}

int history_check(const struct history *h, const char **ret_why, uint64_t *ret_value)
{
	if (h->count == 0)
		return 0;
	CLEANUP(mem_free) void *ops_memory = mem_calloc(h->count, sizeof *h->ops);
	CLEANUP(mem_free) void *zones_memory = mem_calloc(h->count, 2 * sizeof(struct zone));
	struct operation *ops = ops_memory;
	struct zone *zones = zones_memory;
	uint32_t count = 0;

	if (!ops || !zones)
		return -ENOMEM;
	for (uint32_t i = 0; i < h->count; i++)
		if (!h->ops[i].is_void)
			ops[count++] = h->ops[i];
	qsort(ops, count, sizeof *ops, by_value);
	*ret_why = judge(ops, count, zones, zones + h->count, ret_value);
	return *ret_why ? -EINVAL : 0;
}
