/*
 * mounter_client - asks larder-mounter (csi-driver/mounter.h) over one connection.
 *
 * Threads: calls are serialised by a lock inside. A call waits at most MOUNTER_CLIENT_TIMEOUT_MS for its reply, those that
 * an open or close of a file waits for MOUNTER_BACKING_TIMEOUT_MS, the lock included; a lost connection is made again by
 * the next call.
 */
#ifndef CACHE_NODE_SUPERVISOR_MOUNTER_CLIENT_H
#define CACHE_NODE_SUPERVISOR_MOUNTER_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/err.h"
#include "csi-driver/mounter.h"

#define MOUNTER_CLIENT_TIMEOUT_MS  5000
#define MOUNTER_BACKING_TIMEOUT_MS 1000

struct mounter_client;

/* Remembers @socket (copied) and connects at the first call. 0 or -ENOMEM. */
MUST_CHECK int mounter_client_new(const char *socket, struct mounter_client **ret);
struct mounter_client *mounter_client_free(struct mounter_client *c);
DEFINE_CLEANUP(struct mounter_client *, mounter_client_free)

/* Connects unless it is connected. 0 or -errno; does not wait. */
MUST_CHECK int mounter_client_connect(struct mounter_client *c);

/* The connection, to be watched for its end; -1: none. Borrowed until the next call. */
int mounter_client_fd(struct mounter_client *c);

/* Ends the connection, if there is one. */
void mounter_client_disconnect(struct mounter_client *c);

/* How many connections were made: a change says that another mounter may answer. */
uint64_t mounter_client_connections(struct mounter_client *c);

struct mounter_mount {
	const uint8_t *session; /* MOUNTER_SESSION_BYTES */
	const char *target;
	uint32_t max_read; /* bytes */
	uint32_t read_ahead_kib;
	uint32_t flags; /* MOUNTER_RW, MOUNTER_NOEXEC */
};

/* Each answers 0 or the mounter's negative errno with its words; -ENOTCONN when it cannot be reached. Descriptors handed
 * out are the caller's. */
MUST_CHECK int mounter_mount(struct mounter_client *c, const struct mounter_mount *m, int *ret_dev_fd,
			     struct err *err);
MUST_CHECK int mounter_unmount(struct mounter_client *c, const uint8_t *session, bool lazy, struct err *err);
MUST_CHECK int mounter_abort(struct mounter_client *c, const uint8_t *session, struct err *err);
MUST_CHECK int mounter_backing_open(struct mounter_client *c, const uint8_t *session, int fd, int32_t *ret_id,
				    struct err *err);
MUST_CHECK int mounter_backing_close(struct mounter_client *c, const uint8_t *session, int32_t id,
				     struct err *err);

/* @path NULL: the DRAM tier of @dram_bytes. */
MUST_CHECK int mounter_tier_open(struct mounter_client *c, const char *path, uint64_t dram_bytes,
				 int *ret_dir_fd, struct err *err);
MUST_CHECK int mounter_root_open(struct mounter_client *c, const char *path, int *ret_dir_fd,
				 struct err *err);

/* @session NULL: the client's own state. @fd stays the caller's. */
MUST_CHECK int mounter_keep(struct mounter_client *c, const uint8_t *session, int fd, struct err *err);

/* Gives a mounter that was started anew the descriptors of a session; they stay the caller's. -EEXIST: it has them. */
MUST_CHECK int mounter_give(struct mounter_client *c, const uint8_t *session, int dev_fd, int memory_fd,
			    struct err *err);

struct mounter_kept {
	int dev_fd;    /* -1 for the zero session */
	int memory_fd; /* -1: nothing kept */
	char target[MOUNTER_PATH_MAX];
};
/* What the mounter keeps of @session (NULL: the client itself); the caller owns the descriptors. 0, -ENOENT, -errno with words. */
MUST_CHECK int mounter_fetch(struct mounter_client *c, const uint8_t *session, struct mounter_kept *ret,
			     struct err *err);

/* Ids of this client's sessions from index @first on; *ret_total: how many there are in all. */
MUST_CHECK int mounter_list(struct mounter_client *c, size_t first,
			    uint8_t ret[MOUNTER_LIST_MAX][MOUNTER_SESSION_BYTES], size_t *ret_total,
			    struct err *err);

#endif
