/*
 * shm - the memory of a FUSE session that must outlive the worker process, and never the machine (design 5.4, 5.5).
 *
 * One memfd a session, mapped by the worker, held by the supervisor and the mounter too: a header with what INIT
 * negotiated, the request slots, the parked reads, and the node table. A worker reads each request straight into a slot,
 * marked before read(2) and freed after the reply; whoever comes after a killed worker answers what its slots hold. A READ
 * that has to wait for its source moves from its slot to a parking place, which is a sixtieth of the size: there are many,
 * so that reads which hang leave the slots to those who ask for names.
 *
 * Layout version 2; docs/formats/session-memory.md. All integers are the machine's own: the memory never leaves it.
 * The memory was written by a process of the same uid, so a broken one is our bug or a hostile node's: it is checked when
 * mapped, and an index out of it is checked at every use.
 */
#ifndef CACHE_NODE_FUSE_SHM_H
#define CACHE_NODE_FUSE_SHM_H

#include <linux/fuse.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/base/hash.h"

#define SHM_MAGIC         0x314d4853524452ULL /* "RDRSHM1" */
#define SHM_VERSION       2u
#define SHM_SESSION_BYTES 16
#define SHM_VERSIONS_MAX  32 /* manifest versions in use at once: by nodes or directory handles */
#define SHM_DATASET_MAX   320
#define SHM_TARGET_MAX    4096
#define SHM_SLOT_BYTES    8192u /* of a request: FUSE_MIN_READ_BUFFER, since read-only mounts get no WRITE */
#define SHM_SLOTS         32u   /* each request thread holds one */
#define SHM_PARKED        8192u /* READs that wait at once; one more waits in its slot */
#define SHM_PARKED_BYTES  120u  /* of such a request: fuse_in_header and fuse_read_in are 80 */
#define SHM_NODES_MAX     (1u << 22)

/* What the node has switched on for this session. */
enum shm_features { SHM_PASSTHROUGH = 1, SHM_RESEND = 2, SHM_READDIRPLUS = 4 };

/* A request on its way. */
enum shm_slot_state {
	SHM_SLOT_FREE = 0,
	SHM_SLOT_READING = 1, /* given to read(2); holds a request once in_header.len is not 0 */
};
/* Effects of the request on the node table that were made already, so that a successor does not make them again. */
enum shm_slot_effect { SHM_EFFECT_NONE = 0, SHM_EFFECT_COUNTED = 1 };

struct shm_slot {
	_Atomic uint32_t state;
	_Atomic uint32_t effect;
	uint8_t pad[56];
	_Alignas(64) uint8_t request[SHM_SLOT_BYTES]; /* begins with struct fuse_in_header */
};

/* A READ on its way whose bytes are not there yet. */
struct shm_parked {
	_Atomic uint32_t state; /* enum shm_slot_state; stored last */
	uint32_t pad;
	uint8_t request[SHM_PARKED_BYTES];
};

/* One file or directory the kernel knows. Index in the table and generation make the node id, so ids never alias. */
enum shm_node_flags {
	SHM_NODE_DETACHED =
		1, /* its path leads elsewhere now (changed, removed, promoted): no lookup finds it */
	SHM_NODE_PAGES = 2, /* was open in cached mode: the kernel may hold pages of it */
};
struct shm_node {
	_Atomic uint64_t id;      /* 0: free; the kernel's node id otherwise, written last */
	uint64_t ino;             /* st_ino */
	uint64_t parent;          /* node id it was looked up under */
	uint64_t ordinal;         /* in the manifest of `version` */
	_Atomic uint64_t lookups; /* references the kernel holds */
	_Atomic uint32_t opens_cached, opens_passthrough;
	_Atomic int32_t backing_id; /* 0: none */
	uint16_t version;           /* index into versions */
	_Atomic uint16_t flags;
	uint32_t generation; /* of the next id in this place */
	uint32_t pad;
};

struct shm_version {
	uint64_t number;     /* of the dataset; 0: this place is free */
	struct hash256 root; /* of its manifest */
	uint64_t config;     /* of the sources it was listed from */
	_Atomic uint32_t dir_handles;
	uint32_t pad;
};

struct shm_header {
	uint64_t magic;
	uint32_t version, header_bytes;
	uint32_t slot_count, slot_bytes;
	uint32_t parked_count, parked_bytes;
	uint32_t node_max, node_bytes;
	uint64_t slots_at, parked_at, nodes_at, total_bytes;
	uint8_t session[SHM_SESSION_BYTES];
	uint8_t ino_key[16];         /* of the hash that makes inode numbers: from the dataset's name */
	struct fuse_init_in offered; /* the kernel's INIT */
	uint32_t max_read;
	uint32_t features; /* enum shm_features */
	/* 1 + index of the version since which the kernel may not have been told of every change; 0: it was told of all */
	_Atomic uint32_t untold;
	char dataset[SHM_DATASET_MAX]; /* "namespace/name" */
	char target[SHM_TARGET_MAX];
	_Atomic uint64_t next_handle;
	_Atomic uint32_t parked_high; /* parking places at and above were never used */
	_Atomic uint32_t nodes_high;  /* places at and above were never used */
	_Atomic uint32_t current;     /* index of the version lookups start in; SHM_VERSIONS_MAX: none yet */
	struct shm_version versions[SHM_VERSIONS_MAX];
};

/* A mapped session memory. */
struct shm {
	struct shm_header *h;
	struct shm_slot *slots;
	struct shm_parked *parked;
	struct shm_node *nodes;
	size_t bytes;
};

struct shm_config {
	const uint8_t *session; /* SHM_SESSION_BYTES */
	const char *dataset, *target;
	const struct fuse_init_in *offered;
	uint32_t max_read, features;
};

/* Makes the memory of a new session: a sealed memfd, owned by the caller. -errno; -ENAMETOOLONG. */
MUST_CHECK int shm_create(const struct shm_config *config, int *ret_fd);

/* Maps and checks a memory; *ret is filled, shm_unmap() ends it. -ERR_CORRUPT with words; -EPROTO for a layout version of
 * another program version; -errno. */
MUST_CHECK int shm_map(int fd, struct shm *ret, struct err *err);
void shm_unmap(struct shm *s);

/* The request a slot holds, or NULL. */
const struct fuse_in_header *shm_slot_request(const struct shm_slot *slot);

/* The READ a parking place holds, or NULL. */
const struct fuse_in_header *shm_parked_request(const struct shm_parked *p);

/* Copies the READ of a slot to a free parking place; the slot still holds it. False when it is not one that fits. */
MUST_CHECK bool shm_park(const struct shm_slot *from, struct shm_parked *to);

/* How many requests the memory holds, and how many of them are READs. One that is in a slot and parked counts twice. */
void shm_count_requests(const struct shm *s, uint32_t *ret_all, uint32_t *ret_reads);

#endif
