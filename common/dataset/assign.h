/*
 * assign - puts values into a struct dataset under construction, one field of the table at a time, checked. Parser and
 * message reader both fill a dataset this way, so neither can let through what the other refuses.
 *
 * Errors say what is wrong with the value; the caller puts the field's name before it.
 */
#ifndef COMMON_DATASET_ASSIGN_H
#define COMMON_DATASET_ASSIGN_H

#include "common/dataset.h"
#include "common/dataset/fields.h"

/* A dataset with all defaults and no source, owned by the caller; NULL when out of memory. */
MUST_CHECK struct dataset *dataset_new(void);

/* Adds a source with its defaults. 0, -EINVAL (too many), -ENOMEM. */
MUST_CHECK int dataset_add_source(struct dataset *d, struct err *err);

/* A scalar as text, of any type. @source counts for fields of a source. Fields that nothing acts on are only checked. */
MUST_CHECK int dataset_assign(struct dataset *d, size_t source, enum field_id id, const char *text,
			      struct err *err);

/* A number in its own unit, against the table's limits. */
MUST_CHECK int dataset_assign_number(struct dataset *d, size_t source, enum field_id id, int64_t v,
				     struct err *err);

/* One more item of a list. */
MUST_CHECK int dataset_assign_item(struct dataset *d, size_t source, enum field_id id, const char *text,
				   struct err *err);

/* Sets the kind of a source: F_S3, F_HTTP or F_FILE; another one than before is -EINVAL. */
MUST_CHECK int dataset_assign_kind(struct dataset *d, size_t source, enum field_id id, struct err *err);

/* Notes that a field was given that nothing acts on. 0 or -ENOMEM. */
MUST_CHECK int dataset_note_unacted(struct dataset *d, const char *path);

/* What no single field tells: that all that is needed is there and fits. -EINVAL with words that name the field;
 * *ret_source: the source that is wrong, or SIZE_MAX. */
MUST_CHECK int dataset_check(const struct dataset *d, size_t *ret_source, struct err *err);

/* Appends to a list of at most @max. 0, -ENOMEM, -E2BIG. */
MUST_CHECK int dataset_list_add(struct dataset_list *l, const char *text, size_t max);

/* Whether @text is a DNS subdomain (labels joined by dots, at most 253 bytes), as names of Secrets are. */
bool dataset_subdomain_valid(const char *text);

#endif
