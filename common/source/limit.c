#include "common/source/limit.h"

#include "common/base/clock.h"

#define MILLI            1000u
#define MICRO            1000000u
#define HEDGE_LEAST_NS   (5 * NS_PER_MS)
#define LATENCY_LEAST_US 64u

void bucket_init(struct bucket *b, uint64_t rate, int64_t burst_ns)
{
	*b = (struct bucket){.rate = rate, .burst_ns = burst_ns, .free_ns = INT64_MIN};
}

/* units / rate in nanoseconds without overflow, at most an hour. */
static int64_t cost_ns(uint64_t units, uint64_t rate)
{
	uint64_t seconds = units / rate, rest = units % rate;

	if (seconds >= 3600)
		return 3600 * NS_PER_S;
	/* rest < rate: scaled down together where the product would not fit. */
	while (rest > UINT64_MAX / NS_PER_S) {
		rest /= 2;
		rate /= 2;
	}
	return (int64_t)seconds * NS_PER_S + (int64_t)(rest * NS_PER_S / rate);
}

int64_t bucket_take(struct bucket *b, int64_t now_ns, uint64_t units)
{
	if (b->rate == 0)
		return now_ns;
	/* The debt may be as old as the burst: that much was saved up. */
	int64_t start_ns = MAX(b->free_ns, now_ns - b->burst_ns);
	b->free_ns = start_ns + cost_ns(units, b->rate);
	return MAX(now_ns, start_ns);
}

/* ---- */

void throttle_init(struct throttle *t, uint32_t max)
{
	*t = (struct throttle){
		.max = max, .window_milli = max * MILLI, .cut_ns = INT64_MIN, .hold_ns = INT64_MIN};
}

void throttle_slow(struct throttle *t, int64_t now_ns, int64_t sent_ns, int64_t after_ns)
{
	t->hold_ns = MAX(t->hold_ns, now_ns + after_ns);
	if (sent_ns < t->cut_ns)
		return; /* it was on its way when the window was cut: the store has not seen the cut yet */
	t->window_milli = MAX(t->window_milli / 2, MILLI);
	t->cut_ns = now_ns;
}

void throttle_good(struct throttle *t)
{
	uint32_t more = MILLI * MILLI / t->window_milli;

	t->window_milli = MIN(t->window_milli + MAX(more, 1u), t->max * MILLI);
}

uint32_t throttle_window(const struct throttle *t)
{
	return t->window_milli / MILLI;
}

/* ---- */

void budget_init(struct budget *b, uint32_t share_milli, uint32_t floor, uint32_t cap)
{
	uint64_t full = (uint64_t)cap * MICRO;

	*b = (struct budget){
		.share_milli = share_milli, .floor = floor, .cap_micro = full, .tokens_micro = full};
}

static void add_tokens(struct budget *b, uint64_t micro)
{
	b->tokens_micro = MIN(b->tokens_micro + micro, b->cap_micro);
}

void budget_request(struct budget *b)
{
	add_tokens(b, (uint64_t)b->share_milli * MILLI);
}

int64_t budget_take(struct budget *b, int64_t now_ns)
{
	if (b->last_ns && now_ns > b->last_ns) {
		uint64_t us = (uint64_t)MIN(now_ns - b->last_ns, 3600 * NS_PER_S) / 1000;
		add_tokens(b, us * b->floor);
	}
	b->last_ns = MAX(b->last_ns, now_ns);
	if (b->tokens_micro >= MICRO) {
		b->tokens_micro -= MICRO;
		return 0;
	}
	if (b->floor == 0)
		return INT64_MAX;
	return (int64_t)((MICRO - b->tokens_micro) / b->floor + 1) * 1000;
}

/* ---- */

/* Four buckets to a doubling: by the two bits after the highest. */
static unsigned bucket_of(int64_t ns)
{
	uint64_t units = (uint64_t)MAX(ns, 0) / 1000 / (LATENCY_LEAST_US / 4);

	if (units < 4)
		return 0;
	unsigned high = 63u - (unsigned)__builtin_clzll(units);
	unsigned i = (high - 2) * 4 + (unsigned)(units >> (high - 2) & 3) + 1;
	return MIN(i, LATENCY_BUCKETS - 1u);
}

static int64_t end_of(unsigned i)
{
	if (i == 0)
		return LATENCY_LEAST_US * 1000;
	unsigned high = (i - 1) / 4 + 2, part = (i - 1) % 4;
	return (int64_t)((UINT64_C(5) + part) << (high - 2)) * (LATENCY_LEAST_US / 4) * 1000;
}

void latency_add(struct latency *l, int64_t ns)
{
	l->counts[bucket_of(ns)]++;
	if (++l->total < LATENCY_SAMPLES_MAX)
		return;
	l->total = 0;
	for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
		l->counts[i] /= 2;
		l->total += l->counts[i];
	}
}

int64_t latency_p98(const struct latency *l)
{
	uint32_t above = 0;

	if (l->total < LATENCY_SAMPLES_MIN)
		return INT64_MAX;
	for (unsigned i = LATENCY_BUCKETS; i-- > 0;) {
		above += l->counts[i];
		if (above * 50 > l->total)
			return end_of(i);
	}
	return end_of(0);
}

int64_t hedge_at(const struct latency *l, int64_t sent_ns)
{
	int64_t p98_ns = latency_p98(l);

	return p98_ns == INT64_MAX ? INT64_MAX : sent_ns + MAX(p98_ns, HEDGE_LEAST_NS);
}
