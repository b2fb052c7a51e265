/* Messages under way: lost, doubled, late, out of order; links that are cut in one direction or both. */
#include <errno.h>
#include <string.h>

#include "common/base/mem.h"
#include "metadata/sim/sim.h"

/* A copy of @m in one piece. NULL: no memory. */
static struct parcel *pack(const struct node *n, const struct raft_message *m)
{
	size_t bytes = 0, head = sizeof(struct parcel) + m->count * sizeof(struct raft_entry);

	for (uint32_t i = 0; i < m->count; i++)
		bytes += m->entries[i].len;
	struct parcel *p = mem_alloc(head + bytes);
	if (!p)
		return NULL;
	uint8_t *to = (uint8_t *)p + head;
	p->m = *m;
	p->sender_epoch = n->epoch;
	for (uint32_t i = 0; i < m->count; i++) {
		p->entries[i] = m->entries[i];
		if (m->entries[i].len)
			memcpy(to, m->entries[i].data, m->entries[i].len);
		p->entries[i].data = m->entries[i].len ? to : NULL;
		to += m->entries[i].len;
	}
	p->m.entries = m->count ? p->entries : NULL;
	if (m->snapshot) {
		/* The newest there is travels, as its own message says. */
		p->meta = n->snapshot.meta;
		p->state = n->snapshot.state;
		p->m.snapshot = &p->meta;
	}
	return p;
}

static int64_t delay(struct sim *s, const struct raft_message *m)
{
	int64_t us = sim_between(s, 100, 1500);

	if (m->kind == RAFT_MSG_SNAPSHOT)
		us += sim_between(s, 1000, 400000);
	if (!s->calm && sim_chance(s, s->p.slow))
		us += sim_between(s, 1000, 300000);
	return us * 1000;
}

/* How handing over a snapshot ended, for the sender, some time later. */
static void tell_sender(struct sim *s, struct node *n, uint64_t peer, bool failed, int64_t after_ns)
{
	struct sim_event e = {.kind = SIM_SENT, .slot = n->slot, .epoch = n->epoch, .sent = {peer, failed}};

	sim_schedule(s, after_ns, &e);
}

void net_send(struct sim *s, struct node *n, const struct raft_message *m)
{
	struct node *to = sim_node(s, m->to);
	bool lost = !to || s->cut[n->slot][to->slot] || (!s->calm && sim_chance(s, s->p.drop));

	if (m->kind == RAFT_MSG_SNAPSHOT) {
		s->snapshots_sent++;
		if (lost)
			tell_sender(s, n, m->to, true, 500 * SIM_MS);
	}
	if (lost)
		return;
	for (uint32_t copies = !s->calm && sim_chance(s, s->p.dup) ? 2 : 1; copies > 0; copies--) {
		struct parcel *p = pack(n, m);
		if (!p) {
			sim_fail(s, "out of memory");
			return;
		}
		sim_schedule(s, delay(s, m),
			     &(struct sim_event){.kind = SIM_DELIVER, .slot = to->slot, .parcel = p});
	}
}

void net_deliver(struct sim *s, struct parcel *p)
{
	struct node *n = sim_node(s, p->m.to), *from = sim_node(s, p->m.from);
	bool arrives = n && n->up && !(from && s->cut[from->slot][n->slot]);

	if (p->m.kind == RAFT_MSG_SNAPSHOT && from && from->up && from->epoch == p->sender_epoch)
		tell_sender(s, from, p->m.to, !arrives, SIM_MS);
	if (arrives) {
		s->steps++;
		struct raft_event e = {.kind = RAFT_MESSAGE, .message = &p->m};
		s->delivering = p;
		int rc = node_step(s, n, &e);
		if (rc != 0 && !(rc == -EBUSY && p->m.kind == RAFT_MSG_READ_INDEX))
			sim_fail(s, "node %u refuses %s of node %u: %d", (unsigned)p->m.to,
				 raft_message_word(p->m.kind), (unsigned)p->m.from, rc);
	}
	(void)mem_free(p);
}
