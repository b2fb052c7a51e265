/*
 * A session against a kernel played by the test: the device is one end of a socket pair, requests are written to the
 * other, replies and notifications read from it. No root, no /dev/fuse.
 */
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
};

/* ---- manifests in memory ---- */

static int put_chunk(void *ctx, const struct hash256 *hash, const void *bytes, size_t len, struct err *err)
{
	struct kernel *k = ctx;

	assert_true(k->chunk_count < CHUNKS_MAX);
	pthread_mutex_lock(&chunk_lock);
	k->chunks[k->chunk_count++] =
		(struct memory_chunk){.hash = *hash, .bytes = mem_dup(bytes, len), .len = len};
	pthread_mutex_unlock(&chunk_lock);
	return 0;
}

static int map_chunk(void *ctx, const struct hash256 *hash, const uint8_t **ret, size_t *ret_len,
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

static void unmap_chunk(void *ctx, const uint8_t *bytes, size_t len)
{
}

/* Builds a version of empty files whose mtimes tell them apart. "NAME=MTIME" each. */
static struct hash256 build_version(struct kernel *k, const char *const *files, size_t count)
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
		assert_int_equal(manifest_builder_add(b, &e, NULL), 0);
	}
	assert_int_equal(manifest_builder_finish(b, &sink, &root, &stats, NULL), 0);
	manifest_builder_free(b);
	fd_close(temp);
	return root;
}

static int view_open(void *ctx, const struct hash256 *root, struct manifest **ret, struct err *err)
{
	struct manifest_chunks chunks = {.map = map_chunk, .unmap = unmap_chunk, .ctx = ctx};

	return manifest_open(root, &chunks, ret, err);
}

static int view_object(void *ctx, const struct manifest_found *entry, struct cache_object **ret,
		       struct err *err)
{
	return err_set(err, -EIO, "these files are empty");
}

static void view_ended(void *ctx, struct session *s)
{
	((struct kernel *)ctx)->ended = true;
}

/* ---- the kernel's side ---- */

static const char *const first_version[] = {"a=1", "dir/b=2", "dir/c=3", "dir/sub/d=4"};

static void attach(struct kernel *k, const struct hash256 *root)
{
	struct session_config c = {
		.dev_fd = k->device,
		.memory_fd = k->memory_fd,
		.view = {.open_version = view_open,
			 .object = view_object,
			 .ended = view_ended,
			 .ctx = k,
			 .uid = 7,
			 .gid = 8,
			 .mode = 0440},
		.version = 1,
		.threads = 2,
	};

	if (root)
		c.root = *root;
	assert_int_equal(session_new(&c, &k->session, NULL), 0);
}

static void open_pair(struct kernel *k)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	k->device = pair[0];
	k->kernel = pair[1];
}

/* The replayed INIT of a fresh libfuse is answered first; its unique is nobody's. */
static void swallow_init(struct kernel *k)
{
	uint8_t buf[4096];
	struct fuse_out_header h;

	assert_true(recv(k->kernel, buf, sizeof buf, 0) > (ssize_t)sizeof h);
	memcpy(&h, buf, sizeof h);
	assert_true(h.unique & 1);
}

static int setup(void **state)
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

	assert_int_equal(shm_create(&c, &k->memory_fd), 0);
	open_pair(k);
	struct hash256 root = build_version(k, first_version, LENGTH(first_version));
	attach(k, &root);
	swallow_init(k);
	k->unique = 2;
	*state = k;
	return 0;
}

/* The mount goes away: the device answers end of file here, ENODEV in life. */
static void detach(struct kernel *k)
{
	shutdown(k->kernel, SHUT_RDWR);
	k->session = session_free(k->session);
	fd_close(k->kernel);
	fd_close(k->device);
}

static int teardown(void **state)
{
	struct kernel *k = *state;

	detach(k);
	assert_true(k->ended);
	for (size_t i = 0; i < k->chunk_count; i++)
		mem_free(k->chunks[i].bytes);
	fd_close(k->memory_fd);
	free(k);
	return 0;
}

static size_t make_request(struct kernel *k, uint8_t *buf, uint32_t opcode, uint64_t node, const void *body,
			   size_t len)
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
static int ask(struct kernel *k, uint32_t opcode, uint64_t node, const void *body, size_t len, uint8_t *reply,
	       size_t *reply_len)
{
	uint8_t buf[8192];
	struct fuse_out_header out;

	size_t n = make_request(k, buf, opcode, node, body, len);
	assert_int_equal(send(k->kernel, buf, n, 0), n);
	ssize_t got = recv(k->kernel, buf, sizeof buf, 0);
	assert_true(got >= (ssize_t)sizeof out);
	memcpy(&out, buf, sizeof out);
	assert_int_equal(out.unique, k->unique);
	assert_int_equal(out.len, got);
	*reply_len = (size_t)got - sizeof out;
	memcpy(reply, buf + sizeof out, *reply_len);
	return out.error;
}

static int lookup(struct kernel *k, uint64_t parent, const char *name, struct fuse_entry_out *ret)
{
	uint8_t reply[8192];
	size_t len;
	int r = ask(k, FUSE_LOOKUP, parent, name, strlen(name) + 1, reply, &len);

	if (!r)
		memcpy(ret, reply, sizeof *ret);
	return r;
}

static int getattr(struct kernel *k, uint64_t node, struct fuse_attr_out *ret)
{
	struct fuse_getattr_in in = {0};
	uint8_t reply[8192];
	size_t len;
	int r = ask(k, FUSE_GETATTR, node, &in, sizeof in, reply, &len);

	if (!r)
		memcpy(ret, reply, sizeof *ret);
	return r;
}

static uint64_t open_dir(struct kernel *k, uint64_t node)
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
static void read_dir(struct kernel *k, uint64_t node, uint64_t fh, uint64_t offset, uint32_t size,
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

/* The next notification, as text: "entry PARENT NAME" or "inode NODE". */
static void notification(struct kernel *k, char *text)
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

/* ---- tests ---- */

static void names_lead_to_nodes_with_the_datasets_owner_and_mode(void **state)
{
	struct kernel *k = *state;
	struct fuse_entry_out e = {0}, again = {0};
	struct fuse_attr_out a = {0};

	assert_int_equal(lookup(k, 1, "a", &e), 0);
	assert_true(e.nodeid > 1);
	assert_int_equal(e.attr.mode, S_IFREG | 0440);
	assert_int_equal(e.attr.uid, 7);
	assert_int_equal(e.attr.gid, 8);
	assert_int_equal(e.attr.mtime, 1);
	assert_int_equal(lookup(k, 1, "a", &again), 0);
	assert_int_equal(again.nodeid, e.nodeid);
	assert_int_equal(lookup(k, 1, "none", &e), 0);
	assert_int_equal(e.nodeid, 0); /* a cached "no such name" */
	assert_true(e.entry_valid > 0);
	assert_int_equal(lookup(k, 1, "dir", &e), 0);
	assert_int_equal(e.attr.mode, S_IFDIR | 0550);
	assert_int_equal(getattr(k, e.nodeid, &a), 0);
	assert_int_equal(a.attr.ino, e.attr.ino);
}

static void an_unknown_node_is_estale(void **state)
{
	struct kernel *k = *state;
	struct fuse_attr_out a = {0};
	struct fuse_entry_out e = {0};

	assert_int_equal(getattr(k, 12345ULL << 32 | 77, &a), -ESTALE);
	assert_int_equal(lookup(k, 999, "a", &e), -ESTALE);
}

static void a_directory_is_read_in_pieces_without_gaps(void **state)
{
	struct kernel *k = *state;
	struct fuse_entry_out dir = {0};
	char names[256], all[512] = "";
	uint64_t next = 0, before;

	assert_int_equal(lookup(k, 1, "dir", &dir), 0);
	uint64_t fh = open_dir(k, dir.nodeid);
	do {
		before = next;
		read_dir(k, dir.nodeid, fh, before, 64, names, &next);
		if (names[0])
			snprintf(all + strlen(all), sizeof all - strlen(all), "%s ", names);
	} while (names[0]);
	assert_string_equal(all, ". .. b c sub ");
}

static void forgotten_nodes_are_gone_and_their_ids_not_reused(void **state)
{
	struct kernel *k = *state;
	struct fuse_entry_out e = {0}, again = {0};
	struct fuse_attr_out a = {0};
	struct fuse_forget_in in = {.nlookup = 1};
	uint8_t buf[256];

	assert_int_equal(lookup(k, 1, "a", &e), 0);
	size_t n = make_request(k, buf, FUSE_FORGET, e.nodeid, &in, sizeof in);
	assert_int_equal(send(k->kernel, buf, n, 0), n);
	while (getattr(k, e.nodeid, &a) ==
	       0) /* FORGET has no answer, and another thread may be the slower one */
		;
	assert_int_equal(getattr(k, e.nodeid, &a), -ESTALE);
	assert_int_equal(lookup(k, 1, "a", &again), 0);
	assert_true(again.nodeid != e.nodeid);
	assert_int_equal(again.attr.ino, e.attr.ino);
}

static void a_new_version_moves_what_is_the_same_and_invalidates_what_is_not(void **state)
{
	struct kernel *k = *state;
	static const char *const second[] = {"a=1", "dir/b=20", "dir/new=5", "dir/sub/d=4"};
	struct fuse_entry_out a = {0}, dir = {0}, b = {0}, c = {0}, absent = {0}, e = {0};
	struct fuse_attr_out attr = {0};
	char text[4][300];

	assert_int_equal(lookup(k, 1, "a", &a), 0);
	assert_int_equal(lookup(k, 1, "dir", &dir), 0);
	assert_int_equal(lookup(k, dir.nodeid, "b", &b), 0);
	assert_int_equal(lookup(k, dir.nodeid, "c", &c), 0);
	assert_int_equal(lookup(k, dir.nodeid, "new", &absent), 0);
	assert_int_equal(absent.nodeid, 0);
	uint64_t fh = open_dir(k, dir.nodeid);
	struct hash256 root = build_version(k, second, LENGTH(second));
	assert_int_equal(session_switch(k->session, 2, &root, NULL), 0);
	/* b changed, c went, "new" came: three names, and the listing they stand in, as often as it changed. */
	bool seen_b = false, seen_c = false, seen_new = false, seen_dir = false;
	for (int i = 0; i < 6; i++) {
		char want[64];
		notification(k, text[0]);
		snprintf(want, sizeof want, "entry %llu b", (unsigned long long)dir.nodeid);
		seen_b |= strcmp(text[0], want) == 0;
		want[strlen(want) - 1] = 'c';
		seen_c |= strcmp(text[0], want) == 0;
		snprintf(want, sizeof want, "entry %llu new", (unsigned long long)dir.nodeid);
		seen_new |= strcmp(text[0], want) == 0;
		snprintf(want, sizeof want, "inode %llu", (unsigned long long)dir.nodeid);
		seen_dir |= strcmp(text[0], want) == 0;
	}
	assert_true(seen_b && seen_c && seen_new && seen_dir);
	assert_int_equal(lookup(k, 1, "a", &e), 0);
	assert_int_equal(e.nodeid, a.nodeid); /* unchanged: the same node */
	assert_int_equal(lookup(k, dir.nodeid, "b", &e), 0);
	assert_true(e.nodeid != b.nodeid); /* changed: another node of the same inode number */
	assert_int_equal(e.attr.ino, b.attr.ino);
	assert_int_equal(e.attr.mtime, 20);
	assert_int_equal(getattr(k, b.nodeid, &attr), 0); /* who holds the old one still sees the old one */
	assert_int_equal(attr.attr.mtime, 2);
	assert_int_equal(getattr(k, c.nodeid, &attr), 0);
	assert_int_equal(lookup(k, dir.nodeid, "c", &e), 0);
	assert_int_equal(e.nodeid, 0);
	char names[256];
	uint64_t next;
	read_dir(k, dir.nodeid, fh, 0, 4096, names, &next);
	assert_string_equal(names, ". .. b c sub"); /* an open directory handle goes on in its version */
	read_dir(k, dir.nodeid, open_dir(k, dir.nodeid), 0, 4096, names, &next);
	assert_string_equal(names, ". .. b new sub");
}

static void a_successor_answers_what_a_killed_worker_left_in_its_slots(void **state)
{
	struct kernel *k = *state;
	struct fuse_entry_out a = {0}, e = {0};
	struct fuse_out_header out;
	struct shm shm;
	uint8_t buf[4096];

	assert_int_equal(lookup(k, 1, "a", &a), 0);
	detach(k);
	k->ended = false;
	/* What a worker killed between read(2) and its answer leaves behind. */
	assert_int_equal(shm_map(k->memory_fd, &shm, NULL), 0);
	make_request(k, shm.slots[5].request, FUSE_LOOKUP, 1, "a", 2);
	atomic_store(&shm.slots[5].state, SHM_SLOT_READING);
	shm_unmap(&shm);
	open_pair(k);
	attach(k, NULL); /* the version is in the memory */
	swallow_init(k);
	assert_true(recv(k->kernel, buf, sizeof buf, 0) > 0);
	memcpy(&out, buf, sizeof out);
	assert_int_equal(out.unique, k->unique);
	assert_int_equal(out.error, 0);
	memcpy(&e, buf + sizeof out, sizeof e);
	assert_int_equal(e.nodeid, a.nodeid);
	struct session_stats stats;
	session_stats_get(k->session, &stats);
	assert_int_equal(stats.recovered, 1);
	assert_int_equal(stats.recovered_reads, 0);
	assert_int_equal(stats.version, 1);
}

static void names_that_a_killed_worker_did_not_invalidate_are_told_by_its_successor(void **state)
{
	struct kernel *k = *state;
	static const char *const second[] = {"a=1", "dir/b=20", "dir/c=3", "dir/new=5", "dir/sub/d=4"};
	struct fuse_entry_out dir = {0}, e = {0};
	char text[300], want[3][64];
	bool seen[3] = {false};
	struct shm shm;

	assert_int_equal(lookup(k, 1, "dir", &dir), 0);
	assert_int_equal(lookup(k, dir.nodeid, "b", &e), 0);
	assert_int_equal(lookup(k, dir.nodeid, "new", &e), 0);
	assert_int_equal(e.nodeid, 0);
	struct hash256 root = build_version(k, second, LENGTH(second));
	assert_int_equal(session_switch(k->session, 2, &root, NULL), 0);
	detach(k);
	k->ended = false;
	/* As if it had been killed before its first message: the mark of the change is still there. */
	assert_int_equal(shm_map(k->memory_fd, &shm, NULL), 0);
	atomic_store(&shm.h->untold, 1);
	open_pair(k);
	attach(k, NULL);
	swallow_init(k);
	snprintf(want[0], sizeof want[0], "entry %llu b", (unsigned long long)dir.nodeid);
	snprintf(want[1], sizeof want[1], "entry %llu new", (unsigned long long)dir.nodeid);
	snprintf(want[2], sizeof want[2], "inode %llu", (unsigned long long)dir.nodeid);
	while (!seen[0] || !seen[1] || !seen[2]) {
		notification(k, text);
		for (size_t i = 0; i < LENGTH(want); i++)
			seen[i] |= strcmp(text, want[i]) == 0;
	}
	while (atomic_load(&shm.h->untold)) /* cleared once all of it was sent */
		(void)usleep(1000);
	shm_unmap(&shm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(names_lead_to_nodes_with_the_datasets_owner_and_mode),
		T(an_unknown_node_is_estale),
		T(a_directory_is_read_in_pieces_without_gaps),
		T(forgotten_nodes_are_gone_and_their_ids_not_reused),
		T(a_new_version_moves_what_is_the_same_and_invalidates_what_is_not),
		T(a_successor_answers_what_a_killed_worker_left_in_its_slots),
		T(names_that_a_killed_worker_did_not_invalidate_are_told_by_its_successor),
#undef T
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
