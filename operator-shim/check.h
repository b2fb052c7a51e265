/*
 * check - `larder-operator --check FILE...`: whether files are right, for people and for `larder up`.
 */
#ifndef OPERATOR_SHIM_CHECK_H
#define OPERATOR_SHIM_CHECK_H

#include <stdio.h>

#include "common/base/attr.h"
#include "common/dataset.h"

/* Reads each file and writes to @out "ok NAMESPACE/NAME" for each dataset, "note ..." for what nothing acts on yet and for
 * Secrets that no file has; errors to @errors. 0 when all are right, 1 otherwise. */
MUST_CHECK int check_files(const char *const *paths, size_t count, FILE *out, FILE *errors);

/* Reads and parses one file. Owned by the caller; NULL: what is wrong was written to @errors. */
MUST_CHECK struct dataset_file *check_read(const char *path, FILE *errors);

#endif
