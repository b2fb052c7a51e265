/*
 * log - the entries of one group in memory, from the one after `base` to `last`: a ring of entries, whose bytes lie in a
 * second ring. Both have a fixed size; nothing is allocated after raft_log_init().
 *
 *   base ... first ... handed ... commit ... last         handed <= commit, handed <= stable
 *                  ... stable ... saved ... last          stable: durable; saved: given out for writing
 */
#ifndef METADATA_RAFT_LOG_H
#define METADATA_RAFT_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "metadata/raft/raft.h"

struct raft_log {
	struct raft_entry *ring;
	uint64_t *place; /* of an entry's bytes: counts on over the ends of the ring of bytes */
	uint64_t mask;   /* entries - 1 */
	uint8_t *bytes;
	uint64_t bytes_max;
	uint64_t bytes_head;      /* place of the next entry's bytes */
	uint64_t base, base_term; /* the entry before the first */
	uint64_t last;
	uint64_t stable, saved, commit, handed;
	/* Batches below cut_batch were made before the log was cut at cut_index, so they prove nothing at or above it. */
	uint64_t cut_batch, cut_index;
};

/* 0 or -ENOMEM. @entries_max is a power of two. */
MUST_CHECK int raft_log_init(struct raft_log *l, uint32_t entries_max, uint64_t bytes_max);

/* Frees what init allocated. */
void raft_log_done(struct raft_log *l);

/* Forgets all; the log goes on after (@index, @term), which is committed and applied. @next_batch is the next to be made:
 * no batch before it proves anything from here on. */
void raft_log_reset(struct raft_log *l, uint64_t index, uint64_t term, uint64_t next_batch);

/* The entry at @index, NULL where there is none. */
struct raft_entry *raft_log_at(const struct raft_log *l, uint64_t index);

/* The term at @index, base included; 0 where it is not known (no entry has term 0, the base may). */
uint64_t raft_log_term(const struct raft_log *l, uint64_t index);

/* Whether the log has an entry of @term at @index; so it agrees with every other such log up to there [O 3.5]. */
bool raft_log_matches(const struct raft_log *l, uint64_t index, uint64_t term);

/* Whether a log that ends in (@index, @term) is as complete as this one, or more [O 3.6.1]. */
bool raft_log_is_covered(const struct raft_log *l, uint64_t index, uint64_t term);

/* Whether @count entries of @bytes in all, none larger than @longest, fit beside what is there. */
bool raft_log_fits(const struct raft_log *l, uint64_t count, uint64_t bytes, uint64_t longest);

/* Appends a copy of @e as last + 1 with @term. The caller asked raft_log_fits(). */
void raft_log_push(struct raft_log *l, const struct raft_entry *e, uint64_t term);

/* Cuts all from @index on, which is above commit. @next_batch is the next to be made. */
void raft_log_cut(struct raft_log *l, uint64_t index, uint64_t next_batch);

/* Drops entries up to @index, which is at most handed. */
void raft_log_drop(struct raft_log *l, uint64_t index);

/* @batch is durable. */
void raft_log_persisted(struct raft_log *l, const struct raft_batch *batch);

/* The last index at or below @index whose term is at most @term; its term to *ret_term (0: not known). Both sides skip
 * whole terms with it when a log does not match [O 3.5, E]. */
uint64_t raft_log_last_of_term(const struct raft_log *l, uint64_t index, uint64_t term, uint64_t *ret_term);

static inline uint64_t raft_log_first(const struct raft_log *l)
{
	return l->base + 1;
}

static inline uint64_t raft_log_last_term(const struct raft_log *l)
{
	return raft_log_term(l, l->last);
}

#endif
