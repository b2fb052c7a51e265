/*
 * larder - the command line of Larder: starts an instance on this machine and asks it things.
 */
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/nearest.h"
#include "cli/up_options.h"

#define COMMANDS_MAX 16

/* The table that dispatch, help and "did you mean" are made from. Returns how many there are. */
static size_t commands(struct command ret[COMMANDS_MAX])
{
	const struct command all[] = {
		{"up", "-f FILE --mount DIR", "mount Datasets on this machine, until Ctrl-C or larder down",
		 up_command, up_option_specs, up_option_count},
		{"down", "[INSTANCE]", "unmount and end an instance", down_command, down_option_specs,
		 DOWN_OPTIONS},
		{"status", "[DATASET]", "datasets, tiers, mounts and the node", status_command,
		 status_option_specs, STATUS_OPTIONS},
		{"ls", "DATASET[:/PATH|GLOB]", "what is in a dataset", ls_command, common_option_specs,
		 COMMON_LIST},
		{"stat", "DATASET:/PATH", "all that is known of one file or folder", stat_command,
		 common_option_specs, COMMON_BASIC},
		{"cat", "DATASET:/PATH", "the content of a file", cat_command, common_option_specs,
		 COMMON_BASIC},
		{"versions", "DATASET", "the versions of a dataset that are kept", versions_command,
		 common_option_specs, COMMON_BASIC},
		{"diff", "DATASET FROM TO", "what changed between two versions", diff_command,
		 common_option_specs, COMMON_BASIC},
		{"load", "DATASET[:/PATH|GLOB]", "fetch files into the cache", job_command,
		 common_option_specs, COMMON_BASIC},
		{"evict", "DATASET[:/PATH|GLOB]", "drop files from the cache", job_command,
		 common_option_specs, COMMON_BASIC},
		{"sync", "DATASET[:/PATH|GLOB]", "list the sources anew, all or a part of the tree",
		 job_command, common_option_specs, COMMON_BASIC},
		{"scrub", "", "read all that the cache holds and verify it", scrub_command,
		 scrub_option_specs, SCRUB_OPTIONS},
		{"doctor", "[-f FILE]",
		 "what this machine offers; with -f: which step of a source fails, and the remedy",
		 doctor_command, doctor_option_specs, DOCTOR_OPTIONS},
		{"version", "", "the version of this program", version_command, common_option_specs,
		 COMMON_BASIC},
	};

	memcpy(ret, all, sizeof all);
	return LENGTH(all);
}

static int help(void)
{
	struct command all[COMMANDS_MAX];
	size_t count = commands(all);

	(void)puts("usage: larder COMMAND [words]\n");
	for (size_t i = 0; i < count; i++)
		(void)printf("  %-8s %-22s %s\n", all[i].name, all[i].operands, all[i].summary);
	(void)puts(
		"\nlarder COMMAND --help tells more. A dataset is [NAMESPACE/]NAME, a path in it NAME:/PATH.");
	return EXIT_GOOD;
}

static int refuse(const char *word)
{
	struct command all[COMMANDS_MAX];
	const char *names[COMMANDS_MAX];
	size_t count = commands(all);

	for (size_t i = 0; i < count; i++)
		names[i] = all[i].name;
	const char *meant = nearest_word(word, names, count);
	if (meant)
		(void)fprintf(stderr, "larder: unknown command \"%.80s\"; did you mean \"%s\"?\n", word,
			      meant);
	else
		(void)fprintf(stderr, "larder: unknown command \"%.80s\"; larder --help lists them\n", word);
	return EXIT_USAGE;
}

int main(int argc, char **argv)
{
	struct command all[COMMANDS_MAX];
	size_t count = commands(all);

	if (argc < 2) {
		(void)fputs("larder: a command is missing; larder --help lists them\n", stderr);
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0)
		return help();
	const char *name = strcmp(argv[1], "--version") == 0 ? "version" : argv[1];
	for (size_t i = 0; i < count; i++)
		if (strcmp(all[i].name, name) == 0)
			return all[i].run(&all[i], argc - 1, argv + 1);
	return refuse(name);
}
