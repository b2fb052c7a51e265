/*
 * look - asks a store for one object, whether it still is what a version has of it.
 */
#ifndef CACHE_NODE_SYNC_LOOK_H
#define CACHE_NODE_SYNC_LOOK_H

#include <stdatomic.h>
#include <stdbool.h>

#include "common/base/attr.h"
#include "common/manifest.h"
#include "common/source.h"

/* @before: the file of @key (NUL-ended, below the source's prefix) in a version; NULL: it has none. Answers have whole
 * seconds, so the time of a change is compared so. Waits until the answer, at most 30 s, or until *stop. 0 with *ret_same;
 * -ENOENT: there is no such object; else as source_stat(). */
MUST_CHECK int look_same(struct source *s, const char *key, const struct manifest_entry *before,
			 const _Atomic bool *stop, bool *ret_same);

#endif
