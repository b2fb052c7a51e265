/*
 * name - the paths that keys of stores are shown at, and back (docs/sources.md, "Names"). Pure.
 *
 * Most keys are paths. Components that no file system can hold get a mark at their end, "%~" and a letter:
 *
 *	""  %~e     "."  .%~d     ".."  ..%~d
 *	over 255 bytes with its marks: PIECE%~c/REST, where REST is what follows, by the same rule
 *	ends in one of the marks itself: it and %~q
 *	a file whose name is a folder's too: it and %~f
 *
 * All other bytes stay as they are. Each path is that of one key at most, so the key can be had from the path.
 */
#ifndef COMMON_MANIFEST_NAME_H
#define COMMON_MANIFEST_NAME_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/attr.h"

#define NAME_MARK 3 /* bytes of a mark */

/* The path of @key (@len bytes, none NUL), or of a file with that key beside a folder of its name: at most
 * MANIFEST_PATH_MAX bytes and a NUL into @ret. 0, or -ENAMETOOLONG: such a path is longer, @ret has no meaning. */
MUST_CHECK int name_of_key(const char *key, size_t len, bool beside, char *ret, size_t *ret_len);

/* The key of @path into @ret, which has room for @len + 1 bytes, ended with a NUL; and whether it is the path of a file beside a
 * folder. 0, or -EINVAL: no key is shown there. A path that ends within a component (in "%~c") is none. */
MUST_CHECK int name_to_key(const char *path, size_t len, char *ret, size_t *ret_len, bool *ret_beside);

/* From the path of a file that has its name alone to the one it has beside a folder, and back; as name_of_key(), and -EINVAL where
 * name_without_folder() is given another. What stands before the last component may be anything. */
MUST_CHECK int name_beside_folder(const char *path, size_t len, char *ret, size_t *ret_len);
MUST_CHECK int name_without_folder(const char *path, size_t len, char *ret, size_t *ret_len);

/* Whether the path ends in the mark of a file beside a folder. */
bool name_is_beside(const char *path, size_t len);

/* Whether the path ends in a piece of a component, and so is a folder that no key names. */
bool name_is_piece(const char *path, size_t len);

/* Whether any of its components has a mark. */
bool name_is_marked(const char *path, size_t len);

#endif
