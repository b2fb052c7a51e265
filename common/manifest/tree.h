/*
 * tree - makes a whole tree of sorted entries: missing parent directories, other names for files that have the name of a directory
 * (name.h), and the size of every directory's subtree, which is known only at its end.
 *
 * The table's order puts "a-b" between a file "a" and a directory "a/", so what becomes of "a" is not known when it
 * passes. Hence two passes over the sorted entries, and a file with one number an entry (its fate), written when known in the
 * first and read in the second. Where files met directories, those are sorted under their new names, and the first pass is done
 * again over both.
 */
#ifndef COMMON_MANIFEST_TREE_H
#define COMMON_MANIFEST_TREE_H

#include "common/manifest/conflicts.h"
#include "common/manifest/sorter.h"

struct tree;

struct tree_config {
	int dir_fd; /* borrowed for the tree's life, as all here */
	int64_t dir_mtime_ns;
	struct sorter *sorter;       /* finished */
	size_t memory_max;           /* for sorting files under other names: at least 1 MiB */
	struct conflicts *conflicts; /* what is met is added; after tree_next() answered 0 all is there */
};

/* 0, -errno. */
MUST_CHECK int tree_new(const struct tree_config *config, struct tree **ret);
struct tree *tree_free(struct tree *t);
DEFINE_CLEANUP(struct tree *, tree_free)

/* The first pass. 0 or -errno. */
MUST_CHECK int tree_measure(struct tree *t);

/* The next entry of the whole tree and, for a directory, the number of its descendants. 1, 0 at the end, -errno. The record is
 * valid until the next call. */
MUST_CHECK int tree_next(struct tree *t, const struct record **ret, uint64_t *ret_descendants);

/* Back to the first entry. */
void tree_rewind(struct tree *t);

#endif
