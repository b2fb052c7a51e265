#include "common/dataset/glob.h"

#include <string.h>

struct text {
	const char *p, *end;
};

/* The end of the class that begins at @p ('['): after its ']'. NULL: it has none. A ']' that stands first is a member. */
static const char *class_end(const char *p, const char *end)
{
	p++;
	if (p < end && (*p == '!' || *p == '^'))
		p++;
	for (const char *first = p; p < end; p++) {
		if (*p == ']' && p > first)
			return p + 1;
		if (*p == '\\' && ++p == end)
			return NULL;
	}
	return NULL;
}

static unsigned char class_char(const char **p)
{
	if (**p == '\\')
		++*p;
	return (unsigned char)*(*p)++;
}

static bool class_has(const char *p, const char *end, unsigned char c)
{
	bool negated = p[1] == '!' || p[1] == '^', found = false;

	p += negated ? 2 : 1;
	while (p < end - 1) {
		unsigned char low = class_char(&p), high = low;
		if (p < end - 2 && *p == '-') {
			p++;
			high = class_char(&p);
		}
		found = found || (low <= c && c <= high);
	}
	return found != negated;
}

/* Matches one element of the pattern other than '*' against a byte; *pattern moves behind it. */
static bool one_matches(const char **pattern, const char *end, char c)
{
	const char *p = *pattern, *next = p + 1;
	bool matches;

	if (*p == '[') {
		next = class_end(p, end);
		matches = class_has(p, next, (unsigned char)c);
	} else if (*p == '?') {
		matches = true;
	} else {
		p += *p == '\\';
		next = p + 1;
		matches = *p == c;
	}
	*pattern = next;
	return matches;
}

/* One component. Only the last '*' is ever tried again: what stood before it has matched as early as it can. */
static bool component_matches(struct text pattern, struct text name)
{
	const char *star = NULL, *retry = NULL;

	while (name.p < name.end) {
		const char *next = pattern.p;
		if (pattern.p < pattern.end && *pattern.p == '*') {
			star = ++pattern.p;
			retry = name.p;
		} else if (pattern.p < pattern.end && one_matches(&next, pattern.end, *name.p)) {
			pattern.p = next;
			name.p++;
		} else if (star) {
			pattern.p = star;
			name.p = ++retry;
		} else {
			return false;
		}
	}
	while (pattern.p < pattern.end && *pattern.p == '*')
		pattern.p++;
	return pattern.p == pattern.end;
}

/* Takes the component at the start of @t off it. */
static struct text take_component(struct text *t)
{
	const char *slash = memchr(t->p, '/', (size_t)(t->end - t->p));
	struct text c = {t->p, slash ? slash : t->end};

	t->p = slash ? slash + 1 : t->end;
	return c;
}

static bool is_any_depth(struct text c)
{
	return c.end - c.p == 2 && c.p[0] == '*' && c.p[1] == '*';
}

bool glob_match(const char *pattern, const char *path, size_t len)
{
	struct text p = {pattern, pattern + strlen(pattern)}, t = {path, path + len};
	struct text after_any = {NULL, NULL}, retry = t;

	while (t.p < t.end) {
		struct text rest = p, left = t;
		if (p.p < p.end) {
			struct text c = take_component(&rest);
			if (is_any_depth(c)) {
				if (rest.p == rest.end)
					return true;
				p = after_any = rest;
				retry = t;
				continue;
			}
			if (component_matches(c, take_component(&left))) {
				p = rest;
				t = left;
				continue;
			}
		}
		if (!after_any.p)
			return false;
		(void)take_component(&retry); /* '**' takes one component more */
		p = after_any;
		t = retry;
	}
	return p.p == p.end && len > 0;
}

const char *glob_error(const char *pattern)
{
	const char *end = pattern + strlen(pattern);

	if (pattern == end)
		return "is empty";
	if (end - pattern > GLOB_MAX)
		return "is over 4095 bytes";
	if (*pattern == '/')
		return "starts with a slash; paths in a source have none there";
	if (end[-1] == '/')
		return "ends in a slash; write \"dir/**\" for all below it";
	for (const char *p = pattern; p < end; p++) {
		if (*p == '/' && p[1] == '/')
			return "has an empty component";
		if (*p == '\\') {
			if (++p == end)
				return "ends in a backslash";
			if (*p == '/')
				return "has a backslash before a slash";
			continue; /* an escaped '[' begins no class */
		}
		if (*p != '[')
			continue;
		const char *close = class_end(p, end);
		if (!close || memchr(p, '/', (size_t)(close - p)))
			return "has a '[' without its ']'";
		p = close - 1;
	}
	return NULL;
}
