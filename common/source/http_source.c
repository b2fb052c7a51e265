/*
 * The HTTP source: files of a web server. What a key is: of index pages and of a single file, the path below the URL; of a
 * list, the reference that stands there, with the checksum as its fragment, which no request sends.
 */
#include <errno.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/source/http_site.h"
#include "common/source/http_stream.h"
#include "common/source/http_url.h"

static struct http_site *site_of(const struct web_op *op)
{
	return (struct http_site *)(void *)op->base.source;
}

char *http_site_url(const struct http_site *site, const char *key)
{
	switch (site->index) {
	case SOURCE_INDEX_SINGLE:
		return mem_strdup(site->base);
	case SOURCE_INDEX_LIST:
		return http_url_join(site->base, key);
	case SOURCE_INDEX_AUTO:
	case SOURCE_INDEX_NGINX:
	default:
		return http_url_below(site->base, key, "");
	}
}

static int request(struct web_op *op, struct web_fetch *f)
{
	struct http_site *site = site_of(op);
	struct http_trip *trip = f->data;

	if (!trip) {
		trip = mem_calloc(1, sizeof *trip);
		if (!trip)
			return -ENOMEM;
		f->data = trip;
		trip->size_only = op->kind == WEB_STAT;
		const char *sum =
			site->index == SOURCE_INDEX_LIST && f == &op->fetch ? strchr(op->key, '#') : NULL;
		if (sum && !checksum_parse(&op->sum, sum + 1))
			return err_set(&f->err, -ERR_CORRUPT, "%.80s: \"%.200s\" has no checksum after its #",
				       op->base.source->label, op->key);
	}
	return http_trip_request(site, trip, f, http_site_url(site, op->key));
}

static int refused(struct web_op *op, struct web_fetch *f, enum web_verdict *ret)
{
	return http_trip_refused(site_of(op), f->data, f, op->kind == WEB_READ, ret);
}

static int stat_entry(struct web_op *op, struct source_entry *ret)
{
	ret->key = op->key;
	ret->key_len = strlen(op->key);
	return http_trip_entry(op->fetch.data, &op->fetch, ret);
}

static void stop(struct web_op *op)
{
	if (op->kind == WEB_LIST)
		http_crawl_stop(op);
	else if (op->kind == WEB_STREAM)
		http_stream_stop(op);
	else if (op->kind == WEB_READ)
		http_stream_leave(op);
}

static void fetch_done(struct web_fetch *f)
{
	if (f->data)
		http_trip_done(f->data);
	f->data = mem_free(f->data);
}

static void site_done(struct web_source *web)
{
	struct http_site *site = (struct http_site *)(void *)web;

	mem_free(site->base);
	mem_free(site->name);
}

static const struct web_kind http_kind = {
	.request = request,
	.refused = refused,
	.entry = stat_entry,
	.list = http_crawl_start,
	.list_poke = http_crawl_poke,
	.join = http_stream_join,
	.resume = http_stream_resume,
	.stream = http_stream_run,
	.learn = http_stream_learn,
	.stop = stop,
	.fetch_done = fetch_done,
	.done = site_done,
	.whole_ok = true,
};

/* ---- making ---- */

static int check_credential(const struct source_config *c, struct err *err)
{
	const struct source_credential *k = &c->credential;
	bool basic = k->username && *k->username, token = k->token && *k->token;

	if (basic && token)
		return err_set(err, -EINVAL,
			       "%s: the Secret has username and token; a web server takes one of them",
			       c->label);
	if (k->access_key && *k->access_key && !basic && !token)
		return err_set(
			err, -EINVAL,
			"%s: the Secret has keys of S3; a web server wants username and password, or token",
			c->label);
	return 0;
}

static bool is_folder(const char *url)
{
	size_t len = strlen(url);

	return len > 0 && url[len - 1] == '/';
}

static int check_url(const struct source_config *c, bool folder, struct err *err)
{
	const char *url = c->http.url ? c->http.url : "", *wrong = http_url_wrong(url);

	if (wrong)
		return err_set(err, -EINVAL, "%s: the URL %s", c->label, wrong);
	if (folder && (strchr(url, '?') || !is_folder(url)))
		return err_set(err, -EINVAL, "%s: the URL of index pages must end in \"/\"", c->label);
	return 0;
}

static int fill(struct http_site *site, const struct source_config *c, struct err *err)
{
	const char *url = c->http.url;

	site->base = mem_strdup(url);
	if (!site->base)
		return -ENOMEM;
	if (site->index != SOURCE_INDEX_SINGLE)
		return 0;
	site->name = http_url_name(url);
	if (!site->name)
		return err_set(err, -EINVAL, "%s: the URL of a single file must end in its name", c->label);
	return 0;
}

static char *origin_of(const char *url)
{
	const char *host = strstr(url, "://") + 3;

	return mem_strndup(url, (size_t)(host - url) + strcspn(host, "/?#"));
}

int source_http_new(struct source_loop *loop, const struct source_config *config, struct source **ret,
		    struct err *err)
{
	enum source_index index = config->http.index;
	const char *url = config->http.url ? config->http.url : "";

	if (index == SOURCE_INDEX_AUTO)
		index = is_folder(url) ? SOURCE_INDEX_NGINX : SOURCE_INDEX_SINGLE;
	int rc = check_url(config, index == SOURCE_INDEX_NGINX, err);
	if (rc == 0)
		rc = check_credential(config, err);
	if (rc < 0)
		return rc;
	struct http_site *site = mem_calloc(1, sizeof *site);
	if (!site)
		return -ENOMEM;
	site->index = index;
	list_init(&site->streams);
	rc = web_source_init(&site->web, loop, config, &http_kind, origin_of(url), err);
	if (rc == 0)
		rc = fill(site, config, err);
	if (rc < 0) {
		web_source_done(&site->web);
		mem_free(site);
		return rc;
	}
	*ret = &site->web.base;
	return 0;
}
