/* What a message must look like before anything in it is believed. The transport proved who sent it, no more. */
#include <errno.h>

#include "metadata/raft/internal.h"

static bool entries_are_valid(const struct raft *r, const struct raft_message *m)
{
	uint64_t index = m->index, term = m->log_term;

	if (m->count > RAFT_ENTRIES_MAX || (m->count && !m->entries))
		return false;
	for (uint32_t i = 0; i < m->count; i++) {
		const struct raft_entry *e = &m->entries[i];
		if (e->index != ++index || index > RAFT_INDEX_MAX || e->term < term || e->term > m->term ||
		    e->term == 0)
			return false;
		if (e->len > r->c.entry_bytes_max || (e->len && !e->data) || e->kind > RAFT_CONF)
			return false;
		term = e->term;
	}
	return true;
}

static bool snapshot_is_valid(const struct raft_message *m)
{
	const struct raft_snapshot *s = m->snapshot;

	return s && s->index > 0 && s->index <= RAFT_INDEX_MAX && s->term > 0 && s->term <= m->term &&
	       raft_members_are_valid(&s->members);
}

static bool body_is_valid(const struct raft *r, const struct raft_message *m)
{
	switch ((enum raft_message_kind)m->kind) {
	case RAFT_MSG_APPEND:
		/* Only before the first entry stands no term. */
		return m->log_term <= m->term && (m->index == 0) == (m->log_term == 0) &&
		       entries_are_valid(r, m);
	case RAFT_MSG_VOTE:
	case RAFT_MSG_PRE_VOTE:
		return m->log_term < m->term && (m->index == 0) == (m->log_term == 0);
	case RAFT_MSG_SNAPSHOT:
		return snapshot_is_valid(m);
	case RAFT_MSG_APPEND_RESP:
	case RAFT_MSG_VOTE_RESP:
	case RAFT_MSG_HEARTBEAT:
	case RAFT_MSG_HEARTBEAT_RESP:
	case RAFT_MSG_TIMEOUT_NOW:
	case RAFT_MSG_READ_INDEX:
	case RAFT_MSG_READ_INDEX_RESP:
	case RAFT_MSG_PRE_VOTE_RESP:
		return true;
	}
	return false;
}

int raft_validate(const struct raft *r, const struct raft_message *m)
{
	if (m->to != r->c.id || m->from == RAFT_NOBODY || m->from == r->c.id)
		return -EINVAL;
	if ((m->term == 0) != (m->kind == RAFT_MSG_READ_INDEX))
		return -EINVAL;
	if (m->index > RAFT_INDEX_MAX || m->commit > RAFT_INDEX_MAX || m->reject_hint > RAFT_INDEX_MAX)
		return -EINVAL;
	return body_is_valid(r, m) ? 0 : -EINVAL;
}
