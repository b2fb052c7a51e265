/*
 * xml_scan - a streaming scanner of the XML that stores answer with: elements and their text, cut anywhere. Pure.
 *
 * What it takes libexpat takes with the same elements and the same text (xml_scan_test.c holds them against each other). What it
 * does not take, of well-formed XML: document types, encodings other than UTF-8, names beyond ASCII, and what is larger than
 * the limits below. Attributes are checked and dropped.
 */
#ifndef COMMON_SOURCE_XML_SCAN_H
#define COMMON_SOURCE_XML_SCAN_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/attr.h"

enum {
	XML_DEPTH_MAX = 32,      /* elements inside each other */
	XML_NAMES_MAX = 1024,    /* bytes of the names of all that are open */
	XML_ATTRIBUTES_MAX = 16, /* of one element */
	XML_MARKUP_MAX =
		16 << 10 /* bytes of one tag, comment, CDATA section or instruction that feeds are cut in */
};

/* Called while bytes are fed. What they get is borrowed for the call; a text may come in any number of pieces. 0, or a code
 * that ends the scan. */
struct xml_handler {
	int (*open)(void *ctx, const char *name, size_t len);
	int (*text)(void *ctx, const char *bytes, size_t len);
	int (*close)(void *ctx);
};

/* To be changed by these functions alone. */
struct xml_scan {
	const struct xml_handler *handler;
	void *ctx;
	char names[XML_NAMES_MAX];
	size_t name_end[XML_DEPTH_MAX]; /* in names, of each open element */
	size_t depth;
	bool marked, begun, rooted; /* a byte order mark came; something else did; the root was opened */
	char *rest;                 /* owned: a piece of markup or text whose end is still to come */
	size_t rest_len, rest_room;
	int rc;
	const char *why; /* of -ERR_CORRUPT, unless a handler said so */
	bool refused;    /* it may be well-formed, but is more than is taken */
};

/* @handler and @ctx are borrowed for the scan's life. Ends with xml_scan_done(). */
void xml_scan_init(struct xml_scan *x, const struct xml_handler *handler, void *ctx);
void xml_scan_done(struct xml_scan *x);

/* Forgets everything: the next bytes are the start of a document. */
void xml_scan_reset(struct xml_scan *x);

/* More bytes. 0; -ERR_CORRUPT: xml_scan_why() tells; -ENOMEM; what a handler said. Once it failed it fails in the same way. */
MUST_CHECK int xml_scan_feed(struct xml_scan *x, const char *bytes, size_t len);

/* The document ended. As xml_scan_feed(). */
MUST_CHECK int xml_scan_finish(struct xml_scan *x);

/* What is wrong with the bytes, of static duration; NULL when nothing is, or only a handler thought so. */
const char *xml_scan_why(const struct xml_scan *x);

#endif
