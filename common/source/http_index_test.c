#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/source/http_index.h"

/* "d name,f name 5@100," of a page; "!" and the words of a refusal. */
static void shows(const char *page, const char *path, const char *want)
{
	CLEANUP(http_index_free) struct http_index *x = NULL;
	struct err err = {0};
	char got[2000] = "";
	size_t n = 0;

	int rc = http_index_parse(page, strlen(page), path, &x, &err);
	if (rc < 0)
		(void)snprintf(got, sizeof got, "!%s", err.text);
	for (size_t i = 0; rc == 0 && i < x->count; i++) {
		const struct http_index_entry *e = &x->entries[i];
		n += (size_t)snprintf(got + n, sizeof got - n, "%c %s", e->dir ? 'd' : 'f', e->name);
		if (e->has_stat)
			n += (size_t)snprintf(got + n, sizeof got - n, " %llu@%lld",
					      (unsigned long long)e->size,
					      (long long)(e->mtime_ns / NS_PER_S));
		n += (size_t)snprintf(got + n, sizeof got - n, ",");
	}
	assert_string_equal(got, want);
}

static void nginx_html_is_read(void **state)
{
	shows("<html>\n<head><title>Index of /x/</title></head>\n<body>\n<h1>Index of /x/</h1><hr><pre><a href=\"../\">../</a>\n"
	      "<a href=\"sub/\">sub/</a>                  25-Nov-2026 08:00                   -\n"
	      "<a href=\"a%20b%26%3Cc%3E.txt\">a b&amp;&lt;c&gt;.txt</a>      25-Nov-2026 08:00          12\n"
	      "<a href=\"very\">very..&gt;</a>   25-Nov-2026 08:00     12\n</pre><hr></body>\n</html>\n",
	      "/x/", "d sub,f a b&<c>.txt,f very,");
}

static void nginx_json_is_read(void **state)
{
	shows("[\n{ \"name\":\"d\", \"type\":\"directory\", \"mtime\":\"Sun, 09 Sep 2001 01:46:40 GMT\" },\n"
	      "{ \"name\":\"f\", \"type\":\"file\", \"mtime\":\"Sun, 09 Sep 2001 01:46:40 GMT\", \"size\":12345678901 },\n"
	      "{ \"name\":\"s\", \"type\":\"other\" }\n]\n",
	      "/", "d d,f f 12345678901@1000000000,");
	shows("[]", "/", "");
	shows("[{\"name\":\"f\",\"type\":\"file\",\"size\":-1,\"mtime\":\"x\"}]", "/", "f f,");
	shows("[{\"type\":\"file\"}]", "/", "!an entry of the page has no name or no type");
	shows("[{\"name\":\"f\"", "/", "!the page is no JSON list of entries");
}

static void pages_of_other_servers_are_read_as_far_as_they_link_names(void **state)
{
	/* Apache: sort orders, an absolute parent, an icon's link before the name's. */
	shows("<a href=\"?C=N;O=D\">Name</a><a href=\"/up/\">Parent</a><A HREF='x.txt'><img></A> <a href='x.txt'>x</a>",
	      "/up/here/", "f x.txt,");
	/* Caddy, and servers that write whole paths. */
	shows("<a href=\"./a\">a</a><a class=\"x\" href=\"/d/b/\">b</a><a href=\"/d/e/f\">f</a>", "/d/",
	      "f a,d b,");
	shows("<a href=\"http://elsewhere/x\">x</a><a href=\"//h/x\">x</a><a href=\"mailto:a@b\">m</a><a href=\"#top\">t</a>",
	      "/", "");
}

static void what_cannot_be_a_name_is_left_out(void **state)
{
	shows("<a href=\"..\">u</a><a href=\".\">s</a><a href=\"a%2fb\">x</a><a href=\"a%00b\">x</a><a href=\"%2e%2e\">x</a>",
	      "/", "");
	shows("<a>no link</a><a name=\"x\">x</a><ahref=\"y\"><abbr href=\"z\"><a href=\"unclosed", "/", "");
	shows("not a page", "/", "!the page is neither HTML nor JSON");
	shows("", "/", "!the page is neither HTML nor JSON");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nginx_html_is_read),
		cmocka_unit_test(nginx_json_is_read),
		cmocka_unit_test(pages_of_other_servers_are_read_as_far_as_they_link_names),
		cmocka_unit_test(what_cannot_be_a_name_is_left_out),
	};
	return cmocka_run_group_tests_name("http_index", tests, NULL, NULL);
}
