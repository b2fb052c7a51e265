/*
 * A group of members in one thread, for the tests of the core: messages lie in a queue until they are delivered, writes
 * are durable at once or when a test says so, and all that leaves a member is noted as text.
 */
#ifndef METADATA_RAFT_TEST_RIG_H
#define METADATA_RAFT_TEST_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>

#include "common/base/mem.h"
#include "metadata/raft/internal.h"

#define RIG_MEMBERS 6
#define RIG_QUEUE   512
#define MS          1000000LL

struct rig_message {
	struct raft_message m;
	struct raft_entry entries[RAFT_ENTRIES_MAX];
	struct raft_snapshot snapshot;
	char bytes[1 << 16];
};

struct rig {
	struct raft *m[RIG_MEMBERS];            /* [0] is nobody */
	bool cut[RIG_MEMBERS][RIG_MEMBERS];     /* from, to: messages vanish */
	bool lazy[RIG_MEMBERS];                 /* writes wait for rig_persist() */
	struct raft_batch written[RIG_MEMBERS]; /* the newest batch not reported yet */
	struct raft_ready ready[RIG_MEMBERS];   /* of the last step */
	struct rig_message *queue[RIG_QUEUE];
	uint32_t queued;
	uint64_t term_max; /* not 0: appends lose their entries of later terms on the way */
	int64_t now;
	char trace[1 << 15]; /* what was sent, and the reads */
	char applied[RIG_MEMBERS][4096];
	struct raft_config config;
};

static inline struct raft_config rig_config(uint64_t id)
{
	return (struct raft_config){
		.id = id,
		.election_ns = 1000 * MS,
		.heartbeat_ns = 100 * MS,
		.log_entries_max = 1024,
		.entry_bytes_max = 1024,
		.log_bytes_max = 1 << 16,
		.uncommitted_bytes_max = 1 << 14,
		.message_bytes_max = 4096,
		.inflight_max = 8,
		.inflight_bytes_max = 1 << 14,
		.seed = id,
	};
}

static inline void rig_note(struct rig *g, const char *fmt, ...) PRINTF(2, 3);
static inline void rig_note(struct rig *g, const char *fmt, ...)
{
	size_t len = strlen(g->trace);
	va_list args;
	va_start(args, fmt);
	(void)vsnprintf(g->trace + len, sizeof g->trace - len, fmt, args);
	va_end(args);
}

static inline void rig_note_message(struct rig *g, const struct raft_message *m)
{
	rig_note(g, "%u>%u %s t%u", (unsigned)m->from, (unsigned)m->to, raft_message_word(m->kind),
		 (unsigned)m->term);
	if (m->kind == RAFT_MSG_APPEND || m->kind == RAFT_MSG_VOTE || m->kind == RAFT_MSG_PRE_VOTE)
		rig_note(g, " %u/%u", (unsigned)m->index, (unsigned)m->log_term);
	if (m->kind == RAFT_MSG_APPEND)
		rig_note(g, " +%u c%u", m->count, (unsigned)m->commit);
	if (m->kind == RAFT_MSG_APPEND_RESP)
		rig_note(g, " %u", (unsigned)m->index);
	if (m->kind == RAFT_MSG_SNAPSHOT)
		rig_note(g, " %u/%u", (unsigned)m->snapshot->index, (unsigned)m->snapshot->term);
	if (m->reject)
		rig_note(g, " no");
	if (m->reject && m->kind == RAFT_MSG_APPEND_RESP)
		rig_note(g, " %u/%u", (unsigned)m->reject_hint, (unsigned)m->log_term);
	if (m->kind == RAFT_MSG_VOTE && m->context == RAFT_FORCED)
		rig_note(g, " forced");
	rig_note(g, "\n");
}

static inline struct rig_message *rig_copy(const struct raft_message *m)
{
	struct rig_message *c = calloc(1, sizeof *c);
	size_t used = 0;
	assert_non_null(c);
	c->m = *m;
	for (uint32_t i = 0; i < m->count; i++) {
		c->entries[i] = m->entries[i];
		if (m->entries[i].len) {
			memcpy(c->bytes + used, m->entries[i].data, m->entries[i].len);
			c->entries[i].data = c->bytes + used;
		}
		used += m->entries[i].len;
	}
	c->m.entries = m->count ? c->entries : NULL;
	if (m->snapshot) {
		c->snapshot = *m->snapshot;
		c->m.snapshot = &c->snapshot;
	}
	return c;
}

static inline void rig_apply(struct rig *g, uint64_t id, const struct raft_ready *d)
{
	for (uint64_t i = d->apply_first; i <= d->apply_last; i++) {
		const struct raft_entry *e = raft_entry(g->m[id], i);
		assert_non_null(e);
		char *to = g->applied[id];
		size_t len = strlen(to);
		if (e->kind == RAFT_NORMAL)
			(void)snprintf(to + len, sizeof g->applied[id] - len, "%.*s ", (int)e->len,
				       e->len ? (const char *)e->data : "");
	}
}

static inline void rig_persist(struct rig *g, uint64_t id);

/* Steps @id and carries out what comes back. */
static inline int rig_step(struct rig *g, uint64_t id, const struct raft_event *e)
{
	struct raft_event timed = *e;
	struct raft_ready *d = &g->ready[id];
	timed.now_ns = g->now;
	int rc = raft_step(g->m[id], &timed, d);
	raft_check(g->m[id]);
	for (uint32_t i = 0; i < d->message_count; i++) {
		rig_note_message(g, &d->messages[i]);
		assert_true(g->queued < RIG_QUEUE);
		g->queue[g->queued++] = rig_copy(&d->messages[i]);
	}
	for (uint32_t i = 0; i < d->read_count; i++)
		rig_note(g, "%u read %u: %d at %u\n", (unsigned)id, (unsigned)d->reads[i].read,
			 d->reads[i].status, (unsigned)d->reads[i].index);
	rig_apply(g, id, d);
	if (d->batch.number) {
		g->written[id] = d->batch;
		if (!g->lazy[id])
			rig_persist(g, id);
	}
	return rc;
}

static inline void rig_persist(struct rig *g, uint64_t id)
{
	struct raft_event e = {.kind = RAFT_PERSISTED, .batch = g->written[id]};
	g->written[id].number = 0;
	assert_int_equal(rig_step(g, id, &e), 0);
}

static inline int rig_deliver(struct rig *g, const struct raft_message *m)
{
	return rig_step(g, m->to, &(struct raft_event){.kind = RAFT_MESSAGE, .message = m});
}

static inline void rig_deliver_first(struct rig *g)
{
	struct rig_message *c = g->queue[0];
	memmove(g->queue, g->queue + 1, --g->queued * sizeof(void *));
	for (uint32_t i = 0; i < c->m.count; i++)
		if (g->term_max && c->entries[i].term > g->term_max)
			c->m.count = i;
	if (c->m.to < RIG_MEMBERS && g->m[c->m.to] && !g->cut[c->m.from][c->m.to])
		assert_int_equal(rig_deliver(g, &c->m), 0);
	free(c);
}

/* Delivers what is queued, and what that causes, in order. */
static inline void rig_flush(struct rig *g)
{
	while (g->queued)
		rig_deliver_first(g);
}

static inline void rig_drop(struct rig *g)
{
	while (g->queued)
		free(g->queue[--g->queued]);
}

static inline void rig_isolate(struct rig *g, uint64_t id, bool on)
{
	for (int i = 0; i < RIG_MEMBERS; i++)
		g->cut[i][id] = g->cut[id][i] = on;
}

/* Time passes up to the deadline of @id, which is stepped. */
static inline void rig_timeout(struct rig *g, uint64_t id)
{
	g->now = MAX(g->now, raft_deadline(g->m[id]));
	assert_int_equal(rig_step(g, id, &(struct raft_event){.kind = RAFT_TIMEOUT}), 0);
}

static inline void rig_start(struct rig *g, uint64_t id, const struct raft_start *s)
{
	struct raft_config c = g->config;
	c.id = c.seed = id;
	assert_int_equal(raft_new(&c, s, g->now, &g->m[id]), 0);
}

/* @voters members that know each other, numbered from 1. */
static inline struct rig *rig_new(uint32_t voters)
{
	struct rig *g = calloc(1, sizeof *g);
	struct raft_start s = {{1, 0, 1}, .snapshot = {1, 1, {.count = voters}}};
	assert_non_null(g);
	g->config = rig_config(1);
	for (uint32_t i = 0; i < voters; i++)
		s.snapshot.members.m[i].id = i + 1;
	for (uint32_t i = 1; i <= voters; i++)
		rig_start(g, i, &s);
	return g;
}

static inline void rig_free(struct rig *g)
{
	rig_drop(g);
	for (int i = 0; i < RIG_MEMBERS; i++)
		(void)raft_free(g->m[i]);
	free(g);
}

/* Makes @id the leader, all that follows from it delivered, and forgets the trace. Others may have to forget theirs. */
static inline void rig_elect(struct rig *g, uint64_t id)
{
	while (raft_status(g->m[id]).role != RAFT_LEADER) {
		g->now += 2 * g->config.election_ns;
		rig_timeout(g, id);
		rig_flush(g);
	}
	g->trace[0] = 0;
}

static inline int rig_propose(struct rig *g, uint64_t id, const char *words)
{
	struct raft_entry e = {.len = (uint32_t)strlen(words), .data = words};
	struct raft_event v = {.kind = RAFT_PROPOSE, .propose = {&e, 1}};
	return rig_step(g, id, &v);
}

static inline int rig_change(struct rig *g, uint64_t id, enum raft_change_kind kind, uint64_t member)
{
	struct raft_event v = {.kind = RAFT_CHANGE, .change = {.kind = kind, .member = member}};
	return rig_step(g, id, &v);
}

static inline int rig_read(struct rig *g, uint64_t id, uint64_t read)
{
	return rig_step(g, id, &(struct raft_event){.kind = RAFT_READ, .read = read});
}

static inline int rig_index(struct rig *g, uint64_t id, enum raft_event_kind kind, uint64_t index)
{
	return rig_step(g, id, &(struct raft_event){.kind = kind, .index = index});
}

/* Compares the trace since the last call. */
#define rig_expect(g, text)                            \
	do {                                           \
		assert_string_equal((g)->trace, text); \
		(g)->trace[0] = 0;                     \
	} while (0)

#endif
