#include "metadata/raft/progress.h"

#include "common/base/attr.h"

static void set_flow(struct raft_progress *p, enum raft_flow flow)
{
	p->flow = flow;
	p->paused = false;
	p->snapshot = 0;
	p->inflight_head = p->inflight_count = 0;
	p->inflight_bytes = 0;
}

void raft_progress_reset(struct raft_progress *p, uint64_t next)
{
	CHECK(next > 0);
	set_flow(p, RAFT_PROBE);
	p->match = 0;
	p->next = next;
	p->active = false;
	p->round = 0;
}

void raft_progress_probe(struct raft_progress *p)
{
	uint64_t snapshot = p->flow == RAFT_SNAPSHOT ? p->snapshot : 0;

	set_flow(p, RAFT_PROBE);
	p->next = MAX(p->match, snapshot) + 1;
}

void raft_progress_replicate(struct raft_progress *p)
{
	set_flow(p, RAFT_REPLICATE);
	p->next = p->match + 1;
}

void raft_progress_snapshot(struct raft_progress *p, uint64_t index)
{
	set_flow(p, RAFT_SNAPSHOT);
	p->snapshot = index;
	p->next = MAX(p->match, index) + 1;
}

bool raft_progress_is_full(const struct raft_progress *p, uint32_t count, uint64_t bytes)
{
	return p->inflight_count >= count || (p->inflight_count > 0 && p->inflight_bytes >= bytes);
}

bool raft_progress_is_paused(const struct raft_progress *p, uint32_t count, uint64_t bytes)
{
	if (p->flow == RAFT_PROBE)
		return p->paused;
	return p->flow == RAFT_SNAPSHOT || raft_progress_is_full(p, count, bytes);
}

void raft_progress_sent(struct raft_progress *p, uint64_t count, uint64_t bytes)
{
	if (count == 0)
		return;
	if (p->flow == RAFT_PROBE) {
		p->paused = true;
		return;
	}
	CHECK(p->flow == RAFT_REPLICATE && p->inflight_count < RAFT_INFLIGHT_MAX);
	p->next += count;
	uint32_t at = (p->inflight_head + p->inflight_count++) % RAFT_INFLIGHT_MAX;
	p->inflight[at] = (struct raft_inflight){.last = p->next - 1, .bytes = bytes};
	p->inflight_bytes += bytes;
}

bool raft_progress_acknowledged(struct raft_progress *p, uint64_t index)
{
	if (index <= p->match)
		return false;
	p->match = index;
	p->next = MAX(p->next, index + 1);
	return true;
}

void raft_progress_release(struct raft_progress *p, uint64_t index)
{
	while (p->inflight_count > 0 && p->inflight[p->inflight_head].last <= index) {
		p->inflight_bytes -= p->inflight[p->inflight_head].bytes;
		p->inflight_head = (p->inflight_head + 1) % RAFT_INFLIGHT_MAX;
		p->inflight_count--;
	}
}

bool raft_progress_rejected(struct raft_progress *p, uint64_t rejected, uint64_t hint)
{
	if (p->flow == RAFT_REPLICATE) {
		if (rejected <= p->match)
			return false;
		raft_progress_probe(p);
		return true;
	}
	/* While probing there is one append out, so only its answer counts. */
	if (p->flow == RAFT_SNAPSHOT || p->next - 1 != rejected)
		return false;
	p->next = MAX(MIN(rejected, hint + 1), p->match + 1);
	p->paused = false;
	return true;
}

void raft_progress_lost(struct raft_progress *p, uint64_t index)
{
	p->match = MIN(p->match, index);
	set_flow(p, RAFT_PROBE);
	p->next = p->match + 1;
}
