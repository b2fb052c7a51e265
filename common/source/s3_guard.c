#include "common/source/s3_guard.h"

#include <string.h>

#include "common/base/hash.h"

/* Fewer keys than this are never too many; of more, so many times the different ones. */
enum { KEYS_FREE = 50000, KEYS_TIMES = 3 };

/* Of a fixed key: a store that knows it gains nothing but an error for its own listing. */
static uint64_t hash(const void *p, size_t len)
{
	static const uint8_t key[16] = "larder listings";

	return siphash24(key, p, len);
}

void s3_guard_key(struct s3_guard *g, struct s3_key key)
{
	uint64_t h = hash(key.bytes, key.len), rest = h >> 10;
	uint8_t rank = rest ? (uint8_t)(__builtin_ctzll(rest) + 1) : 55;
	uint8_t *r = &g->registers[h % LENGTH(g->registers)];

	g->keys++;
	*r = MAX(*r, rank);
}

/* Too high for fewer than a few thousand, which does not matter here. */
static double different_keys(const struct s3_guard *g)
{
	const size_t registers = LENGTH(g->registers);
	const double m = (double)registers, alpha = 0.7213 / (1 + 1.079 / m);
	double sum = 0;

	for (size_t i = 0; i < LENGTH(g->registers); i++)
		sum += 1.0 / (double)(UINT64_C(1) << g->registers[i]);
	return alpha * m * m / sum;
}

int s3_guard_page(struct s3_guard *g, const char *token, bool new_key, uint32_t idle_max, struct err *err)
{
	uint64_t now = hash(token, strlen(token));

	g->idle = new_key ? 0 : g->idle + 1;
	if (g->idle > idle_max)
		return err_set(err, -ERR_CORRUPT, "the listing goes on without a new key for over %u pages",
			       idle_max);
	if (g->stride > 0 && now == g->mark)
		return err_set(err, -ERR_CORRUPT, "the continuation tokens lead in a circle of %u pages",
			       g->steps + 1);
	if (g->keys > KEYS_FREE && (double)g->keys > KEYS_TIMES * different_keys(g))
		return err_set(
			err, -ERR_CORRUPT,
			"the listing gives the same keys again and again: %llu, of them about %.0f different",
			(unsigned long long)g->keys, different_keys(g));
	if (++g->steps >= g->stride) {
		g->mark = now;
		g->stride = g->stride ? g->stride * 2 : 1;
		g->steps = 0;
	}
	return 0;
}
