/*
 * larder-operator - reads Datasets and Secrets from a folder and keeps a node told of them.
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "common/base/log.h"
#include "common/rpc.h"
#include "operator-shim/check.h"
#include "operator-shim/operator.h"

static const char usage[] =
	"usage: larder-operator --files DIR --node ADDRESS [--log-format text|json] [--log-level LEVEL]\n"
	"       larder-operator --check FILE...\n"
	"  --files DIR      folder of *.yaml, *.yml and *.json with Datasets and Secrets; watched\n"
	"  --node ADDRESS   of the node: unix:/path or 127.0.0.1:port\n"
	"  --check          only say whether the files are right\n"
	"  --log-format     text (default) or json\n"
	"  --log-level      debug, info (default), warn or error\n";

static int misuse(const char *why, const char *what)
{
	(void)fprintf(stderr, "larder-operator: %s%s\n%s", why, what, usage);
	return 2;
}

static int serve(const char *dir, const char *node)
{
	struct err err = {0};
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigprocmask(SIG_BLOCK, &set, NULL); /* before any thread is made */
	rpc_init();
	int r = operator_run(dir, node, &err);
	rpc_done();
	if (r != 0)
		log_write(LOG_ERROR, "cannot go on", LOG_STR("error", err_words(&err, r)), NULL);
	return r != 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"files", required_argument, NULL, 'f'},
		{"node", required_argument, NULL, 'n'},
		{"log-format", required_argument, NULL, 'F'},
		{"log-level", required_argument, NULL, 'L'},
		{"check", no_argument, NULL, 'c'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{NULL, 0, NULL, 0},
	};
	const char *dir = NULL, *node = NULL, *format = "text";
	enum log_level level = LOG_INFO;
	bool check = false;

	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		switch (c) {
		case 'f':
			dir = optarg;
			break;
		case 'n':
			node = optarg;
			break;
		case 'F':
			format = optarg;
			break;
		case 'L':
			if (log_level_parse(optarg, &level) != 0)
				return misuse("--log-level takes debug, info, warn or error, not ", optarg);
			break;
		case 'c':
			check = true;
			break;
		case 'h':
			(void)fputs(usage, stdout);
			return 0;
		case 'V':
			(void)puts("larder-operator " LARDER_VERSION);
			return 0;
		default:
			(void)fputs(usage, stderr);
			return 2;
		}
	}
	if (strcmp(format, "text") != 0 && strcmp(format, "json") != 0)
		return misuse("--log-format takes text or json, not ", format);
	log_setup("larder-operator", level, strcmp(format, "json") == 0);
	if (check && optind < argc)
		return check_files((const char *const *)&argv[optind], (size_t)(argc - optind), stdout,
				   stderr);
	if (check || !dir || !node || optind < argc)
		return misuse(check ? "--check needs files"
				    : "--files and --node are needed, and nothing else",
			      "");
	return serve(dir, node);
}
