/*
 * The head of a dataset, its manifests, and the cache objects that their entries name.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cache-node/datasets/internal.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/mem.h"

_Static_assert(CONFLICTS_ENCODED_MAX <= CATALOG_NOTE_MAX, "any conflicts fit a note");

static void read_conflicts(struct node_dataset *d)
{
	uint8_t *bytes;
	size_t len;

	if (catalog_note_get(d->all->config.catalog, d->name, d->head.version, &bytes, &len))
		return;
	(void)!conflicts_decode(bytes, len, &d->conflicts); /* the next sync knows them again */
	(void)mem_free(bytes);
}

/* Most syncs find what the one before found. */
static bool is_kept(const struct node_dataset *d, uint64_t version, const uint8_t *bytes, size_t len)
{
	uint8_t *kept;
	size_t kept_len;

	if (catalog_note_get(d->all->config.catalog, d->name, version, &kept, &kept_len))
		return false;
	bool same = kept_len == len && memcmp(kept, bytes, len) == 0;
	(void)mem_free(kept);
	return same;
}

void versions_keep_conflicts(const struct node_dataset *d, uint64_t version, const struct conflicts *c)
{
	uint8_t *bytes = NULL;
	size_t len;
	int r = conflicts_encode(c, &bytes, &len);

	if (!r && !is_kept(d, version, bytes, len))
		r = catalog_note_put(d->all->config.catalog, d->name, version, bytes, len);
	(void)mem_free(bytes);
	if (r)
		log_write(LOG_WARN, "conflicts of a version are not kept", LOG_STR("dataset", d->name),
			  LOG_STR("error", err_text(r)), NULL);
}

/* The head a former process left counts at once: a mount need not wait for a new listing. */
void versions_adopt_head(struct node_dataset *d)
{
	struct manifest *m;
	struct manifest_chunks chunks = catalog_chunks(d->all->config.catalog);

	if (catalog_head_get(d->all->config.catalog, d->name, &d->head))
		return;
	if (!sources_of_config(d, d->head.config) || manifest_open(&d->head.root, &chunks, &m, NULL)) {
		d->head = (struct catalog_head){
			0}; /* of other sources, or unreadable: a sync makes the next one */
		return;
	}
	manifest_stats_get(m, &d->stats);
	(void)manifest_free(m);
	read_conflicts(d);
	d->phase = LARDER__V1__DATASET_STATUS__PHASE__READY;
}

struct eviction {
	struct node_dataset *dataset;
	uint64_t config;
};

static int evict_entry(void *ctx, const struct manifest_found *f)
{
	const struct eviction *v = ctx;
	CLEANUP(cache_put) struct cache_object *o = NULL;
	uint64_t freed;

	if (f->e.type == MANIFEST_FILE && f->e.size &&
	    node_dataset_object(v->dataset, v->config, f, &o, NULL) == 0)
		(void)!cache_evict(o, false, &freed); /* what another dataset has open stays */
	return 0;
}

static void evict_version(struct node_dataset *d, const struct catalog_head *head)
{
	CLEANUP(manifest_free) struct manifest *m = NULL;
	struct eviction v = {.dataset = d, .config = head->config};

	if (node_dataset_open(d, &head->root, &m, NULL) == 0)
		(void)!manifest_scan(m, 0, UINT64_MAX, evict_entry, &v);
}

void versions_evict(struct node_dataset *d)
{
	struct catalog_head *list;
	size_t count;

	if (catalog_versions(d->all->config.catalog, d->name, &list, &count))
		return;
	for (size_t i = 0; i < count; i++)
		evict_version(d, &list[i]);
	(void)mem_free(list);
}

/* A version of which the spec is known that lists its sources. The lock is held. */
static int kept_locked(struct node_dataset *d, uint64_t version, struct catalog_head *ret, struct err *err)
{
	struct catalog_head found, newest = {0};
	int r = catalog_version_get(d->all->config.catalog, d->name, version, &found);

	if (r) {
		(void)!catalog_head_get(d->all->config.catalog, d->name, &newest);
		return err_set(err, r, "version %llu of %s is not kept; the newest is %llu",
			       (unsigned long long)version, d->name, (unsigned long long)newest.version);
	}
	if (!sources_of_config(d, found.config))
		return err_set(
			err, -ENOENT,
			"version %llu of %s was listed from other sources, which are not known any more",
			(unsigned long long)version, d->name);
	*ret = found;
	return 0;
}

int versions_shown(struct node_dataset *d, struct catalog_head *ret, struct err *err)
{
	uint64_t pinned = d->set->spec->version;

	if (pinned && pinned != d->head.version) {
		struct err why = {0};
		int r = kept_locked(d, pinned, ret, &why);
		if (!r || d->head.version)
			return r ? err_set(err, r, "%s", why.text) : 0;
	}
	if (!d->head.version)
		return err_set(err, -ENOENT, "%s",
			       d->message_text[0] ? d->message_text
						  : "its first listing is still on its way");
	*ret = d->head;
	return 0;
}

int node_dataset_version(struct node_dataset *d, uint64_t version, struct catalog_head *ret, struct err *err)
{
	(void)pthread_mutex_lock(&d->lock);
	int r = kept_locked(d, version, ret, err);
	(void)pthread_mutex_unlock(&d->lock);
	return r;
}

int node_dataset_versions(struct node_dataset *d, struct catalog_head **ret, size_t *ret_count,
			  uint64_t *ret_pinned)
{
	(void)pthread_mutex_lock(&d->lock);
	*ret_pinned = d->set->spec->version;
	(void)pthread_mutex_unlock(&d->lock);
	return catalog_versions(d->all->config.catalog, d->name, ret, ret_count);
}

int node_dataset_head(struct node_dataset *d, struct catalog_head *ret, struct err *err)
{
	(void)pthread_mutex_lock(&d->lock);
	int r = versions_shown(d, ret, err);
	(void)pthread_mutex_unlock(&d->lock);
	return r;
}

/* Errors that waiting does not mend. */
static bool is_lasting(int r)
{
	return r && r != -ERR_UNREACHABLE && r != -ETIMEDOUT && r != -EAGAIN && r != -ERR_CONFLICT &&
	       r != -ERR_LEASE_LOST;
}

int node_dataset_wait(struct node_dataset *d, int64_t deadline_ns, bool (*stop)(void *ctx), void *ctx,
		      struct catalog_head *ret, struct err *err)
{
	int r;

	(void)pthread_mutex_lock(&d->lock);
	while ((r = versions_shown(d, ret, err)) != 0) {
		int64_t now = clock_mono_ns();
		if (d->head.version && d->finished >= d->wanted)
			break; /* listed, and the version that the spec pins is not among those kept */
		if (d->stop || is_lasting(d->last_error)) {
			r = d->stop ? err_set(err, -ENOENT, "%s is being deleted", d->name) : d->last_error;
			break;
		}
		if (now >= deadline_ns || stop(ctx)) {
			r = now >= deadline_ns ? -ETIMEDOUT : -ECANCELED;
			break;
		}
		node_dataset_wait_until(d, MIN(deadline_ns, now + 200 * NS_PER_MS));
	}
	(void)pthread_mutex_unlock(&d->lock);
	return r;
}

int node_dataset_open(struct node_dataset *d, const struct hash256 *root, struct manifest **ret,
		      struct err *err)
{
	struct manifest_chunks chunks = catalog_chunks(d->all->config.catalog);

	return manifest_open(root, &chunks, ret, err);
}

static void choose_tiers(const struct dataset *spec, uint8_t tiers[CACHE_TIERS_MAX])
{
	for (size_t i = 0; i < spec->cache.tier_count; i++)
		tiers[i] = spec->cache.tiers[i] == DATASET_TIER_DRAM ? CACHE_TIER_DRAM : CACHE_TIER_DISK;
}

/* The lock is held. */
static int object_of(struct node_dataset *d, const struct source_set *set, const struct manifest_found *entry,
		     struct cache_object **ret)
{
	size_t key_len, i = entry->e.source;
	const char *key = manifest_key(entry, &key_len);
	struct cache_object_spec spec = {
		.id = cache_object_id(set->domains[i], key, key_len, &entry->e.validator, entry->e.size),
		.size = entry->e.size,
		.source = set->read[i],
		.key = key,
		.validator = entry->e.validator,
		.dataset = d->number,
		.timeout_ns = set->spec->sources[i].timeout_ns,
	};

	choose_tiers(set->spec, spec.tiers);
	return cache_get(d->all->config.cache, &spec, ret);
}

int node_dataset_object(struct node_dataset *d, uint64_t config, const struct manifest_found *entry,
			struct cache_object **ret, struct err *err)
{
	size_t i = entry->e.source;
	int r = 0;

	(void)pthread_mutex_lock(&d->lock);
	struct source_set *set = sources_of_config(d, config); /* sets live as long as the dataset */
	if (set && i < set->spec->source_count && !set->read[i] && set != d->set) {
		(void)pthread_mutex_unlock(&d->lock);
		r = sources_make_older(d, set, i, err);
		(void)pthread_mutex_lock(&d->lock);
	}
	if (!set || i >= set->spec->source_count)
		r = err_set(err, -ESTALE, "the sources that this version of %s was listed from are not known",
			    d->name);
	else if (!r && !set->read[i])
		r = err_set(err, -EIO, "source %zu of %s is not there: %s", i, d->name, d->message_text);
	if (!r) {
		r = object_of(d, set, entry, ret);
		if (r)
			(void)err_set(err, r, "%s", err_text(r));
	}
	(void)pthread_mutex_unlock(&d->lock);
	return r;
}
