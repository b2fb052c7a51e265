/*
 * doctor_steps - tries one source, step by step, as a worker would: its server, clocks, credentials, a listing, a read.
 */
#ifndef OPERATOR_SHIM_DOCTOR_STEPS_H
#define OPERATOR_SHIM_DOCTOR_STEPS_H

#include "common/source.h"
#include "operator-shim/doctor_report.h"

struct doctor_target {
	const struct dataset_source *source;
	const struct secret *secret, *ca; /* NULL: none is named, or it is in no file */
	int root_fd;                      /* of a file source; -errno: it could not be opened */
};

/* Adds what it finds to @r, whose dataset, source and text are set. Takes up to some 40 s where nothing answers. */
void doctor_try(struct source_loop *loop, const struct doctor_target *target, struct doctor_report *r);

#endif
