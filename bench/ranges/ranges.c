#include "bench/ranges/ranges.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <curl/curl.h>

#include "common/base/clock.h"
#include "common/base/fd.h"
#include "common/base/mem.h"
#include "common/source/s3_sign.h"

enum { BUFFER_BYTES = 512 << 10, HOST_MAX = 300 };

struct run {
	const struct ranges_config *config;
	uint64_t part;
	struct curl_slist *headers;
	_Atomic uint64_t next; /* offset that nobody has taken yet */
	_Atomic uint64_t requests;
	_Atomic int failed; /* the first code; the others stop */
};

/* One connection: a handle and the range it is at. */
struct connection {
	struct run *run;
	CURL *easy;
	uint64_t at, end;
	int code; /* -errno of a write */
};

struct worker {
	struct run *run;
	pthread_t thread;
	uint32_t connections; /* its share */
	struct err err;
};

static size_t on_body(char *p, size_t one, size_t len, void *ctx)
{
	struct connection *c = ctx;
	int rc = one * len > c->end - c->at ? -EIO : fd_pwrite_full(c->run->config->out_fd, p, len, c->at);

	c->code = rc;
	c->at += rc ? 0 : len;
	return rc ? 0 : len;
}

/* False when there is nothing left to ask for. */
static bool next_range(struct connection *c)
{
	struct run *run = c->run;
	char range[64];
	uint64_t at = atomic_fetch_add(&run->next, run->part);

	if (at >= run->config->size || atomic_load(&run->failed))
		return false;
	c->at = at;
	c->end = MIN(at + run->part, run->config->size);
	(void)snprintf(range, sizeof range, "%" PRIu64 "-%" PRIu64, at, c->end - 1);
	(void)curl_easy_setopt(c->easy, CURLOPT_RANGE, range); /* copied */
	(void)atomic_fetch_add(&run->requests, 1);
	return true;
}

static int connection_init(struct connection *c, struct run *run)
{
	*c = (struct connection){.run = run, .easy = curl_easy_init()};
	if (!c->easy)
		return -ENOMEM;
	(void)curl_easy_setopt(c->easy, CURLOPT_URL, run->config->url);
	(void)curl_easy_setopt(c->easy, CURLOPT_HTTPHEADER, run->headers);
	(void)curl_easy_setopt(c->easy, CURLOPT_WRITEFUNCTION, on_body);
	(void)curl_easy_setopt(c->easy, CURLOPT_WRITEDATA, c);
	(void)curl_easy_setopt(c->easy, CURLOPT_PRIVATE, c);
	(void)curl_easy_setopt(c->easy, CURLOPT_BUFFERSIZE, (long)BUFFER_BYTES);
	(void)curl_easy_setopt(c->easy, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(c->easy, CURLOPT_PROXY, "");
	(void)curl_easy_setopt(c->easy, CURLOPT_PROTOCOLS_STR, "http,https");
	return 0;
}

static int connection_judge(struct connection *c, CURLcode code, struct err *err)
{
	long status = 0;

	(void)curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
	if (code != CURLE_OK && c->code)
		return err_set(err, c->code, "at offset %" PRIu64 ": %s", c->at, err_text(c->code));
	if (code != CURLE_OK)
		return err_set(err, -ERR_UNREACHABLE, "%s", curl_easy_strerror(code));
	if (status != 206 || c->at != c->end)
		return err_set(err, -EIO, "status %ld, %" PRIu64 " bytes short", status, c->end - c->at);
	return 0;
}

/* Takes the transfers that ended and gives their connections the next range. *ret_running counts those at work. */
static int collect(CURLM *multi, uint32_t *running, struct err *err)
{
	int left;
	CURLMsg *m;

	while ((m = curl_multi_info_read(multi, &left))) {
		struct connection *c = NULL;
		CURLcode code = m->data.result;
		if (m->msg != CURLMSG_DONE)
			continue;
		(void)curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&c);
		int rc = connection_judge(c, code, err);
		if (rc)
			return rc;
		(void)curl_multi_remove_handle(multi, c->easy);
		if (!next_range(c))
			(*running)--;
		else if (curl_multi_add_handle(multi, c->easy) != CURLM_OK)
			return -ENOMEM;
	}
	return 0;
}

static int drive(struct worker *w, CURLM *multi, uint32_t running)
{
	int rc = 0, n;

	while (rc == 0 && running > 0 && !atomic_load(&w->run->failed)) {
		if (curl_multi_perform(multi, &n) != CURLM_OK)
			return -ENOMEM;
		rc = collect(multi, &running, &w->err);
		if (rc == 0 && running > 0 && curl_multi_poll(multi, NULL, 0, 1000, NULL) != CURLM_OK)
			return -ENOMEM;
	}
	return rc;
}

static int start_connections(struct worker *w, CURLM *multi, struct connection *all, uint32_t *ret_running)
{
	for (uint32_t i = 0; i < w->connections; i++) {
		int rc = connection_init(&all[i], w->run);
		if (rc)
			return rc;
		if (!next_range(&all[i]))
			continue;
		if (curl_multi_add_handle(multi, all[i].easy) != CURLM_OK)
			return -ENOMEM;
		(*ret_running)++;
	}
	return 0;
}

static void *work(void *ctx)
{
	struct worker *w = ctx;
	struct connection *all = mem_calloc(w->connections, sizeof *all);
	CURLM *multi = curl_multi_init();
	uint32_t running = 0;
	int none = 0;

	int rc = all && multi ? start_connections(w, multi, all, &running) : -ENOMEM;
	if (rc == 0)
		rc = drive(w, multi, running);
	for (uint32_t i = 0; all && i < w->connections; i++) {
		if (all[i].easy && multi)
			(void)curl_multi_remove_handle(multi, all[i].easy);
		curl_easy_cleanup(all[i].easy);
	}
	(void)curl_multi_cleanup(multi);
	(void)mem_free(all);
	if (rc)
		(void)atomic_compare_exchange_strong(&w->run->failed, &none, rc);
	return NULL;
}

/* "http://HOST/PATH" into its parts; a URL with a query is refused. */
static int split_url(const char *url, char host[HOST_MAX], const char **ret_path)
{
	const char *start = strstr(url, "://");
	size_t len = start ? strcspn(start + 3, "/") : 0;

	if (!start || len == 0 || len >= HOST_MAX || start[3 + len] != '/' || strchr(url, '?'))
		return -EINVAL;
	(void)snprintf(host, HOST_MAX, "%.*s", (int)len, start + 3);
	*ret_path = start + 3 + len;
	return 0;
}

static int add_header(struct curl_slist **list, const char *name, const char *value)
{
	CLEANUP(free_str) char *line = mem_printf("%s: %s", name, value);
	struct curl_slist *more = line ? curl_slist_append(*list, line) : NULL;

	if (!more)
		return -ENOMEM;
	*list = more;
	return 0;
}

/* One signature serves all requests: the range is not part of it, and it stays good for 15 minutes. */
static int make_headers(const struct ranges_config *c, struct curl_slist **ret)
{
	char date[S3_DATE_SIZE], auth[S3_AUTH_SIZE], host[HOST_MAX];
	const char *path;

	int rc = split_url(c->url, host, &path);
	if (rc || !c->access_key)
		return rc;
	s3_sign_date(clock_wall_ns(), date);
	const struct s3_header headers[] = {
		{"host", host}, {"x-amz-content-sha256", S3_EMPTY_SHA256}, {"x-amz-date", date}};
	const struct s3_to_sign in = {.method = "GET",
				      .path = path,
				      .query = "",
				      .headers = headers,
				      .header_count = LENGTH(headers),
				      .payload_hash = S3_EMPTY_SHA256,
				      .date = date,
				      .region = c->region,
				      .service = "s3",
				      .access_key = c->access_key,
				      .secret_key = c->secret_key};
	rc = s3_sign(&in, auth, sizeof auth);
	if (rc == 0)
		rc = add_header(ret, "Authorization", auth);
	for (size_t i = 1; i < LENGTH(headers) && rc == 0; i++)
		rc = add_header(ret, headers[i].name, headers[i].value);
	return rc;
}

/* Runs the workers and waits for all of them; *ret_err has the words of the first that has any. */
static int run_workers(struct run *run, struct worker *workers, uint32_t count, struct err *ret_err)
{
	uint32_t connections = run->config->connections, started = 0;

	for (; started < count; started++) {
		struct worker *w = &workers[started];
		w->run = run;
		w->connections = connections / count + (started < connections % count);
		if (pthread_create(&w->thread, NULL, work, w) != 0)
			break;
	}
	if (started < count)
		atomic_store(&run->failed, -EAGAIN);
	for (uint32_t i = 0; i < started; i++) {
		(void)pthread_join(workers[i].thread, NULL);
		if (workers[i].err.code && ret_err)
			*ret_err = workers[i].err;
	}
	return atomic_load(&run->failed);
}

static bool config_is_right(const struct ranges_config *c)
{
	return c->size > 0 && c->connections > 0 && c->connections <= RANGES_CONNECTIONS_MAX &&
	       c->threads > 0 && c->threads <= RANGES_THREADS_MAX && !c->access_key == !c->secret_key &&
	       (!c->access_key || c->region);
}

int ranges_run(const struct ranges_config *config, struct ranges_result *ret, struct err *err)
{
	if (!config_is_right(config))
		return -EINVAL;
	if (curl_global_init(CURL_GLOBAL_ALL) != 0)
		return -ENOMEM;
	uint32_t count = MIN(config->threads, config->connections);
	struct worker *workers = mem_calloc(count, sizeof *workers);
	struct run run = {.config = config,
			  .part = config->part
					  ? config->part
					  : (config->size + config->connections - 1) / config->connections};
	int64_t start_ns = clock_mono_ns();
	int rc = workers ? make_headers(config, &run.headers) : -ENOMEM;
	if (rc == 0)
		rc = run_workers(&run, workers, count, err);
	*ret = (struct ranges_result){.bytes = config->size,
				      .requests = atomic_load(&run.requests),
				      .start_ns = start_ns,
				      .end_ns = clock_mono_ns()};
	curl_slist_free_all(run.headers);
	(void)mem_free(workers);
	curl_global_cleanup();
	return rc;
}
