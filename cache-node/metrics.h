/*
 * metrics - /metrics in Prometheus' text format and /healthz, over HTTP. One table of figures; names follow the field's
 * rules: base units, _total for counters, histograms with le.
 */
#ifndef CACHE_NODE_METRICS_H
#define CACHE_NODE_METRICS_H

#include "cache-node/cache.h"
#include "cache-node/datasets.h"
#include "cache-node/mounts.h"
#include "cache-node/supervisor/node_memory.h"
#include "common/base/attr.h"
#include "common/base/err.h"

struct metrics;

struct metrics_config {
	const char *address; /* ADDR:PORT; ADDR is a numeric address */
	struct cache *cache;
	struct datasets *datasets;
	struct mounts *mounts;
	struct node_memory *memory;
};

/* 0; -EINVAL for a bad address, -EADDRINUSE, with words. */
MUST_CHECK int metrics_new(const struct metrics_config *config, struct metrics **ret, struct err *err);
struct metrics *metrics_free(struct metrics *m);

/* The whole page, owned by the caller; NULL when out of memory. */
MUST_CHECK char *metrics_render(const struct metrics_config *config);

#endif
