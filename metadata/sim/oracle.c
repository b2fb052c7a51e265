#include "metadata/sim/oracle.h"

#include <inttypes.h>
#include <string.h>

#include "common/base/mem.h"
#include "metadata/sim/sim.h"

static uint64_t mix(uint64_t a, uint64_t b)
{
	uint64_t z = (a ^ b) * 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	return z ^ z >> 27;
}

uint64_t oracle_hash(const struct raft_entry *e)
{
	uint64_t h = mix(e->kind + 1, e->len);
	const uint8_t *p = e->data;

	for (uint32_t i = 0; i < e->len; i++)
		h = (h ^ p[i]) * 0x100000001b3ULL;
	return mix(h, 7);
}

uint64_t oracle_commit(const struct oracle *o)
{
	return o->count - 1;
}

const struct raft_members *oracle_members(const struct oracle *o)
{
	return &o->rolls[o->roll_count - 1].members;
}

uint64_t oracle_members_index(const struct oracle *o)
{
	return o->rolls[o->roll_count - 1].index;
}

/* ---- the membership, by its own rule ---- */

static void add_roll(struct sim *s, uint64_t index, const struct raft_members *m)
{
	struct oracle *o = &s->oracle;

	if (o->roll_count == o->roll_room) {
		uint32_t room = MAX(2 * o->roll_room, 64);
		struct roll *more = mem_resize(o->rolls, room, sizeof *more);
		if (!more) {
			sim_fail(s, "out of memory");
			return;
		}
		o->rolls = more;
		o->roll_room = room;
	}
	o->rolls[o->roll_count++] = (struct roll){index, *m};
}

static void change(struct raft_members *m, const struct raft_change *c)
{
	struct raft_members old = *m;
	bool placed = c->kind == RAFT_REMOVE;

	m->count = 0;
	for (uint32_t i = 0; i < old.count; i++) {
		if (!placed && c->member < old.m[i].id) {
			m->m[m->count++] = (struct raft_member){c->member, c->kind == RAFT_ADD_LEARNER};
			placed = true;
		}
		if (old.m[i].id == c->member && c->kind == RAFT_REMOVE)
			continue;
		m->m[m->count++] = old.m[i];
		if (old.m[i].id == c->member) {
			m->m[m->count - 1].learner = c->kind == RAFT_ADD_LEARNER;
			placed = true;
		}
	}
	if (!placed)
		m->m[m->count++] = (struct raft_member){c->member, c->kind == RAFT_ADD_LEARNER};
}

static const struct roll *roll_at(const struct oracle *o, uint64_t index)
{
	uint32_t i = o->roll_count - 1;

	while (i > 0 && o->rolls[i].index > index)
		i--;
	return &o->rolls[i];
}

/* ---- what is committed ---- */

static void add_fact(struct sim *s, const struct fact *f)
{
	struct oracle *o = &s->oracle;

	if (o->count == o->room) {
		uint64_t room = MAX(2 * o->room, 4096);
		struct fact *more = mem_resize(o->facts, room, sizeof *more);
		if (!more) {
			sim_fail(s, "out of memory");
			return;
		}
		o->facts = more;
		o->room = room;
	}
	o->facts[o->count++] = *f;
}

static void check_committed(struct sim *s, struct node *n, uint64_t index, uint64_t in_term)
{
	struct oracle *o = &s->oracle;
	const struct raft_entry *e = raft_entry(n->core, index);

	if (!e)
		return; /* it came with a snapshot, whose state is compared */
	struct fact f = {.term = e->term,
			 .hash = oracle_hash(e),
			 .is_change = e->kind == RAFT_CONF,
			 .in_term = in_term};
	if (index < o->count) {
		if (o->facts[index].term != f.term || o->facts[index].hash != f.hash)
			sim_fail(s,
				 "node %" PRIu64 " commits another entry %" PRIu64 " (term %" PRIu64
				 ") than was (term %" PRIu64 ")",
				 n->id, index, f.term, o->facts[index].term);
		return;
	}
	if (index > o->count)
		sim_fail(s, "node %" PRIu64 " commits %" PRIu64 ", but nobody the entry before", n->id,
			 index);
	struct raft_change c;
	if (f.is_change && raft_change_decode(e->data, e->len, &c) == 0) {
		struct raft_members m = *oracle_members(o);
		change(&m, &c);
		add_roll(s, index, &m);
	}
	add_fact(s, &f);
}

static void check_members(struct sim *s, const struct node *n, const struct raft_status *st)
{
	const struct roll *r = roll_at(&s->oracle, st->commit);
	struct raft_members m;

	raft_members(n->core, &m);
	if (m.count == 0 && st->snapshot_index == 0)
		return; /* a new disk */
	bool same = m.count == r->members.count;
	for (uint32_t i = 0; same && i < m.count; i++)
		same = m.m[i].id == r->members.m[i].id && m.m[i].learner == r->members.m[i].learner;
	if (!same)
		sim_fail(s, "node %" PRIu64 " has another membership at %" PRIu64 " than was committed",
			 n->id, st->commit);
	if (st->members_index > st->snapshot_index && st->members_index != r->index)
		sim_fail(s, "node %" PRIu64 " says its membership is of entry %" PRIu64 ", it is of %" PRIu64,
			 n->id, st->members_index, r->index);
}

static void check_commit(struct sim *s, struct node *n, const struct raft_status *st)
{
	bool changed = st->members_index != n->w.members_index;

	if (st->commit < n->w.commit)
		sim_fail(s, "node %" PRIu64 " takes back commit %" PRIu64, n->id, n->w.commit);
	for (uint64_t i = n->w.commit + 1; i <= st->commit && !sim_failed(s); i++) {
		check_committed(s, n, i, st->term);
		changed = changed || (i < s->oracle.count && s->oracle.facts[i].is_change);
	}
	if (st->commit >= s->oracle.count)
		sim_fail(s, "node %" PRIu64 " commits %" PRIu64 " by a snapshot nobody committed", n->id,
			 st->commit);
	else if (changed && !sim_failed(s))
		check_members(s, n, st);
	n->w.commit = st->commit;
	n->w.members_index = st->members_index;
}

/* ---- who leads ---- */

static void check_new_leader(struct sim *s, struct node *n, const struct raft_status *st)
{
	struct oracle *o = &s->oracle;
	uint64_t *slot = o->leader_of[st->term % ORACLE_TERMS];

	s->elections++;
	if (slot[0] == st->term && slot[1] != n->id)
		sim_fail(s, "nodes %" PRIu64 " and %" PRIu64 " both lead in term %" PRIu64, slot[1], n->id,
			 st->term);
	slot[0] = st->term;
	slot[1] = n->id;
	/* What leaders of older terms committed; one that comes late need not have what newer ones did [O 3.6.3]. */
	uint64_t last = oracle_commit(o);
	while (last > 0 && o->facts[last].in_term >= st->term)
		last--;
	if (st->last < last)
		sim_fail(s, "node %" PRIu64 " leads without entry %" PRIu64 ", which is committed", n->id,
			 last);
	for (uint64_t i = st->first; i <= last && !sim_failed(s); i++) {
		const struct raft_entry *e = raft_entry(n->core, i);
		if (e && e->term != o->facts[i].term)
			sim_fail(s,
				 "node %" PRIu64 " leads with another entry %" PRIu64 " than was committed",
				 n->id, i);
	}
}

static void check_vote(struct sim *s, const struct node *n, uint64_t term, uint64_t candidate)
{
	struct voted *v = &s->oracle.votes[(term * 31 + n->id) % ORACLE_TERMS];

	if (n->w.hard.term != term || n->w.hard.vote != candidate)
		sim_fail(s,
			 "node %" PRIu64 " says it votes for %" PRIu64 " in term %" PRIu64
			 ", its disk does not",
			 n->id, candidate, term);
	if (v->term == term && v->voter == n->id && v->candidate != candidate)
		sim_fail(s, "node %" PRIu64 " votes for %" PRIu64 " and %" PRIu64 " in term %" PRIu64, n->id,
			 v->candidate, candidate, term);
	*v = (struct voted){term, n->id, candidate};
}

/* ---- what is said, and what the disk holds ---- */

static void check_sent(struct sim *s, const struct node *n, const struct raft_message *m)
{
	bool asks = m->kind == RAFT_MSG_PRE_VOTE || m->kind == RAFT_MSG_PRE_VOTE_RESP;

	if (!asks && m->term > n->w.hard.term)
		sim_fail(s, "node %" PRIu64 " names term %" PRIu64 " in %s, its disk only %" PRIu64, n->id,
			 m->term, raft_message_word(m->kind), n->w.hard.term);
	if (m->kind == RAFT_MSG_VOTE)
		check_vote(s, n, m->term, n->id);
	else if (m->kind == RAFT_MSG_VOTE_RESP && !m->reject)
		check_vote(s, n, m->term, m->to);
	else if (m->kind == RAFT_MSG_APPEND_RESP && !m->reject && m->index > n->w.durable_last)
		sim_fail(s, "node %" PRIu64 " acknowledges %" PRIu64 ", its disk holds %" PRIu64, n->id,
			 m->index, n->w.durable_last);
}

/* An entry of one index and term is the same everywhere, and so is the term before it. By induction logs match [O 3.5]. */
static void check_entry(struct sim *s, const struct node *n, const struct raft_entry *e)
{
	const struct raft_entry *p = raft_entry(n->core, e->index - 1);
	uint64_t before = p ? p->term : 0, hash = oracle_hash(e);
	uint64_t at = mix(e->index, e->term) % ORACLE_ENTRIES;

	if (s->oracle.entries[at].index == e->index && s->oracle.entries[at].term == e->term) {
		bool same = before == 0 || s->oracle.entries[at].before == 0 ||
			    s->oracle.entries[at].before == before;
		if (!same || s->oracle.entries[at].hash != hash)
			sim_fail(s,
				 "node %" PRIu64 " has another entry %" PRIu64 " of term %" PRIu64
				 " than others",
				 n->id, e->index, e->term);
	}
	s->oracle.entries[at].index = e->index;
	s->oracle.entries[at].term = e->term;
	s->oracle.entries[at].before = before;
	s->oracle.entries[at].hash = hash;
}

static void check_one_change(struct sim *s, const struct node *n, const struct raft_status *st)
{
	uint32_t changes = 0;

	for (uint64_t i = st->commit + 1; i <= st->last; i++) {
		const struct raft_entry *e = raft_entry(n->core, i);
		changes += e && e->kind == RAFT_CONF;
	}
	if (changes > 1)
		sim_fail(s,
			 "node %" PRIu64 " has %" PRIu32 " changes of the membership that are not committed",
			 n->id, changes);
}

static void note_batch(struct sim *s, struct node *n, const struct raft_ready *d)
{
	struct witness *w = &n->w;

	if (w->batch_count == WITNESS_BATCHES) {
		sim_fail(s, "node %" PRIu64 " has too many writes under way", n->id);
		return;
	}
	w->batches[w->batch_count] = d->batch;
	w->firsts[w->batch_count] = d->restore ? 0 : d->first;
	w->hards[w->batch_count++] = d->hard;
	if (d->restore || d->first <= w->durable_last)
		w->durable_last = d->restore ? 0 : d->first - 1;
}

void oracle_synced(struct node *n, const struct raft_batch *batch)
{
	struct witness *w = &n->w;
	uint32_t k = 0;

	while (k < w->batch_count && w->batches[k].number <= batch->number)
		k++;
	if (k == 0)
		return;
	w->durable_last = w->batches[k - 1].last;
	w->hard = w->hards[k - 1];
	for (uint32_t i = k; i < w->batch_count; i++) /* what is written over is no longer the log */
		if (w->firsts[i] <= w->durable_last)
			w->durable_last = w->firsts[i] ? w->firsts[i] - 1 : 0;
	w->batch_count -= k;
	memmove(w->batches, w->batches + k, w->batch_count * sizeof w->batches[0]);
	memmove(w->firsts, w->firsts + k, w->batch_count * sizeof w->firsts[0]);
	memmove(w->hards, w->hards + k, w->batch_count * sizeof w->hards[0]);
}

void oracle_stepped(struct sim *s, struct node *n, const struct raft_ready *d)
{
	struct raft_status st = raft_status(n->core);

	raft_check(n->core);
	if (st.term < n->w.term)
		sim_fail(s, "node %" PRIu64 " takes back term %" PRIu64, n->id, n->w.term);
	if (d->batch.number)
		note_batch(s, n, d);
	for (uint64_t i = d->first; i <= d->last && d->batch.number && !sim_failed(s); i++) {
		const struct raft_entry *e = raft_entry(n->core, i);
		check_entry(s, n, e);
		if (e->kind == RAFT_CONF)
			check_one_change(s, n, &st);
	}
	if (st.role == RAFT_LEADER && (n->w.role != RAFT_LEADER || n->w.term != st.term))
		check_new_leader(s, n, &st);
	check_commit(s, n, &st);
	for (uint32_t i = 0; i < d->message_count && !sim_failed(s); i++)
		check_sent(s, n, &d->messages[i]);
	n->w.term = st.term;
	n->w.role = st.role;
}

/* ---- states ---- */

static void check_state(struct sim *s, const struct node *n)
{
	struct oracle *o = &s->oracle;

	if (n->state.index >= o->count) {
		sim_fail(s, "node %" PRIu64 " has a state of entry %" PRIu64 ", which is not committed",
			 n->id, n->state.index);
		return;
	}
	struct fact *f = &o->facts[n->state.index];
	if (f->state_hash == 0)
		f->state_hash = n->state.hash;
	else if (f->state_hash != n->state.hash)
		sim_fail(s, "node %" PRIu64 " has another state than others at entry %" PRIu64, n->id,
			 n->state.index);
}

void oracle_applied(struct sim *s, struct node *n, const struct raft_entry *e)
{
	if (e->index != n->w.applied + 1)
		sim_fail(s, "node %" PRIu64 " applies %" PRIu64 " after %" PRIu64, n->id, e->index,
			 n->w.applied);
	if (e->index > n->w.durable_last)
		sim_fail(s, "node %" PRIu64 " applies %" PRIu64 ", its disk holds %" PRIu64, n->id, e->index,
			 n->w.durable_last);
	n->w.applied = e->index;
	check_state(s, n);
}

void oracle_restored(struct sim *s, struct node *n)
{
	n->w.applied = n->state.index;
	check_state(s, n);
}

/* ---- starting ---- */

void oracle_started(struct sim *s, struct node *n)
{
	struct raft_status st = raft_status(n->core);
	struct witness old = n->w;
	bool excused = n->wounded || st.repairing;

	if (!excused && st.last < old.durable_last)
		sim_fail(s, "node %" PRIu64 " starts with entries up to %" PRIu64 ", its disk had %" PRIu64,
			 n->id, st.last, old.durable_last);
	if (!excused && (st.term < old.hard.term))
		sim_fail(s, "node %" PRIu64 " starts in term %" PRIu64 ", its disk had %" PRIu64, n->id,
			 st.term, old.hard.term);
	if (st.repairing && !n->wounded)
		sim_fail(s, "node %" PRIu64 " says that entries are lost, nothing damaged its disk", n->id);
	uint64_t commit = old.hard.commit;
	n->w = (struct witness){
		.commit = n->snapshot.meta.index,
		.applied = n->snapshot.meta.index,
		.hard = {st.term, st.vote, commit},
		.durable_last = st.last,
		.term = st.term,
	};
}

bool oracle_has_all(const struct sim *s, const struct node *n)
{
	uint64_t commit = oracle_commit(&s->oracle);
	const struct raft_entry *e = n->up ? raft_entry(n->core, commit) : NULL;

	if (!n->up || n->w.durable_last < commit)
		return false;
	return e ? e->term == s->oracle.facts[commit].term : n->snapshot.meta.index >= commit;
}

void oracle_begin(struct sim *s, const struct raft_members *members)
{
	s->oracle.count = 0;
	add_fact(s, &(struct fact){0});
	add_fact(s, &(struct fact){.term = 1});
	s->oracle.roll_count = 0;
	add_roll(s, 1, members);
}

void oracle_done(struct oracle *o)
{
	o->facts = mem_free(o->facts);
	o->rolls = mem_free(o->rolls);
	o->count = o->room = 0;
	o->roll_count = o->roll_room = 0;
}
