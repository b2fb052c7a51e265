/*
 * restore - what a former process left on the tiers: taken over from its log (journal.h) at once, then held against the files,
 * which are the truth; and the log of this process, made anew when it has grown (docs/decisions/0044).
 */
#ifndef CACHE_NODE_CACHE_RESTORE_H
#define CACHE_NODE_CACHE_RESTORE_H

#include "cache-node/cache/internal.h"

/* At the start. The keeper's thread alone, as the next; under no lock. */
void restore_run(struct cache *c);

/* Makes logs anew that have grown, or that could not be written. */
void restore_renew(struct cache *c);
/* Whether that is due for a tier; and when it will be next, CLOCK_MONOTONIC, INT64_MAX: not by the clock. */
bool restore_is_due(struct tier *t);
int64_t restore_next_ns(struct cache *c);

/* As a log notes an entry. Under cache.lock. */
struct journal_record restore_record(struct cache *c, const struct index_entry *e);

#endif
