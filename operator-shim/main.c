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

struct words {
	const char *dir, *node, *format;
	enum log_level level;
	struct doctor_options probe;
	bool check, try;
};

/* Takes option @c. -1: go on; else the exit status. */
static int take(struct words *w, int c)
{
	switch (c) {
	case 'f':
		w->dir = optarg;
		break;
	case 'n':
		w->node = optarg;
		break;
	case 'F':
		w->format = optarg;
		break;
	case 'L':
		if (log_level_parse(optarg, &w->level) != 0)
			return misuse("--log-level takes debug, info, warn or error, not ", optarg);
		break;
	case 'c':
		w->check = true;
		break;
	case 'p':
		w->try = true;
		break;
	case 'u':
		if (!parse_run_as(optarg, &w->probe))
			return misuse("--run-as takes UID:GID, not ", optarg);
		break;
	case 'o':
		w->probe.json = strcmp(optarg, "json") == 0;
		if (!w->probe.json && strcmp(optarg, "text") != 0)
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
	return -1;
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
	struct words w = {.format = "text", .level = LOG_INFO};

	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		int status = take(&w, c);
		if (status >= 0)
			return status;
	}
	if (strcmp(w.format, "text") != 0 && strcmp(w.format, "json") != 0)
		return misuse("--log-format takes text or json, not ", w.format);
	log_setup("larder-operator", w.level, strcmp(w.format, "json") == 0);
	w.probe.paths = (const char *const *)&argv[optind];
	w.probe.path_count = (size_t)(argc - optind);
	if (w.try && w.probe.path_count)
		return doctor_run(&w.probe, stdout, stderr);
	if (w.check && optind < argc)
		return check_files(w.probe.paths, w.probe.path_count, stdout, stderr);
	if (w.check || w.try || !w.dir || !w.node || optind < argc)
		return misuse(w.check || w.try ? "--check and --probe need files"
					       : "--files and --node are needed, and nothing else",
			      "");
	return serve(w.dir, w.node);
}
