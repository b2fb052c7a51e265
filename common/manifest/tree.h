/*
 * tree - makes a whole tree of sorted entries: missing parent directories, files that lose against a directory of the
 * same name, and the size of every directory's subtree, which is known only at its end.
 *
 * The table's order puts "a-b" between a file "a" and a directory "a/", so what becomes of "a" is not known when it
 * passes. Hence two passes over the sorted entries, and a file with one number an entry (its fate), written when known in the
 * first and read in the second.
 */
#ifndef COMMON_MANIFEST_TREE_H
#define COMMON_MANIFEST_TREE_H

#include "common/manifest/sorter.h"

struct tree;

/* Over the records of @sorter, which is finished, borrowed, and must outlive the tree. @dir_fd is borrowed until return. 0,
 * -errno. */
MUST_CHECK int tree_new(int dir_fd, int64_t dir_mtime_ns, struct sorter *sorter, struct tree **ret);
struct tree *tree_free(struct tree *t);
DEFINE_CLEANUP(struct tree *, tree_free)

/* The first pass. 0 or -errno. */
MUST_CHECK int tree_measure(struct tree *t);

/* The next entry of the whole tree and, for a directory, the number of its descendants. Files that lost are left out. 1, 0
 * at the end, -errno. The record is valid until the next call. */
MUST_CHECK int tree_next(struct tree *t, const struct record **ret, uint64_t *ret_descendants);

/* Back to the first entry. */
void tree_rewind(struct tree *t);

/* Files that lost against a directory. */
uint64_t tree_lost(const struct tree *t);

#endif
