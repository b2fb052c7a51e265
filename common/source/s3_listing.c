/*
 * Listings of the S3 source.
 *
 * Life of a listing: ASK whether the bucket keeps versions -> pages by ListObjectVersions, if so, else by ListObjectsV2. The
 * first page with a version id leads to TRY: whether reads by id are allowed; the page comes again afterwards. From the first
 * page on workers ask for ranges of keys side by side (s3_split.h); each is a fetch with a parser. The entries of one page are
 * given out at a time.
 */
#include <errno.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/source/s3_guard.h"
#include "common/source/s3_list.h"
#include "common/source/s3_source.h"
#include "common/source/s3_split.h"

/* Pages without a new key that are borne: a key may have many versions. */
enum { VERSION_PAGES_MAX = 10000 };

/* Of a page the first bytes are parsed as they come, since they may be an <Error>; so many others wait for its end. */
enum { PARSED_AT_ONCE = 4096, RAW_MAX = 1 << 20 };

struct worker {
	struct listing *listing;
	struct web_fetch fetch;
	struct s3_list *page;
	char *raw; /* bytes of the page that are still to be parsed */
	size_t raw_len, raw_room;
	size_t came;         /* bytes of the page */
	char *token, *after; /* of the page that is asked for; both NULL: the first of all */
	struct s3_guard guard;
};

/* op->data */
struct listing {
	struct web_op *op;
	bool versions;
	bool begun; /* a page was taken */
	struct s3_split *split;
	struct worker *workers[S3_SPLIT_SLOTS_MAX];
	size_t slots;
	bool trying; /* the question on its way is TRY, not ASK */
	bool tried;  /* whether a read by version id is allowed is known */
	char *probe_key;
	struct validator probe;
	char answer[1024]; /* to "versioning" */
	size_t answer_len;
};

static int64_t deadline_of(const struct web_op *op)
{
	return clock_mono_ns() + op->want.list.deadline_ns;
}

/* ---- pages: requests ---- */

static int page_request(struct web_fetch *f)
{
	struct web_op *op = web_op_of(f);
	const struct listing *l = op->data;
	struct worker *w = f->data;
	const struct s3_place *place = &s3_of(op)->place;
	CLEANUP(free_str)
	char *marker = l->versions && !w->token && w->after ? s3_place_versions_token(w->after) : NULL;
	CLEANUP(free_str) char *query = NULL;

	s3_list_reset(w->page);
	w->raw_len = w->came = 0;
	if (!l->versions)
		query = s3_place_list_query(place, op->key, w->token, w->after);
	else if (w->token || !w->after || marker)
		query = s3_place_versions_query(place, op->key, w->token ? w->token : marker);
	return s3_fill_request(op, f, place->bucket_path, query);
}

static int any_head(struct web_fetch *f)
{
	(void)f;
	return 0;
}

static int parse_raw(struct worker *w, struct err *err)
{
	size_t len = w->raw_len;

	w->raw_len = 0;
	return len ? s3_list_feed(w->page, w->raw, len, err) : 0;
}

/* Pages come at the same time, as they were asked for: one that is parsed at its end leads on to the next while others wait to
 * be parsed; were each parsed as it comes, all would end at the same time. */
static int keep_raw(struct worker *w, const uint8_t *p, size_t len, struct err *err)
{
	if (len == 0)
		return 0;
	int rc = len > RAW_MAX - w->raw_len ? parse_raw(w, err) : 0;
	if (rc < 0 || len > RAW_MAX)
		return rc < 0 ? rc : s3_list_feed(w->page, p, len, err);
	if (len > w->raw_room - w->raw_len) {
		size_t room = MIN(MAX(w->raw_len + len, 2 * w->raw_room), (size_t)RAW_MAX);
		char *raw = mem_resize(w->raw, room, 1);
		if (!raw)
			return -ENOMEM;
		w->raw = raw;
		w->raw_room = room;
	}
	memcpy(w->raw + w->raw_len, p, len);
	w->raw_len += len;
	return 0;
}

static enum http_taken page_body(struct web_fetch *f, const uint8_t *p, size_t len, size_t *ret_used)
{
	struct web_op *op = web_op_of(f);
	struct worker *w = f->data;
	size_t now = w->came < PARSED_AT_ONCE ? MIN(len, PARSED_AT_ONCE - w->came) : 0;
	struct err why = {0};

	(void)ret_used;
	web_fetch_keep(f, p, len); /* it may be an <Error> */
	atomic_fetch_add_explicit(&op->base.source->bytes, len, memory_order_relaxed);
	w->came += len;
	f->transfer.abort_code = s3_list_feed(w->page, p, now, &why);
	if (f->transfer.abort_code == 0)
		f->transfer.abort_code = keep_raw(w, p + now, len - now, &why);
	if (f->transfer.abort_code == 0)
		return HTTP_TAKEN;
	(void)err_set(&f->err, f->transfer.abort_code, "%.80s: prefix \"%.120s\": %.200s", web_label_of(op),
		      op->key, err_words(&why, f->transfer.abort_code));
	return HTTP_ABORTED;
}

static int page_refused(struct web_fetch *f, enum web_verdict *ret)
{
	return s3_refused_as(web_op_of(f), f, S3_LIST, ret);
}

/* ---- workers ---- */

static void page_done(struct web_fetch *f, int status);

static const struct web_fetch_ops page_ops = {
	.request = page_request,
	.head = any_head,
	.body = page_body,
	.refused = page_refused,
	.done = page_done,
};

static struct worker *worker_free(struct worker *w)
{
	if (!w)
		return NULL;
	web_fetch_stop(&w->fetch);
	(void)s3_list_free(w->page);
	mem_free(w->raw);
	mem_free(w->token);
	mem_free(w->after);
	return mem_free(w);
}
DEFINE_CLEANUP(struct worker *, worker_free)

static int worker_new(struct listing *l, struct worker **ret)
{
	struct web_op *op = l->op;
	CLEANUP(worker_free) struct worker *w = mem_calloc(1, sizeof *w);

	if (!w)
		return -ENOMEM;
	w->listing = l;
	web_fetch_init(&w->fetch, web_source_of(op), &page_ops, op);
	w->fetch.data = w;
	w->fetch.subject = *op->key ? op->key : s3_of(op)->place.bucket;
	if (s3_list_new(s3_of(op)->place.prefix, op->key, &w->page) < 0)
		return -ENOMEM;
	*ret = TAKE(w);
	return 0;
}

static void worker_ask(struct worker *w)
{
	web_fetch_start(&w->fetch, deadline_of(w->listing->op));
}

/* Slots without a range get one, as far as the store may be asked for so much at once. 0 or -ENOMEM. */
static int steal(struct listing *l)
{
	size_t running = 0, slot;
	uint32_t window = throttle_window(&web_source_of(l->op)->throttle);
	struct s3_key after;

	for (size_t i = 0; i < l->slots; i++)
		running += l->workers[i] && web_fetch_runs(&l->workers[i]->fetch);
	for (; running < window && s3_split_steal(l->split, &slot, &after); running++) {
		int rc = l->workers[slot] ? 0 : worker_new(l, &l->workers[slot]);
		if (rc < 0)
			return rc;
		struct worker *w = l->workers[slot];
		w->guard = (struct s3_guard){0};
		w->token = mem_free(w->token);
		mem_free(w->after);
		w->after = mem_strndup(after.bytes, after.len);
		if (!w->after)
			return -ENOMEM;
		worker_ask(w);
	}
	return 0;
}

/* ---- pages: answers ---- */

static int bad_page(struct web_op *op, int code, struct worker *w, const struct err *why)
{
	return err_set(&w->fetch.err, code, "%.80s: prefix \"%.120s\": %.200s", web_label_of(op), op->key,
		       err_words(why, code));
}

/* The first object of the worker's page with a version id: whether reads by id are allowed is tried with it. 1: it is; 0: there is
 * none. */
static int find_probe(struct listing *l, const struct worker *w)
{
	const struct s3_key none = {0};
	struct s3_list_page page;
	size_t len;

	s3_list_look(w->page, none, none, &page);
	for (size_t i = 0; i < page.count; i++) {
		const struct source_entry *e = &page.entries[i];
		if (!s3_version_of(&e->validator, &len) || e->type != SOURCE_TYPE_FILE)
			continue;
		mem_free(l->probe_key);
		l->probe_key = mem_strndup(e->key, e->key_len);
		l->probe = e->validator;
		return l->probe_key ? 1 : -ENOMEM;
	}
	return 0;
}

/* Whether the listing gets anywhere. */
static int guard_page(const struct listing *l, struct worker *w, const struct s3_list_page *page,
		      struct s3_key after, struct err *why)
{
	bool in_order = l->slots > 1;
	bool new_key = page->keys > 0 && (!in_order || !after.bytes || s3_key_compare(page->last, after) > 0);

	for (size_t i = 0; i < page->count && !in_order; i++)
		s3_guard_key(&w->guard, (struct s3_key){page->entries[i].key, page->entries[i].key_len});
	return page->token ? s3_guard_page(&w->guard, page->token, new_key,
					   l->versions ? VERSION_PAGES_MAX : S3_GUARD_IDLE_MAX, why)
			   : 0;
}

/* Looks at the page of a slot as what its range is. */
static void look(const struct listing *l, size_t slot, struct s3_list_page *ret)
{
	s3_list_look(l->workers[slot]->page, s3_split_after(l->split, slot), s3_split_end(l->split, slot),
		     ret);
}

/* What comes after the page of a slot, which is looked at again where the range goes further. */
static enum s3_split_then place_page(struct listing *l, size_t slot, struct s3_list_page *page)
{
	size_t stop;

	for (;;) {
		const struct s3_seen seen = {.ordered = page->ordered,
					     .more = page->token != NULL,
					     .first = page->first,
					     .last = page->last,
					     .beyond = page->beyond};
		enum s3_split_then then = s3_split_page(l->split, slot, &seen, &stop);
		if (stop != SIZE_MAX)
			web_fetch_stop(&l->workers[stop]->fetch);
		if (then != S3_SPLIT_FURTHER)
			return then;
		look(l, slot, page);
	}
}

/* Page by page, from the first. 1 or -ENOMEM. */
static int begin_anew(struct listing *l)
{
	struct worker *w = l->workers[0]; /* no other was needed yet */

	l->split = s3_split_free(l->split);
	l->slots = 1;
	l->versions = false;
	w->guard = (struct s3_guard){0};
	w->token = mem_free(w->token);
	if (s3_split_new(l->slots, 0, &l->split) < 0)
		return -ENOMEM;
	worker_ask(w);
	return 1;
}

static int ask_next(struct worker *w, const char *token)
{
	char *next = mem_strdup(token);

	if (!next)
		return -ENOMEM;
	mem_free(w->token);
	w->token = next;
	worker_ask(w);
	return 0;
}

/* The page of a slot came and is in order: its entries go out. 1: the listing goes on; 0: it is over; or a code, words in the
 * worker's fetch. */
static int give_page(struct listing *l, size_t slot)
{
	struct web_op *op = l->op;
	struct worker *w = l->workers[slot];
	struct s3_key after = s3_split_after(l->split, slot);
	struct s3_list_page page;
	struct err why = {0};

	look(l, slot, &page);
	int rc = guard_page(l, w, &page, after, &why);
	if (rc < 0 && (page.ordered || l->slots == 1))
		return bad_page(op, rc, w, &why);
	enum s3_split_then then = place_page(l, slot, &page);
	if (then == S3_SPLIT_DISORDER) {
		s3_of(op)->disordered = true;
		if (!l->begun)
			return begin_anew(l);
		(void)err_set(
			&why, -EAGAIN,
			"the store does not list in the order of keys; the next listing goes page by page");
		return bad_page(op, -EAGAIN, w, &why);
	}
	l->begun = true;
	rc = then == S3_SPLIT_MEMORY ? -ENOMEM : 0;
	if (rc == 0 && page.count > 0)
		rc = op->want.list.entries(op->want.list.ctx, page.entries, page.count);
	if (rc == 0 && then == S3_SPLIT_ON)
		rc = ask_next(w, page.token);
	if (rc == 0)
		rc = steal(l);
	return rc != 0 ? rc : !s3_split_over(l->split);
}

static void ask(struct listing *l)
{
	web_fetch_start(&l->op->fetch, deadline_of(l->op));
}

/* As give_page(), of a page that just came. */
static int take_page(struct listing *l, size_t slot)
{
	struct web_op *op = l->op;
	struct worker *w = l->workers[slot];
	struct err why = {0};
	int rc = parse_raw(w, &why);

	if (rc == 0)
		rc = s3_list_finish(w->page, &why);
	if (rc < 0)
		return bad_page(op, rc, w, &why);
	rc = l->versions && !l->tried ? find_probe(l, w) : 0;
	if (rc < 0)
		return rc;
	if (rc == 0)
		return give_page(l, slot);
	/* The page comes again after the try. Nobody else is on the way: until then no page is given out. */
	for (size_t i = 0; i < l->slots; i++)
		if (l->workers[i] && web_fetch_runs(&l->workers[i]->fetch))
			return give_page(l, slot);
	l->trying = true;
	ask(l);
	return 1;
}

/* Whatever is no clear answer but "wait", and whatever is refused, means: no versions, or none for this credential. */
static bool no_versions(int status)
{
	return status == -EACCES || status == -ENOENT || status == -ERR_UNSUPPORTED || status == -ERR_CORRUPT;
}

static size_t slot_of(const struct listing *l, const struct worker *w)
{
	size_t slot = 0;

	while (l->workers[slot] != w)
		slot++;
	return slot;
}

static void page_done(struct web_fetch *f, int status)
{
	struct web_op *op = web_op_of(f);
	struct listing *l = op->data;
	struct worker *w = f->data;

	if (status == 0)
		status = take_page(l, slot_of(l, w));
	if (l->versions && !l->begun && no_versions(status)) {
		l->versions = false;
		w->guard = (struct s3_guard){0};
		worker_ask(w);
	} else if (status != 1) {
		const struct err err = f->err; /* the worker goes with the operation */
		web_op_end(op, status, NULL, &err);
	}
}

/* ---- questions before the pages ---- */

static int question_request(struct web_fetch *f)
{
	struct web_op *op = web_op_of(f);
	struct listing *l = op->data;
	const struct s3_place *place = &s3_of(op)->place;
	CLEANUP(free_str)
	char *path = l->trying ? s3_place_key_path(place, l->probe_key) : mem_strdup(place->bucket_path);
	CLEANUP(free_str) char *query = l->trying ? s3_version_query(&l->probe) : mem_strdup("versioning=");

	f->head_only = l->trying;
	l->answer_len = 0;
	return s3_fill_request(op, f, path, query);
}

static enum http_taken question_body(struct web_fetch *f, const uint8_t *p, size_t len, size_t *ret_used)
{
	struct listing *l = web_op_of(f)->data;
	size_t n = MIN(len, sizeof l->answer - l->answer_len);

	(void)ret_used;
	web_fetch_keep(f, p, len); /* it may be an <Error> */
	memcpy(l->answer + l->answer_len, p, n);
	l->answer_len += n;
	return HTTP_TAKEN;
}

static int question_refused(struct web_fetch *f, enum web_verdict *ret)
{
	const struct listing *l = web_op_of(f)->data;

	return s3_refused_as(web_op_of(f), f, l->trying ? S3_STAT : S3_LIST, ret);
}

static void question_done(struct web_fetch *f, int status)
{
	struct web_op *op = web_op_of(f);
	struct listing *l = op->data;

	if (status < 0 && !no_versions(status)) {
		web_op_end(op, status, NULL, &f->err);
		return;
	}
	if (l->trying)
		l->tried = true;
	l->versions = status == 0 && (l->trying || s3_versioning_enabled(l->answer, l->answer_len));
	worker_ask(l->workers[0]);
}

static const struct web_fetch_ops question_ops = {
	.request = question_request,
	.head = any_head,
	.body = question_body,
	.refused = question_refused,
	.done = question_done,
};

/* ---- the operation ---- */

/* At once: as many requests as the source may send; where it may send few a second, no more than those of two seconds, since
 * a page's time runs while it waits. */
static size_t slots_for(const struct web_source *s)
{
	uint64_t n = MIN(s->connections, S3_SPLIT_SLOTS_MAX);

	if (s->request_rate.rate)
		n = MIN(n, 2 * s->request_rate.rate);
	return (size_t)MAX(n, UINT64_C(1));
}

static int begin(struct listing *l)
{
	struct s3_source *s = s3_of(l->op);
	size_t base = strlen(s->place.prefix) + strlen(l->op->key);

	l->slots = s->disordered ? 1 : slots_for(&s->web);
	int rc = s3_split_new(l->slots, base, &l->split);
	return rc == 0 ? worker_new(l, &l->workers[0]) : rc;
}

void s3_list_start(struct web_op *op)
{
	struct listing *l = mem_calloc(1, sizeof *l);

	op->data = l;
	if (l)
		l->op = op;
	if (!l || begin(l) < 0) {
		web_op_end(op, -ENOMEM, NULL, NULL);
		return;
	}
	web_fetch_init(&op->fetch, web_source_of(op), &question_ops, op);
	op->fetch.subject = *op->key ? op->key : s3_of(op)->place.bucket;
	if (s3_of(op)->disordered) /* nor is it believed with versions */
		worker_ask(l->workers[0]);
	else
		ask(l);
}

void s3_list_stop(struct web_op *op)
{
	struct listing *l = op->data; /* of a listing; else NULL */

	if (!l)
		return;
	for (size_t i = 0; i < LENGTH(l->workers); i++)
		l->workers[i] = worker_free(l->workers[i]);
	l->split = s3_split_free(l->split);
	mem_free(l->probe_key);
	op->data = mem_free(l);
}
