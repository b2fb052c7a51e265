#include "cache-node/metrics.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <microhttpd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

#define LABEL "program=\"larder-node\""

struct page {
	char *text;
	size_t len, size;
	bool failed;
};

struct metrics {
	struct metrics_config config;
	struct MHD_Daemon *daemon;
};

static void put(struct page *p, const char *fmt, ...) PRINTF(2, 3);
static void put(struct page *p, const char *fmt, ...)
{
	va_list args;

	for (;;) {
		va_start(args, fmt);
		int n = vsnprintf(p->text ? p->text + p->len : NULL, p->size - p->len, fmt, args);
		va_end(args);
		if (n < 0 || p->failed)
			return;
		if (p->text && (size_t)n < p->size - p->len) {
			p->len += (size_t)n;
			return;
		}
		char *more = mem_resize(p->text, p->size + (size_t)n + 4096, 1);
		p->failed = !more;
		if (!more)
			return;
		p->text = more;
		p->size += (size_t)n + 4096;
	}
}

static void head(struct page *p, const char *name, const char *type, const char *help)
{
	put(p, "# HELP larder_%s %s\n# TYPE larder_%s %s\n", name, help, name, type);
}

static void single(struct page *p, const char *name, const char *type, const char *help, uint64_t value)
{
	head(p, name, type, help);
	put(p, "larder_%s{" LABEL "} %" PRIu64 "\n", name, value);
}

static void histogram(struct page *p, const char *name, const char *help, const struct cache_histogram *h)
{
	uint64_t sum = 0;

	head(p, name, "histogram", help);
	for (int i = 0; i < CACHE_LATENCY_BUCKETS - 1; i++) {
		sum += h->count[i];
		put(p, "larder_%s_bucket{" LABEL ",le=\"%g\"} %" PRIu64 "\n", name, (double)(1u << i) / 1e6,
		    sum);
	}
	put(p, "larder_%s_bucket{" LABEL ",le=\"+Inf\"} %" PRIu64 "\n", name, h->total);
	put(p, "larder_%s_sum{" LABEL "} %.9f\nlarder_%s_count{" LABEL "} %" PRIu64 "\n", name,
	    (double)h->sum_ns / 1e9, name, h->total);
}

static void tier_rows(struct page *p, const struct cache_stats *s, const char *name, const char *type,
		      const char *help, size_t offset)
{
	head(p, name, type, help);
	for (size_t i = 0; i < s->tier_count; i++) {
		uint64_t value;
		memcpy(&value, (const char *)&s->tiers[i] + offset, sizeof value);
		put(p, "larder_%s{" LABEL ",tier=\"%s\"} %" PRIu64 "\n", name, s->tiers[i].name, value);
	}
}

static void put_cache(struct page *p, struct cache *cache)
{
	struct cache_stats s;

	cache_stats_get(cache, &s);
	tier_rows(p, &s, "tier_used_bytes", "gauge", "Physical bytes a tier uses.",
		  offsetof(struct cache_tier_stats, bytes_used));
	tier_rows(p, &s, "tier_limit_bytes", "gauge", "Physical bytes a tier may use.",
		  offsetof(struct cache_tier_stats, bytes_max));
	tier_rows(p, &s, "tier_objects", "gauge", "Objects in a tier.",
		  offsetof(struct cache_tier_stats, objects));
	tier_rows(p, &s, "tier_claimed_objects", "gauge",
		  "Objects in a tier that were known at the start from the log of the process before.",
		  offsetof(struct cache_tier_stats, claimed));
	tier_rows(p, &s, "tier_evictions_total", "counter", "Objects evicted from a tier.",
		  offsetof(struct cache_tier_stats, evicted));
	tier_rows(p, &s, "tier_evicted_bytes_total", "counter", "Bytes evicted from a tier.",
		  offsetof(struct cache_tier_stats, evicted_bytes));
	tier_rows(p, &s, "tier_new_objects", "gauge", "Objects in a tier that have yet to be used again.",
		  offsetof(struct cache_tier_stats, newcomers));
	tier_rows(p, &s, "tier_resident_objects", "gauge", "Objects in a tier that stay.",
		  offsetof(struct cache_tier_stats, residents));
	tier_rows(p, &s, "tier_held_objects", "gauge",
		  "Objects in a tier that eviction passed over: open or pinned.",
		  offsetof(struct cache_tier_stats, held));
	tier_rows(p, &s, "tier_ghosts", "gauge", "Names of evicted objects that are remembered.",
		  offsetof(struct cache_tier_stats, ghosts));
	tier_rows(p, &s, "tier_ghost_hits_total", "counter",
		  "Evicted objects that were fetched again while they were remembered.",
		  offsetof(struct cache_tier_stats, ghost_hits));
	single(p, "reads_total", "counter",
	       "Reads that the daemon answered; passthrough reads do not pass it.", s.reads);
	single(p, "read_bytes_total", "counter", "Bytes of those reads.", s.read_bytes);
	single(p, "read_hit_bytes_total", "counter", "Bytes of those reads that a tier held.", s.hit_bytes);
	single(p, "read_miss_bytes_total", "counter", "Bytes of those reads that waited for a source.",
	       s.miss_bytes);
	single(p, "fetches_total", "counter", "Ranges fetched from sources.", s.fetches);
	single(p, "fetched_bytes_total", "counter", "Bytes fetched from sources.", s.fetched_bytes);
	single(p, "objects_sealed_total", "counter", "Objects completed, verified and sealed.", s.sealed);
	single(p, "corrupt_blocks_total", "counter", "Blocks that failed their checksum and were dropped.",
	       s.corrupt_blocks);
	single(p, "scrubbed_objects_total", "counter", "Objects read and verified on their tiers.",
	       s.scrubbed);
	single(p, "scrubbed_bytes_total", "counter", "Physical bytes of those objects.", s.scrubbed_bytes);
	single(p, "passed_by_bytes_total", "counter", "Bytes served without being kept.", s.passed_by_bytes);
	single(p, "reread_bytes_total", "counter", "Bytes read back from a tier to answer reads.",
	       s.reread_bytes);
	single(p, "fetch_buffer_used_bytes", "gauge", "Memory held by bytes on their way.", s.buffers_used);
	single(p, "fetch_buffer_limit_bytes", "gauge", "Limit of that memory.", s.buffers_max);
	histogram(p, "read_duration_seconds", "Time from a read to its answer.", &s.read_latency);
	histogram(p, "fill_duration_seconds", "Time of a fetch from request to last byte.", &s.fill_latency);
}

/* ---- datasets and mounts ---- */

struct rows {
	Larder__V1__DatasetStatus **items;
	size_t count;
};

static void collect(void *ctx, struct node_dataset *d)
{
	struct rows *r = ctx;
	Larder__V1__DatasetStatus **more = mem_resize(r->items, r->count + 1, sizeof *more);

	if (!more)
		return;
	r->items = more;
	if (node_dataset_status(d, false, &r->items[r->count]) == 0)
		r->count++;
}

static void dataset_rows(struct page *p, const struct rows *rows, const char *name, const char *type,
			 const char *help, size_t offset)
{
	head(p, name, type, help);
	for (size_t i = 0; i < rows->count; i++) {
		uint64_t value;
		memcpy(&value, (const char *)rows->items[i] + offset, sizeof value);
		put(p, "larder_%s{" LABEL ",namespace=\"%s\",dataset=\"%s\"} %" PRIu64 "\n", name,
		    rows->items[i]->namespace_, rows->items[i]->name, value);
	}
}

static void put_datasets(struct page *p, struct datasets *datasets)
{
	struct rows rows = {0};

	datasets_each(datasets, collect, &rows);
	dataset_rows(p, &rows, "dataset_version", "gauge", "Version at the head; 0: none yet.",
		     offsetof(Larder__V1__DatasetStatus, version));
	dataset_rows(p, &rows, "dataset_files", "gauge", "Files of that version.",
		     offsetof(Larder__V1__DatasetStatus, files));
	dataset_rows(p, &rows, "dataset_bytes", "gauge", "Bytes of those files.",
		     offsetof(Larder__V1__DatasetStatus, bytes));
	dataset_rows(p, &rows, "dataset_cached_bytes", "gauge", "Bytes of it that this node holds.",
		     offsetof(Larder__V1__DatasetStatus, cached_bytes));
	dataset_rows(p, &rows, "dataset_source_bytes_total", "counter", "Bytes that came from its sources.",
		     offsetof(Larder__V1__DatasetStatus, source_bytes));
	dataset_rows(p, &rows, "dataset_served_bytes_total", "counter",
		     "Bytes that the daemon answered itself.",
		     offsetof(Larder__V1__DatasetStatus, served_bytes));
	dataset_rows(p, &rows, "dataset_denied_total", "counter", "Operations that its sources refused.",
		     offsetof(Larder__V1__DatasetStatus, denied));
	for (size_t i = 0; i < rows.count; i++)
		larder__v1__dataset_status__free_unpacked(rows.items[i], NULL);
	(void)mem_free(rows.items);
}

struct mount_totals {
	uint64_t mounts, nodes, opens, requests, reads, passthrough, cached, errors;
};

static void add_mount(void *ctx, const struct session_stats *s)
{
	struct mount_totals *t = ctx;

	t->mounts++;
	t->nodes += s->nodes;
	t->opens += s->opens;
	t->requests += s->requests;
	t->reads += s->reads;
	t->passthrough += s->opens_passthrough;
	t->cached += s->opens_cached;
	t->errors += s->errors;
}

static void put_mounts(struct page *p, struct mounts *mounts, struct node_memory *memory)
{
	struct mount_totals t = {0};

	mounts_each(mounts, add_mount, &t);
	single(p, "mounts", "gauge", "FUSE mounts served.", t.mounts);
	single(p, "mount_nodes", "gauge", "Files and directories the kernel knows.", t.nodes);
	single(p, "mount_open_files", "gauge", "Open files.", t.opens);
	single(p, "fuse_requests_total", "counter", "FUSE requests since the worker started.", t.requests);
	single(p, "fuse_reads_total", "counter", "READ requests among them.", t.reads);
	single(p, "fuse_errors_total", "counter", "Requests answered with an error.", t.errors);
	head(p, "opens_total", "counter", "Files opened, by mode.");
	put(p, "larder_opens_total{" LABEL ",mode=\"passthrough\"} %" PRIu64 "\n", t.passthrough);
	put(p, "larder_opens_total{" LABEL ",mode=\"cached\"} %" PRIu64 "\n", t.cached);
	single(p, "worker_restarts_total", "counter", "Deaths of a worker.",
	       atomic_load(&memory->worker_restarts));
	single(p, "requests_recovered_total", "counter",
	       "Requests of dead workers that their successors answered.", atomic_load(&memory->recovered));
}

char *metrics_render(const struct metrics_config *config)
{
	struct page p = {0};

	head(&p, "build_info", "gauge", "Version of the program.");
	put(&p, "larder_build_info{" LABEL ",version=\"" LARDER_VERSION "\"} 1\n");
	put_cache(&p, config->cache);
	put_datasets(&p, config->datasets);
	put_mounts(&p, config->mounts, config->memory);
	if (p.failed)
		p.text = mem_free(p.text);
	return p.text;
}

/* ---- HTTP ---- */

static enum MHD_Result answer(struct MHD_Connection *c, unsigned status, char *text, bool owned)
{
	struct MHD_Response *r = MHD_create_response_from_buffer(
		strlen(text), text, owned ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);

	if (!r) {
		if (owned)
			(void)mem_free(text);
		return MHD_NO;
	}
	(void)MHD_add_response_header(r, "Content-Type", "text/plain; version=0.0.4; charset=utf-8");
	enum MHD_Result result = MHD_queue_response(c, status, r);
	MHD_destroy_response(r);
	return result;
}

static enum MHD_Result handle(void *ctx, struct MHD_Connection *c, const char *url, const char *method,
			      const char *version, const char *data, size_t *data_len, void **state)
{
	static char ok[] = "ok\n", none[] = "there are /metrics and /healthz here\n",
		    busy[] = "out of memory\n";
	struct metrics *m = ctx;

	(void)version, (void)data, (void)state;
	if (strcmp(method, "GET") != 0 || *data_len)
		return answer(c, MHD_HTTP_METHOD_NOT_ALLOWED, none, false);
	if (strcmp(url, "/healthz") == 0)
		return answer(c, MHD_HTTP_OK, ok, false);
	if (strcmp(url, "/metrics") != 0)
		return answer(c, MHD_HTTP_NOT_FOUND, none, false);
	char *text = metrics_render(&m->config);
	return text ? answer(c, MHD_HTTP_OK, text, true)
		    : answer(c, MHD_HTTP_SERVICE_UNAVAILABLE, busy, false);
}

static int parse_address(const char *text, struct sockaddr_storage *ret, struct err *err)
{
	const char *colon = strrchr(text, ':');
	char host[64], *end;
	struct sockaddr_in *v4 = (void *)ret;
	struct sockaddr_in6 *v6 = (void *)ret;

	unsigned long port = colon ? strtoul(colon + 1, &end, 10) : 0;
	bool bracket = text[0] == '[' && colon && colon[-1] == ']';
	size_t len = colon ? (size_t)(colon - text) - (bracket ? 2 : 0) : 0;
	if (!colon || end == colon + 1 || *end || port > 65535 || len == 0 || len >= sizeof host)
		return err_set(err, -EINVAL, "metrics address \"%s\" must be ADDR:PORT, like 127.0.0.1:7079",
			       text);
	memcpy(host, text + bracket, len);
	host[len] = 0;
	memset(ret, 0, sizeof *ret);
	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)port);
		return 0;
	}
	if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)port);
		return 0;
	}
	return err_set(err, -EINVAL, "metrics address \"%s\": %s is not a numeric address", text, host);
}

int metrics_new(const struct metrics_config *config, struct metrics **ret, struct err *err)
{
	struct sockaddr_storage address;

	int r = parse_address(config->address, &address, err);
	if (r)
		return r;
	struct metrics *m = mem_calloc(1, sizeof *m);
	if (!m)
		return err_set(err, -ENOMEM, "out of memory");
	m->config = *config;
	unsigned flags =
		MHD_USE_INTERNAL_POLLING_THREAD | (address.ss_family == AF_INET6 ? MHD_USE_IPv6 : 0u);
	m->daemon = MHD_start_daemon(flags, 0, NULL, NULL, handle, m, MHD_OPTION_SOCK_ADDR,
				     (struct sockaddr *)&address, MHD_OPTION_CONNECTION_LIMIT, 16u,
				     MHD_OPTION_CONNECTION_TIMEOUT, 10u, MHD_OPTION_END);
	if (!m->daemon) {
		(void)mem_free(m);
		return err_set(
			err, -EADDRINUSE,
			"cannot listen on %s for metrics: it is taken, or not an address of this machine",
			config->address);
	}
	*ret = m;
	return 0;
}

struct metrics *metrics_free(struct metrics *m)
{
	if (!m)
		return NULL;
	MHD_stop_daemon(m->daemon);
	return mem_free(m);
}
