#include "common/base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *log_program = "larder"; /* set once in main, before threads */
static enum log_level log_least = LOG_INFO;
static bool log_json;

struct line {
	char text[4096];
	size_t len;
};

static const char *const level_names[] = {"DEBUG", "INFO", "WARN", "ERROR"};

void log_setup(const char *program, enum log_level least, bool json)
{
	log_program = program;
	log_least = least;
	log_json = json;
}

int log_level_parse(const char *text, enum log_level *ret)
{
	for (size_t i = 0; i < LENGTH(level_names); i++)
		if (strcasecmp(text, level_names[i]) == 0) {
			*ret = (enum log_level)i;
			return 0;
		}
	return -EINVAL;
}

static void put(struct line *l, char c)
{
	if (l->len < sizeof l->text - 1) /* the last byte is kept for the newline */
		l->text[l->len++] = c;
}

static void put_str(struct line *l, const char *s)
{
	while (*s)
		put(l, *s++);
}

/* JSON string, also used for text values that hold blanks: control bytes never reach a terminal. */
static void put_quoted(struct line *l, const char *s)
{
	put(l, '"');
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;
		char escaped[8];
		if (c == '"' || c == '\\') {
			put(l, '\\');
			put(l, (char)c);
		} else if (c < 0x20 || c == 0x7f) {
			(void)snprintf(escaped, sizeof escaped, "\\u%04x", c);
			put_str(l, escaped);
		} else {
			put(l, (char)c);
		}
	}
	put(l, '"');
}

static bool plain(const char *s)
{
	if (!*s)
		return false;
	for (; *s; s++)
		if ((unsigned char)*s <= 0x20 || *s == '"' || *s == '\\' || *s == '=' || *s == 0x7f)
			return false;
	return true;
}

static void put_field(struct line *l, const struct log_field *f)
{
	char num[24];

	put(l, log_json ? ',' : ' ');
	if (log_json)
		put_quoted(l, f->key);
	else
		put_str(l, f->key);
	put(l, log_json ? ':' : '=');
	if (!f->str) {
		(void)snprintf(num, sizeof num, "%" PRId64, f->num);
		put_str(l, num);
	} else if (!log_json && plain(f->str)) {
		put_str(l, f->str);
	} else {
		put_quoted(l, f->str);
	}
}

static void put_head(struct line *l, enum log_level level, const char *event)
{
	struct timespec now;
	struct tm tm;
	char stamp[48];

	(void)clock_gettime(CLOCK_REALTIME, &now);
	(void)gmtime_r(&now.tv_sec, &tm);
	size_t n = strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(stamp + n, sizeof stamp - n, ".%03ldZ", now.tv_nsec / 1000000);
	if (!log_json) {
		put_str(l, stamp);
		put(l, ' ');
		put_str(l, level_names[level]);
		put(l, ' ');
		put_str(l, log_program);
		put(l, ' ');
		put_str(l, event);
		return;
	}
	put_str(l, "{\"time\":");
	put_quoted(l, stamp);
	put_str(l, ",\"level\":");
	put_quoted(l, level_names[level]);
	put_str(l, ",\"program\":");
	put_quoted(l, log_program);
	put_str(l, ",\"event\":");
	put_quoted(l, event);
}

void log_write(enum log_level level, const char *event, ...)
{
	struct line l = {.len = 0};
	va_list args;
	int saved = errno;

	if (level < log_least)
		return;
	put_head(&l, level, event);
	va_start(args, event);
	for (const struct log_field *f; (f = va_arg(args, const struct log_field *));)
		put_field(&l, f);
	va_end(args);
	if (log_json)
		put(&l, '}');
	l.text[l.len++] = '\n';
	(void)!write(STDERR_FILENO, l.text, l.len); /* nowhere left to complain to */
	errno = saved;
}
