/*
 * quantity - numbers as people write them: 500Gi, 64M, 10m, 1h30m; and back.
 */
#ifndef COMMON_BASE_QUANTITY_H
#define COMMON_BASE_QUANTITY_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/attr.h"

/* Bytes: digits and nothing, k, M, G, T, P, E (powers of 1000) or Ki, Mi, Gi, Ti, Pi, Ei. 0, -EINVAL, -ERANGE. */
MUST_CHECK int bytes_parse(const char *text, uint64_t *ret);

/* "12.3 GiB"; @out holds at least 16 bytes. */
void bytes_format(uint64_t bytes, char out[16]);

#endif
