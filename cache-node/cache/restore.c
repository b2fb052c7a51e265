#include "cache-node/cache/restore.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache-node/cache/ledger.h"
#include "common/base/clock.h"
#include "common/base/fd.h"
#include "common/base/log.h"
#include "common/base/mem.h"

#define DROPS_AT_ONCE 32  /* objects whose files go under one lock */
#define BATCH         256 /* objects told of under one lock */
#define RETRY_NS      (60 * NS_PER_S)

/* ---- what the files show ---- */

/* What the scan found of a tier, to be told to its policy in order. */
struct found {
	uint64_t key;
	int64_t used_ns;
};
struct found_list {
	struct found *items;
	size_t count, room;
};

/* Without memory it comes to the policy when it is used. */
static void found_add(struct found_list *l, uint64_t key, int64_t used_ns)
{
	if (l->count == l->room) {
		size_t room = MAX(2 * l->room, 1024);
		struct found *more = mem_resize(l->items, room, sizeof *more);
		if (!more)
			return;
		l->items = more;
		l->room = room;
	}
	l->items[l->count++] = (struct found){.key = key, .used_ns = used_ns};
}

static bool stat_file(struct tier *t, const struct hash256 *id, enum tier_file file, struct stat *ret)
{
	char path[TIER_PATH_BYTES];
	tier_path(id, file, path);
	return fstatat(t->objects_fd, path, ret, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(ret->st_mode);
}

/* Bytes of the file and the sidecar of an object, above 0. */
static uint64_t physical(const struct stat *data, const struct stat *side)
{
	return MAX(((uint64_t)data->st_blocks + (uint64_t)side->st_blocks) * 512, 1);
}

/* As a log notes it. */
struct journal_record restore_record(struct cache *c, const struct index_entry *e)
{
	return (struct journal_record){.id = e->id,
				       .bytes = e->bytes,
				       .used_ns = e->used_ns,
				       .share = share_get(&c->shares, e->share).name,
				       .kind = e->sealed ? JOURNAL_SEALED : JOURNAL_PARTIAL};
}

/* Out of the index, as if it had never been in it. Under cache.lock. */
static void unlearn(struct cache *c, const struct hash256 *id)
{
	struct index_entry e;
	if (!index_take(&c->index, id, &e))
		return;
	ledger_remove_indexed(c, &e);
	tier_give(&c->tiers[e.tier], e.share, e.bytes);
	tier_left(&c->tiers[e.tier], e.share, e.sealed);
}

/* A claim whose files are there, with so many bytes. */
static void confirm(struct cache *c, const struct index_entry *e, uint64_t bytes)
{
	struct tier *t = &c->tiers[e->tier];
	struct index_entry now = *e;
	now.bytes = bytes;
	index_confirm(&c->index, &now.id, bytes);
	if (bytes == e->bytes)
		return;
	tier_give(t, e->share, e->bytes);
	tier_add(t, e->share, bytes);
	ledger_restore_indexed(c, &now);
	struct journal_record r = restore_record(c, &now);
	tier_note(t, &r);
}

/* Whether the object is known; what is claimed is held against its files. */
static bool settle_known(struct cache *c, size_t tier, const struct hash256 *id, enum tier_file file)
{
	const struct index_entry *found = index_find(&c->index, id);
	struct stat data, side;
	if (!found || !found->claimed || found->tier != tier || file == TIER_SIDE)
		return found != NULL;
	struct index_entry e = *found;
	if (e.sealed != (file == TIER_DATA)) {
		unlearn(c, id); /* it is measured as if nobody had claimed it */
		return false;
	}
	if (stat_file(&c->tiers[tier], id, file, &data) && stat_file(&c->tiers[tier], id, TIER_SIDE, &side))
		confirm(c, &e, physical(&data, &side));
	return true;
}

/* When a file was filled or used last, nanoseconds since 1970. */
static int64_t time_of(const struct stat *st)
{
	if (st->st_mtim.tv_sec < 0 || st->st_mtim.tv_sec >= INT64_MAX / NS_PER_S)
		return 0;
	return (int64_t)st->st_mtim.tv_sec * NS_PER_S + st->st_mtim.tv_nsec;
}

/* One file of the scan, and the header of its sidecar, NULL without one. Under cache.lock, so that no object comes to life
 * meanwhile. */
static void scan_file(struct cache *c, size_t tier, const struct hash256 *id, enum tier_file file,
		      const struct sidecar_header *h, struct found_list *found)
{
	struct tier *t = &c->tiers[tier];
	struct stat data, side;
	if (cache_find(c, id) || settle_known(c, tier, id, file))
		return;
	if (c->evicting && hash256_compare(&c->evicting_id, id) == 0)
		return; /* it goes at this moment */
	bool has_data = stat_file(t, id, file == TIER_PART ? TIER_PART : TIER_DATA, &data);
	bool has_part = file == TIER_SIDE && !has_data && stat_file(t, id, TIER_PART, &data);
	bool has_side = stat_file(t, id, TIER_SIDE, &side);
	if (file == TIER_SIDE && (has_data || has_part))
		return; /* comes, or came, by the name of its data */
	/* What is partial is of use in the boot that wrote it. A damaged sidecar of a sealed object is told when that is used. */
	bool usable = has_data && has_side &&
		      (file == TIER_DATA || (h && memcmp(h->boot, c->boot, SIDECAR_BOOT_BYTES) == 0));
	struct index_entry e = {.id = *id, .tier = (uint8_t)tier, .sealed = file == TIER_DATA};
	if (usable) {
		e.bytes = physical(&data, &side);
		e.share = h ? share_of_name(&c->shares, h->share) : SHARE_NOBODYS;
		e.used_ns = time_of(&data);
		usable = index_put(&c->index, &e) == 0;
	}
	if (!usable) {
		tier_unlink(t, id);
		return;
	}
	found_add(found, index_key(id), e.used_ns);
	tier_add(t, e.share, e.bytes);
	tier_came(t, e.share, e.sealed);
	struct journal_record r = restore_record(c, &e);
	tier_note(t, &r);
}

static bool is_known(struct cache *c, const struct hash256 *id)
{
	(void)pthread_mutex_lock(&c->lock);
	bool known = cache_find(c, id) || index_find(&c->index, id);
	(void)pthread_mutex_unlock(&c->lock);
	return known;
}

/* False: it could not be read. */
static bool scan_folder(struct cache *c, size_t tier, const char *folder, struct found_list *found)
{
	struct tier *t = &c->tiers[tier];
	int fd = openat(t->objects_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	bool none = fd < 0 && errno == ENOENT;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		(void)fd_close(fd);
		return none;
	}
	errno = 0;
	for (struct dirent *de; !atomic_load(&c->quit) && (de = readdir(d)); errno = 0) {
		struct hash256 id;
		enum tier_file file;
		if (de->d_name[0] == '.')
			continue;
		if (tier_parse(folder, de->d_name, &id, &file) != 0) {
			(void)unlinkat(fd, de->d_name,
				       0); /* the folder is ours alone; what is no file stays */
			continue;
		}
		struct sidecar_header h;
		bool read = file != TIER_SIDE && !is_known(c, &id) && tier_header(t, &id, &h);
		(void)pthread_mutex_lock(&c->lock);
		scan_file(c, tier, &id, file, read ? &h : NULL, found);
		(void)pthread_mutex_unlock(&c->lock);
	}
	bool whole = errno == 0;
	(void)closedir(d);
	return whole;
}

static int younger_first(const void *a, const void *b)
{
	const struct found *x = a, *y = b;
	return x->used_ns > y->used_ns ? -1 : x->used_ns < y->used_ns;
}

/* The old objects of a tier enter its policy, the youngest first; many are told of under one lock. */
static void restore(struct cache *c, size_t tier, struct found_list *found)
{
	if (found->count)
		qsort(found->items, found->count, sizeof *found->items, younger_first);
	for (size_t i = 0; i < found->count && !atomic_load(&c->quit);) {
		(void)pthread_mutex_lock(&c->lock);
		for (size_t end = MIN(i + BATCH, found->count); i < end; i++) {
			uint64_t key = found->items[i].key;
			const struct index_entry *e = index_find_key(&c->index, key);
			if (e && e->tier == tier)
				ledger_restore_indexed(c, e);
		}
		(void)pthread_mutex_unlock(&c->lock);
	}
}

/* What the log claims and no file shows is not there. Entries may change their slots meanwhile: a false claim that is missed is
 * found when it is used, or at the next start. */
static void drop_claims(struct cache *c, size_t tier)
{
	struct tier *t = &c->tiers[tier];
	struct hash256 ids[DROPS_AT_ONCE];
	uint64_t count = 0;
	size_t at = 0;
	for (bool end = false; !end && !atomic_load(&c->quit);) {
		(void)pthread_mutex_lock(&c->lock);
		size_t n = index_claimed(&c->index, (uint8_t)tier, &at, ids, DROPS_AT_ONCE);
		for (size_t i = 0; i < n; i++) {
			unlearn(c, &ids[i]);
			tier_unlink(t, &ids[i]); /* a half of it may be there */
		}
		end = at >= c->index.slot_count;
		(void)pthread_mutex_unlock(&c->lock);
		count += n;
	}
	if (count)
		log_write(LOG_WARN, "objects that a tier was thought to hold are not there",
			  LOG_STR("tier", t->name), LOG_INT("objects", count), NULL);
}

/* Looks at all files of a tier: what is there and not known comes to be known, what is known and not there does not. */
static void scan_tier(struct cache *c, size_t tier)
{
	struct found_list found = {.items = NULL};
	bool whole = true;
	for (unsigned i = 0; i < 256 && !atomic_load(&c->quit); i++) {
		char folder[3];
		(void)snprintf(folder, sizeof folder, "%02x", i);
		whole = scan_folder(c, tier, folder, &found) && whole;
		keeper_make_room(c); /* who fills does not wait for the end of this */
	}
	restore(c, tier, &found);
	(void)mem_free(found.items);
	if (whole && !atomic_load(&c->quit))
		drop_claims(c, tier);
}

/* ---- what the log claims ---- */

struct claims {
	struct cache *c;
	size_t tier;
	struct index entries; /* by the last record of each; their shares are places in `names` */
	uint64_t *names;      /* of shares; SHARES_MAX of them */
	size_t name_count;
};

/* The place of a share's name. Numbers of shares are not taken before there are bytes for them: unused ones are given away. */
static uint16_t place_of(struct claims *l, uint64_t name)
{
	for (size_t i = l->name_count; i-- > 0;)
		if (l->names[i] == name)
			return (uint16_t)i;
	if (l->name_count == SHARES_MAX)
		return 0; /* nobody's */
	l->names[l->name_count] = name;
	return (uint16_t)l->name_count++;
}

static int take_claim(void *ctx, const struct journal_record *r)
{
	struct claims *l = ctx;
	struct index_entry e = {.id = r->id,
				.bytes = r->bytes,
				.used_ns = r->used_ns,
				.tier = (uint8_t)l->tier,
				.sealed = r->kind == JOURNAL_SEALED,
				.claimed = true};
	if (atomic_load(&l->c->quit))
		return -ECANCELED;
	/* What is open when a process dies is looked at with all other files. */
	if (r->kind == JOURNAL_GONE || r->kind == JOURNAL_OPEN) {
		(void)index_take(&l->entries, &r->id, NULL);
		return 0;
	}
	e.share = place_of(l, r->share);
	return index_put(&l->entries, &e);
}

/* One claim comes to be known unless something is by now. Under cache.lock. */
static void believe(struct claims *l, struct index_entry *e)
{
	struct cache *c = l->c;
	struct tier *t = &c->tiers[e->tier];
	if (cache_find(c, &e->id) || index_find(&c->index, &e->id))
		return;
	e->share = share_of_name(&c->shares, l->names[e->share]);
	if (index_put(&c->index, e) != 0)
		return;
	tier_add(t, e->share, e->bytes);
	tier_came(t, e->share, e->sealed);
	ledger_restore_indexed(c, e);
	(void)atomic_fetch_add(&t->claimed, 1);
}

static int younger_entry_first(const void *a, const void *b)
{
	const struct index_entry *x = a, *y = b;
	return x->used_ns > y->used_ns ? -1 : x->used_ns < y->used_ns;
}

/* The claims come to be known, the youngest first. */
static void believe_all(struct claims *l)
{
	struct index_entry *entries = l->entries.slots; /* the table is not asked any more */
	size_t n = 0;
	for (size_t i = 0; i < l->entries.slot_count; i++)
		if (entries[i].bytes)
			entries[n++] = entries[i];
	if (n)
		qsort(entries, n, sizeof *entries, younger_entry_first);
	for (size_t i = 0; i < n && !atomic_load(&l->c->quit);) {
		(void)pthread_mutex_lock(&l->c->lock);
		for (size_t end = MIN(i + BATCH, n); i < end; i++)
			believe(l, &entries[i]);
		(void)pthread_mutex_unlock(&l->c->lock);
	}
}

/* All that the log of the process before says, without a look at the files. */
static void load_tier(struct cache *c, size_t tier)
{
	struct tier *t = &c->tiers[tier];
	struct claims l = {
		.c = c, .tier = tier, .names = mem_calloc(SHARES_MAX, sizeof *l.names), .name_count = 1};
	int64_t start_ns = clock_mono_ns();
	int r = !t->journal ? -ENOENT : l.names ? journal_read(t->journal, take_claim, &l) : -ENOMEM;
	if (r == 0) {
		believe_all(&l);
		log_write(LOG_INFO, "took over what a tier holds", LOG_STR("tier", t->name),
			  LOG_INT("objects", atomic_load(&t->claimed)),
			  LOG_INT("ms", (clock_mono_ns() - start_ns) / NS_PER_MS), NULL);
	} else if (r != -ENOENT && r != -ECANCELED) {
		log_write(LOG_WARN, "the index of a tier cannot be used and is made anew from its files",
			  LOG_STR("tier", t->name), LOG_STR("error", err_text(r)), NULL);
	}
	index_done(&l.entries);
	(void)mem_free(l.names);
}

/* ---- the next log ---- */

/* What is indexed, once at least; what is put meanwhile is noted by who puts it. False: the log cannot be written. */
static bool fill_indexed(struct cache *c, size_t tier, uint8_t mark)
{
	struct index_entry entries[BATCH];
	struct journal_record records[BATCH];
	size_t at = 0, round = 0;
	bool good = true;
	while (good && !atomic_load(&c->quit)) {
		(void)pthread_mutex_lock(&c->lock);
		size_t n = index_marked(&c->index, (uint8_t)tier, mark, &at, entries, BATCH);
		for (size_t i = 0; i < n; i++)
			records[i] = restore_record(c, &entries[i]);
		/* Under the lock: what happens next is noted behind it. */
		good = journal_fill(c->tiers[tier].journal, records, n);
		bool end = at >= c->index.slot_count;
		(void)pthread_mutex_unlock(&c->lock);
		round += n;
		if (end && round == 0)
			return good;
		if (end) /* again, until there are none: some may have moved before @at */
			at = round = 0;
	}
	return false;
}

static struct journal_record record_of_live(struct cache_object *o)
{
	struct body *b = o->body;
	bool sealed = atomic_load(&b->sealed);
	return (struct journal_record){.id = o->id,
				       .bytes = sealed ? MAX(body_charged(b), 1) : 0,
				       .used_ns = sealed ? atomic_load(&o->used_ns) : 0,
				       .share = b->share_name,
				       .kind = sealed ? JOURNAL_SEALED : JOURNAL_OPEN};
}

/* Live objects of some buckets. Under cache.lock. */
static bool fill_buckets(struct cache *c, size_t tier, size_t from, size_t to)
{
	struct tier *t = &c->tiers[tier];
	struct journal_record records[BATCH];
	size_t n = 0;
	bool good = true;
	for (size_t i = from; i < to; i++)
		for (struct cache_object *o = c->buckets[i]; o; o = o->next) {
			(void)pthread_mutex_lock(&o->lock);
			if (o->body && o->body->tier == t)
				records[n++] = record_of_live(o);
			(void)pthread_mutex_unlock(&o->lock);
			o->noted_ns = 0; /* it may be sealed at this moment: its put notes the truth */
			if (n < BATCH)
				continue;
			good = journal_fill(t->journal, records, n) && good;
			n = 0;
		}
	return journal_fill(t->journal, records, n) && good;
}

static bool fill_live(struct cache *c, size_t tier)
{
	size_t seen = 0;
	bool good = true, end = false;
	for (size_t at = 0; good && !end && !atomic_load(&c->quit);) {
		(void)pthread_mutex_lock(&c->lock);
		if (seen != c->bucket_count) { /* the table grew: all of it again */
			seen = c->bucket_count;
			at = 0;
		}
		size_t to = MIN(at + BATCH, c->bucket_count);
		good = fill_buckets(c, tier, at, to);
		at = to;
		end = at == c->bucket_count;
		(void)pthread_mutex_unlock(&c->lock);
	}
	return good && end;
}

/* The log of a tier anew, without what is past. Who stops to be live meanwhile is noted, so each object is met in one state or the
 * other. */
static void renew(struct cache *c, size_t tier)
{
	struct tier *t = &c->tiers[tier];
	if (journal_begin(t->journal) != 0)
		return; /* no room, or the device fails: it is tried again */
	(void)pthread_mutex_lock(&c->lock);
	t->mark = t->mark % 2 + 1;
	atomic_store(&t->noting_all, true);
	(void)pthread_mutex_unlock(&c->lock);
	if (fill_indexed(c, tier, t->mark) && fill_live(c, tier))
		journal_commit(t->journal);
	else
		journal_abandon(t->journal);
	(void)pthread_mutex_lock(&c->lock);
	atomic_store(&t->noting_all, false);
	(void)pthread_mutex_unlock(&c->lock);
}

/* ---- */

void restore_run(struct cache *c)
{
	for (size_t i = 0; i < c->tier_count; i++)
		load_tier(c, i);
	atomic_store(&c->taken_over, true);
	for (size_t i = 0; i < c->tier_count && !atomic_load(&c->quit); i++)
		scan_tier(c, i);
	restore_renew(c);
}

bool restore_is_due(struct tier *t)
{
	if (!t->journal || atomic_load(&t->failed))
		return false;
	if (journal_counts(t->journal) &&
	    journal_records(t->journal) <= 2 * atomic_load(&t->objects) + atomic_load(&t->slack))
		return false;
	return clock_mono_ns() >= atomic_load(&t->retry_ns);
}

void restore_renew(struct cache *c)
{
	for (size_t i = 0; i < c->tier_count && !atomic_load(&c->quit); i++) {
		struct tier *t = &c->tiers[i];
		if (!restore_is_due(t))
			continue;
		renew(c, i);
		if (restore_is_due(t)) /* it could not be */
			atomic_store(&t->retry_ns, clock_mono_ns() + RETRY_NS);
	}
}

int64_t restore_next_ns(struct cache *c)
{
	int64_t next = INT64_MAX;
	for (size_t i = 0; i < c->tier_count; i++) {
		struct tier *t = &c->tiers[i];
		if (t->journal && !atomic_load(&t->failed) && !journal_counts(t->journal))
			next = MIN(next, atomic_load(&t->retry_ns));
	}
	return next;
}
