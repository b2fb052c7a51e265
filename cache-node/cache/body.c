#include "cache-node/cache/body.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/fd.h"
#include "common/base/log.h"
#include "common/base/mem.h"

static struct body *body_alloc(struct tier *t, const struct body_spec *spec)
{
	struct body *b = mem_calloc(1, sizeof *b);
	if (!b)
		return NULL;
	b->tier = t;
	b->id = spec->id;
	b->validator = spec->validator;
	sidecar_name(b->key, spec->key);
	b->share = spec->share;
	b->share_name = spec->share_name;
	b->size = spec->size;
	b->blocks = sidecar_blocks(spec->size);
	memcpy(b->boot, spec->boot, sizeof b->boot);
	b->fd = b->side_fd = -1;
	b->map_len = sidecar_bytes(spec->size);
	atomic_init(&b->refs, 1);
	(void)pthread_mutex_init(&b->lock, NULL); /* cannot fail without attributes */
	return b;
}

struct body *body_ref(struct body *b)
{
	(void)atomic_fetch_add(&b->refs, 1);
	return b;
}

struct body *body_unref(struct body *b)
{
	if (!b || atomic_fetch_sub(&b->refs, 1) != 1)
		return NULL;
	if (b->map)
		(void)munmap(b->map, b->map_len); /* our own mapping: cannot fail */
	(void)fd_close(b->fd);
	(void)fd_close(b->side_fd);
	(void)pthread_mutex_destroy(&b->lock);
	return mem_free(b);
}

static int map_sidecar(struct body *b)
{
	void *map = mmap(NULL, b->map_len, PROT_READ | PROT_WRITE, MAP_SHARED, b->side_fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	b->map = map;
	return 0;
}

/* One write(2), so that a kill leaves the old header or the new one. */
static int write_header(struct body *b, bool sealed)
{
	struct sidecar_header h = {.sealed = sealed,
				   .size = b->size,
				   .id = b->id,
				   .validator = b->validator,
				   .share = b->share_name};
	uint8_t bytes[SIDECAR_HEADER_BYTES];
	memcpy(h.boot, b->boot, sizeof h.boot);
	memcpy(h.key, b->key, sizeof h.key);
	sidecar_encode(&h, bytes);
	return fd_pwrite_full(b->side_fd, bytes, sizeof bytes, 0);
}

static int create_files(struct body *b)
{
	b->fd = tier_open(b->tier, &b->id, TIER_PART, O_RDWR | O_CREAT | O_TRUNC);
	if (b->fd < 0)
		return b->fd;
	b->side_fd = tier_open(b->tier, &b->id, TIER_SIDE, O_RDWR | O_CREAT | O_TRUNC);
	if (b->side_fd < 0)
		return b->side_fd;
	if (ftruncate(b->fd, (off_t)b->size) != 0)
		return -errno;
	/* Real blocks: a store to a hole of a mapping on a full disk would be SIGBUS. */
	int r = posix_fallocate(b->side_fd, 0, (off_t)b->map_len);
	if (r)
		return -r;
	r = write_header(b, false);
	return r ? r : map_sidecar(b);
}

static void note(struct body *b, enum journal_kind kind)
{
	struct journal_record r = {.id = b->id, .share = b->share_name, .kind = kind};
	if (kind == JOURNAL_SEALED) {
		r.bytes = MAX(body_charged(b), 1);
		r.used_ns = clock_wall_ns();
	}
	tier_note(b->tier, &r);
}

int body_create(struct tier *t, const struct body_spec *spec, struct body **ret)
{
	uint64_t charge = tier_round(sidecar_bytes(spec->size));
	CLEANUP(body_unref) struct body *b = body_alloc(t, spec);
	if (!b)
		return -ENOMEM;
	int r = tier_take(t, b->share, charge);
	if (r)
		return r;
	note(b, JOURNAL_OPEN); /* before there is a file that nobody knows */
	r = tier_judge(t, create_files(b));
	if (r) {
		tier_unlink(t, &b->id);
		tier_give(t, b->share, charge);
		return r;
	}
	b->charged = charge;
	tier_came(t, b->share, false);
	*ret = TAKE(b);
	return 0;
}

/* Whether @fd is a file of @size bytes that only this user could have made. */
static bool file_fits(int fd, uint64_t size, uint64_t *ret_physical)
{
	struct stat st;
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() || st.st_nlink != 1)
		return false;
	*ret_physical += (uint64_t)st.st_blocks * 512;
	return (uint64_t)st.st_size == size;
}

/* Opens the files as named. *ret_sealed by the name. 0, -ENOENT: no data file, -ERR_CORRUPT: it does not fit. */
static int open_files(struct body *b, bool *ret_sealed, uint64_t *ret_physical)
{
	*ret_sealed = true;
	b->fd = tier_open(b->tier, &b->id, TIER_DATA, O_RDONLY);
	if (b->fd == -ENOENT) {
		*ret_sealed = false;
		b->fd = tier_open(b->tier, &b->id, TIER_PART, O_RDWR);
	}
	if (b->fd < 0)
		return b->fd;
	b->side_fd = tier_open(b->tier, &b->id, TIER_SIDE, O_RDWR);
	if (b->side_fd < 0)
		return b->side_fd == -ENOENT ? -ERR_CORRUPT : b->side_fd;
	if (!file_fits(b->fd, b->size, ret_physical) || !file_fits(b->side_fd, b->map_len, ret_physical))
		return -ERR_CORRUPT;
	if (*ret_sealed && fchmod(b->fd, 0400) != 0) /* the process may have died between name and mode */
		return -errno;
	return map_sidecar(b);
}

/* Checks the sidecar against what is asked for. NULL, or why it is not good. */
static const char *judge_sidecar(struct body *b, bool sealed_name)
{
	struct sidecar_header h;
	if (sidecar_decode(b->map, b->map_len, &h) != 0)
		return "the sidecar is damaged or of another version";
	if (h.size != b->size || hash256_compare(&h.id, &b->id) != 0 ||
	    !validator_equal(&h.validator, &b->validator))
		return "the sidecar is of another object";
	b->share_name = h.share;
	bool same_boot = memcmp(h.boot, b->boot, sizeof h.boot) == 0;
	atomic_store(&b->have, sidecar_count(b->map, b->size));
	atomic_store(&b->sealed, sealed_name);
	atomic_store(&b->unverified, sealed_name && !same_boot);
	if (sealed_name && (!h.sealed || !body_full(b)))
		return "it has the name of a sealed object and is none";
	if (!sealed_name && !same_boot)
		return "it was partial when the machine went down";
	return NULL;
}

static void drop_log(const struct body *b, const char *why)
{
	char hex[HASH256_HEX];
	const char *name = hex;
	hash256_hex(&b->id, hex);
	log_write(LOG_WARN, "dropped a cached object", LOG_STR("tier", b->tier->name),
		  LOG_STR("object", name), LOG_STR("reason", why), NULL);
}

int body_open(struct tier *t, const struct body_spec *spec, uint64_t charged, bool charged_sealed,
	      struct body **ret)
{
	CLEANUP(body_unref) struct body *b = body_alloc(t, spec);
	if (!b)
		return -ENOMEM;
	bool sealed = false;
	uint64_t physical = 0;
	const char *why = NULL;
	int r = open_files(b, &sealed, &physical);
	if (r == 0)
		why = judge_sidecar(b, sealed);
	else if (r == -ERR_CORRUPT)
		why = "its files do not fit";
	if (why || (r == -ENOENT && charged)) {
		if (why)
			drop_log(b, why);
		tier_unlink(t, &b->id);
		if (charged) {
			tier_give(t, spec->share, charged);
			tier_left(t, spec->share, charged_sealed);
		}
		return -ENOENT;
	}
	if (r)
		return tier_judge(t, r);
	if (!charged) {
		/* Old files are charged even beyond the limit: eviction then brings the tier back below it. */
		if (b->share_name && t->shares)
			b->share = share_of_name(t->shares, b->share_name);
		tier_add(t, b->share, physical);
		tier_came(t, b->share, sealed);
	}
	if (charged && sealed && !charged_sealed)
		(void)atomic_fetch_add(&t->sealed, 1);
	if (charged && !sealed && charged_sealed)
		(void)atomic_fetch_sub(&t->sealed, 1);
	b->charged = charged ? charged : physical;
	if (!sealed)
		note(b, JOURNAL_OPEN);
	*ret = TAKE(b);
	return 0;
}

static int body_charge(struct body *b, uint64_t bytes)
{
	int r = tier_take(b->tier, b->share, bytes);
	if (r)
		return r;
	(void)pthread_mutex_lock(&b->lock);
	bool gone = b->unlinked;
	if (!gone)
		b->charged += bytes;
	(void)pthread_mutex_unlock(&b->lock);
	if (gone)
		tier_give(b->tier, b->share, bytes);
	return gone ? -ENOENT : 0;
}

static void body_discharge(struct body *b, uint64_t bytes)
{
	(void)pthread_mutex_lock(&b->lock);
	if (!b->unlinked) { /* else it gave back everything */
		b->charged -= bytes;
		tier_give(b->tier, b->share, bytes);
	}
	(void)pthread_mutex_unlock(&b->lock);
}

void body_adopt(struct body *b, uint16_t share, uint64_t share_name)
{
	tier_move(b->tier, b->share, share, b->charged);
	b->share = share;
	b->share_name = share_name;
}

uint64_t body_charged(struct body *b)
{
	(void)pthread_mutex_lock(&b->lock);
	uint64_t bytes = b->charged;
	(void)pthread_mutex_unlock(&b->lock);
	return bytes;
}

static uint64_t block_charge(const struct body *b, uint64_t block)
{
	return tier_round(MIN(SIDECAR_BLOCK_BYTES, b->size - block * SIDECAR_BLOCK_BYTES));
}

int body_write(struct body *b, uint64_t first, const uint8_t *bytes, size_t len)
{
	uint64_t offset = first * SIDECAR_BLOCK_BYTES;
	CHECK(offset + len <= b->size);
	CHECK(len % SIDECAR_BLOCK_BYTES == 0 || offset + len == b->size);
	CHECK(!atomic_load(&b->sealed));
	uint64_t charge = tier_round(len);
	int r = body_charge(b, charge);
	if (r)
		return r;
	r = tier_judge(b->tier, fd_pwrite_full(b->fd, bytes, len, offset));
	if (r) {
		body_discharge(b, charge);
		return r;
	}
	uint64_t again = 0; /* bytes that were charged already */
	for (size_t at = 0; at < len; at += SIDECAR_BLOCK_BYTES) {
		uint64_t block = first + at / SIDECAR_BLOCK_BYTES;
		bool fresh = !sidecar_has(b->map, block);
		sidecar_set(b->map, b->size, block,
			    crc32c(0, bytes + at, MIN(len - at, SIDECAR_BLOCK_BYTES)));
		if (fresh)
			(void)atomic_fetch_add(&b->have, 1);
		else
			again += block_charge(b, block);
	}
	if (again)
		body_discharge(b, again);
	return 0;
}

void body_forget(struct body *b, uint64_t block)
{
	(void)pthread_mutex_lock(&b->lock);
	bool gone = !atomic_load(&b->sealed) && sidecar_clear(b->map, block);
	if (gone)
		(void)atomic_fetch_sub(&b->have, 1);
	(void)pthread_mutex_unlock(&b->lock);
	if (gone) /* its room stays taken on the disk until it is written anew, which charges it again */
		body_discharge(b, block_charge(b, block));
}

/* A block that cannot be read back is absent again; a sealed body is never changed, its owner drops it whole. */
static int bad_block(struct body *b, uint64_t block, int code, uint64_t *ret_bad)
{
	*ret_bad = block;
	body_forget(b, block);
	return code;
}

int body_read(struct body *b, uint64_t offset, uint8_t *buf, size_t len, uint64_t *ret_bad)
{
	CHECK(offset <= b->size && len <= b->size - offset);
	int r = fd_pread_full(b->fd, buf, len, offset);
	uint64_t block = offset / SIDECAR_BLOCK_BYTES,
		 end = (offset + len + SIDECAR_BLOCK_BYTES - 1) / SIDECAR_BLOCK_BYTES;
	for (; block < end; block++) {
		uint64_t from = block * SIDECAR_BLOCK_BYTES, to = MIN(from + SIDECAR_BLOCK_BYTES, b->size);
		if (r) { /* find the block that cannot be read */
			uint64_t a = MAX(from, offset), z = MIN(to, offset + len);
			int one = fd_pread_full(b->fd, buf + (a - offset), z - a, a);
			if (one)
				return bad_block(b, block, one, ret_bad);
		}
		if (from < offset || to > offset + len)
			continue;
		if (crc32c(0, buf + (from - offset), to - from) != sidecar_crc(b->map, b->size, block))
			return bad_block(b, block, -ERR_CORRUPT, ret_bad);
	}
	return 0;
}

static int seal_files(struct body *b)
{
	char from[TIER_PATH_BYTES], to[TIER_PATH_BYTES];
	tier_path(&b->id, TIER_PART, from);
	tier_path(&b->id, TIER_DATA, to);
	int r = write_header(b, true);
	if (r)
		return r;
	if (renameat(b->tier->objects_fd, from, b->tier->objects_fd, to) != 0)
		return -errno;
	return fchmod(b->fd, 0400) == 0 ? 0 : -errno;
}

int body_seal(struct body *b)
{
	/* The mark goes first: from then on no reader takes a block away. */
	(void)pthread_mutex_lock(&b->lock);
	CHECK(!atomic_load(&b->sealed));
	bool full = body_full(b);
	atomic_store(&b->sealed, full);
	(void)pthread_mutex_unlock(&b->lock);
	if (!full)
		return -EAGAIN;
	int r = tier_judge(b->tier, seal_files(b));
	if (r) {
		atomic_store(&b->sealed, false);
		return r;
	}
	(void)atomic_fetch_add(&b->tier->sealed, 1);
	note(b, JOURNAL_SEALED);
	return 0;
}

int body_verify(struct body *b, uint8_t *buf)
{
	CHECK(atomic_load(&b->sealed));
	for (uint64_t block = 0; block < b->blocks; block++) {
		uint64_t from = block * SIDECAR_BLOCK_BYTES, bad;
		int r = body_read(b, from, buf, MIN(SIDECAR_BLOCK_BYTES, b->size - from), &bad);
		if (r)
			return -ERR_CORRUPT;
	}
	int r = tier_judge(b->tier, write_header(b, true));
	if (r == 0)
		atomic_store(&b->unverified, false);
	return r;
}

int body_file(struct body *b)
{
	CHECK(atomic_load(&b->sealed));
	return tier_open(b->tier, &b->id, TIER_DATA, O_RDONLY);
}

uint64_t body_unlink(struct body *b)
{
	(void)pthread_mutex_lock(&b->lock);
	bool was = b->unlinked;
	uint64_t bytes = was ? 0 : b->charged;
	b->unlinked = true;
	b->charged = 0;
	(void)pthread_mutex_unlock(&b->lock);
	if (was)
		return 0;
	tier_unlink(b->tier, &b->id);
	tier_give(b->tier, b->share, bytes);
	tier_left(b->tier, b->share, atomic_load(&b->sealed));
	return bytes;
}
