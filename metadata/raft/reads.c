/*
 * ReadIndex [O 6.4]: a leader answers a read from its state once it knows that it was still the leader after the read came.
 * A round of heartbeats that a majority answers proves that, for all reads that came before the round began: while one
 * is under way, reads gather for the next.
 */
#include <errno.h>
#include <string.h>

#include "metadata/raft/internal.h"

/* The round that begins after now. One is begun at once where none is under way. */
static void begin_round_for(struct raft *r, struct raft_read_wait *w)
{
	w->round = r->round + 1;
	if (r->round == r->round_confirmed)
		raft_heartbeat_all(r);
}

static void answer(struct raft *r, const struct raft_read_wait *w, int status)
{
	if (w->from == r->c.id) {
		raft_read_done(r, w->read, w->index, status);
	} else if (status == 0) {
		struct raft_message *m = raft_send(r, RAFT_MSG_READ_INDEX_RESP, w->from);
		m->context = w->read;
		m->index = w->index;
	}
}

static int wait_for_round(struct raft *r, uint64_t read, uint64_t from)
{
	if (r->read_count == RAFT_READS_MAX)
		return -EBUSY;
	struct raft_read_wait *w = &r->reads[r->read_count++];
	*w = (struct raft_read_wait){.read = read, .from = from, .round = UINT64_MAX};
	if (!raft_term_is_committed(r))
		return 0; /* raft_reads_term_committed() goes on */
	w->index = r->log.commit;
	if (MUTANT(READ_UNCONFIRMED)) {
		answer(r, w, 0);
		r->read_count--;
		return 0;
	}
	begin_round_for(r, w);
	return 0;
}

int raft_on_read(struct raft *r, uint64_t read)
{
	if (r->role == RAFT_LEADER)
		return wait_for_round(r, read, r->c.id);
	if (r->leader == RAFT_NOBODY) {
		raft_read_done(r, read, 0, -EAGAIN);
		return 0;
	}
	struct raft_message *m = raft_send(r, RAFT_MSG_READ_INDEX, r->leader);
	m->term = 0; /* a client's wish belongs to no term [E] */
	m->context = read;
	return 0;
}

int raft_on_read_request(struct raft *r, const struct raft_message *m)
{
	/* Who asks a member that does not lead asks again. */
	return r->role == RAFT_LEADER ? wait_for_round(r, m->context, m->from) : 0;
}

void raft_reads_term_committed(struct raft *r)
{
	for (uint32_t i = 0; i < r->read_count; i++) {
		r->reads[i].index = r->log.commit;
		r->reads[i].round = r->round + 1;
	}
	if (r->read_count && r->round == r->round_confirmed)
		raft_heartbeat_all(r);
}

void raft_reads_confirm(struct raft *r)
{
	uint64_t confirmed = raft_quorum_value(r, RAFT_COUNT_ROUND);
	uint32_t n = 0;

	r->round_confirmed = MAX(r->round_confirmed, confirmed);
	for (; n < r->read_count && r->reads[n].round <= r->round_confirmed; n++)
		answer(r, &r->reads[n], 0);
	r->read_count -= n;
	memmove(r->reads, r->reads + n, r->read_count * sizeof r->reads[0]);
	/* Those that gathered meanwhile. */
	if (r->read_count && r->reads[0].round == r->round + 1 && r->round == r->round_confirmed)
		raft_heartbeat_all(r);
}

void raft_reads_fail(struct raft *r)
{
	for (uint32_t i = 0; i < r->read_count; i++)
		answer(r, &r->reads[i], MUTANT(READ_AFTER_STEP_DOWN) && r->reads[i].index ? 0 : -EAGAIN);
	r->read_count = 0;
}
