/*
 * secret_file - a Secret from KEY=VALUE lines, as `--secret NAME=FILE` gives it, turned into the document the operator reads.
 */
#ifndef CLI_SECRET_FILE_H
#define CLI_SECRET_FILE_H

#include "cli/names.h"
#include "common/base/attr.h"
#include "common/base/err.h"

/* @text: lines KEY=VALUE, or KEY=@FILE for the content of a file; empty lines and "#" comments are passed over, as is "export "
 * in front and one pair of quotes around a value. @file names it in errors. Which keys there are is the operator's to judge. 0
 * with *ret, a JSON document of the caller's (wipe and mem_free()); negative with words that hold no value. */
MUST_CHECK int secret_file_convert(const struct dataset_ref *name, const char *file, const char *text,
				   char **ret, struct err *err);

/* The same with the text of @file, of at most 4 MiB; what was read is wiped. */
MUST_CHECK int secret_file_read(const struct dataset_ref *name, const char *file, char **ret,
				struct err *err);

#endif
