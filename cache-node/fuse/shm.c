#include "cache-node/fuse/shm.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache-node/fuse/ino.h"
#include "common/base/fd.h"

#define PAGE     4096u
#define READ_MAX (1u << 20) /* what the cache answers at once */

static uint64_t page_up(uint64_t n)
{
	return (n + PAGE - 1) / PAGE * PAGE;
}

static void fill_header(struct shm_header *h, const struct shm_config *c)
{
	*h = (struct shm_header){
		.magic = SHM_MAGIC,
		.version = SHM_VERSION,
		.header_bytes = sizeof *h,
		.slot_count = SHM_SLOTS,
		.slot_bytes = sizeof(struct shm_slot),
		.parked_count = SHM_PARKED,
		.parked_bytes = sizeof(struct shm_parked),
		.node_max = SHM_NODES_MAX,
		.node_bytes = sizeof(struct shm_node),
		.slots_at = page_up(sizeof *h),
		.offered = *c->offered,
		.max_read = c->max_read,
		.features = c->features,
		.next_handle = 1,
		.nodes_high = 2, /* 0 is nobody's, 1 is the root's place */
		.current = SHM_VERSIONS_MAX,
	};
	h->parked_at = h->slots_at + page_up((uint64_t)SHM_SLOTS * sizeof(struct shm_slot));
	h->nodes_at = h->parked_at + page_up((uint64_t)SHM_PARKED * sizeof(struct shm_parked));
	h->total_bytes = h->nodes_at + (uint64_t)SHM_NODES_MAX * sizeof(struct shm_node);
	memcpy(h->session, c->session, sizeof h->session);
	memcpy(h->dataset, c->dataset, strlen(c->dataset));
	memcpy(h->target, c->target, strlen(c->target));
	ino_key_of(c->dataset, h->ino_key);
}

int shm_create(const struct shm_config *config, int *ret_fd)
{
	struct shm_header h;

	if (strlen(config->dataset) >= SHM_DATASET_MAX || strlen(config->target) >= SHM_TARGET_MAX)
		return -ENAMETOOLONG;
	fill_header(&h, config);
	CLEANUP(fd_close) int fd = memfd_create("larder-session", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0 || ftruncate(fd, (off_t)h.total_bytes) < 0)
		return -errno;
	int r = fd_pwrite_full(fd, &h, sizeof h, 0);
	if (r)
		return r;
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	*ret_fd = fd_take(&fd);
	return 0;
}

static bool header_is_sane(const struct shm_header *h, uint64_t file_bytes)
{
	return h->header_bytes == sizeof *h && h->slot_bytes == sizeof(struct shm_slot) &&
	       h->node_bytes == sizeof(struct shm_node) && h->slot_count == SHM_SLOTS &&
	       h->node_max == SHM_NODES_MAX && h->slots_at == page_up(sizeof *h) &&
	       h->parked_count == SHM_PARKED && h->parked_bytes == sizeof(struct shm_parked) &&
	       h->parked_at == h->slots_at + page_up((uint64_t)SHM_SLOTS * sizeof(struct shm_slot)) &&
	       h->nodes_at == h->parked_at + page_up((uint64_t)SHM_PARKED * sizeof(struct shm_parked)) &&
	       h->total_bytes == h->nodes_at + (uint64_t)SHM_NODES_MAX * sizeof(struct shm_node) &&
	       h->total_bytes == file_bytes && h->parked_high <= h->parked_count && h->nodes_high >= 2 &&
	       h->nodes_high <= h->node_max && h->max_read >= PAGE && h->max_read <= READ_MAX &&
	       h->max_read % PAGE == 0 && memchr(h->dataset, 0, sizeof h->dataset) &&
	       memchr(h->target, 0, sizeof h->target);
}

int shm_map(int fd, struct shm *ret, struct err *err)
{
	struct shm_header h;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_set(err, -errno, "session memory: %s", err_text(errno));
	/* Who could make it shorter could end with SIGBUS whoever maps it, the supervisor among them. */
	int seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || !(seals & F_SEAL_SHRINK))
		return err_set(err, -ERR_CORRUPT, "session memory: not one of ours");
	if (fd_pread_full(fd, &h, sizeof h, 0) || h.magic != SHM_MAGIC)
		return err_set(err, -ERR_CORRUPT, "session memory: not one of ours");
	if (h.version != SHM_VERSION)
		return err_set(err, -EPROTO, "session memory: layout version %u, this program knows %u",
			       h.version, SHM_VERSION);
	if (!header_is_sane(&h, (uint64_t)st.st_size))
		return err_set(err, -ERR_CORRUPT, "session memory: its header contradicts itself");
	uint8_t *base = mmap(NULL, h.total_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED)
		return err_set(err, -errno, "session memory: %s", err_text(errno));
	*ret = (struct shm){.h = (void *)base,
			    .slots = (void *)(base + h.slots_at),
			    .parked = (void *)(base + h.parked_at),
			    .nodes = (void *)(base + h.nodes_at),
			    .bytes = h.total_bytes};
	return 0;
}

void shm_unmap(struct shm *s)
{
	if (s->h)
		(void)munmap(s->h, s->bytes);
	*s = (struct shm){0};
}

const struct fuse_in_header *shm_slot_request(const struct shm_slot *slot)
{
	const struct fuse_in_header *in = (const void *)slot->request;

	if (atomic_load(&slot->state) != SHM_SLOT_READING || in->len < sizeof *in || in->len > SHM_SLOT_BYTES)
		return NULL;
	return in;
}

static bool is_whole_read(const struct fuse_in_header *in)
{
	return in->opcode == FUSE_READ && in->len >= sizeof *in + sizeof(struct fuse_read_in) &&
	       in->len <= SHM_PARKED_BYTES;
}

const struct fuse_in_header *shm_parked_request(const struct shm_parked *p)
{
	const struct fuse_in_header *in = (const void *)p->request;

	return atomic_load(&p->state) == SHM_SLOT_READING && is_whole_read(in) ? in : NULL;
}

bool shm_park(const struct shm_slot *from, struct shm_parked *to)
{
	const struct fuse_in_header *in = shm_slot_request(from);

	if (!in || !is_whole_read(in))
		return false;
	memcpy(to->request, in, in->len);
	atomic_store(&to->state, SHM_SLOT_READING);
	return true;
}

void shm_count_requests(const struct shm *s, uint32_t *ret_all, uint32_t *ret_reads)
{
	*ret_all = *ret_reads = 0;
	for (uint32_t i = 0; i < SHM_SLOTS;
	     i++) { /* what the header says may have changed since it was checked */
		const struct fuse_in_header *in = shm_slot_request(&s->slots[i]);
		*ret_all += in != NULL;
		*ret_reads += in && in->opcode == FUSE_READ;
	}
	for (uint32_t i = 0; i < MIN(atomic_load(&s->h->parked_high), SHM_PARKED); i++) {
		bool held = shm_parked_request(&s->parked[i]) != NULL;
		*ret_all += held;
		*ret_reads += held;
	}
}
