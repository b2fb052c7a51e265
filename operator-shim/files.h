/*
 * files - the folder of manifests: reads what changed, hands it to a struct reconcile, keeps the last good state of a file
 * that went bad. An error is logged when it first comes, not at each scan.
 */
#ifndef OPERATOR_SHIM_FILES_H
#define OPERATOR_SHIM_FILES_H

#include "operator-shim/reconcile.h"

#define FILES_MAX 4096

struct files;

/* @dir_fd and @reconcile are borrowed for the life of the result. 0, -ENOMEM. */
MUST_CHECK int files_new(int dir_fd, struct reconcile *reconcile, struct files **ret);
struct files *files_free(struct files *f);
DEFINE_CLEANUP(struct files *, files_free)

/* Reads the folder's *.yaml, *.yml and *.json; the first of two that name one thing wins. @now: see reconcile_file().
 * 0; -errno when the folder itself cannot be read (then all stays as it was). */
MUST_CHECK int files_scan(struct files *f, uint64_t now);

/* Files whose last content was refused. */
size_t files_bad(const struct files *f);

#endif
