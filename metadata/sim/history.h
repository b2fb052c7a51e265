/*
 * history - what clients did to one register and were told, and whether that is linearizable.
 *
 * Every write has a value of its own, so this is decided in O(n log n) [Gibbons, Korach, "Testing shared memories", SIAM J.
 * Comput. 26, 1997]: the operations of one value (its write, and the reads that saw it) must happen around one stretch of
 * time. From the first end to the last begin among them (where that is later: a forward zone) the register must hold
 * that value, so no two such zones overlap; where all overlap (a backward zone), they need one moment outside of others'.
 */
#ifndef METADATA_SIM_HISTORY_H
#define METADATA_SIM_HISTORY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/attr.h"

#define HISTORY_PENDING INT64_MAX /* never answered: may have happened any time, or never */

struct operation {
	int64_t begin, end;
	uint64_t value;
	bool is_write;
	bool is_void; /* known not to have happened */
};

struct history {
	struct operation *ops;
	uint32_t count, room;
};

/* Adds one and names it; -ENOMEM. */
MUST_CHECK int history_add(struct history *h, const struct operation *op, uint32_t *ret);

/* 0; -EINVAL: not linearizable, and *ret_why says what is wrong with which value; -ENOMEM. */
MUST_CHECK int history_check(const struct history *h, const char **ret_why, uint64_t *ret_value);

/* Forgets all but a write of @value, before everything else. */
MUST_CHECK int history_restart(struct history *h, uint64_t value);

/* Frees what is in it. */
void history_done(struct history *h);

#endif
