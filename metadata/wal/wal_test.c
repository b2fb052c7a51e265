/*
 * The log against a model, over random histories of appends, cuts, snapshots, syncs, kills, power cuts and rot. What a
 * seed found can be repeated: its number is in the message.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>

#include "common/base/bytes.h"
#include "common/base/rng.h"
#include "metadata/sim/disk.h"
#include "metadata/wal/wal.h"

#define ENTRIES  512
#define VERSIONS 64
#define SEEDS    400
#define STEPS    300

/* A log as it was after some batch. */
struct version {
	struct raft_hard hard;
	uint64_t base, base_term, last;
	uint64_t term[ENTRIES]; /* by index % ENTRIES; the data is a function of index and term */
	uint64_t first;         /* the batch that made it: its first entry */
};

struct story {
	uint64_t seed;
	struct rng rng;
	struct disk disk;
	struct wal *wal;
	struct version v[VERSIONS]; /* [0] is durable, each next is one batch later */
	uint32_t count;
	uint32_t syncing; /* versions that the sync in progress makes durable; 0: none */
	struct wal_sync sync;
	uint64_t snapshot, snapshot_term;
	bool lost; /* told of */
};

static const struct wal_config config = {
	.groups = 1, .segment_bytes = DISK_SEGMENT_BYTES, .entries_max = ENTRIES};

static struct version *now(struct story *s)
{
	return &s->v[s->count - 1];
}

static uint32_t data_len(uint64_t index, uint64_t term)
{
	return (uint32_t)((index * 37 + term * 101) % 7 * 40);
}

static const struct raft_entry *entry_of(const void *source, uint64_t index)
{
	static struct raft_entry e;
	static uint8_t data[512];
	const struct version *v = source;
	uint64_t term = v->term[index % ENTRIES];
	memset(data, (int)(index ^ term << 4), sizeof data);
	e = (struct raft_entry){index, term, RAFT_NORMAL, data_len(index, term), data};
	return &e;
}

static void open_log(struct story *s)
{
	struct wal_position snapshot = {s->snapshot, s->snapshot_term};
	struct err err = {0};
	int rc = wal_open(&config, &disk_ops, &s->disk, &snapshot, &s->wal, &err);
	if (rc != 0)
		fail_msg("seed %u: %s", (unsigned)s->seed, err_words(&err, rc));
}

static void append(struct story *s)
{
	struct version *old = now(s), *v = &s->v[s->count++];
	*v = *old;
	uint64_t floor = MAX(v->base, s->snapshot);
	v->first = v->last + 1;
	if (v->last > floor && rng_below(&s->rng, 4) == 0) /* another leader cuts */
		v->first = floor + 1 + rng_below(&s->rng, v->last - floor);
	/* Only a new leader cuts, so that index and term name one entry. */
	v->hard.term += v->first <= v->last ? 1 : rng_below(&s->rng, 2);
	v->hard.vote = rng_below(&s->rng, 3);
	v->last = v->first - 1;
	for (uint64_t n = rng_below(&s->rng, 6); n > 0 && v->last - v->base < 200; n--)
		v->term[++v->last % ENTRIES] = v->hard.term;
	if (v->last < v->first && v->first <= old->last) { /* a cut comes with what replaces it */
		v->term[++v->last % ENTRIES] = v->hard.term;
	}
	v->hard.commit = floor;
	struct wal_batch b = {
		.hard = v->hard, .first = v->first, .last = v->last, .entry = entry_of, .source = v};
	assert_int_equal(wal_append(s->wal, 0, &b), 0);
}

static void begin_sync(struct story *s)
{
	if (s->syncing || !wal_sync_begin(s->wal, &s->sync))
		return;
	s->syncing = s->count - 1;
	disk_sync_begin(&s->disk, s->sync.first, s->sync.last);
}

static void end_sync(struct story *s)
{
	if (!s->syncing)
		return;
	disk_sync_end(&s->disk);
	assert_int_equal(wal_sync_end(s->wal), 0);
	memmove(s->v, s->v + s->syncing, (s->count - s->syncing) * sizeof s->v[0]);
	s->count -= s->syncing;
	s->syncing = 0;
}

static void take_snapshot(struct story *s)
{
	uint64_t floor = MAX(s->v[0].base, s->snapshot), common = s->v[0].last;
	for (uint32_t i = 1; i < s->count; i++)
		common = MIN(common, s->v[i].first - 1);
	if (common <= floor)
		return;
	s->snapshot = floor + 1 + rng_below(&s->rng, common - floor);
	s->snapshot_term = s->v[0].term[s->snapshot % ENTRIES];
	assert_int_equal(wal_drop(s->wal, 0, s->snapshot), 0);
}

/* Whether what was read is @v, or @before with a first part of the batch that made @v. */
static bool is_version(const struct story *s, const struct version *before, const struct version *v,
		       const struct wal_state *st)
{
	uint64_t to = v->last, common = before ? MIN(before->last, v->first - 1) : v->last;
	if (before && st->last < v->last && st->last != before->last && st->last < common)
		return false;
	if (!before && st->last != MAX(v->last, s->snapshot))
		return false;
	const struct version *tail = st->last > to ? before : v;
	for (uint64_t i = s->snapshot + 1; i <= st->last; i++) {
		const struct raft_entry *e = wal_entry(s->wal, 0, i);
		const struct version *from = i <= common ? v : tail;
		/* A batch that did not get as far as its first entry leaves the log before it. */
		if (before && st->last == before->last && i > common && e->term == before->term[i % ENTRIES])
			from = before;
		if (!from || i > from->last || e->term != from->term[i % ENTRIES] ||
		    e->len != data_len(i, e->term))
			return false;
		for (uint32_t k = 0; k < e->len; k++)
			if (((const uint8_t *)e->data)[k] != (uint8_t)(i ^ e->term << 4))
				return false;
	}
	return true;
}

/* Reads again after the process ended, and takes what is there as the only truth from now on. */
static void reopen(struct story *s, const char *why)
{
	s->wal = wal_free(s->wal);
	open_log(s);
	struct wal_state st = wal_state(s->wal, 0);
	uint32_t k = 0;
	bool found = is_version(s, NULL, &s->v[0], &st);
	while (!found && ++k < s->count)
		found = is_version(s, &s->v[k - 1], &s->v[k], &st) || is_version(s, NULL, &s->v[k], &st);
	if (!found && st.lost_to == 0)
		fail_msg("seed %u, %s: the log read (last %u) was never written (last %u)", (unsigned)s->seed,
			 why, (unsigned)st.last, (unsigned)s->v[0].last);
	if (st.lost_to == 0 && st.hard.term < s->v[0].hard.term)
		fail_msg("seed %u, %s: term %u was forgotten", (unsigned)s->seed, why,
			 (unsigned)s->v[0].hard.term);
	s->lost = s->lost || st.lost_to != 0;
	struct version v = {
		.hard = st.hard, .base = s->snapshot, .base_term = s->snapshot_term, .last = st.last};
	for (uint64_t i = s->snapshot + 1; i <= st.last; i++)
		v.term[i % ENTRIES] = wal_entry(s->wal, 0, i)->term;
	v.first = v.last + 1;
	s->v[0] = v;
	s->count = 1;
	s->syncing = 0;
	assert_int_equal(wal_begin(s->wal), 0);
}

static void begin_story(struct story *s, uint64_t seed)
{
	memset(s, 0, sizeof *s);
	s->seed = seed;
	s->rng = rng_seeded(seed);
	disk_init(&s->disk, &s->rng);
	s->count = 1;
	s->v[0].hard.term = 1;
	s->v[0].first = 1;
	open_log(s);
	assert_int_equal(wal_begin(s->wal), 0);
	append(s);
	begin_sync(s);
	end_sync(s);
}

static void end_story(struct story *s)
{
	s->wal = wal_free(s->wal);
	disk_done(&s->disk);
}

static void random_step(struct story *s)
{
	switch (rng_below(&s->rng, 12)) {
	case 0:
	case 1:
	case 2:
	case 3:
	case 4:
		if (s->count < VERSIONS)
			append(s);
		break;
	case 5:
	case 6:
	case 7:
		begin_sync(s);
		break;
	case 8:
	case 9:
		end_sync(s);
		break;
	default:
		if (rng_below(&s->rng, 3) == 0)
			take_snapshot(s);
	}
}

/* Nothing that was synced is lost, and what is read was once the log. */
static void power_cuts(void **state)
{
	struct story *s = malloc(sizeof *s);
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		begin_story(s, seed);
		for (int i = 0; i < STEPS; i++) {
			random_step(s);
			uint64_t fate = rng_below(&s->rng, 40);
			if (fate == 0)
				disk_power_cut(&s->disk, (uint32_t)rng_below(&s->rng, 101));
			if (fate <= 1)
				reopen(s, fate ? "killed" : "power cut");
			if (s->lost)
				fail_msg("seed %u, step %d: a torn tail was taken for corruption",
					 (unsigned)seed, i);
		}
		end_story(s);
	}
	free(s);
}

/* Rot below what is durable is either harmless or told of; never is a shorter log taken for the whole one. */
static void rot(void **state)
{
	struct story *s = malloc(sizeof *s);
	uint32_t harmful = 0;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		begin_story(s, seed);
		for (int i = 0; i < STEPS / 4; i++)
			random_step(s);
		begin_sync(s);
		end_sync(s);
		begin_sync(s);
		end_sync(s);
		if (disk_rot(&s->disk, wal_durable(s->wal)))
			reopen(s, "rot");
		harmful += s->lost;
		s->lost = false;
		/* What was told once is told again, until it is said to be repaired. */
		bool again = wal_state(s->wal, 0).lost_to != 0;
		for (int i = 0; i < 20; i++)
			if (s->count < VERSIONS)
				append(s);
		begin_sync(s);
		end_sync(s);
		s->v[0].hard.term = 0;
		s->wal = wal_free(s->wal);
		open_log(s);
		if (wal_state(s->wal, 0).last < s->v[0].last)
			fail_msg("seed %u: what was written behind a hole is lost", (unsigned)seed);
		if (again)
			harmful++;
		end_story(s);
	}
	assert_true(harmful > SEEDS / 10);
	free(s);
}

/* A snapshot taken over from a leader is durable, the record that replaces the log is not: the old entries behind it are
 * of another history. */
static void snapshot_without_its_record(void **state)
{
	struct story *s = malloc(sizeof *s);
	begin_story(s, 5);
	struct version *v = now(s);
	for (uint64_t i = 1; i <= 20; i++)
		v->term[i] = 2;
	v->last = 20;
	struct wal_batch b = {.hard = {9, 0, 0}, .first = 1, .last = 20, .entry = entry_of, .source = v};
	assert_int_equal(wal_append(s->wal, 0, &b), 0);
	begin_sync(s);
	end_sync(s);
	s->wal = wal_free(s->wal);
	s->snapshot = 10;
	s->snapshot_term = 3; /* not the term of entry 10 here */
	open_log(s);
	assert_int_equal(wal_state(s->wal, 0).last, 10);
	assert_null(wal_entry(s->wal, 0, 11));
	s->wal = wal_free(s->wal);
	s->snapshot_term = 2;
	open_log(s);
	assert_int_equal(wal_state(s->wal, 0).last, 20);
	assert_int_equal(wal_begin(s->wal), 0);
	/* And with it: the log goes on behind the snapshot. */
	b = (struct wal_batch){
		.hard = {9, 0, 0}, .restore_index = 30, .restore_term = 4, .first = 31, .last = 30};
	assert_int_equal(wal_append(s->wal, 0, &b), 0);
	s->wal = wal_free(s->wal);
	s->snapshot = 30;
	s->snapshot_term = 4;
	open_log(s);
	assert_int_equal(wal_state(s->wal, 0).last, 30);
	assert_int_equal(wal_state(s->wal, 0).lost_to, 0);
	end_story(s);
	free(s);
}

static void limits(void **state)
{
	static const struct wal_config bad[] = {
		{0, DISK_SEGMENT_BYTES, 9},
		{WAL_GROUPS_MAX + 1, DISK_SEGMENT_BYTES, 9},
		{1, 8192, 9},
		{1, DISK_SEGMENT_BYTES + 1, 9},
		{1, DISK_SEGMENT_BYTES, 0},
		{64, 16384, 9},
	};
	struct wal_position none = {0, 0};
	struct rng rng = rng_seeded(1);
	struct disk disk;
	struct wal *w;
	disk_init(&disk, &rng);
	for (size_t i = 0; i < LENGTH(bad); i++)
		assert_int_equal(wal_open(&bad[i], &disk_ops, &disk, &none, &w, NULL), -EINVAL);
	assert_int_equal(wal_open(&config, &disk_ops, &disk, &none, &w, NULL), 0);
	disk.full = true;
	assert_int_equal(wal_begin(w), -ENOSPC);
	assert_null(wal_free(w));
	/* A log that a snapshot speaks of, but that is not there. */
	struct wal_position snapshot = {7, 1};
	struct err err;
	assert_int_equal(wal_open(&config, &disk_ops, &disk, &snapshot, &w, &err), -ERR_CORRUPT);
	disk_done(&disk);
}

static void records(void **state)
{
	uint8_t out[256];
	struct wal_record in = {.kind = WAL_ENTRY,
				.group = 3,
				.flags = 1,
				.segment = 9,
				.index = 5,
				.term = 2},
			  r;
	in.durable_index = 4;
	in.chain = 77;
	in.len = 5;
	in.body = (const uint8_t *)"hello";
	wal_record_encode(&in, out);
	assert_int_equal(wal_record_bytes(5), 72);
	assert_int_equal(wal_record_decode(out, 72, 0, 9, &r), 0);
	assert_int_equal(r.crc, in.crc);
	assert_int_equal(r.chain, 77);
	assert_memory_equal(r.body, "hello", 5);
	assert_int_equal(wal_record_decode(out, 72, 0, 8, &r), -EBADMSG); /* of an older use of the file */
	assert_int_equal(wal_record_decode(out, 71, 0, 9, &r), -EBADMSG);
	for (uint32_t bit = 0; bit < 69 * 8; bit++) {
		out[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(wal_record_decode(out, 72, 0, 9, &r), -EBADMSG);
		out[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	memset(out, 0, sizeof out);
	assert_int_equal(wal_record_decode(out, 256, 64, 9, &r), -ENODATA);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(power_cuts),
		cmocka_unit_test(rot),
		cmocka_unit_test(snapshot_without_its_record),
		cmocka_unit_test(limits),
		cmocka_unit_test(records),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
