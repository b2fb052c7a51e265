#include "cli/up_options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/checks.h"
#include "cli/instance.h"
#include "cli/nearest.h"
#include "common/base/mem.h"
#include "common/base/quantity.h"

#define MEMORY_LEAST   (16ULL << 20)
#define SCRUB_DAYS_MAX 365

enum {
	UP_FILE = 1,
	UP_MOUNT,
	UP_NAME,
	UP_STATE,
	UP_MEMORY,
	UP_DRAM,
	UP_DISK,
	UP_PORT_BASE,
	UP_SCRUB_DAYS,
	UP_METRICS,
	UP_SECRET,
	UP_WITHOUT,
	UP_RUN_AS_ID,
	UP_LOG_FORMAT,
	UP_DAEMON,
	UP_HELP,
};

const struct option_spec up_option_specs[] = {
	{UP_FILE, 'f', "file", "FILE", "Datasets and Secrets as YAML or JSON (repeatable)"},
	{UP_MOUNT, 0, "mount", "DIR", "an empty folder; several Datasets are mounted at DIR/NAME"},
	{UP_NAME, 0, "name", "INSTANCE", "of this instance (default)"},
	{UP_STATE, 0, "state", "DIR", "what survives a restart (/var/lib/larder/INSTANCE)"},
	{UP_MEMORY, 0, "memory", "SIZE", "buffers for bytes on their way (64Mi)"},
	{UP_DRAM, 0, "dram", "SIZE", "a DRAM tier"},
	{UP_DISK, 0, "disk", "PATH:SIZE", "a disk tier (repeatable; default below --state)"},
	{UP_PORT_BASE, 0, "port-base", "N", "gRPC also on 127.0.0.1, port N+1"},
	{UP_SCRUB_DAYS, 0, "scrub-days", "N", "verify all on the tiers once in N days; 0: never (7)"},
	{UP_METRICS, 0, "metrics", "ADDR:PORT", "HTTP: /metrics and /healthz"},
	{UP_SECRET, 0, "secret", "NAME=FILE",
	 "a Secret from a file of KEY=VALUE or KEY=@FILE lines (repeatable)"},
	{UP_WITHOUT, 0, "without", "LIST", "switch off: passthrough, readdirplus"},
	{UP_RUN_AS_ID, 0, "run-as", "UID[:GID]", "who serves (65532)"},
	{UP_LOG_FORMAT, 0, "log-format", "text|json", "of messages (text)"},
	{UP_DAEMON, 0, "daemon", NULL, "go to the background once all is mounted"},
	{UP_HELP, 'h', "help", NULL, "this text"},
};
const size_t up_option_count = LENGTH(up_option_specs);

static int set_file(struct up_options *o, const char *value, struct err *err)
{
	if (o->file_count == UP_FILES_MAX)
		return err_set(err, -EINVAL, "%d files are the limit of --file", UP_FILES_MAX);
	int r = path_absolute(value, o->files[o->file_count], err);
	o->file_count += r == 0;
	return r;
}

/* The last colon counts, since a path may hold one. */
static int set_disk(struct up_options *o, const char *value, struct err *err)
{
	const char *colon = strrchr(value, ':');
	char path[PATH_MAX];

	if (o->disk_count == UP_DISKS_MAX)
		return err_set(err, -EINVAL, "%d disk tiers are the limit", UP_DISKS_MAX);
	struct up_disk *d = &o->disks[o->disk_count];
	if (!colon || colon == value || bytes_parse(colon + 1, &d->bytes_max) || !d->bytes_max ||
	    (size_t)(colon - value) >= sizeof path)
		return err_set(err, -EINVAL,
			       "--disk \"%.150s\" must be a folder and a size, like /var/cache/larder:100Gi",
			       value);
	(void)snprintf(path, sizeof path, "%.*s", (int)(colon - value), value);
	int r = path_resolve_parent(path, d->path, err);
	o->disk_count += r == 0;
	return r;
}

int up_secret_parse(const char *value, struct up_secret *ret, struct err *err)
{
	char name[2 * NAME_LABEL_MAX + 2];
	const char *equals = strchr(value, '=');

	if (!equals || equals == value || !equals[1] || (size_t)(equals - value) >= sizeof name)
		return err_set(err, -EINVAL, "--secret \"%.80s\" must be [NAMESPACE/]NAME=FILE", value);
	(void)snprintf(name, sizeof name, "%.*s", (int)(equals - value), value);
	int r = dataset_ref_parse_name(name, &ret->name, err);
	return r ? r : path_absolute(equals + 1, ret->file, err);
}

static int set_secret(struct up_options *o, const char *value, struct err *err)
{
	if (o->secret_count == UP_SECRETS_MAX)
		return err_set(err, -EINVAL, "%d secrets are the limit", UP_SECRETS_MAX);
	int r = up_secret_parse(value, &o->secrets[o->secret_count], err);
	o->secret_count += r == 0;
	return r;
}

int up_run_as_parse(const char *value, uid_t *ret_uid, gid_t *ret_gid, struct err *err)
{
	char *end;
	unsigned long uid = strtoul(value, &end, 10), gid = uid;

	if (end != value && *end == ':')
		gid = strtoul(end + 1, &end, 10);
	if (value[0] < '0' || value[0] > '9' || *end || !uid || uid >= UINT32_MAX || gid >= UINT32_MAX)
		return err_set(err, -EINVAL, "--run-as \"%.80s\" must be a number other than 0, or UID:GID",
			       value);
	*ret_uid = (uid_t)uid;
	*ret_gid = (gid_t)gid;
	return 0;
}

static int set_without(struct up_options *o, const char *value, struct err *err)
{
	static const char *const words[] = {"passthrough", "readdirplus"};
	char word[32];

	for (const char *p = value; *p;) {
		size_t len = strcspn(p, ",");
		bool known = false;
		(void)snprintf(word, sizeof word, "%.*s", (int)MIN(len, sizeof word - 1), p);
		for (size_t i = 0; i < LENGTH(words); i++)
			known |= strcmp(words[i], word) == 0;
		if (!known) {
			const char *meant = nearest_word(word, words, LENGTH(words));
			return err_set(err, -EINVAL, "--without \"%s\": %s%s%s", word,
				       meant ? "did you mean \""
					     : "has passthrough "
					       "and readdirplus to offer",
				       meant ? meant : "", meant ? "\"?" : "");
		}
		p += len + (p[len] == ',');
	}
	o->without = value;
	return 0;
}

static int set_size(const char *option, const char *value, uint64_t least, uint64_t *ret, struct err *err)
{
	if (bytes_parse(value, ret))
		return err_set(err, -EINVAL, "--%s \"%.80s\" is not a size; write 512Mi or 8G", option,
			       value);
	return *ret >= least
		       ? 0
		       : err_set(err, -EINVAL, "--%s %s is too little; 16Mi is the least", option, value);
}

static int set_port_base(struct up_options *o, const char *value, struct err *err)
{
	char *end;
	unsigned long port = strtoul(value, &end, 10);

	if (value[0] < '0' || value[0] > '9' || *end || port < 1 || port > 65500)
		return err_set(err, -EINVAL, "--port-base \"%.80s\" must be a port from 1 to 65500", value);
	o->port_base = (uint32_t)port;
	return 0;
}

static int set_name(struct up_options *o, const char *value, struct err *err)
{
	if (!name_label_valid(value))
		return err_set(err, -EINVAL,
			       "--name \"%.80s\" must be lower-case letters, digits and \"-\", at most 63",
			       value);
	(void)snprintf(o->name, sizeof o->name, "%s", value);
	return 0;
}

static int set_log_format(struct up_options *o, const char *value, struct err *err)
{
	o->json_log = strcmp(value, "json") == 0;
	return o->json_log || strcmp(value, "text") == 0
		       ? 0
		       : err_set(err, -EINVAL, "--log-format \"%.80s\" must be text or json", value);
}

static int check_days(const char *value, struct err *err)
{
	size_t digits = strspn(value, "0123456789");

	if (!digits || value[digits] || digits > 3 || strtoul(value, NULL, 10) > SCRUB_DAYS_MAX)
		return err_set(err, -EINVAL, "--scrub-days \"%.80s\" must be 0 to 365", value);
	return 0;
}

static int take(struct up_options *o, int id, const char *value, struct err *err)
{
	uint64_t bytes;

	switch (id) {
	case UP_FILE:
		return set_file(o, value, err);
	case UP_MOUNT:
		return path_resolve_parent(value, o->mount, err);
	case UP_NAME:
		return set_name(o, value, err);
	case UP_STATE:
		return path_resolve_parent(value, o->state, err);
	case UP_MEMORY:
		o->memory = value;
		return set_size("memory", value, MEMORY_LEAST, &bytes, err);
	case UP_SCRUB_DAYS:
		o->scrub_days = value;
		return check_days(value, err);
	case UP_DRAM:
		return set_size("dram", value, MEMORY_LEAST, &o->dram_bytes, err);
	case UP_DISK:
		return set_disk(o, value, err);
	case UP_PORT_BASE:
		return set_port_base(o, value, err);
	case UP_METRICS:
		o->metrics = value;
		return 0;
	case UP_SECRET:
		return set_secret(o, value, err);
	case UP_WITHOUT:
		return set_without(o, value, err);
	case UP_RUN_AS_ID:
		return up_run_as_parse(value, &o->uid, &o->gid, err);
	case UP_LOG_FORMAT:
		return set_log_format(o, value, err);
	case UP_DAEMON:
		o->daemon = true;
		return 0;
	case UP_HELP:
		o->help = true;
		return 0;
	default:
		return err_set(err, -EINVAL, "\"%.80s\" is not expected here; files are given with -f",
			       value);
	}
}

static int complete(struct up_options *o, struct err *err)
{
	if (o->help)
		return 0;
	if (!o->file_count)
		return err_set(err, -EINVAL, "up needs a Dataset: -f dataset.yaml");
	if (!o->mount[0])
		return err_set(err, -EINVAL, "up needs a folder to mount on: --mount DIR");
	if (!o->state[0])
		(void)snprintf(o->state, sizeof o->state, "/var/lib/larder/%s", o->name);
	return 0;
}

int up_options_parse(int argc, char **argv, struct up_options **ret, struct err *err)
{
	CLEANUP(mem_free) void *memory = mem_calloc(1, sizeof **ret);
	struct up_options *o = memory;
	struct options words = options_over(up_option_specs, up_option_count, argc, argv);

	if (!o)
		return err_set(err, -ENOMEM, "out of memory");
	(void)snprintf(o->name, sizeof o->name, "%s", INSTANCE_DEFAULT);
	o->uid = UP_RUN_AS;
	o->gid = UP_RUN_AS;
	int r = 0;
	for (int id; !r && (id = options_next(&words, err)) != OPTIONS_END;)
		r = id < 0 ? id : take(o, id, words.value, err);
	if (!r)
		r = complete(o, err);
	if (!r)
		*ret = TAKE(memory);
	return r;
}
