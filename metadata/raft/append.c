/*
 * The follower's side of replication [O 3.5]: take what fits behind an entry both logs have, say where they differ, and
 * acknowledge what is durable. Acknowledgements are cumulative, so one answers all appends of one write.
 */
#include <errno.h>

#include "metadata/raft/internal.h"

static bool may_acknowledge(const struct raft *r)
{
	return raft_hard_is_durable(r) && r->batch_done >= r->restore_batch && !r->restore_due;
}

/* Lost entries are made good once the log, as far as this term's leader confirmed it, is as complete as the lost one was, in
 * the sense of elections [O 3.6.1]. Whatever this member helped to commit is in that leader's log, at or before there: terms
 * do not fall in it. */
static void end_of_repair(struct raft *r, uint64_t index)
{
	uint64_t term = raft_log_term(&r->log, index);

	if (term > r->lost_term || (term == r->lost_term && index >= r->lost_to))
		r->lost_to = 0;
}

static void send_acknowledgement(struct raft *r)
{
	uint64_t durable = MUTANT(ACK_BEFORE_SYNC) ? r->log.last : r->log.stable;
	uint64_t index = MIN(r->matched, durable);

	r->ack_due = index < r->matched;
	end_of_repair(r, index);
	raft_send(r, RAFT_MSG_APPEND_RESP, r->leader)->index = index;
}

void raft_acknowledge(struct raft *r, uint64_t index)
{
	r->matched = MAX(r->matched, index);
	if (may_acknowledge(r) && (r->log.stable >= index || MUTANT(ACK_BEFORE_SYNC)))
		send_acknowledgement(r);
	else
		r->ack_due = true;
}

void raft_append_persisted(struct raft *r)
{
	if (r->ack_due && r->leader != RAFT_NOBODY && may_acknowledge(r))
		send_acknowledgement(r);
}

/* No entry at @index is like the leader's. The hint names the last one that may be: everything after it is of a later
 * term than the leader's entry, so the leader can skip whole terms [E]. */
static void reject(struct raft *r, uint64_t index, uint64_t log_term)
{
	if (!may_acknowledge(r))
		return; /* the leader asks again after its next heartbeat */
	struct raft_message *m = raft_send(r, RAFT_MSG_APPEND_RESP, r->leader);
	m->reject = true;
	m->index = index;
	m->reject_hint = raft_log_last_of_term(&r->log, MIN(index, r->log.last), log_term, &m->log_term);
	m->context = r->lost_to ? RAFT_LOST : 0;
}

/* Takes the entries of @m, whose predecessor is here and not below commit. Returns the last index that is like the
 * leader's. */
static uint64_t take_entries(struct raft *r, const struct raft_message *m)
{
	struct raft_log *l = &r->log;
	uint64_t agreed = m->index;

	for (uint32_t i = 0; i < m->count; i++) {
		const struct raft_entry *e = &m->entries[i];
		if (!raft_log_matches(l, e->index, e->term)) {
			if (e->index <= l->last)
				raft_log_cut(l, e->index, r->batch + 1);
			if (!raft_log_fits(l, 1, e->len, e->len))
				break; /* the leader sends the rest again */
			raft_log_push(l, e, e->term);
		}
		agreed = e->index;
	}
	if (MUTANT(TRUNCATE_COMMITTED) && agreed < l->last)
		raft_log_cut(l, agreed + 1, r->batch + 1);
	return agreed;
}

int raft_on_append(struct raft *r, const struct raft_message *m)
{
	if (m->index < r->log.commit) {
		/* An old one, or sent before this member's last snapshot: all up to commit is like the leader's. */
		raft_acknowledge(r, r->log.commit);
		return 0;
	}
	if (!raft_log_matches(&r->log, m->index, m->log_term)) {
		if (m->index == r->log.commit)
			return -EPROTO; /* what is committed is the same everywhere */
		reject(r, m->index, m->log_term);
		return 0;
	}
	uint64_t agreed = take_entries(r, m);
	raft_commit_to(r, MAX(r->log.commit, MIN(m->commit, agreed)));
	/* A full log answers nothing, so that the leader asks once a heartbeat, not as fast as the wire goes. */
	if (agreed > m->index || m->count == 0)
		raft_acknowledge(r, agreed);
	return 0;
}

int raft_on_heartbeat(struct raft *r, const struct raft_message *m)
{
	/* A leader names no more than this member acknowledged to it; but that may be lost since, and what is there now
	 * another history. */
	uint64_t known = r->lost_to ? r->matched : r->log.last;

	if (m->commit > known) {
		if (r->lost_to == 0)
			return -EPROTO;
		reject(r, m->commit, r->term);
	}
	raft_commit_to(r, MAX(r->log.commit, MIN(m->commit, known)));
	if (raft_hard_is_durable(r))
		raft_send(r, RAFT_MSG_HEARTBEAT_RESP, m->from)->context = m->context;
	return 0;
}
