/*
 * json - protobuf messages as JSON with the names of the .proto, so that `--output json` needs no second list of fields.
 *
 * Strings and enums are strings, bytes become strings as far as they are UTF-8 (other bytes: U+FFFD), except for what is a digest
 * (hex), integers are numbers: jq and Python read them exactly up to 2^53. Every field is there, with 0 or "" where not set.
 */
#ifndef CLI_JSON_H
#define CLI_JSON_H

#include <protobuf-c/protobuf-c.h>
#include <stdio.h>

#include "common/base/attr.h"

/* Writes @m to @out as one line. */
void json_message(FILE *out, const ProtobufCMessage *m);

/* A JSON string of @len bytes, quotes included. */
void json_string(FILE *out, const void *text, size_t len);

#endif
