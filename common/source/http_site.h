/*
 * http_site - what the parts of the HTTP source share: the source, and the way of a request through redirects.
 */
#ifndef COMMON_SOURCE_HTTP_SITE_H
#define COMMON_SOURCE_HTTP_SITE_H

#include "common/source/web.h"

struct http_site {
	struct web_source web;
	enum source_index index; /* never AUTO */
	char *base;              /* the URL; of index pages it ends in "/" */
	char *name;              /* SINGLE: of the one file */
	struct list streams;     /* http_stream.c; the loop's thread, as no_ranges */
	bool no_ranges;          /* so it answered last */
	/* Objects whose bytes had another checksum than the list says, by hash of their keys: the last so many. */
	uint64_t wrong[64];
	size_t wrong_count;
	atomic_bool
		no_head; /* the server answers HEAD with 405 or 501: sizes are asked for by a GET of a byte */
};

/* Where a request goes now. Zeroed at first. */
struct http_trip {
	char *url;       /* NULL: not sent yet */
	char clean[256]; /* the URL for words */
	unsigned hops;
	bool follow;    /* the next try goes to @url, not to the start */
	bool size_only; /* asks for size and validator, by HEAD or by one byte */
};

/* Frees what it holds; not the trip itself. */
void http_trip_done(struct http_trip *trip);

/* The request of a try that starts at @url, which is taken over (NULL: out of memory): URL, credentials as far as they may
 * go there. 0 or -ENOMEM. */
MUST_CHECK int http_trip_request(const struct http_site *site, struct http_trip *trip, struct web_fetch *f,
				 char *url);

/* The code of a status that is no success, words in f->err; follows redirects. @read: of an object listed before. */
int http_trip_refused(struct http_site *site, struct http_trip *trip, struct web_fetch *f, bool read,
		      enum web_verdict *ret);

/* Size, time and validator of what answered a request of a size. 0, -ERR_CORRUPT with words. */
MUST_CHECK int http_trip_entry(const struct http_trip *trip, struct web_fetch *f, struct source_entry *ret);

/* The URL of an object by its key. Owned by the caller; NULL: out of memory, or the key is no reference. */
MUST_CHECK char *http_site_url(const struct http_site *site, const char *key);

/* Listings (http_crawl.c): as in struct web_kind. */
void http_crawl_start(struct web_op *op);
void http_crawl_poke(struct web_op *op);
void http_crawl_stop(struct web_op *op);

#endif
