/*
 * conflicts - names of a tree that are not shown where their store has them: how many of each kind, and the first in path order.
 * Format: docs/formats/conflicts.md. Pure.
 */
#ifndef COMMON_MANIFEST_CONFLICTS_H
#define COMMON_MANIFEST_CONFLICTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/attr.h"

enum conflict_kind {
	CONFLICT_COVERED = 0,  /* a file of a later source has its path */
	CONFLICT_BESIDE = 1,   /* a file, shown beside a folder of its name */
	CONFLICT_ESCAPED = 2,  /* a file or link whose key is no path */
	CONFLICT_LEFT_OUT = 3, /* has no path at all */
	CONFLICT_KINDS = 4
};

#define CONFLICTS_NAMED_MAX   100        /* of each kind */
#define CONFLICTS_PATH_MAX    8192       /* bytes of a path; what is left out may be longer than a path is */
#define CONFLICTS_ENCODED_MAX (4u << 20) /* bytes */

struct conflict {
	char *path; /* of the tree; of what is left out its key below the mount path. Owned, ends with a NUL */
	size_t len;
	uint16_t source; /* whose file it is */
};

struct conflicts_of_kind {
	uint64_t count;
	bool earlier; /* all here is of an earlier version: of this one it cannot be told */
	size_t named;
	struct conflict first[CONFLICTS_NAMED_MAX]; /* in path order */
};

struct conflicts {
	struct conflicts_of_kind of[CONFLICT_KINDS];
};

/* None. NULL when out of memory. */
MUST_CHECK struct conflicts *conflicts_new(void);
struct conflicts *conflicts_free(struct conflicts *c);
DEFINE_CLEANUP(struct conflicts *, conflicts_free)

/* Counts one, and names it if it is among the first. Ignored where the kind is of an earlier version. 0 or -ENOMEM. */
MUST_CHECK int conflicts_add(struct conflicts *c, enum conflict_kind kind, const char *path, size_t len,
			     uint16_t source);

/* Forgets those of a kind that are not of an earlier version. */
void conflicts_clear(struct conflicts *c, enum conflict_kind kind);

/* Whether all of a kind are named and of this version: then those of a part of the tree can be told from the others. */
bool conflicts_all_named(const struct conflicts *c, enum conflict_kind kind);

/* Takes over a kind as it was, as of an earlier version; nothing of it was added yet. 0 or -ENOMEM. */
MUST_CHECK int conflicts_keep(struct conflicts *c, enum conflict_kind kind, const struct conflicts *before);

/* Bytes owned by the caller (mem_free()). 0 or -ENOMEM. */
MUST_CHECK int conflicts_encode(const struct conflicts *c, uint8_t **ret, size_t *ret_len);

/* From bytes nobody vouches for. 0 with *ret owned by the caller, -ERR_CORRUPT, -ENOMEM. */
MUST_CHECK int conflicts_decode(const uint8_t *bytes, size_t len, struct conflicts **ret);

#endif
