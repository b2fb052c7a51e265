#include "cache-node/supervisor/node_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/fd.h"
#include "common/base/hash.h"

int node_memory_create(int *ret_fd)
{
	CLEANUP(fd_close) int fd = memfd_create("larder-node", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0 || ftruncate(fd, (off_t)sizeof(struct node_memory)) < 0)
		return -errno;
	uint64_t incarnation;
	if (getrandom(&incarnation, sizeof incarnation, 0) != (ssize_t)sizeof incarnation)
		return -EIO;
	const struct {
		uint64_t magic;
		uint32_t version, bytes;
		uint64_t incarnation;
	} head = {NODE_MEMORY_MAGIC, NODE_MEMORY_VERSION, sizeof(struct node_memory), incarnation | 1};
	int r = fd_pwrite_full(fd, &head, sizeof head, 0);
	if (r)
		return r;
	/* A worker gone wrong that made it shorter would end the supervisor with SIGBUS. */
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	*ret_fd = fd_take(&fd);
	return 0;
}

int node_memory_map(int fd, struct node_memory **ret, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_set(err, -errno, "node memory: %s", err_text(errno));
	if ((size_t)st.st_size != sizeof(struct node_memory))
		return err_set(err, -EPROTO, "node memory: of another size than this program's");
	int seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || !(seals & F_SEAL_SHRINK))
		return err_set(err, -ERR_CORRUPT, "node memory: not one of ours");
	struct node_memory *m = mmap(NULL, sizeof *m, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (m == MAP_FAILED)
		return err_set(err, -errno, "node memory: %s", err_text(errno));
	if (m->magic != NODE_MEMORY_MAGIC || m->bytes != sizeof *m || m->version != NODE_MEMORY_VERSION) {
		int r = m->magic == NODE_MEMORY_MAGIC ? -EPROTO : -ERR_CORRUPT;
		(void)munmap(m, sizeof *m);
		return err_set(err, r, "node memory: not one of this version");
	}
	*ret = m;
	return 0;
}

struct node_memory *node_memory_unmap(struct node_memory *m)
{
	if (m)
		(void)munmap(m, sizeof *m);
	return NULL;
}

static int newer_place(const struct node_memory *m)
{
	return atomic_load(&m->place[1].sequence) > atomic_load(&m->place[0].sequence);
}

int node_memory_save(struct node_memory *m, const void *bytes, size_t len)
{
	int newer = newer_place(m), place = !newer;
	uint64_t next = atomic_load(&m->place[newer].sequence) + 1;

	if (len > NODE_MEMORY_BLOB_MAX)
		return -EFBIG;
	atomic_store(&m->place[place].sequence, 0);
	size_t before = m->place[place].len;
	if (len)
		memcpy(m->blob[place], bytes, len);
	if (before > len && before <= NODE_MEMORY_BLOB_MAX)
		explicit_bzero(m->blob[place] + len, before - len); /* old credentials do not linger */
	m->place[place].len = (uint32_t)len;
	m->place[place].crc = crc32c(0, m->blob[place], len);
	atomic_store(&m->place[place].sequence, next);
	return 0;
}

static int is_whole(const struct node_memory *m, int place)
{
	return atomic_load(&m->place[place].sequence) && m->place[place].len <= NODE_MEMORY_BLOB_MAX &&
	       crc32c(0, m->blob[place], m->place[place].len) == m->place[place].crc;
}

const uint8_t *node_memory_load(const struct node_memory *m, size_t *ret_len)
{
	int newer = newer_place(m), place = is_whole(m, newer) ? newer : !newer;

	*ret_len = is_whole(m, place) ? m->place[place].len : 0;
	return m->blob[place];
}
