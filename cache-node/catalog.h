/*
 * catalog - what the cluster agrees on about datasets: heads, the chunks they name, and who may build the next version.
 *
 * Behind this header stands catalog_local.c, which keeps everything below one state directory of this machine. The
 * masters take its place; callers do not notice, so nothing here promises more than they can: a head moves by
 * compare-and-set under a fenced lease, and a watcher learns of every move of a head but perhaps not of each step between.
 *
 * Threads: all calls from any thread. Datasets are named "namespace/name".
 */
#ifndef CACHE_NODE_CATALOG_H
#define CACHE_NODE_CATALOG_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/manifest.h"

#define CATALOG_NAME_MAX 318 /* 63 + 1 + 253 bytes and a NUL */

struct catalog;

struct catalog_head {
	uint64_t version;     /* 1, 2, ...; 0: the dataset has none yet */
	struct hash256 root;  /* of its manifest */
	int64_t committed_ns; /* since 1970 */
	uint64_t config;      /* hash of the sources it was built from; a changed spec needs a new sync */
};

/* Opens (and makes, mode 0700) the catalog below @dir_fd, which is duplicated. 0, -errno with words; -EBUSY when another
 * process has it open. */
MUST_CHECK int catalog_local_new(int dir_fd, struct catalog **ret, struct err *err);
struct catalog *catalog_free(struct catalog *c);
DEFINE_CLEANUP(struct catalog *, catalog_free)

/* The head, or -ENOENT where there is none. */
MUST_CHECK int catalog_head_get(struct catalog *c, const char *dataset, struct catalog_head *ret);

/* The versions that are kept, the head's too, newest first, owned by the caller (mem_free()). 0, with none where there is no
 * dataset; -errno. */
MUST_CHECK int catalog_versions(struct catalog *c, const char *dataset, struct catalog_head **ret,
				size_t *ret_count);

/* One of them, or -ENOENT. */
MUST_CHECK int catalog_version_get(struct catalog *c, const char *dataset, uint64_t version,
				   struct catalog_head *ret);

/* Keeps a version no longer. 0; -EBUSY: it is the head's, or an open manifest shows it; -ENOENT, -errno. */
MUST_CHECK int catalog_version_drop(struct catalog *c, const char *dataset, uint64_t version);

#define CATALOG_NOTE_MAX (8u << 20)

/* Keeps a note about a version that is kept, until the version is dropped; the later one counts. 0, -EINVAL, -errno. */
MUST_CHECK int catalog_note_put(struct catalog *c, const char *dataset, uint64_t version, const void *bytes,
				size_t len);

/* The note, owned by the caller (mem_free()). 0, -ENOENT, -EFBIG, -errno. */
MUST_CHECK int catalog_note_get(struct catalog *c, const char *dataset, uint64_t version, uint8_t **ret,
				size_t *ret_len);

struct catalog_collected {
	uint64_t chunks, bytes; /* removed */
};
/* Removes the chunks that no version, no open manifest and no build that runs has a use for. 0, or -errno with words: then some
 * may be left for the next time, and none went that is used. */
MUST_CHECK int catalog_collect(struct catalog *c, struct catalog_collected *ret, struct err *err);

/* The right to build versions of a dataset. A newer lease fences out older ones. */
struct catalog_lease {
	uint64_t token;
};
MUST_CHECK int catalog_lease_take(struct catalog *c, const char *dataset, struct catalog_lease *ret,
				  struct err *err);
void catalog_lease_drop(struct catalog *c, const char *dataset, struct catalog_lease lease);

/* Moves the head from version @expected (0: none) to @head, whose version is expected + 1 and is kept from then on. Durable when
 * it returns 0; -ERR_CONFLICT when the head is another, -ERR_LEASE_LOST when the lease was fenced out. */
MUST_CHECK int catalog_head_move(struct catalog *c, const char *dataset, uint64_t expected,
				 const struct catalog_head *head, struct catalog_lease lease,
				 struct err *err);

/* Forgets the dataset with all its versions; catalog_collect() takes their chunks. 0, also when there is none. */
MUST_CHECK int catalog_dataset_delete(struct catalog *c, const char *dataset, struct err *err);

/* Calls @moved, on a thread of the catalog or of the mover, after each head that moved or went (head NULL). One watcher a
 * catalog; NULL ends it. */
void catalog_watch(struct catalog *c,
		   void (*moved)(void *ctx, const char *dataset, const struct catalog_head *head), void *ctx);

/* The chunk store as the manifest module wants it. Valid as long as @c. Chunks put by a build live at least until its
 * lease is dropped, and for as long as a head or an open manifest names them. */
struct manifest_sink catalog_chunk_sink(struct catalog *c);
struct manifest_chunks catalog_chunks(struct catalog *c);

#endif
