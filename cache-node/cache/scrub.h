/*
 * scrub - reads what the tiers hold from their devices and compares it with its checksums.
 *
 * Bytes that the kernel passes through are read by nobody who could sum them; this is who does. A thread goes over all objects
 * in config.scrub_ns, again and again: the clock on the wall says which of the 256 folders of a tier is due, so that a pass ends in
 * time however often the node is restarted. cache_scrub() goes over all of them at once.
 *
 * What is bad goes: a sealed object whole, a partial one's block. Files are read by descriptors of its own and without a lock, past
 * the page cache where the file system can, so that neither readers nor their memory suffer.
 */
#ifndef CACHE_NODE_CACHE_SCRUB_H
#define CACHE_NODE_CACHE_SCRUB_H

#include "cache-node/cache/internal.h"

/* Starts the thread, if config.scrub_ns is not 0. 0, -errno. */
MUST_CHECK int scrub_start(struct cache *c);
/* Ends it; nothing if it does not run. */
void scrub_stop(struct cache *c);

#endif
