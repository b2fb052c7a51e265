/*
 * names - datasets and paths as people write them: [NAMESPACE/]NAME[:/PATH].
 */
#ifndef CLI_NAMES_H
#define CLI_NAMES_H

#include <stdbool.h>

#include "common/base/attr.h"
#include "common/base/err.h"

#define NAME_LABEL_MAX 63 /* bytes of a DNS label (RFC 1123) */

/* Lower-case letters, digits and "-", not at the ends, 1 to 63 bytes. */
bool name_label_valid(const char *text);

struct dataset_ref {
	char namespace_[NAME_LABEL_MAX + 1]; /* "default" where none was given */
	char name[NAME_LABEL_MAX + 1];
	const char *
		path; /* after ":", without its leading slashes; "" where none was given; points into the text */
	bool has_path; /* there was a colon */
};

/* 0; -EINVAL with words. */
MUST_CHECK int dataset_ref_parse(const char *text, struct dataset_ref *ret, struct err *err);

/* "[NAMESPACE/]NAME" of a Secret or the like, in the same form; colons are refused. 0; -EINVAL with words. */
MUST_CHECK int dataset_ref_parse_name(const char *text, struct dataset_ref *ret, struct err *err);

/* Whether @path holds a glob's special characters. */
bool path_is_glob(const char *path);

#endif
