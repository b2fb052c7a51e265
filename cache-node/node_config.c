#include "cache-node/node_config.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/quantity.h"

#define MEMORY_DEFAULT     (64ULL << 20)
#define MEMORY_LEAST       (16ULL << 20)
#define SCRUB_DAYS_DEFAULT 7u
#define SCRUB_DAYS_MAX     365u
#define RUN_AS_DEFAULT     65532u

static const char usage[] =
	"usage: larder-node --mounter SOCKET --state DIR --listen ADDRESS [options]\n"
	"  --mounter SOCKET        of larder-mounter\n"
	"  --state DIR             heads and chunks of datasets\n"
	"  --listen ADDRESS        gRPC: unix:/path, 127.0.0.1:port or [::1]:port (repeatable)\n"
	"  --disk DIR:SIZE         a disk tier (repeatable)\n"
	"  --dram SIZE             a DRAM tier\n"
	"  --memory SIZE           buffers for bytes on their way (64Mi)\n"
	"  --scrub-days N          read and verify all on the tiers once in N days; 0: never (7)\n"
	"  --metrics ADDR:PORT     HTTP: /metrics and /healthz\n"
	"  --without=LIST          switch off: passthrough, readdirplus\n"
	"  --run-as UID[:GID]      who serves when started as root (65532)\n"
	"  --log-format text|json  (text)\n"
	"  --log-level LEVEL       debug, info, warn, error (info)\n"
	"  --version, --help\n";

static int complain(const char *option, const char *value, const char *right)
{
	(void)fprintf(stderr, "larder-node: --%s \"%s\": %s\n", option, value, right);
	return 2;
}

/* "DIR:SIZE" - the last colon counts, since a path may hold one. */
static int parse_disk(struct node_config *c, char *text)
{
	char *colon = strrchr(text, ':');

	if (!colon || text[0] != '/')
		return complain("disk", text,
				"must be an absolute folder and a size, like /var/cache/larder:100Gi");
	if (c->disk_count == NODE_DISKS_MAX)
		return complain("disk", text, "7 disk tiers are the limit");
	if (bytes_parse(colon + 1, &c->disks[c->disk_count].bytes_max))
		return complain("disk", colon + 1, "is not a size; write 500Gi or 2T");
	*colon = 0;
	c->disks[c->disk_count++].path = text;
	return 0;
}

static int parse_run_as(struct node_config *c, const char *text)
{
	char *end;
	unsigned long uid = strtoul(text, &end, 10), gid = uid;

	if (end != text && *end == ':')
		gid = strtoul(end + 1, &end, 10);
	if (end == text || *end || uid >= UINT32_MAX || gid >= UINT32_MAX || !uid)
		return complain("run-as", text, "must be a number other than 0, or UID:GID");
	c->uid = (uid_t)uid;
	c->gid = (gid_t)gid;
	return 0;
}

static int parse_without(struct node_config *c, const char *text)
{
	static const struct {
		const char *name;
		uint32_t bit;
	} names[] = {{"passthrough", WITHOUT_PASSTHROUGH}, {"readdirplus", WITHOUT_READDIRPLUS}};

	for (const char *p = text; *p;) {
		size_t len = strcspn(p, ","), i = 0;
		while (i < LENGTH(names) &&
		       (strlen(names[i].name) != len || strncmp(names[i].name, p, len) != 0))
			i++;
		if (i == LENGTH(names))
			return complain("without", text, "has passthrough and readdirplus to offer");
		c->without |= names[i].bit;
		p += len + (p[len] == ',');
	}
	return 0;
}

static int parse_size(const char *option, const char *text, uint64_t least, uint64_t *ret)
{
	if (bytes_parse(text, ret))
		return complain(option, text, "is not a size; write 512Mi or 8G");
	return *ret < least ? complain(option, text, "is too little") : 0;
}

static int parse_days(struct node_config *c, const char *text)
{
	char *end;
	unsigned long days = strtoul(text, &end, 10);

	if (end == text || *end || text[0] == '-' || days > SCRUB_DAYS_MAX)
		return complain("scrub-days", text, "must be a number of days up to 365; 0: never");
	c->scrub_days = (uint32_t)days;
	return 0;
}

static int parse_option(struct node_config *c, int option, char *value)
{
	switch (option) {
	case 'm':
		c->mounter = value;
		return 0;
	case 's':
		c->state = value;
		return 0;
	case 'l':
		if (c->address_count == NODE_ADDRESSES_MAX)
			return complain("listen", value, "8 addresses are the limit");
		c->addresses[c->address_count++] = value;
		return 0;
	case 'd':
		return parse_disk(c, value);
	case 'D':
		return parse_size("dram", value, 0, &c->dram_bytes);
	case 'M':
		return parse_size("memory", value, MEMORY_LEAST, &c->memory_bytes);
	case 'S':
		return parse_days(c, value);
	case 'x':
		c->metrics = value;
		return 0;
	case 'w':
		return parse_without(c, value);
	case 'u':
		return parse_run_as(c, value);
	case 'f':
		c->json = strcmp(value, "json") == 0;
		return c->json || strcmp(value, "text") == 0
			       ? 0
			       : complain("log-format", value, "must be text or json");
	case 'L':
		return log_level_parse(value, &c->level)
			       ? complain("log-level", value, "must be debug, info, warn or error")
			       : 0;
	default:
		return 2;
	}
}

int node_config_parse(int argc, char **argv, struct node_config *ret)
{
	static const struct option options[] = {{"mounter", required_argument, NULL, 'm'},
						{"state", required_argument, NULL, 's'},
						{"listen", required_argument, NULL, 'l'},
						{"disk", required_argument, NULL, 'd'},
						{"dram", required_argument, NULL, 'D'},
						{"memory", required_argument, NULL, 'M'},
						{"scrub-days", required_argument, NULL, 'S'},
						{"metrics", required_argument, NULL, 'x'},
						{"without", required_argument, NULL, 'w'},
						{"run-as", required_argument, NULL, 'u'},
						{"log-format", required_argument, NULL, 'f'},
						{"log-level", required_argument, NULL, 'L'},
						{"help", no_argument, NULL, 'h'},
						{"version", no_argument, NULL, 'v'},
						{0}};

	*ret = (struct node_config){.memory_bytes = MEMORY_DEFAULT,
				    .scrub_days = SCRUB_DAYS_DEFAULT,
				    .uid = RUN_AS_DEFAULT,
				    .gid = RUN_AS_DEFAULT,
				    .level = LOG_INFO};
	optind = 1;
	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (c == 'h' || c == 'v')
			return fputs(c == 'h' ? usage : "larder-node " LARDER_VERSION "\n", stdout) < 0 ? 2
													: 1;
		if (parse_option(ret, c, optarg))
			return 2;
	}
	if (optind == argc && ret->mounter && ret->state && ret->address_count)
		return 0;
	(void)fputs(usage, stderr);
	return 2;
}
