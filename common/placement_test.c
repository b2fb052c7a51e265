/* Placement: golden vectors, even spread by weight, and little movement. Another result of the golden tests is another format. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "common/placement.h"

enum { NODES = 50, OBJECTS = 100000 };

static struct hash256 key_of(const char *prefix, unsigned n)
{
	char text[64];
	int len = snprintf(text, sizeof text, "%s-%u", prefix, n);
	return hash256_of(text, (size_t)len);
}

/* Nodes 1001, 1002...: the shares are 1, 2, 3, 4 GiB in turn. */
static void make_nodes(struct placement_node *nodes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		nodes[i] = (struct placement_node){.id = 1001 + i, .share_bytes = (1 + i % 4) << 30};
}

static void the_order_of_a_dataset_is_as_written_here(void **state)
{
	static const struct {
		unsigned dataset;
		uint64_t ids[8];
		uint64_t first_cost;
	} golden[] = {
		{1, {1004, 1007, 1002, 1008, 1005, 1006, 1003, 1001}, UINT64_C(247061387)},
		{2, {1008, 1003, 1004, 1002, 1006, 1007, 1005, 1001}, UINT64_C(949061906)},
		{3, {1006, 1001, 1008, 1005, 1007, 1003, 1002, 1004}, UINT64_C(476617706)},
		{7, {1008, 1003, 1007, 1006, 1001, 1002, 1004, 1005}, UINT64_C(11074812)},
		{4711, {1004, 1003, 1007, 1008, 1002, 1005, 1006, 1001}, UINT64_C(493568649)},
	};
	struct placement_node nodes[8];
	struct placement_rank ranks[8];
	make_nodes(nodes, 8);
	for (size_t g = 0; g < LENGTH(golden); g++) {
		struct hash256 key = key_of("dataset", golden[g].dataset);
		assert_int_equal(placement_order(&key, nodes, 8, ranks), 8);
		for (size_t i = 0; i < 8; i++)
			assert_int_equal(nodes[ranks[i].node].id, golden[g].ids[i]);
		assert_int_equal(ranks[0].cost, golden[g].first_cost);
	}
}

static void the_homes_of_an_object_are_as_written_here(void **state)
{
	static const struct {
		unsigned object;
		uint64_t span;
		uint64_t ids[3];
	} golden[] = {
		{1, 0, {1004, 1007, 1002}}, {2, 0, {1004, 1002, 1008}}, {3, 0, {1007, 1006, 1002}},
		{3, 1, {1002, 1008, 1004}}, {3, 2, {1007, 1004, 1002}}, {99, UINT64_MAX, {1005, 1008, 1002}},
	};
	struct placement_node nodes[8];
	struct placement_rank ranks[8];
	uint32_t homes[3];
	make_nodes(nodes, 8);
	struct hash256 key = key_of("dataset", 1);
	assert_int_equal(placement_order(&key, nodes, 8, ranks), 8);
	for (size_t g = 0; g < LENGTH(golden); g++) {
		struct hash256 object = key_of("object", golden[g].object);
		assert_int_equal(placement_homes(&object, golden[g].span, nodes, ranks, 6, 3, homes), 3);
		for (size_t i = 0; i < 3; i++)
			assert_int_equal(nodes[homes[i]].id, golden[g].ids[i]);
	}
}

static void the_order_does_not_depend_on_the_order_of_the_members(void **state)
{
	struct placement_node nodes[NODES], turned[NODES];
	struct placement_rank ranks[NODES], other[NODES];
	struct hash256 key = key_of("dataset", 9);
	make_nodes(nodes, NODES);
	for (size_t i = 0; i < NODES; i++)
		turned[i] = nodes[(i * 7 + 3) % NODES];
	assert_int_equal(placement_order(&key, nodes, NODES, ranks), NODES);
	assert_int_equal(placement_order(&key, turned, NODES, other), NODES);
	for (size_t i = 0; i < NODES; i++)
		assert_int_equal(nodes[ranks[i].node].id, turned[other[i].node].id);
}

static void a_member_without_a_share_is_no_home(void **state)
{
	struct placement_node nodes[4];
	struct placement_rank ranks[4];
	struct hash256 key = key_of("dataset", 2);
	make_nodes(nodes, 4);
	nodes[2].share_bytes = 0;
	assert_int_equal(placement_order(&key, nodes, 4, ranks), 3);
	for (size_t i = 0; i < 3; i++)
		assert_int_not_equal(ranks[i].node, 2);
	nodes[0].share_bytes = nodes[1].share_bytes = nodes[3].share_bytes = 0;
	assert_int_equal(placement_order(&key, nodes, 4, ranks), 0);
	assert_true(placement_is_mine(&key, 0, nodes, ranks, 0, 1, 3));
}

static void the_home_set_is_the_fewest_nodes_that_hold_the_dataset(void **state)
{
	static const struct {
		uint64_t bytes;
		uint32_t replicas;
		size_t want; /* shares in order: 4, 1, 3, 2 */
	} cases[] = {{1, 1, 1}, {4, 1, 1}, {5, 1, 2}, {6, 1, 3},  {10, 1, 4}, {11, 1, 4},         {0, 1, 1},
		     {1, 3, 3}, {2, 2, 2}, {3, 2, 3}, {99, 9, 4}, {0, 4, 4},  {UINT64_MAX, 16, 4}};
	static const struct placement_node nodes[] = {{.id = 1, .share_bytes = 4},
						      {.id = 2, .share_bytes = 1},
						      {.id = 3, .share_bytes = 3},
						      {.id = 4, .share_bytes = 2}};
	static const struct placement_rank ranks[] = {{.node = 0}, {.node = 1}, {.node = 2}, {.node = 3}};
	for (size_t i = 0; i < LENGTH(cases); i++)
		assert_int_equal(placement_home_count(nodes, ranks, 4, cases[i].bytes, cases[i].replicas),
				 cases[i].want);
	assert_int_equal(placement_home_count(nodes, ranks, 0, 7, 1), 0);
}

/* Over many draws each node is first as often as its weight says, within 5 standard deviations. */
static void first_places_are_as_many_as_the_weights_say(void **state)
{
	struct placement_node nodes[8];
	struct placement_rank ranks[8];
	unsigned count[8] = {0};
	make_nodes(nodes, 8);
	for (unsigned i = 0; i < OBJECTS; i++) {
		struct hash256 key = key_of("dataset", i);
		assert_int_equal(placement_order(&key, nodes, 8, ranks), 8);
		count[ranks[0].node]++;
	}
	for (unsigned i = 0; i < 8; i++) {
		double p = (1 + i % 4) / 20.0, mean = OBJECTS * p, variance = mean * (1 - p);
		double off = count[i] - mean;
		assert_true(off * off < 25 * variance);
	}
}

static void a_member_that_leaves_moves_only_what_it_held(void **state)
{
	struct placement_node nodes[NODES];
	struct placement_rank before[NODES], after[NODES];
	struct hash256 key = key_of("dataset", 3);
	unsigned moved = 0, held = 0;
	make_nodes(nodes, NODES);
	size_t n = placement_order(&key, nodes, NODES, before);
	uint32_t gone = before[20].node;
	/* Its weight is gone; the largest share, by which weights are scaled, stays. */
	uint64_t share = nodes[gone].share_bytes;
	nodes[gone].share_bytes = 0;
	size_t m = placement_order(&key, nodes, NODES, after);
	nodes[gone].share_bytes = share;
	assert_int_equal(m, n - 1);
	for (unsigned i = 0; i < OBJECTS / 10; i++) {
		struct hash256 object = key_of("object", i);
		uint32_t old = 0, now = 0;
		assert_int_equal(placement_homes(&object, 0, nodes, before, n, 1, &old), 1);
		assert_int_equal(placement_homes(&object, 0, nodes, after, m, 1, &now), 1);
		held += old == gone;
		moved += old != now;
	}
	assert_true(held > 0);
	assert_int_equal(moved, held);
}

static void replicas_are_different_nodes_and_the_first_ones_of_more(void **state)
{
	struct placement_node nodes[NODES];
	struct placement_rank ranks[NODES];
	struct hash256 key = key_of("dataset", 4);
	make_nodes(nodes, NODES);
	size_t n = placement_order(&key, nodes, NODES, ranks);
	for (unsigned i = 0; i < 1000; i++) {
		struct hash256 object = key_of("object", i);
		uint32_t one[1], five[5];
		assert_int_equal(placement_homes(&object, i % 3, nodes, ranks, n, 1, one), 1);
		assert_int_equal(placement_homes(&object, i % 3, nodes, ranks, n, 5, five), 5);
		assert_int_equal(one[0], five[0]);
		for (size_t a = 0; a < 5; a++)
			for (size_t b = 0; b < a; b++)
				assert_int_not_equal(five[a], five[b]);
		for (uint32_t node = 0; node < NODES; node++) {
			bool listed = false;
			for (size_t a = 0; a < 5; a++)
				listed |= five[a] == node;
			assert_int_equal(placement_is_mine(&object, i % 3, nodes, ranks, n, 5, node), listed);
		}
	}
	uint32_t few[4];
	assert_int_equal(placement_homes(&key, 0, nodes, ranks, 2, 4, few), 2);
}

static void an_object_is_spread_when_it_exceeds_an_eighth_of_a_tier(void **state)
{
	assert_false(placement_is_spread(100, 800));
	assert_true(placement_is_spread(101, 800));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_order_of_a_dataset_is_as_written_here),
		cmocka_unit_test(the_homes_of_an_object_are_as_written_here),
		cmocka_unit_test(the_order_does_not_depend_on_the_order_of_the_members),
		cmocka_unit_test(a_member_without_a_share_is_no_home),
		cmocka_unit_test(the_home_set_is_the_fewest_nodes_that_hold_the_dataset),
		cmocka_unit_test(first_places_are_as_many_as_the_weights_say),
		cmocka_unit_test(a_member_that_leaves_moves_only_what_it_held),
		cmocka_unit_test(replicas_are_different_nodes_and_the_first_ones_of_more),
		cmocka_unit_test(an_object_is_spread_when_it_exceeds_an_eighth_of_a_tier),
	};
	return cmocka_run_group_tests_name("placement", tests, NULL, NULL);
}
