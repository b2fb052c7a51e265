/*
 * test_node - the parts of a node for a test, all real: folders of their own, the local catalog, a cache on a tier, and
 * larder-mounter as a process, which opens the roots of `file` sources (that needs no privilege). Included by tests only.
 */
#ifndef CACHE_NODE_TEST_NODE_H
#define CACHE_NODE_TEST_NODE_H

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "cache-node/cache/test_dir.h"
#include "cache-node/datasets.h"
#include "common/base/clock.h"
#include "common/base/fd.h"
#include "common/base/mem.h"

#define TEST_WAIT_NS \
	(60 * NS_PER_S) /* for what must come: a busy machine under a sanitizer is slow, not wrong */

struct test_node {
	char *dir; /* holds data/, other/, state/, tier/ and the mounter's socket */
	pid_t mounter;
	int mounter_log; /* its standard error */
	int state_fd, memory_fd;
	struct node_memory *memory;
	struct mounter_client *client;
	struct catalog *catalog;
	struct source_loop *read_loop, *sync_loop;
	struct cache *cache;
	struct datasets *datasets;
	void (*moved)(void *ctx, struct node_dataset *d); /* may be NULL */
	void *moved_ctx;
	void (*sealed)(void *ctx, const struct hash256 *id); /* may be NULL */
	_Atomic int moves;                                   /* heads that moved, counted */
};

/* The program beside which the test was built. */
static inline void test_mounter_path(char path[PATH_MAX])
{
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 64);

	assert_true(n > 0);
	path[n] = 0;
	char *build_end = strstr(path, "/cache-node/");
	assert_non_null(build_end);
	snprintf(build_end, 64, "/libexec/larder/larder-mounter");
}

/* Starts a mounter on the node's socket and waits until it listens. */
static inline void test_mounter_start(struct test_node *t)
{
	char path[PATH_MAX], client[PATH_MAX], root[PATH_MAX], files[PATH_MAX], text[4096] = "";
	size_t len = 0;
	int log[2];

	test_mounter_path(path);
	snprintf(client, sizeof client, "--client=%s/mounter.sock:%u:%u", t->dir, geteuid(), getegid());
	snprintf(root, sizeof root, "--mount-root=%s", t->dir);
	snprintf(files, sizeof files, "--file-root=%s", t->dir);
	assert_int_equal(pipe2(log, O_CLOEXEC), 0);
	t->mounter = fork();
	if (t->mounter == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)dup2(log[1], STDERR_FILENO);
		(void)execl(path, path, client, root, files, (char *)NULL);
		_exit(127);
	}
	fd_close(log[1]);
	t->mounter_log = log[0];
	while (!strstr(text, "mounter ready")) {
		ssize_t n = read(log[0], text + len, sizeof text - 1 - len);
		assert_true(n > 0);
		len += (size_t)n;
		text[len] = 0;
	}
}

static inline void test_mounter_stop(struct test_node *t)
{
	assert_int_equal(kill(t->mounter, SIGTERM), 0);
	assert_int_equal(waitpid(t->mounter, NULL, 0), t->mounter);
	t->mounter_log = fd_close(t->mounter_log);
}

/* Writes a file of the node's folder: "data/x". */
static inline void test_file(const struct test_node *t, const char *name, const void *bytes, size_t len)
{
	char path[PATH_MAX];

	snprintf(path, sizeof path, "%s/%s", t->dir, name);
	CLEANUP(fd_close) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(fd_write_full(fd, bytes, len), 0);
}

static inline void test_moved(void *ctx, struct node_dataset *d)
{
	struct test_node *t = ctx;

	if (t->moved)
		t->moved(t->moved_ctx, d);
	atomic_fetch_add(&t->moves, 1);
}

static inline void test_sealed(void *ctx, const struct hash256 *id)
{
	struct test_node *t = ctx;

	if (t->sealed)
		t->sealed(t->moved_ctx, id);
}

/* A worker's datasets: made anew from the node memory, as after a kill. */
static inline void test_datasets_start(struct test_node *t)
{
	struct datasets_config c = {.catalog = t->catalog,
				    .cache = t->cache,
				    .mounter = t->client,
				    .memory = t->memory,
				    .read_loop = t->read_loop,
				    .sync_loop = t->sync_loop,
				    .temp_dir_fd = t->state_fd,
				    .moved = test_moved,
				    .ctx = t};

	assert_int_equal(datasets_new(&c, &t->datasets, NULL), 0);
}

static inline void test_make_folder(const struct test_node *t, const char *name)
{
	char path[PATH_MAX];

	snprintf(path, sizeof path, "%s/%s", t->dir, name);
	assert_int_equal(mkdir(path, 0755), 0);
}

static inline int test_open_folder(const struct test_node *t, const char *name)
{
	char path[PATH_MAX];

	snprintf(path, sizeof path, "%s/%s", t->dir, name);
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

/* All but the datasets. */
static inline struct test_node *test_node_new(void)
{
	struct test_node *t = calloc(1, sizeof *t);
	char path[PATH_MAX];

	t->dir = test_dir_new();
	test_make_folder(t, "data");
	test_make_folder(t, "other");
	test_make_folder(t, "state");
	test_make_folder(t, "tier");
	test_mounter_start(t); /* first: a fork with threads copies their locks */
	t->state_fd = test_open_folder(t, "state");
	assert_int_equal(node_memory_create(&t->memory_fd), 0);
	assert_int_equal(node_memory_map(t->memory_fd, &t->memory, NULL), 0);
	snprintf(path, sizeof path, "%s/mounter.sock", t->dir);
	assert_int_equal(mounter_client_new(path, &t->client), 0);
	assert_int_equal(catalog_local_new(t->state_fd, &t->catalog, NULL), 0);
	assert_int_equal(source_loop_new("read", &t->read_loop), 0);
	assert_int_equal(source_loop_new("sync", &t->sync_loop), 0);
	CLEANUP(fd_close) int tier_fd = test_open_folder(t, "tier");
	struct cache_tier_config tier = {
		.kind = CACHE_TIER_DISK, .dir_fd = tier_fd, .bytes_max = 1 << 30, .name = "tier"};
	struct cache_config c = {
		.tiers = &tier, .tier_count = 1, .memory_max = 16 << 20, .sealed = test_sealed, .ctx = t};
	assert_int_equal(cache_new(&c, &t->cache, NULL), 0);
	return t;
}

static inline void test_node_free(struct test_node *t)
{
	t->datasets = datasets_free(t->datasets);
	cache_free(t->cache);
	source_loop_free(t->read_loop);
	source_loop_free(t->sync_loop);
	catalog_free(t->catalog);
	mounter_client_free(t->client);
	node_memory_unmap(t->memory);
	fd_close(t->memory_fd);
	fd_close(t->state_fd);
	test_mounter_stop(t);
	test_dir_free(t->dir);
	free(t);
}

/* Parses the one document of @yaml and sends its messages to the node; a Dataset gets @generation. What the put said. */
PRINTF(4, 5)
static inline int test_put(struct test_node *t, uint64_t generation, struct err *err, const char *yaml, ...)
{
	char text[4096];
	struct dataset_file *f;
	va_list args;

	va_start(args, yaml);
	vsnprintf(text, sizeof text, yaml, args);
	va_end(args);
	struct err own = {0};
	err = err ? err : &own;
	int r = dataset_file_parse("test.yaml", text, strlen(text), &f, err);
	if (r)
		print_error("%s\n", err->text);
	assert_int_equal(r, 0);
	for (size_t i = 0; i < f->secret_count && !r; i++) {
		Larder__V1__Credential *m;
		assert_int_equal(secret_to_message(f->secrets[i], &m), 0);
		r = datasets_put_credential(t->datasets, m, err);
		secret_message_free(m);
	}
	for (size_t i = 0; i < f->dataset_count && !r; i++) {
		Larder__V1__Dataset *m;
		f->datasets[i]->generation = generation;
		assert_int_equal(dataset_to_message(f->datasets[i], &m), 0);
		r = datasets_put(t->datasets, m, err);
		larder__v1__dataset__free_unpacked(m, NULL);
	}
	dataset_file_free(f);
	return r;
}

#define TEST_DATASET                                                                                \
	"apiVersion: larder.dev/v1alpha1\nkind: Dataset\nmetadata: {name: %s}\nspec:\n  sources:\n" \
	"    - {mountPath: /, file: {path: \"%s/%s\"}}\n"

/* A dataset over a folder of the node. */
static inline void test_put_folder(struct test_node *t, const char *name, const char *folder,
				   uint64_t generation)
{
	assert_int_equal(test_put(t, generation, NULL, TEST_DATASET, name, t->dir, folder), 0);
}

static inline bool test_never(void *ctx)
{
	return false;
}

/* Waits until the dataset has a head. */
static inline struct catalog_head test_head(struct node_dataset *d)
{
	struct catalog_head head;
	struct err err = {0};

	int r = node_dataset_wait(d, clock_mono_ns() + TEST_WAIT_NS, test_never, NULL, &head, &err);
	if (r)
		print_error("%s: %s\n", node_dataset_name(d), err.text);
	assert_int_equal(r, 0);
	return head;
}

static inline struct node_dataset *test_find(struct test_node *t, const char *full_name)
{
	struct node_dataset *d = datasets_find(t->datasets, full_name);

	assert_non_null(d);
	return d;
}

static inline bool test_go_on(void *ctx, const struct node_sync *now)
{
	return true;
}

/* Lists the sources again; the head afterwards. */
static inline struct catalog_head test_sync(struct node_dataset *d)
{
	struct catalog_head head;

	struct node_sync_request q = {.progress = test_go_on};
	struct node_sync done;
	assert_int_equal(node_dataset_sync(d, &q, &done, NULL), 0);
	assert_int_equal(node_dataset_head(d, &head, NULL), 0);
	return head;
}

#endif
