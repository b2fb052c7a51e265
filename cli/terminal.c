#include "cli/terminal.h"

#include <string.h>
#include <unistd.h>

struct progress_line progress_line_on(FILE *out)
{
	return (struct progress_line){
		.out = out, .terminal = isatty(fileno(out)) == 1, .told_ns = -TERMINAL_PLAIN_NS};
}

void progress_line_show(struct progress_line *p, const char *text, int64_t now_ns)
{
	if (p->terminal) {
		(void)fprintf(p->out, "\r%s\033[K", text);
		p->open = true;
	} else if (now_ns - p->told_ns >= TERMINAL_PLAIN_NS) {
		(void)fprintf(p->out, "%s\n", text);
		p->told_ns = now_ns;
	}
	(void)fflush(p->out);
}

void progress_line_clear(struct progress_line *p)
{
	if (p->open)
		(void)fputs("\r\033[K", p->out);
	p->open = false;
}

/* Bytes of the well-formed UTF-8 character at @p, 0 when it is none (RFC 3629; C1 controls count as none). */
static size_t utf8_length(const uint8_t *p, size_t left)
{
	size_t n = p[0] < 0x80                   ? 1
		   : p[0] >= 0xc2 && p[0] < 0xe0 ? 2
		   : p[0] >= 0xe0 && p[0] < 0xf0 ? 3
		   : p[0] >= 0xf0 && p[0] < 0xf5 ? 4
						 : 0;

	if (!n || n > left || (n == 1 && (p[0] < 0x20 || p[0] == 0x7f)))
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xc2 && p[1] < 0xa0) || (p[0] == 0xe0 && p[1] < 0xa0) ||
	    (p[0] == 0xed && p[1] >= 0xa0) || (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] >= 0x90))
		return 0;
	return n;
}

void term_text(FILE *out, const void *text, size_t len)
{
	const uint8_t *p = text;

	for (size_t i = 0; i < len;) {
		size_t n = utf8_length(p + i, len - i);
		if (n)
			(void)fwrite(p + i, 1, n, out);
		else
			(void)fputc('?', out);
		i += n ? n : 1;
	}
}
