/*
 * record - an entry in the builder's memory and temporary files: a fixed head, then path, key, target and validator,
 * padded to 8 bytes. Never leaves the process, so it is in the machine's own byte order.
 */
#ifndef COMMON_MANIFEST_RECORD_H
#define COMMON_MANIFEST_RECORD_H

#include <string.h>

#include "common/manifest.h"
#include "common/manifest/key.h"

struct record {
	uint32_t bytes; /* all of it, padding too */
	uint16_t path_len, key_len, target_len;
	uint16_t mode, source;
	uint8_t type, validator_kind, validator_len;
	uint64_t size;
	int64_t mtime_ns;
	char text[];
};

#define RECORD_MAX (sizeof(struct record) + 3 * MANIFEST_PATH_MAX + VALIDATOR_BYTES_MAX + 8)

static inline size_t record_bytes(const struct manifest_entry *e)
{
	return (sizeof(struct record) + e->path_len + e->key_len + e->target_len + e->validator.len + 7) &
	       ~(size_t)7;
}

/* Writes record_bytes(e) bytes; @r is aligned to 8. */
static inline void record_write(struct record *r, const struct manifest_entry *e)
{
	r->bytes = (uint32_t)record_bytes(e);
	r->path_len = (uint16_t)e->path_len;
	r->key_len = (uint16_t)e->key_len;
	r->target_len = (uint16_t)e->target_len;
	r->mode = e->mode;
	r->source = e->source;
	r->type = (uint8_t)e->type;
	r->validator_kind = e->validator.kind;
	r->validator_len = e->validator.len;
	r->size = e->size;
	r->mtime_ns = e->mtime_ns;
	char *p = r->text;
	memcpy(p, e->path_len ? e->path : "", e->path_len);
	p += e->path_len;
	memcpy(p, e->key_len ? e->key : "", e->key_len);
	p += e->key_len;
	memcpy(p, e->target_len ? e->target : "", e->target_len);
	p += e->target_len;
	memcpy(p, e->validator.bytes, e->validator.len);
	p += e->validator.len;
	memset(p, 0, (size_t)((char *)r + r->bytes - p));
}

/* The entry, its strings borrowed from @r. */
static inline void record_read(const struct record *r, struct manifest_entry *ret)
{
	const char *key = r->text + r->path_len, *target = key + r->key_len;

	*ret = (struct manifest_entry){
		.type = (enum manifest_type)r->type,
		.mode = r->mode,
		.source = r->source,
		.size = r->size,
		.mtime_ns = r->mtime_ns,
		.validator = {.kind = r->validator_kind, .len = r->validator_len},
		.path = r->text,
		.path_len = r->path_len,
		.key = r->key_len ? key : NULL,
		.key_len = r->key_len,
		.target = r->target_len ? target : NULL,
		.target_len = r->target_len,
	};
	memcpy(ret->validator.bytes, target + r->target_len, r->validator_len);
}

static inline struct path_key record_key(const struct record *r)
{
	return (struct path_key){r->text, r->path_len, manifest_type_is_dir((enum manifest_type)r->type)};
}

#endif
