#include "cache-node/fuse/handshake.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "cache-node/fuse/shm.h"
#include "common/base/mem.h"
#include "common/fuse_kernel.h"

/* The defaults (12, 9) starve read-ahead. Reads ahead wait among these: as many as may hang on a source that is dead, so that
 * those of other files go on; above the congestion threshold the kernel reads ahead no further. */
#define MAX_BACKGROUND 4096
#define CONGESTION     192
#define PROTO_MINOR    40u /* newest minor this code was written for */

#define FLAGS_WANTED                                                                                  \
	(FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_MAX_PAGES | FUSE_PARALLEL_DIROPS | FUSE_ASYNC_DIO | \
	 FUSE_CACHE_SYMLINKS | FUSE_INIT_EXT)

static void make_reply(const struct fuse_init_in *in, struct handshake *h, struct fuse_init_reply *out)
{
	uint32_t flags = in->flags & FLAGS_WANTED, flags2 = 0;

	if (h->features & SHM_READDIRPLUS)
		flags |= in->flags &
			 FUSE_DO_READDIRPLUS; /* always: docs/decisions/0066-names-come-with-attributes.md */
	if (in->flags & FUSE_INIT_EXT) {
		flags2 = in->flags2 & FUSE_INIT2_DIRECT_IO_ALLOW_MMAP;
		if (h->features & SHM_PASSTHROUGH)
			flags2 |= in->flags2 & FUSE_INIT2_PASSTHROUGH;
		if (h->features & SHM_RESEND)
			flags2 |= in->flags2 & FUSE_INIT2_HAS_RESEND;
	}
	h->features &= ~(uint32_t)(SHM_PASSTHROUGH | SHM_RESEND);
	h->features |= flags2 & FUSE_INIT2_PASSTHROUGH ? SHM_PASSTHROUGH : 0;
	h->features |= flags2 & FUSE_INIT2_HAS_RESEND ? SHM_RESEND : 0;
	*out = (struct fuse_init_reply){
		.major = FUSE_KERNEL_VERSION,
		.minor = MIN(in->minor, PROTO_MINOR),
		.max_readahead = in->max_readahead,
		.flags = flags,
		.flags2 = flags2,
		.max_background = MAX_BACKGROUND,
		.congestion_threshold = CONGESTION,
		.max_write = 4096, /* read-only: keeps the request slots small */
		.time_gran = 1,
		.max_pages = (uint16_t)(h->max_read / 4096),
		.max_stack_depth =
			flags2 & FUSE_INIT2_PASSTHROUGH ? 1 : 0, /* backing on plain file systems */
	};
}

static int wait_readable(int fd, int timeout_ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int n;

	do
		n = poll(&p, 1, timeout_ms);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n == 0 ? -ETIMEDOUT : 0;
}

int fuse_handshake(int dev_fd, int timeout_ms, struct handshake *h, struct err *err)
{
	uint8_t buf[SHM_SLOT_BYTES];
	struct fuse_in_header in;
	struct {
		struct fuse_out_header header;
		struct fuse_init_reply init;
	} out = {.header = {.len = sizeof out}};

	int r = wait_readable(dev_fd, timeout_ms);
	if (r)
		return err_set(err, r, "the kernel sent no FUSE INIT: %s", err_text(r));
	ssize_t n = read(dev_fd, buf, sizeof buf);
	if (n < (ssize_t)sizeof in)
		return err_set(err, n < 0 ? -errno : -EPROTO, "reading FUSE INIT: %s",
			       n < 0 ? err_text(errno) : "too short");
	memcpy(&in, buf, sizeof in);
	if (in.opcode != FUSE_INIT)
		return err_set(err, -EPROTO, "the first FUSE request is %u, not INIT", in.opcode);
	h->offered = (struct fuse_init_in){0};
	memcpy(&h->offered, buf + sizeof in, MIN((size_t)n - sizeof in, sizeof h->offered));
	if (h->offered.major != FUSE_KERNEL_VERSION || h->offered.minor < 31)
		return err_set(err, -EPROTO, "this kernel speaks FUSE %u.%u, 7.31 is needed",
			       h->offered.major, h->offered.minor);
	out.header.unique = in.unique;
	make_reply(&h->offered, h, &out.init);
	if (write(dev_fd, &out, sizeof out) != (ssize_t)sizeof out)
		return err_set(err, -errno, "answering FUSE INIT: %s", err_text(errno));
	return 0;
}
