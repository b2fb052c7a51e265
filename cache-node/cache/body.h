/*
 * body - the file and sidecar of one object, open.
 *
 * Life: made or opened PARTIAL, sealed once, unlinked once; open users keep reading an unlinked one. Counted references:
 * the last one closes.
 *
 * Threads: reads and writes of different blocks from any thread. Seal, verify and unlink exclude each other: the caller
 * serialises them.
 */
#ifndef CACHE_NODE_CACHE_BODY_H
#define CACHE_NODE_CACHE_BODY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "cache-node/cache/sidecar.h"
#include "cache-node/cache/tier.h"

struct body {
	struct tier *tier;
	struct hash256 id;
	struct validator validator;
	char key[SIDECAR_KEY_BYTES];
	uint16_t share; /* number of the share that it is counted in; changed before others use it */
	uint64_t share_name;
	uint64_t size, blocks;
	uint8_t boot[SIDECAR_BOOT_BYTES]; /* this boot */
	int fd, side_fd;
	uint8_t *map; /* the sidecar, shared */
	size_t map_len;
	atomic_uint_fast64_t have; /* blocks whose bit is set */
	pthread_mutex_t lock;      /* of the two below */
	uint64_t charged;          /* bytes taken of the tier for it; given back by body_unlink() */
	bool unlinked;
	atomic_bool sealed;
	atomic_bool unverified; /* sealed in another boot and not yet verified as a whole */
	atomic_int refs;
};

struct body_spec {
	struct hash256 id;
	uint64_t size;
	struct validator validator;
	const char *key; /* borrowed */
	uint16_t share;  /* that it is counted in; of an opened one: if its sidecar names none */
	uint64_t share_name;
	uint8_t boot[SIDECAR_BOOT_BYTES];
};

/* Makes a partial body with no blocks. 0; -ENOSPC, -EDQUOT when the tier has no room for the sidecar, or the share may not have
 * it; -errno. */
MUST_CHECK int body_create(struct tier *t, const struct body_spec *spec, struct body **ret);

/* Opens what the tier holds of an object. @charged: bytes that spec->share was charged with before, 0: measured and charged now,
 * to the share that its sidecar names; @charged_sealed: it was counted as sealed then.
 * 0, -ENOENT when there is nothing, or nothing that is valid (removed then, one log line), -errno. */
MUST_CHECK int body_open(struct tier *t, const struct body_spec *spec, uint64_t charged, bool charged_sealed,
			 struct body **ret);

/* Counts references; the last body_unref() closes the file and frees. */
struct body *body_ref(struct body *b);
struct body *body_unref(struct body *b); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct body *, body_unref)

static inline bool body_has(const struct body *b, uint64_t block)
{
	return sidecar_has(b->map, block);
}

static inline bool body_full(const struct body *b)
{
	return atomic_load(&b->have) == b->blocks;
}

/* Writes whole blocks (the object's last one may be short) from block @first on: bytes, CRC, bit. 0, -ENOSPC,
 * -EDQUOT, -errno. */
MUST_CHECK int body_write(struct body *b, uint64_t first, const uint8_t *bytes, size_t len);

/* Reads @len bytes whose blocks are there. Blocks that are read whole are verified. 0; -ERR_CORRUPT with the bad block,
 * which was dropped if the body is partial; -EIO and the like, with the block dropped too. */
MUST_CHECK int body_read(struct body *b, uint64_t offset, uint8_t *buf, size_t len, uint64_t *ret_bad);

/* Takes the mark of a block away, if it is set and the body is not sealed. */
void body_forget(struct body *b, uint64_t block);

/* Seals a full body. 0, -EAGAIN when it is not full (a reader dropped a bad block), -errno. */
MUST_CHECK int body_seal(struct body *b);

/* Verifies all blocks of a sealed body and trusts it in this boot. @buf holds SIDECAR_BLOCK_BYTES. 0, -ERR_CORRUPT. */
MUST_CHECK int body_verify(struct body *b, uint8_t *buf);

/* A new read-only descriptor of a sealed body, the caller's; -errno. */
MUST_CHECK int body_file(struct body *b);

/* It takes another share's room, which its sidecar learns when it is sealed or verified. Before others use it. */
void body_adopt(struct body *b, uint16_t share, uint64_t share_name);

/* Bytes it is charged with. */
uint64_t body_charged(struct body *b);

/* Takes its names away and gives its bytes back to the tier; returns them. Once: later calls return 0. */
uint64_t body_unlink(struct body *b);

#endif
