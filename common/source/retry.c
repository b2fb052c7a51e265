#include "common/source/retry.h"

void retry_init(struct retry *r, int64_t now_ns, int64_t deadline_ns, uint64_t seed)
{
	*r = (struct retry){.deadline_ns = deadline_ns, .progress_ns = now_ns, .rng = rng_seeded(seed)};
}

void retry_progress(struct retry *r, int64_t now_ns)
{
	r->progress_ns = now_ns;
	r->failures = 0;
}

void retry_excuse(struct retry *r, int64_t now_ns)
{
	r->progress_ns = now_ns;
}

int64_t retry_limit_ns(const struct retry *r)
{
	return r->deadline_ns ? r->deadline_ns : r->progress_ns + RETRY_IDLE_MAX_NS;
}

int64_t retry_failed(struct retry *r, int64_t now_ns, int64_t after_ns)
{
	int64_t bound_ns = RETRY_CAP_NS;

	if (r->failures < 6) /* 50 ms << 6 is above the cap */
		bound_ns = MIN(RETRY_BASE_NS << r->failures, RETRY_CAP_NS);
	r->failures++;
	int64_t wait_ns = (int64_t)rng_below(&r->rng, (uint64_t)bound_ns + 1);
	wait_ns = MAX(wait_ns, after_ns);
	int64_t limit_ns = retry_limit_ns(r);
	if (now_ns >= limit_ns || wait_ns >= limit_ns - now_ns)
		return RETRY_NEVER;
	return now_ns + wait_ns;
}
