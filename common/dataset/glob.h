/*
 * glob - patterns over paths: '*' and '?' within a component, '[a-z]' and '[!a-z]', '\' before a character meant as it is,
 * and '**' as a whole component for any number of components (at a pattern's
 * end at least one: all that lies below; at its start: at any depth).
 * The whole path is matched, as bytes. Pure; time is at most the product of the lengths.
 */
#ifndef COMMON_DATASET_GLOB_H
#define COMMON_DATASET_GLOB_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/attr.h"

#define GLOB_MAX 4095 /* bytes of a pattern */

/* NULL, or what is wrong with the pattern (a constant string). */
const char *glob_error(const char *pattern);

/* Whether @pattern, which has no error, matches @path (no slash at its start). */
bool glob_match(const char *pattern, const char *path, size_t len);

#endif
