/*
 * The datasets this node was told of, by name and counted.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cache-node/datasets/internal.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/mem.h"

#define DATASETS_MAX 1024

/* Its share of the cache, as the spec says. */
static int tell_cache(struct node_dataset *d, const struct dataset *spec)
{
	const struct cache_limits limits = {.floor = spec->cache.floor_bytes,
					    .quota = spec->cache.quota_bytes,
					    .pin = spec->cache.pin,
					    .ttl_ns = spec->cache.ttl_ns};
	return cache_dataset_tell(d->all->config.cache, d->number, d->name, &limits);
}

static void destroy(struct node_dataset *d)
{
	syncing_stop(d);
	cache_dataset_forget(d->all->config.cache, d->number);
	(void)source_set_free(d->set, d->all->config.cache);
	syncing_forget(&d->want);
	(void)conflicts_free(d->conflicts);
	(void)pthread_mutex_destroy(&d->lock);
	(void)pthread_cond_destroy(&d->changed);
	(void)mem_free(d);
}

struct node_dataset *datasets_unref(struct node_dataset *d)
{
	if (!d)
		return NULL;
	struct datasets *all = d->all;
	(void)pthread_mutex_lock(&all->lock);
	CHECK(d->refs > 0);
	bool last = --d->refs == 0 && d->deleted;
	if (last)
		list_remove(&d->link);
	(void)pthread_cond_broadcast(&all->returned);
	(void)pthread_mutex_unlock(&all->lock);
	if (last)
		destroy(d);
	return NULL;
}

/* datasets.lock is held. */
struct node_dataset *registry_find(struct datasets *all, const char *name)
{
	list_for_each (l, &all->list) {
		struct node_dataset *d = LIST_ENTRY(l, struct node_dataset, link);
		if (!d->deleted && strcmp(d->name, name) == 0)
			return d;
	}
	return NULL;
}

struct node_dataset *datasets_find(struct datasets *all, const char *full_name)
{
	(void)pthread_mutex_lock(&all->lock);
	struct node_dataset *d = registry_find(all, full_name);
	if (d)
		d->refs++;
	(void)pthread_mutex_unlock(&all->lock);
	return d;
}

Larder__V1__Dataset *message_copy(const Larder__V1__Dataset *m)
{
	size_t len = larder__v1__dataset__get_packed_size(m);
	uint8_t *bytes = mem_alloc(len);

	if (!bytes)
		return NULL;
	(void)larder__v1__dataset__pack(m, bytes);
	Larder__V1__Dataset *copy = larder__v1__dataset__unpack(NULL, len, bytes);
	(void)mem_free(bytes);
	return copy;
}

/* Success takes @set. datasets.lock is held. */
static int add(struct datasets *all, struct source_set *set, struct err *err)
{
	if (all->count == DATASETS_MAX)
		return err_set(err, -ENOSPC, "%d datasets are the limit", DATASETS_MAX);
	struct node_dataset *d = mem_calloc(1, sizeof *d);
	if (!d)
		return err_set(err, -ENOMEM, "out of memory");
	d->all = all;
	dataset_full_name(set->spec, d->name);
	d->number = all->next_number++ % CACHE_DATASETS_MAX;
	d->set = set;
	(void)pthread_mutex_init(&d->lock, NULL);
	(void)pthread_cond_init(&d->changed, NULL);
	int r = tell_cache(d, set->spec);
	if (r)
		(void)err_set(err, r, "out of memory");
	else
		r = syncing_start(d, err); /* it has nothing to do yet */
	if (r) {
		d->set = NULL;
		destroy(d);
		return r;
	}
	list_push_back(&all->list, &d->link);
	all->count++;
	(void)pthread_mutex_lock(&d->lock);
	versions_adopt_head(d);
	sources_make(d);
	(void)pthread_mutex_unlock(&d->lock);
	return 0;
}

/* Takes @set. datasets.lock is held. */
static void replace(struct node_dataset *d, struct source_set *set)
{
	(void)pthread_mutex_lock(&d->lock);
	set->older = d->set;
	d->set = set;
	d->announce = d->announce || set->spec->version != set->older->spec->version;
	d->retain_ns = 1; /* at once */
	d->sources_ready = false;
	d->retry_ns = 0;
	sources_make(d);
	(void)pthread_mutex_unlock(&d->lock);
	if (tell_cache(d, set->spec))
		log_write(LOG_WARN, "out of memory: the cache's new floor and quota are not yet kept apart",
			  LOG_STR("dataset", d->name), NULL);
}

/* datasets.lock is held. */
static bool is_being_deleted(struct datasets *all, const char *name)
{
	list_for_each (l, &all->list) {
		const struct node_dataset *d = LIST_ENTRY(l, struct node_dataset, link);
		if (d->deleting && strcmp(d->name, name) == 0)
			return true;
	}
	return false;
}

/* Takes @set on success, unless it is older than what is known: *ret_known. datasets.lock is held. */
static int put_locked(struct datasets *all, struct source_set *set, bool *ret_known, struct err *err)
{
	char name[DATASET_FULL_MAX];

	dataset_full_name(set->spec, name);
	struct node_dataset *d = registry_find(all, name);
	if (!d && is_being_deleted(all, name)) /* its head would be taken for ours, and ours be removed */
		return err_set(err, -EAGAIN, "%s is just being deleted; try again", name);
	*ret_known = d && d->set->spec->generation >= set->spec->generation;
	if (!d)
		return add(all, set, err);
	if (!*ret_known)
		replace(d, set);
	return 0;
}

int datasets_put(struct datasets *all, const Larder__V1__Dataset *message, struct err *err)
{
	CLEANUP(dataset_free) struct dataset *spec = NULL;
	struct source_set *set = NULL;
	bool known = false;

	int r = dataset_from_message(message, &spec, err);
	if (r)
		return r;
	Larder__V1__Dataset *copy = message_copy(message);
	r = copy ? source_set_new(spec, copy, &set) : -ENOMEM;
	if (r) {
		if (copy)
			larder__v1__dataset__free_unpacked(copy, NULL);
		return err_set(err, r, "out of memory");
	}
	spec = NULL; /* the set's now */
	(void)pthread_mutex_lock(&all->lock);
	r = put_locked(all, set, &known, err);
	/* Half loaded, it would replace the whole: a kill now would lose the rest. */
	if (!known && !r && !all->loading)
		saved_write(all);
	(void)pthread_mutex_unlock(&all->lock);
	if (r || known)
		(void)source_set_free(set, all->config.cache);
	return r;
}

int datasets_delete(struct datasets *all, const char *namespace_, const char *name, struct err *err)
{
	char full[DATASET_FULL_MAX];

	(void)snprintf(full, sizeof full, "%s/%s", namespace_, name);
	(void)pthread_mutex_lock(&all->lock);
	struct node_dataset *d = registry_find(all, full);
	int r = !d ? err_set(err, -ENOENT, "there is no dataset %s", full)
		: d->mounts
			? err_set(err, -EBUSY, "%s is mounted %d times; unmount it first", full, d->mounts)
			: 0;
	if (!r) {
		d->deleted = d->deleting = true;
		d->refs++;
		all->count--;
		saved_write(all);
	}
	(void)pthread_mutex_unlock(&all->lock);
	if (r)
		return r;
	syncing_stop(d);
	versions_evict(d);
	r = catalog_dataset_delete(all->config.catalog, full, err);
	(void)pthread_mutex_lock(&all->lock);
	d->deleting = false;
	(void)pthread_mutex_unlock(&all->lock);
	struct catalog_collected collected;
	if (!r)
		r = catalog_collect(all->config.catalog, &collected, err);
	(void)datasets_unref(d);
	return r;
}

void datasets_retain(struct datasets *all)
{
	atomic_store(&all->retains, true);
	(void)pthread_mutex_lock(&all->lock);
	list_for_each (l, &all->list) {
		struct node_dataset *d = LIST_ENTRY(l, struct node_dataset, link);
		(void)pthread_mutex_lock(&d->lock);
		d->retain_ns = 1;
		(void)pthread_cond_broadcast(&d->changed);
		(void)pthread_mutex_unlock(&d->lock);
	}
	(void)pthread_mutex_unlock(&all->lock);
}

void datasets_each(struct datasets *all, void (*visit)(void *ctx, struct node_dataset *d), void *ctx)
{
	(void)pthread_mutex_lock(&all->lock);
	list_for_each (l, &all->list)
		if (!LIST_ENTRY(l, struct node_dataset, link)->deleted)
			visit(ctx, LIST_ENTRY(l, struct node_dataset, link));
	(void)pthread_mutex_unlock(&all->lock);
}

uint32_t node_dataset_number(const struct node_dataset *d)
{
	return d->number;
}

const char *node_dataset_name(const struct node_dataset *d)
{
	return d->name;
}

int node_dataset_mount(struct node_dataset *d)
{
	(void)pthread_mutex_lock(&d->all->lock);
	int r = d->deleted ? -ENOENT : 0;
	if (!r) {
		d->mounts++;
		d->refs++;
	}
	(void)pthread_mutex_unlock(&d->all->lock);
	return r;
}

struct node_dataset *node_dataset_unmount(struct node_dataset *d)
{
	if (!d)
		return NULL;
	(void)pthread_mutex_lock(&d->all->lock);
	CHECK(d->mounts > 0);
	d->mounts--;
	(void)pthread_mutex_unlock(&d->all->lock);
	return datasets_unref(d);
}

void node_dataset_access_get(struct node_dataset *d, struct node_dataset_access *ret)
{
	(void)pthread_mutex_lock(&d->lock);
	const struct dataset *spec = d->set->spec;
	*ret = (struct node_dataset_access){
		.uid = spec->access.uid, .gid = spec->access.gid, .mode = spec->access.mode};
	(void)pthread_mutex_unlock(&d->lock);
}

int datasets_new(const struct datasets_config *config, struct datasets **ret, struct err *err)
{
	struct datasets *all = mem_calloc(1, sizeof *all);

	if (!all)
		return err_set(err, -ENOMEM, "out of memory");
	all->config = *config;
	list_init(&all->list);
	list_init(&all->secrets);
	(void)pthread_mutex_init(&all->lock, NULL);
	(void)pthread_cond_init(&all->returned, NULL);
	all->loading = true;
	saved_read(all);
	all->loading = false;
	*ret = all;
	return 0;
}

/* Waits until nobody has a reference to any of them. */
static void wait_for_references(struct datasets *all)
{
	bool used;

	(void)pthread_mutex_lock(&all->lock);
	do {
		used = false;
		list_for_each (l, &all->list)
			used |= LIST_ENTRY(l, struct node_dataset, link)->refs > 0;
		if (used)
			(void)pthread_cond_wait(&all->returned, &all->lock);
	} while (used);
	(void)pthread_mutex_unlock(&all->lock);
}

struct datasets *datasets_free(struct datasets *all)
{
	if (!all)
		return NULL;
	list_for_each (l, &all->list)
		syncing_stop(LIST_ENTRY(l, struct node_dataset, link));
	wait_for_references(all);
	list_for_each_safe (l, next, &all->list)
		destroy(LIST_ENTRY(l, struct node_dataset, link));
	list_for_each_safe (l, next, &all->secrets)
		told_secret_free(LIST_ENTRY(l, struct told_secret, link));
	(void)pthread_mutex_destroy(&all->lock);
	(void)pthread_cond_destroy(&all->returned);
	return mem_free(all);
}
