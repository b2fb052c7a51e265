/*
 * Which versions of a dataset are kept: the newest, the one that the spec pins, those that a mount or anybody else has open, and
 * of the others the newest ones, as many as retention.versions says and for as long as retention.age says after a newer one took
 * their place. What leaves is looked for after every new version and change of the spec, and when one grows too old.
 */
#include <errno.h>

#include "cache-node/datasets/internal.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/mem.h"

#define IN_USE_RETRY_NS (10 * NS_PER_S) /* one that leaves as soon as its mount has moved on */

struct retention {
	uint64_t pinned;
	uint32_t versions;
	int64_t age_ns;
	uint64_t dropped;
	int64_t next_ns; /* from now; 0: nothing grows too old */
};

static void later(struct retention *k, int64_t ns)
{
	k->next_ns = k->next_ns ? MIN(k->next_ns, ns) : ns;
}

/* Whether the version at @i of the list, newest first, may leave. */
static bool leaves(struct retention *k, const struct catalog_head *list, size_t i, int64_t wall_ns)
{
	if (i == 0 || list[i].version == k->pinned)
		return false;
	if (i >= k->versions)
		return true;
	if (!k->age_ns)
		return false;
	int64_t left = k->age_ns - (wall_ns - list[i - 1].committed_ns); /* since the next newer one came */
	if (left > 0)
		later(k, left);
	return left <= 0;
}

static void drop_old(struct node_dataset *d, struct retention *k)
{
	struct catalog *c = d->all->config.catalog;
	struct catalog_head *list;
	size_t count;

	int r = catalog_versions(c, d->name, &list, &count);
	for (size_t i = 0; !r && i < count; i++) {
		if (!leaves(k, list, i, clock_wall_ns()))
			continue;
		r = catalog_version_drop(c, d->name, list[i].version);
		k->dropped += r == 0;
		if (r == -EBUSY)
			later(k, IN_USE_RETRY_NS);
		r = r == -EBUSY || r == -ENOENT ? 0 : r;
	}
	(void)mem_free(list);
	if (r)
		log_write(LOG_WARN, "old versions stay", LOG_STR("dataset", d->name),
			  LOG_STR("error", err_text(r)), NULL);
}

void retention_run(struct node_dataset *d)
{
	struct retention k = {.pinned = d->set->spec->version,
			      .versions = d->set->spec->retention.versions,
			      .age_ns = d->set->spec->retention.age_ns};
	struct catalog_collected gone = {0};
	struct err err = {0};

	d->retain_ns = 0;
	(void)pthread_mutex_unlock(&d->lock);
	drop_old(d, &k);
	/* Also without a drop: a build that was killed leaves chunks that nothing names. */
	if (catalog_collect(d->all->config.catalog, &gone, &err))
		log_write(LOG_WARN, "manifest chunks stay", LOG_STR("error", err.text), NULL);
	if (k.dropped)
		log_write(LOG_INFO, "old versions left", LOG_STR("dataset", d->name),
			  LOG_INT("versions", k.dropped), LOG_INT("chunks", gone.chunks),
			  LOG_INT("bytes", gone.bytes), NULL);
	(void)pthread_mutex_lock(&d->lock);
	if (k.next_ns && !d->retain_ns)
		d->retain_ns = clock_mono_ns() + k.next_ns;
}
