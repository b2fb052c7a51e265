/*
 * Elections: follower -> pre-candidate -> candidate -> leader. raft_become_follower() is the way back from each.
 *
 * A pre-candidate asks who would vote for it, without a new term, so that a member that was cut off cannot depose a
 * leader others hear [O 9.6]. A candidate's requests wait until its own vote is durable, and so does every vote it gets.
 */
#include "metadata/raft/internal.h"

void raft_restart_election_timer(struct raft *r)
{
	uint64_t more = rng_below(&r->rng, (uint64_t)r->c.election_ns);

	r->election_at = r->now + r->c.election_ns + (int64_t)more;
}

static void set_term(struct raft *r, uint64_t term, uint64_t vote)
{
	CHECK(term >= r->term);
	if (term == r->term && vote == r->vote)
		return;
	if (term > r->term) {
		/* What waits to be said was of the old term. */
		r->matched = 0;
		r->ack_due = false;
		r->vote_due = RAFT_NOBODY;
		r->requests_due = false;
	}
	r->term = term;
	r->vote = vote;
	r->hard_dirty = true;
}

static void forget_office(struct raft *r)
{
	raft_reads_fail(r);
	r->transferee = RAFT_NOBODY;
	r->uncommitted_bytes = 0;
	r->vote_due = RAFT_NOBODY;
	r->requests_due = r->forced = false;
}

void raft_become_follower(struct raft *r, uint64_t term, uint64_t leader)
{
	forget_office(r);
	set_term(r, term, term > r->term ? RAFT_NOBODY : r->vote);
	r->role = RAFT_FOLLOWER;
	r->leader = leader;
	r->heard_at = r->now;
	raft_restart_election_timer(r);
}

bool raft_is_promotable(const struct raft *r)
{
	const struct raft_peer *self = raft_peer_const(r, r->c.id);

	return self && !self->learner && r->lost_to == 0;
}

bool raft_is_in_lease(const struct raft *r)
{
	if (r->role == RAFT_LEADER)
		return true; /* it steps down when the quorum is gone */
	return r->leader != RAFT_NOBODY && r->now - r->heard_at < r->c.election_ns;
}

static void become_leader(struct raft *r)
{
	if (!raft_log_fits(&r->log, 1, 0, 0)) {
		raft_become_follower(r, r->term, RAFT_NOBODY);
		return;
	}
	r->role = RAFT_LEADER;
	r->leader = r->c.id;
	r->requests_due = false;
	for (uint32_t i = 0; i < r->peer_count; i++)
		raft_progress_reset(&r->peers[i].progress, r->log.last + 1);
	raft_peer(r, r->c.id)->progress.match = r->log.stable;
	r->quorum_at = r->now + r->c.election_ns;
	r->heartbeat_at = r->now + r->c.heartbeat_ns;
	r->round_confirmed = r->round; /* answers to older rounds are of older terms */
	/* A change that an older leader left in the log may or may not be committed later; until the first entry of this
	 * term is, no other may be proposed [Ongaro, raft-dev, July 2015]. */
	r->pending_change = r->log.last;
	for (uint64_t i = r->log.commit + 1; i <= r->log.last; i++)
		r->uncommitted_bytes += raft_log_at(&r->log, i)->len;
	r->term_start = r->log.last + 1;
	raft_append_own(r, &(const struct raft_entry){.kind = RAFT_NORMAL});
	if (MUTANT(SKIP_NOOP)) {
		r->pending_change = 0;
		r->term_start = 0;
	}
	raft_replicate_all(r, true);
}

static void clear_votes(struct raft *r)
{
	for (uint32_t i = 0; i < r->peer_count; i++)
		r->peers[i].vote = RAFT_VOTE_NONE;
}

static void request_votes(struct raft *r, uint32_t kind, uint64_t term)
{
	for (uint32_t i = 0; i < r->peer_count; i++) {
		if (r->peers[i].learner || r->peers[i].id == r->c.id)
			continue;
		struct raft_message *m = raft_send(r, kind, r->peers[i].id);
		m->term = term;
		m->index = r->log.last;
		m->log_term = raft_log_last_term(&r->log);
		m->context = r->forced ? RAFT_FORCED : 0;
	}
}

/* The real thing: a new term and a vote for oneself, which must be durable before anybody is asked. */
static void stand(struct raft *r, bool forced)
{
	r->role = RAFT_CANDIDATE;
	set_term(r, r->term + 1, r->c.id);
	clear_votes(r);
	r->requests_due = true;
	r->forced = forced;
}

void raft_campaign(struct raft *r, bool forced)
{
	if (!raft_is_promotable(r)) {
		raft_become_follower(r, r->term, RAFT_NOBODY);
		return;
	}
	forget_office(r);
	r->leader = RAFT_NOBODY;
	raft_restart_election_timer(r);
	if (forced) {
		stand(r, true);
		return;
	}
	r->role = RAFT_PRE_CANDIDATE;
	clear_votes(r);
	raft_peer(r, r->c.id)->vote = RAFT_VOTE_YES;
	if (raft_has_majority(r, RAFT_VOTE_YES))
		stand(r, false);
	else
		request_votes(r, RAFT_MSG_PRE_VOTE, r->term + 1);
}

static void count_votes(struct raft *r)
{
	if (raft_has_majority(r, RAFT_VOTE_NO)) {
		raft_become_follower(r, r->term, RAFT_NOBODY);
	} else if (raft_has_majority(r, RAFT_VOTE_YES)) {
		if (r->role == RAFT_PRE_CANDIDATE) {
			raft_restart_election_timer(r);
			stand(r, false);
		} else {
			become_leader(r);
		}
	}
}

void raft_election_persisted(struct raft *r)
{
	if (!raft_hard_is_durable(r))
		return;
	if (r->vote_due != RAFT_NOBODY) {
		(void)raft_send(r, RAFT_MSG_VOTE_RESP, r->vote_due);
		r->vote_due = RAFT_NOBODY;
	}
	if (!r->requests_due)
		return;
	struct raft_peer *self = raft_peer(r, r->c.id);
	CHECK(self); /* only a leader's message could have removed it, and that ends the candidacy */
	r->requests_due = false;
	self->vote = RAFT_VOTE_YES;
	request_votes(r, RAFT_MSG_VOTE, r->term);
	count_votes(r);
}

void raft_on_vote_request(struct raft *r, const struct raft_message *m)
{
	bool pre = m->kind == RAFT_MSG_PRE_VOTE;
	bool free = r->vote == m->from || (r->vote == RAFT_NOBODY && r->leader == RAFT_NOBODY) ||
		    (pre && m->term > r->term);
	bool yes = free && (r->lost_to == 0 || MUTANT(VOTE_WITH_HOLE)) &&
		   raft_log_is_covered(&r->log, m->index, m->log_term);

	if (yes && !pre) {
		raft_restart_election_timer(r);
		set_term(r, r->term, m->from);
		r->vote_due = m->from;
		raft_election_persisted(r);
		return;
	}
	/* A promise of a term that is not durable here would be one; a rejection says nothing but must not name it. */
	if (!yes && !raft_hard_is_durable(r))
		return;
	struct raft_message *answer =
		raft_send(r, pre ? RAFT_MSG_PRE_VOTE_RESP : RAFT_MSG_VOTE_RESP, m->from);
	answer->reject = !yes;
	answer->term = yes ? m->term : r->term;
}

void raft_on_vote_response(struct raft *r, const struct raft_message *m)
{
	bool pre = m->kind == RAFT_MSG_PRE_VOTE_RESP;
	struct raft_peer *p = raft_peer(r, m->from);

	if (!p || r->role != (pre ? RAFT_PRE_CANDIDATE : RAFT_CANDIDATE) || r->requests_due)
		return;
	/* What a pre-candidate of another term was promised is old. */
	if (pre && !m->reject && m->term != r->term + 1)
		return;
	if (p->vote == RAFT_VOTE_NONE)
		p->vote = m->reject ? RAFT_VOTE_NO : RAFT_VOTE_YES;
	count_votes(r);
}
