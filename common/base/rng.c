#include "common/base/rng.h"

#include "common/base/attr.h"

static uint64_t rotl(uint64_t x, int k)
{
	return x << k | x >> (64 - k);
}

struct rng rng_seeded(uint64_t seed)
{
	struct rng r;

	for (int i = 0; i < 4; i++) { /* splitmix64 spreads the seed */
		uint64_t z = (seed += 0x9e3779b97f4a7c15ULL);
		z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
		z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
		r.s[i] = z ^ z >> 31;
	}
	return r;
}

uint64_t rng_next(struct rng *r)
{
	uint64_t *s = r->s, result = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotl(s[3], 45);
	return result;
}

uint64_t rng_below(struct rng *r, uint64_t bound)
{
	CHECK(bound > 0);
	uint64_t limit = UINT64_MAX - UINT64_MAX % bound, v;
	do
		v = rng_next(r);
	while (v >= limit);
	return v % bound;
}
