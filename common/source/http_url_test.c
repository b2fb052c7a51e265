#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/mem.h"
#include "common/source/http_url.h"

static void a_url_of_a_configuration_is_checked(void **state)
{
	static const struct {
		const char *url, *wrong; /* NULL: good */
	} rows[] = {
		{"http://example.org/a/", NULL},
		{"HTTPS://example.org:8443/a%20b?x=y", NULL},
		{"http://[::1]:80/", NULL},
		{"ftp://example.org/", "must start with"},
		{"example.org/a", "must start with"},
		{"", "must start with"},
		{"http:///a", "names no host"},
		{"http://user:pw@example.org/", "user name"},
		{"http://example.org/a b", "%XX"},
		{"http://example.org/a\nb", "%XX"},
		{"http://example.org/<a>", "%XX"},
		{"http://example.org/a#b", "fragment"},
		{"http://example.org:99999/", "is none"},
	};

	for (size_t i = 0; i < LENGTH(rows); i++) {
		const char *wrong = http_url_wrong(rows[i].url);
		if (!rows[i].wrong != !wrong || (wrong && !strstr(wrong, rows[i].wrong)))
			fail_msg("%s: %s", rows[i].url, wrong ? wrong : "good");
	}
}

static void references_are_resolved(void **state)
{
	static const struct {
		const char *base, *ref, *url; /* NULL: refused */
	} rows[] = {
		{"http://h/d/list", "a%20b", "http://h/d/a%20b"},
		{"http://h/d/list?token=x", "sub/a", "http://h/d/sub/a"},
		{"http://h/d/list", "../a", "http://h/a"},
		{"http://h/d/list", "../../../a", "http://h/a"},
		{"http://h/d/list", "/a?b=c", "http://h/a?b=c"},
		{"http://h/d/list", "//other/a", "http://other/a"},
		{"http://h/d/list", "https://other:1/a#sha256:00", "https://other:1/a"},
		{"http://h/d/list", "ftp://other/a", NULL},
		{"http://h/d/list", "file:///etc/passwd", NULL},
		{"http://h/d/list", "http://user:pw@h/a", NULL},
	};

	for (size_t i = 0; i < LENGTH(rows); i++) {
		CLEANUP(free_str) char *url = http_url_join(rows[i].base, rows[i].ref);
		if (!url != !rows[i].url || (url && strcmp(url, rows[i].url) != 0))
			fail_msg("%s + %s: %s", rows[i].base, rows[i].ref, url ? url : "refused");
	}
}

static void keys_are_encoded_below_the_base(void **state)
{
	CLEANUP(free_str) char *url = http_url_below("http://h/d/", "a b/\xc3\xa9%?#\n", "/");

	assert_string_equal(url, "http://h/d/a%20b/%C3%A9%25%3F%23%0A/");
}

static void a_credential_stays_with_scheme_host_and_port(void **state)
{
	assert_true(http_url_same_origin("http://h/a", "http://H:80/b?c"));
	assert_true(http_url_same_origin("https://h/a", "https://h:443/"));
	assert_false(http_url_same_origin("http://h/", "https://h/"));
	assert_false(http_url_same_origin("http://h/", "http://h:81/"));
	assert_false(http_url_same_origin("http://h/", "http://h.evil/"));
	assert_false(http_url_same_origin("http://127.0.0.1/", "http://localhost/"));
}

static void a_single_file_has_the_name_of_its_url(void **state)
{
	static const struct {
		const char *url, *name; /* NULL: none */
	} rows[] = {
		{"http://h/a/model%20v1.bin?x=/y", "model v1.bin"},
		{"http://h/a/", NULL},
		{"http://h", NULL},
		{"http://h/", NULL},
		{"http://h/..", NULL},
		{"http://h/%2e%2e", NULL},
		{"http://h/a%2fb", NULL},
		{"http://h/a%00b", NULL},
	};

	for (size_t i = 0; i < LENGTH(rows); i++) {
		CLEANUP(free_str) char *name = http_url_name(rows[i].url);
		if (!name != !rows[i].name || (name && strcmp(name, rows[i].name) != 0))
			fail_msg("%s: %s", rows[i].url, name ? name : "none");
	}
}

static void words_show_no_query(void **state)
{
	char clean[20];

	http_url_clean("http://h/a?token=secret", clean, sizeof clean);
	assert_string_equal(clean, "http://h/a");
	http_url_clean("http://h/0123456789012345", clean, sizeof clean);
	assert_string_equal(clean, "http://h/0123456789");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_url_of_a_configuration_is_checked),
		cmocka_unit_test(references_are_resolved),
		cmocka_unit_test(keys_are_encoded_below_the_base),
		cmocka_unit_test(a_credential_stays_with_scheme_host_and_port),
		cmocka_unit_test(a_single_file_has_the_name_of_its_url),
		cmocka_unit_test(words_show_no_query),
	};
	return cmocka_run_group_tests_name("http_url", tests, NULL, NULL);
}
