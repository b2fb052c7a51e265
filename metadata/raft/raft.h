/*
 * raft - the consensus core: one member of one group, as a function from an event to what must be done about it.
 *
 * The core decides; it knows no clock, socket, disk, thread or lock, and allocates only in raft_new(). Its driver hands it
 * one event at a time (a message, a write that became durable, a timeout, a client's wish) with the time it happened at,
 * and carries out the struct raft_ready that comes back. The same objects run in the server and in the simulator.
 *
 * Sources, quoted at the rules below as [O n] and [E]:
 *   [O n] D. Ongaro, "Consensus: Bridging Theory and Practice", Stanford 2014, section n.
 *   [E]   etcd's raft (go.etcd.io/raft/v3), whose message kinds, their fields and their meaning are followed, so that
 *         both can be members of one group.
 *
 * The promises, all of which raft_check() and the simulator assert:
 *   - At most one leader a term; a member votes once a term and its vote is durable before it is told [O 3.4].
 *   - No message leaves that states what is not durable here: votes, acknowledgements, even the term of a message. So
 *     a driver may send everything in a struct raft_ready at once. The leader sends entries before its own
 *     write is durable but does not count itself until it is [O 10.2.1].
 *   - Only an entry of the own term is committed by counting [O 3.6.2]; what was committed is never cut.
 *   - Nothing is handed out for application before it is committed and durable on this member.
 *   - A leader appends an empty entry first [O 6.4]; reads and membership changes wait until it is committed.
 *   - One membership change at a time, one member each [O 4.1]. It takes effect when its entry is known to be committed,
 *     as in [E] (not when appended, as in [O]); docs/decisions/0020 says why both together would not be safe.
 *   - Whatever stands in a message is checked; a bad one is answered with an error and changes nothing.
 *
 * Threads: one thread owns a struct raft. Memory: raft_new() allocates all of it. docs/raft.md draws the whole.
 */
#ifndef METADATA_RAFT_RAFT_H
#define METADATA_RAFT_RAFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/attr.h"

#define RAFT_MEMBERS_MAX  16u  /* voters and learners of one group */
#define RAFT_INFLIGHT_MAX 64u  /* appends on their way to one member */
#define RAFT_READS_MAX    256u /* reads that wait for one leader; a driver joins those of its clients */
#define RAFT_MESSAGES_MAX 64u  /* messages out of one step */
#define RAFT_INDEX_MAX    (1ULL << 62)    /* of an entry; larger ones are refused */
#define RAFT_NOBODY       0ULL            /* no member has this id */
#define RAFT_CONTEXT_MAX  256u            /* bytes of a change's context */
#define RAFT_CONF_BYTES   (3u * 11u + 3u) /* the longest encoded change without context */
#define RAFT_ENTRIES_MAX  1024u           /* entries of one append */
#define RAFT_FORCED       1ULL /* .context of a vote request after TIMEOUT_NOW: no lease holds it back [O 4.2.3] */
#define RAFT_LOST         1ULL /* .context of a rejection: this member lost entries it once acknowledged */

/* ---- entries and membership ---- */

enum raft_entry_kind { RAFT_NORMAL = 0, RAFT_CONF = 1 }; /* as raftpb.EntryType [E] */

/* One entry of the log. Its bytes are borrowed: those in an event until raft_step() returns (the core copies them),
 * those that come out of the core as raft_entry() says. */
struct raft_entry {
	uint64_t index, term; /* both from 1; ignored in a proposal */
	uint32_t kind;        /* enum raft_entry_kind */
	uint32_t len;
	const void *data; /* NULL only where len is 0 */
};

struct raft_member {
	uint64_t id;
	bool learner; /* gets the log, has no vote [O 4.2.1] */
};

/* Who is in the group, by rising id. */
struct raft_members {
	uint32_t count;
	struct raft_member m[RAFT_MEMBERS_MAX];
};

/* A change by one member, the data of a RAFT_CONF entry: encoded as raftpb.ConfChange [E] (protobuf: 1 id, 2 type, 3
 * node_id, 4 context). */
enum raft_change_kind { RAFT_ADD_VOTER = 0, RAFT_REMOVE = 1, RAFT_ADD_LEARNER = 3 };

struct raft_change {
	uint32_t kind; /* enum raft_change_kind; ADD_VOTER of a learner promotes it */
	uint64_t member;
	const void *context; /* the driver's (an address); borrowed, may be NULL */
	uint32_t context_len;
};

/* Up to where the state was written to a snapshot, and the membership as of that very entry. */
struct raft_snapshot {
	uint64_t index, term;
	struct raft_members members;
};

/* What must survive a restart beside the entries. commit may lag behind what was known [E]; term and vote may not. */
struct raft_hard {
	uint64_t term, vote, commit;
};

/* ---- messages ---- */

/* Kinds and numbers of raftpb.MessageType [E]; those that [E] uses only inside a process are no messages here. */
enum raft_message_kind {
	RAFT_MSG_APPEND = 3,      /* term, index and log_term of the entry before, entries, commit */
	RAFT_MSG_APPEND_RESP = 4, /* term, index; reject, reject_hint, log_term, context (RAFT_LOST) */
	RAFT_MSG_VOTE = 5,        /* term, index and log_term of the last entry, context (RAFT_FORCED) */
	RAFT_MSG_VOTE_RESP = 6,   /* term, reject */
	RAFT_MSG_SNAPSHOT = 7, /* term, snapshot; the state itself goes another way, see RAFT_SNAPSHOT_SENT */
	RAFT_MSG_HEARTBEAT = 8,        /* term, commit (no more than the receiver has), context (the round) */
	RAFT_MSG_HEARTBEAT_RESP = 9,   /* term, context as received */
	RAFT_MSG_TIMEOUT_NOW = 14,     /* term: campaign at once [O 3.10] */
	RAFT_MSG_READ_INDEX = 15,      /* context: a member's read, to the leader; term 0 */
	RAFT_MSG_READ_INDEX_RESP = 16, /* term, context as asked, index */
	RAFT_MSG_PRE_VOTE = 17,        /* as VOTE, with the term the sender would have [O 9.6] */
	RAFT_MSG_PRE_VOTE_RESP = 18,   /* term as asked, or the own one with reject */
};

struct raft_message {
	uint32_t kind; /* enum raft_message_kind */
	bool reject;
	uint64_t from, to, term;
	uint64_t log_term, index, commit, reject_hint, context;
	const struct raft_entry *entries; /* APPEND: index + 1 and on */
	uint32_t count;
	const struct raft_snapshot *snapshot; /* SNAPSHOT only, else NULL */
};

/* ---- events ---- */

enum raft_event_kind {
	RAFT_TIMEOUT,        /* raft_deadline() came */
	RAFT_MESSAGE,        /* .message came; its sender's identity was proved by the transport */
	RAFT_PERSISTED,      /* the batch .batch, as a ready gave it, is durable, and so are all before it */
	RAFT_PROPOSE,        /* .propose: append these */
	RAFT_CHANGE,         /* .change: change the membership */
	RAFT_READ,           /* .read: say when a state is new enough to answer read .read */
	RAFT_TRANSFER,       /* .peer: make that voter the leader [O 3.10] */
	RAFT_SNAPSHOT_TAKEN, /* .index: a snapshot of the state at .index is durable on this member */
	RAFT_COMPACT,        /* .index: forget entries up to .index, which a snapshot holds */
	RAFT_SNAPSHOT_SENT,  /* .sent: how handing a snapshot to .sent.peer ended */
	RAFT_UNREACHABLE,    /* .peer: appends to it may have been lost; probe instead of stream */
};

/* Names what a ready handed out for writing; given back as it is. */
struct raft_batch {
	uint64_t number; /* from 1, rising by one */
	uint64_t last;   /* last index of the log when the batch was made */
};

struct raft_event {
	enum raft_event_kind kind;
	int64_t now_ns; /* the member's monotonic clock; one that steps back stands still instead */
	union {
		const struct raft_message *message; /* borrowed */
		struct raft_batch batch;
		struct {
			const struct raft_entry *entries; /* borrowed; all are appended, or none */
			uint32_t count;
		} propose;
		struct raft_change change;
		uint64_t read; /* the driver's name for it; any value */
		uint64_t peer;
		uint64_t index;
		struct {
			uint64_t peer;
			bool failed;
		} sent;
	};
};

/* ---- what must be done ---- */

/* A read is over. status 0: answer from a state that has applied .index or more; -EAGAIN: leadership ended or is not
 * there yet, ask again. */
struct raft_read {
	uint64_t read, index;
	int status;
};

struct raft_ready {
	/* Write to the log, in order: the end of the log is cut before .first (where that is not past the end), .restore if
	 * any replaces all of it, then come .hard and the entries .first to .last. Report batch by RAFT_PERSISTED once
	 * durable; until then more readies may come, whose batches are written behind it. */
	struct raft_batch batch; /* number 0: nothing to write */
	struct raft_hard hard;   /* always as it is now */
	uint64_t first, last;    /* first > last: no entries */
	/* The state must become that of this snapshot, which its sender handed over before its message was delivered; it
	 * must be durable before the batch is. NULL: none. */
	const struct raft_snapshot *restore;

	/* Send, in any order; all may go before the batch is durable. What they point to is good until the next step. */
	const struct raft_message *messages;
	uint32_t message_count;

	/* Apply, in order: apply_first to apply_last; first > last: nothing. */
	uint64_t apply_first, apply_last;

	const struct raft_read *reads;
	uint32_t read_count;

	/* RAFT_PROPOSE, RAFT_CHANGE: the index of the first new entry, else 0. The term is hard.term. A proposal is done when
	 * an entry of that index and term is handed out for application, lost when one of another term is. */
	uint64_t proposed;
};

/* ---- the core ---- */

struct raft_config {
	uint64_t id;              /* never used before by a disk that forgot it [reference 2.2] */
	int64_t election_ns;      /* without a leader for this long up to twice as long: campaign [O 3.4] */
	int64_t heartbeat_ns;     /* less than half of election_ns */
	uint32_t log_entries_max; /* a power of two; half of it is for what is not committed */
	uint32_t entry_bytes_max; /* of one entry */
	uint64_t log_bytes_max;   /* of all entries' data; at least 4 * entry_bytes_max */
	uint64_t
		uncommitted_bytes_max; /* of what is not committed yet, at most half of log_bytes_max; beyond: -EBUSY */
	uint32_t message_bytes_max;  /* of the entries in one append; one entry goes whatever its size */
	uint32_t inflight_max;       /* appends to one member, at most RAFT_INFLIGHT_MAX */
	uint64_t inflight_bytes_max; /* of the entries in them */
	uint64_t seed;               /* of the random part of timeouts */
};

/* What a disk remembers, as recovery read it; the entries follow by raft_load(). All zero: a new disk, which joins a group
 * by the snapshot a leader gives it. A group is born by the same snapshot (index 1, term 1, its members, an empty
 * state) and the hard state {1, 0, 1} on each of its first disks. */
struct raft_start {
	struct raft_hard hard;
	struct raft_snapshot snapshot; /* index 0: none, and no members */
	/* Not 0: the disk lost entries that it had acknowledged; its log had ended in this index and term. The member then
	 * neither votes nor campaigns until a leader has made its log as complete as that. */
	uint64_t lost_to, lost_term;
};

enum raft_role { RAFT_FOLLOWER, RAFT_PRE_CANDIDATE, RAFT_CANDIDATE, RAFT_LEADER };

struct raft;

/* Makes a member at time @now_ns. 0 and hands *ret to the caller, who ends it with raft_free(); -EINVAL: a limit or @start
 * contradicts itself; -ENOMEM. */
MUST_CHECK int raft_new(const struct raft_config *c, const struct raft_start *start, int64_t now_ns,
			struct raft **ret);

/* Frees @r (NULL is fine), returns NULL. */
struct raft *raft_free(struct raft *r);
DEFINE_CLEANUP(struct raft *, raft_free)

/* Adds a durable entry while starting, before the first step: index last + 1. 0; -EINVAL: not the next one, or its term
 * falls or is above the hard state's; -EBUSY: the log is full. */
MUST_CHECK int raft_load(struct raft *r, const struct raft_entry *e);

/* Takes one event. *ret is always filled and must be carried out, also where an error comes back. 0, or
 *   -EINVAL  the event or message is malformed, or names nobody and nothing known
 *   -EPROTO  a message that no correct group sends (a second leader in a term, a cut below what is committed): log it
 *   -EPERM   only a leader can
 *   -EBUSY   a limit is reached, a change or transfer is under way, or the term's first entry is not committed yet
 *   -EEXIST  RAFT_CHANGE: it is so already
 * and then no entry was taken and nothing was committed; of a message with -EPROTO the term may have been joined. */
MUST_CHECK int raft_step(struct raft *r, const struct raft_event *e, struct raft_ready *ret);

/* When to step RAFT_TIMEOUT next, on the clock of now_ns; INT64_MAX: never, as things stand. */
int64_t raft_deadline(const struct raft *r);

/* The entry at @index, NULL where the log has none. Its data stays in place until it is cut (an uncommitted one by the
 * next step) or compacted; the struct itself until the next step. */
const struct raft_entry *raft_entry(const struct raft *r, uint64_t index);

struct raft_status {
	uint64_t id, term, vote, leader; /* leader: RAFT_NOBODY where unknown */
	enum raft_role role;
	uint64_t first, last;            /* of the entries in memory; first > last: none */
	uint64_t stable, commit, handed; /* durable here; known to be committed; handed out for application */
	uint64_t snapshot_index;
	uint64_t
		members_index; /* the entry that made the membership, 0: the first one, or that of the snapshot */
	bool repairing;        /* see lost_to */
	uint64_t transferee; /* a transfer is under way to it */
};

/* How things stand. */
struct raft_status raft_status(const struct raft *r);

/* The membership in effect. */
void raft_members(const struct raft *r, struct raft_members *ret);

/* The membership as of @index, which must be at or above the latest snapshot's and at most commit: -EINVAL. */
MUST_CHECK int raft_members_at(const struct raft *r, uint64_t index, struct raft_members *ret);

/* How far a leader knows @peer to be: the last index it acknowledged. -EPERM, -EINVAL (not a member). */
MUST_CHECK int raft_progress(const struct raft *r, uint64_t peer, uint64_t *ret_match);

/* Decodes the data of a RAFT_CONF entry; *ret borrows from it. 0 or -EINVAL. */
MUST_CHECK int raft_change_decode(const void *data, size_t len, struct raft_change *ret);

/* Encodes @c into @out of RAFT_CONF_BYTES + c->context_len bytes; returns the bytes used. */
size_t raft_change_encode(const struct raft_change *c, uint8_t *out);

/* A word for a message kind, for logs and traces: "append". Never NULL. */
const char *raft_message_word(uint32_t kind);

/* Aborts if an invariant is broken. Tests and the simulator call it after every step. */
void raft_check(const struct raft *r);

#endif
