/*
 * dataset - a Dataset and its Secrets as people write them (YAML) and as programs send them (larder.v1), parsed.
 *
 * The operator parses files and sends messages; the node takes messages and validates them again. Every field, its
 * default and its limits stand in one table, api/dataset_fields.h; the parser walks that table. A mistake is answered
 * with one sentence: file, line, column, what is wrong and what would be right.
 *
 * Nothing here makes a syscall. A struct dataset does not change once it was made, so many threads may read it.
 */
#ifndef COMMON_DATASET_H
#define COMMON_DATASET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/larder/v1/types.pb-c.h"
#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/source.h"

#define DATASET_TEXT_MAX    (4u << 20) /* bytes of a YAML file */
#define DATASET_SOURCES_MAX 32
#define DATASET_LIST_MAX    256                         /* globs, paths of one list */
#define DATASET_DOCS_MAX    1024                        /* documents of one file */
#define DATASET_LABEL_MAX   63                          /* bytes of a name or namespace: a DNS label */
#define DATASET_FULL_MAX    (2 * DATASET_LABEL_MAX + 2) /* "namespace/name" and its NUL */

struct dataset_list {
	char **items; /* NUL-ended strings, owned */
	size_t count;
};

struct dataset_source {
	char *mount_path; /* "/" or "/a/b": absolute, no slash at its end, no empty or dot components */
	enum source_kind kind;
	struct {
		char *bucket;
		char *prefix; /* "" or ends in "/" */
		char *region; /* "us-east-1" unless given */
		char *endpoint; /* NULL: Amazon's of that region; else http(s)://host[:port] without a slash at its end */
		enum source_addressing addressing;
		uint32_t connections;                    /* 0: the source's default */
		uint64_t requests_per_second, bandwidth; /* 0: no limit */
		char *profile;                           /* NULL: none */
		char *ca_secret;                         /* name of a Secret with ca.crt; NULL: none */
		char *proxy;                             /* NULL: as the environment says */
	} s3;
	struct {
		char *url;
		enum source_index index;
	} http;
	struct {
		char *path; /* absolute, on the node */
		enum source_symlinks symlinks;
	} file;
	char *secret; /* name of a Secret in the dataset's namespace; NULL: none */
	bool anonymous;
	struct dataset_list include; /* globs of paths below the source's own root; none: everything */
	struct dataset_list exclude; /* wins over include */
	int64_t timeout_ns;          /* foreground deadline of a read, > 0 */
};

enum dataset_tier { DATASET_TIER_NVME = 1, DATASET_TIER_DRAM = 2 };
#define DATASET_TIERS_MAX 2

struct dataset {
	char *namespace_, *name;        /* DNS labels */
	uint64_t generation;            /* a later spec has a larger one; 0 until the operator gave one */
	struct dataset_source *sources; /* at least one; their mount paths differ */
	size_t source_count;
	uint64_t version; /* 0: Latest; else the version that every reader shall see */
	struct {
		int64_t interval_ns;       /* 0: on request and on a change of the spec only */
		struct dataset_list paths; /* globs; none: everything */
	} sync;
	struct {
		uint32_t versions; /* most that are kept, the newest included; at least 1 */
		int64_t age_ns;    /* how long after a newer one took its place; 0: without end */
	} retention;
	struct {
		uint64_t quota_bytes;                       /* 0: none */
		uint64_t floor_bytes;                       /* 0: none; at most the quota */
		enum dataset_tier tiers[DATASET_TIERS_MAX]; /* by preference */
		size_t tier_count;                          /* 0: any */
		bool pin;
		int64_t ttl_ns; /* 0: none */
	} cache;
	struct {
		bool enabled;
		struct dataset_list paths; /* globs; none: everything */
		uint64_t bandwidth;        /* bytes a second; 0: no limit */
	} preload;
	struct {
		uint32_t uid, gid;
		uint16_t mode; /* of files that bring none; never 0. Directories add x where there is r */
	} access;
	struct {
		Larder__V1__Volume__Profile profile;
		int64_t open_wait_ns;
	} volume;
	struct dataset_list
		unacted; /* paths of fields that were given and that this version does not act on */
};

/* With all that it owns. NULL is fine; returns NULL. */
struct dataset *dataset_free(struct dataset *d);
DEFINE_CLEANUP(struct dataset *, dataset_free)

/* "namespace/name", as the catalog names it. */
void dataset_full_name(const struct dataset *d, char out[DATASET_FULL_MAX]);

/* "s3://bucket/prefix", "https://host/path" (without a query), "file:/path": for labels and messages, no secret in it.
 * Returns the length that the whole text has, as snprintf does. */
size_t dataset_source_text(const struct dataset_source *s, char *out, size_t len);

/* Whose bytes a source's are (design 6): endpoint, bucket and principal. Objects are shared only between equal domains.
 * Owned by the caller; NULL when out of memory. */
MUST_CHECK char *dataset_trust_domain(const struct dataset *d, size_t source);

/* Hash of all that a manifest depends on: stores, mount paths, include and exclude. A changed one needs a new sync. */
uint64_t dataset_config_hash(const struct dataset *d);

/* Whether a path below the source's root (no slash at its start) is part of the dataset by include and exclude. */
bool dataset_source_takes(const struct dataset_source *s, const char *path, size_t len);

/* ---- secrets ---- */

/* What a Secret may hold; the value is text without NUL. */
#define SECRET_KEYS(X)                         \
	X(ACCESS_KEY, "AWS_ACCESS_KEY_ID")     \
	X(SECRET_KEY, "AWS_SECRET_ACCESS_KEY") \
	X(SESSION_TOKEN, "AWS_SESSION_TOKEN")  \
	X(USERNAME, "username")                \
	X(PASSWORD, "password")                \
	X(TOKEN, "token")                      \
	X(TLS_CRT, "tls.crt")                  \
	X(TLS_KEY, "tls.key")                  \
	X(CA_CRT, "ca.crt")

enum secret_key {
#define X(id, name) SECRET_##id,
	SECRET_KEYS(X)
#undef X
		SECRET_KEY_COUNT
};

struct secret {
	char *namespace_, *name;
	char *value[SECRET_KEY_COUNT]; /* owned, wiped when freed; NULL: not given */
};

/* Wipes the values, then frees. NULL is fine; returns NULL. */
struct secret *secret_free(struct secret *s);
DEFINE_CLEANUP(struct secret *, secret_free)

/* The key's name in YAML. */
const char *secret_key_name(enum secret_key key);

/* Fills *ret with pointers borrowed from @s; a NULL @s is anonymous. */
void secret_credential(const struct secret *s, struct source_credential *ret);

/* What source_new() needs to know of @s, but for label and root: pointers borrowed from the arguments. @ca: the Secret of its
 * caSecretRef, or NULL. */
void dataset_source_config(const struct dataset_source *s, const struct secret *secret,
			   const struct secret *ca, struct source_config *ret);

/* ---- YAML ---- */

struct dataset_file {
	struct dataset **datasets;
	size_t dataset_count;
	struct secret **secrets;
	size_t secret_count;
};

/* Parses a file of Datasets and Secrets (YAML; JSON is YAML). @file names it in errors. An empty file has none of either.
 * 0 with *ret owned by the caller; -EINVAL, -EFBIG (a limit above) or -ERR_UNSUPPORTED, with words; -ENOMEM. */
MUST_CHECK int dataset_file_parse(const char *file, const char *text, size_t len, struct dataset_file **ret,
				  struct err *err);
struct dataset_file *dataset_file_free(struct dataset_file *f);
DEFINE_CLEANUP(struct dataset_file *, dataset_file_free)

/* ---- messages ---- */

/* A new message with copies of everything; ended by larder__v1__dataset__free_unpacked(m, NULL). 0 or -ENOMEM. */
MUST_CHECK int dataset_to_message(const struct dataset *d, Larder__V1__Dataset **ret);
/* As above; its values are secrets: end it with secret_message_free(). */
MUST_CHECK int secret_to_message(const struct secret *s, Larder__V1__Credential **ret);
/* Wipes the values, then frees. NULL is fine; returns NULL. */
Larder__V1__Credential *secret_message_free(Larder__V1__Credential *m);

/* Validates a message as strictly as the parser does a file; the sender is not trusted. What is not given gets its
 * default. 0 with *ret owned by the caller; -EINVAL, -ERR_UNSUPPORTED with words; -ENOMEM. */
MUST_CHECK int dataset_from_message(const Larder__V1__Dataset *m, struct dataset **ret, struct err *err);
MUST_CHECK int secret_from_message(const Larder__V1__Credential *m, struct secret **ret, struct err *err);

/* Whether @text is a DNS label (RFC 1123: 1 to 63 of a-z, 0-9 and '-', alphanumeric at both ends). */
bool dataset_label_valid(const char *text);

#endif
