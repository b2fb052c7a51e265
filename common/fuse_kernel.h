/*
 * fuse_kernel - what the uapi header of an older distribution lacks of the FUSE protocol up to 7.40. The values are the
 * kernel's (include/uapi/linux/fuse.h), so that one source serves every kernel and libfuse from 3.14 on.
 */
#ifndef COMMON_FUSE_KERNEL_H
#define COMMON_FUSE_KERNEL_H

#include <linux/fuse.h>
#include <stdint.h>
#include <sys/ioctl.h>

#ifndef FUSE_DEV_IOC_BACKING_OPEN
struct fuse_backing_map {
	int32_t fd;
	uint32_t flags;
	uint64_t padding;
};
#define FUSE_DEV_IOC_BACKING_OPEN  _IOW(FUSE_DEV_IOC_MAGIC, 1, struct fuse_backing_map)
#define FUSE_DEV_IOC_BACKING_CLOSE _IOW(FUSE_DEV_IOC_MAGIC, 2, uint32_t)
#endif
#ifndef FOPEN_PASSTHROUGH
#define FOPEN_PASSTHROUGH (1u << 7)
#endif

/* The upper half of the INIT flags. */
#define FUSE_INIT2_DIRECT_IO_ALLOW_MMAP (1u << 4)
#define FUSE_INIT2_PASSTHROUGH          (1u << 5)
#define FUSE_INIT2_HAS_RESEND           (1u << 7)

/* struct fuse_init_out and fuse_open_out of 7.40 and later, same size as before. */
struct fuse_init_reply {
	uint32_t major, minor, max_readahead, flags;
	uint16_t max_background, congestion_threshold;
	uint32_t max_write, time_gran;
	uint16_t max_pages, map_alignment;
	uint32_t flags2, max_stack_depth;
	uint16_t request_timeout, unused[11];
};
struct fuse_open_reply {
	uint64_t fh;
	uint32_t open_flags;
	int32_t backing_id;
};

#endif
