/*
 * store - the objects of the origin: made-up ones, and files below a root whose first folder is the bucket.
 *
 * A made-up object hides a file of the same name. Threads: all calls from any thread once the objects were added.
 */
#ifndef BENCH_ORIGIN_STORE_H
#define BENCH_ORIGIN_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/attr.h"

#define STORE_KEY_MAX   4096 /* bytes of "bucket/key" */
#define STORE_ETAG_SIZE 40

struct store;

/* @root NULL: no files. @by_folders: listings go folder by folder, as a walk does, not in the order of bytes: "a/b" before "a-b".
 * 0, -errno. */
MUST_CHECK int store_new(const char *root, bool by_folders, struct store **ret);
struct store *store_free(struct store *s);
DEFINE_CLEANUP(struct store *, store_free)

/* Adds made-up objects by "BUCKET/KEY:SIZE" or "BUCKET/KEY:SIZExCOUNT" (keys then end in -0000000, -0000001 ...); SIZE may
 * end in K, M, G, T. Before the first request. 0, -EINVAL, -ENOMEM. */
MUST_CHECK int store_add(struct store *s, const char *spec);

/* Makes @count made-up objects, chosen by @seed, a byte longer, with other etags. Not while requests for them run. */
void store_change(struct store *s, uint64_t count, uint64_t seed);

struct store_object {
	uint64_t size;
	int64_t mtime_ns;
	char etag[STORE_ETAG_SIZE]; /* without quotes */
	int fd;                     /* of a file, owned by whoever asked for it; -1: made up */
	uint64_t key;               /* made up: synthetic_key() */
};

/* Finds "bucket/key"; *ret is set on 0 only, its fd the caller's. 0, -ENOENT, -errno. */
MUST_CHECK int store_open(struct store *s, const char *path, struct store_object *ret);

/* Pattern of the made-up content, SYNTHETIC_BYTES long. */
const uint8_t *store_pattern(const struct store *s);

/* Whether there is such a bucket, real or made up. */
bool store_has_bucket(struct store *s, const char *bucket);

/* One page: keys of @bucket that start with @prefix and come after @after (NULL: from the first), at most @max, in order.
 * @entry is called for each; *ret_more tells of further ones. @fresh looks at the folders again, else the last look of
 * that bucket counts. 0, -ENOENT (no bucket), -ENOMEM. */
struct store_list {
	const char *bucket, *prefix, *after;
	size_t max;
	bool fresh;
	void (*entry)(void *ctx, const char *key, const struct store_object *o);
	void *ctx;
};
MUST_CHECK int store_list_run(struct store *s, const struct store_list *list, bool *ret_more);

/* Replaces a file as a whole. @body: what it will hold, a descriptor of a temporary file from store_temp(). */
MUST_CHECK int store_temp(struct store *s, char *ret_name, size_t size);
MUST_CHECK int store_put(struct store *s, const char *temp_name, const char *path);
void store_drop_temp(struct store *s, const char *temp_name);
MUST_CHECK int store_delete(struct store *s, const char *path);

#endif
