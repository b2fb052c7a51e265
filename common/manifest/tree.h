/*
 * tree - makes a whole tree of sorted entries: missing parent directories, files that lose against a directory of the
 * same name, and the size of every directory's subtree, which is known only at its end.
 *
 * The table's order puts "a-b" between a file "a" and a directory "a/", so what becomes of "a" is not known when it
 * passes. Hence two files: the entries in order, and beside them one number an entry (its fate), written when known and
 * read in a second pass.
 */
#ifndef COMMON_MANIFEST_TREE_H
#define COMMON_MANIFEST_TREE_H

#include "common/manifest/spool.h"

struct tree;

/* 0, -errno. @dir_fd is borrowed until return. */
MUST_CHECK int tree_new(int dir_fd, int64_t dir_mtime_ns, struct tree **ret);
struct tree *tree_free(struct tree *t);
DEFINE_CLEANUP(struct tree *, tree_free)

/* Adds the next entry; keys must rise. 0 or -errno. */
MUST_CHECK int tree_add(struct tree *t, const struct record *r);

/* Ends the first pass. 0 or -errno. */
MUST_CHECK int tree_finish(struct tree *t);

/* The next entry of the whole tree and, for a directory, the number of its descendants. Files that lost are left out. 1, 0
 * at the end, -errno. The record is valid until the next call. */
MUST_CHECK int tree_next(struct tree *t, const struct record **ret, uint64_t *ret_descendants);

/* Back to the first entry. */
void tree_rewind(struct tree *t);

/* Files that lost against a directory. */
uint64_t tree_lost(const struct tree *t);

#endif
