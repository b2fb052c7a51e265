/* The shell of one member: what the server's driver does, with events for everything that takes time. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "metadata/sim/sim.h"

#define SNAPSHOT_EVERY 100u /* entries */
#define TRAILING_MAX   40u

struct node *sim_node(struct sim *s, uint64_t id)
{
	for (uint32_t i = 0; i < SIM_NODES; i++)
		if (id && s->nodes[i].id == id)
			return &s->nodes[i];
	return NULL;
}

struct node *sim_leader(struct sim *s)
{
	struct node *best = NULL;
	uint64_t term = 0;

	for (uint32_t i = 0; i < SIM_NODES; i++) {
		if (!s->nodes[i].up)
			continue;
		struct raft_status st = raft_status(s->nodes[i].core);
		if (st.role == RAFT_LEADER && st.term > term) {
			best = &s->nodes[i];
			term = st.term;
		}
	}
	return best;
}

/* ---- time ---- */

static int64_t local_time(const struct sim *s, const struct node *n)
{
	return n->local0 + (s->now - n->t0) * (1000 + n->rate) / 1000;
}

static void set_timer(struct sim *s, struct node *n)
{
	int64_t deadline = raft_deadline(n->core);

	if (deadline == INT64_MAX)
		return;
	int64_t left = (deadline - local_time(s, n)) * 1000 / (1000 + n->rate) + 1;
	int64_t at = s->now + MAX(left, 1);
	if (n->timer_at > s->now && n->timer_at <= at)
		return; /* the one that is queued looks again */
	n->timer_at = at;
	sim_schedule(s, at - s->now,
		     &(struct sim_event){.kind = SIM_TIMER, .slot = n->slot, .epoch = n->epoch});
}

void node_on_timer(struct sim *s, struct node *n)
{
	n->timer_at = 0;
	if (raft_deadline(n->core) > local_time(s, n)) {
		set_timer(s, n);
		return;
	}
	s->steps++;
	(void)node_step(s, n, &(struct raft_event){.kind = RAFT_TIMEOUT});
}

/* ---- the state machine ---- */

static void apply(struct node *n, const struct raft_entry *e)
{
	struct state *st = &n->state;
	struct command c;

	if (e->kind == RAFT_NORMAL && e->len == sizeof c) {
		memcpy(&c, e->data, sizeof c);
		st->values[c.key % STATE_KEYS] = c.value;
	}
	st->hash = (st->hash ^ oracle_hash(e) ^ e->term) * 0x9e3779b97f4a7c15ULL + e->index;
	st->index = e->index;
	st->term = e->term;
}

static void apply_all(struct sim *s, struct node *n, uint64_t first, uint64_t last)
{
	for (uint64_t i = first; i <= last && !sim_failed(s); i++) {
		const struct raft_entry *e = raft_entry(n->core, i);
		apply(n, e);
		oracle_applied(s, n, e);
		client_applied(s, n, e);
	}
	if (first <= last)
		client_state_moved(s, n);
}

static void snapshot_if_due(struct sim *s, struct node *n)
{
	if (n->is_taking || n->state.index < n->snapshot.meta.index + SNAPSHOT_EVERY)
		return;
	n->is_taking = true;
	n->taking.state = n->state;
	n->taking.meta = (struct raft_snapshot){.index = n->state.index, .term = n->state.term};
	if (raft_members_at(n->core, n->state.index, &n->taking.meta.members) != 0)
		sim_fail(s, "node %" PRIu64 " does not know its membership at %" PRIu64, n->id,
			 n->state.index);
	sim_schedule(s, sim_between(s, 1, 100) * SIM_MS,
		     &(struct sim_event){.kind = SIM_SNAPSHOT, .slot = n->slot, .epoch = n->epoch});
}

/* It is written: a file under its final name, durably. */
void node_on_snapshot(struct sim *s, struct node *n)
{
	s->steps++;
	n->is_taking = false;
	if (n->taking.meta.index <= n->snapshot.meta.index)
		return; /* a leader's overtook it */
	n->snapshot = n->taking;
	uint64_t epoch = n->epoch, index = n->snapshot.meta.index;
	int rc = node_step(s, n, &(struct raft_event){.kind = RAFT_SNAPSHOT_TAKEN, .index = index});
	if (rc != 0)
		sim_fail(s, "node %" PRIu64 " refuses its snapshot: %d", n->id, rc);
	if (!n->up || n->epoch != epoch)
		return;
	index -= MIN(index, rng_below(&s->rng, TRAILING_MAX));
	(void)node_step(s, n, &(struct raft_event){.kind = RAFT_COMPACT, .index = index});
	if (n->up && n->epoch == epoch && wal_drop(n->wal, 0, raft_status(n->core).first - 1) != 0)
		node_crash(s, n, false);
}

/* ---- carrying out ---- */

static const struct raft_entry *entry_of(const void *source, uint64_t index)
{
	return raft_entry(source, index);
}

static void start_sync(struct sim *s, struct node *n)
{
	struct wal_sync sync;

	if (n->syncing || !wal_sync_begin(n->wal, &sync))
		return;
	n->syncing = true;
	n->covered = n->written;
	disk_sync_begin(&n->disk, sync.first, sync.last);
	int64_t us = sim_between(s, 100, 3000) * (int64_t)n->slow;
	sim_schedule(s, us * 1000,
		     &(struct sim_event){.kind = SIM_SYNCED, .slot = n->slot, .epoch = n->epoch});
}

static void write_batch(struct sim *s, struct node *n, const struct raft_ready *d)
{
	struct wal_batch b = {
		.hard = d->hard, .first = d->first, .last = d->last, .entry = entry_of, .source = n->core};

	if (d->restore) {
		b.restore_index = d->restore->index;
		b.restore_term = d->restore->term;
	}
	b.repaired = !raft_status(n->core).repairing;
	if (wal_append(n->wal, 0, &b) != 0) {
		node_crash(s, n, false); /* the process ends by its own rule */
		return;
	}
	n->written = d->batch;
	if (fate_strikes(s, n))
		node_crash(s, n, true);
	else
		start_sync(s, n);
}

void node_on_synced(struct sim *s, struct node *n)
{
	struct raft_batch batch = n->covered;

	s->steps++;
	if (fate_strikes(s, n)) { /* the sync fails: the process ends, and nobody knows what the disk holds */
		node_crash(s, n, true);
		return;
	}
	disk_sync_end(&n->disk);
	n->syncing = false;
	if (fate_strikes(s, n)) { /* it did not, but nobody was told */
		node_crash(s, n, true);
		return;
	}
	if (wal_sync_end(n->wal) != 0) {
		node_crash(s, n, false);
		return;
	}
	oracle_synced(n, &batch);
	uint64_t epoch = n->epoch;
	(void)node_step(s, n, &(struct raft_event){.kind = RAFT_PERSISTED, .batch = batch});
	if (n->up && n->epoch == epoch)
		start_sync(s, n);
}

/* The state that came ahead of the message is written and takes the place of the old. */
static void restore(struct sim *s, struct node *n)
{
	n->snapshot.meta = s->delivering->meta;
	n->snapshot.state = n->state = s->delivering->state;
	oracle_restored(s, n);
}

int node_step(struct sim *s, struct node *n, struct raft_event *e)
{
	struct raft_ready d;
	uint64_t epoch = n->epoch;
	bool led = n->w.role == RAFT_LEADER;

	e->now_ns = local_time(s, n);
	int rc = raft_step(n->core, e, &d);
	trace_step(s, n, e, rc);
	oracle_stepped(s, n, &d);
	if (sim_failed(s))
		return rc;
	if (d.restore)
		restore(s, n);
	/* Everything a ready holds may go out before its batch is durable, so the order here is free; the batch comes
	 * last because a failed write ends the process and takes the rest along. */
	for (uint32_t i = 0; i < d.message_count; i++)
		net_send(s, n, &d.messages[i]);
	apply_all(s, n, d.apply_first, d.apply_last);
	for (uint32_t i = 0; i < d.read_count; i++)
		client_read_done(s, n, &d.reads[i]);
	if (d.batch.number)
		write_batch(s, n, &d);
	if (!n->up || n->epoch != epoch)
		return rc;
	if (!led && n->w.role == RAFT_LEADER)
		fate_on_election(s, n);
	snapshot_if_due(s, n);
	set_timer(s, n);
	return rc;
}

/* ---- life ---- */

void node_make(struct sim *s, uint32_t slot, uint64_t id, const struct raft_members *first)
{
	struct node *n = &s->nodes[slot];
	uint64_t epoch = n->epoch;

	memset(n, 0, sizeof *n);
	n->slot = slot;
	n->id = id;
	n->epoch = epoch + 1;
	n->slow = 1;
	n->local0 = sim_between(s, 0, 1000000) * SIM_MS;
	n->t0 = s->now;
	disk_init(&n->disk, &s->rng);
	if (first) {
		n->snapshot.meta = (struct raft_snapshot){1, 1, *first};
		n->snapshot.state = (struct state){.index = 1, .term = 1};
		n->w.hard = (struct raft_hard){1, 0, 1};
	}
	node_start(s, n);
}

static int load(struct node *n)
{
	struct wal_state st = wal_state(n->wal, 0);
	int rc = 0;

	for (uint64_t i = n->snapshot.meta.index + 1; i <= st.last && rc == 0; i++)
		rc = raft_load(n->core, wal_entry(n->wal, 0, i));
	return rc;
}

static int start_core(struct sim *s, struct node *n)
{
	struct wal_state st = wal_state(n->wal, 0);
	struct raft_start start = {st.hard, n->snapshot.meta, st.lost_to, st.lost_term};
	struct raft_config c = {
		.id = n->id,
		.election_ns = 300 * SIM_MS, /* shorter than a server's, for more elections a step */
		.heartbeat_ns = 50 * SIM_MS,
		.log_entries_max = 1024,
		.entry_bytes_max = 128,
		.log_bytes_max = 1 << 15,
		.uncommitted_bytes_max = 4096,
		.message_bytes_max = rng_below(&s->rng, 2) ? 24 : 400, /* one entry, or some */
		.inflight_max = rng_below(&s->rng, 2) ? 1 : 8,
		.inflight_bytes_max = 1024,
		.seed = rng_next(&s->rng),
	};

	if (st.hard.term == 0 && n->snapshot.meta.index == 1)
		start.hard = (struct raft_hard){1, 0, 1}; /* the group is born */
	int rc = raft_new(&c, &start, local_time(s, n), &n->core);
	return rc == 0 ? load(n) : rc;
}

static void start_later(struct sim *s, struct node *n)
{
	sim_schedule(s, sim_between(s, 20, s->calm ? 100 : 1500) * SIM_MS,
		     &(struct sim_event){.kind = SIM_START, .slot = n->slot, .epoch = n->epoch});
}

void node_start(struct sim *s, struct node *n)
{
	struct wal_config c = {.groups = 1, .segment_bytes = DISK_SEGMENT_BYTES, .entries_max = 1024};
	struct wal_position snapshot = {n->snapshot.meta.index, n->snapshot.meta.term};
	struct err err = {0};

	n->epoch++;
	n->state = n->snapshot.state;
	n->syncing = n->is_taking = false;
	n->written = n->covered = (struct raft_batch){0, 0};
	n->timer_at = 0;
	int rc = wal_open(&c, &disk_ops, &n->disk, &snapshot, &n->wal, &err);
	if (rc == 0)
		rc = start_core(s, n);
	if (rc == 0) {
		n->up = true;
		trace_word(s, n, raft_status(n->core).repairing ? "starts, entries are lost" : "starts");
		oracle_started(s, n);
		n->wound_is_old = n->wounded && n->disk.astray == 0;
		rc = wal_begin(n->wal);
	}
	if (rc == -ENOSPC) { /* no room on the disk: try again later */
		node_crash(s, n, false);
		return;
	}
	if (rc != 0) {
		if (!n->wounded)
			sim_fail(s, "node %" PRIu64 " cannot start: %s", n->id, err_words(&err, rc));
		node_destroy(s, n);
		return;
	}
	set_timer(s, n);
}

static void stop(struct node *n)
{
	n->up = false;
	n->epoch++;
	n->core = raft_free(n->core);
	n->wal = wal_free(n->wal);
}

void node_crash(struct sim *s, struct node *n, bool power_cut)
{
	s->crashes++;
	trace_word(s, n, power_cut ? "loses its power" : "ends");
	stop(n);
	if (power_cut)
		disk_power_cut(&n->disk, (uint32_t)rng_below(&s->rng, 101));
	start_later(s, n);
}

void node_destroy(struct sim *s, struct node *n)
{
	trace_word(s, n, "loses its disk");
	stop(n);
	disk_done(&n->disk);
	n->id = 0;
}
