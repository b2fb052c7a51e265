/* request - the head of an HTTP/1.1 request, read from a socket; the rest of the buffer is kept for what follows. */
#ifndef BENCH_ORIGIN_REQUEST_H
#define BENCH_ORIGIN_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/attr.h"

#define REQUEST_HEAD_MAX    32768
#define REQUEST_HEADERS_MAX 64

struct request {
	char *method, *target; /* target: path?query as sent */
	char *query;           /* after the '?', as sent; "" if none */
	char *path;            /* decoded, without the slash at its start */
	struct {
		char *name, *value; /* name in lower case */
	} headers[REQUEST_HEADERS_MAX];
	size_t header_count;
	uint64_t body_len;
	bool close; /* the client wants the connection closed afterwards */
};

struct request_reader {
	int fd;
	size_t len, used;           /* bytes in buf; of these belong to the request */
	char buf[REQUEST_HEAD_MAX]; /* what `struct request` points into */
	char path[REQUEST_HEAD_MAX];
};

/* Waits for the next request. 0, -ENODATA at the end of the connection, -EBADMSG, -errno. */
MUST_CHECK int request_read(struct request_reader *r, struct request *ret);

/* Up to @len bytes of the body into @buf: what came with the head first. Bytes, 0 at the end, -errno. */
MUST_CHECK int64_t request_body(struct request_reader *r, void *buf, size_t len);

/* The value of a header (name in lower case), or NULL. */
const char *request_header(const struct request *q, const char *name);

/* The decoded value of a parameter of the query into @out. False when it is missing or too long. */
bool request_param(const struct request *q, const char *name, char *out, size_t size);

#endif
