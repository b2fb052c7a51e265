/* larder-tables - builds two versions of a made-up tree and prints, as JSON, what that and its use cost. See usage(). */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/tables/tables.h"

static void usage(FILE *to)
{
	(void)fputs(
		"usage: larder-tables --folder DIR [options]\n"
		"  --folder DIR    an empty one, for the chunks\n"
		"  --paths FILE    one path a line, instead of regular ones\n"
		"  --count N       files (default 1000000); with --paths at most so many\n"
		"  --changes N     files that differ in the second version (default: one in 1000; 0: no such version)\n"
		"  --lookups N     (default 200000)\n"
		"  --seed N        of etags and lookups\n",
		to);
}

static int take_number(const char *text, uint64_t *ret)
{
	char *end;

	errno = 0;
	uint64_t v = strtoull(text, &end, 10);
	if (errno || end == text || *end || *text == '-')
		return -EINVAL;
	*ret = v;
	return 0;
}

static int take_option(struct tables_config *c, int option)
{
	switch (option) {
	case 'f':
		c->folder = optarg;
		return 0;
	case 'p':
		c->paths = optarg;
		return 0;
	case 'n':
		return take_number(optarg, &c->count);
	case 'c':
		return take_number(optarg, &c->changes);
	case 'l':
		return take_number(optarg, &c->lookups);
	case 's':
		return take_number(optarg, &c->seed);
	default:
		return -EINVAL;
	}
}

static int parse_options(int argc, char **argv, struct tables_config *ret)
{
	static const struct option options[] = {
		{"folder", required_argument, NULL, 'f'},  {"paths", required_argument, NULL, 'p'},
		{"count", required_argument, NULL, 'n'},   {"changes", required_argument, NULL, 'c'},
		{"lookups", required_argument, NULL, 'l'}, {"seed", required_argument, NULL, 's'},
		{"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0},
	};
	int option, rc = 0;

	*ret = (struct tables_config){.count = 1000000, .changes = UINT64_MAX, .lookups = 200000};
	while (rc == 0 && (option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'h') {
			usage(stdout);
			exit(0);
		}
		rc = take_option(ret, option);
	}
	if (ret->changes == UINT64_MAX)
		ret->changes = ret->count / 1000;
	return rc == 0 && (!ret->folder || ret->count == 0 || optind < argc) ? -EINVAL : rc;
}

int main(int argc, char **argv)
{
	struct tables_config c;
	struct tables_result r;
	struct err err = {0};

	if (parse_options(argc, argv, &c) < 0) {
		usage(stderr);
		return 2;
	}
	int rc = tables_run(&c, &r, &err);
	if (rc < 0) {
		(void)fprintf(stderr, "larder-tables: %s\n", err_words(&err, rc));
		return 1;
	}
	(void)printf(
		"{\"files\": %llu, \"entries\": %llu, \"chunks\": %llu, \"bytes\": %llu, \"changed\": %llu, "
		"\"added_bytes\": %llu, \"build_s\": %.6f, \"build_cpu_s\": %.6f, \"list_s\": %.6f, "
		"\"decode_s\": %.6f, \"diff_s\": %.6f, "
		"\"lookup_p50_us\": %.3f, \"lookup_p99_us\": %.3f, \"memory\": %llu}\n",
		(unsigned long long)r.files, (unsigned long long)r.entries, (unsigned long long)r.chunks,
		(unsigned long long)r.bytes, (unsigned long long)r.changed, (unsigned long long)r.added_bytes,
		(double)r.build_ns / 1e9, (double)r.build_cpu_ns / 1e9, (double)r.list_ns / 1e9,
		(double)r.decode_ns / 1e9, (double)r.diff_ns / 1e9, (double)r.lookup_p50_ns / 1e3,
		(double)r.lookup_p99_ns / 1e3, (unsigned long long)r.memory);
	return 0;
}
