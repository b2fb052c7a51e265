#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "common/fuse_kernel.h"
#include "csi-driver/mounter/state.h"

#define FLAGS_ALL    ((uint32_t)MOUNTER_RW | MOUNTER_NOEXEC | MOUNTER_LAZY | MOUNTER_TIER_DRAM)
#define BACKINGS_MAX 400000u /* ids of one session */

static bool is_zero(const uint8_t *id)
{
	static const uint8_t zero[MOUNTER_SESSION_BYTES];

	return memcmp(id, zero, sizeof zero) == 0;
}

int examine(int fd, struct stat *ret)
{
	struct statx sx;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_UID | STATX_NLINK, &sx) < 0)
		return -errno;
	*ret = (struct stat){.st_mode = sx.stx_mode,
			     .st_uid = sx.stx_uid,
			     .st_nlink = sx.stx_nlink,
			     .st_dev = makedev(sx.stx_dev_major, sx.stx_dev_minor),
			     .st_rdev = makedev(sx.stx_rdev_major, sx.stx_rdev_minor)};
	return 0;
}

static int gather_facts(const struct mounter *m, size_t client, int fd, dev_t *devs, struct backing_facts *f)
{
	*f = (struct backing_facts){.client_uid = m->clients[client].uid, .tier_devs = devs};
	for (size_t i = 0; i < m->tier_count; i++)
		if (m->tiers[i].opened[client])
			devs[f->tier_dev_count++] = m->tiers[i].dev;
	f->fl_flags = fcntl(fd, F_GETFL);
	return f->fl_flags < 0 ? -errno : examine(fd, &f->st);
}

static int backing_open(struct mounter *m, struct exchange *x)
{
	struct session *s = session_find(m, x->client, x->request->session);
	dev_t devs[MOUNTER_TIERS_MAX];
	struct backing_facts facts;

	if (!s)
		return exchange_fail(x, -EACCES, "no such session of this client");
	if (x->fd_count != 1)
		return exchange_fail(x, -EINVAL, "one descriptor is registered at a time, %zu came",
				     x->fd_count);
	if (s->dev_fd < 0)
		return exchange_fail(x, -EAGAIN, "the descriptors of that session were not given back yet");
	if (s->backings >= BACKINGS_MAX)
		return exchange_fail(x, -ENFILE, "%u files are passed through already", s->backings);
	int r = gather_facts(m, x->client, x->fds[0], devs, &facts);
	if (r)
		return exchange_fail(x, r, "the descriptor cannot be examined");
	const char *why = backing_refusal(&facts);
	if (why)
		return exchange_fail(x, -EACCES, "the descriptor is refused: %s", why);
	struct fuse_backing_map map = {.fd = x->fds[0]};
	int id = ioctl(s->dev_fd, FUSE_DEV_IOC_BACKING_OPEN, &map);
	if (id <= 0)
		return exchange_fail(x, id < 0 ? -errno : -EIO, "the kernel does not pass it through: %s",
				     strerrordesc_np(errno));
	s->backings++;
	x->reply.value = (uint64_t)id;
	return 0;
}

static int backing_close(struct mounter *m, struct exchange *x)
{
	struct session *s = session_find(m, x->client, x->request->session);
	uint32_t id = (uint32_t)x->request->arg;

	if (!s)
		return exchange_fail(x, -EACCES, "no such session of this client");
	if (s->dev_fd < 0)
		return exchange_fail(x, -EAGAIN, "the descriptors of that session were not given back yet");
	if (ioctl(s->dev_fd, FUSE_DEV_IOC_BACKING_CLOSE, &id) < 0)
		return exchange_fail(x, -errno, "backing id %u: %s", id, strerrordesc_np(errno));
	s->backings -= s->backings > 0;
	return 0;
}

bool is_shared_memory(int fd)
{
	struct stat st;

	return examine(fd, &st) == 0 && S_ISREG(st.st_mode) && fcntl(fd, F_GET_SEALS) >= 0;
}

static int keep(struct mounter *m, struct exchange *x)
{
	struct session *s = NULL;

	if (x->fd_count != 1)
		return exchange_fail(x, -EINVAL, "one descriptor is kept for a session, %zu came",
				     x->fd_count);
	if (!is_shared_memory(x->fds[0]))
		return exchange_fail(x, -EACCES, "only shared memory (memfd) is kept");
	if (!is_zero(x->request->session)) {
		s = session_find(m, x->client, x->request->session);
		if (!s)
			return exchange_fail(x, -EACCES, "no such session of this client");
	}
	int *place = s ? &s->memory_fd : &m->clients[x->client].state_fd;
	int copy = fcntl(x->fds[0], F_DUPFD_CLOEXEC, 3);
	if (copy < 0)
		return exchange_fail(x, -errno, "keeping a descriptor: %s", strerrordesc_np(errno));
	if (s && s->memory_fd < 0 && s->read_ahead_kib)
		raise_readahead(
			s->minor,
			s->read_ahead_kib); /* the session's maker answers INIT before it has memory to keep */
	(void)fd_close(*place);
	*place = copy;
	return 0;
}

static int fetch(struct mounter *m, struct exchange *x)
{
	if (is_zero(x->request->session)) {
		int fd = m->clients[x->client].state_fd;
		if (fd < 0)
			return exchange_fail(x, -ENOENT, "nothing is kept for this client");
		x->reply_fds[x->reply_fd_count++] = fd;
		return 0;
	}
	const struct session *s = session_find(m, x->client, x->request->session);
	if (!s)
		return exchange_fail(x, -ENOENT, "no such session of this client");
	if (s->dev_fd < 0)
		return exchange_fail(x, -ENODATA, "the descriptors of %.160s were lost", s->path);
	x->reply_fds[x->reply_fd_count++] = s->dev_fd;
	if (s->memory_fd >= 0)
		x->reply_fds[x->reply_fd_count++] = s->memory_fd;
	x->reply.value = s->minor;
	memcpy(x->reply.path, s->path, sizeof x->reply.path);
	return 0;
}

static int dispatch(struct mounter *m, struct exchange *x)
{
	switch ((enum mounter_op)x->request->op) {
	case MOUNTER_HELLO:
		x->reply.value = MOUNTER_VERSION;
		return 0;
	case MOUNTER_MOUNT:
		return mount_session(m, x);
	case MOUNTER_UNMOUNT:
		return unmount_session(m, x, false);
	case MOUNTER_ABORT:
		return unmount_session(m, x, true);
	case MOUNTER_BACKING_OPEN:
		return backing_open(m, x);
	case MOUNTER_BACKING_CLOSE:
		return backing_close(m, x);
	case MOUNTER_TIER_OPEN:
		return open_tier(m, x);
	case MOUNTER_ROOT_OPEN:
		return open_file_root(m, x);
	case MOUNTER_KEEP:
		return keep(m, x);
	case MOUNTER_FETCH:
		return fetch(m, x);
	case MOUNTER_LIST:
		x->reply.value = session_list(m, x->client, (size_t)x->request->arg, x->reply.sessions);
		return 0;
	case MOUNTER_GIVE:
		return give_back(m, x);
	case MOUNTER_BIND:
	case MOUNTER_UNBIND:
	case MOUNTER_STAGE:
	case MOUNTER_UNSTAGE:
	case MOUNTER_LISTEN:
		break;
	}
	return exchange_fail(x, -EOPNOTSUPP, "operation %u is not in this version", x->request->op);
}

void exchange_undo(struct mounter *m, const struct exchange *x)
{
	struct session *s = session_find(m, x->client, x->request->session);
	uint32_t id = (uint32_t)x->reply.value;

	if (x->request->op != MOUNTER_BACKING_OPEN || x->reply.status || !s)
		return;
	if (ioctl(s->dev_fd, FUSE_DEV_IOC_BACKING_CLOSE, &id) == 0)
		s->backings -= s->backings > 0;
}

void exchange_run(struct mounter *m, struct exchange *x)
{
	const struct mounter_request *q = x->request;

	x->reply.version = MOUNTER_VERSION;
	x->reply.sequence = q->sequence;
	if (q->version != MOUNTER_VERSION)
		(void)exchange_fail(x, -EPROTO, "version %d is spoken here, not %u", MOUNTER_VERSION,
				    q->version);
	else if (q->flags & ~FLAGS_ALL)
		(void)exchange_fail(x, -EINVAL, "unknown flags %#x", q->flags & ~FLAGS_ALL);
	else if (!memchr(q->path, 0, sizeof q->path) || !memchr(q->path2, 0, sizeof q->path2))
		(void)exchange_fail(x, -EINVAL, "a path is not ended");
	else if ((q->op == MOUNTER_MOUNT) && is_zero(q->session))
		(void)exchange_fail(x, -EINVAL, "a session's id must not be zero");
	else
		x->reply.status = dispatch(m, x);
}
