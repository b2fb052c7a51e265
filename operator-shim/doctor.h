/*
 * doctor - `larder-operator --probe FILE...`, the part of `larder doctor -f` that knows what a Dataset is: tries each source of
 * the files step by step, as the node's worker would use it, and says which step fails and what to do.
 */
#ifndef OPERATOR_SHIM_DOCTOR_H
#define OPERATOR_SHIM_DOCTOR_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

#include "common/base/attr.h"

struct doctor_options {
	const char *const *paths; /* files of Datasets and Secrets */
	size_t path_count;
	bool json;
	uid_t uid; /* whom to be before a source is tried; 0: who we are */
	gid_t gid;
};

/* Writes what it finds to @out, what is wrong with the files to @errors. 0 when every source can be listed and read; 1
 * otherwise. */
MUST_CHECK int doctor_run(const struct doctor_options *o, FILE *out, FILE *errors);

#endif
