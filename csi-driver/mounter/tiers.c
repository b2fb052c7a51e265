/*
 * Directories that a client may use but could not open itself: its sub-directory of a tier, the root of a file source.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "csi-driver/mounter/state.h"

#define TMPFS_MAGIC_NUMBER 0x01021994

static struct tier *find_tier(struct mounter *m, const struct mounter_request *q)
{
	bool dram = q->flags & MOUNTER_TIER_DRAM;

	for (size_t i = 0; i < m->tier_count; i++)
		if (m->tiers[i].dram == dram && (dram || strcmp(m->tiers[i].path, q->path) == 0))
			return &m->tiers[i];
	return NULL;
}

/* Mounts the DRAM tier's tmpfs, or changes the size of the one a former mounter left: what it holds survives. Huge pages
 * for files truncated to their size first (fuse.md 2.1); plain pages where the kernel has none. */
static int mount_dram(const struct tier *t, uint64_t bytes, struct exchange *x)
{
	char options[128];
	struct statfs fs;
	bool there = statfs(t->path, &fs) == 0 && fs.f_type == TMPFS_MAGIC_NUMBER;
	struct stat st, up;
	char parent[MOUNTER_PATH_MAX + 4];

	(void)snprintf(parent, sizeof parent, "%s/..", t->path);
	there = there && stat(t->path, &st) == 0 && stat(parent, &up) == 0 && st.st_dev != up.st_dev;
	if (bytes == 0)
		return exchange_fail(x, -EINVAL, "the DRAM tier needs a size; 0 would be no limit");
	unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC | (there ? MS_REMOUNT : 0UL);
	(void)snprintf(options, sizeof options, "size=%llu,mode=0711,huge=within_size",
		       (unsigned long long)bytes);
	if (mount("larder-dram", t->path, "tmpfs", flags, options) == 0)
		return 0;
	(void)snprintf(options, sizeof options, "size=%llu,mode=0711", (unsigned long long)bytes);
	if (mount("larder-dram", t->path, "tmpfs", flags, options) == 0)
		return 0;
	/* It cannot be smaller than what it holds: it keeps its size, and the client its own lower limit. */
	if (there && errno == EINVAL)
		return 0;
	return exchange_fail(x, -errno, "tmpfs of the DRAM tier: %s", strerrordesc_np(errno));
}

/* A directory of that name which is not the client's own is refused: someone else made it. */
static int own_folder(const char *path, const struct client *c, struct exchange *x)
{
	CLEANUP(fd_close) int top = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (top < 0)
		return exchange_fail(x, -errno, "disk tier %.160s: %s", path, strerrordesc_np(errno));
	bool made = mkdirat(top, "larder", 0700) == 0;
	if (!made && errno != EEXIST)
		return exchange_fail(x, -errno, "making %.160s/larder: %s", path, strerrordesc_np(errno));
	CLEANUP(fd_close) int fd = openat(top, "larder", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return exchange_fail(x, -errno, "opening %.160s/larder: %s", path, strerrordesc_np(errno));
	if (made && fchown(fd, c->uid, c->gid) < 0)
		return exchange_fail(x, -errno, "giving %.160s/larder to uid %u: %s", path, c->uid,
				     strerrordesc_np(errno));
	struct stat st;
	if (fstat(fd, &st) < 0 || st.st_uid != c->uid)
		return exchange_fail(
			x, -EACCES,
			"%.160s/larder belongs to uid %u, not %u; remove it or name another folder", path,
			st.st_uid, c->uid);
	return fd_take(&fd);
}

int open_tier(struct mounter *m, struct exchange *x)
{
	struct tier *t = find_tier(m, x->request);

	if (!t)
		return exchange_fail(x, -EPERM, "%.160s is not a tier named at start", x->request->path);
	int r = t->dram ? mount_dram(t, x->request->arg, x) : 0;
	if (r)
		return r;
	CLEANUP(fd_close) int fd = own_folder(t->path, &m->clients[x->client], x);
	struct stat st;
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return exchange_fail(x, -errno, "tier %.160s: %s", t->path, strerrordesc_np(errno));
	t->dev = st.st_dev;
	t->opened[x->client] = true;
	x->reply_fds[0] = fd_take(&fd);
	x->reply_fd_count = 1;
	x->reply_close = true;
	return 0;
}

int open_file_root(struct mounter *m, struct exchange *x)
{
	int fd = open_below(m, m->file_roots, m->file_root_count, x->request->path, "file source", x);

	if (fd < 0)
		return fd;
	x->reply_fds[0] = fd;
	x->reply_fd_count = 1;
	x->reply_close = true;
	return 0;
}
