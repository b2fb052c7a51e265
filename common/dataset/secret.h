/*
 * secret - making a struct secret, checked; shared by the parser and the message reader. Words never hold a value.
 */
#ifndef COMMON_DATASET_SECRET_H
#define COMMON_DATASET_SECRET_H

#include "common/dataset.h"

/* Sets namespace or name (checked). */
MUST_CHECK int secret_assign_name(struct secret *s, bool is_namespace, const char *text, struct err *err);

/* Sets the value of a key, which replaces an older one. -EINVAL for an unknown key or a value that cannot be meant. */
MUST_CHECK int secret_assign(struct secret *s, const char *key, const char *value, size_t len,
			     struct err *err);

/* The same with the value in base64. */
MUST_CHECK int secret_assign_base64(struct secret *s, const char *key, const char *text, struct err *err);

/* That it has a name and whole pairs of keys. */
MUST_CHECK int secret_check(const struct secret *s, struct err *err);

#endif
