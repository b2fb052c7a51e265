/*
 * node_config - how a node was started: the command line of larder-node, parsed.
 */
#ifndef CACHE_NODE_NODE_CONFIG_H
#define CACHE_NODE_NODE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/base/attr.h"
#include "common/base/log.h"

#define NODE_DISKS_MAX     7
#define NODE_ADDRESSES_MAX 8

/* Fast features that can be switched off, by their names on the command line. */
enum node_without { WITHOUT_PASSTHROUGH = 1, WITHOUT_READDIRPLUS = 2 };

struct node_config {
	const char *mounter;                           /* socket */
	const char *state;                             /* directory of heads and chunks */
	const char *addresses[NODE_ADDRESSES_MAX + 1]; /* gRPC; NULL-ended */
	size_t address_count;
	const char *metrics; /* ADDR:PORT, or NULL */
	struct {
		char *path;
		uint64_t bytes_max;
	} disks[NODE_DISKS_MAX];
	size_t disk_count;
	uint64_t dram_bytes;   /* 0: no DRAM tier */
	uint64_t memory_bytes; /* buffers for fetches */
	uint32_t scrub_days;   /* in which everything on the tiers is verified; 0: never */
	uint32_t without;      /* enum node_without */
	uid_t uid;             /* who serves when started as root */
	gid_t gid;
	bool json;
	enum log_level level;
};

/* Fills @ret from the command line; strings stay argv's. 0; 1: help or version was printed; 2: a usage error was
 * printed. */
MUST_CHECK int node_config_parse(int argc, char **argv, struct node_config *ret);

#endif
