#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/mem.h"
#include "common/base/rng.h"
#include "common/manifest/chunk_ways.h"

enum { ENTRIES = 2000, DAMAGES = 400, PATH_ROOM = 256, KEY_ROOM = 32 };

/* Mostly what a table is full of, now and then what few entries have. */
static void random_entry(struct rng *rng, unsigned i, char *path, char *key, struct manifest_entry *e)
{
	bool odd = rng_below(rng, 8) == 0;
	int len = snprintf(
		path, PATH_ROOM, "f%05u%.*s", i, (int)rng_below(rng, odd ? 200 : 12),
		"-a-name-that-goes-on-for-a-while-0123456789-0123456789-0123456789-0123456789-0123456789-"
		"0123456789-0123456789-0123456789-0123456789-0123456789-0123456789-0123456789-0123456789");
	*e = (struct manifest_entry){.type = rng_below(rng, 10) ? MANIFEST_FILE : MANIFEST_DIR,
				     .path = path,
				     .path_len = (size_t)len,
				     .size = rng_next(rng) >> (1 + rng_below(rng, 63)),
				     .mtime_ns = (1700000000 + (int64_t)rng_below(rng, 200)) * 1000000000};
	e->validator.kind = VALIDATOR_STRONG;
	e->validator.len = (uint8_t)(rng_below(rng, 50) ? 32 : rng_below(rng, VALIDATOR_BYTES_MAX + 1));
	for (size_t k = 0; k < e->validator.len; k++)
		e->validator.bytes[k] = (uint8_t) "0123456789abcdef"[rng_below(rng, 16)];
	if (!odd)
		return;
	e->mode = (uint16_t)rng_below(rng, 3);
	e->source = (uint16_t)rng_below(rng, 3);
	e->mtime_ns = (int64_t)(rng_next(rng) >> (2 + rng_below(rng, 60)));
	if (rng_below(rng, 2)) {
		e->key = key;
		e->key_len = (size_t)snprintf(key, KEY_ROOM, "key-%u", i);
	}
	if (rng_below(rng, 3) == 0) {
		e->type = MANIFEST_SYMLINK;
		e->target = key;
		e->target_len = (size_t)snprintf(key, KEY_ROOM, "key-%u", i);
	}
}

static void write_chunk(struct rng *rng, struct chunk_writer *w)
{
	char path[PATH_ROOM], key[KEY_ROOM];

	for (unsigned i = 0; i < ENTRIES; i++) {
		struct manifest_entry e;
		random_entry(rng, i, path, key, &e);
		assert_int_equal(chunk_writer_add(w, &e, rng_below(rng, 1000)), 0);
	}
}

/* Decodes to the end or the first error, both ways; how many entries there were. */
static uint32_t decode(const uint8_t *bytes, size_t len)
{
	struct chunk_view v;
	struct manifest_cursor c = {0};
	struct chunk_entry x;
	char path[MANIFEST_PATH_MAX + 1] = "", spare[MANIFEST_PATH_MAX + 1] = "";
	uint32_t count = 0;

	if (chunk_view_parse(bytes, len, &v) != 0)
		return 0;
	for (int r = 0; r == 0; count += r == 0)
		assert_true(chunk_next_both(&v, &c, path, spare, &x, &r));
	return count;
}

static void both_ways_of_decoding_give_the_same_entries_whatever_the_bytes(void **state)
{
	const char *text = getenv("SEED");
	uint64_t seed = text ? strtoull(text, NULL, 10) : 1;
	struct rng rng = rng_seeded(seed);
	struct chunk_writer *w = mem_calloc(1, sizeof *w);
	const uint8_t *bytes;
	size_t len;
	uint32_t least = ENTRIES;

	print_message("seed %llu: SEED=%llu repeats it\n", (unsigned long long)seed,
		      (unsigned long long)seed);
	chunk_writer_init(w);
	write_chunk(&rng, w);
	assert_int_equal(chunk_writer_end(w, &bytes, &len), 0);
	assert_int_equal(decode(bytes, len), ENTRIES);
	uint8_t *damaged = malloc(len); /* of its own, so that a byte read behind it is seen */
	for (int i = 0; i < DAMAGES; i++) {
		memcpy(damaged, bytes, len);
		for (uint64_t n = 1 + rng_below(&rng, 3); n > 0; n--)
			damaged[rng_below(&rng, len)] ^= (uint8_t)(1 + rng_below(&rng, 255));
		least = MIN(least, decode(damaged, len));
	}
	assert_true(least < ENTRIES);
	free(damaged);
	chunk_writer_done(w);
	(void)mem_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_ways_of_decoding_give_the_same_entries_whatever_the_bytes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
