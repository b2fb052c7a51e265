/* larder-ranges - fetches an object with parallel ranged requests into a file and prints the time as JSON. See usage(). */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/ranges/ranges.h"
#include "common/base/clock.h"
#include "common/base/fd.h"

static void usage(FILE *to)
{
	(void)fputs("usage: larder-ranges --url http://HOST/BUCKET/KEY --size BYTES --out FILE [options]\n"
		    "  --connections N   (default 8)\n"
		    "  --threads N       that share them (default: the processors)\n"
		    "  --part N          bytes a request (default: one request for each connection)\n"
		    "  --region NAME     (default us-east-1)\n"
		    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY sign the requests where both are set.\n",
		    to);
}

static int take_number(const char *name, const char *text, uint64_t max, uint64_t *ret)
{
	char *end;

	errno = 0;
	uint64_t v = strtoull(text, &end, 10);
	if (errno || end == text || *end || *text == '-' || v == 0 || v > max) {
		(void)fprintf(stderr, "larder-ranges: --%s \"%s\" is not valid\n", name, text);
		return -EINVAL;
	}
	*ret = v;
	return 0;
}

static int take_option(struct ranges_config *c, const char **out, int option)
{
	uint64_t n = 0;
	int rc;

	switch (option) {
	case 'u':
		c->url = optarg;
		return 0;
	case 'o':
		*out = optarg;
		return 0;
	case 'r':
		c->region = optarg;
		return 0;
	case 's':
		return take_number("size", optarg, UINT64_MAX / 2, &c->size);
	case 'p':
		return take_number("part", optarg, UINT64_MAX / 2, &c->part);
	case 'c':
		rc = take_number("connections", optarg, RANGES_CONNECTIONS_MAX, &n);
		c->connections = (uint32_t)n;
		return rc;
	case 't':
		rc = take_number("threads", optarg, RANGES_THREADS_MAX, &n);
		c->threads = (uint32_t)n;
		return rc;
	default:
		return -EINVAL;
	}
}

static uint32_t processors(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n < 1 ? 1 : (uint32_t)MIN(n, RANGES_THREADS_MAX);
}

static int parse_options(int argc, char **argv, struct ranges_config *ret, const char **ret_out)
{
	static const struct option options[] = {
		{"url", required_argument, NULL, 'u'},
		{"size", required_argument, NULL, 's'},
		{"out", required_argument, NULL, 'o'},
		{"connections", required_argument, NULL, 'c'},
		{"part", required_argument, NULL, 'p'},
		{"threads", required_argument, NULL, 't'},
		{"region", required_argument, NULL, 'r'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int c, rc = 0;

	*ret = (struct ranges_config){.connections = 8,
				      .threads = processors(),
				      .region = "us-east-1",
				      .access_key = getenv("AWS_ACCESS_KEY_ID"),
				      .secret_key = getenv("AWS_SECRET_ACCESS_KEY")};
	*ret_out = NULL;
	while (rc == 0 && (c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'h') {
			usage(stdout);
			exit(0);
		}
		rc = take_option(ret, ret_out, c);
	}
	if (!ret->access_key || !ret->secret_key)
		ret->access_key = ret->secret_key = NULL;
	return rc == 0 && (!ret->url || !*ret_out || ret->size == 0 || optind < argc) ? -EINVAL : rc;
}

static int fetch(struct ranges_config *c, const char *out, struct ranges_result *ret, struct err *err)
{
	CLEANUP(fd_close) int fd = open(out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0 || ftruncate(fd, (off_t)c->size) < 0)
		return -errno;
	c->out_fd = fd;
	return ranges_run(c, ret, err);
}

int main(int argc, char **argv)
{
	struct ranges_config c;
	struct ranges_result result = {0};
	struct err err = {0};
	const char *out;

	if (parse_options(argc, argv, &c, &out) < 0) {
		usage(stderr);
		return 2;
	}
	int rc = fetch(&c, out, &result, &err);
	if (rc < 0) {
		(void)fprintf(stderr, "larder-ranges: %s: %s\n", c.url, err_words(&err, rc));
		return 1;
	}
	(void)printf("{\"bytes\": %llu, \"requests\": %llu, \"seconds\": %.6f, \"cpu_seconds\": %.6f}\n",
		     (unsigned long long)result.bytes, (unsigned long long)result.requests,
		     (double)(result.end_ns - result.start_ns) / 1e9, (double)clock_cpu_ns() / 1e9);
	return 0;
}
