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
			    const struct secret *secret, struct source_config *c, int *root_fd,
			    struct err *err)
{
	const struct dataset_source *s = &spec->sources[i];

	*c = (struct source_config){.kind = s->kind};
	if (s->kind == SOURCE_FILE) {
		int r = mounter_root_open(d->all->config.mounter, s->file.path, root_fd, err);
		c->file.root_fd = *root_fd;
		return r;
	}
	c->s3.bucket = s->s3.bucket;
	c->s3.prefix = s->s3.prefix;
	c->s3.region = s->s3.region;
	c->s3.endpoint = s->s3.endpoint;
	c->s3.addressing = s->s3.addressing;
	c->connections_max = s->s3.connections;
	secret_credential(s->anonymous ? NULL : secret, &c->credential);
	return 0;
}

static int make_source(struct node_dataset *d, struct source_set *set, size_t i, const struct secret *secret,
		       struct err *err)
{
	CLEANUP(fd_close) int root_fd = -1;
	struct source_config c;
	char text[256], label[512];

	(void)dataset_source_text(&set->spec->sources[i], text, sizeof text);
	(void)snprintf(label, sizeof label, "%s source %zu (%s)", d->name, i, text);
	int r = configure_source(d, set->spec, i, secret, &c, &root_fd, err);
	if (r)
		return err_wrap(err, r, "%s", label);
	c.label = label;
	if (!set->domains[i])
		set->domains[i] = dataset_trust_domain(set->spec, i);
	if (!set->domains[i])
		return err_set(err, -ENOMEM, "out of memory");
	r = set->read[i] ? 0 : source_new(d->all->config.read_loop, &c, &set->read[i], err);
	return r ? r : source_new(d->all->config.sync_loop, &c, &set->list[i], err);
}

/* Makes the sources that are missing, as far as their credentials are known. Both locks are held. */
void sources_make(struct node_dataset *d)
{
	struct source_set *set = d->set;
	struct err err = {0};

	d->source_retry_ns = 0;
	for (size_t i = 0; i < set->spec->source_count; i++) {
		const char *name = set->spec->sources[i].secret;
		struct told_secret *told = name ? secrets_find(d->all, set->spec->namespace_, name) : NULL;
		if (name && !told) {
			(void)snprintf(d->message_text, sizeof d->message_text, "waiting for Secret %s/%s",
				       set->spec->namespace_, name);
			return;
		}
		if (set->list[i])
			continue;
		int r = make_source(d, set, i, told ? told->secret : NULL, &err);
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
		d->wanted++;
	else if (set->spec->sync.interval_ns)
		d->due_ns = clock_mono_ns() + set->spec->sync.interval_ns;
	(void)pthread_cond_broadcast(&d->changed);
}
