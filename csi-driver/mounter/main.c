/*
 * larder-mounter - the only privileged program (design 5). See csi-driver/mounter.h for what it does for whom.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "common/base/log.h"
#include "csi-driver/mounter/state.h"

static const char usage[] =
	"usage: larder-mounter --client SOCKET:UID[:GID] --mount-root DIR [options]\n"
	"  --client SOCKET:UID[:GID]  serve that uid on a socket in a directory that only it can enter (repeatable)\n"
	"  --mount-root DIR           mounts are made at or below DIR only (repeatable)\n"
	"  --tier DIR                 DIR may be opened as a disk tier (repeatable)\n"
	"  --dram DIR                 DIR is where the tmpfs of the DRAM tier is mounted\n"
	"  --file-root DIR            roots of file sources lie at or below DIR (repeatable)\n"
	"  --log-format text|json     form of the log on standard error (text)\n"
	"  --log-level LEVEL          debug, info, warn, error (info)\n"
	"  --version, --help\n";

static int parse_client(struct mounter *m, char *text)
{
	char *colon = strchr(text, ':'), *end;

	if (!colon || m->client_count == MOUNTER_CLIENTS_MAX)
		return -EINVAL;
	*colon = 0;
	unsigned long uid = strtoul(colon + 1, &end, 10), gid = uid;
	if (end == colon + 1)
		return -EINVAL;
	if (*end == ':')
		gid = strtoul(end + 1, &end, 10);
	if (*end || uid > UINT32_MAX || gid > UINT32_MAX)
		return -EINVAL;
	m->clients[m->client_count++] = (struct client){
		.socket = text, .uid = (uid_t)uid, .gid = (gid_t)gid, .listener = -1, .state_fd = -1};
	return 0;
}

static int add_path(const char **list, size_t *count, const char *path)
{
	if (*count == MOUNTER_ROOTS_MAX || !path_is_clean(path, MOUNTER_PATH_MAX))
		return -EINVAL;
	list[(*count)++] = path;
	return 0;
}

static int add_tier(struct mounter *m, const char *path, bool dram)
{
	if (m->tier_count == MOUNTER_TIERS_MAX || !path_is_clean(path, MOUNTER_PATH_MAX))
		return -EINVAL;
	m->tiers[m->tier_count++] = (struct tier){.path = path, .dram = dram};
	return 0;
}

/* 0 go on, 1 done (help), -EINVAL. */
static int parse(struct mounter *m, int argc, char **argv, bool *json, enum log_level *level)
{
	static const struct option options[] = {
		{"client", required_argument, NULL, 'c'},    {"mount-root", required_argument, NULL, 'm'},
		{"tier", required_argument, NULL, 't'},      {"dram", required_argument, NULL, 'd'},
		{"file-root", required_argument, NULL, 'f'}, {"log-format", required_argument, NULL, 'l'},
		{"log-level", required_argument, NULL, 'L'}, {"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'v'},         {0}};
	int r = 0;

	for (int c; !r && (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (c == 'c')
			r = parse_client(m, optarg);
		else if (c == 'm')
			r = add_path(m->mount_roots, &m->mount_root_count, optarg);
		else if (c == 'f')
			r = add_path(m->file_roots, &m->file_root_count, optarg);
		else if (c == 't' || c == 'd')
			r = add_tier(m, optarg, c == 'd');
		else if (c == 'l')
			*json = strcmp(optarg, "json") == 0;
		else if (c == 'L')
			r = log_level_parse(optarg, level);
		else if (c == 'h')
			r = fputs(usage, stdout) < 0 ? -EIO : 1;
		else if (c == 'v')
			r = puts("larder-mounter " LARDER_VERSION) < 0 ? -EIO : 1;
		else
			return -EINVAL;
		if (r == -EINVAL)
			(void)fprintf(
				stderr,
				"larder-mounter: \"%s\" is not a good value here; paths are absolute and clean\n",
				optarg);
	}
	return r;
}

int main(int argc, char **argv)
{
	struct mounter m = {.client_count = 0};
	struct rlimit files;
	bool json = false;
	enum log_level level = LOG_INFO;

	int r = parse(&m, argc, argv, &json, &level);
	if (r > 0)
		return 0;
	if (r < 0 || optind != argc || !m.client_count || !m.mount_root_count) {
		(void)fputs(usage, stderr);
		return 2;
	}
	log_setup("larder-mounter", level, json);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files); /* fewer sessions fit without it, no harm else */
	}
	m.sessions = calloc(MOUNTER_SESSIONS_MAX, sizeof *m.sessions);
	if (!m.sessions) {
		(void)fputs("larder-mounter: out of memory\n", stderr);
		return 1;
	}
	r = server_run(&m);
	free(m.sessions);
	return r ? 1 : 0;
}
