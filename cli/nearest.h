/*
 * nearest - the valid word that somebody probably meant.
 */
#ifndef CLI_NEAREST_H
#define CLI_NEAREST_H

#include <stddef.h>

#include "common/base/attr.h"

/* Edits (insert, delete, replace, swap of neighbours: Damerau 1964, each place edited once) from @a to @b; words over 63 bytes
 * are as far apart as the longer is long. */
size_t edit_distance(const char *a, const char *b);

/* The one of @count @words nearest to @word, or NULL when none is near: over a third of its letters differ. */
const char *nearest_word(const char *word, const char *const *words, size_t count);

#endif
