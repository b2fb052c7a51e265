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
#include "operator-shim/doctor.h"
#include "operator-shim/operator.h"

static const char usage[] =
	"usage: larder-operator --files DIR --node ADDRESS [--log-format text|json] [--log-level LEVEL]\n"
	"       larder-operator --check FILE...\n"
	"       larder-operator --probe [--run-as UID:GID] [--output text|json] FILE...\n"
	"  --files DIR      folder of *.yaml, *.yml and *.json with Datasets and Secrets; watched\n"
	"  --node ADDRESS   of the node: unix:/path or 127.0.0.1:port\n"
	"  --check          only say whether the files are right\n"
	"  --probe          try each source of the files, step by step\n"
	"  --run-as UID:GID whom to be meanwhile\n"
	"  --log-format     text (default) or json\n"
	"  --log-level      debug, info (default), warn or error\n";

static int misuse(const char *why, const char *what)
{
	(void)fprintf(stderr, "larder-operator: %s%s\n%s", why, what, usage);
	return 2;
}

/* Neither may be root's: that would prove nothing. */
static bool parse_run_as(const char *text, struct doctor_options *ret)
{
	unsigned uid, gid;
	char end;

	if (sscanf(text, "%u:%u%c", &uid, &gid, &end) != 2 || !uid || !gid)
		return false;
	ret->uid = (uid_t)uid;
	ret->gid = (gid_t)gid;
	return true;
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
		{"probe", no_argument, NULL, 'p'},
		{"run-as", required_argument, NULL, 'u'},
		{"output", required_argument, NULL, 'o'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{NULL, 0, NULL, 0},
	};
	const char *dir = NULL, *node = NULL, *format = "text";
	enum log_level level = LOG_INFO;
	struct doctor_options probe = {.uid = 0};
	bool check = false, try = false;

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
		case 'p':
			try = true;
			break;
		case 'u':
			if (!parse_run_as(optarg, &probe))
				return misuse("--run-as takes UID:GID, not ", optarg);
			break;
		case 'o':
			probe.json = strcmp(optarg, "json") == 0;
			if (!probe.json && strcmp(optarg, "text") != 0)
				return misuse("--output takes text or json, not ", optarg);
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
	probe.paths = (const char *const *)&argv[optind];
	probe.path_count = (size_t)(argc - optind);
	if (try && probe.path_count)
		return doctor_run(&probe, stdout, stderr);
	if (check && optind < argc)
		return check_files((const char *const *)&argv[optind], (size_t)(argc - optind), stdout,
				   stderr);
	if (check || try || !dir || !node || optind < argc)
		return misuse(check || try ? "--check and --probe need files"
					   : "--files and --node are needed, and nothing else",
			      "");
	return serve(dir, node);
}
