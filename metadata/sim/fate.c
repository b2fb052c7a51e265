/*
 * Fate: what fails, and when; and the person who adds and removes members. At most one disk at a time is damaged, and only
 * while the others can make it good: what one fault more would destroy, no protocol could keep.
 */
#include <errno.h>
#include <string.h>

#include "metadata/sim/sim.h"

#define TICK (20 * SIM_MS)

/* ---- who is there ---- */

static struct node *random_node(struct sim *s)
{
	struct node *n = &s->nodes[rng_below(&s->rng, SIM_NODES)];

	return n->up ? n : NULL;
}

static uint32_t count_voters(const struct raft_members *m)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < m->count; i++)
		n += !m->m[i].learner;
	return n;
}

static const struct raft_member *member(const struct raft_members *m, uint64_t id)
{
	for (uint32_t i = 0; i < m->count; i++)
		if (m->m[i].id == id)
			return &m->m[i];
	return NULL;
}

static bool any_is_wounded(const struct sim *s)
{
	for (uint32_t i = 0; i < SIM_NODES; i++)
		if (s->nodes[i].id && s->nodes[i].wounded)
			return true;
	return false;
}

/* A member without a disk: it was destroyed, and its id is still to be removed. */
static uint64_t dead_member(struct sim *s)
{
	const struct raft_members *m = oracle_members(&s->oracle);

	for (uint32_t i = 0; i < m->count; i++)
		if (!sim_node(s, m->m[i].id))
			return m->m[i].id;
	return RAFT_NOBODY;
}

bool fate_may_wound(struct sim *s, const struct node *n)
{
	const struct raft_members *m = oracle_members(&s->oracle);
	uint32_t voters = count_voters(m), whole = 0;
	uint64_t index = 0;

	if (voters < 3 || any_is_wounded(s))
		return false;
	for (uint32_t i = 0; i < m->count; i++) {
		const struct node *o = sim_node(s, m->m[i].id);
		/* Who knows what stands in its log; and a membership that one disk alone knows of is lost with that. */
		if (!o || !o->up || o->w.hard.commit < oracle_members_index(&s->oracle))
			return false;
	}
	for (uint32_t i = 0; i < SIM_NODES; i++) {
		const struct node *o = &s->nodes[i];
		if (!o->up)
			continue;
		struct raft_status st = raft_status(o->core);
		for (uint64_t k = st.commit + 1; k <= st.last; k++)
			if (raft_entry(o->core, k)->kind == RAFT_CONF)
				return false; /* a change is under way */
		const struct raft_member *v = member(m, o->id);
		whole += o != n && v && !v->learner && oracle_has_all(s, o);
		index = MAX(index, st.commit);
	}
	return index == oracle_commit(&s->oracle) && whole >= voters - (voters / 2 + 1);
}

/* ---- faults ---- */

bool fate_strikes(struct sim *s, const struct node *n)
{
	return !s->calm && !n->wounded && sim_chance(s, s->p.power) && sim_chance(s, 30);
}

static void crash_some(struct sim *s)
{
	struct node *n = random_node(s);

	if (n && sim_chance(s, s->p.kill))
		node_crash(s, n, false);
	n = random_node(s);
	/* The seal that tells rot from a torn write may be gone with the power: rot then would be a second fault. */
	if (n && !n->wounded && sim_chance(s, s->p.power))
		node_crash(s, n, true);
	if (sim_chance(s, s->p.power / 8)) /* the power of the room */
		for (uint32_t i = 0; i < SIM_NODES; i++)
			if (s->nodes[i].up && !s->nodes[i].wounded)
				node_crash(s, &s->nodes[i], true);
}

static void wound_some(struct sim *s)
{
	struct node *n = random_node(s);

	if (!n || !sim_chance(s, s->p.wound) || !fate_may_wound(s, n))
		return;
	n->wounded = true;
	n->wound_is_old = false;
	s->wounds++;
	switch (rng_below(&s->rng, 4)) {
	case 0:
		node_destroy(s, n);
		break;
	case 1:
		trace_word(s, n, "will write astray");
		n->disk.astray = 1; /* found out when it starts again */
		break;
	default:
		trace_word(s, n, disk_rot(&n->disk, wal_durable(n->wal)) ? "rots" : "does not rot");
		node_crash(s, n, false);
	}
}

/* A wound is healed when the member has started since, holds all it ever had, and its disk says so too. */
static bool is_healed(const struct node *n)
{
	return n->wound_is_old && !raft_status(n->core).repairing && wal_state(n->wal, 0).lost_to == 0 &&
	       !n->syncing && n->covered.number == n->written.number;
}

static void heal_wounds(struct sim *s)
{
	for (uint32_t i = 0; i < SIM_NODES; i++) {
		struct node *n = &s->nodes[i];
		if (!n->up || !n->wounded)
			continue;
		if (!n->wound_is_old && n->disk.astray == 0 && sim_chance(s, 50))
			node_crash(s, n, false);
		else if (is_healed(n))
			n->wounded = false;
	}
}

static void disturb_disks(struct sim *s)
{
	struct node *n = random_node(s);

	if (n && sim_chance(s, s->p.disk_slow))
		n->slow = n->slow == 1 ? 100 : 1;
	n = random_node(s);
	if (n && sim_chance(s, s->p.full))
		n->disk.full = true;
	for (uint32_t i = 0; i < SIM_NODES; i++)
		if (s->nodes[i].disk.full && sim_chance(s, 20))
			s->nodes[i].disk.full = false;
}

static void mend_links(struct sim *s)
{
	memset(s->cut, 0, sizeof s->cut);
	s->is_cut = false;
}

static void cut_links(struct sim *s)
{
	if (s->is_cut && s->now >= s->cut_until)
		mend_links(s);
	if (s->is_cut)
		return;
	s->cut_until = s->now + sim_between(s, 100, 3000) * SIM_MS;
	if (sim_chance(s, s->p.partition)) {
		uint64_t side = rng_next(&s->rng);
		for (uint32_t a = 0; a < SIM_NODES; a++)
			for (uint32_t b = 0; b < SIM_NODES; b++)
				s->cut[a][b] = (side >> a & 1) != (side >> b & 1);
		s->is_cut = true;
	}
	if (sim_chance(s, s->p.one_way)) {
		for (uint64_t links = 1 + rng_below(&s->rng, 6); links > 0; links--)
			s->cut[rng_below(&s->rng, SIM_NODES)][rng_below(&s->rng, SIM_NODES)] = true;
		s->is_cut = true;
	}
}

void fate_on_election(struct sim *s, const struct node *n)
{
	if (s->calm || !sim_chance(s, s->p.ambush))
		return;
	/* Half of them come before its first entry gets anywhere. */
	sim_schedule(s, sim_between(s, 0, rng_below(&s->rng, 2) ? 1500 : 12000) * 1000,
		     &(struct sim_event){.kind = SIM_AMBUSH, .slot = n->slot, .epoch = n->epoch});
}

/* It comes to power and is gone, or speaks to nobody, or hears nobody, before it has said much. */
void fate_ambush(struct sim *s, struct node *n)
{
	uint64_t how = rng_below(&s->rng, 6);

	if (s->calm || n->wounded)
		return;
	if (how < 2) {
		node_crash(s, n, how == 0);
		return;
	}
	for (uint32_t i = 0; i < SIM_NODES; i++) {
		s->cut[n->slot][i] = how != 4;
		s->cut[i][n->slot] = how != 5;
	}
	s->is_cut = true;
	s->cut_until = s->now + sim_between(s, 300, 3000) * SIM_MS;
}

static void disturb_clocks(struct sim *s)
{
	struct node *n = random_node(s);

	if (!n || !sim_chance(s, s->p.clock))
		return;
	n->local0 += (s->now - n->t0) * (1000 + n->rate) / 1000;
	n->t0 = s->now;
	n->rate = sim_between(s, -100, 100);
	if (sim_chance(s, 300))
		n->local0 += sim_between(s, 0, 20000) * SIM_MS; /* it was asleep */
	n->timer_at = 0;
	sim_schedule(s, 1, &(struct sim_event){.kind = SIM_TIMER, .slot = n->slot, .epoch = n->epoch});
}

/* ---- the person ---- */

static int ask_change(struct sim *s, struct node *leader, enum raft_change_kind kind, uint64_t id)
{
	struct raft_event e = {.kind = RAFT_CHANGE, .change = {.kind = kind, .member = id}};
	int rc = node_step(s, leader, &e);

	s->changes += rc == 0;
	return rc;
}

/* Disks that belong to nobody any more make room for new ones. */
static void clear_away(struct sim *s)
{
	for (uint32_t i = 0; i < SIM_NODES; i++) {
		struct node *n = &s->nodes[i];
		if (n->id && n->up && !member(oracle_members(&s->oracle), n->id) && sim_chance(s, 20) &&
		    raft_status(n->core).snapshot_index > 0)
			node_destroy(s, n);
	}
}

static uint64_t new_disk(struct sim *s)
{
	for (uint32_t i = 0; i < SIM_NODES; i++) {
		if (s->nodes[i].id)
			continue;
		node_make(s, i, ++s->next_id, NULL);
		return s->next_id;
	}
	return RAFT_NOBODY;
}

/* Replaces a dead member; else now and then grows, shrinks, promotes. A person does not take away a voter that is needed. */
static void change_members(struct sim *s)
{
	struct node *leader = sim_leader(s);
	uint64_t dead = dead_member(s);

	if (!leader)
		return;
	struct raft_members m;
	raft_members(leader->core, &m);
	uint32_t voters = count_voters(&m);
	const struct raft_member *any = &m.m[rng_below(&s->rng, m.count)];
	if (dead != RAFT_NOBODY && member(&m, dead)) {
		if (sim_chance(s, 200) && voters > 1)
			(void)ask_change(s, leader, RAFT_REMOVE, dead);
		return;
	}
	if (any->learner && sim_chance(s, s->calm ? 500 : MAX(s->p.churn, 50))) {
		(void)ask_change(s, leader, RAFT_ADD_VOTER, any->id);
		return;
	}
	if (m.count < 3 || (!s->calm && m.count < 6 && sim_chance(s, s->p.churn))) {
		uint64_t id = new_disk(s);
		if (id != RAFT_NOBODY && ask_change(s, leader, RAFT_ADD_LEARNER, id) != 0)
			node_destroy(s, sim_node(s, id));
		return;
	}
	if (!s->calm && voters > 2 && !any_is_wounded(s) && sim_chance(s, s->p.churn))
		(void)ask_change(s, leader,
				 any->learner || sim_chance(s, 700) ? RAFT_REMOVE : RAFT_ADD_LEARNER,
				 any->id);
}

static void transfer(struct sim *s)
{
	struct node *leader = sim_leader(s), *to = random_node(s);

	if (!leader || !to || !sim_chance(s, s->p.transfer))
		return;
	(void)node_step(s, leader, &(struct raft_event){.kind = RAFT_TRANSFER, .peer = to->id});
}

/* ---- turns ---- */

static void next_tick(struct sim *s)
{
	sim_schedule(s, TICK, &(struct sim_event){.kind = SIM_FATE});
}

void fate_begin(struct sim *s)
{
	static const uint32_t sizes[] = {3, 3, 3, 5, 4, 1, 2};
	uint32_t count = sizes[rng_below(&s->rng, LENGTH(sizes))];
	struct raft_members m = {.count = count};

	for (uint32_t i = 0; i < count; i++)
		m.m[i].id = ++s->next_id;
	oracle_begin(s, &m);
	for (uint32_t i = 0; i < count; i++)
		node_make(s, i, i + 1, &m);
	next_tick(s);
}

static void make_peace(struct sim *s)
{
	mend_links(s);
	for (uint32_t i = 0; i < SIM_NODES; i++) {
		s->nodes[i].disk.full = false;
		s->nodes[i].slow = 1;
	}
}

void fate_tick(struct sim *s)
{
	next_tick(s);
	heal_wounds(s);
	clear_away(s);
	change_members(s);
	if (s->calm) {
		make_peace(s);
		return;
	}
	crash_some(s);
	wound_some(s);
	disturb_disks(s);
	cut_links(s);
	disturb_clocks(s);
	transfer(s);
}
