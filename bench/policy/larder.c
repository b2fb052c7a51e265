/* The product's core under a trace. */
#include <errno.h>

#include "bench/policy/sim.h"
#include "common/base/mem.h"

#define TURNS 64 /* at once; the simulator has no lock to let go, so it just asks again */

struct larder {
	const struct trace *trace;
	struct policy *policy;
	uint64_t room, used;
};

static void *larder_end(void *sim)
{
	struct larder *s = sim;
	if (s)
		(void)policy_free(s->policy);
	return mem_free(s);
}

static int larder_make(const struct trace *t, uint64_t room, const struct policy_config *config, void **ret)
{
	struct larder *s = mem_calloc(1, sizeof *s);
	if (!s)
		return -ENOMEM;
	s->trace = t;
	s->room = room;
	int r = policy_new(config, &s->policy);
	if (r)
		(void)larder_end(s);
	else
		*ret = s;
	return r;
}

static enum policy_answer go(void *ctx, uint64_t key)
{
	(void)ctx;
	(void)key;
	return POLICY_GO;
}

static bool larder_access(void *sim, uint32_t at)
{
	struct larder *s = sim;
	uint32_t key = s->trace->keys[at], size = s->trace->sizes[key];
	uint64_t victim;
	if (policy_touch(s->policy, key))
		return true;
	if (size > s->room)
		return false;
	while (s->used + size > s->room)
		if (policy_evict(s->policy, go, NULL, TURNS, &victim) == 0)
			s->used -= s->trace->sizes[victim];
	if (policy_put(s->policy, key, size) == 0)
		s->used += size;
	return false;
}

const struct sim_kind sim_larder = {"larder", larder_make, larder_access, larder_end, false};
