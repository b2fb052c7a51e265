/* Snapshots [O 5]: taking one, forgetting the entries it holds, and standing on another's. The state travels outside. */
#include <errno.h>

#include "metadata/raft/internal.h"

int raft_on_snapshot_taken(struct raft *r, uint64_t index)
{
	struct raft_snapshot s = {.index = index, .term = raft_log_term(&r->log, index)};

	if (index <= r->snap.index || index > r->log.handed)
		return -EINVAL;
	int rc = raft_members_at(r, index, &s.members);
	CHECK(rc == 0);
	r->snap = s;
	return 0;
}

int raft_on_compact(struct raft *r, uint64_t index)
{
	if (MUTANT(COMPACT_VOLATILE))
		index = r->log.handed;
	else if (index > r->snap.index)
		return -EINVAL;
	if (MUTANT(SNAPSHOT_TRAILING))
		index = MIN(index + 1, r->log.handed);
	if (index > r->log.base)
		raft_log_drop(&r->log, index);
	return 0;
}

static void restore(struct raft *r, const struct raft_snapshot *s)
{
	r->snap = *s;
	r->restore_due = true;
	raft_log_reset(&r->log, s->index, s->term, r->batch + 1);
	raft_set_members(r, &s->members, s->index);
}

int raft_on_snapshot(struct raft *r, const struct raft_message *m)
{
	const struct raft_snapshot *s = m->snapshot;

	if (s->index > r->log.commit) {
		/* Where the log has that entry, all before it is the same and nothing need be thrown away [O 5.1]. */
		if (raft_log_matches(&r->log, s->index, s->term))
			raft_commit_to(r, s->index);
		else
			restore(r, s);
	}
	raft_acknowledge(r, r->log.commit);
	return 0;
}

int raft_on_snapshot_sent(struct raft *r, uint64_t id, bool failed)
{
	struct raft_peer *p = raft_peer(r, id);

	if (r->role != RAFT_LEADER)
		return -EPERM;
	if (!p)
		return -EINVAL;
	if (p->progress.flow != RAFT_SNAPSHOT)
		return 0;
	if (failed)
		p->progress.snapshot = 0;
	raft_progress_probe(&p->progress);
	p->progress.paused = true; /* until it answers, or answers a heartbeat */
	return 0;
}
