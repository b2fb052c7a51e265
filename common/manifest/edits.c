/*
 * One delta of a manifest: its edits, found by the ordinal in the table that it makes, or by key. Between two edits both tables
 * hold the same entries, so the edit before a place says where it lies in the table below.
 */
#include <errno.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/manifest/reader.h"

/* Nothing is edited before the first edit: there the tables begin side by side. */
static void begin(struct edit_found *ret)
{
	*ret = (struct edit_found){.until = UINT64_MAX};
}

static void stand_behind(struct edit_found *ret, const struct edit_place *p)
{
	ret->next_ordinal = edit_next_ordinal(p);
	ret->next_below = edit_next_below(p);
}

/* The last chunk whose first edit stands at or before @ordinal; false: none does. */
static bool chunk_of_ordinal(const struct root_table *t, uint64_t ordinal, size_t *ret)
{
	*ret = table_chunk_of_ordinal(t, ordinal);
	return t->chunks[*ret].first_ordinal <= ordinal;
}

static int block_of_ordinal(const struct chunk_view *v, uint64_t ordinal, uint32_t *ret)
{
	uint32_t low = 0, high = v->blocks;

	while (high - low > 1) {
		uint32_t mid = low + (high - low) / 2;
		struct edit_place place;
		int r = chunk_block_place(v, mid, &place);
		if (r != 0)
			return r;
		if (place.ordinal <= ordinal)
			low = mid;
		else
			high = mid;
	}
	*ret = low;
	return 0;
}

/* The last edit of the block at or before @ordinal, and the first behind it, if that is in the chunk. */
static int search_block(const struct chunk_view *v, uint32_t block, uint64_t ordinal, struct edit_found *ret)
{
	char path[MANIFEST_PATH_MAX + 1];
	struct manifest_cursor c;
	struct chunk_entry x;
	int r = chunk_seek(v, block, &c);

	for (int i = 0; r == 0 && i <= CHUNK_BLOCK_ENTRIES; i++) {
		r = chunk_next(v, &c, path, &x);
		if (r != 0)
			break;
		if (x.place.ordinal > ordinal) {
			ret->until = x.place.ordinal;
			return 0;
		}
		stand_behind(ret, &x.place);
		ret->is_edit = x.place.kind != EDIT_REMOVE && x.place.ordinal == ordinal;
		ret->index = c.index - 1;
	}
	return r == -ENOENT ? 0 : r;
}

int edits_by_ordinal(struct manifest *m, size_t table, uint64_t ordinal, struct edit_found *ret)
{
	const struct root_table *t = &m->t.tables[table];
	struct chunk_view v;
	uint32_t block = 0;

	begin(ret);
	if (!chunk_of_ordinal(t, ordinal, &ret->chunk)) {
		ret->until = t->chunks[0].first_ordinal;
		return 0;
	}
	int r = reader_chunk(m, table, ret->chunk, &v);
	if (r == 0)
		r = block_of_ordinal(&v, ordinal, &block);
	if (r == 0)
		r = search_block(&v, block, ordinal, ret);
	if (r == 0 && ret->until == UINT64_MAX && ret->chunk + 1 < t->count)
		ret->until = t->chunks[ret->chunk + 1].first_ordinal;
	/* What stands before the edit, or behind the next one, is no place for this ordinal. */
	if (r == 0 && !ret->is_edit && (ordinal < ret->next_ordinal || ret->until <= ordinal))
		return -ERR_CORRUPT;
	return r;
}

int edits_by_key(struct manifest *m, size_t table, const struct path_key *k, struct manifest_found *f,
		 struct edit_found *ret, struct chunk_entry *ret_entry)
{
	const struct root_table *t = &m->t.tables[table];
	struct manifest_cursor *c = &f->position.cursor;
	struct chunk_view v;
	uint32_t block = 0;

	begin(ret);
	ret->chunk = table_chunk_of_key(t, k);
	int r = reader_chunk(m, table, ret->chunk, &v);
	if (r == 0)
		r = chunk_block_of_key(&v, k, &block);
	if (r == 0)
		r = chunk_seek(&v, block, c);
	for (int i = 0; i < CHUNK_BLOCK_ENTRIES && r == 0; i++) {
		r = chunk_next(&v, c, f->path, ret_entry);
		if (r != 0)
			break;
		struct path_key now = {f->path, ret_entry->path_len, manifest_type_is_dir(ret_entry->type)};
		int order = path_key_compare(&now, k);
		if (order > 0)
			return 0;
		stand_behind(ret, &ret_entry->place);
		if (order < 0)
			continue;
		ret->removed = ret_entry->place.kind == EDIT_REMOVE;
		ret->is_edit = !ret->removed;
		return 0;
	}
	return r == -ENOENT ? 0 : r;
}

int edits_seek(struct manifest *m, size_t table, size_t chunk, uint32_t index, struct manifest_found *f)
{
	struct manifest_position *p = &f->position;
	struct chunk_view v;
	struct chunk_entry skipped;

	p->chunk = chunk;
	int r = reader_chunk(m, table, chunk, &v);
	if (r == 0)
		r = chunk_seek(&v, index / CHUNK_BLOCK_ENTRIES, &p->cursor);
	for (uint32_t i = index % CHUNK_BLOCK_ENTRIES; i > 0 && r == 0; i--)
		r = chunk_next(&v, &p->cursor, f->path, &skipped);
	return r;
}
