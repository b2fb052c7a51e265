/*
 * up_options - the command line of `larder up`.
 */
#ifndef CLI_UP_OPTIONS_H
#define CLI_UP_OPTIONS_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "cli/names.h"
#include "cli/options.h"
#include "common/base/attr.h"
#include "common/base/err.h"

#define UP_FILES_MAX   64
#define UP_DISKS_MAX   7
#define UP_SECRETS_MAX 64
#define UP_RUN_AS      65532u

extern const struct option_spec up_option_specs[];
extern const size_t up_option_count;

struct up_disk {
	char path[PATH_MAX];
	uint64_t bytes_max;
};

struct up_secret {
	struct dataset_ref name;
	char file[PATH_MAX];
};

/* All paths are absolute: a daemon leaves its working folder. */
struct up_options {
	char files[UP_FILES_MAX][PATH_MAX];
	size_t file_count;
	char mount[PATH_MAX];
	char name[NAME_LABEL_MAX + 1]; /* of the instance */
	char state[PATH_MAX];
	const char *scrub_days; /* as given, checked; NULL: the node's default */
	const char *memory;     /* as given, checked; NULL: the node's default */
	uint64_t dram_bytes;    /* 0: no DRAM tier */
	struct up_disk disks[UP_DISKS_MAX];
	size_t disk_count;  /* 0 without DRAM: a tier below the state folder */
	uint32_t port_base; /* 0: no TCP; gRPC listens on the next port */
	const char *metrics;
	const char *without;
	struct up_secret secrets[UP_SECRETS_MAX];
	size_t secret_count;
	uid_t uid;
	gid_t gid;
	bool json_log, daemon, help;
};

/* Reads the command line. 0 with *ret owned by the caller (mem_free()), -EINVAL with words: a usage error; -ENOMEM. */
MUST_CHECK int up_options_parse(int argc, char **argv, struct up_options **ret, struct err *err);

/* "[NAMESPACE/]NAME=FILE"; "UID[:GID]", neither 0. 0, or -EINVAL with words. */
MUST_CHECK int up_secret_parse(const char *value, struct up_secret *ret, struct err *err);
MUST_CHECK int up_run_as_parse(const char *value, uid_t *ret_uid, gid_t *ret_gid, struct err *err);

#endif
