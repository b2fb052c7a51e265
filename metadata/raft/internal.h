/*
 * internal - the one struct of the core, and what its files ask of each other. Each function says which file has it by
 * the section it stands in. Nothing outside metadata/raft includes this but its tests.
 */
#ifndef METADATA_RAFT_INTERNAL_H
#define METADATA_RAFT_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/rng.h"
#include "metadata/raft/log.h"
#include "metadata/raft/mutant.h"
#include "metadata/raft/progress.h"
#include "metadata/raft/raft.h"

#define RAFT_SPARE_ENTRIES \
	64u /* places of the log that proposals leave to elections and membership changes */
#define RAFT_APPENDS_MAX \
	32u /* appends out of one step; the rest of the messages has room for all members, twice */

enum raft_vote { RAFT_VOTE_NONE, RAFT_VOTE_YES, RAFT_VOTE_NO };

/* One member as this one sees it: the membership for all, progress and vote for leader and candidate. */
struct raft_peer {
	uint64_t id;
	bool learner;
	enum raft_vote vote;
	struct raft_progress progress;
};

struct raft_read_wait {
	uint64_t read, from; /* from: who asked; this member's own id for its driver */
	uint64_t index;      /* 0: not known before an entry of this term is committed */
	uint64_t round;      /* the heartbeat round that must be confirmed */
};

struct raft {
	struct raft_config c;
	struct rng rng;
	int64_t now;

	/* Term and vote as they are, and the batch that made them durable. */
	uint64_t term, vote;
	bool hard_dirty;     /* not handed out for writing yet */
	uint64_t hard_batch; /* the batch that has them */
	bool commit_due; /* a change took effect: that it did must outlive a restart soon, not before anything is said */
	uint64_t batch, batch_done;

	enum raft_role role;
	uint64_t leader;
	int64_t election_at; /* all but leaders: when to campaign */
	int64_t heard_at;    /* followers: when the leader was last heard */

	struct raft_log log;
	struct raft_peer peers[RAFT_MEMBERS_MAX]; /* by rising id */
	uint32_t peer_count;
	uint64_t members_index;
	struct raft_snapshot snap; /* the latest */
	bool restore_due;          /* snap came from a leader and is not handed out yet */
	uint64_t restore_batch;    /* nothing is acknowledged before it is durable */

	/* Answers that wait until what they say is durable. */
	uint64_t matched; /* the log agrees with this term's leader up to here */
	bool ack_due;
	uint64_t vote_due; /* the candidate that gets the vote, RAFT_NOBODY: none */
	bool requests_due; /* a candidate's own requests */
	bool forced;       /* ... and they say RAFT_FORCED */

	/* Lost entries, see raft_start. */
	uint64_t lost_to, lost_term;

	/* Leaders only. */
	int64_t heartbeat_at, quorum_at, transfer_at;
	uint64_t term_start;     /* index of the first entry of this term */
	uint64_t pending_change; /* no change may be proposed before this index is committed */
	uint64_t uncommitted_bytes;
	uint64_t transferee;
	uint64_t round, round_confirmed; /* of heartbeats */
	struct raft_read_wait reads[RAFT_READS_MAX];
	uint32_t read_count;

	/* What the step in progress hands out. */
	struct raft_message messages[RAFT_MESSAGES_MAX];
	struct raft_message sink; /* takes what does not fit; a lost message is nothing new */
	uint32_t message_count;
	struct raft_read reads_done[RAFT_READS_MAX];
	uint32_t read_done_count;
	uint64_t proposed;
};

/* ---- raft.c ---- */

/* A message to @to of the current term, to be filled in. */
struct raft_message *raft_send(struct raft *r, uint32_t kind, uint64_t to);

/* Whether term and vote are durable as they are. */
bool raft_hard_is_durable(const struct raft *r);

/* Hands a finished read to the driver. */
void raft_read_done(struct raft *r, uint64_t read, uint64_t index, int status);

/* ---- validate.c ---- */

/* 0 or -EINVAL: @m could not have been sent by a correct member of any group to this one. */
MUST_CHECK int raft_validate(const struct raft *r, const struct raft_message *m);

/* ---- election.c ---- */

/* Follows @leader (RAFT_NOBODY: unknown) in @term, which is not lower than now. */
void raft_become_follower(struct raft *r, uint64_t term, uint64_t leader);

/* The election timeout ran out, or @forced: a leader asked for it. */
void raft_campaign(struct raft *r, bool forced);

/* Whether this member may lead: a voter that knows all it ever acknowledged. */
bool raft_is_promotable(const struct raft *r);

/* Whether a vote for somebody else has to wait: a leader was heard within an election timeout [O 6.4.1, 4.2.3]. */
bool raft_is_in_lease(const struct raft *r);

/* Term and vote became durable: what waited for that. */
void raft_election_persisted(struct raft *r);

/* Handlers of messages, of the right term. */
void raft_on_vote_request(struct raft *r, const struct raft_message *m);
void raft_on_vote_response(struct raft *r, const struct raft_message *m);

/* Starts the wait for a leader anew, with a random length. */
void raft_restart_election_timer(struct raft *r);

/* ---- append.c: the follower's side ---- */

/* Handlers of a leader's messages. 0 or -EPROTO. */
MUST_CHECK int raft_on_append(struct raft *r, const struct raft_message *m);
MUST_CHECK int raft_on_heartbeat(struct raft *r, const struct raft_message *m);

/* The log agrees with the leader's up to @index, which is at most last: say so, now or once it is durable. */
void raft_acknowledge(struct raft *r, uint64_t index);

/* Something became durable: acknowledges what waits for it. */
void raft_append_persisted(struct raft *r);

/* ---- replication.c: the leader's side ---- */

/* Sends @p what it lacks, as far as its window goes; an empty append if there is nothing and @even_empty. */
void raft_replicate(struct raft *r, struct raft_peer *p, bool even_empty);

/* raft_replicate() to all others. */
void raft_replicate_all(struct raft *r, bool even_empty);

/* A heartbeat to all others, which opens a round. */
void raft_heartbeat_all(struct raft *r);

/* A leader's own entries became durable: it counts itself. */
void raft_leader_persisted(struct raft *r);

/* Commits up to @index, at most last. Changes of the membership take effect on the way. */
void raft_commit_to(struct raft *r, uint64_t index);

/* Appends one entry of this term; the caller made sure that it fits. */
void raft_append_own(struct raft *r, const struct raft_entry *e);

/* Handlers. */
void raft_on_append_response(struct raft *r, struct raft_peer *p, const struct raft_message *m);
void raft_on_heartbeat_response(struct raft *r, struct raft_peer *p, const struct raft_message *m);
MUST_CHECK int raft_on_propose(struct raft *r, const struct raft_entry *entries, uint32_t count);
MUST_CHECK int raft_on_transfer(struct raft *r, uint64_t to);
MUST_CHECK int raft_on_unreachable(struct raft *r, uint64_t id);

/* ---- membership.c ---- */

/* The member @id, NULL: none. */
struct raft_peer *raft_peer(struct raft *r, uint64_t id);
const struct raft_peer *raft_peer_const(const struct raft *r, uint64_t id);

/* Puts @members in force as of @index. Progress of those who stay is kept. */
void raft_set_members(struct raft *r, const struct raft_members *members, uint64_t index);

/* The committed entry @e of kind RAFT_CONF takes effect; @index is what is remembered as its place. */
void raft_apply_change(struct raft *r, const struct raft_entry *e, uint64_t index);

/* The largest value that more than half of the voters have reached. */
enum raft_count { RAFT_COUNT_MATCH, RAFT_COUNT_ROUND };
uint64_t raft_quorum_value(const struct raft *r, enum raft_count what);

/* Whether yes-votes (or no-votes, @vote) of voters make a majority. */
bool raft_has_majority(const struct raft *r, enum raft_vote vote);

/* Whether more than half of the voters were heard since this was last asked. Forgets who was. */
bool raft_quorum_is_active(struct raft *r);

/* RAFT_CHANGE. */
MUST_CHECK int raft_on_change(struct raft *r, const struct raft_change *c);

/* Whether @m is one: ids rise and are not 0, at least one votes. */
bool raft_members_are_valid(const struct raft_members *m);

/* ---- reads.c ---- */

/* RAFT_READ, and the same from another member. */
MUST_CHECK int raft_on_read(struct raft *r, uint64_t read);
MUST_CHECK int raft_on_read_request(struct raft *r, const struct raft_message *m);

/* An entry of this term was committed for the first time: reads that wait for that get their index and a round. */
void raft_reads_term_committed(struct raft *r);

/* A round may have been confirmed: hands out what waited for it. */
void raft_reads_confirm(struct raft *r);

/* Leadership ended: all that waits must ask again. */
void raft_reads_fail(struct raft *r);

/* Whether an entry of this term is committed, so that commit is as new as any leader ever said [O 6.4]. */
static inline bool raft_term_is_committed(const struct raft *r)
{
	return r->log.commit >= r->term_start;
}

/* ---- snapshot.c ---- */

/* Handlers. */
MUST_CHECK int raft_on_snapshot(struct raft *r, const struct raft_message *m);
MUST_CHECK int raft_on_snapshot_taken(struct raft *r, uint64_t index);
MUST_CHECK int raft_on_compact(struct raft *r, uint64_t index);
MUST_CHECK int raft_on_snapshot_sent(struct raft *r, uint64_t id, bool failed);

#endif
