/*
 * test_kernel - a kernel played by a test: the device is one end of a socket pair, requests are written to the other,
 * replies and notifications read from it. No root, no /dev/fuse. Included by tests only.
 */
#ifndef CACHE_NODE_FUSE_TEST_KERNEL_H
#define CACHE_NODE_FUSE_TEST_KERNEL_H

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <fcntl.h>
#include <cmocka.h>

#include "cache-node/fuse/session.h"
#include "cache-node/fuse/shm.h"
#include "common/base/fd.h"
#include "common/base/mem.h"

#define CHUNKS_MAX 64

struct memory_chunk {
	struct hash256 hash;
	uint8_t *bytes;
	size_t len;
};

static pthread_mutex_t chunk_lock =
	PTHREAD_MUTEX_INITIALIZER; /* chunks are put here and mapped by the session's threads */

struct kernel {
	struct memory_chunk chunks[CHUNKS_MAX];
	size_t chunk_count;
	int device, kernel; /* the session's end, ours */
	int memory_fd;
	struct session *session;
	uint64_t unique;
	bool ended;
	/* The object of a file that has bytes; NULL: there are none. */
	int (*object)(struct kernel *k, const struct manifest_found *entry, struct cache_object **ret);
	void *ctx; /* the test's */
	struct mounter_client *mounter;
	uint32_t threads;
	bool ignores_notices; /* that come before a reply */
};

/* ---- manifests in memory ---- */

static inline int put_chunk(void *ctx, const struct hash256 *hash, const void *bytes, size_t len,
			    struct err *err)
{
	struct kernel *k = ctx;

	assert_true(k->chunk_count < CHUNKS_MAX);
	pthread_mutex_lock(&chunk_lock);
	k->chunks[k->chunk_count++] =
		(struct memory_chunk){.hash = *hash, .bytes = mem_dup(bytes, len), .len = len};
	pthread_mutex_unlock(&chunk_lock);
	return 0;
}

static inline int map_chunk(void *ctx, const struct hash256 *hash, const uint8_t **ret, size_t *ret_len,
			    struct err *err)
{
	struct kernel *k = ctx;
	int r = -ENOENT;

	pthread_mutex_lock(&chunk_lock);
	for (size_t i = 0; i < k->chunk_count; i++)
		if (hash256_compare(&k->chunks[i].hash, hash) == 0) {
			*ret = k->chunks[i].bytes;
			*ret_len = k->chunks[i].len;
			r = 0;
		}
	pthread_mutex_unlock(&chunk_lock);
	return r;
}

static inline void unmap_chunk(void *ctx, const uint8_t *bytes, size_t len)
{
}

/* Builds a version of files whose mtimes tell them apart: "NAME=MTIME" each, or "NAME=MTIME:SIZE" for one that has bytes. */
static inline struct hash256 build_version(struct kernel *k, const char *const *files, size_t count)
{
	struct manifest_sink sink = {.put = put_chunk, .ctx = k};
	struct manifest_builder *b;
	struct manifest_stats stats;
	struct hash256 root;
	int temp = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct manifest_builder_config c = {.temp_dir_fd = temp, .memory_max = 1 << 20};

	assert_int_equal(manifest_builder_new(&c, &b), 0);
	for (size_t i = 0; i < count; i++) {
		const char *equals = strchr(files[i], '=');
		struct manifest_entry e = {.type = MANIFEST_FILE,
					   .path = files[i],
					   .path_len = (size_t)(equals - files[i]),
					   .mtime_ns = strtoll(equals + 1, NULL, 10) * 1000000000LL};
		const char *colon = strchr(equals, ':');
		e.size = colon ? strtoull(colon + 1, NULL, 10) : 0;
		assert_int_equal(manifest_builder_add(b, &e, NULL), 0);
	}
	assert_int_equal(manifest_builder_finish(b, &sink, &root, &stats, NULL), 0);
	manifest_builder_free(b);
	fd_close(temp);
	return root;
}

static inline int view_open(void *ctx, const struct hash256 *root, struct manifest **ret, struct err *err)
{
	struct manifest_chunks chunks = {.map = map_chunk, .unmap = unmap_chunk, .ctx = ctx};

	return manifest_open(root, &chunks, ret, err);
}

static inline int view_object(void *ctx, uint64_t config, const struct manifest_found *entry,
			      struct cache_object **ret, struct err *err)
{
	struct kernel *k = ctx;

	return k->object ? k->object(k, entry, ret) : err_set(err, -EIO, "these files are empty");
}

static inline void view_ended(void *ctx, struct session *s)
{
	((struct kernel *)ctx)->ended = true;
}

/* ---- the kernel's side ---- */

static inline void attach(struct kernel *k, const struct hash256 *root)
{
	struct session_config c = {
		.dev_fd = k->device,
		.memory_fd = k->memory_fd,
		.mounter = k->mounter,
		.view = {.open_version = view_open,
			 .object = view_object,
			 .ended = view_ended,
			 .ctx = k,
			 .uid = 7,
			 .gid = 8,
			 .mode = 0440},
		.version = {.number = 1},
		.threads = k->threads ? k->threads : 2,
	};

	if (root)
		c.version.root = *root;
	assert_int_equal(session_new(&c, &k->session, NULL), 0);
}

static inline void open_pair(struct kernel *k)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	k->device = pair[0];
	k->kernel = pair[1];
}

/* The replayed INIT of a fresh libfuse is answered first; its unique is nobody's. */
static inline void swallow_init(struct kernel *k)
{
	uint8_t buf[4096];
	struct fuse_out_header h;

	assert_true(recv(k->kernel, buf, sizeof buf, 0) > (ssize_t)sizeof h);
	memcpy(&h, buf, sizeof h);
	assert_true(h.unique & 1);
}

/* What a test gives its session beside files. */
struct kernel_config {
	int (*object)(struct kernel *k, const struct manifest_found *entry,
		      struct cache_object **ret); /* of files that have bytes; NULL: there are none */
	void *ctx;
	uint32_t features; /* enum shm_features, beside READDIRPLUS */
	uint32_t threads;  /* 0: 2 */
	struct mounter_client *mounter;
};

/* A session of the files of @first, with a kernel of its own; @config may be NULL. */
static inline struct kernel *kernel_new(const char *const *first, size_t count,
					const struct kernel_config *config)
{
	static const uint8_t session[SHM_SESSION_BYTES] = {9};
	static const struct fuse_init_in offered = {.major = 7, .minor = 38, .max_readahead = 1 << 17};
	struct shm_config c = {.session = session,
			       .dataset = "default/x",
			       .target = "/mnt",
			       .offered = &offered,
			       .max_read = 1 << 20,
			       .features = SHM_READDIRPLUS};
	struct kernel *k = calloc(1, sizeof *k);

	if (config) {
		k->object = config->object;
		k->ctx = config->ctx;
		k->mounter = config->mounter;
		k->threads = config->threads;
		c.features |= config->features;
	}

	assert_int_equal(shm_create(&c, &k->memory_fd), 0);
	open_pair(k);
	struct hash256 root = build_version(k, first, count);
	attach(k, &root);
	swallow_init(k);
	k->unique = 2;
	return k;
}

/* The mount goes away: the device answers end of file here, ENODEV in life. */
static inline void detach(struct kernel *k)
{
	shutdown(k->kernel, SHUT_RDWR);
	k->session = session_free(k->session);
	fd_close(k->kernel);
	fd_close(k->device);
}

static inline void kernel_free(struct kernel *k)
{
	detach(k);
	assert_true(k->ended);
	for (size_t i = 0; i < k->chunk_count; i++)
		mem_free(k->chunks[i].bytes);
	fd_close(k->memory_fd);
	free(k);
}

static inline size_t make_request(struct kernel *k, uint8_t *buf, uint32_t opcode, uint64_t node,
				  const void *body, size_t len)
{
	struct fuse_in_header in = {.len = (uint32_t)(sizeof in + len),
				    .opcode = opcode,
				    .unique = k->unique += 2,
				    .nodeid = node};

	memcpy(buf, &in, sizeof in);
	if (len)
		memcpy(buf + sizeof in, body, len);
	return sizeof in + len;
}

/* One exchange. Returns the reply's error and its body. */
static inline int ask(struct kernel *k, uint32_t opcode, uint64_t node, const void *body, size_t len,
		      uint8_t *reply, size_t *reply_len)
{
	uint8_t buf[8192];
	struct fuse_out_header out;

	size_t n = make_request(k, buf, opcode, node, body, len);
	assert_int_equal(send(k->kernel, buf, n, 0), n);
	ssize_t got;
	do {
		got = recv(k->kernel, buf, sizeof buf, 0);
		assert_true(got >= (ssize_t)sizeof out);
		memcpy(&out, buf, sizeof out);
	} while (!out.unique && k->ignores_notices);
	assert_int_equal(out.unique, k->unique);
	assert_int_equal(out.len, got);
	*reply_len = (size_t)got - sizeof out;
	memcpy(reply, buf + sizeof out, *reply_len);
	return out.error;
}

static inline int lookup(struct kernel *k, uint64_t parent, const char *name, struct fuse_entry_out *ret)
{
	uint8_t reply[8192];
	size_t len;
	int r = ask(k, FUSE_LOOKUP, parent, name, strlen(name) + 1, reply, &len);

	if (!r)
		memcpy(ret, reply, sizeof *ret);
	return r;
}

static inline int getattr(struct kernel *k, uint64_t node, struct fuse_attr_out *ret)
{
	struct fuse_getattr_in in = {0};
	uint8_t reply[8192];
	size_t len;
	int r = ask(k, FUSE_GETATTR, node, &in, sizeof in, reply, &len);

	if (!r)
		memcpy(ret, reply, sizeof *ret);
	return r;
}

static inline uint64_t open_dir(struct kernel *k, uint64_t node)
{
	struct fuse_open_in in = {0};
	struct fuse_open_out out;
	uint8_t reply[8192];
	size_t len;

	assert_int_equal(ask(k, FUSE_OPENDIR, node, &in, sizeof in, reply, &len), 0);
	memcpy(&out, reply, sizeof out);
	return out.fh;
}

/* Names of a directory, joined by blanks, from @offset on; *next is where to go on. */
static inline void read_dir(struct kernel *k, uint64_t node, uint64_t fh, uint64_t offset, uint32_t size,
			    char *names, uint64_t *next)
{
	struct fuse_read_in in = {.fh = fh, .offset = offset, .size = size};
	uint8_t reply[8192];
	size_t len;

	assert_int_equal(ask(k, FUSE_READDIR, node, &in, sizeof in, reply, &len), 0);
	names[0] = 0;
	for (size_t at = 0; at < len;) {
		struct fuse_dirent d;
		memcpy(&d, reply + at, FUSE_NAME_OFFSET);
		snprintf(names + strlen(names), 200 - strlen(names), "%s%.*s", names[0] ? " " : "",
			 (int)d.namelen, (char *)reply + at + FUSE_NAME_OFFSET);
		*next = d.off;
		at += FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + d.namelen);
	}
}

/* How many names of a directory come with a node, of all up to 8 KiB from its start; *ret_names: all of them. */
static inline size_t names_with_nodes(struct kernel *k, uint64_t node, size_t *ret_names)
{
	struct fuse_read_in in = {.fh = open_dir(k, node), .size = 8000};
	struct fuse_direntplus d;
	uint8_t reply[8192];
	size_t len, count = 0;

	*ret_names = 0;
	assert_int_equal(ask(k, FUSE_READDIRPLUS, node, &in, sizeof in, reply, &len), 0);
	for (size_t at = 0; at < len;) {
		memcpy(&d, reply + at, FUSE_NAME_OFFSET_DIRENTPLUS);
		count += d.entry_out.nodeid != 0;
		++*ret_names;
		at += FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + d.dirent.namelen);
	}
	return count;
}

/* The next notification, as text: "entry PARENT NAME" or "inode NODE". */
static inline void notification(struct kernel *k, char *text)
{
	uint8_t buf[8192];
	struct fuse_out_header out;

	assert_true(recv(k->kernel, buf, sizeof buf, 0) >= (ssize_t)sizeof out);
	memcpy(&out, buf, sizeof out);
	assert_int_equal(out.unique, 0);
	if (out.error == FUSE_NOTIFY_INVAL_ENTRY) {
		struct fuse_notify_inval_entry_out e;
		memcpy(&e, buf + sizeof out, sizeof e);
		snprintf(text, 300, "entry %llu %s", (unsigned long long)e.parent,
			 (char *)buf + sizeof out + sizeof e);
	} else {
		struct fuse_notify_inval_inode_out i;
		assert_int_equal(out.error, FUSE_NOTIFY_INVAL_INODE);
		memcpy(&i, buf + sizeof out, sizeof i);
		snprintf(text, 300, "inode %llu", (unsigned long long)i.ino);
	}
}

#endif
