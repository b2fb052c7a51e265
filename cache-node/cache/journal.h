/*
 * journal - the log of what a tier holds, so that a process that starts knows at once what the one before it knew. The layout
 * is docs/formats/cache-index.md.
 *
 * It is a claim, not the truth, which is the files: who starts takes it over and then looks whether they are there. Whatever
 * cannot be written or read ends in looking at all files, never in an error.
 *
 * A log grows with every change. Its owner begins the next one now and then (journal_begin), notes what there is, and then takes
 * it instead (journal_commit); changes go to both meanwhile.
 *
 * Threads: any, but begin, commit and read are one thread's. What happens to one object must be noted in order.
 */
#ifndef CACHE_NODE_CACHE_JOURNAL_H
#define CACHE_NODE_CACHE_JOURNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cache-node/cache/sidecar.h"
#include "common/base/attr.h"
#include "common/base/hash.h"

#define JOURNAL_RECORD_BYTES 64 /* the header has as many */
#define JOURNAL_BYTES_MAX    (UINT64_C(1) << 30)

/* What became of an object. OPEN: its files change, and say themselves what is in them. */
enum journal_kind { JOURNAL_GONE = 0, JOURNAL_OPEN = 1, JOURNAL_PARTIAL = 2, JOURNAL_SEALED = 3 };

struct journal_record {
	struct hash256 id;
	uint64_t bytes;  /* charged; above 0 for PARTIAL and SEALED, else 0 */
	int64_t used_ns; /* last use, since 1970; not negative */
	uint64_t share;  /* as in sidecars (share_name()) */
	enum journal_kind kind;
};

/* ---- the codec; pure ---- */

/* Write JOURNAL_RECORD_BYTES. */
void journal_encode_header(const uint8_t boot[SIDECAR_BOOT_BYTES], uint64_t salt,
			   uint8_t out[JOURNAL_RECORD_BYTES]);
void journal_encode(const struct journal_record *r, uint64_t salt, uint8_t out[JOURNAL_RECORD_BYTES]);

/* A header of @boot: 0 with its salt, which the checksums of the records begin with. -ESTALE: of another boot. -ERR_CORRUPT. */
MUST_CHECK int journal_decode_header(const uint8_t in[JOURNAL_RECORD_BYTES],
				     const uint8_t boot[SIDECAR_BOOT_BYTES], uint64_t *ret_salt);
/* 0, -ERR_CORRUPT. */
MUST_CHECK int journal_decode(const uint8_t in[JOURNAL_RECORD_BYTES], uint64_t salt,
			      struct journal_record *ret);

/* ---- the file ---- */

struct journal {
	int dir_fd; /* the tier's; owned */
	uint8_t boot[SIDECAR_BOOT_BYTES];
	pthread_mutex_t lock; /* of the following; a leaf */
	int fd;               /* "index", which counts; -1: there is none that can be believed */
	int next_fd;          /* "index.next"; -1: none is being made */
	uint64_t salt, next_salt;
	uint64_t bytes, next_bytes; /* their lengths */
	uint64_t found;             /* bytes that were there at the start */
	uint64_t seed;
};

/* Takes over the log of a former process of this boot, if there is one. @dir_fd is borrowed until return. 0, -errno. */
MUST_CHECK int journal_open(struct journal *j, int dir_fd, const uint8_t boot[SIDECAR_BOOT_BYTES]);
/* Also after a failed or no journal_open() of an all-zero one. The files stay. */
void journal_done(struct journal *j);

/* Calls @visit with each record that was there at the start, in order, when all of them are good. 0; -ENOENT: nothing was there;
 * -ERR_CORRUPT, -errno: then it is not believed any more, by the next process neither; what @visit said, if not 0. */
MUST_CHECK int journal_read(struct journal *j, int (*visit)(void *ctx, const struct journal_record *r),
			    void *ctx);

/* Something became of an object. */
void journal_note(struct journal *j, const struct journal_record *r);

/* Records that the log holds, changes that were made up for among them. */
uint64_t journal_records(struct journal *j);
/* Whether there is a log that counts. */
bool journal_counts(struct journal *j);

/* Begins the next log: from now on changes are noted there, too. 0, -errno. */
MUST_CHECK int journal_begin(struct journal *j);
/* The same as journal_note() of @count records that are no changes, to the next log alone. False: that could not be written, and
 * is not made any more. */
bool journal_fill(struct journal *j, const struct journal_record *r, size_t count);
/* The next log is not wanted any more. */
void journal_abandon(struct journal *j);
/* The next log holds everything: it is the log. Where it could not be written, there is none. */
void journal_commit(struct journal *j);

#endif
