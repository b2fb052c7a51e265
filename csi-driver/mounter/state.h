/*
 * state - the state of larder-mounter and its parts. One thread, one poll loop, fixed tables; libc only.
 *
 *   checks.c   pure: may this descriptor be registered, does this path lie below that root
 *   marks.c    pure: the mark that tells whose a mount is
 *   session.c  the table of sessions
 *   mounts.c   mount, unmount, abort, read-ahead
 *   give.c     what a former mounter left
 *   tiers.c    tier directories and roots of file sources
 *   ops.c      one request in, one reply out
 *   server.c   sockets and the loop
 */
#ifndef CSI_DRIVER_MOUNTER_STATE_H
#define CSI_DRIVER_MOUNTER_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "common/base/attr.h"
#include "common/base/fd.h"
#include "csi-driver/mounter.h"

#define MOUNTER_CLIENTS_MAX 4  /* socket directories */
#define MOUNTER_PEERS_MAX   64 /* connections */
#define MOUNTER_TIERS_MAX   16
#define MOUNTER_ROOTS_MAX   16
#define MOUNTER_TEXT        256 /* bytes of a reply's sentence */
#define MOUNTER_MARK_MAX    256 /* the kernel takes no longer source */

/* A program that may ask: whoever reaches its socket and has its uid. */
struct client {
	const char *socket; /* path; argv memory */
	uid_t uid;
	gid_t gid;
	int listener;
	int state_fd; /* memory kept for the zero session, -1: none */
};

/* A folder that the command line allows as a tier. */
struct tier {
	const char *path; /* argv memory; of the DRAM tier: where its tmpfs is mounted */
	bool dram;
	bool opened[MOUNTER_CLIENTS_MAX]; /* by client: its dev counts for BACKING_OPEN */
	dev_t dev;
};

struct session {
	bool used;
	uint8_t id[MOUNTER_SESSION_BYTES];
	size_t client;         /* index of the owner */
	int dev_fd, memory_fd; /* -1: nothing kept yet; dev_fd -1: lost with a former mounter */
	uint32_t minor;
	uint64_t read_ahead_kib; /* set when INIT was answered: see raise_readahead() */
	uint32_t backings;       /* ids given out and not closed */
	char path[MOUNTER_PATH_MAX];
};

struct mounter {
	struct client clients[MOUNTER_CLIENTS_MAX];
	size_t client_count;
	const char *mount_roots[MOUNTER_ROOTS_MAX]; /* targets lie at or below one of them */
	size_t mount_root_count;
	const char *file_roots[MOUNTER_ROOTS_MAX]; /* roots of file sources lie at or below one of them */
	size_t file_root_count;
	struct tier tiers[MOUNTER_TIERS_MAX];
	size_t tier_count;
	struct session *sessions; /* MOUNTER_SESSIONS_MAX */
};

/* A request being answered: who asks, what came, what goes back. */
struct exchange {
	size_t client;
	const struct mounter_request *request;
	const int *fds; /* borrowed; closed by the server afterwards */
	size_t fd_count;
	struct mounter_reply reply;
	int reply_fds[2]; /* borrowed from the tables unless reply_close is set */
	size_t reply_fd_count;
	bool reply_close; /* the server closes reply_fds after sending */
};

/* Sets status and sentence of the reply; returns @status, a negative errno. */
int exchange_fail(struct exchange *x, int status, const char *fmt, ...) PRINTF(3, 4);

/* ---- checks.c: pure ---- */

/* What is known of a descriptor that a client wants to have passed through. */
struct backing_facts {
	int fl_flags;   /* F_GETFL */
	struct stat st; /* examine() */
	uid_t client_uid;
	const dev_t *tier_devs; /* devices of the tiers this client has opened */
	size_t tier_dev_count;
};

/* NULL when the descriptor may be registered, else why not (a constant phrase). */
const char *backing_refusal(const struct backing_facts *facts);

/* Where @path lies below @root (both absolute, normalised: no empty, "." or ".." component): the rest without a leading
 * slash ("" for the root itself), or NULL. */
const char *path_below(const char *root, const char *path);

/* Whether @path (of at most @size bytes, NUL included) is absolute, ended, and without ".", ".." or empty components. */
bool path_is_clean(const char *path, size_t size);

/* ---- marks.c: pure ---- */

/* The source of a session's mount. 0, or -1 when the socket's path is too long. */
MUST_CHECK int mark_format(const uint8_t *session, const char *socket, char out[MOUNTER_MARK_MAX]);

struct marked_mount {
	uint8_t session[MOUNTER_SESSION_BYTES];
	uint32_t minor;
	const char *path, *socket; /* into the line */
};

/* Reads a line of mountinfo, which it takes apart. False: not a mount that a mounter made for a session. */
MUST_CHECK bool mark_read(char *line, struct marked_mount *ret);

/* ---- session.c ---- */

/* The session of that id which belongs to @client, or NULL: another client's session looks like none. */
struct session *session_find(struct mounter *m, size_t client, const uint8_t *id);
/* Whether @path lies inside (not at) the mount of a session, of any client. */
bool session_above(const struct mounter *m, const char *path);
bool session_id_taken(const struct mounter *m, const uint8_t *id);
struct session *session_free_slot(struct mounter *m); /* NULL: table full */
void session_release(struct session *s);              /* closes its descriptors */
size_t session_list(
	const struct mounter *m, size_t client, size_t first,
	uint8_t ids[MOUNTER_LIST_MAX][MOUNTER_SESSION_BYTES]); /* returns how many there are in all */

/* ---- operations: 0 or a negative errno, with the reply filled ---- */
int mount_session(struct mounter *m, struct exchange *x);
int unmount_session(struct mounter *m, struct exchange *x, bool abort_first);

/* The kernel offers 128 KiB at INIT and takes the smaller of that and what it had before; more can only be set on the bdi,
 * afterwards. Without it a sequential mmap through the server runs page by page. */
void raise_readahead(uint32_t minor, uint64_t kib);
int give_back(struct mounter *m, struct exchange *x);
int open_tier(struct mounter *m, struct exchange *x);
int open_file_root(struct mounter *m, struct exchange *x);

/* Opens the directory @path, which must lie below one of @roots, following no link: an O_PATH descriptor the caller owns,
 * or -errno with the reply's sentence set. @what names the kind of root in it. */
int open_below(const struct mounter *m, const char *const *roots, size_t count, const char *path,
	       const char *what, struct exchange *x);

/* Fills the table with the mounts that a former mounter left. Before anybody is listened to. */
void adopt_marked_mounts(struct mounter *m);

/* Kind, owner, links and devices of what a client sent, and nothing else of *ret. Never asks the server of a FUSE file, who
 * may be that client and keep this one thread waiting for ever. 0 or -errno. */
MUST_CHECK int examine(int fd, struct stat *ret);

/* Whether @fd is a memfd. */
bool is_shared_memory(int fd);

/* Answers one request. Never fails: a refusal is a reply. */
void exchange_run(struct mounter *m, struct exchange *x);

/* The reply reached nobody: takes back what only its reader could have closed, a backing id. */
void exchange_undo(struct mounter *m, const struct exchange *x);

/* Listens, serves until SIGTERM or SIGINT. 0 or a negative errno after a log line. */
MUST_CHECK int server_run(struct mounter *m);

#endif
