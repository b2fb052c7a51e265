#include "common/source/s3_cut.h"

#include <string.h>

#include "common/base/attr.h"
#include "common/base/bytes.h"

enum {
	SIBLINGS_MAX = 128,
	PLACES_MAX = 24, /* characters of a key that a guess looks at */
	MIXED_SHARE = 4, /* one digit in so many beside a letter: digits and letters are one alphabet */
	PAGES_UNKNOWN = 1000000
};

#define NO_CHARACTER UINT32_MAX

enum letters { DIGIT, LOWER, UPPER, MIXED, OTHER, HIGH };

int s3_key_compare(struct s3_key a, struct s3_key b)
{
	if (!a.bytes || !b.bytes)
		return !a.bytes - !b.bytes;
	int order = memcmp(a.bytes, b.bytes, MIN(a.len, b.len));

	return order ? order : (a.len > b.len) - (a.len < b.len);
}

static bool is_digit(uint32_t c)
{
	return c >= '0' && c <= '9';
}

static bool is_lower(uint32_t c)
{
	return c >= 'a' && c <= 'z';
}

static bool is_upper(uint32_t c)
{
	return c >= 'A' && c <= 'Z';
}

void s3_alphabet_learn(struct s3_alphabet *a, struct s3_key key)
{
	uint32_t before = 0;

	for (size_t i = 0; i < key.len; i++) {
		uint32_t c = (uint8_t)key.bytes[i];
		bool letter = is_lower(c) || is_upper(c),
		     letter_before = is_lower(before) || is_upper(before);
		if (c < LENGTH(a->seen))
			a->seen[c] = true;
		a->digits += is_digit(c);
		a->among_letters += (is_digit(c) && letter_before) || (letter && is_digit(before));
		before = c;
	}
}

/* The character at @at; *ret_len: of how many bytes. NO_CHARACTER at the end, and where there is no UTF-8. */
static uint32_t character(struct s3_key k, size_t at, size_t *ret_len)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};

	if (at >= k.len)
		return NO_CHARACTER;
	uint8_t lead = (uint8_t)k.bytes[at];
	size_t len = lead < 0x80   ? 1
		     : lead < 0xc0 ? 0
		     : lead < 0xe0 ? 2
		     : lead < 0xf0 ? 3
		     : lead < 0xf8 ? 4
				   : 0;
	if (len == 0 || len > k.len - at)
		return NO_CHARACTER;
	uint32_t c = len == 1 ? lead : lead & (0x7fu >> len);
	for (size_t i = 1; i < len; i++) {
		uint8_t b = (uint8_t)k.bytes[at + i];
		if ((b & 0xc0) != 0x80)
			return NO_CHARACTER;
		c = c << 6 | (b & 0x3f);
	}
	*ret_len = len;
	return c < least[len] ? NO_CHARACTER : c;
}

/* The bytes that @a and @b share, cut back to the start of a character, at least @base. */
static size_t shared(struct s3_key a, struct s3_key b, size_t base)
{
	size_t n = base, most = b.bytes ? MIN(a.len, b.len) : base;

	while (n < most && a.bytes[n] == b.bytes[n])
		n++;
	while (n > base && n < a.len && ((uint8_t)a.bytes[n] & 0xc0) == 0x80)
		n--;
	return n;
}

/* ---- the characters that may stand in a place ---- */

static enum letters letters_of(const struct s3_alphabet *a, uint32_t c)
{
	bool digit = is_digit(c), letter = is_lower(c) || is_upper(c);

	if ((digit || letter) && a->among_letters * MIXED_SHARE > a->digits)
		return MIXED;
	return digit ? DIGIT : is_lower(c) ? LOWER : is_upper(c) ? UPPER : c < 0x80 ? OTHER : HIGH;
}

/* All ten digits where one was seen, letters only as seen. */
static bool may_stand(const struct s3_alphabet *a, uint32_t c)
{
	return is_digit(c) || a->seen[c];
}

/* The characters beyond ASCII that one finds with @c: roughly a script's. */
struct script {
	uint32_t from, to;
};

static struct script script_of(uint32_t c)
{
	enum { KANA = 0x3000, YI = 0xa000, SURROGATES = 0xd800, AFTER_SURROGATES = 0xe000, LAST = 0x110000 };

	if (c < KANA)
		return (struct script){c & ~0x3ffu, (c | 0x3ffu) + 1};
	if (c < YI)
		return (struct script){KANA, YI};
	return c < SURROGATES ? (struct script){YI, SURROGATES} : (struct script){AFTER_SURROGATES, LAST};
}

/* Those of @c's letters after it and before @limit. Those of a script beyond ASCII are a sample. */
static size_t siblings(const struct s3_alphabet *a, uint32_t c, uint32_t limit, uint32_t ret[SIBLINGS_MAX])
{
	enum letters kind = letters_of(a, c);
	size_t n = 0;

	if (kind == OTHER)
		return 0;
	if (kind == HIGH) {
		uint32_t top = MIN(limit, script_of(c).to);
		uint32_t step = (top - c) / SIBLINGS_MAX + 1;
		for (uint32_t s = c + step; s < top && n < SIBLINGS_MAX; s += step)
			ret[n++] = s;
		return n;
	}
	for (uint32_t s = c + 1; s < MIN(limit, 0x7fu); s++)
		if (letters_of(a, s) == kind && may_stand(a, s))
			ret[n++] = s;
	return n;
}

/* Whatever was seen after @c and before @limit. */
static size_t others(const struct s3_alphabet *a, uint32_t c, uint32_t limit, uint32_t ret[SIBLINGS_MAX])
{
	size_t n = 0;

	for (uint32_t s = MAX(c + 1, 0x21u); c < 0x7f && s < MIN(limit, 0x7fu); s++)
		if (may_stand(a, s))
			ret[n++] = s;
	return n;
}

/* ---- how much is left ---- */

/* How many characters may stand in the place of @c, and of them after it and before @limit. */
static uint32_t count_in_place(const struct s3_alphabet *a, uint32_t c, uint32_t limit, uint32_t *ret_after)
{
	enum letters kind = letters_of(a, c);
	uint32_t size = 0;

	*ret_after = 0;
	if (kind == OTHER)
		return 1;
	if (kind == HIGH) {
		struct script script = script_of(c);
		*ret_after = MIN(limit, script.to) - c - 1;
		return script.to - script.from;
	}
	for (uint32_t s = 0; s < 0x7f; s++) {
		bool may = letters_of(a, s) == kind && may_stand(a, s);
		size += may || s == c;
		*ret_after += may && s > c && s < limit;
	}
	return size;
}

/* Which part of the names that share the first @from bytes comes after @k and up to @end, as if each place were a digit. */
static double share_after(const struct s3_alphabet *a, struct s3_key k, struct s3_key end, size_t from)
{
	size_t len = 0, end_len = 0, at = from;
	double share = 0, unit = 1;

	for (int place = 0; place < PLACES_MAX; place++, at += len) {
		uint32_t c = character(k, at, &len);
		if (c == NO_CHARACTER)
			break;
		uint32_t limit = place == 0 && end.bytes ? character(end, at, &end_len) : NO_CHARACTER;
		uint32_t after, size = count_in_place(a, c, limit, &after);
		unit /= size;
		share += unit * after;
	}
	return share;
}

double s3_cut_pages(const struct s3_alphabet *a, const struct s3_stretch *s)
{
	const struct s3_key open = {0};

	if (!s->end.bytes)
		return PAGES_UNKNOWN;
	size_t from = shared(s->last, s->end, s->base);
	if (from > shared(s->last, s->first, s->base))
		return 1; /* the page began before the part of the names that is left */
	double page = share_after(a, s->first, open, from) - share_after(a, s->last, open, from);
	double left = share_after(a, s->last, s->end, from);

	return page > 0 ? MIN(left / page, (double)PAGES_UNKNOWN) : PAGES_UNKNOWN;
}

/* ---- cuts ---- */

/* @last up to @at, then @c; 0 when that does not lie inside. */
static size_t cut_at(const struct s3_stretch *s, size_t at, uint32_t c, char ret[SOURCE_KEY_MAX])
{
	if (at + 4 > SOURCE_KEY_MAX)
		return 0;
	memcpy(ret, s->last.bytes, at);
	size_t len = at + put_utf8(c, ret + at);
	const struct s3_key cut = {ret, len};
	return s3_key_compare(s->last, cut) < 0 && s3_key_compare(cut, s->end) < 0 ? len : 0;
}

static size_t cut_behind_folder(const struct s3_stretch *s, size_t from, bool deep, char ret[SOURCE_KEY_MAX])
{
	size_t to = shared(s->last, s->first, s->base), found = SIZE_MAX;

	for (size_t i = from; i < to; i++)
		if (s->last.bytes[i] == '/' && (deep || found == SIZE_MAX) && cut_at(s, i, '/' + 1, ret))
			found = i;
	return found == SIZE_MAX ? 0 : cut_at(s, found, '/' + 1, ret);
}

static size_t cut_in_the_middle(const struct s3_alphabet *a, const struct s3_stretch *s, size_t from,
				bool words, char ret[SOURCE_KEY_MAX])
{
	uint32_t list[SIBLINGS_MAX];
	size_t len = 0, end_len = 0, at = from;

	for (int place = 0; place < PLACES_MAX; place++, at += len) {
		uint32_t c = character(s->last, at, &len);
		if (c == NO_CHARACTER)
			break;
		uint32_t limit = place == 0 && s->end.bytes ? character(s->end, at, &end_len) : NO_CHARACTER;
		enum letters kind = letters_of(a, c);
		size_t n = words || (kind != LOWER && kind != UPPER) ? siblings(a, c, limit, list) : 0;
		if (n == 0 && place == 0 && words)
			n = others(a, c, limit, list);
		size_t cut = n > 0 ? cut_at(s, at, list[n / 2], ret) : 0;
		if (cut)
			return cut;
	}
	return 0;
}

size_t s3_cut(const struct s3_alphabet *a, const struct s3_stretch *s, enum s3_cut_kind kind,
	      char ret[SOURCE_KEY_MAX])
{
	size_t from = shared(s->last, s->end, s->base);

	if (kind == S3_CUT_MIDDLE || kind == S3_CUT_NUMBER)
		return cut_in_the_middle(a, s, from, kind == S3_CUT_MIDDLE, ret);
	return cut_behind_folder(s, from, kind == S3_CUT_DEEP, ret);
}
