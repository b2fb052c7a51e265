/* The invariants that one member can see. Those between members are the simulator's. */
#include "metadata/raft/internal.h"

static void check_log(const struct raft_log *l)
{
	CHECK(l->base <= l->handed);
	CHECK(l->handed <= l->stable);
	CHECK(l->stable <= l->saved);
	CHECK(l->saved <= l->last);
	CHECK(l->handed <= l->commit);
	CHECK(l->commit <= l->last);
	CHECK(l->last - l->base <= l->mask + 1);
	/* Terms never fall; the ends stand for all, each was one of them. */
	CHECK(l->last == l->base || raft_log_term(l, l->base + 1) >= l->base_term);
	CHECK(l->last <= l->base + 1 || raft_log_term(l, l->last) >= raft_log_term(l, l->last - 1));
}

static void check_members(const struct raft *r)
{
	CHECK(r->peer_count <= RAFT_MEMBERS_MAX);
	for (uint32_t i = 1; i < r->peer_count; i++)
		CHECK(r->peers[i - 1].id < r->peers[i].id);
	CHECK(r->members_index <= r->log.commit);
}

static void check_progress(const struct raft *r, const struct raft_progress *p)
{
	CHECK(p->match < p->next);
	CHECK(p->match <= r->log.last);
	CHECK(p->inflight_count <= r->c.inflight_max);
	CHECK(p->flow == RAFT_REPLICATE || p->inflight_count == 0);
	CHECK(p->flow == RAFT_SNAPSHOT || p->next <= r->log.last + 1);
	CHECK(p->round <= r->round);
}

static void check_leader(const struct raft *r)
{
	const struct raft_peer *self = raft_peer_const(r, r->c.id);

	CHECK(r->leader == r->c.id);
	CHECK(r->vote == r->c.id);
	CHECK(raft_hard_is_durable(r));
	CHECK(self && !self->learner);
	CHECK(self->progress.match == r->log.stable);
	for (uint32_t i = 0; i < r->peer_count; i++)
		if (&r->peers[i] != self)
			check_progress(r, &r->peers[i].progress);
	for (uint32_t i = 1; i < r->read_count; i++)
		CHECK(r->reads[i - 1].round <= r->reads[i].round);
}

void raft_check(const struct raft *r)
{
	check_log(&r->log);
	check_members(r);
	CHECK(r->term >= raft_log_last_term(&r->log));
	CHECK(r->snap.index >= r->log.base);
	CHECK(r->snap.index <= r->log.handed);
	CHECK(r->batch_done <= r->batch);
	CHECK(r->matched <= r->log.last);
	if (r->role == RAFT_LEADER) {
		check_leader(r);
	} else {
		CHECK(r->read_count == 0);
		CHECK(r->transferee == RAFT_NOBODY);
		CHECK(r->leader != r->c.id);
	}
}
