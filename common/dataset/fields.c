#include "common/dataset/fields.h"

#include <stdio.h>
#include <string.h>

static const struct field table[] = {
#define X(id, path, type, fallback, min, max, words, state, sentence) \
	{path, FIELD_TYPE_##type, fallback, min, max, words, FIELD_##state, sentence},
	DATASET_FIELDS(X)
#undef X
};

const struct field *field_get(enum field_id id)
{
	CHECK(id < FIELD_COUNT);
	return &table[id];
}

/* The last part of @path if it stands directly below @parent, else NULL. */
static const char *name_below(const char *path, const char *parent)
{
	size_t len = strlen(parent);

	if (strncmp(path, parent, len) != 0 || (len && path[len] != '.'))
		return NULL;
	const char *name = path + len + (len ? 1 : 0);
	return strchr(name, '.') ? NULL : name;
}

enum field_id field_find(const char *parent, const char *name)
{
	for (size_t i = 0; i < FIELD_COUNT; i++) {
		const char *own = name_below(table[i].path, parent);
		if (own && strcmp(own, name) == 0)
			return (enum field_id)i;
	}
	return FIELD_COUNT;
}

bool field_of_source(enum field_id id)
{
	return strstr(field_get(id)->path, "[]") != NULL;
}

void field_path(enum field_id id, size_t source, char out[FIELD_PATH_MAX])
{
	const char *path = field_get(id)->path, *list = strstr(path, "[]");

	if (list)
		(void)snprintf(out, FIELD_PATH_MAX, "%.*s[%zu]%s", (int)(list - path), path, source,
			       list + 2);
	else
		(void)snprintf(out, FIELD_PATH_MAX, "%s", path);
}

/* ---- the nearest name ---- */

enum { WORD_MAX = 40 };

static char lower(char c)
{
	return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

/* Levenshtein's distance without regard to case; long words are far from all. */
static size_t distance(const char *a, const char *b)
{
	size_t row[WORD_MAX + 1], a_len = strlen(a), b_len = strlen(b);

	if (a_len > WORD_MAX || b_len > WORD_MAX)
		return SIZE_MAX;
	for (size_t j = 0; j <= b_len; j++)
		row[j] = j;
	for (size_t i = 1; i <= a_len; i++) {
		size_t diagonal = row[0];
		row[0] = i;
		for (size_t j = 1; j <= b_len; j++) {
			size_t swap = diagonal + (lower(a[i - 1]) != lower(b[j - 1]));
			diagonal = row[j];
			row[j] = MIN(swap, MIN(row[j], row[j - 1]) + 1);
		}
	}
	return row[b_len];
}

void nearest_offer(struct nearest *n, const char *candidate)
{
	size_t d = distance(n->name, candidate), used = strlen(n->has);

	if (!n->best || d < n->best_distance) {
		n->best = candidate;
		n->best_distance = d;
	}
	(void)snprintf(n->has + used, sizeof n->has - used, "%s%s", used ? ", " : "", candidate);
}

void nearest_field(struct nearest *n, const char *parent)
{
	for (size_t i = 0; i < FIELD_COUNT; i++) {
		const char *own = name_below(table[i].path, parent);
		if (own && table[i].state != FIELD_REFUSED)
			nearest_offer(n, own);
	}
}

void nearest_words(const struct nearest *n, char *out, size_t len)
{
	if (n->best && n->best_distance <= MAX((size_t)2, strlen(n->name) / 3) &&
	    n->best_distance < strlen(n->name))
		(void)snprintf(out, len, "did you mean \"%s\"?", n->best);
	else
		(void)snprintf(out, len, "has: %s", n->has);
}
