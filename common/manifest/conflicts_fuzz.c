/*
 * Any bytes as a note of conflicts, its sum made right: what is taken is written as it was, and so is what is put together
 * again from its names.
 *
 * Decoders: common/manifest/conflicts.c
 */
#include <stdint.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/manifest/conflicts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_written_as(const struct conflicts *c, const uint8_t *bytes, size_t len)
{
	uint8_t *again;
	size_t again_len;

	if (conflicts_encode(c, &again, &again_len) != 0)
		return true; /* no memory: nothing is shown */
	bool same = again_len == len && again_len <= CONFLICTS_ENCODED_MAX && memcmp(again, bytes, len) == 0;
	(void)mem_free(again);
	return same;
}

static int add_again(struct conflicts *to, enum conflict_kind kind, const struct conflicts *from)
{
	const struct conflicts_of_kind *k = &from->of[kind];
	int r = 0;

	if (!conflicts_all_named(from, kind)) {
		r = conflicts_keep(to, kind, from);
		to->of[kind].earlier = k->earlier;
		return r;
	}
	for (size_t i = 0; i < k->named && r == 0; i++)
		r = conflicts_add(to, kind, k->first[i].path, k->first[i].len, k->first[i].source);
	return r;
}

/* Adds all to none, and forgets them. */
static void put_together(const struct conflicts *c, const uint8_t *bytes, size_t len)
{
	CLEANUP(conflicts_free) struct conflicts *other = conflicts_new();
	int r = other ? 0 : -1;

	for (int i = 0; i < CONFLICT_KINDS && r == 0; i++)
		r = add_again(other, (enum conflict_kind)i, c);
	CHECK(r != 0 || is_written_as(other, bytes, len));
	for (int i = 0; i < CONFLICT_KINDS && r == 0; i++) {
		conflicts_clear(other, (enum conflict_kind)i);
		CHECK(other->of[i].earlier || other->of[i].count == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(conflicts_free) struct conflicts *c = NULL;
	uint8_t *bytes = mem_alloc(size + 4);

	if (!bytes)
		return 0;
	memcpy(bytes, data, size);
	put_le32(bytes + size, crc32c(0, bytes, size));
	if (conflicts_decode(bytes, size + 4, &c) == 0) {
		CHECK(is_written_as(c, bytes, size + 4));
		put_together(c, bytes, size + 4);
	}
	(void)mem_free(bytes);
	return 0;
}
