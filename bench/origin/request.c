#include "bench/origin/request.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/bytes.h"

/* Decodes @len bytes to @out (@size with the NUL). False when too long or not encoded right. */
static bool decode(const char *in, size_t len, char *out, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		char c = in[i];
		if (c == '%') {
			int high = len - i < 3 ? -1 : hex_digit(in[i + 1]);
			int low = high < 0 ? -1 : hex_digit(in[i + 2]);
			if (low < 0)
				return false;
			c = (char)(high * 16 + low);
			i += 2;
		}
		if (c == '\0' || n + 1 >= size)
			return false;
		out[n++] = c;
	}
	out[n] = '\0';
	return true;
}

/* Reads until the blank line; the length of the head, -ENODATA, -EBADMSG, -errno. */
static ssize_t read_head(struct request_reader *r)
{
	memmove(r->buf, r->buf + r->used, r->len - r->used);
	r->len -= r->used;
	r->used = 0;
	for (;;) {
		const char *end = memmem(r->buf, r->len, "\r\n\r\n", 4);
		if (end)
			return end + 4 - r->buf;
		if (r->len == sizeof r->buf)
			return -EBADMSG;
		ssize_t n = recv(r->fd, r->buf + r->len, sizeof r->buf - r->len, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		r->len += (size_t)n;
	}
}

static bool parse_line(struct request *q, char *line, char *path, size_t path_size)
{
	char *save = NULL;

	q->method = strtok_r(line, " ", &save);
	q->target = strtok_r(NULL, " ", &save);
	const char *version = strtok_r(NULL, " ", &save);
	if (!version || strncmp(version, "HTTP/1.", 7) != 0 || q->target[0] != '/')
		return false;
	q->close = strcmp(version, "HTTP/1.1") != 0;
	size_t path_len = strcspn(q->target, "?");
	q->query = q->target + path_len + (q->target[path_len] == '?');
	q->path = path;
	return decode(q->target + 1, path_len - 1, path, path_size);
}

static bool parse_header(struct request *q, char *line)
{
	char *colon = strchr(line, ':');

	if (!colon || q->header_count == REQUEST_HEADERS_MAX)
		return false;
	*colon = '\0';
	for (char *p = line; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	char *value = colon + 1 + strspn(colon + 1, " \t");
	q->headers[q->header_count].name = line;
	q->headers[q->header_count++].value = value;
	if (strcmp(line, "content-length") == 0) {
		char *end;
		q->body_len = strtoull(value, &end, 10);
		return *end == '\0' && isdigit((unsigned char)*value);
	}
	if (strcmp(line, "connection") == 0)
		q->close |= strcasecmp(value, "close") == 0;
	return strcmp(line, "transfer-encoding") != 0;
}

int request_read(struct request_reader *r, struct request *ret)
{
	struct request q = {0};
	ssize_t head = read_head(r);
	char *save = NULL;

	if (head < 4)
		return head < 0 ? (int)head : -EBADMSG;
	r->used = (size_t)head;
	r->buf[head - 2] = '\0';
	char *line = strtok_r(r->buf, "\r\n", &save);
	if (memchr(r->buf, '\0', (size_t)head - 2) == NULL && !line)
		return -EBADMSG;
	if (!line || !parse_line(&q, line, r->path, sizeof r->path))
		return -EBADMSG;
	while ((line = strtok_r(NULL, "\r\n", &save)))
		if (!parse_header(&q, line))
			return -EBADMSG;
	*ret = q;
	return 0;
}

int64_t request_body(struct request_reader *r, void *buf, size_t len)
{
	size_t left = r->len - r->used;

	if (left > 0) {
		size_t n = left < len ? left : len;
		memcpy(buf, r->buf + r->used, n);
		r->used += n;
		return (int64_t)n;
	}
	for (;;) {
		ssize_t n = recv(r->fd, buf, len, 0);
		if (n >= 0 || errno != EINTR)
			return n < 0 ? -errno : n;
	}
}

const char *request_header(const struct request *q, const char *name)
{
	for (size_t i = 0; i < q->header_count; i++)
		if (strcmp(q->headers[i].name, name) == 0)
			return q->headers[i].value;
	return NULL;
}

bool request_param(const struct request *q, const char *name, char *out, size_t size)
{
	size_t name_len = strlen(name);

	for (const char *p = q->query; *p;) {
		size_t len = strcspn(p, "&");
		if (len > name_len && strncmp(p, name, name_len) == 0 && p[name_len] == '=')
			return decode(p + name_len + 1, len - name_len - 1, out, size);
		p += len + (p[len] == '&');
	}
	return false;
}
