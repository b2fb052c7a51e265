/*
 * The mark of a session: the source of its mount names its id and its client's socket. The mount table outlives every
 * process and only root writes it, so a mounter that was killed leaves behind whose each mount is.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "csi-driver/mounter/state.h"

#define MARK_START "larder:"

int mark_format(const uint8_t *session, const char *socket, char out[MOUNTER_MARK_MAX])
{
	char hex[2 * MOUNTER_SESSION_BYTES + 1];

	for (size_t i = 0; i < MOUNTER_SESSION_BYTES; i++)
		(void)snprintf(hex + 2 * i, 3, "%02x", session[i]);
	int n = snprintf(out, MOUNTER_MARK_MAX, MARK_START "%s:%s", hex, socket);
	return n < MOUNTER_MARK_MAX ? 0 : -1;
}

static int hex_value(char c)
{
	const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

static const char *parse_mark(const char *source, uint8_t *session)
{
	if (strncmp(source, MARK_START, strlen(MARK_START)) != 0)
		return NULL;
	source += strlen(MARK_START);
	for (size_t i = 0; i < MOUNTER_SESSION_BYTES; i++, source += 2) {
		int high = hex_value(source[0]), low = high < 0 ? -1 : hex_value(source[1]);
		if (low < 0)
			return NULL;
		session[i] = (uint8_t)(high << 4 | low);
	}
	return *source == ':' ? source + 1 : NULL;
}

/* The kernel writes blanks, backslashes and '#' as a backslash and three octal digits. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from; to++) {
		if (from[0] == '\\' && strspn(from + 1, "01234567") >= 3) {
			*to = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
			from += 4;
		} else {
			*to = *from++;
		}
	}
	*to = 0;
}

static bool has_option(char *options, const char *wanted)
{
	char *rest;

	for (char *o = strtok_r(options, ",", &rest); o; o = strtok_r(NULL, ",", &rest))
		if (strcmp(o, wanted) == 0)
			return true;
	return false;
}

static bool parse_minor(const char *device, uint32_t *ret)
{
	char *end;

	if (strncmp(device, "0:", 2) != 0)
		return false;
	*ret = (uint32_t)strtoul(device + 2, &end, 10);
	return end != device + 2 && *end == 0;
}

/* ID PARENT MAJOR:MINOR ROOT PATH OPTIONS [TAG...] - TYPE SOURCE SUPER-OPTIONS. A line that is broken is nobody's. */
bool mark_read(char *line, struct marked_mount *ret)
{
	char *fields[6], *rest, *field = strtok_r(line, " \n", &rest);
	size_t count = 0;

	for (; field && strcmp(field, "-") != 0; field = strtok_r(NULL, " \n", &rest))
		if (count < 6)
			fields[count++] = field;
	if (!field || count < 6)
		return false;
	const char *type = strtok_r(NULL, " \n", &rest);
	char *source = strtok_r(NULL, " \n", &rest), *options = strtok_r(NULL, " \n", &rest);
	if (!type || !source || !options || strcmp(type, "fuse.larder") != 0 || strcmp(fields[3], "/") != 0 ||
	    !parse_minor(fields[2], &ret->minor))
		return false;
	/* A setuid helper lets anybody mount a FUSE file system of any source, but only as what they are. */
	if (!has_option(options, "user_id=0"))
		return false;
	unescape(source);
	unescape(fields[4]);
	ret->path = fields[4];
	ret->socket = parse_mark(source, ret->session);
	return ret->socket != NULL;
}
