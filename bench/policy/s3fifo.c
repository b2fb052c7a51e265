/* S3-FIFO as the paper has it (algorithm 1): a small queue of a tenth, ghosts as many as the main queue holds, two uses. */
#include <errno.h>

#include "bench/policy/rings.h"
#include "bench/policy/sim.h"
#include "common/base/mem.h"

enum { SMALL = 1, MAIN, GHOST };
enum { USES_MAX = 3, PROMOTE_AT = 2 };

struct s3fifo {
	struct rings rings;
	uint8_t *uses;
	uint64_t room, small_room;
};

static void *s3fifo_end(void *sim)
{
	struct s3fifo *s = sim;
	if (s) {
		rings_done(&s->rings);
		(void)mem_free(s->uses);
	}
	return mem_free(s);
}

static int s3fifo_make(const struct trace *t, uint64_t room, const struct policy_config *config, void **ret)
{
	struct s3fifo *s = mem_calloc(1, sizeof *s);
	(void)config; /* these are the paper's */
	if (!s)
		return -ENOMEM;
	s->room = room;
	s->small_room = room / 10;
	s->uses = mem_calloc(t->objects, sizeof *s->uses);
	int r = rings_init(&s->rings, t);
	if (r || !s->uses) {
		(void)s3fifo_end(s);
		return -ENOMEM;
	}
	*ret = s;
	return 0;
}

/* One turn of a queue's oldest: it moves on, or leaves. */
static void turn(struct s3fifo *s, uint8_t queue)
{
	struct rings *r = &s->rings;
	uint32_t key = rings_oldest(r, queue);
	bool small = queue == SMALL;
	if (s->uses[key] >= (small ? PROMOTE_AT : 1)) {
		s->uses[key] = small ? 0 : s->uses[key] - 1;
		rings_move(r, key, MAIN);
		return;
	}
	rings_move(r, key, small ? GHOST : 0);
	while (r->units[GHOST] > s->room - s->small_room)
		rings_move(r, rings_oldest(r, GHOST), 0);
}

static bool s3fifo_access(void *sim, uint32_t at)
{
	struct s3fifo *s = sim;
	struct rings *r = &s->rings;
	uint32_t key = r->trace->keys[at];
	if (r->where[key] == SMALL || r->where[key] == MAIN) {
		if (s->uses[key] < USES_MAX)
			s->uses[key]++;
		return true;
	}
	if (r->trace->sizes[key] > s->room)
		return false;
	uint8_t queue = r->where[key] == GHOST ? MAIN : SMALL;
	while (r->units[SMALL] + r->units[MAIN] + r->trace->sizes[key] > s->room)
		turn(s, r->units[SMALL] >= s->small_room && r->units[SMALL] ? SMALL : MAIN);
	s->uses[key] = 0;
	rings_move(r, key, queue);
	return false;
}

const struct sim_kind sim_s3fifo = {"s3fifo", s3fifo_make, s3fifo_access, s3fifo_end, false};
