/*
 * options - reads the words of a command line by a table, so that help and refusals come from the same place.
 *
 * --name VALUE, --name=VALUE, -f VALUE, flags, -lR for -l -R; options and operands may be mixed; "--" ends the options.
 */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdio.h>

#include "common/base/attr.h"
#include "common/base/err.h"

struct option_spec {
	int id;            /* what options_next() answers; above 0, unique in its table */
	char letter;       /* of the short form; 0: none */
	const char *name;  /* without dashes */
	const char *value; /* how help names the value; NULL: takes none */
	const char *help;  /* a few words */
};

enum { OPTIONS_END = 0, OPTIONS_OPERAND = 1 << 20 };

struct options {
	const struct option_spec *specs; /* borrowed */
	size_t spec_count;
	int argc, at;
	char **argv; /* borrowed; argv[0] is not looked at */
	int operands_only;
	const char *cluster; /* letters left of a word like -lR; NULL: none */
	const char *value;   /* of the option or operand just read; argv's memory */
};

/* A reader of @argv by the table @specs; both are borrowed for its life. */
struct options options_over(const struct option_spec *specs, size_t count, int argc, char **argv);

/* The next option's id, OPTIONS_OPERAND, or OPTIONS_END; -EINVAL with words. */
MUST_CHECK int options_next(struct options *o, struct err *err);

/* The table as help shows it. */
void options_help(const struct option_spec *specs, size_t count, FILE *out);

#endif
