/*
 * progress - what a leader knows about one member's log, and how it sends to it. As tracker.Progress of etcd's raft.
 *
 *   PROBE      where the logs agree is not known: one append at a time, then wait for its answer or a heartbeat's
 *   REPLICATE  it is known: appends are streamed, `next` runs ahead of `match`, the window bounds them in number and bytes
 *   SNAPSHOT   the entries it needs are compacted: a snapshot is on its way, no appends until it has arrived or failed
 */
#ifndef METADATA_RAFT_PROGRESS_H
#define METADATA_RAFT_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "metadata/raft/raft.h"

enum raft_flow { RAFT_PROBE, RAFT_REPLICATE, RAFT_SNAPSHOT };

struct raft_inflight {
	uint64_t last; /* index of the last entry of an append */
	uint64_t bytes;
};

struct raft_progress {
	uint64_t match; /* known to be durable there, and equal to the log here */
	uint64_t next;  /* the next to send; match < next */
	enum raft_flow flow;
	bool paused;       /* PROBE: one append is out */
	bool active;       /* heard since the last check of the quorum */
	uint64_t snapshot; /* SNAPSHOT: the index of the one on its way */
	uint64_t round;    /* the last heartbeat round it answered in this term */
	uint64_t inflight_bytes;
	uint32_t inflight_head, inflight_count;
	struct raft_inflight inflight[RAFT_INFLIGHT_MAX]; /* a ring, REPLICATE only */
};

/* As a new leader, or a leader that gets a new member, begins: probe from @next. */
void raft_progress_reset(struct raft_progress *p, uint64_t next);

/* Changes of flow. */
void raft_progress_probe(struct raft_progress *p);
void raft_progress_replicate(struct raft_progress *p);
void raft_progress_snapshot(struct raft_progress *p, uint64_t index);

/* Whether the window is full at @count appends or @bytes. */
bool raft_progress_is_full(const struct raft_progress *p, uint32_t count, uint64_t bytes);

/* Whether no append may be sent now. */
bool raft_progress_is_paused(const struct raft_progress *p, uint32_t count, uint64_t bytes);

/* An append of @count entries, @bytes in all, was sent. */
void raft_progress_sent(struct raft_progress *p, uint64_t count, uint64_t bytes);

/* The member has all up to @index. True if that is news. */
bool raft_progress_acknowledged(struct raft_progress *p, uint64_t index);

/* Appends up to @index were answered: the window opens. */
void raft_progress_release(struct raft_progress *p, uint64_t index);

/* The member rejected an append after @rejected and suggests @hint as the last that may agree. False: an old answer. */
bool raft_progress_rejected(struct raft_progress *p, uint64_t rejected, uint64_t hint);

/* The member lost what it had after @index. */
void raft_progress_lost(struct raft_progress *p, uint64_t index);

#endif
