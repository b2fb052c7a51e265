/* Tells a history as text, for the person who looks for the cause of a failure. */
#include <inttypes.h>
#include <stdio.h>

#include "metadata/sim/sim.h"

static void print_message(const struct raft_message *m)
{
	(void)printf("%s %" PRIu64 ">%" PRIu64 " t%" PRIu64 " %" PRIu64 "/%" PRIu64 " +%" PRIu32 " c%" PRIu64,
		     raft_message_word(m->kind), m->from, m->to, m->term, m->index, m->log_term, m->count,
		     m->commit);
	if (m->snapshot)
		(void)printf(" of %" PRIu64 "/%" PRIu64, m->snapshot->index, m->snapshot->term);
	if (m->reject)
		(void)printf(" no, hint %" PRIu64, m->reject_hint);
	if (m->context)
		(void)printf(" x%" PRIu64, m->context);
}

static void print_event(const struct raft_event *e)
{
	static const char *const words[] = {"timeout", "message", "persisted",  "propose",
					    "change",  "read",    "transfer",   "taken",
					    "compact", "sent",    "unreachable"};

	(void)printf("%s ", words[e->kind]);
	if (e->kind == RAFT_MESSAGE)
		print_message(e->message);
	else if (e->kind == RAFT_PERSISTED)
		(void)printf("%" PRIu64 " to %" PRIu64, e->batch.number, e->batch.last);
	else if (e->kind == RAFT_CHANGE)
		(void)printf("%" PRIu32 " of %" PRIu64, e->change.kind, e->change.member);
	else if (e->kind == RAFT_SNAPSHOT_TAKEN || e->kind == RAFT_COMPACT)
		(void)printf("%" PRIu64, e->index);
}

void trace_step(const struct sim *s, const struct node *n, const struct raft_event *e, int rc)
{
	static const char *const roles[] = {"follower", "pre-candidate", "candidate", "leader"};

	if (s->steps < s->trace_from)
		return;
	struct raft_status st = raft_status(n->core);
	(void)printf("%8" PRIu64 " %10.4f node %" PRIu64 ": ", s->steps, (double)s->now / 1e9, n->id);
	print_event(e);
	(void)printf(" = %d; %s of %" PRIu64 " t%" PRIu64 " log %" PRIu64 "-%" PRIu64 " stable %" PRIu64
		     " commit %" PRIu64 "%s\n",
		     rc, roles[st.role], st.leader, st.term, st.first, st.last, st.stable, st.commit,
		     st.repairing ? " repairing" : "");
}

void trace_word(const struct sim *s, const struct node *n, const char *words)
{
	if (s->steps >= s->trace_from)
		(void)printf("%8" PRIu64 " %10.4f node %" PRIu64 ": %s\n", s->steps, (double)s->now / 1e9,
			     n->id, words);
}
