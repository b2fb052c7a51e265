/* The leader's side of replication: send, count what is durable where, commit. */
#include <errno.h>

#include "metadata/raft/internal.h"

/* ---- sending ---- */

static void send_snapshot(struct raft *r, struct raft_peer *p)
{
	if (!p->progress.active)
		return; /* nobody would hear it: a snapshot is dear */
	CHECK(r->snap.index >= r->log.base);
	raft_progress_snapshot(&p->progress, r->snap.index);
	raft_send(r, RAFT_MSG_SNAPSHOT, p->id)->snapshot = &r->snap;
}

/* How many entries from @first go into one append: bounded in bytes, and in one piece of the ring. */
static uint32_t count_to_send(const struct raft *r, uint64_t first, uint64_t *ret_bytes)
{
	const struct raft_log *l = &r->log;
	uint64_t bytes = 0, to_end = l->mask + 1 - (first & l->mask);
	uint64_t count = MIN(MIN(l->last + 1 - first, to_end), RAFT_ENTRIES_MAX);
	uint32_t n = 0;

	for (; n < count; n++) {
		uint64_t more = raft_log_at(l, first + n)->len;
		if (n > 0 && bytes + more > r->c.message_bytes_max)
			break;
		bytes += more;
	}
	*ret_bytes = bytes;
	return n;
}

/* One append with @count entries from next on. */
static void send_append(struct raft *r, struct raft_peer *p, uint32_t count, uint64_t bytes)
{
	uint64_t next = p->progress.next;
	struct raft_message *m = raft_send(r, RAFT_MSG_APPEND, p->id);

	m->index = next - 1;
	m->log_term = raft_log_term(&r->log, next - 1);
	m->entries = count ? raft_log_at(&r->log, next) : NULL;
	m->count = count;
	m->commit = r->log.commit;
	raft_progress_sent(&p->progress, count, bytes);
}

static bool window_is_shut(const struct raft *r, const struct raft_peer *p)
{
	return raft_progress_is_paused(&p->progress, r->c.inflight_max, r->c.inflight_bytes_max);
}

void raft_replicate(struct raft *r, struct raft_peer *p, bool even_empty)
{
	while (!window_is_shut(r, p) && r->message_count < RAFT_APPENDS_MAX) {
		if (p->progress.next - 1 < r->log.base) {
			send_snapshot(r, p);
			return;
		}
		uint64_t bytes = 0;
		uint32_t count = count_to_send(r, p->progress.next, &bytes);
		if (count == 0 && !even_empty)
			return;
		send_append(r, p, count, bytes);
		if (count == 0)
			return;
		even_empty = false;
	}
}

void raft_replicate_all(struct raft *r, bool even_empty)
{
	for (uint32_t i = 0; i < r->peer_count; i++)
		if (r->peers[i].id != r->c.id)
			raft_replicate(r, &r->peers[i], even_empty);
}

void raft_heartbeat_all(struct raft *r)
{
	r->heartbeat_at = r->now + r->c.heartbeat_ns;
	r->round++;
	for (uint32_t i = 0; i < r->peer_count; i++) {
		struct raft_peer *p = &r->peers[i];
		if (p->id == r->c.id)
			continue;
		struct raft_message *m = raft_send(r, RAFT_MSG_HEARTBEAT, p->id);
		m->commit = MIN(p->progress.match, r->log.commit);
		m->context = r->round;
	}
	raft_reads_confirm(r); /* a leader alone needs nobody */
}

/* ---- committing ---- */

static uint64_t place_of_change(const struct raft_entry *e, uint64_t first)
{
	return MUTANT(CONFIG_WRONG_INDEX) ? first : e->index;
}

void raft_commit_to(struct raft *r, uint64_t index)
{
	uint64_t first = r->log.commit + 1;

	CHECK(index <= r->log.last);
	while (r->log.commit < index) {
		const struct raft_entry *e = raft_log_at(&r->log, ++r->log.commit);
		r->uncommitted_bytes -= MIN(r->uncommitted_bytes, e->len);
		if (e->kind == RAFT_CONF)
			raft_apply_change(r, e, place_of_change(e, first));
	}
}

static bool commit_by_quorum(struct raft *r)
{
	uint64_t index = raft_quorum_value(r, RAFT_COUNT_MATCH);
	bool first = !raft_term_is_committed(r);

	if (index <= r->log.commit)
		return false;
	/* An older leader's entry may be on a majority and still be lost, until one of this term is above it [O 3.6.2]. */
	if (raft_log_term(&r->log, index) != r->term && !MUTANT(COMMIT_OLD_TERM))
		return false;
	raft_commit_to(r, index);
	if (first)
		raft_reads_term_committed(r);
	return true;
}

/* Commits what a majority has, and says so. A change of the members on the way may make more a majority, or end the
 * leadership of a member that was removed: it tells the others first [O 4.2.2]. True if there was something. */
static bool commit_and_tell(struct raft *r)
{
	bool more = false;

	while (commit_by_quorum(r))
		more = true;
	if (!more)
		return false;
	raft_replicate_all(r, true);
	const struct raft_peer *self = raft_peer(r, r->c.id);
	if (!self || self->learner)
		raft_become_follower(r, r->term, RAFT_NOBODY);
	return true;
}

void raft_leader_persisted(struct raft *r)
{
	struct raft_peer *self = raft_peer(r, r->c.id);

	CHECK(self);
	if (raft_progress_acknowledged(&self->progress, r->log.stable))
		(void)commit_and_tell(r);
}

/* ---- answers ---- */

static void hand_over_if_ready(struct raft *r, const struct raft_peer *p)
{
	if (r->transferee == p->id && p->progress.match == r->log.last)
		(void)raft_send(r, RAFT_MSG_TIMEOUT_NOW, p->id);
}

static void on_rejection(struct raft *r, struct raft_peer *p, const struct raft_message *m)
{
	uint64_t term, hint = m->reject_hint;

	if (m->log_term > 0)
		hint = raft_log_last_of_term(&r->log, hint, m->log_term, &term);
	if (m->context == RAFT_LOST)
		raft_progress_lost(&p->progress,
				   MIN(hint, m->index - MIN(m->index, 1))); /* not the rejected one again */
	else if (!raft_progress_rejected(&p->progress, m->index, hint))
		return;
	raft_replicate(r, p, true);
}

void raft_on_append_response(struct raft *r, struct raft_peer *p, const struct raft_message *m)
{
	struct raft_progress *g = &p->progress;

	if (m->reject) {
		on_rejection(r, p, m);
		return;
	}
	if (m->index > r->log.last)
		return; /* of no log of this term */
	bool was_shut = window_is_shut(r, p);
	bool news = raft_progress_acknowledged(g, m->index);
	if (!news && !(g->flow == RAFT_PROBE && g->match == m->index))
		return;
	if (g->flow == RAFT_PROBE || (g->flow == RAFT_SNAPSHOT && g->match >= r->log.base))
		raft_progress_replicate(g);
	else
		raft_progress_release(g, m->index);
	bool told = commit_and_tell(r);
	p = raft_peer(r, m->from);
	if (r->role != RAFT_LEADER || !p)
		return; /* what was committed removed one of the two */
	/* What was committed while nothing could be sent is told now. */
	raft_replicate(r, p, was_shut && !told);
	hand_over_if_ready(r, p);
}

void raft_on_heartbeat_response(struct raft *r, struct raft_peer *p, const struct raft_message *m)
{
	struct raft_progress *g = &p->progress;

	g->paused = false;
	if (m->context <= r->round)
		g->round = MAX(g->round, m->context);
	/* If what was sent got lost, the rejection of an empty append starts it anew; if it is compacted by now, a snapshot. */
	if (g->flow == RAFT_REPLICATE && g->next - 1 < r->log.base)
		raft_progress_probe(g);
	if (g->flow == RAFT_REPLICATE && window_is_shut(r, p))
		send_append(r, p, 0, 0);
	else
		raft_replicate(r, p, g->match < r->log.last);
	raft_reads_confirm(r);
}

/* ---- the driver's wishes ---- */

void raft_append_own(struct raft *r, const struct raft_entry *e)
{
	raft_log_push(&r->log, e, r->term);
	r->uncommitted_bytes += e->len;
}

static int may_propose(const struct raft *r, const struct raft_entry *entries, uint32_t count)
{
	uint64_t bytes = 0, longest = 0;

	if (count == 0)
		return -EINVAL;
	for (uint32_t i = 0; i < count; i++) {
		const struct raft_entry *e = &entries[i];
		if (e->kind != RAFT_NORMAL || e->len > r->c.entry_bytes_max || (e->len && !e->data))
			return -EINVAL;
		bytes += e->len;
		longest = MAX(longest, e->len);
	}
	if (r->role != RAFT_LEADER)
		return -EPERM;
	/* Half of the log is for what is not committed, in every member's, or a group could fill up for good [docs/raft.md]. */
	if (r->log.last - r->log.commit + count > r->c.log_entries_max / 2)
		return -EBUSY;
	/* Something is always let in, or an entry larger than the limit would wait for ever [E]. */
	if (r->uncommitted_bytes > 0 && r->uncommitted_bytes + bytes > r->c.uncommitted_bytes_max)
		return -EBUSY;
	if (r->transferee != RAFT_NOBODY ||
	    !raft_log_fits(&r->log, count + RAFT_SPARE_ENTRIES, bytes, longest))
		return -EBUSY;
	return 0;
}

int raft_on_propose(struct raft *r, const struct raft_entry *entries, uint32_t count)
{
	int rc = may_propose(r, entries, count);

	if (rc != 0)
		return rc;
	r->proposed = r->log.last + 1;
	for (uint32_t i = 0; i < count; i++)
		if (!MUTANT(DROP_SECOND) || i != 1)
			raft_append_own(r, &entries[i]);
	raft_replicate_all(r, false);
	return 0;
}

int raft_on_transfer(struct raft *r, uint64_t to)
{
	struct raft_peer *p = raft_peer(r, to);

	if (r->role != RAFT_LEADER)
		return -EPERM;
	if (!p || p->learner || to == r->c.id)
		return -EINVAL;
	if (r->transferee != RAFT_NOBODY)
		return r->transferee == to ? 0 : -EBUSY;
	r->transferee = to;
	r->transfer_at = r->now + r->c.election_ns;
	raft_replicate(r, p, false);
	hand_over_if_ready(r, p);
	return 0;
}

int raft_on_unreachable(struct raft *r, uint64_t id)
{
	struct raft_peer *p = raft_peer(r, id);

	if (r->role != RAFT_LEADER)
		return -EPERM;
	if (!p || id == r->c.id)
		return -EINVAL;
	if (p->progress.flow == RAFT_REPLICATE)
		raft_progress_probe(&p->progress);
	return 0;
}
