/*
 * commands - the sub-commands of `larder`: each reads its own words, prints what it found, and answers the exit status.
 */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/options.h"
#include "common/base/attr.h"

/* The exit statuses. */
enum { EXIT_GOOD = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_PARTLY = 3 };

struct command {
	const char *name;
	const char *operands;                                          /* for the usage line */
	const char *summary;                                           /* one line */
	int (*run)(const struct command *self, int argc, char **argv); /* argv[0] is the command's name */
	const struct option_spec *options;                             /* NULL: the common ones */
	size_t option_count;
};

/* One for each sub-command. The value is the exit status. */
int up_command(const struct command *self, int argc, char **argv);
int down_command(const struct command *self, int argc, char **argv);
int status_command(const struct command *self, int argc, char **argv);
int ls_command(const struct command *self, int argc, char **argv);
int stat_command(const struct command *self, int argc, char **argv);
int cat_command(const struct command *self, int argc, char **argv);
int scrub_command(const struct command *self, int argc, char **argv);
int versions_command(const struct command *self, int argc, char **argv);
int diff_command(const struct command *self, int argc, char **argv);
int job_command(const struct command *self, int argc, char **argv);
int version_command(const struct command *self, int argc, char **argv);
int doctor_command(const struct command *self, int argc, char **argv);

/* Prints usage, summary and options. */
void command_help(const struct command *c);

/* Prints "larder: words" on standard error and returns @status. */
int command_fail(int status, const struct err *err, int code);

enum { COMMON_OPERANDS_MAX = 3 };

/* What most commands take. */
struct common_options {
	const char *instance; /* NULL: choose */
	uint64_t bandwidth;   /* bytes a second; 0: no limit */
	bool json, long_form, recursive, force, objects, conflicts, help;
	const char *operand;                       /* NULL: none */
	const char *more[COMMON_OPERANDS_MAX - 1]; /* those after it */
	int operand_count;
};

extern const struct option_spec
	common_option_specs[]; /* instance, output, help; then long, recursive; then force */
enum { COMMON_BASIC = 3, COMMON_LIST = 5 };
extern const struct option_spec down_option_specs[], status_option_specs[], scrub_option_specs[];
enum { DOWN_OPTIONS = 3, STATUS_OPTIONS = 5, SCRUB_OPTIONS = 4 };
extern const struct option_spec doctor_option_specs[];
enum { DOCTOR_OPTIONS = 5 };

/* Reads the words of @self into @ret. Returns -1: go on; otherwise the exit status (help was shown, or the words were wrong).
 * @least, @most: how many operands are needed and allowed, 0 to COMMON_OPERANDS_MAX. */
int common_options_read(const struct command *self, int argc, char **argv, int least, int most,
			struct common_options *ret);

#endif
