/*
 * manifest - one version of a dataset's tree: an immutable, sorted, content-addressed table of entries (design 3).
 *
 * A manifest is a root (a list of chunks) and chunks of about 4 MiB, each named by its SHA-256. Every directory is an
 * entry, the root too (ordinal 0, path ""). Order is that of git trees: paths compared as bytes, a directory's with a '/'
 * at its end; so a subtree is one range of ordinals, [ordinal, end), and the children of a directory are met by going
 * from `ordinal + 1` and skipping each child directory to its `end`. Format: docs/formats/manifest.md.
 *
 * Where little changed, a version is the chunks of an earlier one and deltas over them: tables of edits. Readers see one table
 * whichever way it is written; ordinals are those of the whole.
 *
 * The reader trusts nothing: every chunk is verified against its hash when first mapped, every length is checked.
 * Threads: a struct manifest may be used by many threads at once; a builder by one.
 */
#ifndef COMMON_MANIFEST_H
#define COMMON_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/validator.h"

#define MANIFEST_NAME_MAX   255  /* bytes of one path component */
#define MANIFEST_PATH_MAX   4095 /* bytes of a path, without a NUL */
#define MANIFEST_DELTAS_MAX 4    /* over one base */

/* UNLISTED is reserved for directories that are listed on first use; no builder writes it yet. */
enum manifest_type { MANIFEST_FILE = 1, MANIFEST_DIR = 2, MANIFEST_SYMLINK = 3, MANIFEST_UNLISTED = 4 };

/* An entry as it is given to a builder or found by a reader. */
struct manifest_entry {
	enum manifest_type type;
	uint16_t mode;   /* permission bits 07777; 0: the dataset's access.mode counts */
	uint16_t source; /* index of the dataset's source that holds it */
	uint64_t size;
	int64_t mtime_ns;
	struct validator validator;
	uint64_t ordinal; /* reader only: place in the table */
	uint64_t end;     /* reader only: DIR: ordinal after its subtree; else ordinal + 1 */
	size_t path_len, key_len, target_len;
	const char *path;   /* "a/b", no slash at either end; NUL-ended when from a reader */
	const char *key;    /* the object's key in its source; NULL (key_len 0): see manifest_key() */
	const char *target; /* SYMLINK only, else NULL */
};

/* Private to the reader: where it stands in a chunk, so that the next entry needs no search. All zero: nowhere. */
struct manifest_cursor {
	uint32_t offset, limit;            /* of the next entry and of its block's end, in the chunk */
	uint32_t index;                    /* of the next entry in the chunk */
	uint32_t path_len;                 /* of the entry before, in its block */
	int64_t seconds;                   /* of the entry before, as the three below */
	uint64_t next_ordinal, next_below; /* after the edit before, in a delta */
	uint16_t mode, source;
	uint8_t shape[3];
};
struct manifest_position {
	const void *owner; /* the manifest; NULL: nowhere */
	uint64_t next;     /* ordinal of the next entry */
	uint64_t run_end;  /* up to where the entries follow one another in one table */
	uint64_t below;    /* the ordinal of the next entry in that table */
	size_t table;      /* 0: the base, else a delta */
	uint64_t dir, dir_end, dir_hash;
	size_t dir_len; /* of the directory that manifest_next_child() lists */
	size_t chunk;
	struct manifest_cursor cursor;
};

/* An entry with the memory its strings point into. The reader rebuilds front-coded paths here. 16 KiB: not many on a
 * stack. */
struct manifest_found {
	struct manifest_entry e;
	struct manifest_position position;
	char path[MANIFEST_PATH_MAX + 1];
	char key[MANIFEST_PATH_MAX + 1];
	char target[MANIFEST_PATH_MAX + 1];
};

struct manifest_stats {
	uint64_t entries, files, dirs, symlinks;
	uint64_t bytes;        /* sum of file sizes */
	uint64_t no_validator; /* files whose validator is NONE */
	uint64_t skipped;      /* names left out, which not even the rule of name.h can show (builder) */
	uint64_t chunks, encoded_bytes; /* of base and deltas; bytes with the root */
	uint64_t size_histogram
		[48]; /* files by bit length of their size: [0] empty, [k] sizes in [2^(k-1), 2^k) */
};

/* ---- chunks ---- */

/* Where chunks are put and found: by hash. cache-node/catalog.h offers one of each. */
struct manifest_sink {
	/* Stores @len bytes under @hash, durable before the head that names them moves. 0 or -errno. */
	int (*put)(void *ctx, const struct hash256 *hash, const void *bytes, size_t len, struct err *err);
	void *ctx;
};
struct manifest_chunks {
	/* Maps the chunk read-only; stays valid until unmap. -ENOENT when it is not there. Thread-safe. */
	int (*map)(void *ctx, const struct hash256 *hash, const uint8_t **ret, size_t *ret_len,
		   struct err *err);
	void (*unmap)(void *ctx, const uint8_t *bytes, size_t len);
	void *ctx;
};

/* Whether the bytes begin as a root does, and not as a chunk. */
bool manifest_is_root(const uint8_t *bytes, size_t len);

/* Calls @visit with the hash of each chunk that a root names, until it answers other than 0. 0, -ENOMEM, -ERR_CORRUPT, what it
 * answered. What a store keeps for a version is its root and these. */
MUST_CHECK int manifest_root_names(const uint8_t *bytes, size_t len,
				   int (*visit)(void *ctx, const struct hash256 *hash), void *ctx);

/* ---- building ---- */

struct conflicts;
struct manifest_builder;

struct manifest_builder_config {
	int temp_dir_fd; /* sorted runs go to unlinked files below it; borrowed for the builder's life */
	uint64_t
		memory_max; /* bytes for sorting, at least 1 MiB; an eighth more where files have names of folders */
	int64_t dir_mtime_ns; /* for directories nobody listed */
	/* The version before: the new one may be written as a delta over it. NULL: as a table of its own. Borrowed until
	 * manifest_builder_finish(); its chunks must outlive the head's move. */
	struct manifest *before;
	uint32_t chunk_bytes; /* target size of a chunk; 0: 4 MiB. Tests make it small */
};

/* 0 with *ret owned by the caller; -EINVAL, -ENOMEM. */
MUST_CHECK int manifest_builder_new(const struct manifest_builder_config *config,
				    struct manifest_builder **ret);

/* Frees the builder and its temporary files. NULL is fine; returns NULL. */
struct manifest_builder *manifest_builder_free(struct manifest_builder *b);
DEFINE_CLEANUP(struct manifest_builder *, manifest_builder_free)

/* Adds an entry in any order; strings are copied. Missing parent directories are made. Where two entries have one path
 * that of the higher source wins, of one source the one added later (a DIR merges with implied ones). A file "a" beside "a/b" is
 * shown beside the directory (name.h); give it as "a" always, with the key where that is another. A path that no file system can
 * hold (empty or dot components, a component over 255 bytes, over MANIFEST_PATH_MAX in all, NUL) is left out. -ENOMEM, -EIO,
 * -ENOSPC with words. */
MUST_CHECK int manifest_builder_add(struct manifest_builder *b, const struct manifest_entry *e,
				    struct err *err);

/* Something that has no path, or too long a one: counted and, by its @path or what there is of it, named. 0, -ENOMEM with words. */
MUST_CHECK int manifest_builder_leave_out(struct manifest_builder *b, const char *path, size_t len,
					  uint16_t source, struct err *err);

/* What of the tree is not shown where its store has it (common/manifest/conflicts.h): borrowed, complete after
 * manifest_builder_finish(). Before, the caller may add what this build is not given. */
struct conflicts *manifest_builder_conflicts(struct manifest_builder *b);

/* Hands them to the caller (conflicts_free()), after manifest_builder_finish(). */
struct conflicts *manifest_builder_take_conflicts(struct manifest_builder *b);

/* Sorts, writes chunks and root to @sink, returns the root's hash and the statistics. Equal entries give equal hashes, in
 * whatever order they were added, over the same version before; the same tree as that version's gives its root. The builder
 * can only be freed afterwards. */
MUST_CHECK int manifest_builder_finish(struct manifest_builder *b, const struct manifest_sink *sink,
				       struct hash256 *ret_root, struct manifest_stats *ret_stats,
				       struct err *err);

/* ---- reading ---- */

struct manifest;

/* Opens a version. @chunks is copied (its ctx must outlive the manifest). 0, -ENOENT, -ERR_CORRUPT with words. */
MUST_CHECK int manifest_open(const struct hash256 *root, const struct manifest_chunks *chunks,
			     struct manifest **ret, struct err *err);
struct manifest *manifest_free(struct manifest *m);
DEFINE_CLEANUP(struct manifest *, manifest_free)

/* The hash that names the manifest, and what its root says of the whole. */
void manifest_root(const struct manifest *m, struct hash256 *ret);
void manifest_stats_get(const struct manifest *m, struct manifest_stats *ret);

/* Each answers 0 with *ret filled, -ENOENT, or -ERR_CORRUPT / -EIO when a chunk cannot be trusted or mapped. */
MUST_CHECK int manifest_lookup(struct manifest *m, const char *path, size_t len, struct manifest_found *ret);
MUST_CHECK int manifest_at(struct manifest *m, uint64_t ordinal, struct manifest_found *ret);

/* Calls @visit with each entry of the ordinals [@from, @end), as far as there are any, in order; a non-zero return ends it
 * with that code. Decodes each entry once. The entry is the caller's to look at until @visit returns. */
MUST_CHECK int manifest_scan(struct manifest *m, uint64_t from, uint64_t end,
			     int (*visit)(void *ctx, const struct manifest_found *f), void *ctx);

/* The child @name of the directory at @dir (whose path the reader finds itself). -ENOTDIR when @dir is none. */
MUST_CHECK int manifest_child(struct manifest *m, uint64_t dir, const char *name, size_t len,
			      struct manifest_found *ret);

/* The first child of @dir whose ordinal is at least @from (start with dir + 1; then the found child's end). -ENOENT after
 * the last. Calling it in a loop decodes each entry once: the position is kept in @ret between calls. So with a @from
 * other than dir + 1, *ret must be as an earlier call on the same manifest left it, or have a zeroed position. */
MUST_CHECK int manifest_next_child(struct manifest *m, uint64_t dir, uint64_t from,
				   struct manifest_found *ret);

/* The bytes of the key of a found entry in its source: its own key, or its path. Borrowed from @f. */
const char *manifest_key(const struct manifest_found *f, size_t *ret_len);

/* What changed between two versions, in table order. Chunks that both share are skipped unread. */
enum manifest_change { MANIFEST_ADDED = 1, MANIFEST_REMOVED = 2, MANIFEST_CHANGED = 3 };
struct manifest_diff {
	/* @old is NULL for ADDED, @new for REMOVED. Directories are reported when they come, go or change type; not
	 * because of their content, mode, mtime or subtree range. A file that became a directory is REMOVED at the one
	 * place and ADDED at the other. A non-zero return ends the diff with that code. */
	int (*change)(void *ctx, enum manifest_change kind, const struct manifest_entry *old,
		      const struct manifest_entry *new_);
	void *ctx;
};
MUST_CHECK int manifest_diff_run(struct manifest *old, struct manifest *new_,
				 const struct manifest_diff *diff, struct err *err);

#endif
