/*
 * terminal - one line of progress: rewritten in place on a terminal, told every few seconds elsewhere. Text from outside is
 * written through term_text(), so that a file name cannot steer the terminal.
 */
#ifndef CLI_TERMINAL_H
#define CLI_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/base/attr.h"

#define TERMINAL_PLAIN_NS 5000000000LL /* between two plain lines */

struct progress_line {
	FILE *out; /* borrowed */
	bool terminal;
	bool open; /* a line stands unfinished */
	int64_t told_ns;
};

/* A line on @out: rewritten in place on a terminal, written anew now and then elsewhere. */
struct progress_line progress_line_on(FILE *out);

/* Shows @text (no line break) if it is due at @now_ns. */
void progress_line_show(struct progress_line *p, const char *text, int64_t now_ns);

/* Takes the line away, so that ordinary output may follow. */
void progress_line_clear(struct progress_line *p);

/* @len bytes with control characters and broken UTF-8 replaced by "?" . */
void term_text(FILE *out, const void *text, size_t len);

#endif
