/*
 * utf8 - well-formed UTF-8 (RFC 3629): file names are any bytes, terminals and JSON are not.
 */
#ifndef CLI_UTF8_H
#define CLI_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of the character at @p, of which @left (at least 1) may be read; 0 when it is not well-formed. */
size_t utf8_length(const uint8_t *p, size_t left);

#endif
