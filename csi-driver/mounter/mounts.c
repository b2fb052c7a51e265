/*
 * Mounting by descriptor: the file system context is configured, made, and moved onto an O_PATH descriptor of the target,
 * so that no path is resolved twice. Unmounting steps into the parent folder first, for the same reason.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "csi-driver/mounter/state.h"

int exchange_fail(struct exchange *x, int status, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(x->reply.text, sizeof x->reply.text, fmt, args);
	va_end(args);
	x->reply.status = status;
	return status;
}

static int open_beneath(int dir, const char *rest)
{
	struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
			       .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
	long fd = syscall(SYS_openat2, dir, *rest ? rest : ".", &how, sizeof how);
	return fd < 0 ? -errno : (int)fd;
}

int open_below(const struct mounter *m, const char *const *roots, size_t count, const char *path,
	       const char *what, struct exchange *x)
{
	if (!path_is_clean(path, MOUNTER_PATH_MAX))
		return exchange_fail(x, -EINVAL, "the path of a %s must be absolute and without . or ..",
				     what);
	/* Looking up a name below a session's mount asks the client, who could keep this one thread waiting for ever. */
	if (session_above(m, path))
		return exchange_fail(x, -EBUSY, "%s %.160s lies inside a mount of Larder", what, path);
	for (size_t i = 0; i < count; i++) {
		const char *rest = path_below(roots[i], path);
		if (!rest)
			continue;
		CLEANUP(fd_close) int root = open(roots[i], O_PATH | O_DIRECTORY | O_CLOEXEC);
		int fd = root < 0 ? -errno : open_beneath(root, rest);
		return fd < 0 ? exchange_fail(x, fd, "%s %.160s: %s", what, path, strerrordesc_np(-fd)) : fd;
	}
	return exchange_fail(x, -EXDEV, "%s %.160s lies below none of the folders allowed at start", what,
			     path);
}

/* Whether a mount sits on the directory. DONT_SYNC: never asks a FUSE server that may be hung. */
static int is_mount_root(int fd, bool *ret)
{
	struct statx sx;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &sx) < 0)
		return -errno;
	*ret = sx.stx_attributes & STATX_ATTR_MOUNT_ROOT;
	return 0;
}

static int set_option(int fs, const char *key, const char *value)
{
	unsigned cmd = value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG;
	return fsconfig(fs, cmd, key, value, 0) < 0 ? -errno : 0;
}

static int configure(int fs, int dev_fd, const char *mark, uint64_t max_read, bool rw)
{
	char fd_text[16], read_text[24];

	(void)snprintf(fd_text, sizeof fd_text, "%d", dev_fd);
	(void)snprintf(read_text, sizeof read_text, "%llu", (unsigned long long)max_read);
	const struct {
		const char *key, *value;
	} options[] = {{"source", mark},        {"subtype", "larder"},
		       {"fd", fd_text},         {"rootmode", "40000"},
		       {"user_id", "0"},        {"group_id", "0"},
		       {"allow_other", NULL},   {"default_permissions", NULL},
		       {"max_read", read_text}, {rw ? "rw" : "ro", NULL}};
	for (size_t i = 0; i < LENGTH(options); i++) {
		int r = set_option(fs, options[i].key, options[i].value);
		if (r)
			return r;
	}
	return fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0 ? -errno : 0;
}

void raise_readahead(uint32_t minor, uint64_t kib)
{
	char path[64], text[24];

	(void)snprintf(path, sizeof path, "/sys/class/bdi/0:%u/read_ahead_kb", minor);
	CLEANUP(fd_close) int fd = open(path, O_WRONLY | O_CLOEXEC);
	int n = snprintf(text, sizeof text, "%llu", (unsigned long long)kib);
	if (fd >= 0 && n > 0)
		(void)!write(fd, text,
			     (size_t)n); /* slower reads, not wrong ones: sysfs may be read-only here */
}

static int make_mount(const struct mounter *m, struct exchange *x, int dev_fd)
{
	const struct mounter_request *q = x->request;
	char mark[MOUNTER_MARK_MAX];
	unsigned attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;

	if (!(q->flags & MOUNTER_RW))
		attributes |= MOUNT_ATTR_RDONLY;
	if (q->flags & MOUNTER_NOEXEC)
		attributes |= MOUNT_ATTR_NOEXEC;
	if (mark_format(q->session, m->clients[x->client].socket, mark))
		return exchange_fail(x, -ENAMETOOLONG, "the path of the client's socket is too long");
	CLEANUP(fd_close) int fs = fsopen("fuse", FSOPEN_CLOEXEC);
	if (fs < 0)
		return exchange_fail(x, -errno, "this kernel has no FUSE: %s", strerrordesc_np(errno));
	int r = configure(fs, dev_fd, mark, q->arg, q->flags & MOUNTER_RW);
	if (r)
		return exchange_fail(x, r, "the kernel refuses the mount options: %s", strerrordesc_np(-r));
	CLEANUP(fd_close) int mount_fd = fsmount(fs, FSMOUNT_CLOEXEC, attributes);
	if (mount_fd < 0)
		return exchange_fail(x, -errno, "fsmount: %s", strerrordesc_np(errno));
	return fd_take(&mount_fd);
}

static int attach(struct exchange *x, int mount_fd, int target, uint32_t *ret_minor)
{
	struct statx sx;

	if (statx(mount_fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &sx) < 0)
		return exchange_fail(x, -errno, "statx of the new mount: %s", strerrordesc_np(errno));
	*ret_minor = sx.stx_dev_minor;
	if (move_mount(mount_fd, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return exchange_fail(x, -errno, "mounting on %.160s: %s", x->request->path,
				     strerrordesc_np(errno));
	return 0;
}

static int open_target(const struct mounter *m, struct exchange *x)
{
	bool mounted = false;
	int target = open_below(m, m->mount_roots, m->mount_root_count, x->request->path, "mount point", x);

	if (target < 0)
		return target;
	int r = is_mount_root(target, &mounted);
	if (r || mounted) {
		(void)fd_close(target);
		return exchange_fail(x, r ? r : -EBUSY, "%.160s is a mount point already", x->request->path);
	}
	return target;
}

int mount_session(struct mounter *m, struct exchange *x)
{
	const struct mounter_request *q = x->request;

	if (session_id_taken(m, q->session))
		return exchange_fail(x, -EEXIST, "that session exists already");
	if (q->arg < 4096 || q->arg > (1u << 20) || q->arg2 > (64u << 10))
		return exchange_fail(x, -EINVAL,
				     "max_read must be 4 KiB to 1 MiB, read-ahead at most 64 MiB");
	struct session *s = session_free_slot(m);
	if (!s)
		return exchange_fail(x, -ENFILE, "%d mounts are the limit of one mounter",
				     MOUNTER_SESSIONS_MAX);
	CLEANUP(fd_close) int target = open_target(m, x);
	if (target < 0)
		return target;
	CLEANUP(fd_close) int dev_fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (dev_fd < 0)
		return exchange_fail(x, -errno, "/dev/fuse: %s", strerrordesc_np(errno));
	uint32_t minor = 0;
	CLEANUP(fd_close) int mount_fd = make_mount(m, x, dev_fd);
	if (mount_fd < 0)
		return mount_fd;
	int r = attach(x, mount_fd, target, &minor);
	if (r)
		return r;
	*s = (struct session){.used = true,
			      .client = x->client,
			      .memory_fd = -1,
			      .minor = minor,
			      .read_ahead_kib = q->arg2};
	memcpy(s->id, q->session, sizeof s->id);
	memcpy(s->path, q->path, sizeof s->path);
	s->dev_fd = fd_take(&dev_fd);
	x->reply.value = minor;
	x->reply_fds[0] = s->dev_fd;
	x->reply_fd_count = 1;
	return 0;
}

/* Leaves the working directory at the parent of @path and returns the last component in @ret_name. */
static int step_to_parent(const struct mounter *m, const char *path, char *parent, const char **ret_name)
{
	memcpy(parent, path, strlen(path) + 1);
	char *slash = strrchr(parent, '/');
	*ret_name = path + (slash - parent) + 1;
	slash[slash == parent] = 0;
	CLEANUP(fd_close) int fd = -1;
	for (size_t i = 0; i < m->mount_root_count && fd < 0; i++) {
		const char *rest = path_below(m->mount_roots[i], parent);
		CLEANUP(fd_close)
		int root = rest ? open(m->mount_roots[i], O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
		if (root >= 0)
			fd = open_beneath(root, rest);
		else if (strcmp(m->mount_roots[i], path) == 0) /* the root itself is the target */
			fd = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
	}
	if (fd < 0)
		return fd == -1 ? -ENOENT : fd;
	return fchdir(fd) < 0 ? -errno : 0;
}

/* Whether the session's own mount, and no other, sits on @name of the working directory. */
static bool is_own_mount(const struct session *s, const char *name)
{
	struct statx sx;

	return statx(AT_FDCWD, name, AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC, STATX_TYPE, &sx) == 0 &&
	       (sx.stx_attributes & STATX_ATTR_MOUNT_ROOT) && sx.stx_dev_major == 0 &&
	       sx.stx_dev_minor == s->minor;
}

int unmount_session(struct mounter *m, struct exchange *x, bool abort_first)
{
	struct session *s = session_find(m, x->client, x->request->session);
	char parent[MOUNTER_PATH_MAX];
	const char *name;

	if (!s)
		return exchange_fail(x, -ENOENT, "no such session");
	int r = step_to_parent(m, s->path, parent, &name);
	if (!r && is_own_mount(s, name)) {
		int flags = UMOUNT_NOFOLLOW;
		if (abort_first)
			flags |= MNT_FORCE | MNT_DETACH;
		else if (x->request->flags & MOUNTER_LAZY)
			flags |= MNT_DETACH;
		r = umount2(name, flags) < 0 ? -errno : 0;
	}
	if (chdir("/") < 0 && !r)
		r = -errno;
	if (r == -EBUSY)
		return exchange_fail(x, r, "%.160s is in use", s->path);
	/* Whatever else went wrong, the mount is not there any more (somebody unmounted it): let go of it. */
	session_release(s);
	return 0;
}
