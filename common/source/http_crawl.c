/*
 * Listings of the HTTP source: a crew of workers, each with one fetch, takes jobs from a stack: read a folder's page, read a
 * list, or ask for the size and validator of one file. Files come before folders, so what waits is at most one page's files
 * for each worker and the folders of one path.
 *
 * An index page of HTML names files only, so each is asked for by a HEAD. JSON pages hold size and time to the second, which
 * is all that nginx's own etag is made of: where a HEAD of one file agrees with the page, the others are not asked for.
 */
#include <errno.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/manifest.h"
#include "common/source/http_index.h"
#include "common/source/http_list.h"
#include "common/source/http_site.h"
#include "common/source/http_url.h"

enum { DEPTH_MAX = 128, JOBS_MAX = 1 << 22, SIZES_OF_LIST_MAX = 10000 };

enum job_kind { JOB_PAGE, JOB_LIST, JOB_SIZE };

struct job {
	struct list node;
	enum job_kind kind;
	char *path; /* below the source's root, decoded; a folder's without a slash at its end */
	char *key;  /* NULL: the path */
};

enum dates { DATES_UNKNOWN, DATES_TRUSTED, DATES_WRONG };

struct crawl;
struct worker {
	struct web_fetch fetch;
	struct crawl *crawl;
	struct job *job; /* NULL: idle */
	struct http_trip trip;
	char *body; /* PAGE */
	size_t len, room;
	struct http_list *list;  /* LIST */
	struct http_index *page; /* PAGE: parsed, while a file of it is asked for */
	const struct http_index_entry *probe;
};

struct crawl {
	struct web_op *op;
	struct list sizes, pages; /* jobs; the first is next */
	size_t size_count, page_count;
	struct worker *held; /* its list waits until the sizes are fewer */
	enum dates dates;
	struct err err; /* what an entry of a list met */
	bool read_off;  /* the first page was read */
	size_t worker_count, busy;
	struct worker workers[];
};

static struct http_site *site_of(const struct crawl *c)
{
	return (struct http_site *)(void *)c->op->base.source;
}

/* ---- jobs ---- */

static struct job *job_free(struct job *job)
{
	if (!job)
		return NULL;
	mem_free(job->path);
	mem_free(job->key);
	return mem_free(job);
}

static int push(struct crawl *c, enum job_kind kind, const char *path, const char *key)
{
	struct job *job = mem_calloc(1, sizeof *job);

	if (!job)
		return -ENOMEM;
	job->kind = kind;
	job->path = mem_strdup(path);
	job->key = key ? mem_strdup(key) : NULL;
	size_t *count = kind == JOB_SIZE ? &c->size_count : &c->page_count;
	if (!job->path || (key && !job->key) || *count == JOBS_MAX) {
		(void)job_free(job);
		return -ENOMEM;
	}
	list_push_front(kind == JOB_SIZE ? &c->sizes : &c->pages, &job->node);
	++*count;
	return 0;
}

static struct job *pop(struct crawl *c)
{
	struct list *from = list_empty(&c->sizes) ? &c->pages : &c->sizes;

	if (list_empty(from))
		return NULL;
	struct job *job = LIST_ENTRY(from->next, struct job, node);
	list_remove(&job->node);
	--*(from == &c->sizes ? &c->size_count : &c->page_count);
	return job;
}

static void rest(struct worker *w)
{
	http_trip_done(&w->trip);
	w->trip = (struct http_trip){0};
	w->body = mem_free(w->body);
	w->list = http_list_free(w->list);
	w->page = http_index_free(w->page);
	w->probe = NULL;
	w->len = w->room = 0;
	if (w->crawl->held == w)
		w->crawl->held = NULL;
	if (w->job)
		w->crawl->busy--;
	w->job = job_free(w->job);
}

/* ---- what goes out ---- */

static bool wanted(const struct crawl *c, const char *path)
{
	const struct source_list_request *r = &c->op->want.list;

	return strncmp(path, r->prefix, strlen(r->prefix)) == 0 &&
	       (!r->wanted || r->wanted(r->ctx, path, strlen(path)));
}

static int emit(struct crawl *c, struct source_entry *e, const char *path, const char *key)
{
	e->path = path;
	e->path_len = strlen(path);
	e->key = key ? key : path;
	e->key_len = strlen(e->key);
	return c->op->want.list.entries(c->op->want.list.ctx, e, 1);
}

static size_t depth_of(const char *path)
{
	size_t n = 1;

	for (; (path = strchr(path, '/')); path++)
		n++;
	return n;
}

static int take_folder(struct worker *w, const char *path)
{
	struct source_entry e = {.type = SOURCE_TYPE_DIR};

	if (depth_of(path) > DEPTH_MAX)
		return err_set(&w->fetch.err, -ERR_UNSUPPORTED,
			       "%.80s: %.200s is over %d folders deep; do links lead in a circle?",
			       w->fetch.source->base.label, path, DEPTH_MAX);
	int rc = emit(w->crawl, &e, path, NULL);
	return rc == 0 ? push(w->crawl, JOB_PAGE, path, NULL) : rc;
}

static int take_file(struct worker *w, const struct http_index_entry *x, const char *path)
{
	struct source_entry e = {.type = SOURCE_TYPE_FILE, .size = x->size, .mtime_ns = x->mtime_ns};

	if (!wanted(w->crawl, path))
		return 0;
	if (!x->has_stat || w->crawl->dates != DATES_TRUSTED)
		return push(w->crawl, JOB_SIZE, path, NULL);
	e.validator = response_dated_validator(x->mtime_ns, x->size);
	return emit(w->crawl, &e, path, NULL);
}

static char *join(const char *folder, const char *name)
{
	return mem_printf("%s%s%s", folder, *folder ? "/" : "", name);
}

static int take_page(struct worker *w)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < w->page->count; i++) {
		const struct http_index_entry *x = &w->page->entries[i];
		CLEANUP(free_str) char *path = join(w->job->path, x->name);
		if (!path)
			return -ENOMEM;
		if (strlen(path) > MANIFEST_PATH_MAX)
			continue;
		rc = x->dir ? take_folder(w, path) : take_file(w, x, path);
	}
	return rc;
}

static int on_list_entry(void *ctx, const struct http_list_entry *x)
{
	struct crawl *c = ctx;
	struct source_entry e = {.type = SOURCE_TYPE_FILE,
				 .size = x->size,
				 .mtime_ns = x->mtime_ns,
				 .validator = x->validator};

	if (!wanted(c, x->path))
		return 0;
	if (!x->has_size || x->validator.kind == VALIDATOR_NONE)
		return push(c, JOB_SIZE, x->path, x->key);
	return emit(c, &e, x->path, x->key);
}

/* ---- one fetch of a worker ---- */

static char *url_of(const struct worker *w)
{
	const struct http_site *site = site_of(w->crawl);
	const struct job *job = w->job;

	if (w->probe) {
		CLEANUP(free_str) char *path = join(job->path, w->probe->name);
		return path ? http_url_below(site->base, path, "") : NULL;
	}
	switch (job->kind) {
	case JOB_PAGE:
		return http_url_below(site->base, job->path, *job->path ? "/" : "");
	case JOB_LIST:
		return mem_strdup(site->base);
	case JOB_SIZE:
		break;
	}
	return http_site_url(site, job->key ? job->key : job->path);
}

static int on_request(struct web_fetch *f)
{
	struct worker *w = CONTAINER_OF(f, struct worker, fetch);

	w->len = 0;
	if (w->job->kind == JOB_LIST) {
		w->list = http_list_free(w->list);
		if (http_list_new(on_list_entry, w->crawl, &w->list) < 0)
			return -ENOMEM;
	}
	return http_trip_request(site_of(w->crawl), &w->trip, f, url_of(w));
}

static int on_head(struct web_fetch *f)
{
	(void)f;
	return 0;
}

static int fail(struct worker *w, int code, const char *why)
{
	return err_set(&w->fetch.err, code, "%.80s: %.200s: %.200s", w->fetch.source->base.label,
		       w->fetch.subject, why);
}

static int keep_page(struct worker *w, const uint8_t *p, size_t len)
{
	if (len > HTTP_INDEX_BYTES_MAX - w->len)
		return fail(w, -ERR_CORRUPT, "the page of the folder has over 64 MiB");
	if (w->len + len > w->room) {
		size_t room = MAX(MAX(w->len + len, w->room * 2), (size_t)1 << 14);
		char *more = mem_resize(w->body, room, 1);
		if (!more)
			return -ENOMEM;
		w->body = more;
		w->room = room;
	}
	memcpy(w->body + w->len, p, len);
	w->len += len;
	return 0;
}

static int feed_list(struct worker *w, const uint8_t *p, size_t len)
{
	struct err why = {0};
	int rc = http_list_feed(w->list, (const char *)p, len, &why);

	return rc < 0 && why.code ? fail(w, rc, why.text) : rc;
}

static enum http_taken on_body(struct web_fetch *f, const uint8_t *p, size_t len, size_t *ret_used)
{
	struct worker *w = CONTAINER_OF(f, struct worker, fetch);
	int rc = 0;

	if (w->trip.size_only) { /* a GET in the place of a HEAD */
		f->enough = true;
		return HTTP_ABORTED;
	}
	if (w->job->kind == JOB_LIST && w->crawl->size_count > SIZES_OF_LIST_MAX &&
	    f->source->connections > 1) {
		w->crawl->held = w;
		*ret_used = 0;
		return HTTP_PAUSED;
	}
	rc = w->job->kind == JOB_LIST ? feed_list(w, p, len) : keep_page(w, p, len);
	atomic_fetch_add_explicit(&f->source->base.bytes, len, memory_order_relaxed);
	web_fetch_progress(f);
	f->transfer.abort_code = rc;
	if (w->job->kind == JOB_LIST) /* nothing can be started from inside a callback of libcurl */
		http_post(f->source->base.loop->http, &w->crawl->op->task);
	return rc == 0 ? HTTP_TAKEN : HTTP_ABORTED;
}

static int on_refused(struct web_fetch *f, enum web_verdict *ret)
{
	struct worker *w = CONTAINER_OF(f, struct worker, fetch);

	return http_trip_refused(site_of(w->crawl), &w->trip, f, false, ret);
}

/* ---- what a fetch brought ---- */

static void start_fetch(struct worker *w, bool size_only)
{
	int64_t limit_ns = w->crawl->op->want.list.deadline_ns;

	http_trip_done(&w->trip);
	w->trip = (struct http_trip){.size_only = size_only};
	/* A list may be long: it has all the time while it goes on. */
	web_fetch_start(&w->fetch, w->job->kind == JOB_LIST ? 0 : clock_mono_ns() + limit_ns);
}

static const struct http_index_entry *find_probe(const struct worker *w)
{
	for (size_t i = 0; i < w->page->count; i++)
		if (w->page->entries[i].has_stat)
			return &w->page->entries[i];
	return NULL;
}

/* The page came: parsed, and taken unless a file of it must be asked for first. *ret_more: a fetch was started. */
static int end_page(struct worker *w, bool *ret_more)
{
	struct err why = {0};
	char *path = NULL, *after = NULL;

	/* The path of the page's own URL, for links that begin at the server's root. */
	path = strstr(w->trip.url, "://");
	path = path ? strchr(path + 3, '/') : NULL;
	if (path)
		after = path + strcspn(path, "?#");
	CLEANUP(free_str) char *own = mem_strndup(path ? path : "", path ? (size_t)(after - path) : 0);
	if (!own)
		return -ENOMEM;
	int rc = http_index_parse(w->body ? w->body : "", w->len, own, &w->page, &why);
	if (rc < 0)
		return rc == -ENOMEM ? rc : fail(w, rc, err_words(&why, rc));
	w->crawl->read_off = true;
	w->probe = w->crawl->dates == DATES_UNKNOWN ? find_probe(w) : NULL;
	*ret_more = w->probe != NULL;
	if (!*ret_more)
		return take_page(w);
	start_fetch(w, true);
	return 0;
}

static int end_probe(struct worker *w, int status)
{
	struct source_entry e = {0};
	const struct http_index_entry *x = w->probe;
	bool same = status == 0 && http_trip_entry(&w->trip, &w->fetch, &e) == 0 && e.size == x->size &&
		    e.mtime_ns == x->mtime_ns;

	w->crawl->dates = same ? DATES_TRUSTED : DATES_WRONG;
	w->probe = NULL;
	return take_page(w);
}

static int end_size(struct worker *w)
{
	struct source_entry e = {0};
	int rc = http_trip_entry(&w->trip, &w->fetch, &e);

	return rc == 0 ? emit(w->crawl, &e, w->job->path, w->job->key) : rc;
}

/* What it must have met if it is not there: of a page or list, that it went meanwhile. */
static bool may_be_gone(const struct worker *w)
{
	return w->crawl->read_off && w->job->kind != JOB_LIST;
}

static int take_result(struct worker *w, int status, bool *ret_more)
{
	struct err why = {0};

	if (w->probe)
		return end_probe(w, status);
	if (status == -ENOENT && may_be_gone(w))
		return 0;
	if (status < 0)
		return status;
	switch (w->job->kind) {
	case JOB_PAGE:
		return end_page(w, ret_more);
	case JOB_LIST:
		status = http_list_finish(w->list, &why);
		return status < 0 && why.code ? fail(w, status, why.text) : status;
	case JOB_SIZE:
		break;
	}
	return end_size(w);
}

/* Gives jobs to idle workers. */
static void run(struct crawl *c)
{
	for (size_t i = 0; i < c->worker_count; i++) {
		struct worker *w = &c->workers[i];
		if (!w->job && (w->job = pop(c))) {
			c->busy++;
			start_fetch(w, w->job->kind == JOB_SIZE);
		}
	}
}

static void on_done(struct web_fetch *f, int status)
{
	struct worker *w = CONTAINER_OF(f, struct worker, fetch);
	struct crawl *c = w->crawl;
	bool more = false;

	status = take_result(w, status, &more);
	if (status != 0) {
		struct err err = f->err;
		web_op_end(c->op, status, NULL, &err);
		return;
	}
	if (more)
		return;
	rest(w);
	run(c);
	if (c->busy == 0)
		web_op_end(c->op, 0, NULL, NULL);
	else if (c->held && c->size_count < SIZES_OF_LIST_MAX / 2)
		web_fetch_resume(&TAKE(c->held)->fetch); /* may end all of it */
}

static const struct web_fetch_ops crawl_ops = {
	.request = on_request,
	.head = on_head,
	.body = on_body,
	.refused = on_refused,
	.done = on_done,
};

/* ---- all of it ---- */

static int begin(struct crawl *c)
{
	const struct http_site *site = site_of(c);
	CLEANUP(free_str) char *prefix = mem_strdup(c->op->key);
	size_t len = prefix ? strlen(prefix) : 0;

	if (!prefix)
		return -ENOMEM;
	while (len > 0 && prefix[len - 1] == '/')
		prefix[--len] = '\0';
	switch (site->index) {
	case SOURCE_INDEX_SINGLE:
		return push(c, JOB_SIZE, site->name, NULL);
	case SOURCE_INDEX_LIST:
		return push(c, JOB_LIST, "", NULL);
	case SOURCE_INDEX_AUTO:
	case SOURCE_INDEX_NGINX:
	default:
		return push(c, JOB_PAGE, prefix, NULL);
	}
}

void http_crawl_start(struct web_op *op)
{
	uint32_t count = MAX(2u, web_source_of(op)->connections); /* a paused list leaves one for sizes */
	struct crawl *c = mem_calloc(1, sizeof *c + count * sizeof *c->workers);

	if (!c) {
		web_op_end(op, -ENOMEM, NULL, NULL);
		return;
	}
	op->data = c;
	c->op = op;
	list_init(&c->sizes);
	list_init(&c->pages);
	for (; c->worker_count < count; c->worker_count++) {
		struct worker *w = &c->workers[c->worker_count];
		w->crawl = c;
		web_fetch_init(&w->fetch, web_source_of(op), &crawl_ops, w);
		w->fetch.subject = "";
	}
	if (begin(c) < 0) {
		web_op_end(op, -ENOMEM, NULL, NULL);
		return;
	}
	run(c);
}

void http_crawl_poke(struct web_op *op)
{
	run(op->data);
}

void http_crawl_stop(struct web_op *op)
{
	struct crawl *c = op->data;

	if (!c)
		return;
	for (size_t i = 0; i < c->worker_count; i++) {
		web_fetch_stop(&c->workers[i].fetch);
		rest(&c->workers[i]);
	}
	for (struct job *job; (job = pop(c));)
		(void)job_free(job);
	op->data = mem_free(c);
}
