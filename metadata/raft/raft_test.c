/* The parts of the core one by one: limits, bad messages, log, progress, membership. */
#include "metadata/raft/test_rig.h"

#define BAD(change)                                                 \
	do {                                                        \
		struct raft_config c = rig_config(1);               \
		change;                                             \
		assert_int_equal(raft_new(&c, &s, 0, &r), -EINVAL); \
	} while (0)

static void configs(void **state)
{
	struct raft_start s = {{1, 0, 1}, .snapshot = {1, 1, {1, {{1, false}}}}};
	struct raft *r = NULL;
	BAD(c.id = 0);
	BAD(c.heartbeat_ns = 0);
	BAD(c.heartbeat_ns = c.election_ns / 2);
	BAD(c.log_entries_max = 64);
	BAD(c.log_entries_max = 1000);
	BAD(c.entry_bytes_max = 0);
	BAD(c.entry_bytes_max = 1 << 15);
	BAD(c.message_bytes_max = 0);
	BAD(c.inflight_bytes_max = 0);
	BAD(c.uncommitted_bytes_max = 0);
	BAD(c.uncommitted_bytes_max = c.log_bytes_max / 2 + 1);
	BAD(c.inflight_max = 0);
	BAD(c.inflight_max = RAFT_INFLIGHT_MAX + 1);
	BAD(s.snapshot.index = RAFT_INDEX_MAX + 1);
	s.snapshot.index = 1;
	BAD(s.hard.term = 0);
	s.hard.term = 1;
	BAD(s.snapshot.term = 0);
	s.snapshot.term = 1;
	BAD(s.snapshot.members.count = 0);
	s.snapshot.members.count = 1;
	BAD(s.snapshot.index = s.snapshot.term = 0); /* members of nothing */
	s.snapshot.index = s.snapshot.term = 1;
	struct raft_config c = rig_config(1);
	for (int i = 0; i < 4; i++) {
		mem_fail_after(i, 0);
		assert_int_equal(raft_new(&c, &s, 0, &r), -ENOMEM);
	}
	mem_fail_after(-1, 0);
	assert_int_equal(raft_new(&c, &s, 0, &r), 0);
	assert_null(raft_free(r));
	assert_null(raft_free(NULL));
}

static void loading(void **state)
{
	struct raft_start s = {{3, 0, 100}, .snapshot = {5, 2, {1, {{1, false}}}}};
	struct raft_config c = rig_config(1);
	struct raft *r;
	char bytes[1025] = "";
	assert_int_equal(raft_new(&c, &s, 0, &r), 0);
	static const struct {
		uint64_t index, term;
		uint32_t len;
		int rc;
	} rows[] = {
		{5, 2, 0, -EINVAL},    {7, 2, 0, -EINVAL}, {6, 1, 0, -EINVAL}, {6, 4, 0, -EINVAL},
		{6, 2, 1025, -EINVAL}, {6, 2, 1024, 0},    {7, 3, 0, 0},       {8, 2, 0, -EINVAL},
	};
	for (size_t i = 0; i < LENGTH(rows); i++) {
		struct raft_entry e = {rows[i].index, rows[i].term, RAFT_NORMAL, rows[i].len, bytes};
		assert_int_equal(raft_load(r, &e), rows[i].rc);
	}
	/* The commit index of the disk may be ahead of the entries that survived. */
	struct raft_ready d;
	assert_int_equal(raft_step(r, &(struct raft_event){.kind = RAFT_TIMEOUT}, &d), 0);
	raft_check(r);
	assert_int_equal(raft_status(r).commit, 7);
	assert_int_equal(d.apply_first, 6);
	assert_int_equal(d.apply_last, 7);
	assert_int_equal(raft_entry(r, 6)->len, 1024);
	assert_null(raft_entry(r, 5));
	assert_null(raft_entry(r, 8));
	(void)raft_free(r);
	assert_int_equal(raft_new(&c, &s, 0, &r), 0);
	for (uint64_t i = 6; i < 6 + 63; i++)
		assert_int_equal(raft_load(r, &(struct raft_entry){i, 2, RAFT_NORMAL, 1024, bytes}), 0);
	assert_int_equal(raft_load(r, &(struct raft_entry){6 + 63, 2, RAFT_NORMAL, 1024, bytes}), -EBUSY);
	(void)raft_free(r);
}

/* Whatever stands in a message: an error or nothing, never more. */
static void bad_messages(void **state)
{
	static const char bytes[2000];
	static const struct raft_entry next = {2, 1, RAFT_NORMAL, 0, NULL},
				       gap = {3, 1, RAFT_NORMAL, 0, NULL}, old = {2, 0, RAFT_NORMAL, 0, NULL},
				       first = {1, 0, RAFT_NORMAL, 0, NULL},
				       later = {2, 9, RAFT_NORMAL, 0, NULL},
				       large = {2, 1, RAFT_NORMAL, 1025, bytes},
				       null = {2, 1, RAFT_NORMAL, 1, NULL}, kind = {2, 1, 7, 0, NULL},
				       high = {RAFT_INDEX_MAX + 1, 1, 0, 0, NULL};
#define REFUSED(change)                                                                                     \
	do {                                                                                                \
		struct raft_message m = good;                                                               \
		change;                                                                                     \
		assert_int_equal(rig_step(g, 1, &(struct raft_event){.kind = RAFT_MESSAGE, .message = &m}), \
				 -EINVAL);                                                                  \
	} while (0)
	struct raft_message good = {
		.kind = RAFT_MSG_APPEND, .from = 2, .to = 1, .term = 1, .index = 1, .log_term = 1};
	struct rig *g = rig_new(3);
	REFUSED(m.to = 2);
	REFUSED(m.from = 0);
	REFUSED(m.from = 1);
	REFUSED(m.term = 0);
	REFUSED(m.log_term = 2);
	REFUSED(m.log_term = 0);
	REFUSED(m.index = 0);
	REFUSED(m.index = RAFT_INDEX_MAX + 1);
	REFUSED(m.commit = RAFT_INDEX_MAX + 1);
	REFUSED(m.reject_hint = RAFT_INDEX_MAX + 1);
	REFUSED(m.count = 1);
	REFUSED(m.count = RAFT_ENTRIES_MAX + 1; m.entries = &next);
	REFUSED(m.count = 1; m.entries = &gap);
	REFUSED(m.count = 1; m.entries = &old);
	REFUSED(m.count = 1; m.entries = &first; m.index = m.log_term = 0);
	REFUSED(m.count = 1; m.entries = &later);
	REFUSED(m.count = 1; m.entries = &large);
	REFUSED(m.count = 1; m.entries = &null);
	REFUSED(m.count = 1; m.entries = &kind);
	REFUSED(m.index = RAFT_INDEX_MAX; m.count = 1; m.entries = &high);
	REFUSED(m.kind = 0);
	REFUSED(m.kind = 99);
	REFUSED(m.kind = 13);
	REFUSED(m.kind = RAFT_MSG_READ_INDEX);
	REFUSED(m.kind = RAFT_MSG_VOTE);
	REFUSED(m.kind = RAFT_MSG_PRE_VOTE);
	REFUSED(m.kind = RAFT_MSG_VOTE; m.term = 2; m.index = 0);
	REFUSED(m.kind = RAFT_MSG_VOTE; m.term = 2; m.log_term = 0);
	rig_free(g);
}

static void bad_snapshots(void **state)
{
	static const struct raft_snapshot none = {0, 1, {1, {{1, false}}}},
					  far = {RAFT_INDEX_MAX + 1, 1, {1, {{1, false}}}},
					  zero = {9, 0, {1, {{1, false}}}}, ahead = {9, 9, {1, {{1, false}}}},
					  empty = {9, 1, {0, {{0, false}}}},
					  nobody = {9, 1, {1, {{0, false}}}},
					  twice = {9, 1, {2, {{1, false}, {1, false}}}},
					  mute = {9, 1, {1, {{1, true}}}},
					  many = {9, 1, {RAFT_MEMBERS_MAX + 1, {{1, false}}}};
	struct raft_message good = {.kind = RAFT_MSG_SNAPSHOT, .from = 2, .to = 1, .term = 1};
	struct rig *g = rig_new(3);
	REFUSED(m.snapshot = NULL);
	REFUSED(m.snapshot = &none);
	REFUSED(m.snapshot = &far);
	REFUSED(m.snapshot = &zero);
	REFUSED(m.snapshot = &ahead);
	REFUSED(m.snapshot = &empty);
	REFUSED(m.snapshot = &nobody);
	REFUSED(m.snapshot = &twice);
	REFUSED(m.snapshot = &mute);
	REFUSED(m.snapshot = &many);
	assert_string_equal(g->trace, "");
	assert_int_equal(raft_status(g->m[1]).term, 1);
	assert_int_equal(rig_step(g, 1, &(struct raft_event){.kind = (enum raft_event_kind)99}), -EINVAL);
	assert_int_equal(rig_step(g, 1, &(struct raft_event){.kind = RAFT_PERSISTED}), -EINVAL);
	assert_int_equal(rig_step(g, 1, &(struct raft_event){.kind = RAFT_PERSISTED, .batch = {9, 9}}),
			 -EINVAL);
	rig_free(g);
}

/* What no correct group sends. */
static void broken_promises(void **state)
{
	struct rig *g = rig_new(3);
	rig_elect(g, 1);
	struct raft_message m = {
		.kind = RAFT_MSG_APPEND, .from = 3, .to = 2, .term = 2, .index = 2, .log_term = 2};
	assert_int_equal(rig_deliver(g, &m), -EPROTO); /* a second leader */
	m.to = 1;
	assert_int_equal(rig_deliver(g, &m), -EPROTO);
	m = (struct raft_message){
		.kind = RAFT_MSG_APPEND, .from = 1, .to = 2, .term = 2, .index = 2, .log_term = 1};
	assert_int_equal(rig_deliver(g, &m), -EPROTO); /* another entry where one is committed */
	m = (struct raft_message){.kind = RAFT_MSG_HEARTBEAT, .from = 1, .to = 2, .term = 2, .commit = 3};
	assert_int_equal(rig_deliver(g, &m), -EPROTO); /* more than was acknowledged */
	m = (struct raft_message){.kind = RAFT_MSG_APPEND_RESP, .from = 2, .to = 1, .term = 2, .index = 99};
	assert_int_equal(rig_deliver(g, &m), 0); /* an answer to another log counts for nothing */
	assert_int_equal(raft_status(g->m[1]).commit, 2);
	m = (struct raft_message){
		.kind = RAFT_MSG_HEARTBEAT_RESP, .from = 2, .to = 1, .term = 2, .context = 1 << 20};
	assert_int_equal(rig_read(g, 1, 1), 0);
	assert_int_equal(rig_deliver(g, &m), 0); /* a round that never was */
	assert_null(strstr(g->trace, "read 1"));
	m.from = 77; /* nobody in this group */
	assert_int_equal(rig_deliver(g, &m), 0);
	rig_free(g);
}

static void lower_terms(void **state)
{
	struct rig *g = rig_new(3);
	rig_elect(g, 1);
	struct raft_message m = {.kind = RAFT_MSG_HEARTBEAT, .from = 3, .to = 2, .term = 1};
	assert_int_equal(rig_deliver(g, &m), 0);
	rig_expect(g, "2>3 append-resp t2 0\n");
	m.kind = RAFT_MSG_PRE_VOTE;
	m.index = 0;
	assert_int_equal(rig_deliver(g, &m), 0);
	rig_expect(g, "2>3 pre-vote-resp t2 no\n");
	m.kind = RAFT_MSG_HEARTBEAT_RESP;
	assert_int_equal(rig_deliver(g, &m), 0);
	rig_expect(g, "");
	g->lazy[2] = true; /* nothing names a term that is not durable */
	m = (struct raft_message){.kind = RAFT_MSG_HEARTBEAT, .from = 3, .to = 2, .term = 5};
	assert_int_equal(rig_deliver(g, &m), 0);
	m.term = 4;
	assert_int_equal(rig_deliver(g, &m), 0);
	m = (struct raft_message){
		.kind = RAFT_MSG_APPEND, .from = 3, .to = 2, .term = 5, .index = 9, .log_term = 5};
	assert_int_equal(rig_deliver(g, &m), 0);
	rig_expect(g, "");
	rig_free(g);
}

static void proposals(void **state)
{
	struct rig *g = rig_new(3);
	static char bytes[1025];
	struct raft_entry e[2] = {{.len = 1}, {.len = 1024, .data = bytes}};
	struct raft_event v = {.kind = RAFT_PROPOSE, .propose = {e, 0}};
	rig_elect(g, 1);
	assert_int_equal(rig_step(g, 1, &v), -EINVAL); /* none */
	v.propose.count = 2;
	assert_int_equal(rig_step(g, 1, &v), -EINVAL); /* no data */
	e[0].data = bytes;
	e[1].len = 1025;
	assert_int_equal(rig_step(g, 1, &v), -EINVAL); /* too long */
	e[1].len = 1024;
	e[1].kind = RAFT_CONF;
	assert_int_equal(rig_step(g, 1, &v), -EINVAL); /* by RAFT_CHANGE only */
	e[1].kind = RAFT_NORMAL;
	assert_int_equal(rig_step(g, 2, &v), -EPERM);
	assert_int_equal(rig_step(g, 1, &v), 0);
	assert_int_equal(g->ready[1].proposed == 0, true); /* of the step that persisted */
	rig_isolate(g, 1, true);
	int n = 0;
	while (rig_step(g, 1, &v) == 0)
		n++;
	assert_int_equal(n, (1 << 14) / 1025 - 1); /* uncommitted_bytes_max */
	rig_free(g);
	/* The log is full, and takes the rest after a snapshot. */
	g = rig_new(1);
	rig_elect(g, 1);
	e[0].len = 0;
	for (n = 0; rig_step(g, 1, &v) == 0; n++)
		;
	assert_int_equal(n, 63);
	assert_int_equal(rig_change(g, 1, RAFT_ADD_LEARNER, 2), 0); /* there is some room left for these */
	uint64_t last = raft_status(g->m[1]).last;
	assert_int_equal(rig_index(g, 1, RAFT_SNAPSHOT_TAKEN, last), 0);
	assert_int_equal(rig_index(g, 1, RAFT_SNAPSHOT_TAKEN, last), -EINVAL);
	assert_int_equal(rig_index(g, 1, RAFT_COMPACT, last), 0);
	assert_int_equal(rig_step(g, 1, &v), 0);
	rig_free(g);
}

/* A follower whose log is full takes what fits and says so; nothing is lost, and later it takes the rest. */
static void full_follower(void **state)
{
	struct rig *g = rig_new(2);
	static char bytes[1024];
	struct raft_entry e = {.len = 1024, .data = bytes};
	struct raft_event v = {.kind = RAFT_PROPOSE, .propose = {&e, 1}};
	g->m[2] = raft_free(g->m[2]);
	g->config.log_bytes_max = 1 << 13;
	g->config.uncommitted_bytes_max = 1 << 12;
	rig_start(g, 2, &(struct raft_start){{1, 0, 1}, {1, 1, {2, {{1, false}, {2, false}}}}, 0, 0});
	rig_elect(g, 1);
	for (int i = 0; i < 12; i++) {
		assert_int_equal(rig_step(g, 1, &v), 0);
		rig_flush(g);
		rig_timeout(g, 1);
		rig_flush(g);
	}
	assert_int_equal(raft_status(g->m[2]).last, 2 + 7);
	assert_int_equal(raft_status(g->m[1]).commit, 2 + 7);
	assert_int_equal(rig_index(g, 2, RAFT_SNAPSHOT_TAKEN, 9), 0);
	assert_int_equal(rig_index(g, 2, RAFT_COMPACT, 9), 0);
	for (int i = 0; i < 3; i++) {
		rig_timeout(g, 1);
		rig_flush(g);
	}
	assert_int_equal(raft_status(g->m[1]).commit, 2 + 12);
	rig_free(g);
}

static void wishes(void **state)
{
	static const struct {
		struct raft_event e;
		int follower, leader;
	} rows[] = {
		{{.kind = RAFT_TRANSFER, .peer = 1}, -EPERM, -EINVAL},
		{{.kind = RAFT_TRANSFER, .peer = 9}, -EPERM, -EINVAL},
		{{.kind = RAFT_TRANSFER, .peer = 4}, -EPERM, -EINVAL}, /* a learner */
		{{.kind = RAFT_UNREACHABLE, .peer = 9}, -EPERM, -EINVAL},
		{{.kind = RAFT_UNREACHABLE, .peer = 1}, -EPERM, -EINVAL},
		{{.kind = RAFT_UNREACHABLE, .peer = 2}, -EPERM, 0},
		{{.kind = RAFT_UNREACHABLE, .peer = 2}, -EPERM, 0}, /* again, while probing */
		{{.kind = RAFT_SNAPSHOT_SENT, .sent = {9, false}}, -EPERM, -EINVAL},
		{{.kind = RAFT_SNAPSHOT_SENT, .sent = {2, false}}, -EPERM, 0},
		{{.kind = RAFT_CHANGE, .change = {.kind = 2, .member = 2}}, -EINVAL, -EINVAL},
		{{.kind = RAFT_CHANGE, .change = {.kind = RAFT_ADD_LEARNER}}, -EPERM, -EINVAL},
		{{.kind = RAFT_CHANGE, .change = {.kind = RAFT_REMOVE, .member = 9}}, -EPERM, -EEXIST},
		{{.kind = RAFT_CHANGE, .change = {.kind = RAFT_ADD_VOTER, .member = 2}}, -EPERM, -EEXIST},
		{{.kind = RAFT_CHANGE, .change = {.kind = RAFT_REMOVE, .member = 2, .context_len = 257}},
		 -EPERM,
		 -EINVAL},
		{{.kind = RAFT_CHANGE, .change = {.kind = RAFT_REMOVE, .member = 2, .context_len = 1}},
		 -EPERM,
		 -EINVAL},
	};
	struct rig *g = rig_new(3);
	rig_elect(g, 1);
	assert_int_equal(rig_change(g, 1, RAFT_ADD_LEARNER, 4), 0);
	rig_flush(g);
	for (size_t i = 0; i < LENGTH(rows); i++) {
		assert_int_equal(rig_step(g, 2, &rows[i].e), rows[i].follower);
		assert_int_equal(rig_step(g, 1, &rows[i].e), rows[i].leader);
	}
	uint64_t match;
	assert_int_equal(raft_progress(g->m[2], 1, &match), -EPERM);
	assert_int_equal(raft_progress(g->m[1], 9, &match), -EINVAL);
	assert_int_equal(raft_progress(g->m[1], 2, &match), 0);
	assert_int_equal(match, 3);
	rig_free(g);
}

static void members(void **state)
{
	struct rig *g = rig_new(1);
	struct raft_members m;
	rig_elect(g, 1);
	assert_int_equal(rig_change(g, 1, RAFT_REMOVE, 1), -EINVAL); /* the last voter */
	assert_int_equal(rig_change(g, 1, RAFT_ADD_LEARNER, 1), -EINVAL);
	for (uint64_t id = 2; id <= RAFT_MEMBERS_MAX; id++)
		assert_int_equal(rig_change(g, 1, RAFT_ADD_LEARNER, id * 10), 0);
	assert_int_equal(rig_change(g, 1, RAFT_ADD_LEARNER, 5), -EBUSY); /* full */
	assert_int_equal(rig_change(g, 1, RAFT_REMOVE, 30), 0);
	assert_int_equal(rig_change(g, 1, RAFT_ADD_LEARNER, 5), 0);
	raft_members(g->m[1], &m);
	assert_int_equal(m.count, RAFT_MEMBERS_MAX);
	assert_int_equal(m.m[1].id, 5);
	assert_int_equal(m.m[2].id, 20);
	uint64_t commit = raft_status(g->m[1]).commit;
	assert_int_equal(raft_members_at(g->m[1], 0, &m), -EINVAL);
	assert_int_equal(raft_members_at(g->m[1], commit + 1, &m), -EINVAL);
	assert_int_equal(raft_members_at(g->m[1], 3, &m), 0);
	assert_int_equal(m.count, 2);
	rig_drop(g);
	rig_free(g);
	/* A voter is made a learner by a foreign leader; the leader itself ends so. */
	g = rig_new(2);
	rig_elect(g, 1);
	assert_int_equal(rig_change(g, 1, RAFT_ADD_LEARNER, 1), 0);
	rig_flush(g);
	assert_int_equal(raft_status(g->m[1]).role, RAFT_FOLLOWER);
	raft_members(g->m[1], &m);
	assert_true(m.m[0].learner);
	rig_timeout(g, 2);
	assert_int_equal(raft_status(g->m[2]).role, RAFT_LEADER);
	rig_free(g);
}

static void change_codec(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		int rc;
	} rows[] = {
		{"\x08\x00\x10\x00\x18\x05", 6, 0},
		{"\x18\x05", 2, 0}, /* what stands not there is 0 */
		{"\x18\x05\x22\x02hi", 6, 0},
		{"", 0, -EINVAL},
		{"\x18", 1, -EINVAL},
		{"\x10\x02\x18\x05", 4, -EINVAL},
		{"\x10\x09\x18\x05", 4, -EINVAL},
		{"\x18\x05\x22\x03hi", 6, -EINVAL},
		{"\x18\x05\x22\xff\xff\xff\xff\x0f", 8, -EINVAL},
		{"\x18\x05\x2a\x00", 4, -EINVAL},
		{"\x08\x00\x10\x00\x18\x00", 6, -EINVAL},
	};
	struct raft_change c;
	for (size_t i = 0; i < LENGTH(rows); i++)
		assert_int_equal(raft_change_decode(rows[i].bytes, rows[i].len, &c), rows[i].rc);
	uint8_t out[RAFT_CONF_BYTES + 2];
	struct raft_change in = {RAFT_ADD_LEARNER, UINT64_MAX, "ab", 2};
	size_t len = raft_change_encode(&in, out);
	assert_int_equal(raft_change_decode(out, len, &c), 0);
	assert_int_equal(c.kind, RAFT_ADD_LEARNER);
	assert_true(c.member == UINT64_MAX);
	assert_memory_equal(c.context, "ab", 2);
}

/* A committed change that nobody can read, or that makes no sense, changes nothing, on all members alike. */
static void foreign_changes(void **state)
{
	static const char *const data[] = {"\xff", "\x10\x01\x18\x01", "\x10\x01\x18\x09", "\x18\x02",
					   "\x18\x09"};
	struct rig *g = rig_new(2);
	struct raft_members m;
	for (uint32_t i = 0; i < LENGTH(data); i++) {
		struct raft_entry e = {2 + i, 2, RAFT_CONF, (uint32_t)strlen(data[i]), data[i]};
		struct raft_message a = {
			.kind = RAFT_MSG_APPEND, .from = 2, .to = 1, .term = 2, .index = 1 + i};
		a.log_term = i ? 2 : 1;
		a.entries = &e;
		a.count = 1;
		a.commit = 2 + i;
		assert_int_equal(rig_deliver(g, &a), 0);
		raft_members(g->m[1], &m);
		/* 1 was removed; 2 voted alone, and stays; 9 was added without having been a learner. */
		assert_int_equal(m.count, i == 0 || i == 4 ? 2 : 1);
		assert_int_equal(raft_members_at(g->m[1], 2 + i, &m), 0);
		assert_int_equal(m.count, i == 0 || i == 4 ? 2 : 1);
		assert_int_equal(raft_status(g->m[1]).members_index, 2 + i);
	}
	rig_free(g);
}

/* The leader skips whole terms of a log that went another way [O 3.5, E]. */
static void hints(void **state)
{
	struct raft_start s = {{3, 0, 1}, .snapshot = {1, 1, {2, {{1, false}, {2, false}}}}};
	struct rig *g = calloc(1, sizeof *g);
	g->config = rig_config(1);
	rig_start(g, 1, &s);
	s.hard.term = 2;
	rig_start(g, 2, &s);
	for (uint64_t i = 2; i <= 40; i++)
		assert_int_equal(raft_load(g->m[1], &(struct raft_entry){.index = i, .term = i < 5 ? 1 : 3}),
				 0);
	for (uint64_t i = 2; i <= 60; i++)
		assert_int_equal(raft_load(g->m[2], &(struct raft_entry){.index = i, .term = i < 5 ? 1 : 2}),
				 0);
	rig_timeout(g, 1);
	rig_flush(g);
	/* 40 of term 3 is not there: nothing at or below it but 4 is of an older term than 3 ... */
	assert_non_null(strstr(g->trace, "1>2 append t4 40/3 +1"));
	assert_non_null(strstr(g->trace, "2>1 append-resp t4 40 no 40/2\n1>2 append t4 4/1 +"));
	assert_int_equal(raft_status(g->m[2]).last, 41);
	assert_int_equal(raft_status(g->m[1]).commit, 41);
	rig_free(g);
}

static void progress(void **state)
{
	struct raft_progress p;
	raft_progress_reset(&p, 10);
	assert_false(raft_progress_is_paused(&p, 2, 100));
	raft_progress_sent(&p, 0, 0);
	assert_false(raft_progress_is_paused(&p, 2, 100));
	raft_progress_sent(&p, 3, 30);
	assert_true(raft_progress_is_paused(&p, 2, 100));
	assert_false(raft_progress_rejected(&p, 5, 3)); /* not the one that is out */
	assert_true(raft_progress_rejected(&p, 9, 3));
	assert_int_equal(p.next, 4);
	assert_true(raft_progress_acknowledged(&p, 3));
	assert_false(raft_progress_acknowledged(&p, 3));
	raft_progress_replicate(&p);
	raft_progress_sent(&p, 2, 60);
	assert_false(raft_progress_is_paused(&p, 2, 100));
	raft_progress_sent(&p, 1, 60);
	assert_true(raft_progress_is_paused(&p, 2, 1000)); /* in number */
	assert_true(raft_progress_is_paused(&p, 9, 100));  /* in bytes */
	raft_progress_release(&p, 4);
	assert_int_equal(p.inflight_count, 2);
	raft_progress_release(&p, 5);
	assert_int_equal(p.inflight_count, 1);
	assert_int_equal(p.inflight_bytes, 60);
	assert_false(raft_progress_rejected(&p, 3, 1)); /* known better */
	assert_true(raft_progress_rejected(&p, 6, 1));
	assert_int_equal(p.flow, RAFT_PROBE);
	assert_int_equal(p.next, 4);
	raft_progress_snapshot(&p, 20);
	assert_true(raft_progress_is_paused(&p, 9, 1000));
	assert_false(raft_progress_rejected(&p, 20, 1));
	raft_progress_probe(&p);
	assert_int_equal(p.next, 21);
	raft_progress_lost(&p, 1);
	assert_int_equal(p.match, 1);
	assert_int_equal(p.next, 2);
}

/* An older write proves nothing about what was written over. */
static void log_cuts(void **state)
{
	struct raft_log l;
	struct raft_entry e = {.len = 1, .data = "x"};
	assert_int_equal(raft_log_init(&l, 128, 1024), 0);
	raft_log_reset(&l, 5, 2, 0);
	for (int i = 0; i < 10; i++)
		raft_log_push(&l, &e, 3);
	l.saved = 15; /* batch 1: 6 to 15 */
	raft_log_cut(&l, 10, 2);
	raft_log_push(&l, &e, 4); /* batch 2: 10 */
	l.saved = 10;
	raft_log_cut(&l, 8, 3);
	raft_log_push(&l, &e, 5);
	raft_log_push(&l, &e, 5);
	raft_log_push(&l, &e, 5); /* batch 3: 8 to 10 */
	raft_log_persisted(&l, &(struct raft_batch){1, 15});
	assert_int_equal(l.stable, 7);
	raft_log_persisted(&l, &(struct raft_batch){2, 10});
	assert_int_equal(l.stable, 7);
	raft_log_persisted(&l, &(struct raft_batch){3, 10});
	assert_int_equal(l.stable, 10);
	assert_int_equal(raft_log_term(&l, 5), 2);
	assert_int_equal(raft_log_term(&l, 4), 0);
	assert_true(raft_log_matches(&l, 5, 2));
	assert_false(raft_log_matches(&l, 4, 0));
	assert_false(raft_log_matches(&l, 11, 5));
	assert_true(raft_log_is_covered(&l, 10, 5));
	assert_true(raft_log_is_covered(&l, 1, 6));
	assert_false(raft_log_is_covered(&l, 9, 5));
	assert_false(raft_log_is_covered(&l, 99, 4));
	uint64_t term;
	assert_int_equal(raft_log_last_of_term(&l, 10, 4, &term), 7);
	assert_int_equal(term, 3);
	assert_int_equal(raft_log_last_of_term(&l, 10, 1, &term), 5);
	assert_int_equal(term, 2);
	assert_int_equal(raft_log_last_of_term(&l, 11, 9, &term), 11);
	assert_int_equal(term, 0);
	raft_log_done(&l);
}

/* What is possible only by an odd order of events, or by a limit. */
static void full_log_cannot_lead(void **state)
{
	struct raft_start s = {{2, 0, 100}, .snapshot = {1, 1, {1, {{1, false}}}}};
	struct rig *g = calloc(1, sizeof *g);
	g->config = rig_config(1);
	rig_start(g, 1, &s);
	struct raft_members m;
	assert_int_equal(raft_members_at(g->m[1], 2, &m), -EINVAL);
	for (uint64_t i = 2; i < 2 + 1024; i++)
		assert_int_equal(raft_load(g->m[1], &(struct raft_entry){.index = i, .term = 2}), 0);
	assert_int_equal(raft_load(g->m[1], &(struct raft_entry){.index = 1026, .term = 2}), -EBUSY);
	rig_timeout(g, 1);
	assert_int_equal(raft_status(g->m[1]).term, 3);
	assert_int_equal(raft_status(g->m[1]).role, RAFT_FOLLOWER);
	rig_free(g);
	g = calloc(1, sizeof *g);
	g->config = rig_config(1);
	s.snapshot.index = RAFT_INDEX_MAX;
	rig_start(g, 1, &s);
	assert_int_equal(raft_load(g->m[1], &(struct raft_entry){.index = RAFT_INDEX_MAX + 1, .term = 2}),
			 -EINVAL);
	rig_free(g);
}

static void odd_messages(void **state)
{
	struct rig *g = rig_new(3);
	struct raft_message m = {.kind = RAFT_MSG_TIMEOUT_NOW, .from = 1, .to = 4, .term = 2};
	rig_elect(g, 1);
	assert_int_equal(rig_change(g, 1, RAFT_ADD_LEARNER, 4), 0);
	rig_flush(g);
	rig_start(g, 4, &(struct raft_start){.hard = {0}});
	rig_timeout(g, 1);
	rig_flush(g);
	rig_timeout(g, 1);
	rig_flush(g);
	g->trace[0] = 0;
	assert_int_equal(rig_deliver(g, &m), 0); /* a learner does not campaign, whoever asks */
	g->now += 9000 * MS;
	assert_int_equal(rig_step(g, 4, &(struct raft_event){.kind = RAFT_TIMEOUT}), 0);
	m.to = 1;
	m.from = 2;
	assert_int_equal(rig_deliver(g, &m), 0); /* nor does a leader */
	rig_expect(g, "");
	/* Votes of nobody, of too early, of another kind. */
	g->lazy[2] = true;
	rig_timeout(g, 2);
	m = (struct raft_message){.kind = RAFT_MSG_PRE_VOTE_RESP, .from = 77, .to = 2, .term = 3};
	assert_int_equal(rig_deliver(g, &m), 0);
	m.from = 3;
	m.term = 2; /* of an older campaign */
	assert_int_equal(rig_deliver(g, &m), 0);
	assert_int_equal(raft_status(g->m[2]).role, RAFT_PRE_CANDIDATE);
	m.term = 3;
	assert_int_equal(rig_deliver(g, &m), 0);
	assert_int_equal(raft_status(g->m[2]).role, RAFT_CANDIDATE);
	m.kind = RAFT_MSG_VOTE_RESP;
	assert_int_equal(rig_deliver(g, &m), 0); /* it has not asked yet */
	m.kind = RAFT_MSG_PRE_VOTE_RESP;
	m.term = 4;
	assert_int_equal(rig_deliver(g, &m), 0);
	assert_int_equal(raft_status(g->m[2]).role, RAFT_CANDIDATE);
	/* A snapshot of a leader of a later term. */
	struct raft_snapshot s = {50, 4, {2, {{2, false}, {3, false}}}};
	m = (struct raft_message){.kind = RAFT_MSG_SNAPSHOT, .from = 3, .to = 2, .term = 5, .snapshot = &s};
	g->lazy[2] = false;
	assert_int_equal(rig_deliver(g, &m), 0);
	assert_int_equal(raft_status(g->m[2]).commit, 50);
	assert_int_equal(raft_status(g->m[2]).leader, 3);
	rig_drop(g);
	rig_free(g);
}

/* An acknowledgement is due, but its leader is given up before the write is durable: nobody gets it. */
static void acknowledgement_without_leader(void **state)
{
	struct rig *g = rig_new(3);
	rig_elect(g, 1);
	g->lazy[2] = true;
	assert_int_equal(rig_propose(g, 1, "x"), 0);
	rig_flush(g);
	g->trace[0] = 0;
	rig_timeout(g, 2);
	rig_persist(g, 2);
	rig_expect(g, "2>1 pre-vote t3 3/2\n2>3 pre-vote t3 3/2\n");
	rig_free(g);
}

static void many_reads(void **state)
{
	struct rig *g = rig_new(3);
	rig_elect(g, 1);
	rig_isolate(g, 1, true);
	struct raft_message m = {.kind = RAFT_MSG_READ_INDEX, .from = 2, .to = 1};
	for (uint64_t i = 0; i < RAFT_READS_MAX; i++) {
		m.context = i;
		assert_int_equal(rig_deliver(g, &m), 0);
	}
	assert_int_equal(rig_deliver(g, &m), -EBUSY);
	assert_int_equal(rig_read(g, 1, 1), -EBUSY);
	rig_drop(g);
	rig_isolate(g, 1, false);
	rig_timeout(g, 1);
	rig_deliver_first(g);
	g->trace[0] = 0;
	rig_deliver_first(g);
	while (strlen(g->trace) < 1000 && g->queued)
		rig_deliver_first(g);
	/* More answers than messages fit into a step: who gets none asks again. */
	assert_int_equal(g->ready[1].message_count, RAFT_MESSAGES_MAX);
	rig_drop(g);
	m.to = 2;
	m.from = 3;
	assert_int_equal(rig_deliver(g, &m), 0); /* not the leader */
	rig_free(g);
}

static void many_entries(void **state)
{
	struct rig *g = rig_new(3);
	struct raft_entry e[40] = {{.len = 0}};
	struct raft_event v = {.kind = RAFT_PROPOSE, .propose = {e, 40}};
	rig_elect(g, 1);
	rig_isolate(g, 1, true);
	int n = 0;
	while (rig_step(g, 1, &v) == 0)
		n++;
	assert_int_equal(n, 1024 / 2 / 40); /* half of the log is for what is not committed */
	rig_free(g);
	/* Changes have room when proposals have none, but not for ever. */
	g = rig_new(1);
	g->config.entry_bytes_max = 16;
	g->m[1] = raft_free(g->m[1]);
	rig_start(g, 1, &(struct raft_start){{1, 0, 1}, {1, 1, {1, {{1, false}}}}, 0, 0});
	rig_elect(g, 1);
	v.propose.count = 1;
	while (rig_step(g, 1, &v) == 0)
		;
	v = (struct raft_event){.kind = RAFT_CHANGE, .change = {RAFT_ADD_LEARNER, 2, "0123456789ab", 12}};
	assert_int_equal(rig_step(g, 1, &v), -EBUSY); /* longer than an entry may be */
	v.change.context_len = 4;
	for (n = 0; rig_step(g, 1, &v) == 0; n++)
		v.change.kind = v.change.kind == RAFT_REMOVE ? RAFT_ADD_LEARNER : RAFT_REMOVE;
	assert_int_equal(n, RAFT_SPARE_ENTRIES);
	rig_free(g);
}

/* One step sends no more appends than it has room for; the rest follows with the answers. */
static void many_appends(void **state)
{
	struct rig *g = rig_new(5);
	struct raft_entry e[200] = {{.len = 0}};
	static const char bytes[64];
	for (int i = 0; i < 200; i++)
		e[i] = (struct raft_entry){.len = 64, .data = bytes};
	g->config.message_bytes_max = 64;
	g->config.inflight_max = 64;
	g->m[1] = raft_free(g->m[1]);
	rig_start(g, 1,
		  &(struct raft_start){
			  {1, 0, 1},
			  {1, 1, {5, {{1, false}, {2, false}, {3, false}, {4, false}, {5, false}}}},
			  0,
			  0});
	rig_elect(g, 1);
	g->lazy[1] = true;
	assert_int_equal(rig_step(g, 1, &(struct raft_event){.kind = RAFT_PROPOSE, .propose = {e, 200}}), 0);
	assert_int_equal(g->ready[1].message_count, RAFT_APPENDS_MAX);
	for (int i = 0; i < 30; i++) {
		rig_flush(g);
		rig_timeout(g, 1);
	}
	rig_flush(g);
	assert_int_equal(raft_status(g->m[5]).last, 202);
	/* A member that was not heard gets no snapshot until it is. */
	rig_persist(g, 1);
	rig_flush(g);
	rig_isolate(g, 5, true);
	for (int i = 0; i < 24; i++) {
		rig_timeout(g, 1);
		rig_flush(g);
	}
	assert_int_equal(rig_index(g, 1, RAFT_SNAPSHOT_TAKEN, 202), 0);
	assert_int_equal(rig_index(g, 1, RAFT_COMPACT, 202), 0);
	assert_int_equal(rig_step(g, 1, &(struct raft_event){.kind = RAFT_UNREACHABLE, .peer = 5}), 0);
	g->m[1]->peers[4].progress.match = 0;
	g->m[1]->peers[4].progress.next = 1;
	g->trace[0] = 0;
	assert_int_equal(rig_step(g, 1, &(struct raft_event){.kind = RAFT_PROPOSE, .propose = {e, 1}}), 0);
	assert_null(strstr(g->trace, "1>5"));
	rig_free(g);
}

static void words(void **state)
{
	assert_string_equal(raft_message_word(RAFT_MSG_APPEND), "append");
	assert_string_equal(raft_message_word(99), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(configs),
		cmocka_unit_test(loading),
		cmocka_unit_test(bad_messages),
		cmocka_unit_test(bad_snapshots),
		cmocka_unit_test(broken_promises),
		cmocka_unit_test(lower_terms),
		cmocka_unit_test(proposals),
		cmocka_unit_test(full_follower),
		cmocka_unit_test(wishes),
		cmocka_unit_test(members),
		cmocka_unit_test(change_codec),
		cmocka_unit_test(foreign_changes),
		cmocka_unit_test(hints),
		cmocka_unit_test(progress),
		cmocka_unit_test(log_cuts),
		cmocka_unit_test(words),
		cmocka_unit_test(full_log_cannot_lead),
		cmocka_unit_test(odd_messages),
		cmocka_unit_test(acknowledgement_without_leader),
		cmocka_unit_test(many_reads),
		cmocka_unit_test(many_entries),
		cmocka_unit_test(many_appends),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
