#include "cache-node/cache/tier.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/bytes.h"
#include "common/base/fd.h"
#include "common/base/log.h"
#include "common/base/mem.h"

#define RECORDS_SLACK 65536
#define NAME_DIGITS   (2 * HASH256_BYTES - 2) /* of a file name; two more are its folder's */

int tier_init(struct tier *t, const struct cache_tier_config *config, struct err *err)
{
	*t = (struct tier){.kind = config->kind, .objects_fd = -1, .bytes_max = config->bytes_max};
	(void)snprintf(t->name, sizeof t->name, "%s", config->name ? config->name : "");
	if (mkdirat(config->dir_fd, "objects", 0700) != 0 && errno != EEXIST)
		return err_set(err, -errno, "tier %s: cannot make the folder objects: %s", t->name,
			       err_text(-errno));
	t->objects_fd = openat(config->dir_fd, "objects", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (t->objects_fd < 0)
		return err_set(err, -errno, "tier %s: cannot open the folder objects: %s", t->name,
			       err_text(-errno));
	return 0;
}

int tier_remember(struct tier *t, int dir_fd, const uint8_t boot[SIDECAR_BOOT_BYTES])
{
	struct journal *j = mem_calloc(1, sizeof *j);
	int r = j ? journal_open(j, dir_fd, boot) : -ENOMEM;
	if (r) {
		(void)mem_free(j);
		return r;
	}
	t->journal = j;
	atomic_store(&t->slack, RECORDS_SLACK);
	return 0;
}

void tier_note(struct tier *t, const struct journal_record *r)
{
	if (t->journal)
		journal_note(t->journal, r);
}

void tier_done(struct tier *t)
{
	if (t->journal)
		journal_done(t->journal);
	t->journal = mem_free(t->journal);
	t->objects_fd = t->objects_fd > 0 ? fd_close(t->objects_fd) : -1;
}

bool tier_is_high(const struct tier *t)
{
	return atomic_load(&t->used) > watermark_high(t->bytes_max);
}

void tier_path(const struct hash256 *id, enum tier_file file, char out[TIER_PATH_BYTES])
{
	static const char *const suffixes[] = {
		[TIER_PART] = ".part", [TIER_DATA] = ".data", [TIER_SIDE] = ".side"};
	char hex[HASH256_HEX];
	hash256_hex(id, hex);
	(void)snprintf(out, TIER_PATH_BYTES, "%.2s/%s%s", hex, hex + 2, suffixes[file]);
}

int tier_parse(const char *folder, const char *name, struct hash256 *ret_id, enum tier_file *ret_file)
{
	char hex[HASH256_HEX];
	if (strlen(name) != NAME_DIGITS + 5)
		return -EINVAL;
	const char *suffix = name + NAME_DIGITS;
	if (strcmp(suffix, ".data") == 0)
		*ret_file = TIER_DATA;
	else if (strcmp(suffix, ".part") == 0)
		*ret_file = TIER_PART;
	else if (strcmp(suffix, ".side") == 0)
		*ret_file = TIER_SIDE;
	else
		return -EINVAL;
	(void)snprintf(hex, sizeof hex, "%.2s%.*s", folder, NAME_DIGITS, name);
	return hex_decode(hex, ret_id->bytes, HASH256_BYTES);
}

static bool take_room(struct tier *t, uint64_t bytes, uint64_t bytes_max)
{
	if (atomic_load(&t->failed))
		return false;
	uint_fast64_t used = atomic_load(&t->used);
	do {
		if (bytes > bytes_max || used > bytes_max - bytes)
			return false;
	} while (!atomic_compare_exchange_weak(&t->used, &used, used + bytes));
	return true;
}

static void give_room(struct tier *t, uint64_t bytes)
{
	uint_fast64_t before = atomic_fetch_sub(&t->used, bytes);
	CHECK(before >= bytes);
}

int tier_take(struct tier *t, uint16_t share, uint64_t bytes)
{
	uint64_t reserve = t->shares ? share_reserve(t->shares, share, t->bytes_max) : 0;
	if (!take_room(t, bytes, t->bytes_max - reserve))
		return -ENOSPC;
	if (!t->shares || share_take(t->shares, share, bytes))
		return 0;
	give_room(t, bytes);
	return -EDQUOT;
}

void tier_add(struct tier *t, uint16_t share, uint64_t bytes)
{
	(void)atomic_fetch_add(&t->used, bytes);
	if (t->shares)
		share_add(t->shares, share, bytes);
}

void tier_give(struct tier *t, uint16_t share, uint64_t bytes)
{
	give_room(t, bytes);
	if (t->shares)
		share_give(t->shares, share, bytes);
}

void tier_came(struct tier *t, uint16_t share, bool sealed)
{
	(void)atomic_fetch_add(&t->objects, 1);
	(void)atomic_fetch_add(&t->sealed, sealed);
	if (t->shares)
		share_count(t->shares, share, 1);
}

void tier_left(struct tier *t, uint16_t share, bool sealed)
{
	(void)atomic_fetch_sub(&t->objects, 1);
	(void)atomic_fetch_sub(&t->sealed, sealed);
	if (t->shares)
		share_count(t->shares, share, -1);
}

void tier_move(struct tier *t, uint16_t from, uint16_t to, uint64_t bytes)
{
	if (t->shares && from != to)
		share_move(t->shares, from, to, bytes);
}

int tier_open(struct tier *t, const struct hash256 *id, enum tier_file file, int flags)
{
	char path[TIER_PATH_BYTES];
	tier_path(id, file, path);
	int fd = openat(t->objects_fd, path, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 && errno == ENOENT && (flags & O_CREAT)) {
		char folder[3] = {path[0], path[1], 0};
		if (mkdirat(t->objects_fd, folder, 0700) != 0 && errno != EEXIST)
			return -errno;
		fd = openat(t->objects_fd, path, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
	}
	return fd < 0 ? -errno : fd;
}

bool tier_header(struct tier *t, const struct hash256 *id, struct sidecar_header *ret)
{
	CLEANUP(fd_close) int fd = tier_open(t, id, TIER_SIDE, O_RDONLY);
	uint8_t bytes[SIDECAR_HEADER_BYTES];
	return fd >= 0 && fd_pread_full(fd, bytes, sizeof bytes, 0) == 0 &&
	       sidecar_decode_header(bytes, ret) == 0;
}

void tier_unlink(struct tier *t, const struct hash256 *id)
{
	/* The sidecar last: what is left by a crash in between is a sidecar alone, which the scan removes. */
	static const enum tier_file files[] = {TIER_DATA, TIER_PART, TIER_SIDE};
	for (size_t i = 0; i < LENGTH(files); i++) {
		char path[TIER_PATH_BYTES];
		tier_path(id, files[i], path);
		if (unlinkat(t->objects_fd, path, 0) != 0 && errno != ENOENT)
			(void)tier_judge(t, -errno);
	}
	/* After its files: a process that dies in between leaves a claim that is found false, not files that nobody knows. */
	tier_note(t, &(struct journal_record){.id = *id, .kind = JOURNAL_GONE});
}

int tier_judge(struct tier *t, int code)
{
	if ((code == -EIO || code == -EROFS) && !atomic_exchange(&t->failed, true))
		log_write(LOG_ERROR, "a cache tier failed and is written no more", LOG_STR("tier", t->name),
			  LOG_STR("error", err_text(code)), NULL);
	return code;
}
