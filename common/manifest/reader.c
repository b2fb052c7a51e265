#include "common/manifest/reader.h"

#include <errno.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/mem.h"

/* ---- opening ---- */

static int map_root(struct manifest *m, struct err *err)
{
	int r = m->chunks.map(m->chunks.ctx, &m->root, &m->root_bytes, &m->root_len, err);
	if (r != 0)
		return r;
	struct hash256 hash = hash256_of(m->root_bytes, m->root_len);
	r = hash256_compare(&hash, &m->root) == 0 ? 0 : -ERR_CORRUPT;
	if (r == 0)
		r = root_decode(m->root_bytes, m->root_len, &m->stats, &m->t);
	char hex[HASH256_HEX];
	hash256_hex(&m->root, hex);
	return r == 0 ? 0 : err_set(err, r, "manifest root %.16s: %s", hex, err_text(r));
}

int manifest_open(const struct hash256 *root, const struct manifest_chunks *chunks, struct manifest **ret,
		  struct err *err)
{
	CLEANUP(manifest_free) struct manifest *m = mem_calloc(1, sizeof *m);
	if (!m)
		return err_set(err, -ENOMEM, "manifest: out of memory");
	m->root = *root;
	m->chunks = *chunks;
	int r = map_root(m, err);
	if (r != 0)
		return r;
	for (size_t i = 0; i < m->t.count; i++) {
		m->maps[i] = mem_calloc(m->t.tables[i].count, sizeof *m->maps[i]);
		if (!m->maps[i])
			return err_set(err, -ENOMEM, "manifest: out of memory");
	}
	*ret = TAKE(m);
	return 0;
}

static void unmap_table(struct manifest *m, size_t table)
{
	for (size_t i = 0; m->maps[table] && i < m->t.tables[table].count; i++) {
		const uint8_t *bytes = atomic_load(&m->maps[table][i].bytes);
		if (bytes)
			m->chunks.unmap(m->chunks.ctx, bytes, m->t.tables[table].chunks[i].bytes);
	}
	(void)mem_free(m->maps[table]);
}

struct manifest *manifest_free(struct manifest *m)
{
	if (!m)
		return NULL;
	for (size_t i = 0; i < LENGTH(m->maps); i++)
		unmap_table(m, i);
	root_tables_done(&m->t);
	if (m->root_bytes)
		m->chunks.unmap(m->chunks.ctx, m->root_bytes, m->root_len);
	return mem_free(m);
}

void reader_only_base(struct manifest *m)
{
	while (m->t.count > 1) {
		m->t.count--;
		unmap_table(m, m->t.count);
		m->maps[m->t.count] = NULL;
		(void)mem_free(m->t.tables[m->t.count].chunks);
	}
	m->stats.entries = m->t.tables[0].entries;
}

void manifest_root(const struct manifest *m, struct hash256 *ret)
{
	*ret = m->root;
}

void manifest_stats_get(const struct manifest *m, struct manifest_stats *ret)
{
	*ret = m->stats;
}

/* ---- chunks ---- */

/* Whether the bytes are those that the root promised, from hash to the last entry. */
static int verify(const struct root_chunk *c, bool delta, const uint8_t *bytes, size_t len)
{
	struct edit_place place = {EDIT_ADD, 0, 0};
	struct hash256 hash;
	struct chunk_view v;
	struct path_key first;

	if (len != c->bytes)
		return -ERR_CORRUPT;
	hash = hash256_of(bytes, len);
	if (hash256_compare(&hash, &c->hash) != 0)
		return -ERR_CORRUPT;
	int r = chunk_view_parse(bytes, len, &v);
	if (r == 0)
		r = v.delta == delta ? chunk_block_key(&v, 0, &first) : -ERR_CORRUPT;
	if (r == 0 && delta)
		r = chunk_block_place(&v, 0, &place);
	if (r != 0)
		return r;
	if (delta && (place.ordinal != c->first_ordinal || place.below != c->first_below))
		return -ERR_CORRUPT;
	if (v.entries != c->entries || path_key_compare(&first, &c->first) != 0)
		return -ERR_CORRUPT;
	struct manifest_found *scratch = mem_calloc(1, sizeof *scratch);
	if (!scratch)
		return -ENOMEM;
	r = chunk_check(&v, scratch);
	(void)mem_free(scratch);
	return r;
}

/* Two threads may map and verify the same chunk; one of the maps is kept. */
static int map_chunk(struct manifest *m, size_t table, size_t i, const uint8_t **ret)
{
	const struct root_chunk *c = &m->t.tables[table].chunks[i];
	const uint8_t *bytes, *none = NULL;
	size_t len;
	int r = m->chunks.map(m->chunks.ctx, &c->hash, &bytes, &len, NULL);
	if (r != 0)
		return r == -ENOENT ? -EIO : r; /* ENOENT is kept for entries */
	r = verify(c, table > 0, bytes, len);
	if (r != 0) {
		m->chunks.unmap(m->chunks.ctx, bytes, len);
		return r;
	}
	if (!atomic_compare_exchange_strong(&m->maps[table][i].bytes, &none, bytes)) {
		m->chunks.unmap(m->chunks.ctx, bytes, len);
		bytes = none;
	}
	*ret = bytes;
	return 0;
}

int reader_chunk(struct manifest *m, size_t table, size_t i, struct chunk_view *ret)
{
	const uint8_t *bytes = atomic_load_explicit(&m->maps[table][i].bytes, memory_order_acquire);
	int r = bytes ? 0 : map_chunk(m, table, i, &bytes);
	return r == 0 ? chunk_view_parse(bytes, m->t.tables[table].chunks[i].bytes, ret) : r;
}

/* ---- by ordinal ---- */

size_t table_chunk_of_ordinal(const struct root_table *t, uint64_t ordinal)
{
	size_t low = 0, high = t->count;

	while (high - low > 1) {
		size_t mid = low + (high - low) / 2;
		if (t->chunks[mid].first_ordinal <= ordinal)
			low = mid;
		else
			high = mid;
	}
	return low;
}

int reader_step(struct manifest *m, struct manifest_found *f, struct chunk_entry *ret)
{
	struct manifest_position *p = &f->position;
	struct chunk_view v;

	if (p->next >= m->stats.entries)
		return -ENOENT;
	int r = p->next >= p->run_end ? reader_seek(m, p->next, f) : 0;
	if (r != 0)
		return r;
	const struct root_chunk *c = &m->t.tables[p->table].chunks[p->chunk];
	if (p->table == 0 && p->below - c->first_ordinal == c->entries) {
		p->chunk++;
		p->cursor = (struct manifest_cursor){0};
	}
	r = reader_chunk(m, p->table, p->chunk, &v);
	if (r == 0)
		r = chunk_next(&v, &p->cursor, f->path, ret);
	if (r != 0)
		return r == -ENOENT ? -ERR_CORRUPT : r;
	p->next++;
	p->below++;
	return 0;
}

/* Goes down the deltas to the table that has the entry: its ordinal there in p->below, and how far the run goes. */
static int find_table(struct manifest *m, uint64_t ordinal, struct manifest_found *f)
{
	struct manifest_position *p = &f->position;
	uint64_t run = m->stats.entries - ordinal;

	p->below = ordinal;
	for (p->table = m->t.count - 1; p->table > 0; p->table--) {
		struct edit_found e;
		int r = edits_by_ordinal(m, p->table, p->below, &e);
		if (r != 0)
			return r;
		if (e.is_edit) {
			p->run_end = ordinal + 1;
			return edits_seek(m, p->table, e.chunk, e.index, f);
		}
		run = MIN(run, e.until - p->below);
		p->below = p->below - e.next_ordinal + e.next_below;
		if (p->below >= m->t.tables[p->table - 1].entries)
			return -ERR_CORRUPT;
	}
	p->run_end = ordinal + MIN(run, m->t.tables[0].entries - p->below);
	return 0;
}

static int seek_base(struct manifest *m, struct manifest_found *f)
{
	struct manifest_position *p = &f->position;
	const struct root_table *t = &m->t.tables[0];
	struct chunk_view v;
	struct chunk_entry skipped;

	p->chunk = table_chunk_of_ordinal(t, p->below);
	uint32_t index = (uint32_t)(p->below - t->chunks[p->chunk].first_ordinal);
	int r = reader_chunk(m, 0, p->chunk, &v);
	if (r == 0)
		r = chunk_seek(&v, index / CHUNK_BLOCK_ENTRIES, &p->cursor);
	for (uint32_t i = index % CHUNK_BLOCK_ENTRIES; i > 0 && r == 0; i--)
		r = chunk_next(&v, &p->cursor, f->path, &skipped);
	return r;
}

int reader_seek(struct manifest *m, uint64_t ordinal, struct manifest_found *f)
{
	struct manifest_position *p = &f->position;

	p->owner = NULL; /* nowhere, until all went well */
	int r = find_table(m, ordinal, f);
	if (r == 0 && p->table == 0)
		r = seek_base(m, f);
	if (r != 0)
		return r;
	p->owner = m;
	p->next = ordinal;
	return 0;
}

int manifest_at(struct manifest *m, uint64_t ordinal, struct manifest_found *ret)
{
	struct chunk_entry x;

	ret->position = (struct manifest_position){0};
	if (ordinal >= m->stats.entries)
		return -ENOENT;
	int r = reader_seek(m, ordinal, ret);
	if (r == 0)
		r = reader_step(m, ret, &x);
	if (r == 0)
		chunk_entry_found(&x, ordinal, ret);
	return r;
}

int manifest_scan(struct manifest *m, uint64_t from, uint64_t end,
		  int (*visit)(void *ctx, const struct manifest_found *f), void *ctx)
{
	CLEANUP(mem_free) void *memory = mem_calloc(1, sizeof(struct manifest_found));
	struct manifest_found *f = memory;
	struct chunk_entry x;

	if (!f)
		return -ENOMEM;
	end = MIN(end, m->stats.entries);
	int r = from < end ? reader_seek(m, from, f) : 0;
	for (uint64_t i = from; i < end && r == 0; i++) {
		r = reader_step(m, f, &x);
		if (r != 0)
			break;
		chunk_entry_found(&x, i, f);
		r = visit(ctx, f);
	}
	return r;
}

/* ---- by path ---- */

size_t table_chunk_of_key(const struct root_table *t, const struct path_key *k)
{
	size_t low = 0, high = t->count;

	while (high - low > 1) {
		size_t mid = low + (high - low) / 2;
		if (path_key_compare(&t->chunks[mid].first, k) <= 0)
			low = mid;
		else
			high = mid;
	}
	return low;
}

int chunk_block_of_key(const struct chunk_view *v, const struct path_key *k, uint32_t *ret)
{
	uint32_t low = 0, high = v->blocks;

	while (high - low > 1) {
		uint32_t mid = low + (high - low) / 2;
		struct path_key first;
		int r = chunk_block_key(v, mid, &first);
		if (r != 0)
			return r;
		if (path_key_compare(&first, k) <= 0)
			low = mid;
		else
			high = mid;
	}
	*ret = low;
	return 0;
}

static int find_in_base(struct manifest *m, const struct path_key *k, struct manifest_found *f,
			struct chunk_entry *ret, uint64_t *ret_ordinal)
{
	const struct root_table *t = &m->t.tables[0];
	struct manifest_position *p = &f->position;
	struct chunk_view v;
	uint32_t block = 0;

	p->chunk = table_chunk_of_key(t, k);
	int r = reader_chunk(m, 0, p->chunk, &v);
	if (r == 0)
		r = chunk_block_of_key(&v, k, &block);
	if (r == 0)
		r = chunk_seek(&v, block, &p->cursor);
	for (int i = 0; i < CHUNK_BLOCK_ENTRIES && r == 0; i++) {
		r = chunk_next(&v, &p->cursor, f->path, ret);
		if (r != 0)
			return r;
		struct path_key now = {f->path, ret->path_len, manifest_type_is_dir(ret->type)};
		int c = path_key_compare(&now, k);
		if (c > 0)
			return -ENOENT;
		if (c < 0)
			continue;
		*ret_ordinal = t->chunks[p->chunk].first_ordinal + p->cursor.index - 1;
		return 0;
	}
	return r == 0 ? -ENOENT : r;
}

/* From the last delta down: the first that says something of the key decides; what is found below is counted up again. */
static int find_in_tables(struct manifest *m, const struct path_key *k, struct manifest_found *f,
			  struct chunk_entry *ret, uint64_t *ret_ordinal)
{
	struct edit_found on_way[MANIFEST_DELTAS_MAX] = {{.is_edit = false}};
	size_t table = m->t.count - 1;
	uint64_t ordinal = 0;
	int r = 0;

	for (; table > 0; table--) {
		struct edit_found *e = &on_way[table - 1];
		r = edits_by_key(m, table, k, f, e, ret);
		if (r != 0)
			return r;
		if (e->removed)
			return -ENOENT;
		if (e->is_edit) {
			ordinal = ret->place.ordinal;
			break;
		}
	}
	if (table == 0)
		r = find_in_base(m, k, f, ret, &ordinal);
	while (r == 0 && ++table < m->t.count) {
		const struct edit_found *e = &on_way[table - 1];
		if (ordinal < e->next_below)
			return -ERR_CORRUPT;
		ordinal = ordinal - e->next_below + e->next_ordinal;
	}
	if (r == 0 && ordinal >= m->stats.entries)
		return -ERR_CORRUPT;
	*ret_ordinal = ordinal;
	return r;
}

int reader_find(struct manifest *m, const struct path_key *k, struct manifest_found *f,
		struct chunk_entry *ret, uint64_t *ret_ordinal)
{
	struct manifest_position *p = &f->position;

	*p = (struct manifest_position){0};
	int r = find_in_tables(m, k, f, ret, ret_ordinal);
	if (r != 0)
		return r;
	/* In a table without deltas the cursor can go on from here; else the next step looks where it is. */
	p->next = *ret_ordinal + 1;
	p->below = p->next;
	p->run_end = m->t.count == 1 ? m->stats.entries : p->next;
	p->owner = m;
	return 0;
}

static int find_key(struct manifest *m, const struct path_key *k, struct manifest_found *ret)
{
	struct chunk_entry x;
	uint64_t ordinal;
	int r = reader_find(m, k, ret, &x, &ordinal);

	if (r == 0)
		chunk_entry_found(&x, ordinal, ret);
	return r;
}

int manifest_lookup(struct manifest *m, const char *path, size_t len, struct manifest_found *ret)
{
	if (len > MANIFEST_PATH_MAX)
		return -ENOENT;
	struct path_key k = {path, len, false};
	int r = find_key(m, &k, ret);
	if (r != -ENOENT || len == 0)
		return r;
	k.dir = true;
	return find_key(m, &k, ret);
}

int manifest_child(struct manifest *m, uint64_t dir, const char *name, size_t len, struct manifest_found *ret)
{
	char path[MANIFEST_PATH_MAX + 1];
	int r = manifest_at(m, dir, ret);
	if (r != 0)
		return r;
	if (!manifest_type_is_dir(ret->e.type))
		return -ENOTDIR;
	size_t dir_len = ret->e.path_len, slash = dir_len > 0;
	if (len == 0 || len > MANIFEST_NAME_MAX || memchr(name, '/', len) ||
	    dir_len + slash + len > MANIFEST_PATH_MAX)
		return -ENOENT;
	memcpy(path, ret->path, dir_len);
	path[dir_len] = '/';
	memcpy(path + dir_len + slash, name, len);
	return manifest_lookup(m, path, dir_len + slash + len, ret);
}

/* ---- listing ---- */

/* Names the directory by a hash, since its path is gone once a child's stands in its place. */
static uint64_t path_hash(const char *path, size_t len)
{
	static const uint8_t key[16] = "larder listing";
	return siphash24(key, path, len);
}

static int begin_listing(struct manifest *m, uint64_t dir, struct manifest_found *f)
{
	int r = manifest_at(m, dir, f);
	if (r != 0)
		return r;
	if (!manifest_type_is_dir(f->e.type))
		return -ENOTDIR;
	f->position.dir = dir;
	f->position.dir_end = f->e.end;
	f->position.dir_len = f->e.path_len;
	f->position.dir_hash = path_hash(f->path, f->e.path_len);
	return 0;
}

/* Whether x, whose path stands in f, is a direct child of the listed directory. */
static bool is_child(const struct manifest_found *f, const struct chunk_entry *x)
{
	size_t dir = f->position.dir_len, name = dir ? dir + 1 : 0;

	if (x->path_len <= name || (dir && f->path[dir] != '/') ||
	    memchr(f->path + name, '/', x->path_len - name))
		return false;
	return x->shared > dir ||
	       path_hash(f->path, dir) == f->position.dir_hash; /* shared: was checked before */
}

/* Goes to @from, by decoding on where it is near. */
static int go_to(struct manifest *m, uint64_t from, struct manifest_found *f)
{
	struct manifest_position *p = &f->position;
	uint64_t last_near = (p->next | (CHUNK_BLOCK_ENTRIES - 1)) + 1;
	struct chunk_entry skipped;
	int r = 0;

	if (p->next > from || from > last_near)
		return reader_seek(m, from, f);
	while (r == 0 && p->next < from)
		r = reader_step(m, f, &skipped);
	return r;
}

int manifest_next_child(struct manifest *m, uint64_t dir, uint64_t from, struct manifest_found *ret)
{
	struct manifest_position *p = &ret->position;
	struct chunk_entry x;
	int r = 0;

	if (from == dir + 1 || p->owner != m || p->dir != dir || p->dir_end <= dir)
		r = begin_listing(m, dir, ret);
	if (r != 0)
		return r;
	if (from >= p->dir_end || from >= m->stats.entries)
		return -ENOENT;
	if (from <= dir)
		from = dir + 1;
	r = go_to(m, from, ret);
	uint64_t at = p->next;
	if (r == 0)
		r = reader_step(m, ret, &x);
	if (r == 0 && !is_child(ret, &x))
		r = -ERR_CORRUPT;
	if (r == 0)
		chunk_entry_found(&x, at, ret);
	else
		p->owner = NULL;
	return r;
}

const char *manifest_key(const struct manifest_found *f, size_t *ret_len)
{
	*ret_len = f->e.key ? f->e.key_len : f->e.path_len;
	return f->e.key ? f->e.key : f->path;
}
