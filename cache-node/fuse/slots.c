/*
 * Where requests lie while they are answered, in memory that outlives this process.
 *
 * A slot's life: free -> marked READING before read(2) -> holds a request -> answered -> free. Whoever starts after a kill
 * finds the marked ones; an answer given twice gets ENOENT from the kernel, which does no harm.
 *
 * A READ whose bytes are not there yet moves to a parking place: it is copied, the place marked, then the slot freed, so
 * that at any moment one of the two holds it. So slots are held by request threads at work alone, and a source that hangs
 * leaves them to lookups, opens and hits. docs/decisions/0010-reads-that-wait-are-parked.md.
 */
#include <errno.h>
#include <sys/mman.h>

#include "cache-node/fuse/session_impl.h"
#include "common/base/mem.h"

#define NO_HOLDER UINT32_MAX

/* libfuse hands its callbacks a request and nothing of the thread: what holds the request being processed is remembered
 * here. */
static _Thread_local uint32_t current_holder = NO_HOLDER;

uint32_t slots_take_holder(void)
{
	uint32_t holder = current_holder;

	CHECK(holder != NO_HOLDER);
	current_holder = NO_HOLDER;
	return holder;
}

struct shm_slot *session_current_slot(struct session *s)
{
	CHECK(current_holder < SHM_SLOTS); /* parked requests are READs, which change no counts */
	return &s->shm.slots[current_holder];
}

/* ---- slots ---- */

void slots_free(struct session *s, uint32_t slot)
{
	atomic_store(&s->shm.slots[slot].state, SHM_SLOT_FREE);
	(void)pthread_mutex_lock(&s->slots.lock);
	s->slots.free[s->slots.count++] = slot;
	(void)pthread_cond_signal(&s->slots.more);
	(void)pthread_mutex_unlock(&s->slots.lock);
}

/* There is one for each thread: only a READ that does not fit a parking place keeps one while it waits. */
uint32_t slots_get(struct session *s)
{
	(void)pthread_mutex_lock(&s->slots.lock);
	while (!s->slots.count)
		(void)pthread_cond_wait(&s->slots.more, &s->slots.lock);
	uint32_t slot = s->slots.free[--s->slots.count];
	(void)pthread_mutex_unlock(&s->slots.lock);
	return slot;
}

/* ---- parking places, and the read_op that belongs to each ---- */

struct read_op *slots_read_op(struct session *s, uint32_t holder)
{
	uint32_t place;

	if (holder >= SHM_SLOTS) {
		place = holder - SHM_SLOTS;
		s->read_ops[place].slot = NO_HOLDER;
		return &s->read_ops[place];
	}
	(void)pthread_mutex_lock(&s->parking.lock);
	while (!s->parking.count && s->parking.high == SHM_PARKED)
		(void)pthread_cond_wait(&s->parking.more, &s->parking.lock);
	if (s->parking.count) {
		place = s->parking.free[--s->parking.count];
	} else {
		place = s->parking.high++;
		atomic_store(&s->shm.h->parked_high, s->parking.high);
	}
	(void)pthread_mutex_unlock(&s->parking.lock);
	s->read_ops[place].slot = holder;
	return &s->read_ops[place];
}

static uint32_t place_of(const struct read_op *op)
{
	return (uint32_t)(op - op->session->read_ops);
}

void slots_park(struct read_op *op)
{
	struct session *s = op->session;

	if (op->slot == NO_HOLDER || !shm_park(&s->shm.slots[op->slot], &s->shm.parked[place_of(op)]))
		return;
	slots_free(s, op->slot);
	op->slot = NO_HOLDER;
}

static void free_place(struct session *s, uint32_t place)
{
	atomic_store(&s->shm.parked[place].state, SHM_SLOT_FREE);
	(void)pthread_mutex_lock(&s->parking.lock);
	s->parking.free[s->parking.count++] = place;
	(void)pthread_cond_broadcast(&s->parking.more);
	(void)pthread_mutex_unlock(&s->parking.lock);
}

void slots_read_op_done(struct read_op *op)
{
	struct session *s = op->session;

	if (op->slot != NO_HOLDER)
		slots_free(s, op->slot);
	free_place(s, place_of(op));
}

void slots_wait_for_reads(struct session *s)
{
	(void)pthread_mutex_lock(&s->parking.lock);
	while (s->parking.count < s->parking.high)
		(void)pthread_cond_wait(&s->parking.more, &s->parking.lock);
	(void)pthread_mutex_unlock(&s->parking.lock);
}

/* ---- processing ---- */

static void release_holder(struct session *s, uint32_t holder)
{
	if (holder < SHM_SLOTS)
		slots_free(s, holder);
	else
		free_place(s, holder - SHM_SLOTS);
}

static void process(struct session *s, uint32_t holder, const void *request)
{
	const struct fuse_in_header *in = request;
	struct fuse_buf buf = {.size = in->len, .mem = (void *)(uintptr_t)request};

	current_holder = holder;
	fuse_session_process_buf(s->fuse, &buf);
	if (current_holder != NO_HOLDER)
		release_holder(s, holder);
	current_holder = NO_HOLDER;
}

void slots_process(struct session *s, uint32_t slot)
{
	process(s, slot, s->shm.slots[slot].request);
}

void slots_answer_leftovers(struct session *s)
{
	shm_count_requests(&s->shm, &s->recovered, &s->recovered_reads);
	/* Parked ones first: they have their places already, and those in slots may have to wait for one. */
	uint32_t high = s->parking.high;
	for (uint32_t i = 0; i < high; i++)
		if (shm_parked_request(&s->shm.parked[i]))
			process(s, SHM_SLOTS + i, s->shm.parked[i].request);
	for (uint32_t i = 0; i < SHM_SLOTS; i++)
		if (shm_slot_request(&s->shm.slots[i]))
			process(s, i, s->shm.slots[i].request);
}

/* ---- life ---- */

int slots_init(struct session *s)
{
	(void)pthread_mutex_init(&s->slots.lock, NULL);
	(void)pthread_cond_init(&s->slots.more, NULL);
	(void)pthread_mutex_init(&s->parking.lock, NULL);
	(void)pthread_cond_init(&s->parking.more, NULL);
	s->read_ops = mem_calloc(SHM_PARKED, sizeof *s->read_ops);
	s->parking.free = mem_calloc(SHM_PARKED, sizeof *s->parking.free);
	if (!s->read_ops || !s->parking.free)
		return -ENOMEM;
	for (uint32_t i = SHM_SLOTS; i-- > 0;) /* the first places are used most: fewer pages are touched */
		if (!shm_slot_request(&s->shm.slots[i]))
			s->slots.free[s->slots.count++] = i;
	s->parking.high = atomic_load(&s->shm.h->parked_high);
	for (uint32_t i = s->parking.high; i-- > 0;)
		if (!shm_parked_request(&s->shm.parked[i]))
			s->parking.free[s->parking.count++] = i;
	/* A fault while the kernel copies a request into a slot, in a process being killed, would lose the request. */
	(void)madvise(s->shm.slots, s->shm.h->slot_count * sizeof(struct shm_slot), MADV_POPULATE_WRITE);
	return 0;
}

void slots_done(struct session *s)
{
	(void)mem_free(s->read_ops);
	(void)mem_free(s->parking.free);
}
