/* Clients: each writes or reads registers, one request at a time, believes what it is told, and notes when. */
#include <inttypes.h>
#include <string.h>

#include "metadata/sim/sim.h"

#define PATIENCE_MS 1000

static void note(struct sim *s, uint32_t key, const struct operation *op, uint32_t *ret)
{
	if (history_add(&s->history[key], op, ret) != 0)
		sim_fail(s, "out of memory");
}

static void next_request(struct sim *s, struct client *c, int64_t after_ms)
{
	uint32_t slot = (uint32_t)(c - s->clients);

	c->kind = CLIENT_IDLE;
	sim_schedule(s, after_ms * SIM_MS + 1,
		     &(struct sim_event){.kind = SIM_CLIENT, .slot = slot, .epoch = ++c->number});
}

/* Most ask who leads; some ask anybody who thinks so, however long ago that was true; some just anybody. */
static struct node *choose(struct sim *s)
{
	struct node *n = sim_leader(s);
	uint64_t whom = rng_below(&s->rng, 100);

	if (n && whom < 60)
		return n;
	n = &s->nodes[rng_below(&s->rng, SIM_NODES)];
	for (uint32_t i = 0; whom < 90 && i < SIM_NODES; i++) {
		struct node *o = &s->nodes[(n->slot + i) % SIM_NODES];
		if (o->up && raft_status(o->core).role == RAFT_LEADER)
			return o;
	}
	return n->up ? n : NULL;
}

static void wait_for_answer(struct sim *s, struct client *c, const struct node *n, enum sim_client_kind kind)
{
	c->kind = kind;
	c->slot = n->slot;
	c->epoch = n->epoch;
	c->started = s->now;
	uint32_t slot = (uint32_t)(c - s->clients);
	sim_schedule(s, sim_between(s, PATIENCE_MS / 10, PATIENCE_MS) * SIM_MS,
		     &(struct sim_event){.kind = SIM_CLIENT, .slot = slot, .epoch = c->number});
}

/* ---- writes ---- */

static void write_some(struct sim *s, struct client *c, struct node *n)
{
	struct command data[SIM_BATCH];
	struct raft_entry entries[SIM_BATCH];
	uint32_t slot = (uint32_t)(c - s->clients);

	c->count = 1 + (uint32_t)rng_below(&s->rng, SIM_BATCH);
	for (uint32_t i = 0; i < c->count; i++) {
		c->key[i] = (uint32_t)rng_below(&s->rng, SIM_KEYS);
		c->value[i] = ++s->next_value;
		data[i] = (struct command){(uint64_t)slot << 32 | i, c->key[i], c->value[i]};
		entries[i] =
			(struct raft_entry){.kind = RAFT_NORMAL, .len = sizeof data[i], .data = &data[i]};
		note(s, c->key[i],
		     &(struct operation){
			     .begin = s->now, .end = HISTORY_PENDING, .value = c->value[i], .is_write = true},
		     &c->op[i]);
	}
	/* What it gets is known only after the step, but the step may already answer it: a group of one. */
	c->index = raft_status(n->core).last + 1;
	c->term = raft_status(n->core).term;
	wait_for_answer(s, c, n, CLIENT_WRITES);
	struct raft_event e = {.kind = RAFT_PROPOSE, .propose = {entries, c->count}};
	if (node_step(s, n, &e) == 0 || sim_failed(s))
		return;
	for (uint32_t i = 0; i < c->count; i++)
		s->history[c->key[i]].ops[c->op[i]].is_void = true; /* refused */
	next_request(s, c, sim_between(s, 5, 50));
}

/* The entry of write @i came out of the log: it is done if it is of the term that took it, else it never will be. */
static void write_came_out(struct sim *s, struct client *c, uint32_t i, const struct raft_entry *e)
{
	struct operation *op = &s->history[c->key[i]].ops[c->op[i]];

	if (e->term == c->term)
		op->end = s->now;
	else
		op->is_void = true;
	s->acked_writes += e->term == c->term;
	if (i == c->count - 1)
		next_request(s, c, sim_between(s, 0, 20));
}

void client_applied(struct sim *s, struct node *n, const struct raft_entry *e)
{
	for (uint32_t k = 0; k < SIM_CLIENTS; k++) {
		struct client *c = &s->clients[k];
		if (c->kind == CLIENT_WRITES && c->slot == n->slot && c->epoch == n->epoch &&
		    e->index >= c->index && e->index < c->index + c->count)
			write_came_out(s, c, (uint32_t)(e->index - c->index), e);
	}
}

/* ---- reads ---- */

static void read_one(struct sim *s, struct client *c)
{
	struct node *n = sim_chance(s, 300) ? &s->nodes[rng_below(&s->rng, SIM_NODES)] : choose(s);

	if (!n || !n->up) {
		next_request(s, c, 10);
		return;
	}
	c->key[0] = (uint32_t)rng_below(&s->rng, SIM_KEYS);
	c->read_index = 0;
	wait_for_answer(s, c, n, CLIENT_READS);
	struct raft_event e = {.kind = RAFT_READ, .read = c->number << 8 | (uint64_t)(c - s->clients)};
	uint64_t number = c->number;
	if (node_step(s, n, &e) != 0 && c->number == number)
		next_request(s, c, sim_between(s, 5, 50));
}

static void answer_read(struct sim *s, struct client *c, const struct node *n)
{
	uint32_t at;

	s->answered_reads++;
	note(s, c->key[0],
	     &(struct operation){.begin = c->started, .end = s->now, .value = n->state.values[c->key[0]]},
	     &at);
	next_request(s, c, sim_between(s, 0, 20));
}

void client_read_done(struct sim *s, struct node *n, const struct raft_read *r)
{
	struct client *c = &s->clients[(r->read & 255) % SIM_CLIENTS];

	if (c->kind != CLIENT_READS || c->number != r->read >> 8 || c->slot != n->slot ||
	    c->epoch != n->epoch)
		return; /* it has given up */
	if (r->status != 0)
		next_request(s, c, sim_between(s, 5, 50));
	else if (n->state.index >= r->index)
		answer_read(s, c, n);
	else
		c->read_index = r->index;
}

/* A read whose index is known is answered when the state is new enough. */
static bool answer_if_new_enough(struct sim *s, struct client *c)
{
	const struct node *n = &s->nodes[c->slot];

	if (!c->read_index || !n->up || n->epoch != c->epoch || n->state.index < c->read_index)
		return false;
	answer_read(s, c, n);
	return true;
}

void client_state_moved(struct sim *s, const struct node *n)
{
	for (uint32_t k = 0; k < SIM_CLIENTS; k++) {
		struct client *c = &s->clients[k];
		if (c->kind == CLIENT_READS && c->slot == n->slot)
			(void)answer_if_new_enough(s, c);
	}
}

/* ---- turns ---- */

void client_wake(struct sim *s, uint32_t slot)
{
	struct client *c = &s->clients[slot];

	if (c->kind != CLIENT_IDLE) { /* out of patience: what it wrote may still happen */
		next_request(s, c, sim_between(s, 1, 50));
		return;
	}
	if (s->calm)
		return;
	struct node *n = choose(s);
	if (sim_chance(s, s->reads))
		read_one(s, c);
	else if (n)
		write_some(s, c, n);
	else
		next_request(s, c, 20);
}

void client_begin(struct sim *s)
{
	for (uint32_t i = 0; i < SIM_CLIENTS; i++)
		next_request(s, &s->clients[i], 10);
}

bool client_all_idle(const struct sim *s)
{
	for (uint32_t i = 0; i < SIM_CLIENTS; i++)
		if (s->clients[i].kind != CLIENT_IDLE)
			return false;
	return true;
}

void client_judge(struct sim *s, const struct state *state)
{
	for (uint32_t k = 0; k < SIM_KEYS; k++) {
		const char *why = NULL;
		uint64_t value = 0;
		if (history_check(&s->history[k], &why, &value) != 0)
			sim_fail(s, "register %" PRIu32 " is not linearizable: value %" PRIu64 " %s", k,
				 value, why ? why : "(no memory)");
		if (history_restart(&s->history[k], state->values[k]) != 0)
			sim_fail(s, "out of memory");
	}
}
