#include "bench/lister/lister.h"

#include <curl/curl.h>
#include <errno.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/source/s3_place.h"

enum { PAGE_ROOM = 2 << 20, WAIT_MS = 10000 };

struct range {
	CURL *easy;
	char *page; /* PAGE_ROOM bytes */
	size_t len;
	const char *end; /* NULL: the last range */
	bool overflow;
};

struct lister {
	const struct lister_config *config;
	CURLM *multi;
	struct range ranges[LISTER_RANGES_MAX];
	size_t count, running;
	struct lister_result *result;
	struct err *err;
};

static void take_token(const char *xml, size_t len, char *out)
{
	static const char open[] = "<NextContinuationToken>";
	const char *at = memmem(xml, len, open, sizeof open - 1);

	*out = '\0';
	if (!at)
		return;
	at += sizeof open - 1;
	const char *close = memchr(at, '<', len - (size_t)(at - xml));
	size_t n = close ? (size_t)(close - at) : 0;
	if (n <= LISTER_KEY_MAX) {
		memcpy(out, at, n);
		out[n] = '\0';
	}
}

void lister_scan(const char *xml, size_t len, const char *end, struct lister_page *ret)
{
	size_t end_len = end ? strlen(end) : 0;
	const char *at = xml, *stop = xml + len;

	ret->keys = 0;
	ret->past = false;
	while ((at = memmem(at, (size_t)(stop - at), "<Key>", 5))) {
		at += 5;
		const char *close = memchr(at, '<', (size_t)(stop - at));
		if (!close)
			break;
		size_t n = (size_t)(close - at);
		int order = end ? memcmp(at, end, MIN(n, end_len)) : -1;
		if (order > 0 || (order == 0 && n > end_len)) {
			ret->past = true;
			break;
		}
		ret->keys++;
		at = close;
	}
	take_token(xml, len, ret->token);
}

static size_t take_bytes(char *bytes, size_t size, size_t n, void *arg)
{
	struct range *r = arg;

	r->overflow |= size * n > PAGE_ROOM - r->len;
	if (r->overflow)
		return 0;
	memcpy(r->page + r->len, bytes, size * n);
	r->len += size * n;
	return size * n;
}

/* Asks for the page after @after by @parameter; both NULL: the first. */
static int ask(struct lister *l, struct range *r, const char *parameter, const char *after)
{
	char code[3 * LISTER_KEY_MAX + 1] = "";

	if (after)
		(void)s3_encode(after, strlen(after), 0, code);
	CLEANUP(free_str)
	char *url = mem_printf("%s?list-type=2&max-keys=1000%s%s%s%s", l->config->url, after ? "&" : "",
			       after ? parameter : "", after ? "=" : "", code);
	if (!url)
		return -ENOMEM;
	r->len = 0;
	l->result->requests++;
	l->running++;
	if (curl_easy_setopt(r->easy, CURLOPT_URL, url) != CURLE_OK ||
	    curl_multi_add_handle(l->multi, r->easy) != CURLM_OK)
		return -ENOMEM;
	return 0;
}

static int start_range(struct lister *l, size_t i)
{
	struct range *r = &l->ranges[i];

	r->page = mem_alloc(PAGE_ROOM);
	r->easy = curl_easy_init();
	if (!r->page || !r->easy)
		return -ENOMEM;
	r->end = i < l->config->cut_count ? l->config->cuts[i] : NULL;
	(void)curl_easy_setopt(r->easy, CURLOPT_WRITEFUNCTION, take_bytes);
	(void)curl_easy_setopt(r->easy, CURLOPT_WRITEDATA, r);
	(void)curl_easy_setopt(r->easy, CURLOPT_PRIVATE, r);
	(void)curl_easy_setopt(r->easy, CURLOPT_BUFFERSIZE, 512L << 10);
	(void)curl_easy_setopt(r->easy, CURLOPT_NOPROXY, "*");
	(void)curl_easy_setopt(r->easy, CURLOPT_NOSIGNAL, 1L);
	return ask(l, r, "start-after", i > 0 ? l->config->cuts[i - 1] : NULL);
}

static int take_page(struct lister *l, const CURLMsg *m)
{
	struct lister_page page;
	struct range *r = NULL;
	long status = 0;

	(void)curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&r);
	(void)curl_easy_getinfo(m->easy_handle, CURLINFO_RESPONSE_CODE, &status);
	CURLcode code = m->data.result;
	(void)curl_multi_remove_handle(l->multi, r->easy);
	l->running--;
	if (r->overflow)
		return err_set(l->err, -EIO, "a page of over %d bytes", PAGE_ROOM);
	if (code != CURLE_OK)
		return err_set(l->err, -ERR_UNREACHABLE, "%s", curl_easy_strerror(code));
	if (status != 200)
		return err_set(l->err, -EIO, "status %ld", status);
	lister_scan(r->page, r->len, r->end, &page);
	l->result->keys += page.keys;
	return page.past || !page.token[0] ? 0 : ask(l, r, "continuation-token", page.token);
}

static int run(struct lister *l)
{
	int rc = 0, active = 0, left;

	for (size_t i = 0; i < l->count && rc == 0; i++)
		rc = start_range(l, i);
	while (rc == 0 && l->running > 0) {
		if (curl_multi_perform(l->multi, &active) != CURLM_OK)
			return -ENOMEM;
		for (const CURLMsg *m; rc == 0 && (m = curl_multi_info_read(l->multi, &left));) {
			rc = take_page(l, m);
			/* The next page is asked for before another that came is looked at. */
			if (rc == 0 && left > 0 && curl_multi_perform(l->multi, &active) != CURLM_OK)
				return -ENOMEM;
		}
		if (rc == 0 && l->running > 0 &&
		    curl_multi_poll(l->multi, NULL, 0, WAIT_MS, NULL) != CURLM_OK)
			return -ENOMEM;
	}
	return rc;
}

int lister_run(const struct lister_config *config, struct lister_result *ret, struct err *err)
{
	struct lister l = {.config = config, .count = config->cut_count + 1, .result = ret, .err = err};

	if (l.count > LISTER_RANGES_MAX)
		return -EINVAL;
	*ret = (struct lister_result){.start_ns = clock_mono_ns()};
	l.multi = curl_multi_init();
	int rc = l.multi ? run(&l) : -ENOMEM;
	for (size_t i = 0; i < l.count; i++) {
		if (l.ranges[i].easy)
			(void)curl_multi_remove_handle(l.multi, l.ranges[i].easy);
		curl_easy_cleanup(l.ranges[i].easy);
		mem_free(l.ranges[i].page);
	}
	(void)curl_multi_cleanup(l.multi);
	ret->end_ns = clock_mono_ns();
	return rc;
}
