#include "cli/terminal.h"

#include <string.h>
#include <unistd.h>

#include "cli/utf8.h"

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

/* C0, DEL and C1 controls, the last in their two bytes. */
static bool is_control(const uint8_t *p)
{
	return p[0] < 0x20 || p[0] == 0x7f || (p[0] == 0xc2 && p[1] < 0xa0);
}

void term_text(FILE *out, const void *text, size_t len)
{
	const uint8_t *p = text;

	for (size_t i = 0; i < len;) {
		size_t n = utf8_length(p + i, len - i);
		if (n && !is_control(p + i))
			(void)fwrite(p + i, 1, n, out);
		else
			(void)fputc('?', out);
		i += n ? n : 1;
	}
}
