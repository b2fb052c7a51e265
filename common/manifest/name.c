#include "common/manifest/name.h"

#include <errno.h>
#include <string.h>

#include "common/manifest.h"

#define MARK(letter) "%~" letter

/* The bytes of a component that a piece of it may have. */
#define PIECE_MAX (MANIFEST_NAME_MAX - NAME_MARK)

/* A path while it is written. */
struct output {
	char *bytes;
	size_t len;
	bool full;
};

static void put(struct output *o, const char *bytes, size_t len)
{
	if (len > MANIFEST_PATH_MAX - o->len)
		o->full = true;
	if (o->full)
		return;
	memcpy(o->bytes + o->len, bytes, len);
	o->len += len;
}

static int finish(struct output *o, size_t *ret_len)
{
	if (o->full)
		return -ENAMETOOLONG;
	o->bytes[o->len] = 0;
	*ret_len = o->len;
	return 0;
}

/* The letter of the mark at the end of a component (or of a path: marks have no slash); 0: it has none. */
static char mark_of(const char *name, size_t len)
{
	if (len < NAME_MARK || name[len - 3] != '%' || name[len - 2] != '~')
		return 0;
	for (const char *letter = "edcqf"; *letter; letter++)
		if (name[len - 1] == *letter)
			return *letter;
	return 0;
}

static bool is_dots(const char *name, size_t len)
{
	return (len == 1 || len == 2) && name[0] == '.' && name[len - 1] == '.';
}

static bool goes_on(char c)
{
	return ((unsigned char)c & 0xc0) == 0x80;
}

/* Where a component of over 249 bytes is cut: not inside a sequence of UTF-8, which has up to three bytes that go on. */
static size_t piece_of(const char *name, size_t len)
{
	size_t most = MIN((size_t)PIECE_MAX, len - 1), n = most;

	while (n > most - 3 && goes_on(name[n]))
		n--;
	return goes_on(name[n]) ? most : n;
}

/* The mark that a component has by itself, "" for none. */
static const char *own_mark(const char *name, size_t len)
{
	if (len == 0)
		return MARK("e");
	if (is_dots(name, len))
		return MARK("d");
	return mark_of(name, len) ? MARK("q") : "";
}

static void put_component(struct output *o, const char *name, size_t len, bool beside)
{
	size_t last = beside ? NAME_MARK : 0;

	while (len + strlen(own_mark(name, len)) + last > MANIFEST_NAME_MAX) {
		size_t n = piece_of(name, len);
		put(o, name, n);
		put(o, MARK("c") "/", NAME_MARK + 1);
		name += n;
		len -= n;
	}
	put(o, name, len);
	put(o, own_mark(name, len), strlen(own_mark(name, len)));
	put(o, MARK("f"), last);
}

/* Most keys: nothing to do but to look. */
static bool is_plain(const char *key, size_t len)
{
	size_t from = 0;

	for (size_t at = 0; at <= len; at++) {
		if (at < len && key[at] != '/')
			continue;
		size_t n = at - from;
		if (n == 0 || n > MANIFEST_NAME_MAX || is_dots(key + from, n) || mark_of(key + from, n))
			return false;
		from = at + 1;
	}
	return true;
}

int name_of_key(const char *key, size_t len, bool beside, char *ret, size_t *ret_len)
{
	struct output o = {.bytes = ret};

	if (!beside && is_plain(key, len)) {
		put(&o, key, len);
		return finish(&o, ret_len);
	}
	for (size_t from = 0; !o.full;) {
		const char *slash = memchr(key + from, '/', len - from);
		size_t n = slash ? (size_t)(slash - key) - from : len - from;
		put_component(&o, key + from, n, beside && !slash);
		if (!slash)
			break;
		put(&o, "/", 1);
		from += n + 1;
	}
	return finish(&o, ret_len);
}

/* A component's bytes without its mark, whose letter is in *ret_mark. 0 or -EINVAL. */
static int unmark(const char *name, size_t len, size_t *ret_len, char *ret_mark)
{
	char mark = mark_of(name, len);

	if (mark)
		len -= NAME_MARK;
	*ret_len = len;
	*ret_mark = mark;
	switch (mark) {
	case 'e':
		return len == 0 ? 0 : -EINVAL;
	case 'd':
		return is_dots(name, len) ? 0 : -EINVAL;
	case 'q':
		return mark_of(name, len) ? 0 : -EINVAL;
	case 'c':
		return 0;
	default:
		return len > 0 && !is_dots(name, len) ? 0 : -EINVAL;
	}
}

/* The bytes that the components stand for, without looking whether this is how they are written. */
static int decode(const char *path, size_t len, char *ret, size_t *ret_len)
{
	size_t out = 0, from = 0;

	for (;;) {
		const char *slash = memchr(path + from, '/', len - from);
		size_t n = slash ? (size_t)(slash - path) - from : len - from, bytes;
		char mark;
		int r = unmark(path + from, n, &bytes, &mark);
		if (r != 0 || mark == 'f' || (mark == 'c' && !slash))
			return -EINVAL;
		memcpy(ret + out, path + from, bytes);
		out += bytes;
		if (!slash)
			break;
		if (mark != 'c')
			ret[out++] = '/';
		from += n + 1;
	}
	ret[out] = 0;
	*ret_len = out;
	return 0;
}

int name_to_key(const char *path, size_t len, char *ret, size_t *ret_len, bool *ret_beside)
{
	char again[MANIFEST_PATH_MAX + 1];
	size_t again_len;
	bool beside = name_is_beside(path, len);
	int r = len <= MANIFEST_PATH_MAX ? decode(path, len - (beside ? NAME_MARK : 0), ret, ret_len)
					 : -EINVAL;

	/* Pieces of other lengths, say, are not how a key is written. */
	if (r == 0)
		r = name_of_key(ret, *ret_len, beside, again, &again_len);
	if (r != 0 || again_len != len || memcmp(again, path, len) != 0)
		return -EINVAL;
	*ret_beside = beside;
	return 0;
}

/* Where the last component begins, its pieces included. */
static size_t last_component(const char *path, size_t len)
{
	size_t from = len;

	for (;;) {
		while (from > 0 && path[from - 1] != '/')
			from--;
		if (from == 0 || !name_is_piece(path, from - 1))
			return from;
		from--;
	}
}

/* Writes the last component again. */
static int rewrite(const char *path, size_t len, bool beside, char *ret, size_t *ret_len)
{
	char key[MANIFEST_PATH_MAX + 1];
	size_t from = last_component(path, len), key_len;
	struct output o = {.bytes = ret};
	bool was;
	int r = name_to_key(path + from, len - from, key, &key_len, &was);

	if (r != 0 || was == beside)
		return -EINVAL;
	put(&o, path, from);
	put_component(&o, key, key_len, beside);
	return finish(&o, ret_len);
}

/* Whether the mark can simply be appended, which is so for most. */
static bool takes_mark(const char *path, size_t len)
{
	const char *slash = len ? memrchr(path, '/', len) : NULL;
	size_t from = slash ? (size_t)(slash - path) + 1 : 0, n = len - from;

	return n > 0 && n <= PIECE_MAX && len <= MANIFEST_PATH_MAX - NAME_MARK && !mark_of(path, len) &&
	       !is_dots(path + from, n) && !(from > 0 && name_is_piece(path, from - 1));
}

int name_beside_folder(const char *path, size_t len, char *ret, size_t *ret_len)
{
	if (takes_mark(path, len)) {
		memcpy(ret, path, len);
		memcpy(ret + len, MARK("f"), NAME_MARK + 1);
		*ret_len = len + NAME_MARK;
		return 0;
	}
	return rewrite(path, len, true, ret, ret_len);
}

int name_without_folder(const char *path, size_t len, char *ret, size_t *ret_len)
{
	return rewrite(path, len, false, ret, ret_len);
}

bool name_is_beside(const char *path, size_t len)
{
	return mark_of(path, len) == 'f';
}

bool name_is_piece(const char *path, size_t len)
{
	return mark_of(path, len) == 'c';
}

bool name_is_marked(const char *path, size_t len)
{
	const char *end = path + len;

	for (const char *p = path; (p = memchr(p, '%', (size_t)(end - p))); p++)
		if ((size_t)(end - p) >= NAME_MARK && (p + NAME_MARK == end || p[NAME_MARK] == '/') &&
		    mark_of(p, NAME_MARK))
			return true;
	return false;
}
