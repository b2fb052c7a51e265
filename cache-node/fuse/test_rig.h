/*
 * test_rig - a real cache behind a session of a test: the file "big" comes from a server that never answers, all others
 * from a folder that holds "small". Included by tests only.
 */
#ifndef CACHE_NODE_FUSE_TEST_RIG_H
#define CACHE_NODE_FUSE_TEST_RIG_H

#include <limits.h>
#include <netinet/in.h>

#include "cache-node/cache/test_dir.h"
#include "cache-node/fuse/test_kernel.h"

struct rig {
	char *dir;
	int tier_fd, data_fd, listener;
	struct source_loop *loop;
	struct source *dead, *files;
	struct cache *cache;
};

static inline int rig_get(struct rig *r, const struct manifest_found *entry, struct cache_object **ret)
{
	bool is_dead = strcmp(entry->e.path, "big") == 0;
	struct cache_object_spec spec = {
		.id = cache_object_id("test", entry->e.path, entry->e.path_len, &entry->e.validator,
				      entry->e.size),
		.size = entry->e.size,
		.source = is_dead ? r->dead : r->files,
		.key = entry->e.path,
		.validator = entry->e.validator,
	};

	return cache_get(r->cache, &spec, ret);
}

/* For sessions whose ctx is the rig. */
static inline int rig_object(struct kernel *k, const struct manifest_found *entry, struct cache_object **ret)
{
	return rig_get(k->ctx, entry, ret);
}

/* A port where connections are taken by the kernel and by nobody else. */
static inline int listen_and_never_answer(char endpoint[64])
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(listen(fd, 64), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	snprintf(endpoint, 64, "http://127.0.0.1:%u", ntohs(a.sin_port));
	return fd;
}

static inline struct rig *rig_new(void)
{
	struct rig *r = calloc(1, sizeof *r);
	struct source_config c = {.kind = SOURCE_S3, .label = "dead", .s3 = {.bucket = "bucket"}};
	char endpoint[64];

	r->dir = test_dir_new();
	r->tier_fd = open(r->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mkdirat(r->tier_fd, "data", 0755), 0);
	r->data_fd = openat(r->tier_fd, "data", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r->listener = listen_and_never_answer(endpoint);
	assert_int_equal(source_loop_new("test", &r->loop), 0);
	c.s3.endpoint = endpoint;
	assert_int_equal(source_new(r->loop, &c, &r->dead, NULL), 0);
	c = (struct source_config){.kind = SOURCE_FILE, .label = "files", .file = {.root_fd = r->data_fd}};
	assert_int_equal(source_new(r->loop, &c, &r->files, NULL), 0);
	struct cache_tier_config tier = {
		.kind = CACHE_TIER_DISK, .dir_fd = r->tier_fd, .bytes_max = 1 << 30, .name = "tier"};
	struct cache_config config = {.tiers = &tier, .tier_count = 1, .memory_max = 16 << 20};
	assert_int_equal(cache_new(&config, &r->cache, NULL), 0);
	int fd = openat(r->data_fd, "small", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_int_equal(fd_write_full(fd, "hello", 5), 0);
	fd_close(fd);
	return r;
}

static inline void rig_free(struct rig *r)
{
	cache_free(r->cache);
	source_free(r->dead);
	source_free(r->files);
	source_loop_free(r->loop);
	fd_close(r->listener);
	fd_close(r->data_fd);
	fd_close(r->tier_fd);
	test_dir_free(r->dir);
	free(r);
}

/* Waits until an object was sealed. */
static inline void rig_wait_complete(struct rig *r)
{
	struct cache_stats stats;

	do {
		(void)usleep(1000);
		cache_stats_get(r->cache, &stats);
	} while (!stats.sealed);
}

/* Looks a file up and opens it: its handle. */
static inline uint64_t open_file(struct kernel *k, const char *name, uint64_t *ret_node)
{
	struct fuse_entry_out e = {0};
	struct fuse_open_in in = {0};
	struct fuse_open_out out;
	uint8_t reply[8192];
	size_t len;

	assert_int_equal(lookup(k, 1, name, &e), 0);
	assert_int_equal(ask(k, FUSE_OPEN, e.nodeid, &in, sizeof in, reply, &len), 0);
	memcpy(&out, reply, sizeof out);
	*ret_node = e.nodeid;
	return out.fh;
}

#endif
