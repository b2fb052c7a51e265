/*
 * Sources of a dataset's specs. Those of a spec that was replaced live on until the dataset is freed: objects of open files
 * point to them.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cache-node/datasets/internal.h"
#include "common/base/clock.h"
#include "common/base/fd.h"
#include "common/base/mem.h"

#define SOURCE_RETRY_NS (2 * NS_PER_S) /* after a source could not be made: the mounter may be on its way */

struct source_set *source_set_free(struct source_set *set, struct cache *cache)
{
	while (set) {
		struct source_set *older = set->older;
		if (set->message)
			larder__v1__dataset__free_unpacked(set->message, NULL);
		for (size_t i = 0; set->spec && i < set->spec->source_count; i++) {
			if (set->read[i])
				cache_source_gone(cache, set->read[i]);
			(void)source_free(set->read[i]);
			(void)source_free(set->list[i]);
			(void)mem_free(set->domains[i]);
		}
		(void)dataset_free(set->spec);
		(void)mem_free(set);
		set = older;
	}
	return NULL;
}

static int configure_source(struct node_dataset *d, const struct dataset *spec, size_t i,
			    const struct source_credential *credential, struct source_config *c, int *root_fd,
			    struct err *err)
{
	const struct dataset_source *s = &spec->sources[i];

	dataset_source_config(s, NULL, NULL, c);
	c->credential = *credential;
	if (s->kind != SOURCE_FILE)
		return 0;
	int r = mounter_root_open(d->all->config.mounter, s->file.path, root_fd, err);
	c->file.root_fd = *root_fd;
	return r;
}

/* Both locks are held. */
static int make_source(struct node_dataset *d, struct source_set *set, size_t i,
		       const struct source_credential *credential, struct err *err)
{
	CLEANUP(fd_close) int root_fd = -1;
	struct source_config c;
	char text[256], label[512];

	(void)dataset_source_text(&set->spec->sources[i], text, sizeof text);
	(void)snprintf(label, sizeof label, "%s source %zu (%s)", d->name, i, text);
	int r = configure_source(d, set->spec, i, credential, &c, &root_fd, err);
	if (r)
		return err_wrap(err, r, "%s", label);
	c.label = label;
	if (!set->domains[i])
		set->domains[i] = dataset_trust_domain(set->spec, i);
	if (!set->domains[i])
		return err_set(err, -ENOMEM, "out of memory");
	r = set->read[i] ? 0 : source_new(d->all->config.read_loop, &c, &set->read[i], err);
	return r || set != d->set ? r : source_new(d->all->config.sync_loop, &c, &set->list[i], err);
}

/* A secret that is named. 0, -EAGAIN with words. datasets.lock is held. */
static int find_told(struct datasets *all, const char *namespace_, const char *name,
		     const struct secret **ret, struct err *err)
{
	const struct told_secret *told = name ? secrets_find(all, namespace_, name) : NULL;

	if (name && !told)
		return err_set(err, -EAGAIN, "waiting for Secret %s/%s", namespace_, name);
	*ret = told ? told->secret : NULL;
	return 0;
}

int sources_credential(struct datasets *all, const struct source_set *set, size_t i,
		       struct source_credential *ret, struct err *err)
{
	const struct dataset_source *s = &set->spec->sources[i];
	const struct secret *secret = NULL, *ca = NULL;
	int r = find_told(all, set->spec->namespace_, s->secret, &secret, err);

	if (r == 0)
		r = find_told(all, set->spec->namespace_, s->s3.ca_secret, &ca, err);
	if (r)
		return r;
	struct source_config c;
	dataset_source_config(s, secret, ca, &c);
	*ret = c.credential;
	return 0;
}

/* Makes the sources that are missing, as far as their credentials are known. Both locks are held. */
void sources_make(struct node_dataset *d)
{
	struct source_set *set = d->set;
	struct err err = {0};

	d->source_retry_ns = 0;
	for (size_t i = 0; i < set->spec->source_count; i++) {
		struct source_credential credential;
		if (sources_credential(d->all, set, i, &credential, &err)) {
			(void)snprintf(d->message_text, sizeof d->message_text, "%s", err.text);
			return;
		}
		if (set->list[i])
			continue;
		int r = make_source(d, set, i, &credential, &err);
		if (r) {
			(void)snprintf(d->message_text, sizeof d->message_text, "%s", err_words(&err, r));
			d->last_error = r;
			d->phase = LARDER__V1__DATASET_STATUS__PHASE__FAILED;
			d->source_retry_ns = clock_mono_ns() + SOURCE_RETRY_NS;
			(void)pthread_cond_broadcast(&d->changed);
			return;
		}
	}
	d->sources_ready = true;
	d->last_error = 0;
	d->message_text[0] = 0;
	if (d->head.version)
		d->phase = LARDER__V1__DATASET_STATUS__PHASE__READY;
	if (!d->all->loading || !d->head.version) /* a new worker lists nothing anew: its predecessor did */
		syncing_want(d);
	else if (set->spec->sync.interval_ns)
		d->due_ns = clock_mono_ns() + set->spec->sync.interval_ns;
	(void)pthread_cond_broadcast(&d->changed);
}

int source_set_new(struct dataset *spec, Larder__V1__Dataset *message, struct source_set **ret)
{
	struct source_set *set = mem_calloc(1, sizeof *set);

	if (!set)
		return -ENOMEM;
	set->spec = spec;
	set->message = message;
	set->config = dataset_config_hash(spec);
	*ret = set;
	return 0;
}

struct source_set *sources_of_config(struct node_dataset *d, uint64_t config)
{
	struct source_set *set = d->set;

	while (set && set->config != config)
		set = set->older;
	return set;
}

int sources_make_older(struct node_dataset *d, struct source_set *set, size_t i, struct err *err)
{
	struct source_credential credential;

	(void)pthread_mutex_lock(&d->all->lock);
	(void)pthread_mutex_lock(&d->lock);
	int r = sources_credential(d->all, set, i, &credential, err);
	if (!r && !set->read[i])
		r = make_source(d, set, i, &credential, err);
	(void)pthread_mutex_unlock(&d->lock);
	(void)pthread_mutex_unlock(&d->all->lock);
	return r;
}

static int add_older_locked(struct datasets *all, struct source_set *set)
{
	char name[DATASET_FULL_MAX];

	dataset_full_name(set->spec, name);
	struct node_dataset *d = registry_find(all, name);
	if (!d)
		return -ENOENT;
	(void)pthread_mutex_lock(&d->lock);
	set->older = d->set->older; /* they come oldest first */
	d->set->older = set;
	if (!d->head.version) /* of the older spec, until the newest one is listed */
		versions_adopt_head(d);
	(void)pthread_mutex_unlock(&d->lock);
	return 0;
}

int sources_add_older(struct datasets *all, const Larder__V1__Dataset *message, struct err *err)
{
	CLEANUP(dataset_free) struct dataset *spec = NULL;
	struct source_set *set = NULL;

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
	r = add_older_locked(all, set);
	(void)pthread_mutex_unlock(&all->lock);
	if (r) {
		(void)source_set_free(set, all->config.cache);
		return err_set(err, r, "a spec of a dataset that is not known");
	}
	return 0;
}
