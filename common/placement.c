#include "common/placement.h"

#include <stdlib.h>

#include "common/base/bytes.h"

__extension__ typedef unsigned __int128 uint128;

/* Fractional bits of logarithms, and the weight's bits that count. A cost is a logarithm (at most 64 << LOG_BITS) shifted left by
 * what is left of 64 bits and divided by the weight. */
#define LOG_BITS    32
#define WEIGHT_BITS 26

/* -log2(@x / 2^64) with LOG_BITS fractional bits, for @x above 0: whole part by the leading zeros, fraction bit by bit by
 * squaring (Turner 2010, "A Fast Binary Logarithm Algorithm"). Exact arithmetic: the same everywhere. */
static uint64_t negative_log2(uint64_t x)
{
	CHECK(x > 0);
	unsigned zeros = (unsigned)__builtin_clzll(x);
	uint64_t whole = 63 - zeros, fraction = 0;
	uint64_t m = x << zeros; /* in [2^63, 2^64): 1 to 2 with 63 fractional bits */
	for (unsigned i = 0; i < LOG_BITS; i++) {
		uint128 square = (uint128)m * m >> 63;
		bool two = square >> 64 != 0;
		m = (uint64_t)(two ? square >> 1 : square);
		fraction = fraction << 1 | two;
	}
	return (UINT64_C(64) << LOG_BITS) - (whole << LOG_BITS | fraction);
}

/* SipHash under the key's first half, of the node and what is placed: even over 64 bits, and different for each pair. */
static uint64_t draw(const struct hash256 *key, uint64_t node, uint64_t span)
{
	uint8_t text[32];
	put_le64(text, node);
	put_le64(text + 8, span);
	put_le64(text + 16, get_le64(key->bytes + 16));
	put_le64(text + 24, get_le64(key->bytes + 24));
	uint64_t x = siphash24(key->bytes, text, sizeof text);
	return x ? x : 1;
}

/* -log2(draw) / weight: the least of such numbers belongs to a node with a probability in proportion to its weight. */
static uint64_t cost_of(uint64_t log, uint64_t weight)
{
	CHECK(weight > 0 && weight >> WEIGHT_BITS == 0);
	return (log << (63 - 6 - LOG_BITS)) / weight;
}

/* Weights have WEIGHT_BITS bits: of a share, those that the largest one, @most, has uppermost. */
static unsigned weight_shift(uint64_t most)
{
	unsigned bits = most ? 64u - (unsigned)__builtin_clzll(most) : 0;
	return bits > WEIGHT_BITS ? bits - WEIGHT_BITS : 0;
}

static int compare(const void *a, const void *b, void *arg)
{
	const struct placement_rank *x = a, *y = b;
	const struct placement_node *nodes = arg;
	if (x->cost != y->cost)
		return x->cost < y->cost ? -1 : 1;
	uint64_t p = nodes[x->node].id, q = nodes[y->node].id;
	return p < q ? -1 : p > q;
}

size_t placement_order(const struct hash256 *key, const struct placement_node *nodes, size_t count,
		       struct placement_rank *ranks)
{
	CHECK(count <= PLACEMENT_NODES_MAX);
	uint64_t most = 0;
	size_t n = 0;
	for (size_t i = 0; i < count; i++)
		most = MAX(most, nodes[i].share_bytes);
	unsigned shift = weight_shift(most);
	for (size_t i = 0; i < count; i++) {
		if (!nodes[i].share_bytes)
			continue;
		uint64_t weight = MAX(nodes[i].share_bytes >> shift, 1);
		uint64_t log = negative_log2(draw(key, nodes[i].id, 0));
		ranks[n++] = (struct placement_rank){.node = (uint32_t)i, .cost = cost_of(log, weight)};
	}
	/* The comparison only reads @nodes. */
	qsort_r(ranks, n, sizeof *ranks, compare, (void *)(uintptr_t)nodes);
	return n;
}

size_t placement_home_count(const struct placement_node *nodes, const struct placement_rank *ranks,
			    size_t rank_count, uint64_t bytes, uint32_t replicas)
{
	CHECK(replicas > 0);
	uint128 wanted = (uint128)bytes * replicas, held = 0;
	size_t k = 0;
	while (k < rank_count && (k < replicas || held < wanted))
		held += nodes[ranks[k++].node].share_bytes;
	return k;
}

size_t placement_homes(const struct hash256 *object, uint64_t span, const struct placement_node *nodes,
		       const struct placement_rank *ranks, size_t home_count, uint32_t replicas,
		       uint32_t *ret)
{
	uint64_t most = 0;
	size_t n = 0;
	for (size_t i = 0; i < home_count; i++)
		most = MAX(most, nodes[ranks[i].node].share_bytes);
	unsigned shift = weight_shift(most);
	/* The replicas are few: each place found is moved down until the costs before it are less. */
	uint64_t costs[PLACEMENT_REPLICAS_MAX];
	CHECK(replicas > 0 && replicas <= PLACEMENT_REPLICAS_MAX);
	for (size_t i = 0; i < home_count; i++) {
		const struct placement_node *node = &nodes[ranks[i].node];
		uint64_t weight = MAX(node->share_bytes >> shift, 1);
		uint64_t cost = cost_of(negative_log2(draw(object, node->id, span)), weight);
		size_t at = n;
		while (at > 0 &&
		       (costs[at - 1] > cost || (costs[at - 1] == cost && nodes[ret[at - 1]].id > node->id)))
			at--;
		if (at == replicas)
			continue;
		n = MIN(n + 1, replicas);
		for (size_t j = n - 1; j > at; j--) {
			costs[j] = costs[j - 1];
			ret[j] = ret[j - 1];
		}
		costs[at] = cost;
		ret[at] = ranks[i].node;
	}
	return n;
}

bool placement_is_mine(const struct hash256 *object, uint64_t span, const struct placement_node *nodes,
		       const struct placement_rank *ranks, size_t home_count, uint32_t replicas,
		       uint32_t self)
{
	uint32_t homes[PLACEMENT_REPLICAS_MAX];
	size_t n = placement_homes(object, span, nodes, ranks, home_count, replicas, homes);
	for (size_t i = 0; i < n; i++)
		if (homes[i] == self)
			return true;
	return home_count == 0;
}
