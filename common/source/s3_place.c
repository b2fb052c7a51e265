#include "common/source/s3_place.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "common/base/mem.h"

enum { BUCKET_MAX = 255, HOST_MAX = 253, ENDPOINT_MAX = 1024 };

static bool unreserved(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
	       c == '.' || c == '_' || c == '~';
}

size_t s3_encode(const char *text, size_t len, int slash, char *out)
{
	static const char digits[] = "0123456789ABCDEF";
	char *o = out;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		if (unreserved(text[i]) || (slash && c == '/')) {
			*o++ = text[i];
			continue;
		}
		*o++ = '%';
		*o++ = digits[c >> 4];
		*o++ = digits[c & 15];
	}
	*o = '\0';
	return (size_t)(o - out);
}

static char *encoded(const char *a, const char *b, int slash)
{
	CLEANUP(free_str) char *text = mem_printf("%s%s", a, b);

	if (!text)
		return NULL;
	char *out = mem_alloc(3 * strlen(text) + 1);
	if (out)
		(void)s3_encode(text, strlen(text), slash, out);
	return out;
}

static bool given(const char *s)
{
	return s && *s;
}

static bool all_of(const char *s, const char *extra)
{
	for (; *s; s++)
		if (!isalnum((unsigned char)*s) && !strchr(extra, *s))
			return false;
	return true;
}

static int check_words(const struct source_config *c, struct err *err)
{
	const char *bucket = c->s3.bucket;

	if (!given(bucket))
		return err_set(err, -EINVAL, "%s: the bucket is missing", c->label);
	if (strlen(bucket) > BUCKET_MAX || !all_of(bucket, ".-_") || bucket[0] == '.')
		return err_set(err, -EINVAL,
			       "%s: bucket \"%.100s\" must be made of letters, digits, '.', '-' and '_'",
			       c->label, bucket);
	if (given(c->s3.region) && (strlen(c->s3.region) > 63 || !all_of(c->s3.region, "-_")))
		return err_set(err, -EINVAL, "%s: region \"%.63s\" must be a name such as eu-west-1",
			       c->label, c->s3.region);
	if (c->s3.prefix && strlen(c->s3.prefix) > SOURCE_KEY_MAX / 2)
		return err_set(err, -EINVAL, "%s: the prefix is longer than %d bytes", c->label,
			       SOURCE_KEY_MAX / 2);
	return 0;
}

struct endpoint {
	bool tls;
	const char *host; /* not ended by NUL */
	size_t host_len;  /* with the port, unless it is the scheme's */
	const char *path; /* after the host, not ended by NUL */
	size_t path_len;  /* without slashes at its end */
};

static int bad_endpoint(const struct source_config *c, struct err *err, const char *why)
{
	return err_set(err, -EINVAL, "%s: endpoint \"%.200s\" %s", c->label, c->s3.endpoint, why);
}

/* Splits "host", "host:port", "[v6]:port". 0, or -EINVAL. */
static int check_host(struct endpoint *e)
{
	const char *end = e->host + e->host_len, *colon = NULL;

	for (const char *p = e->host; p < end; p++) {
		if (*p == ':')
			colon = p;
		if (*p == ']')
			colon = NULL; /* those before belong to the address */
		if (!isalnum((unsigned char)*p) && !strchr(".-_:[]", *p))
			return -EINVAL;
	}
	if (colon) {
		long port = 0;
		for (const char *p = colon + 1; p < end; p++)
			port = isdigit((unsigned char)*p) && port <= 65535 ? port * 10 + (*p - '0') : 65536;
		if (port < 1 || port > 65535)
			return -EINVAL;
		if (port == (e->tls ? 443 : 80))
			e->host_len = (size_t)(colon - e->host);
	}
	return e->host_len > 0 && e->host_len <= HOST_MAX && *e->host != ':' ? 0 : -EINVAL;
}

static int split_endpoint(const struct source_config *c, struct endpoint *ret, struct err *err)
{
	const char *s = c->s3.endpoint;
	struct endpoint e = {0};

	if (strlen(s) > ENDPOINT_MAX)
		return bad_endpoint(c, err, "is too long");
	if (strncasecmp(s, "https://", 8) == 0)
		e.tls = true;
	else if (strncasecmp(s, "http://", 7) != 0)
		return bad_endpoint(c, err, "must start with http:// or https://");
	e.host = s + (e.tls ? 8 : 7);
	e.host_len = strcspn(e.host, "/?#");
	e.path = e.host + e.host_len;
	e.path_len = strlen(e.path);
	if (memchr(e.host, '@', e.host_len))
		return err_set(err, -EINVAL, "%s: the endpoint must not hold a user name; use secretRef",
			       c->label);
	if (check_host(&e) < 0)
		return bad_endpoint(c, err,
				    "must name a host and perhaps a port, as in https://s3.example.org:9000");
	for (size_t i = 0; i < e.path_len; i++)
		if (!unreserved(e.path[i]) && e.path[i] != '/' && e.path[i] != '%')
			return bad_endpoint(c, err,
					    "must be a scheme, a host, a port and a path, nothing more");
	while (e.path_len > 0 && e.path[e.path_len - 1] == '/')
		e.path_len--;
	*ret = e;
	return 0;
}

static bool virtual_style(const struct source_config *c)
{
	if (c->s3.addressing == SOURCE_ADDRESSING_AUTO)
		/* A dot in a bucket breaks the wildcard certificate of the virtual host. */
		return !given(c->s3.endpoint) && !strchr(c->s3.bucket, '.');
	return c->s3.addressing == SOURCE_ADDRESSING_VIRTUAL;
}

static int build(struct s3_place *p, const struct source_config *c, const struct endpoint *e)
{
	const char *prefix = c->s3.prefix ? c->s3.prefix : "";
	bool virt = virtual_style(c), open_end = *prefix && prefix[strlen(prefix) - 1] != '/';

	p->bucket = mem_strdup(c->s3.bucket);
	p->prefix = mem_printf("%s%s", prefix, open_end ? "/" : "");
	p->host =
		mem_printf("%s%s%.*s", virt ? c->s3.bucket : "", virt ? "." : "", (int)e->host_len, e->host);
	p->bucket_path = mem_printf("%.*s/%s", (int)e->path_len, e->path, virt ? "" : c->s3.bucket);
	if (!p->bucket || !p->prefix || !p->host || !p->bucket_path)
		return -ENOMEM;
	for (char *h = p->host; *h; h++)
		*h = (char)tolower((unsigned char)*h);
	p->origin = mem_printf("%s://%s", e->tls ? "https" : "http", p->host);
	return p->origin ? 0 : -ENOMEM;
}

int s3_place_init(struct s3_place *ret, const struct source_config *config, struct err *err)
{
	struct source_config c = *config;
	struct endpoint e = {0};
	CLEANUP(free_str) char *amazon = NULL;

	*ret = (struct s3_place){0};
	int rc = check_words(&c, err);
	if (rc < 0)
		return rc;
	ret->region = mem_strdup(given(c.s3.region) ? c.s3.region : "us-east-1");
	if (!ret->region)
		return -ENOMEM;
	bool virt = virtual_style(&c);
	ret->virt = virt;
	ret->amazon = !given(c.s3.endpoint);
	if (ret->amazon) {
		amazon = mem_printf("https://s3.%s.amazonaws.com", ret->region);
		c.s3.endpoint = amazon;
		c.s3.addressing = virt ? SOURCE_ADDRESSING_VIRTUAL : SOURCE_ADDRESSING_PATH;
	}
	rc = c.s3.endpoint ? split_endpoint(&c, &e, err) : -ENOMEM;
	if (rc == 0)
		rc = build(ret, &c, &e);
	if (rc < 0)
		s3_place_done(ret);
	return rc;
}

int s3_place_move(struct s3_place *place, const char *region)
{
	if (!given(region) || strlen(region) > 63 || !all_of(region, "-_") ||
	    strcmp(region, place->region) == 0)
		return -EINVAL;
	CLEANUP(free_str) char *copy = mem_strdup(region);
	CLEANUP(free_str)
	char *host = place->amazon ? mem_printf("%s%ss3.%s.amazonaws.com", place->virt ? place->bucket : "",
						place->virt ? "." : "", region)
				   : mem_strdup(place->host);
	if (!copy || !host)
		return -ENOMEM;
	for (char *h = host; *h; h++)
		*h = (char)tolower((unsigned char)*h);
	char *origin = place->amazon ? mem_printf("https://%s", host) : mem_strdup(place->origin);
	if (!origin)
		return -ENOMEM;
	mem_free(place->region);
	mem_free(place->host);
	mem_free(place->origin);
	place->region = TAKE(copy);
	place->host = TAKE(host);
	place->origin = origin;
	return 0;
}

void s3_place_done(struct s3_place *place)
{
	mem_free(place->origin);
	mem_free(place->host);
	mem_free(place->bucket_path);
	mem_free(place->bucket);
	mem_free(place->region);
	mem_free(place->prefix);
	*place = (struct s3_place){0};
}

char *s3_place_key_path(const struct s3_place *place, const char *key)
{
	CLEANUP(free_str) char *rest = encoded(place->prefix, key, 1);
	size_t len = strlen(place->bucket_path);

	if (!rest)
		return NULL;
	return mem_printf("%s%s%s", place->bucket_path, place->bucket_path[len - 1] == '/' ? "" : "/", rest);
}

char *s3_place_list_query(const struct s3_place *place, const char *prefix, const char *token,
			  const char *after)
{
	CLEANUP(free_str) char *p = encoded(place->prefix, prefix, 0);
	CLEANUP(free_str) char *t = encoded("", token ? token : "", 0);
	CLEANUP(free_str) char *a = encoded("", !token && after ? after : "", 0);

	if (!p || !t || !a)
		return NULL;
	return mem_printf("%s%s%sencoding-type=url&list-type=2&max-keys=1000&prefix=%s%s%s",
			  token ? "continuation-token=" : "", t, token ? "&" : "", p,
			  *a ? "&start-after=" : "", a);
}

char *s3_place_versions_token(const char *after)
{
	CLEANUP(free_str) char *a = encoded("", after, 0);

	return a ? mem_printf("key-marker=%s", a) : NULL;
}

char *s3_place_versions_query(const struct s3_place *place, const char *prefix, const char *token)
{
	CLEANUP(free_str) char *p = encoded(place->prefix, prefix, 0);

	if (!p)
		return NULL;
	/* In order of name: "version-id-marker", the end of a token, comes after "prefix". */
	const char *second = token ? strstr(token, "&version-id-marker=") : NULL;
	size_t first_len = second ? (size_t)(second - token) : token ? strlen(token) : 0;
	return mem_printf("encoding-type=url&%.*s%smax-keys=1000&prefix=%s%s&versions=", (int)first_len,
			  token ? token : "", token ? "&" : "", p, second ? second : "");
}
