/*
 * The step: which event, which term, and what comes out. The rules for messages of higher and lower terms are those of
 * etcd's raft with pre-vote and check-quorum on; the rest of the core sees only messages of the current term.
 */
#include "metadata/raft/raft.h"

#include <errno.h>
#include <string.h>

#include "common/base/mem.h"
#include "metadata/raft/internal.h"

/* ---- life ---- */

static bool config_is_valid(const struct raft_config *c)
{
	if (c->id == RAFT_NOBODY || c->heartbeat_ns <= 0 || c->election_ns / 2 <= c->heartbeat_ns)
		return false;
	if (c->log_entries_max < 2 * RAFT_SPARE_ENTRIES || (c->log_entries_max & (c->log_entries_max - 1)))
		return false;
	if (c->entry_bytes_max == 0 || c->log_bytes_max / 4 < c->entry_bytes_max)
		return false;
	if (c->uncommitted_bytes_max > c->log_bytes_max / 2)
		return false;
	return c->message_bytes_max > 0 && c->inflight_bytes_max > 0 && c->uncommitted_bytes_max > 0 &&
	       c->inflight_max > 0 && c->inflight_max <= RAFT_INFLIGHT_MAX;
}

static bool start_is_valid(const struct raft_start *s)
{
	if (s->snapshot.index > RAFT_INDEX_MAX || s->hard.term < s->snapshot.term)
		return false;
	if ((s->snapshot.index == 0) != (s->snapshot.term == 0))
		return false;
	/* A new member knows nobody until a leader tells it. */
	return s->snapshot.index == 0 ? s->snapshot.members.count == 0
				      : raft_members_are_valid(&s->snapshot.members);
}

int raft_new(const struct raft_config *c, const struct raft_start *start, int64_t now_ns, struct raft **ret)
{
	if (!config_is_valid(c) || !start_is_valid(start))
		return -EINVAL;
	CLEANUP(raft_free) struct raft *r = mem_calloc(1, sizeof *r);
	if (!r)
		return -ENOMEM;
	int rc = raft_log_init(&r->log, c->log_entries_max, c->log_bytes_max);
	if (rc != 0)
		return rc;
	r->c = *c;
	r->rng = rng_seeded(c->seed);
	r->now = now_ns;
	r->term = start->hard.term;
	r->vote = MUTANT(FORGET_VOTE) ? RAFT_NOBODY : start->hard.vote;
	r->snap = start->snapshot;
	r->lost_to = start->lost_to;
	r->lost_term = start->lost_term;
	raft_log_reset(&r->log, r->snap.index, r->snap.term, 0);
	raft_set_members(r, &r->snap.members, r->snap.index);
	/* raft_load() catches up with it. Behind a hole stand entries that may have been written over in it, so that
	 * nothing is known to be committed but what the snapshot holds. */
	r->log.commit = r->lost_to ? r->snap.index : MAX(r->snap.index, start->hard.commit);
	raft_restart_election_timer(r);
	*ret = TAKE(r);
	return 0;
}

struct raft *raft_free(struct raft *r)
{
	if (r)
		raft_log_done(&r->log);
	return mem_free(r);
}

int raft_load(struct raft *r, const struct raft_entry *e)
{
	struct raft_log *l = &r->log;

	CHECK(r->batch == 0);
	if (e->index != l->last + 1 || e->index > RAFT_INDEX_MAX || e->term < raft_log_last_term(l) ||
	    e->term > r->term || e->len > r->c.entry_bytes_max)
		return -EINVAL;
	if (!raft_log_fits(l, 1, e->len, e->len))
		return -EBUSY;
	raft_log_push(l, e, e->term);
	l->saved = l->stable = l->last;
	if (e->kind == RAFT_CONF && e->index <= l->commit)
		raft_apply_change(r, raft_log_at(l, e->index), e->index);
	r->commit_due = false; /* the disk knows */
	return 0;
}

/* ---- what comes out ---- */

struct raft_message *raft_send(struct raft *r, uint32_t kind, uint64_t to)
{
	bool fits = r->message_count < RAFT_MESSAGES_MAX;
	struct raft_message *m = fits ? &r->messages[r->message_count++] : &r->sink;

	*m = (struct raft_message){.kind = kind, .from = r->c.id, .to = to, .term = r->term};
	return m;
}

bool raft_hard_is_durable(const struct raft *r)
{
	return !r->hard_dirty && r->batch_done >= r->hard_batch;
}

void raft_read_done(struct raft *r, uint64_t read, uint64_t index, int status)
{
	CHECK(r->read_done_count < RAFT_READS_MAX);
	r->reads_done[r->read_done_count++] =
		(struct raft_read){.read = read, .index = index, .status = status};
}

static void fill_batch(struct raft *r, struct raft_ready *ret)
{
	struct raft_log *l = &r->log;

	ret->first = l->saved + 1;
	ret->last = l->last;
	if (!r->hard_dirty && !r->commit_due && !r->restore_due && ret->first > ret->last)
		return;
	ret->batch = (struct raft_batch){.number = ++r->batch, .last = l->last};
	if (r->hard_dirty)
		r->hard_batch = r->batch;
	if (r->restore_due) {
		ret->restore = &r->snap;
		r->restore_batch = r->batch;
	}
	r->hard_dirty = r->commit_due = r->restore_due = false;
	l->saved = l->last;
}

static void fill_ready(struct raft *r, struct raft_ready *ret)
{
	struct raft_log *l = &r->log;
	uint64_t apply_to = MUTANT(APPLY_PAST_DURABLE) ? l->commit : MIN(l->commit, l->stable);

	*ret = (struct raft_ready){.hard = {.term = r->term, .vote = r->vote, .commit = l->commit}};
	fill_batch(r, ret);
	ret->messages = r->messages;
	ret->message_count = r->message_count;
	ret->apply_first = l->handed + 1;
	ret->apply_last = MAX(l->handed, apply_to);
	l->handed = ret->apply_last;
	ret->reads = r->reads_done;
	ret->read_count = r->read_done_count;
	ret->proposed = r->proposed;
}

/* ---- messages ---- */

/* A higher term: what it asks may wait (false), else it is joined, unless the message only asks what would be. */
static bool join_higher_term(struct raft *r, const struct raft_message *m)
{
	bool asks_vote = m->kind == RAFT_MSG_VOTE || m->kind == RAFT_MSG_PRE_VOTE;
	bool from_leader =
		m->kind == RAFT_MSG_APPEND || m->kind == RAFT_MSG_HEARTBEAT || m->kind == RAFT_MSG_SNAPSHOT;

	if (asks_vote && m->context != RAFT_FORCED && raft_is_in_lease(r))
		return false;
	if (m->kind == RAFT_MSG_PRE_VOTE || (m->kind == RAFT_MSG_PRE_VOTE_RESP && !m->reject))
		return true;
	raft_become_follower(r, m->term, from_leader ? m->from : RAFT_NOBODY);
	return true;
}

/* A lower term. A deposed leader is told, with an answer of this term, so that it steps down; also one whose term this
 * member left behind while it was cut off: it could not come back otherwise, since it gets no votes in a lease [E]. */
static void answer_lower_term(struct raft *r, const struct raft_message *m)
{
	if (!raft_hard_is_durable(r))
		return;
	if (m->kind == RAFT_MSG_APPEND || m->kind == RAFT_MSG_HEARTBEAT)
		(void)raft_send(r, RAFT_MSG_APPEND_RESP, m->from);
	else if (m->kind == RAFT_MSG_PRE_VOTE)
		raft_send(r, RAFT_MSG_PRE_VOTE_RESP, m->from)->reject = true;
}

/* From the leader of this term; a candidate has lost then. */
static int follow(struct raft *r, const struct raft_message *m)
{
	if (r->role == RAFT_LEADER || (r->leader != RAFT_NOBODY && r->leader != m->from))
		return -EPROTO; /* two leaders in one term */
	if (r->role != RAFT_FOLLOWER || r->leader == RAFT_NOBODY)
		raft_become_follower(r, r->term, m->from);
	r->heard_at = r->now;
	raft_restart_election_timer(r);
	switch (m->kind) {
	case RAFT_MSG_APPEND:
		return raft_on_append(r, m);
	case RAFT_MSG_HEARTBEAT:
		return raft_on_heartbeat(r, m);
	default:
		return raft_on_snapshot(r, m);
	}
}

/* Answers to a leader, who may have lost that office since. */
static int take_response(struct raft *r, const struct raft_message *m)
{
	struct raft_peer *p = raft_peer(r, m->from);

	if (r->role != RAFT_LEADER || !p)
		return 0;
	p->progress.active = true;
	if (m->kind == RAFT_MSG_APPEND_RESP)
		raft_on_append_response(r, p, m);
	else
		raft_on_heartbeat_response(r, p, m);
	return 0;
}

static int step_this_term(struct raft *r, const struct raft_message *m)
{
	switch (m->kind) {
	case RAFT_MSG_VOTE:
	case RAFT_MSG_PRE_VOTE:
		raft_on_vote_request(r, m);
		return 0;
	case RAFT_MSG_VOTE_RESP:
	case RAFT_MSG_PRE_VOTE_RESP:
		raft_on_vote_response(r, m);
		return 0;
	case RAFT_MSG_APPEND:
	case RAFT_MSG_HEARTBEAT:
	case RAFT_MSG_SNAPSHOT:
		return follow(r, m);
	case RAFT_MSG_APPEND_RESP:
	case RAFT_MSG_HEARTBEAT_RESP:
		return take_response(r, m);
	case RAFT_MSG_TIMEOUT_NOW:
		if (r->role == RAFT_FOLLOWER && raft_is_promotable(r))
			raft_campaign(r, true);
		return 0;
	case RAFT_MSG_READ_INDEX:
		return raft_on_read_request(r, m);
	default: /* READ_INDEX_RESP; raft_validate() knows no other */
		raft_read_done(r, m->context, m->index, 0);
		return 0;
	}
}

static int on_message(struct raft *r, const struct raft_message *m)
{
	int rc = raft_validate(r, m);

	if (rc != 0)
		return rc;
	if (m->term > r->term) {
		if (!join_higher_term(r, m))
			return 0;
	} else if (m->term < r->term && m->term != 0) {
		answer_lower_term(r, m);
		return 0;
	}
	return step_this_term(r, m);
}

/* ---- the other events ---- */

static void on_leader_timeout(struct raft *r)
{
	if (r->now >= r->quorum_at) {
		if (!raft_quorum_is_active(r)) {
			raft_become_follower(r, r->term, RAFT_NOBODY);
			return;
		}
		r->quorum_at = r->now + r->c.election_ns;
	}
	if (r->now >= r->transfer_at)
		r->transferee = RAFT_NOBODY;
	if (r->now >= r->heartbeat_at)
		raft_heartbeat_all(r);
}

static int on_timeout(struct raft *r)
{
	if (r->role == RAFT_LEADER)
		on_leader_timeout(r);
	else if (r->now >= r->election_at)
		raft_campaign(r, false);
	return 0;
}

static int on_persisted(struct raft *r, const struct raft_batch *batch)
{
	if (batch->number <= r->batch_done || batch->number > r->batch)
		return -EINVAL;
	r->batch_done = batch->number;
	raft_log_persisted(&r->log, batch);
	if (r->role == RAFT_LEADER)
		raft_leader_persisted(r);
	raft_append_persisted(r);
	raft_election_persisted(r);
	return 0;
}

static int dispatch(struct raft *r, const struct raft_event *e)
{
	switch (e->kind) {
	case RAFT_TIMEOUT:
		return on_timeout(r);
	case RAFT_MESSAGE:
		return on_message(r, e->message);
	case RAFT_PERSISTED:
		return on_persisted(r, &e->batch);
	case RAFT_PROPOSE:
		return raft_on_propose(r, e->propose.entries, e->propose.count);
	case RAFT_CHANGE:
		return raft_on_change(r, &e->change);
	case RAFT_READ:
		return raft_on_read(r, e->read);
	case RAFT_TRANSFER:
		return raft_on_transfer(r, e->peer);
	case RAFT_SNAPSHOT_TAKEN:
		return raft_on_snapshot_taken(r, e->index);
	case RAFT_COMPACT:
		return raft_on_compact(r, e->index);
	case RAFT_SNAPSHOT_SENT:
		return raft_on_snapshot_sent(r, e->sent.peer, e->sent.failed);
	case RAFT_UNREACHABLE:
		return raft_on_unreachable(r, e->peer);
	}
	return -EINVAL;
}

/* A commit index that the hard state knows, but whose entries a torn write took, is learned again. */
static void end_of_loading(struct raft *r)
{
	r->log.commit = MIN(r->log.commit, r->log.last);
}

int raft_step(struct raft *r, const struct raft_event *e, struct raft_ready *ret)
{
	end_of_loading(r);
	r->message_count = r->read_done_count = 0;
	r->proposed = 0;
	r->now = MAX(r->now, e->now_ns);
	int rc = dispatch(r, e);
	fill_ready(r, ret);
	return rc;
}

/* ---- questions ---- */

int64_t raft_deadline(const struct raft *r)
{
	if (r->role == RAFT_LEADER) {
		int64_t at = MIN(r->heartbeat_at, r->quorum_at);
		return r->transferee ? MIN(at, r->transfer_at) : at;
	}
	return r->role != RAFT_FOLLOWER || raft_is_promotable(r) ? r->election_at : INT64_MAX;
}

const struct raft_entry *raft_entry(const struct raft *r, uint64_t index)
{
	return raft_log_at(&r->log, index);
}

struct raft_status raft_status(const struct raft *r)
{
	const struct raft_log *l = &r->log;

	return (struct raft_status){
		.id = r->c.id,
		.term = r->term,
		.vote = r->vote,
		.leader = r->leader,
		.role = r->role,
		.first = raft_log_first(l),
		.last = l->last,
		.stable = l->stable,
		.commit = MIN(l->commit, l->last),
		.handed = l->handed,
		.snapshot_index = r->snap.index,
		.members_index = r->members_index,
		.repairing = r->lost_to != 0,
		.transferee = r->transferee,
	};
}

int raft_progress(const struct raft *r, uint64_t peer, uint64_t *ret_match)
{
	const struct raft_peer *p = raft_peer_const(r, peer);

	if (r->role != RAFT_LEADER)
		return -EPERM;
	if (!p)
		return -EINVAL;
	*ret_match = p->progress.match;
	return 0;
}

const char *raft_message_word(uint32_t kind)
{
	switch ((enum raft_message_kind)kind) {
	case RAFT_MSG_APPEND:
		return "append";
	case RAFT_MSG_APPEND_RESP:
		return "append-resp";
	case RAFT_MSG_VOTE:
		return "vote";
	case RAFT_MSG_VOTE_RESP:
		return "vote-resp";
	case RAFT_MSG_SNAPSHOT:
		return "snapshot";
	case RAFT_MSG_HEARTBEAT:
		return "heartbeat";
	case RAFT_MSG_HEARTBEAT_RESP:
		return "heartbeat-resp";
	case RAFT_MSG_TIMEOUT_NOW:
		return "timeout-now";
	case RAFT_MSG_READ_INDEX:
		return "read-index";
	case RAFT_MSG_READ_INDEX_RESP:
		return "read-index-resp";
	case RAFT_MSG_PRE_VOTE:
		return "pre-vote";
	case RAFT_MSG_PRE_VOTE_RESP:
		return "pre-vote-resp";
	}
	return "unknown";
}
