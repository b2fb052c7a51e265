/*
 * doctor_sources - `larder doctor -f`: hands the files to `larder-operator --probe`, which knows what a Dataset is.
 */
#ifndef CLI_DOCTOR_SOURCES_H
#define CLI_DOCTOR_SOURCES_H

#include <sys/types.h>

#include "cli/up_options.h"
#include "common/base/attr.h"

struct doctor_words {
	char files[UP_FILES_MAX][PATH_MAX]; /* absolute */
	size_t file_count;
	struct up_secret secrets[UP_SECRETS_MAX];
	size_t secret_count;
	uid_t uid;
	gid_t gid;
	bool json, help;
};

/* Reads the words of the command line. 0 with *ret owned by the caller (mem_free()), -EINVAL with words, -ENOMEM. */
MUST_CHECK int doctor_words_parse(int argc, char **argv, struct doctor_words **ret, struct err *err);

/* Becomes that program; comes back only on failure, with a negative code and words. */
MUST_CHECK int doctor_sources(const struct doctor_words *w, struct err *err);

#endif
