/*
 * doctor_report - what the steps of one source came to: rows of step, finding, detail and remedy; and the judgement of a refusal.
 * Pure but for the printing.
 */
#ifndef OPERATOR_SHIM_DOCTOR_REPORT_H
#define OPERATOR_SHIM_DOCTOR_REPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "common/base/attr.h"
#include "common/dataset.h"
#include "common/source/contact.h"

enum doctor_finding { DOCTOR_OK, DOCTOR_WARNING, DOCTOR_FAILED };
enum doctor_step {
	DOCTOR_SETTINGS, /* the words of the dataset themselves */
	DOCTOR_DNS,
	DOCTOR_TCP,
	DOCTOR_TLS,
	DOCTOR_CLOCK,
	DOCTOR_ROOT,
	DOCTOR_PERMISSION,
	DOCTOR_CREDENTIALS,
	DOCTOR_LIST,
	DOCTOR_GET
};

struct doctor_row {
	enum doctor_step step;
	enum doctor_finding finding;
	char detail[512], remedy[256]; /* remedy: "" when ok */
};

#define DOCTOR_ROWS_MAX 10

struct doctor_report {
	char dataset[DATASET_FULL_MAX];
	size_t source;  /* its number in the dataset */
	char text[256]; /* "s3://bucket/prefix/" */
	struct doctor_row rows[DOCTOR_ROWS_MAX];
	size_t row_count;
};

/* Adds a row; @remedy "" for none. Returns whether the next step is worth trying: it did not fail. */
bool doctor_add(struct doctor_report *r, enum doctor_step step, enum doctor_finding finding,
		const char *remedy, const char *fmt, ...) PRINTF(5, 6);

/* Whether a row says so. */
bool doctor_failed(const struct doctor_report *r);

/* Which step a failure of a listing (or else of a read) is really about, and what to do. @code: a code of source.h, @refusal:
 * of the same request, all zero where nothing was refused. */
enum doctor_step doctor_judge(const struct dataset_source *s, bool listing, int code,
			      const struct source_refusal *refusal, const char **ret_remedy);

/* What to do about a server that is not reached. */
const char *doctor_contact_remedy(const struct dataset_source *s, enum http_stage stage);

/* The finding on a clock that the server's is @skew_ns ahead of. */
enum doctor_finding doctor_judge_skew(enum source_kind kind, int64_t skew_ns);

/* For people: a line for the source, a line or two for each row. */
void doctor_print_text(const struct doctor_report *r, FILE *out);
/* One object of the array; @first: no comma before it. */
void doctor_print_json(const struct doctor_report *r, bool first, FILE *out);

#endif
