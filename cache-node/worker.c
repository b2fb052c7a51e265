/*
 * The order of starting is that of need: what mounts wait for comes before what people ask for, so that a worker that
 * takes over answers reads within milliseconds.
 */
#include "cache-node/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cache-node/cache.h"
#include "cache-node/catalog.h"
#include "cache-node/datasets.h"
#include "cache-node/metrics.h"
#include "cache-node/mounts.h"
#include "cache-node/service.h"
#include "cache-node/supervisor/control.h"
#include "cache-node/supervisor/node_memory.h"
#include "common/base/clock.h"
#include "common/base/fd.h"
#include "common/base/log.h"
#include "common/rpc.h"

#define GRACE_NS \
	(300 * NS_PER_MS) /* an idle client closes its connection late; calls that matter are short */

struct worker {
	const struct worker_start *start;
	struct control control;
	struct node_memory *memory;
	struct mounter_client *mounter;
	int state_fd;
	struct catalog *catalog;
	struct source_loop *read_loop, *sync_loop;
	struct cache *cache;
	struct mounts *mounts;
	struct datasets *datasets;
	struct service *service;
	struct metrics *metrics;
};

static void on_sealed(void *ctx, const struct hash256 *id)
{
	struct worker *w = ctx;

	if (w->mounts)
		mounts_sealed(w->mounts, id);
}

static void on_spoiled(void *ctx, const struct hash256 *id)
{
	struct worker *w = ctx;

	if (w->mounts)
		mounts_spoiled(w->mounts, id);
}

static void on_moved(void *ctx, struct node_dataset *d)
{
	struct worker *w = ctx;

	mounts_follow(w->mounts, d);
}

static int open_state(struct worker *w, struct err *err)
{
	const char *path = w->start->config->state;

	w->state_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (w->state_fd < 0)
		return err_set(err, -errno, "state folder %s: %s", path, err_text(errno));
	return catalog_local_new(w->state_fd, &w->catalog, err);
}

static int open_cache(struct worker *w, struct err *err)
{
	const struct node_config *c = w->start->config;
	struct cache_tier_config tiers[NODE_DISKS_MAX + 1];

	for (size_t i = 0; i < w->start->tier_count; i++)
		tiers[i] = i < c->disk_count ? (struct cache_tier_config){.kind = CACHE_TIER_DISK,
									  .dir_fd = w->start->tier_fds[i],
									  .bytes_max = c->disks[i].bytes_max,
									  .name = c->disks[i].path}
					     : (struct cache_tier_config){.kind = CACHE_TIER_DRAM,
									  .dir_fd = w->start->tier_fds[i],
									  .bytes_max = c->dram_bytes,
									  .name = "dram"};
	struct cache_config config = {.tiers = tiers,
				      .tier_count = w->start->tier_count,
				      .memory_max = c->memory_bytes,
				      .sealed = on_sealed,
				      .spoiled = on_spoiled,
				      .scrub_ns = (int64_t)c->scrub_days * 24 * 3600 * NS_PER_S,
				      .ctx = w};
	return cache_new(&config, &w->cache, err);
}

static uint32_t features_of(const struct node_config *c)
{
	uint32_t all = SHM_PASSTHROUGH | SHM_READDIRPLUS;

	if (c->without & WITHOUT_PASSTHROUGH)
		all &= ~(uint32_t)SHM_PASSTHROUGH;
	if (c->without & WITHOUT_READDIRPLUS)
		all &= ~(uint32_t)SHM_READDIRPLUS;
	return all;
}

/* What mounts need. */
static int start_core(struct worker *w, struct err *err)
{
	struct mounts_config m = {.control = &w->control, .features = features_of(w->start->config)};
	int r = node_memory_map(w->start->memory_fd, &w->memory, err);

	if (!r)
		r = mounter_client_new(w->start->config->mounter, &w->mounter);
	if (!r)
		r = open_state(w, err);
	if (!r)
		r = source_loop_new("read", &w->read_loop);
	if (!r)
		r = source_loop_new("sync", &w->sync_loop);
	m.mounter = w->mounter;
	if (!r)
		r = mounts_new(&m, &w->mounts);
	return r ? r : open_cache(w, err);
}

static int start_datasets(struct worker *w, struct err *err)
{
	struct datasets_config c = {.catalog = w->catalog,
				    .cache = w->cache,
				    .mounter = w->mounter,
				    .memory = w->memory,
				    .read_loop = w->read_loop,
				    .sync_loop = w->sync_loop,
				    .temp_dir_fd = w->state_fd,
				    .moved = on_moved,
				    .ctx = w};
	int r = datasets_new(&c, &w->datasets, err);

	if (r)
		return r;
	mounts_attach(w->mounts, w->datasets);
	mounts_adopt(w->mounts, w->start->sessions, w->start->session_count);
	datasets_retain(w->datasets);
	if (w->start->died_ns)
		log_write(LOG_INFO, "mounts taken over", LOG_INT("mounts", w->start->session_count),
			  LOG_INT("after_us", (clock_mono_ns() - w->start->died_ns) / 1000), NULL);
	return 0;
}

static int start_service(struct worker *w, struct err *err)
{
	struct service_config c = {.node = w->start->config,
				   .datasets = w->datasets,
				   .mounts = w->mounts,
				   .cache = w->cache,
				   .memory = w->memory,
				   .started_ns = clock_wall_ns()};
	int r;

	for (int tries = 0;
	     (r = service_new(&c, &w->service, err)) == -EADDRINUSE && w->start->died_ns && tries < 100;
	     tries++)
		(void)usleep(20000); /* the kernel is still closing a dead worker's sockets */
	if (r || !w->start->config->metrics)
		return r;
	struct metrics_config m = {.address = w->start->config->metrics,
				   .cache = w->cache,
				   .datasets = w->datasets,
				   .mounts = w->mounts,
				   .memory = w->memory};
	return metrics_new(&m, &w->metrics, err);
}

/* The mounts stay: sessions are left as they are and end with the process, for the next one to take over. So what they use
 * is not taken apart either; only files are brought to rest. */
static void stop(struct worker *w)
{
	(void)metrics_free(w->metrics);
	(void)service_free(w->service, GRACE_NS);
}

int worker_main(const struct worker_start *start)
{
	struct worker *w = &(struct worker){.start = start, .state_fd = -1};
	struct err err = {0};
	sigset_t signals;
	int signal_number;

	rpc_init();
	control_init(&w->control, start->control_fd);
	int r = start_core(w, &err);
	if (!r)
		r = start_datasets(w, &err);
	if (!r)
		r = start_service(w, &err);
	if (r) {
		log_write(LOG_ERROR, "the node cannot serve", LOG_STR("error", err_words(&err, r)), NULL);
		return start->session_count ? 1
					    : SUPERVISOR_CANNOT_START; /* with mounts to serve: try again */
	}
	log_write(LOG_INFO, "node ready", LOG_STR("address", start->config->addresses[0]), NULL);
	(void)sigemptyset(&signals);
	(void)sigaddset(&signals, SIGTERM);
	(void)sigaddset(&signals, SIGINT);
	while (sigwait(&signals, &signal_number) != 0)
		;
	stop(w);
	return 0;
}
