/*
 * tier - one directory that holds object files: names, room, health.
 *
 * Threads: all calls from any thread.
 */
#ifndef CACHE_NODE_CACHE_TIER_H
#define CACHE_NODE_CACHE_TIER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "cache-node/cache.h"
#include "cache-node/cache/journal.h"
#include "cache-node/cache/share.h"

struct tier {
	enum cache_tier_kind kind;
	char name[256];
	int objects_fd;        /* the folder "objects" */
	struct shares *shares; /* borrowed; whose the bytes are. NULL: nobody counts */
	uint64_t bytes_max;
	atomic_uint_fast64_t used;    /* bytes charged: files and sidecars */
	atomic_uint_fast64_t objects; /* of which so many objects */
	atomic_uint_fast64_t sealed, evicted, evicted_bytes;
	struct journal *journal;      /* what comes and goes; owned; NULL: nobody notes it */
	atomic_uint_fast64_t claimed; /* objects that it told of at the start */
	atomic_uint_fast64_t slack;   /* records that its log may have beyond two for each object */
	atomic_int_fast64_t retry_ns; /* when a log may be made again; CLOCK_MONOTONIC */
	uint8_t mark;                 /* cache.lock: of the entries that the last log was made from */
	atomic_bool noting_all;       /* the next log is being made: who stops to be live is noted */
	atomic_bool failed;           /* the device answered EIO or EROFS: nothing is written any more */
};

enum tier_file { TIER_PART, TIER_DATA, TIER_SIDE };
#define TIER_PATH_BYTES 80

/* Makes "objects" below the tier's directory. 0, -errno with words. tier_done() ends it, also after a failure. */
MUST_CHECK int tier_init(struct tier *t, const struct cache_tier_config *config, struct err *err);
void tier_done(struct tier *t);

/* From now on what comes and goes is noted in a log in @dir_fd (borrowed until return), which a former process of this boot may
 * have left. Where it cannot be, all files are looked at at the next start. 0, -ENOMEM, -errno. */
MUST_CHECK int tier_remember(struct tier *t, int dir_fd, const uint8_t boot[SIDECAR_BOOT_BYTES]);
void tier_note(struct tier *t, const struct journal_record *r);

/* Whether so much is used that eviction should begin. */
bool tier_is_high(const struct tier *t);

/* "ab/cdef....part", below objects_fd. */
void tier_path(const struct hash256 *id, enum tier_file file, char out[TIER_PATH_BYTES]);

/* The object that "<folder>/<name>" belongs to. 0, -EINVAL for a name we never write. */
MUST_CHECK int tier_parse(const char *folder, const char *name, struct hash256 *ret_id,
			  enum tier_file *ret_file);

/* Takes @bytes of the tier's room for a share. 0; -ENOSPC: it has not so much, or has failed; -EDQUOT: the share may not. */
MUST_CHECK int tier_take(struct tier *t, uint16_t share, uint64_t bytes);
/* Takes them beyond all limits: they are there already. */
void tier_add(struct tier *t, uint16_t share, uint64_t bytes);
void tier_give(struct tier *t, uint16_t share, uint64_t bytes);

/* An object came (@sealed or not), or left. */
void tier_came(struct tier *t, uint16_t share, bool sealed);
void tier_left(struct tier *t, uint16_t share, bool sealed);

/* The object of a body of @bytes takes another share's room. */
void tier_move(struct tier *t, uint16_t from, uint16_t to, uint64_t bytes);

/* Opens a file of an object, close-on-exec and never through a link; with O_CREAT makes its folder too. fd or -errno. */
MUST_CHECK int tier_open(struct tier *t, const struct hash256 *id, enum tier_file file, int flags);

/* The header of an object's sidecar; false: there is none that is good. The table behind it is checked when the object is
 * opened. */
MUST_CHECK bool tier_header(struct tier *t, const struct hash256 *id, struct sidecar_header *ret);

/* Removes all files of an object, and notes that. */
void tier_unlink(struct tier *t, const struct hash256 *id);

/* Looks at the -errno of an operation on the tier: -EIO and -EROFS fail the tier, said once in the log. Returns @code. */
int tier_judge(struct tier *t, int code);

/* @bytes as a file system will count them. */
static inline uint64_t tier_round(uint64_t bytes)
{
	return (bytes + 4095) & ~UINT64_C(4095);
}

#endif
