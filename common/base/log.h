/*
 * log - lines for operators, as text or JSON. Only the code that handles an error logs it, once; libraries stay at
 * debug. A record is an event (a short constant sentence) and fields. Secrets are never passed in.
 *
 * For example: log_write(LOG_WARN, "source answers slowly", LOG_STR("dataset", name), LOG_INT("ms", ms), NULL);
 *
 * Text: 2026-11-22T10:00:00.123Z WARN larder-node-w source answers slowly dataset=vision/imagenet ms=900
 */
#ifndef COMMON_BASE_LOG_H
#define COMMON_BASE_LOG_H

#include <stdint.h>
#include <stdbool.h>

#include "common/base/attr.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

struct log_field {
	const char *key;
	const char *str; /* NULL: the number counts */
	int64_t num;
};

#define LOG_STR(k, v) (&(const struct log_field){.key = (k), .str = (v) ? (v) : ""})
#define LOG_INT(k, v) (&(const struct log_field){.key = (k), .num = (int64_t)(v)})

/* Names the program in every line (a constant string), the least level written, and the form. Call once, in main. */
void log_setup(const char *program, enum log_level least, bool json);

/* Writes one line to standard error, atomically. The fields end with NULL. Thread-safe; keeps errno. */
void log_write(enum log_level level, const char *event, ...) __attribute__((sentinel));

/* Parses debug, info, warn, error. 0 or -EINVAL. */
MUST_CHECK int log_level_parse(const char *text, enum log_level *ret);

#endif
