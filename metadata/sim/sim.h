/*
 * sim - a whole group of masters in one thread, in virtual time: the core, the log on disk and a small state machine of each
 * member, run by a shell as the server's is, over a network, disks and clocks that fail as a seed says. One seed gives one
 * history, step for step.
 *
 *   main.c     options, one run after the other
 *   run.c      the order of events; storms and the calm after each
 *   node.c     the shell: carries out what the core says; start, crash, snapshots
 *   net.c      messages under way
 *   fate.c     what fails, and when; who joins and leaves
 *   client.c   reads and writes, and what they were told
 *   history.c  whether that is linearizable
 *   oracle.c   what must hold between members, after every step
 */
#ifndef METADATA_SIM_SIM_H
#define METADATA_SIM_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/rng.h"
#include "metadata/raft/raft.h"
#include "metadata/sim/disk.h"
#include "metadata/sim/history.h"
#include "metadata/sim/oracle.h"
#include "metadata/wal/wal.h"

#define SIM_NODES   8u /* disks at a time; ids are many more */
#define SIM_KEYS    4u
#define SIM_CLIENTS 16u
#define SIM_BATCH   3u /* writes of one proposal */
#define SIM_MS      1000000LL
#define SIM_NOBODY  UINT32_MAX

/* How often what goes wrong; of 1000 messages, or of 1000 ticks of fate (one every 20 ms). */
struct profile {
	const char *name;
	uint32_t drop, dup, slow;              /* messages: lost, doubled, late by up to 300 ms */
	uint32_t partition, one_way;           /* begin: some nodes from others; one direction of one link */
	uint32_t kill, power, disk_slow, full; /* of a random node */
	uint32_t wound;                        /* rot, a write that goes astray, a lost disk: one at a time */
	uint32_t churn, transfer, clock;
	uint32_t ambush; /* of 1000 elections: the new leader is killed or cut off within milliseconds */
};

struct stored_snapshot {
	struct raft_snapshot meta; /* index 0: none */
	struct state state;
};

/* A message on its way, in one allocation with all it points to. */
struct parcel {
	struct raft_message m;
	struct raft_snapshot meta;
	struct state state; /* with SNAPSHOT */
	uint64_t sender_epoch;
	struct raft_entry entries[];
};

struct node {
	uint32_t slot;
	uint64_t id; /* 0: no disk here */
	bool up;
	uint64_t epoch; /* one a process; what an older one began is void */
	struct raft *core;
	struct wal *wal;
	struct disk disk;
	struct stored_snapshot snapshot, taking;
	bool is_taking;
	struct state state;

	/* The sync in progress and what it covers. */
	bool syncing;
	struct raft_batch written, covered;
	uint64_t slow; /* syncs take so many times as long */

	/* The clock: local = local0 + (t - t0) * (1000 + rate) / 1000. */
	int64_t t0, local0, rate;
	int64_t timer_at; /* the earliest timer event that is queued */

	bool wounded;      /* something it had made durable may be gone */
	bool wound_is_old; /* ... and it has started since */
	struct witness w;
};

enum sim_event_kind {
	SIM_DELIVER,
	SIM_TIMER,
	SIM_SYNCED,
	SIM_SNAPSHOT,
	SIM_SENT,
	SIM_START,
	SIM_AMBUSH,
	SIM_CLIENT,
	SIM_FATE
};

struct sim_event {
	int64_t at;
	uint64_t order; /* among those at the same time */
	enum sim_event_kind kind;
	uint32_t slot; /* node or client */
	uint64_t epoch;
	union {
		struct parcel *parcel;
		struct {
			uint64_t peer;
			bool failed;
		} sent;
	};
};

enum sim_client_kind { CLIENT_IDLE, CLIENT_WRITES, CLIENT_READS };

struct client {
	enum sim_client_kind kind;
	uint32_t slot; /* asked */
	uint64_t epoch;
	uint64_t number;      /* of the request */
	uint64_t index, term; /* WRITES: of the first entry */
	uint32_t count;
	uint64_t read_index; /* READS: 0: not told yet */
	uint32_t key[SIM_BATCH];
	uint64_t value[SIM_BATCH];
	uint32_t op[SIM_BATCH]; /* in the history of its key */
	int64_t started;
};

struct sim {
	uint64_t seed;
	struct profile p;
	struct rng rng;
	int64_t now;
	uint64_t steps; /* messages delivered, I/O completed, timeouts */
	uint64_t order;
	struct sim_event *heap;
	uint32_t heap_count, heap_room;
	const struct parcel *delivering;
	uint64_t trace_from; /* print steps from here; UINT64_MAX: none */
	uint32_t reads;      /* of 1000 requests of this storm */
	bool calm;           /* nothing fails, clients only finish */

	struct node nodes[SIM_NODES];
	uint64_t next_id;
	bool cut[SIM_NODES][SIM_NODES];
	bool is_cut; /* any of them */
	int64_t cut_until;
	struct client clients[SIM_CLIENTS];
	struct history history[SIM_KEYS];
	uint64_t next_value, next_request;
	uint64_t acked_writes, answered_reads, elections, snapshots_sent, changes, wounds, crashes;
	struct oracle oracle;
	char failure[512]; /* empty: all is well */
};

/* Notes the first failure, with time and step. */
void sim_fail(struct sim *s, const char *fmt, ...) PRINTF(2, 3);

static inline bool sim_failed(const struct sim *s)
{
	return s->failure[0] != 0;
}

/* One in a thousand chances. */
static inline bool sim_chance(struct sim *s, uint32_t permille)
{
	return permille && rng_below(&s->rng, 1000) < permille;
}

/* Uniform in [low, high]. */
static inline int64_t sim_between(struct sim *s, int64_t low, int64_t high)
{
	return low + (int64_t)rng_below(&s->rng, (uint64_t)(high - low + 1));
}

/* ---- run.c ---- */

/* Runs @seed under @profile for at least @steps; fills *s, which the caller ends with sim_done(). */
void sim_run(struct sim *s, uint64_t seed, const struct profile *profile, uint64_t steps,
	     uint64_t trace_from);
void sim_done(struct sim *s);

/* Queues *@e, after @delay_ns. */
void sim_schedule(struct sim *s, int64_t delay_ns, const struct sim_event *e);

/* ---- trace.c ---- */

/* Prints a step that was just taken, or what happened to a node, from trace_from on. */
void trace_step(const struct sim *s, const struct node *n, const struct raft_event *e, int rc);
void trace_word(const struct sim *s, const struct node *n, const char *words);

/* ---- profile.c ---- */

/* The profile @name, NULL: none; what a storm gets of it ("mixed" is drawn anew for each); all names. */
const struct profile *profile_find(const char *name);
struct profile profile_draw(const struct profile *p, struct rng *rng);
const char *profile_names(void);

/* ---- node.c ---- */

/* The node with @id, NULL: none has it (any more). */
struct node *sim_node(struct sim *s, uint64_t id);

/* The node that leads in the highest term, NULL: none. */
struct node *sim_leader(struct sim *s);

/* A new disk in @slot: of a first member of the group, or empty. */
void node_make(struct sim *s, uint32_t slot, uint64_t id, const struct raft_members *first);

/* The process starts, reads its disk and goes on. */
void node_start(struct sim *s, struct node *n);

/* The process ends; with @power_cut, what was not synced is lost or torn. */
void node_crash(struct sim *s, struct node *n, bool power_cut);

/* The disk is gone, and with it the member. */
void node_destroy(struct sim *s, struct node *n);

/* Steps the core and carries out what comes back. 0 or what the core said; the process may have crashed meanwhile. */
int node_step(struct sim *s, struct node *n, struct raft_event *e);

/* Events. */
void node_on_timer(struct sim *s, struct node *n);
void node_on_synced(struct sim *s, struct node *n);
void node_on_snapshot(struct sim *s, struct node *n);

/* ---- net.c ---- */

/* @n sends a copy of @m, if fate wills; a parcel arrived, and is freed. */
void net_send(struct sim *s, struct node *n, const struct raft_message *m);
void net_deliver(struct sim *s, struct parcel *p);

/* ---- fate.c ---- */

/* The group is born; 20 ms went by. */
void fate_begin(struct sim *s);
void fate_tick(struct sim *s);

/* Whether the power goes, or the disk fails, at this very moment between two steps of @n's I/O. */
bool fate_strikes(struct sim *s, const struct node *n);

/* @n came to power, and may not enjoy it long: the ambush comes some milliseconds later. */
void fate_on_election(struct sim *s, const struct node *n);
void fate_ambush(struct sim *s, struct node *n);

/* Whether the disks that are left outvote any group that lacks something committed, if that of @n is damaged. */
bool fate_may_wound(struct sim *s, const struct node *n);

/* ---- client.c ---- */

/* All clients begin anew; one has something to do, or has waited long enough. */
void client_begin(struct sim *s);
void client_wake(struct sim *s, uint32_t slot);

/* What a node applied or was told; the clients that wait for that. */
void client_applied(struct sim *s, struct node *n, const struct raft_entry *e);
void client_read_done(struct sim *s, struct node *n, const struct raft_read *r);
void client_state_moved(struct sim *s, const struct node *n);

/* Whether no client waits for anything. */
bool client_all_idle(const struct sim *s);

/* All histories so far must be linearizable; then they begin anew from @state. */
void client_judge(struct sim *s, const struct state *state);

#endif
