#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "cache-node/cache/index.h"
#include "common/base/rng.h"

/* Few distinct leading bytes, so that probes run into each other. */
static struct hash256 id_of(uint32_t n)
{
	struct hash256 h = {{0}};
	h.bytes[0] = (uint8_t)(n % 7);
	memcpy(h.bytes + 20, &n, sizeof n);
	return h;
}

static void random_puts_and_takes_agree_with_a_plain_array(void **state)
{
	enum { N = 300 };
	static uint64_t model[N];
	struct index x = {.slots = NULL};
	struct rng r = rng_seeded(11);
	size_t count = 0;
	print_message("seed 11\n");
	for (int i = 0; i < 50000; i++) {
		uint32_t n = (uint32_t)rng_below(&r, N);
		struct index_entry e = {.id = id_of(n), .bytes = 1 + rng_below(&r, 1000)}, got;
		if (rng_below(&r, 2)) {
			assert_int_equal(index_put(&x, &e), 0);
			count += model[n] == 0;
			model[n] = e.bytes;
		} else {
			assert_int_equal(index_take(&x, &e.id, &got), model[n] != 0);
			if (model[n])
				assert_int_equal(got.bytes, model[n]);
			count -= model[n] != 0;
			model[n] = 0;
		}
		assert_int_equal(x.count, count);
		n = (uint32_t)rng_below(&r, N);
		e.id = id_of(n);
		const struct index_entry *found = index_find(&x, &e.id);
		assert_int_equal(found ? found->bytes : 0, model[n]);
		found = index_find_key(&x, index_key(&e.id)); /* another may share the key */
		assert_true(model[n] == 0 || found);
		assert_true(!found || index_key(&found->id) == index_key(&e.id));
	}
	index_done(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_puts_and_takes_agree_with_a_plain_array),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
