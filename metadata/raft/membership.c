/*
 * The group: who is in it, what a majority is, and changes by one member each. A change takes effect on each member when
 * its entry is known to be committed there, as in etcd's raft; docs/decisions/0020-changes-act-when-committed.md.
 */
#include <errno.h>
#include <string.h>

#include "common/base/bytes.h"
#include "metadata/raft/internal.h"

/* ---- a change as bytes: raftpb.ConfChange ---- */

enum { FIELD_ID = 1, FIELD_TYPE, FIELD_MEMBER, FIELD_CONTEXT };
enum { WIRE_VARINT = 0, WIRE_BYTES = 2 };

size_t raft_change_encode(const struct raft_change *c, uint8_t *out)
{
	const uint64_t values[] = {0, c->kind, c->member};
	size_t len = 0;

	for (size_t i = 0; i < LENGTH(values); i++) {
		out[len++] = (uint8_t)((FIELD_ID + i) << 3 | WIRE_VARINT);
		len += put_varint(out + len, values[i]);
	}
	if (c->context_len) {
		out[len++] = FIELD_CONTEXT << 3 | WIRE_BYTES;
		len += put_varint(out + len, c->context_len);
		memcpy(out + len, c->context, c->context_len);
		len += c->context_len;
	}
	return len;
}

static void decode_field(struct reader *in, struct raft_change *c)
{
	uint64_t tag = read_varint(in), v = read_varint(in);

	switch (tag) {
	case FIELD_ID << 3 | WIRE_VARINT:
		break;
	case FIELD_TYPE << 3 | WIRE_VARINT:
		c->kind = v <= RAFT_ADD_LEARNER ? (uint32_t)v : UINT32_MAX;
		break;
	case FIELD_MEMBER << 3 | WIRE_VARINT:
		c->member = v;
		break;
	case FIELD_CONTEXT << 3 | WIRE_BYTES:
		c->context_len = v <= RAFT_CONTEXT_MAX ? (uint32_t)v : UINT32_MAX;
		c->context = read_bytes(in, c->context_len);
		break;
	default:
		in->bad = true;
	}
}

int raft_change_decode(const void *data, size_t len, struct raft_change *ret)
{
	struct reader in = reader_over(data, len);
	struct raft_change c = {.kind = RAFT_ADD_VOTER};

	while (!in.bad && reader_left(&in) > 0)
		decode_field(&in, &c);
	bool known = c.kind == RAFT_ADD_VOTER || c.kind == RAFT_REMOVE || c.kind == RAFT_ADD_LEARNER;
	if (in.bad || !known || c.member == RAFT_NOBODY)
		return -EINVAL;
	*ret = c;
	return 0;
}

/* ---- sets of members ---- */

static uint32_t voters(const struct raft_members *m)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < m->count; i++)
		n += !m->m[i].learner;
	return n;
}

bool raft_members_are_valid(const struct raft_members *m)
{
	if (m->count > RAFT_MEMBERS_MAX || m->count == 0 || m->m[0].id == RAFT_NOBODY || voters(m) == 0)
		return false;
	for (uint32_t i = 1; i < m->count; i++)
		if (m->m[i].id <= m->m[i - 1].id)
			return false;
	return true;
}

/* Where @id stands, or would. */
static uint32_t position(const struct raft_members *m, uint64_t id)
{
	uint32_t i = 0;

	while (i < m->count && m->m[i].id < id)
		i++;
	return i;
}

static void insert_member(struct raft_members *m, uint32_t at, struct raft_member new)
{
	if (m->count == RAFT_MEMBERS_MAX)
		return;
	memmove(&m->m[at + 1], &m->m[at], (m->count - at) * sizeof m->m[0]);
	m->m[at] = new;
	m->count++;
}

static void remove_member(struct raft_members *m, uint32_t at)
{
	m->count--;
	memmove(&m->m[at], &m->m[at + 1], (m->count - at) * sizeof m->m[0]);
}

/* What @c does to @m; what cannot be done, from a foreign leader, does nothing, on every member alike. */
static void change_members(struct raft_members *m, const struct raft_change *c)
{
	uint32_t at = position(m, c->member);
	bool known = at < m->count && m->m[at].id == c->member;
	bool last_voter = known && !m->m[at].learner && voters(m) == 1;

	if (c->kind == RAFT_ADD_VOTER && known)
		m->m[at].learner = false;
	else if (c->kind == RAFT_ADD_LEARNER && known)
		m->m[at].learner = !last_voter;
	else if (c->kind == RAFT_REMOVE && known && !last_voter)
		remove_member(m, at);
	else if (c->kind != RAFT_REMOVE)
		insert_member(m, at, (struct raft_member){c->member, c->kind == RAFT_ADD_LEARNER});
}

/* Whether one change made @b of @a. */
static bool is_changed(const struct raft_members *a, const struct raft_members *b)
{
	if (a->count != b->count)
		return true;
	for (uint32_t i = 0; i < a->count; i++)
		if (a->m[i].learner != b->m[i].learner)
			return true;
	return false;
}

/* ---- the members of this group ---- */

const struct raft_peer *raft_peer_const(const struct raft *r, uint64_t id)
{
	for (uint32_t i = 0; i < r->peer_count; i++)
		if (r->peers[i].id == id)
			return &r->peers[i];
	return NULL;
}

struct raft_peer *raft_peer(struct raft *r, uint64_t id)
{
	for (uint32_t i = 0; i < r->peer_count; i++)
		if (r->peers[i].id == id)
			return &r->peers[i];
	return NULL;
}

void raft_members(const struct raft *r, struct raft_members *ret)
{
	*ret = (struct raft_members){.count = r->peer_count};
	for (uint32_t i = 0; i < r->peer_count; i++)
		ret->m[i] = (struct raft_member){r->peers[i].id, r->peers[i].learner};
}

void raft_set_members(struct raft *r, const struct raft_members *members, uint64_t index)
{
	r->members_index = index;
	/* Those who left, from the end so that the places before stay. */
	for (uint32_t i = r->peer_count; i-- > 0;) {
		uint32_t at = position(members, r->peers[i].id);
		if (at < members->count && members->m[at].id == r->peers[i].id)
			continue;
		r->peer_count--;
		memmove(&r->peers[i], &r->peers[i + 1], (r->peer_count - i) * sizeof r->peers[0]);
	}
	for (uint32_t i = 0; i < members->count; i++) {
		struct raft_peer *p = &r->peers[i];
		if (i == r->peer_count || p->id != members->m[i].id) {
			memmove(p + 1, p, (r->peer_count - i) * sizeof *p);
			*p = (struct raft_peer){.id = members->m[i].id};
			raft_progress_reset(&p->progress, r->log.last + 1);
			p->progress.active = true; /* not heard yet is not the same as gone */
			r->peer_count++;
		}
		p->learner = members->m[i].learner;
	}
	if (r->transferee != RAFT_NOBODY && !raft_peer(r, r->transferee))
		r->transferee = RAFT_NOBODY;
}

void raft_apply_change(struct raft *r, const struct raft_entry *e, uint64_t index)
{
	struct raft_members m;
	struct raft_change c;

	raft_members(r, &m);
	if (raft_change_decode(e->data, e->len, &c) == 0)
		change_members(&m, &c);
	raft_set_members(r, &m, index);
	r->commit_due = true;
}

int raft_members_at(const struct raft *r, uint64_t index, struct raft_members *ret)
{
	if (index < r->snap.index || index > r->log.commit || index > r->log.last)
		return -EINVAL;
	struct raft_members m = r->snap.members;
	for (uint64_t i = r->snap.index + 1; i <= index; i++) {
		const struct raft_entry *e = raft_log_at(&r->log, i);
		struct raft_change c;
		if (e->kind == RAFT_CONF && raft_change_decode(e->data, e->len, &c) == 0)
			change_members(&m, &c);
	}
	if (MUTANT(SNAPSHOT_MEMBERS))
		m = r->snap.members;
	*ret = m;
	return 0;
}

/* ---- majorities ---- */

uint64_t raft_quorum_value(const struct raft *r, enum raft_count what)
{
	uint64_t sorted[RAFT_MEMBERS_MAX];
	uint32_t n = 0;

	for (uint32_t i = 0; i < r->peer_count; i++) {
		const struct raft_peer *p = &r->peers[i];
		if (p->learner)
			continue;
		uint64_t v = p->progress.match;
		if (what == RAFT_COUNT_ROUND)
			v = p->id == r->c.id ? r->round : p->progress.round;
		uint32_t at = n++;
		for (; at > 0 && sorted[at - 1] < v; at--)
			sorted[at] = sorted[at - 1];
		sorted[at] = v;
	}
	CHECK(n > 0);
	return sorted[n / 2]; /* of n falling values, n / 2 + 1 are this or larger */
}

bool raft_has_majority(const struct raft *r, enum raft_vote vote)
{
	uint32_t n = 0, all = 0;

	for (uint32_t i = 0; i < r->peer_count; i++) {
		all += !r->peers[i].learner;
		n += !r->peers[i].learner && r->peers[i].vote == vote;
	}
	/* No longer possible to win counts as lost. */
	return vote == RAFT_VOTE_NO ? n >= all - all / 2 : n > all / 2;
}

bool raft_quorum_is_active(struct raft *r)
{
	uint32_t n = 0, all = 0;

	for (uint32_t i = 0; i < r->peer_count; i++) {
		struct raft_peer *p = &r->peers[i];
		if (!p->learner) {
			all++;
			n += p->progress.active || p->id == r->c.id;
		}
		p->progress.active = false;
	}
	return n > all / 2;
}

/* ---- proposing a change ---- */

/* A member votes only after it was a learner and has what is committed: else a majority could be one that knows less. */
static int change_makes_sense(const struct raft *r, const struct raft_change *c)
{
	const struct raft_peer *p = raft_peer_const(r, c->member);
	struct raft_members now, then;

	if (c->member == RAFT_NOBODY || c->context_len > RAFT_CONTEXT_MAX || (c->context_len && !c->context))
		return -EINVAL;
	if (c->kind == RAFT_ADD_VOTER && !p)
		return -EINVAL;
	if (c->kind == RAFT_REMOVE && !p)
		return -EEXIST;
	raft_members(r, &now);
	then = now;
	change_members(&then, c);
	if (!is_changed(&now, &then)) {
		bool full = c->kind == RAFT_ADD_LEARNER && !p;
		bool last_voter =
			c->kind == RAFT_REMOVE || (c->kind == RAFT_ADD_LEARNER && !full && !p->learner);
		return full ? -EBUSY : last_voter ? -EINVAL : -EEXIST;
	}
	if (c->kind == RAFT_ADD_VOTER && p->progress.match < r->log.commit)
		return -EBUSY;
	return 0;
}

int raft_on_change(struct raft *r, const struct raft_change *c)
{
	uint8_t data[RAFT_CONF_BYTES + RAFT_CONTEXT_MAX];

	if (c->kind != RAFT_ADD_VOTER && c->kind != RAFT_REMOVE && c->kind != RAFT_ADD_LEARNER)
		return -EINVAL;
	if (r->role != RAFT_LEADER)
		return -EPERM;
	if (r->transferee != RAFT_NOBODY || !raft_term_is_committed(r) || r->pending_change > r->log.commit)
		return -EBUSY;
	int rc = change_makes_sense(r, c);
	if (rc != 0)
		return rc;
	struct raft_entry e = {.kind = RAFT_CONF, .data = data, .len = (uint32_t)raft_change_encode(c, data)};
	if (e.len > r->c.entry_bytes_max || !raft_log_fits(&r->log, 1, e.len, e.len))
		return -EBUSY;
	r->proposed = r->pending_change = r->log.last + 1;
	raft_append_own(r, &e);
	raft_replicate_all(r, false);
	return 0;
}
