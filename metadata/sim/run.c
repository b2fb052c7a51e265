/* The order of events: storms in which anything may fail, and a calm after each, in which all must become well. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"
#include "metadata/sim/sim.h"

#define STORM_MAX      (200 * 1000 * SIM_MS)
#define CALM_STEPS_MAX 1000000u
#define CALM_MAX       (90000 * SIM_MS) /* virtual time in which all must be well again */

void sim_fail(struct sim *s, const char *fmt, ...)
{
	char words[384];
	va_list args;

	if (sim_failed(s))
		return;
	va_start(args, fmt);
	(void)vsnprintf(words, sizeof words, fmt, args);
	va_end(args);
	(void)snprintf(s->failure, sizeof s->failure, "step %" PRIu64 ", %.3f s: %s", s->steps,
		       (double)s->now / 1e9, words);
}

/* ---- the queue: a heap by time, then by order ---- */

static bool is_before(const struct sim_event *a, const struct sim_event *b)
{
	return a->at < b->at || (a->at == b->at && a->order < b->order);
}

void sim_schedule(struct sim *s, int64_t delay_ns, const struct sim_event *e)
{
	if (s->heap_count == s->heap_room) {
		uint32_t room = MAX(2 * s->heap_room, 1024);
		struct sim_event *more = mem_resize(s->heap, room, sizeof *more);
		if (!more) {
			sim_fail(s, "out of memory");
			return;
		}
		s->heap = more;
		s->heap_room = room;
	}
	struct sim_event new = *e;
	new.at = s->now + delay_ns;
	new.order = ++s->order;
	uint32_t i = s->heap_count++;
	for (; i > 0 && is_before(&new, &s->heap[(i - 1) / 2]); i = (i - 1) / 2)
		s->heap[i] = s->heap[(i - 1) / 2];
	s->heap[i] = new;
}

static struct sim_event take_first(struct sim *s)
{
	struct sim_event first = s->heap[0], last = s->heap[--s->heap_count];
	uint32_t i = 0;

	for (;;) {
		uint32_t child = 2 * i + 1;
		if (child >= s->heap_count)
			break;
		if (child + 1 < s->heap_count && is_before(&s->heap[child + 1], &s->heap[child]))
			child++;
		if (!is_before(&s->heap[child], &last))
			break;
		s->heap[i] = s->heap[child];
		i = child;
	}
	s->heap[i] = last;
	return first;
}

/* ---- one event ---- */

static void node_event(struct sim *s, const struct sim_event *e)
{
	struct node *n = &s->nodes[e->slot];

	if (n->id == 0 || n->epoch != e->epoch)
		return; /* of a process that ended */
	if (e->kind == SIM_START) {
		node_start(s, n);
		return;
	}
	switch (e->kind) {
	case SIM_TIMER:
		node_on_timer(s, n);
		break;
	case SIM_SYNCED:
		node_on_synced(s, n);
		break;
	case SIM_SNAPSHOT:
		node_on_snapshot(s, n);
		break;
	case SIM_AMBUSH:
		fate_ambush(s, n);
		break;
	default: {
		struct raft_event sent = {.kind = RAFT_SNAPSHOT_SENT, .sent = {e->sent.peer, e->sent.failed}};
		(void)node_step(s, n, &sent);
	}
	}
}

static void one_event(struct sim *s)
{
	struct sim_event e = take_first(s);

	s->now = e.at;
	switch (e.kind) {
	case SIM_DELIVER:
		net_deliver(s, e.parcel);
		break;
	case SIM_CLIENT:
		if (s->clients[e.slot].number == e.epoch)
			client_wake(s, e.slot);
		break;
	case SIM_FATE:
		fate_tick(s);
		break;
	case SIM_TIMER:
	case SIM_SYNCED:
	case SIM_SNAPSHOT:
	case SIM_SENT:
	case SIM_START:
	case SIM_AMBUSH:
		node_event(s, &e);
	}
}

/* ---- storm and calm ---- */

static const char *what_is_not_well(struct sim *s)
{
	const struct raft_members *m = oracle_members(&s->oracle);
	struct node *leader = sim_leader(s);

	if (!client_all_idle(s))
		return "a client still waits";
	if (!leader)
		return "nobody leads";
	if (raft_status(leader->core).commit != raft_status(leader->core).last)
		return "not all is committed";
	for (uint32_t i = 0; i < m->count; i++) {
		struct node *n = sim_node(s, m->m[i].id);
		if (!n)
			return "a dead member is not replaced";
		if (!n->up)
			return "a member does not start";
		struct raft_status st = raft_status(n->core);
		if (st.leader != leader->id)
			return "a member follows nobody";
		if (st.repairing)
			return "a member is not repaired";
		if (n->state.index != oracle_commit(&s->oracle))
			return "a member lags";
		if (m->m[i].learner)
			return "a learner is not promoted";
	}
	return NULL;
}

/* Ends the storm; all must be well in bounded virtual time, and what clients saw must make sense. */
static void calm_down(struct sim *s)
{
	int64_t end = s->now + CALM_MAX;
	uint64_t last = s->steps + CALM_STEPS_MAX;

	s->calm = true;
	while (!sim_failed(s) && what_is_not_well(s)) {
		if (s->steps > last)
			sim_fail(s, "messages go round and round: %s", what_is_not_well(s));
		if (s->now > end)
			sim_fail(s, "%d s after the last fault: %s", (int)(CALM_MAX / SIM_MS / 1000),
				 what_is_not_well(s));
		one_event(s);
	}
	if (!sim_failed(s))
		client_judge(s, &sim_leader(s)->state);
	s->calm = false;
	client_begin(s);
}

void sim_run(struct sim *s, uint64_t seed, const struct profile *profile, uint64_t steps, uint64_t trace_from)
{
	memset(s, 0, sizeof *s);
	s->seed = seed;
	s->trace_from = trace_from;
	s->rng = rng_seeded(seed);
	fate_begin(s);
	for (uint32_t k = 0; k < SIM_KEYS; k++)
		if (history_restart(&s->history[k], 0) != 0)
			sim_fail(s, "out of memory");
	client_begin(s);
	while (s->steps < steps && !sim_failed(s)) {
		s->p = profile_draw(profile, &s->rng);
		s->reads = (uint32_t)sim_between(s, 100, 800);
		uint64_t storm = MIN(steps, s->steps + 2000 + rng_below(&s->rng, 20000));
		int64_t end = s->now + STORM_MAX; /* without a leader little happens */
		while (s->steps < storm && s->now < end && !sim_failed(s))
			one_event(s);
		if (!sim_failed(s))
			calm_down(s);
	}
}

void sim_done(struct sim *s)
{
	for (uint32_t i = 0; i < s->heap_count; i++)
		if (s->heap[i].kind == SIM_DELIVER)
			(void)mem_free(s->heap[i].parcel);
	s->heap = mem_free(s->heap);
	for (uint32_t i = 0; i < SIM_NODES; i++)
		if (s->nodes[i].id)
			node_destroy(s, &s->nodes[i]);
	for (uint32_t k = 0; k < SIM_KEYS; k++)
		history_done(&s->history[k]);
	oracle_done(&s->oracle);
}
