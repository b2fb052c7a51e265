/*
 * fields - the table api/dataset_fields.h as data, and the values that stand in its fields.
 */
#ifndef COMMON_DATASET_FIELDS_H
#define COMMON_DATASET_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/dataset_fields.h"
#include "common/base/attr.h"
#include "common/base/err.h"

enum field_type {
	FIELD_TYPE_MAP,
	FIELD_TYPE_MAPS,
	FIELD_TYPE_FREE,
	FIELD_TYPE_TEXT,
	FIELD_TYPE_TEXTS,
	FIELD_TYPE_ENUM,
	FIELD_TYPE_ENUMS,
	FIELD_TYPE_BOOL,
	FIELD_TYPE_NUMBER,
	FIELD_TYPE_QUANTITY,
	FIELD_TYPE_DURATION,
	FIELD_TYPE_MODE,
	FIELD_TYPE_VERSION
};
enum field_state { FIELD_ACTED, FIELD_ACCEPTED, FIELD_REFUSED };

enum field_id {
#define X(id, path, type, fallback, min, max, words, state, sentence) F_##id,
	DATASET_FIELDS(X)
#undef X
		FIELD_COUNT
};

struct field {
	const char *path;
	enum field_type type;
	const char *fallback;
	int64_t min, max;
	const char *words;
	enum field_state state;
	const char *sentence;
};
/* The row of a field: static. @id is below FIELD_COUNT. */
const struct field *field_get(enum field_id id);

/* The field @name below @parent ("" for the top). FIELD_COUNT: there is none. */
enum field_id field_find(const char *parent, const char *name);

/* The path of a field with the index of its source: "spec.sources[0].s3.bucket". */
#define FIELD_PATH_MAX 96
void field_path(enum field_id id, size_t source, char out[FIELD_PATH_MAX]);

/* Whether the field belongs to a source. */
bool field_of_source(enum field_id id);

/* What to say about an unknown name: `did you mean "bucket"?` or `has: bucket, prefix`. */
struct nearest {
	const char *name; /* what was written */
	const char *best; /* borrowed from the offers */
	size_t best_distance;
	char has[256];
};
void nearest_offer(struct nearest *n, const char *candidate);
void nearest_field(struct nearest *n, const char *parent);
void nearest_words(const struct nearest *n, char *out, size_t len);

/* Parses what a field of a number's type may hold. 0, -EINVAL with words that say what is right. */
MUST_CHECK int field_number(enum field_id id, const char *text, int64_t *ret, struct err *err);
/* Checks the limits of a number that came by another way. */
MUST_CHECK int field_number_check(enum field_id id, int64_t value, struct err *err);
/* The place of @text in the words of an ENUM. */
MUST_CHECK int field_enum(enum field_id id, const char *text, int64_t *ret, struct err *err);

#endif
