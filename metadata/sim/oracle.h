/*
 * oracle - sees all members at once and knows what none of them can: what is committed, who leads, who voted for whom, what
 * the disks hold. It believes nothing a member says without comparing. Invariants of reference/metadata.md 5.3.
 */
#ifndef METADATA_SIM_ORACLE_H
#define METADATA_SIM_ORACLE_H

#include <stdbool.h>
#include <stdint.h>

#include "metadata/raft/raft.h"

#define ORACLE_TERMS    65536u /* the latest so many terms */
#define ORACLE_ENTRIES  65536u /* the latest so many appended entries */
#define WITNESS_BATCHES 256u
#define STATE_KEYS      4u

/* A replica's state: registers, and a hash over all that was ever applied. */
struct state {
	uint64_t index, term, hash;
	uint64_t values[STATE_KEYS];
};

/* The data of an entry that a client proposed. */
struct command {
	uint64_t request, key, value;
};

/* One committed entry. */
struct fact {
	uint64_t term, hash;
	uint64_t state_hash; /* after it; 0: nobody applied it yet */
	uint64_t in_term;    /* of the leader that committed it */
	bool is_change;
};

/* A membership, as of a committed change. */
struct roll {
	uint64_t index;
	struct raft_members members;
};

/* What the oracle keeps about one member. */
struct witness {
	uint64_t commit, applied, members_index, term;
	enum raft_role role;
	struct raft_hard hard;                      /* durable on its disk */
	uint64_t durable_last;                      /* entries up to here are durable as the core has them */
	struct raft_batch batches[WITNESS_BATCHES]; /* written, not durable: .last */
	uint64_t firsts[WITNESS_BATCHES];
	struct raft_hard hards[WITNESS_BATCHES];
	uint32_t batch_count;
};

struct voted {
	uint64_t term, voter, candidate;
};

struct oracle {
	struct fact *facts;   /* [index] */
	uint64_t count, room; /* indices 0 to count - 1 are known */
	struct roll *rolls;
	uint32_t roll_count, roll_room;
	uint64_t leader_of[ORACLE_TERMS][2]; /* term, leader */
	struct voted votes[ORACLE_TERMS];
	struct {
		uint64_t index, term, before, hash;
	} entries[ORACLE_ENTRIES];
};

struct sim;
struct node;

/* A group is born with @members. */
void oracle_begin(struct sim *s, const struct raft_members *members);

/* Frees what is in it. */
void oracle_done(struct oracle *o);

/* A process started with what it read from its disk. */
void oracle_started(struct sim *s, struct node *n);

/* A step of @n is over, and @d is to be carried out. */
void oracle_stepped(struct sim *s, struct node *n, const struct raft_ready *d);

/* The sync that covers @batch ended. */
void oracle_synced(struct node *n, const struct raft_batch *batch);

/* @n applied @e; its state is n->state. */
void oracle_applied(struct sim *s, struct node *n, const struct raft_entry *e);

/* @n took over a snapshot; its state is n->state. */
void oracle_restored(struct sim *s, struct node *n);

/* The newest committed membership. */
const struct raft_members *oracle_members(const struct oracle *o);

/* The index of the change that made it. */
uint64_t oracle_members_index(const struct oracle *o);

/* Highest committed index. */
uint64_t oracle_commit(const struct oracle *o);

/* Whether @n's disk holds all that is committed. */
bool oracle_has_all(const struct sim *s, const struct node *n);

/* A hash of an entry's content. */
uint64_t oracle_hash(const struct raft_entry *e);

#endif
