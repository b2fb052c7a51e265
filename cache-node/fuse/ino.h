/*
 * ino - the inode number of a path: a keyed hash of it, the key made from the dataset's name, so that a number is the same
 * in every version, mount and node. Pure.
 */
#ifndef CACHE_NODE_FUSE_INO_H
#define CACHE_NODE_FUSE_INO_H

#include <linux/fuse.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "common/base/hash.h"

#define INO_KEY_BYTES 16

/* The key of the dataset "namespace/name". */
static inline void ino_key_of(const char *dataset, uint8_t ret[INO_KEY_BYTES])
{
	struct hash256 hash = hash256_of(dataset, strlen(dataset));

	memcpy(ret, hash.bytes, INO_KEY_BYTES);
}

/* Never 0, and 1 for the root ("") alone. 63 bits: some programs keep the number signed. */
static inline uint64_t ino_of_path(const uint8_t key[INO_KEY_BYTES], const char *path, size_t len)
{
	if (len == 0)
		return FUSE_ROOT_ID;
	uint64_t ino = siphash24(key, path, len) >> 1;
	return ino < 2 ? ino + 2 : ino;
}

#endif
