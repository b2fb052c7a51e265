/* Numbers as people write them: 500Gi, 1h30m, 0444. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "common/dataset/fields.h"

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Digits at *text, which moves behind them. -EINVAL without any, -ERANGE. */
static int take_digits(const char **text, int64_t *ret, int *ret_count)
{
	int64_t v = 0;
	int count = 0;

	for (; is_digit(**text); ++*text, count++)
		if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, **text - '0', &v))
			return -ERANGE;
	*ret = v;
	*ret_count = count;
	return count ? 0 : -EINVAL;
}

static int parse_whole(const char *text, int64_t *ret)
{
	int count, r = take_digits(&text, ret, &count);
	return r == 0 && *text ? -EINVAL : r;
}

static int parse_mode(const char *text, int64_t *ret)
{
	int64_t v = 0;

	if (strncmp(text, "0o", 2) == 0)
		text += 2;
	size_t len = strlen(text);
	if (len == 0 || len > 5 || strspn(text, "01234567") != len)
		return -EINVAL;
	for (; *text; text++)
		v = v * 8 + (*text - '0');
	*ret = v;
	return 0;
}

static const struct {
	const char *name;
	int64_t factor;
} suffixes[] = {
	{"", 1},           {"k", 1000},          {"M", 1000000},
	{"G", 1000000000}, {"T", 1000000000000}, {"P", 1000000000000000},
	{"Ki", 1 << 10},   {"Mi", 1 << 20},      {"Gi", 1 << 30},
	{"Ti", 1LL << 40}, {"Pi", 1LL << 50},    {"e3", 1000},
	{"e6", 1000000},   {"e9", 1000000000},   {"e12", 1000000000000},
};

/* A Kubernetes quantity: 500Gi, 2G, 1.5Ti, 1e9. A fraction must come out even. */
static int parse_quantity(const char *text, int64_t *ret)
{
	int64_t whole, part = 0, scale = 1;
	int digits = 0, r = take_digits(&text, &whole, &digits);
	if (r != 0)
		return r;
	if (*text == '.') {
		text++;
		r = take_digits(&text, &part, &digits);
		if (r != 0 || digits > 3)
			return -EINVAL;
		while (digits-- > 0)
			scale *= 10;
	}
	for (size_t i = 0; i < LENGTH(suffixes); i++) {
		if (strcmp(text, suffixes[i].name) != 0)
			continue;
		int64_t factor = suffixes[i].factor, sum;
		if (part && factor == 1)
			return -EINVAL;
		if (__builtin_mul_overflow(whole, factor, &sum) ||
		    __builtin_add_overflow(sum, factor / scale * part + factor % scale * part / scale, &sum))
			return -ERANGE;
		*ret = sum;
		return 0;
	}
	return -EINVAL;
}

static const struct {
	const char *name;
	int64_t ns;
} units[] = {{"ms", 1000000}, {"s", FIELD_S}, {"m", 60 * FIELD_S}, {"h", FIELD_H}, {"d", 24 * FIELD_H}};

static int take_unit(const char **text, int64_t *ret)
{
	for (size_t i = 0; i < LENGTH(units); i++) {
		size_t len = strlen(units[i].name);
		char after = 0;
		if (strncmp(*text, units[i].name, len) == 0)
			after = (*text)[len];
		else
			continue;
		if (after && !is_digit(after))
			continue;
		*text += len;
		*ret = units[i].ns;
		return 0;
	}
	return -EINVAL;
}

static int parse_duration(const char *text, int64_t *ret)
{
	int64_t sum = 0, v, unit;
	int count, r;

	if (strcmp(text, "0") == 0) {
		*ret = 0;
		return 0;
	}
	do {
		r = take_digits(&text, &v, &count);
		if (r == 0)
			r = take_unit(&text, &unit);
		if (r == 0 && (__builtin_mul_overflow(v, unit, &v) || __builtin_add_overflow(sum, v, &sum)))
			r = -ERANGE;
	} while (r == 0 && *text);
	if (r == 0)
		*ret = sum;
	return r;
}

static int parse_version(const char *text, int64_t *ret)
{
	if (strcmp(text, "Latest") == 0) {
		*ret = 0;
		return 0;
	}
	int r = parse_whole(text, ret);
	return r == 0 && *ret == 0 ? -EINVAL : r;
}

static int parse_bool(const char *text, int64_t *ret)
{
	*ret = strcmp(text, "true") == 0;
	return *ret || strcmp(text, "false") == 0 ? 0 : -EINVAL;
}

static const char *expected(enum field_type type)
{
	switch (type) {
	case FIELD_TYPE_BOOL:
		return "true or false";
	case FIELD_TYPE_QUANTITY:
		return "an amount of bytes like 500Gi or 2G";
	case FIELD_TYPE_DURATION:
		return "a duration like 30s, 10m or 1h30m";
	case FIELD_TYPE_MODE:
		return "an octal mode like \"0444\"";
	case FIELD_TYPE_VERSION:
		return "Latest or the number of a version";
	default:
		return "a whole number";
	}
}

static int parse(enum field_type type, const char *text, int64_t *ret)
{
	switch (type) {
	case FIELD_TYPE_BOOL:
		return parse_bool(text, ret);
	case FIELD_TYPE_QUANTITY:
		return parse_quantity(text, ret);
	case FIELD_TYPE_DURATION:
		return parse_duration(text, ret);
	case FIELD_TYPE_MODE:
		return parse_mode(text, ret);
	case FIELD_TYPE_VERSION:
		return parse_version(text, ret);
	default:
		return parse_whole(text, ret);
	}
}

int field_number(enum field_id id, const char *text, int64_t *ret, struct err *err)
{
	const struct field *f = field_get(id);
	int64_t v = 0;
	int r = parse(f->type, text, &v);

	if (r == -EINVAL)
		return err_set(err, -EINVAL, "\"%.64s\" is not %s", text, expected(f->type));
	if (r == -ERANGE)
		return err_set(err, -EINVAL, "\"%.64s\" is too large", text);
	r = field_number_check(id, v, err);
	if (r == 0)
		*ret = v;
	return r;
}

/* A limit as one would write it. */
static void write_limit(enum field_type type, int64_t v, char out[32])
{
	if (type == FIELD_TYPE_DURATION && v % FIELD_H == 0 && v)
		(void)snprintf(out, 32, "%lldh", (long long)(v / FIELD_H));
	else if (type == FIELD_TYPE_DURATION && v % FIELD_S == 0)
		(void)snprintf(out, 32, "%llds", (long long)(v / FIELD_S));
	else if (type == FIELD_TYPE_DURATION)
		(void)snprintf(out, 32, "%lldms", (long long)(v / FIELD_MS));
	else if (type == FIELD_TYPE_QUANTITY && v % FIELD_PI == 0)
		(void)snprintf(out, 32, "%lldPi", (long long)(v / FIELD_PI));
	else
		(void)(type == FIELD_TYPE_MODE ? snprintf(out, 32, "%04llo", (unsigned long long)v)
					       : snprintf(out, 32, "%lld", (long long)v));
}

int field_number_check(enum field_id id, int64_t value, struct err *err)
{
	const struct field *f = field_get(id);
	char min[32], max[32];

	if (value >= f->min && value <= f->max)
		return 0;
	write_limit(f->type, f->min, min);
	write_limit(f->type, f->max, max);
	return err_set(err, -EINVAL, "must be from %s to %s", min, max);
}

int field_enum(enum field_id id, const char *text, int64_t *ret, struct err *err)
{
	const char *words = field_get(id)->words;
	size_t len = strlen(text);
	int64_t place = 0;

	for (const char *w = words; w; place++) {
		size_t n = strcspn(w, "|");
		if (n == len && strncmp(w, text, n) == 0) {
			*ret = place;
			return 0;
		}
		w = w[n] ? w + n + 1 : NULL;
	}
	return err_set(err, -EINVAL, "\"%.64s\" is none of %s", text, words);
}
