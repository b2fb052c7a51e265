/*
 * A piece is a stretch of plain text, one reference, one character, or one piece of markup from '<' to '>'. Each is taken whole; a
 * piece whose end is not there yet waits in `rest`, where the next bytes are appended to it.
 */
#include "common/source/xml_scan.h"

#include <endian.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/base/mem.h"

#define LIT(text) text, sizeof(text) - 1

/* What a function that takes a piece says, other than where it ended. */
static const char more[1], bad[1]; /* its end is still to come; rc is set */

void xml_scan_init(struct xml_scan *x, const struct xml_handler *handler, void *ctx)
{
	*x = (struct xml_scan){.handler = handler, .ctx = ctx};
}

void xml_scan_done(struct xml_scan *x)
{
	x->rest = mem_free(x->rest);
}

void xml_scan_reset(struct xml_scan *x)
{
	x->depth = x->rest_len = 0;
	x->marked = x->begun = x->rooted = x->refused = false;
	x->rc = 0;
	x->why = NULL;
}

const char *xml_scan_why(const struct xml_scan *x)
{
	return x->why;
}

/* The document is malformed. */
static const char *fail(struct xml_scan *x, const char *why)
{
	x->rc = -ERR_CORRUPT;
	x->why = why;
	return bad;
}

/* The document may be well-formed, but nobody needs that. */
static const char *refuse(struct xml_scan *x, const char *why)
{
	x->refused = true;
	return fail(x, why);
}

/* ---- characters ---- */

static bool is_space(char c)
{
	return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/* Of ASCII: 2 what may begin a name, 1 what else may stand in one. */
#define LETTERS(c) ['a' + (c)] = 2, ['A' + (c)] = 2
#define DIGIT(c)   ['0' + (c)] = 1
static const uint8_t name_bytes[256] = {
	LETTERS(0),  LETTERS(1),  LETTERS(2),  LETTERS(3),  LETTERS(4),  LETTERS(5),  LETTERS(6),
	LETTERS(7),  LETTERS(8),  LETTERS(9),  LETTERS(10), LETTERS(11), LETTERS(12), LETTERS(13),
	LETTERS(14), LETTERS(15), LETTERS(16), LETTERS(17), LETTERS(18), LETTERS(19), LETTERS(20),
	LETTERS(21), LETTERS(22), LETTERS(23), LETTERS(24), LETTERS(25), DIGIT(0),    DIGIT(1),
	DIGIT(2),    DIGIT(3),    DIGIT(4),    DIGIT(5),    DIGIT(6),    DIGIT(7),    DIGIT(8),
	DIGIT(9),    ['_'] = 2,   [':'] = 2,   ['-'] = 1,   ['.'] = 1};
#undef LETTERS
#undef DIGIT

static bool starts_name(char c)
{
	return name_bytes[(uint8_t)c] == 2;
}

static bool is_in_name(char c)
{
	return name_bytes[(uint8_t)c] != 0;
}

/* Names are too short for a call of memcmp() to pay. */
static bool same_bytes(const char *a, const char *b, size_t len)
{
	uint64_t x, y;

	for (; len >= sizeof x; a += sizeof x, b += sizeof x, len -= sizeof x) {
		memcpy(&x, a, sizeof x);
		memcpy(&y, b, sizeof y);
		if (x != y)
			return false;
	}
	while (len > 0 && *a == *b) {
		a++;
		b++;
		len--;
	}
	return len == 0;
}

/* Whether XML 1.0 has a character of this number beyond ASCII or a control character. */
static bool is_character(uint32_t c)
{
	if (c < 0x20)
		return c == '\n' || c == '\t' || c == '\r';
	return c < 0xd800 || (c > 0xdfff && c < 0xfffe) || (c > 0xffff && c < 0x110000);
}

/* The character beyond ASCII at @p: its bytes, 0 when more are needed, SIZE_MAX when there is none. */
static size_t utf8(const char *p, const char *stop)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	uint8_t lead = (uint8_t)*p;
	size_t len = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
	uint32_t c = lead & (0x7fu >> len);

	if (lead < 0xc2 || lead > 0xf4)
		return SIZE_MAX;
	for (size_t i = 1; i < len; i++) {
		if (p + i == stop)
			return 0;
		uint8_t b = (uint8_t)p[i];
		if ((b & 0xc0) != 0x80)
			return SIZE_MAX;
		c = c << 6 | (b & 0x3f);
	}
	return c >= least[len] && is_character(c) ? len : SIZE_MAX;
}

/* The first byte from @p that is not plain: '<', '&', ']', a control character or beyond ASCII. Eight at a time: in each mask the
 * lowest byte that is marked is one of them (B. Mycroft's test for a zero byte, and the same for a byte below 0x20). */
static const char *plain_end(const char *p, const char *stop)
{
	const uint64_t ones = 0x0101010101010101u, tops = ones << 7;

	for (; stop - p >= 8; p += 8) {
		uint64_t v, lt, amp, square;
		memcpy(&v, p, 8);
		v = le64toh(v);
		lt = v ^ ones * '<';
		amp = v ^ ones * '&';
		square = v ^ ones * ']';
		uint64_t found = (((v - ones * 0x20) & ~v) | ((lt - ones) & ~lt) | ((amp - ones) & ~amp) |
				  ((square - ones) & ~square) | v) &
				 tops;
		if (found)
			return p + __builtin_ctzll(found) / 8;
	}
	while (p < stop && (uint8_t)(*p - 0x20) < 0x60 && *p != '<' && *p != '&' && *p != ']')
		p++;
	return p;
}

/* ---- text ---- */

static const char *give(struct xml_scan *x, const char *bytes, size_t len, const char *next)
{
	x->rc = x->handler->text(x->ctx, bytes, len);
	return x->rc == 0 ? next : bad;
}

/* The character of "#10" or "#xA"; UINT32_MAX: there is none. */
static uint32_t number_of(const char *p, const char *end)
{
	bool hex = end - p > 1 && p[1] == 'x';
	uint32_t c = 0;

	p += hex ? 2 : 1;
	if (p == end)
		return UINT32_MAX;
	for (; p < end; p++) {
		int letter = (*p | 0x20) - 'a';
		int digit = *p >= '0' && *p <= '9'             ? *p - '0'
			    : hex && letter >= 0 && letter < 6 ? letter + 10
							       : -1;
		if (digit < 0)
			return UINT32_MAX;
		c = MIN(c * (hex ? 16 : 10) + (uint32_t)digit, (uint32_t)0x110000);
	}
	return is_character(c) ? c : UINT32_MAX;
}

/* What "lt" between '&' and ';' stands for. */
static uint32_t reference_of(const char *p, const char *end)
{
	static const struct {
		const char *name;
		size_t len;
		char c;
	} entities[] = {{LIT("quot"), '"'},
			{LIT("amp"), '&'},
			{LIT("lt"), '<'},
			{LIT("gt"), '>'},
			{LIT("apos"), '\''}};

	if (p < end && *p == '#')
		return number_of(p, end);
	for (size_t i = 0; i < LENGTH(entities); i++)
		if ((size_t)(end - p) == entities[i].len && memcmp(p, entities[i].name, entities[i].len) == 0)
			return (uint8_t)entities[i].c;
	return UINT32_MAX;
}

/* The reference at @p, which is '&'. */
static const char *take_reference(struct xml_scan *x, const char *p, const char *stop, uint32_t *ret)
{
	const char *end = p + 1;

	while (end < stop && (is_in_name(*end) || *end == '#'))
		end++;
	if (end - p > XML_MARKUP_MAX)
		return refuse(x, "a reference that is too long");
	if (end == stop)
		return more;
	*ret = *end == ';' ? reference_of(p + 1, end) : UINT32_MAX;
	return *ret == UINT32_MAX ? fail(x, "a reference to nothing that is known") : end + 1;
}

/* One byte that is not plain, inside an element, other than '<'. */
static const char *take_special(struct xml_scan *x, const char *p, const char *stop)
{
	uint32_t c = 0;
	char bytes[4];

	if (*p == '&') {
		const char *end = take_reference(x, p, stop, &c);
		return end == more || end == bad ? end : give(x, bytes, put_utf8(c, bytes), end);
	}
	if (*p == ']') {
		if (stop - p < 3 && memcmp(p, "]]", (size_t)(stop - p)) == 0)
			return more;
		return stop - p >= 3 && memcmp(p, "]]>", 3) == 0 ? fail(x, "]]> in a text")
								 : give(x, p, 1, p + 1);
	}
	if (*p == '\r') {
		if (stop - p < 2)
			return more;
		return p[1] == '\n' ? p + 1 : give(x, "\n", 1, p + 1);
	}
	if (*p == '\n' || *p == '\t')
		return give(x, p, 1, p + 1);
	size_t len = (uint8_t)*p < 0x80 ? SIZE_MAX : utf8(p, stop);
	if (len == SIZE_MAX)
		return fail(x, "a byte that is no character");
	return len ? give(x, p, len, p + len) : more;
}

/* Text up to '<' or the end; of what is left the end is still to come. */
static const char *take_text(struct xml_scan *x, const char *p, const char *stop)
{
	while (p < stop && *p != '<') {
		const char *end = plain_end(p, stop);
		const char *next = end > p ? give(x, p, (size_t)(end - p), end) : take_special(x, p, stop);
		if (next == bad)
			return bad;
		if (next == more)
			return p;
		p = next;
	}
	return p;
}

/* Outside the root there is only white space. */
static const char *take_blank(struct xml_scan *x, const char *p, const char *stop)
{
	while (p < stop && is_space(*p))
		p++;
	return p < stop && *p != '<' ? fail(x, "text outside the document") : p;
}

/* Characters of a comment, of a CDATA section or an instruction: whether all of them are ones. */
static bool are_characters(const char *p, const char *end)
{
	while (p < end) {
		size_t len = (uint8_t)*p < 0x80 ? is_character((uint8_t)*p) ? 1 : SIZE_MAX : utf8(p, end);
		if (len == 0 || len == SIZE_MAX)
			return false;
		p += len;
	}
	return true;
}

/* ---- markup ---- */

static const char *skip_space(const char *p, const char *stop)
{
	while (p < stop && is_space(*p))
		p++;
	return p;
}

static const char *skip_name(const char *p, const char *stop)
{
	if (p < stop && starts_name(*p))
		while (p < stop && is_in_name(*p))
			p++;
	return p;
}

static const char *after(const char *p, const char *stop, const char *what, size_t len)
{
	const char *at = p < stop ? memmem(p, (size_t)(stop - p), what, len) : NULL;

	return at ? at + len : NULL;
}

/* "<!-- ... -->" at @p. */
static const char *take_comment(struct xml_scan *x, const char *p, const char *stop)
{
	const char *end = after(p + 4, stop, LIT("--"));

	if (!end || end == stop)
		return more;
	if (*end != '>' || !are_characters(p + 4, end))
		return fail(x, "a malformed comment");
	return end + 1;
}

/* "<![CDATA[ ... ]]>" at @p. */
static const char *take_cdata(struct xml_scan *x, const char *p, const char *stop)
{
	const char *end = after(p + 9, stop, LIT("]]>"));

	if (x->depth == 0)
		return fail(x, "text outside the document");
	if (!end)
		return more;
	if (!are_characters(p + 9, end - 3))
		return fail(x, "a byte that is no character");
	for (p += 9; p < end - 3;) {
		const char *line = memchr(p, '\r', (size_t)(end - 3 - p));
		const char *to = line ? line : end - 3;
		if (to > p && give(x, p, (size_t)(to - p), to) == bad)
			return bad;
		p = line ? line + 1 : to;
		if (line && *p != '\n' && give(x, "\n", 1, p) == bad)
			return bad;
	}
	return end;
}

/* "<!" at @p. */
static const char *take_declaration(struct xml_scan *x, const char *p, const char *stop)
{
	static const struct {
		const char *start;
		size_t len;
	} kinds[] = {{LIT("<!--")}, {LIT("<![CDATA[")}, {LIT("<!DOCTYPE")}};
	size_t n = (size_t)(stop - p);

	for (size_t i = 0; i < LENGTH(kinds); i++) {
		if (memcmp(p, kinds[i].start, MIN(n, kinds[i].len)) != 0)
			continue;
		if (n < kinds[i].len)
			return more;
		if (i == 2)
			return refuse(x, "a document type");
		return i == 0 ? take_comment(x, p, stop) : take_cdata(x, p, stop);
	}
	return fail(x, "a malformed tag");
}

/* One of version, encoding and standalone in "<?xml ?>", if it is the one at *p, which it moves. False: malformed. */
static bool take_pseudo(const char **p, const char *end, const char *name, const char **ret_value,
			size_t *ret_len)
{
	const char *at = skip_space(*p, end);
	size_t len = strlen(name);

	*ret_value = NULL;
	if ((size_t)(end - at) < len || memcmp(at, name, len) != 0)
		return true;
	bool spaced = at > *p;
	at = skip_space(at + len, end);
	if (!spaced || at == end || *at != '=')
		return false;
	at = skip_space(at + 1, end);
	if (at == end || (*at != '"' && *at != '\''))
		return false;
	const char *close = memchr(at + 1, *at, (size_t)(end - at - 1));
	if (!close)
		return false;
	*ret_value = at + 1;
	*ret_len = (size_t)(close - at - 1);
	*p = close + 1;
	return true;
}

static bool is_pseudo_value(const char *value, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!is_in_name(value[i]) || value[i] == ':')
			return false;
	return len > 0;
}

/* What is between "<?xml" and "?>". */
static const char *check_xml_declaration(struct xml_scan *x, const char *p, const char *end)
{
	const char *version, *encoding = NULL, *alone = NULL;
	size_t version_len = 0, encoding_len = 0, alone_len = 0;
	bool good = take_pseudo(&p, end, "version", &version, &version_len) && version &&
		    take_pseudo(&p, end, "encoding", &encoding, &encoding_len) &&
		    take_pseudo(&p, end, "standalone", &alone, &alone_len) && skip_space(p, end) == end;

	if (good && encoding)
		good = is_pseudo_value(encoding, encoding_len) && ((*encoding | 0x20) >= 'a') &&
		       ((*encoding | 0x20) <= 'z');
	if (good && alone)
		good = (alone_len == 3 && memcmp(alone, "yes", 3) == 0) ||
		       (alone_len == 2 && memcmp(alone, "no", 2) == 0);
	if (!good)
		return fail(x, "a malformed XML declaration");
	if (version_len != 3 || memcmp(version, "1.0", 3) != 0)
		return refuse(x, "a version of XML other than 1.0");
	if (encoding && (encoding_len != 5 || strncasecmp(encoding, "UTF-8", 5) != 0))
		return refuse(x, "an encoding other than UTF-8");
	return end;
}

/* "<? ... ?>" at @p. */
static const char *take_instruction(struct xml_scan *x, const char *p, const char *stop)
{
	const char *end = after(p + 2, stop, LIT("?>")), *name = skip_name(p + 2, stop);

	if (!end)
		return more;
	bool spaced = name < end && (is_space(*name) || name == end - 2);
	if (name == p + 2 && (uint8_t)*name >= 0x80)
		return refuse(x, "a name beyond ASCII");
	if (name == p + 2 || !spaced || !are_characters(name, end))
		return fail(x, "a malformed instruction");
	if (name - p != 5 || strncasecmp(p + 2, "xml", 3) != 0)
		return end;
	if (x->begun || memcmp(p + 2, "xml", 3) != 0)
		return fail(x, "an XML declaration that is not at the start");
	return check_xml_declaration(x, name, end - 2) == bad ? bad : end;
}

static const char *close_element(struct xml_scan *x, const char *next)
{
	x->depth--;
	x->rc = x->handler->close(x->ctx);
	return x->rc == 0 ? next : bad;
}

/* "</" at @p. */
static const char *take_end_tag(struct xml_scan *x, const char *p, const char *stop)
{
	if (x->depth == 0)
		return fail(x, "an end tag without a start");
	size_t from = x->depth > 1 ? x->name_end[x->depth - 2] : 0, len = x->name_end[x->depth - 1] - from;
	const char *name = p + 2;
	size_t n = MIN((size_t)(stop - name), len);
	if (!same_bytes(name, x->names + from, n))
		return fail(x, "a tag that is closed by another's end");
	const char *end = skip_space(name + n, stop);
	if (end == stop)
		return more;
	return *end == '>' ? close_element(x, end + 1) : fail(x, "a tag that is closed by another's end");
}

static const char *open_element(struct xml_scan *x, const char *name, size_t len, const char *next)
{
	size_t at = x->depth > 0 ? x->name_end[x->depth - 1] : 0;

	if (x->depth == 0 && x->rooted)
		return fail(x, "a second document");
	if (x->depth == XML_DEPTH_MAX)
		return refuse(x, "too many elements inside each other");
	if (len > XML_NAMES_MAX - at)
		return refuse(x, "names that are too long");
	memcpy(x->names + at, name, len);
	x->name_end[x->depth++] = at + len;
	x->rooted = true;
	x->rc = x->handler->open(x->ctx, name, len);
	return x->rc == 0 ? next : bad;
}

/* A value of an attribute, from the byte after its opening quote: the closing one. */
static const char *skip_value(struct xml_scan *x, const char *p, const char *stop, char quote)
{
	uint32_t c;

	while (p < stop && *p != quote) {
		if (*p == '<')
			return fail(x, "a malformed attribute");
		if (*p == '&') {
			p = take_reference(x, p, stop, &c);
			if (p == more || p == bad)
				return p;
			continue;
		}
		size_t len = (uint8_t)*p < 0x80 ? is_character((uint8_t)*p) ? 1 : SIZE_MAX : utf8(p, stop);
		if (len == SIZE_MAX)
			return fail(x, "a byte that is no character");
		if (len == 0)
			return more;
		p += len;
	}
	return p == stop ? more : p;
}

/* 'name="value"' at @p: where it ends. */
static const char *take_attribute(struct xml_scan *x, const char *p, const char *stop)
{
	const char *at = skip_name(p, stop);

	if (at == p)
		return (uint8_t)*p >= 0x80 ? refuse(x, "a name beyond ASCII") : fail(x, "a malformed tag");
	at = skip_space(at, stop);
	if (at < stop && *at != '=')
		return (uint8_t)*at >= 0x80 ? refuse(x, "a name beyond ASCII")
					    : fail(x, "a malformed attribute");
	at = at < stop ? skip_space(at + 1, stop) : at;
	if (at == stop)
		return more;
	if (*at != '"' && *at != '\'')
		return fail(x, "a malformed attribute");
	at = skip_value(x, at + 1, stop, *at);
	return at == more || at == bad ? at : at + 1;
}

/* Names of the attributes that a tag has. */
struct attributes {
	const char *names[XML_ATTRIBUTES_MAX];
	size_t lens[XML_ATTRIBUTES_MAX];
	size_t count;
};

static const char *note_attribute(struct xml_scan *x, struct attributes *a, const char *p, const char *end)
{
	size_t len = (size_t)(skip_name(p, end) - p);

	for (size_t i = 0; i < a->count; i++)
		if (a->lens[i] == len && memcmp(a->names[i], p, len) == 0)
			return fail(x, "an attribute that is there twice");
	if (a->count == XML_ATTRIBUTES_MAX)
		return refuse(x, "too many attributes");
	a->names[a->count] = p;
	a->lens[a->count++] = len;
	return end;
}

/* From the end of a start tag's name: where '>' or "/>" is. */
static const char *skip_attributes(struct xml_scan *x, const char *p, const char *stop)
{
	struct attributes a = {.count = 0};

	for (;;) {
		const char *at = skip_space(p, stop);
		if (at == stop)
			return more;
		if (*at == '>' || *at == '/')
			return at;
		if ((uint8_t)*at >= 0x80)
			return refuse(x, "a name beyond ASCII");
		if (at == p)
			return fail(x, "a malformed tag");
		p = take_attribute(x, at, stop);
		if (p == more || p == bad)
			return p;
		if (note_attribute(x, &a, at, p) == bad)
			return bad;
	}
}

/* "<name" at @p. */
static const char *take_start_tag(struct xml_scan *x, const char *p, const char *stop)
{
	const char *name = p + 1, *end = skip_name(name, stop), *at = end;

	if (end == name)
		return (uint8_t)*name >= 0x80 ? refuse(x, "a name beyond ASCII") : fail(x, "a malformed tag");
	if (end == stop || *end != '>')
		at = skip_attributes(x, end, stop);
	if (at == more || at == bad)
		return at;
	if (*at == '>')
		return open_element(x, name, (size_t)(end - name), at + 1);
	if (at + 1 == stop)
		return more;
	if (at[1] != '>')
		return fail(x, "a malformed tag");
	return open_element(x, name, (size_t)(end - name), at) == bad ? bad : close_element(x, at + 2);
}

/* The markup at @p, which is '<'. */
static const char *take_markup(struct xml_scan *x, const char *p, const char *stop)
{
	if (p + 1 == stop)
		return more;
	switch (p[1]) {
	case '/':
		return take_end_tag(x, p, stop);
	case '!':
		return take_declaration(x, p, stop);
	case '?':
		return take_instruction(x, p, stop);
	default:
		return take_start_tag(x, p, stop);
	}
}

/* ---- documents ---- */

/* How many of the bytes are taken; with rc set it does not matter. */
static size_t scan(struct xml_scan *x, const char *bytes, size_t len)
{
	const char *p = bytes, *stop = bytes + len;

	while (p < stop) {
		const char *next = *p == '<'      ? take_markup(x, p, stop)
				   : x->depth > 0 ? take_text(x, p, stop)
						  : take_blank(x, p, stop);
		if (next == more || next == bad || next == p)
			break;
		x->begun = true;
		p = next;
	}
	return (size_t)(p - bytes);
}

static bool append(struct xml_scan *x, const char *bytes, size_t len)
{
	if (len > x->rest_room - x->rest_len) {
		size_t room = MAX(x->rest_len + len, 2 * x->rest_room);
		char *rest = mem_resize(x->rest, room, 1);
		if (!rest)
			return false;
		x->rest = rest;
		x->rest_room = room;
	}
	memcpy(x->rest + x->rest_len, bytes, len);
	x->rest_len += len;
	return true;
}

/* A byte order mark may stand before everything. How many bytes are left out for it; SIZE_MAX: more are needed. */
static size_t order_mark(struct xml_scan *x, const char *bytes, size_t len)
{
	static const char mark[3] = "\xef\xbb\xbf";

	if (x->marked || x->begun || memcmp(bytes, mark, MIN(len, sizeof mark)) != 0)
		return 0;
	if (len < sizeof mark)
		return SIZE_MAX;
	x->marked = true;
	return sizeof mark;
}

/* What was not taken waits. */
static int keep_rest(struct xml_scan *x, const char *bytes, size_t len)
{
	if (len > XML_MARKUP_MAX) {
		(void)refuse(x, "a piece of markup that is too long");
		return x->rc;
	}
	if (len > 0 && !append(x, bytes, len))
		x->rc = -ENOMEM;
	return x->rc;
}

/* How many of the bytes are taken, with a byte order mark before them. */
static size_t take(struct xml_scan *x, const char *bytes, size_t len)
{
	size_t mark = order_mark(x, bytes, len);

	return mark == SIZE_MAX ? 0 : mark + scan(x, bytes + mark, len - mark);
}

/* The piece that waits goes on with so many bytes as it may need. How many of @bytes are behind it: the rest is empty then, and
 * what follows can be scanned where it is. All of them where it waits on; with rc set it does not matter. */
static size_t join_rest(struct xml_scan *x, const char *bytes, size_t len)
{
	size_t old = x->rest_len, more_len = MIN(len, (size_t)XML_MARKUP_MAX);

	if (!append(x, bytes, more_len)) {
		x->rc = -ENOMEM;
		return len;
	}
	size_t used = take(x, x->rest, x->rest_len);
	if (used >= old) {
		x->rest_len = 0;
		return used - old;
	}
	x->rest_len -= used;
	memmove(x->rest, x->rest + used, x->rest_len);
	if (x->rc == 0 && x->rest_len > XML_MARKUP_MAX)
		(void)refuse(x, "a piece of markup that is too long");
	return len;
}

int xml_scan_feed(struct xml_scan *x, const char *bytes, size_t len)
{
	size_t joined = x->rc == 0 && x->rest_len > 0 && len > 0 ? join_rest(x, bytes, len) : 0;

	if (x->rc != 0 || joined == len)
		return x->rc;
	bytes += joined;
	len -= joined;
	size_t used = take(x, bytes, len);
	return x->rc == 0 ? keep_rest(x, bytes + used, len - used) : x->rc;
}

int xml_scan_finish(struct xml_scan *x)
{
	if (x->rc == 0 && (x->rest_len > 0 || x->depth > 0))
		(void)fail(x, "an end in the middle");
	if (x->rc == 0 && !x->rooted)
		(void)fail(x, "no element");
	return x->rc;
}
