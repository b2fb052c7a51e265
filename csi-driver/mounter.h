/*
 * mounter - the wire between larder-mounter, the one privileged program, and the programs it serves (design 5).
 *
 * A SEQPACKET socket in a directory that only one client program can enter: that directory says who the caller is, and
 * the peer's uid must be the one the directory was made for. One request, one reply, both of fixed size, version first;
 * descriptors travel beside them. The mounter holds what must outlive its clients: mounts, /dev/fuse descriptors, the
 * sessions' shared memory, tier directories. It trusts no client: every request is checked as if it came from an attacker.
 *
 * This header is a wire contract: programs other than the mounter may include it (docs/architecture.md).
 */
#ifndef CSI_DRIVER_MOUNTER_H
#define CSI_DRIVER_MOUNTER_H

#include <stdint.h>

#define MOUNTER_VERSION       1
#define MOUNTER_PATH_MAX      4096
#define MOUNTER_SESSIONS_MAX  1024
#define MOUNTER_LIST_MAX      128 /* session ids in one reply to LIST */
#define MOUNTER_SESSION_BYTES 16

enum mounter_op {
	/* -> value: MOUNTER_VERSION. */
	MOUNTER_HELLO = 1,
	/* Mounts a FUSE file system, always nosuid,nodev and (unless MOUNTER_RW) ro, on the directory `path`, which lies
	 * below a mount root. session: chosen at random by the caller; arg: max_read in bytes; arg2: read-ahead in KiB.
	 * -> fds: /dev/fuse (INIT is still to be read from it); value: minor number of the mount's device.
	 * EBUSY: a mount point already; EEXIST: session taken; EXDEV, ELOOP: `path` leaves its root or holds a link. */
	MOUNTER_MOUNT = 2,
	/* Unmounts a session, MOUNTER_LAZY: also when busy. EBUSY when it is. Closes what was kept. */
	MOUNTER_UNMOUNT = 3,
	/* Aborts the session's connection (requests in flight end with ENOTCONN) and unmounts lazily. */
	MOUNTER_ABORT = 4,
	/* fds: one descriptor. Registers it for passthrough if it is an ordinary descriptor (no O_PATH) opened read-only
	 * of a regular file of the caller's uid on the device of one of the caller's tiers with at most one link; EACCES
	 * otherwise. -> value: backing id. */
	MOUNTER_BACKING_OPEN = 5,
	/* arg: backing id. */
	MOUNTER_BACKING_CLOSE = 6,
	/* path: a tier's folder as on the command line, or "" for DRAM (MOUNTER_TIER_DRAM; arg: bytes). Makes its
	 * sub-directory larder/ for the caller. -> fds: that directory. EROFS, ENOSPC, ENOENT as the system says. */
	MOUNTER_TIER_OPEN = 7,
	/* path: root of a `file` source, below an allowed prefix. -> fds: an O_PATH descriptor: it lets the caller pass the
	 * folders above, not more than its own rights inside. */
	MOUNTER_ROOT_OPEN = 8,
	/* fds: shared memory to keep for a session of the caller; session all zero: the caller's own state. Replaces. The first
	 * one of a session says that INIT was answered: the read-ahead is raised then. */
	MOUNTER_KEEP = 9,
	/* -> fds: /dev/fuse and the kept memory of a session (or the kept memory alone for the zero session); path of the
	 * reply: its mount point; value: as MOUNT. ENOENT: unknown, or nothing kept; ENODATA: its descriptors were lost with a
	 * former mounter (GIVE). */
	MOUNTER_FETCH = 10,
	/* arg: first index. -> value: how many sessions the caller has in all; ids in the reply. */
	MOUNTER_LIST = 11,
	/* Publishing for Kubernetes (answered EOPNOTSUPP until it is built): bind the session's subdirectory `path2` on the
	 * target `path`; undo it; make or remove a staging or target directory; bind and listen on a socket. */
	MOUNTER_BIND = 12,
	MOUNTER_UNBIND = 13,
	MOUNTER_STAGE = 14,
	MOUNTER_UNSTAGE = 15,
	MOUNTER_LISTEN = 16,
	/* A mounter that was started anew knows the mounts of the former one and whose they are, but has no descriptors of them
	 * (BACKING_OPEN is EAGAIN, FETCH ENODATA). fds: /dev/fuse and the memory of such a session of the caller. EEXIST: they
	 * are here; ENOENT: no such session of the caller; EACCES: not what they should be. */
	MOUNTER_GIVE = 17,
};

enum mounter_flags {
	MOUNTER_RW = 1,
	MOUNTER_NOEXEC = 2,
	MOUNTER_LAZY = 4,
	MOUNTER_TIER_DRAM = 8,
};

struct mounter_request {
	uint32_t version;  /* MOUNTER_VERSION; another is answered EPROTO */
	uint32_t op;       /* enum mounter_op */
	uint64_t sequence; /* echoed */
	uint8_t session[MOUNTER_SESSION_BYTES];
	uint64_t arg, arg2;
	uint32_t flags; /* enum mounter_flags; unknown bits are refused */
	uint32_t reserved;
	char path[MOUNTER_PATH_MAX]; /* NUL-ended; absolute */
	char path2[MOUNTER_PATH_MAX];
};

struct mounter_reply {
	uint32_t version;
	int32_t status; /* 0 or -errno */
	uint64_t sequence;
	uint64_t value;
	char path[MOUNTER_PATH_MAX];
	char text[256]; /* one sentence when status is not 0 */
	uint8_t sessions[MOUNTER_LIST_MAX][MOUNTER_SESSION_BYTES];
};

#endif
