/* larder-lister - lists a bucket with parallel bare requests and prints the time as JSON. See usage(). */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/lister/lister.h"
#include "common/base/clock.h"

static void usage(FILE *to)
{
	(void)fputs("usage: larder-lister --url http://HOST/BUCKET [--cut KEY]...\n"
		    "  --cut KEY   one range ends with it, the next begins after it; ascending\n",
		    to);
}

/* 0, or 1: usage was asked for, 2: no such option. */
static int parse_options(int argc, char **argv, const char *cuts[LISTER_RANGES_MAX],
			 struct lister_config *ret)
{
	static const struct option options[] = {
		{"url", required_argument, NULL, 'u'},
		{"cut", required_argument, NULL, 'c'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int c;

	*ret = (struct lister_config){.cuts = cuts};
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'h')
			return 1;
		if (c == 'u')
			ret->url = optarg;
		else if (c == 'c' && ret->cut_count + 1 < LISTER_RANGES_MAX &&
			 strlen(optarg) <= LISTER_KEY_MAX)
			cuts[ret->cut_count++] = optarg;
		else
			return 2;
	}
	return ret->url && optind == argc ? 0 : 2;
}

int main(int argc, char **argv)
{
	const char *cuts[LISTER_RANGES_MAX];
	struct lister_config config;
	struct lister_result result;
	struct err err = {0};
	int bad = parse_options(argc, argv, cuts, &config);

	if (bad) {
		usage(bad == 1 ? stdout : stderr);
		return bad == 1 ? 0 : 2;
	}
	int rc = lister_run(&config, &result, &err);
	if (rc < 0) {
		(void)fprintf(stderr, "larder-lister: %s: %s\n", config.url, err_words(&err, rc));
		return 1;
	}
	(void)printf("{\"keys\": %llu, \"requests\": %llu, \"seconds\": %.6f, \"cpu_seconds\": %.6f}\n",
		     (unsigned long long)result.keys, (unsigned long long)result.requests,
		     (double)(result.end_ns - result.start_ns) / 1e9, (double)clock_cpu_ns() / 1e9);
	return 0;
}
