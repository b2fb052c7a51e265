#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/mem.h"
#include "common/source/s3_place.h"

enum { A = SOURCE_ADDRESSING_AUTO, P = SOURCE_ADDRESSING_PATH, V = SOURCE_ADDRESSING_VIRTUAL };

static struct source_config config_of(const char *endpoint, const char *bucket, const char *prefix,
				      int addressing)
{
	return (struct source_config){
		.kind = SOURCE_S3,
		.label = "test",
		.s3 = {.bucket = bucket, .prefix = prefix, .endpoint = endpoint, .addressing = addressing},
	};
}

static void urls_are_built_as_the_table_says(void **state)
{
	static const struct {
		const char *endpoint, *bucket, *prefix;
		int addressing;
		const char *key, *url;
	} rows[] = {
		{NULL, "b", NULL, A, "k", "https://b.s3.us-east-1.amazonaws.com/k"},
		{"", "b.c", NULL, A, "k", "https://s3.us-east-1.amazonaws.com/b.c/k"},
		{NULL, "b", NULL, P, "k", "https://s3.us-east-1.amazonaws.com/b/k"},
		{"http://Host:9000", "b", "", A, "k", "http://host:9000/b/k"},
		{"http://host:80/", "b", "", A, "k", "http://host/b/k"},
		{"https://host:443", "b", "", A, "k", "https://host/b/k"},
		{"http://host:443", "b", "", A, "k", "http://host:443/b/k"},
		{"HTTPS://host/base/path//", "b", "p", A, "k", "https://host/base/path/b/p/k"},
		{"https://host/base", "b", "p/", V, "k", "https://b.host/base/p/k"},
		{"https://host:8443", "b", "p//", V, "k", "https://b.host:8443/p//k"},
		{"http://[::1]:9000", "b", "", A, "k", "http://[::1]:9000/b/k"},
		{"http://[::1]", "b", "", A, "k", "http://[::1]/b/k"},
		{"http://h", "b", "", A, "a b+c/%\xff\"?#&=@:!$'()*,;-._~/../x",
		 "http://h/b/a%20b%2Bc/%25%FF%22%3F%23%26%3D%40%3A%21%24%27%28%29%2A%2C%3B-._~/../x"},
		{"http://h", "b", "", A, "/lead//ing\x01\x7f", "http://h/b//lead//ing%01%7F"},
	};

	for (size_t i = 0; i < LENGTH(rows); i++) {
		const struct source_config c =
			config_of(rows[i].endpoint, rows[i].bucket, rows[i].prefix, rows[i].addressing);
		struct s3_place place;
		struct err err = {0};
		assert_int_equal(s3_place_init(&place, &c, &err), 0);
		char *path = s3_place_key_path(&place, rows[i].key),
		     *url = mem_printf("%s%s", place.origin, path);
		assert_string_equal(url, rows[i].url);
		assert_string_equal(strstr(place.origin, "://") + 3, place.host);
		mem_free(url);
		mem_free(path);
		s3_place_done(&place);
	}
}

static void what_cannot_be_right_is_refused_with_words(void **state)
{
	static const struct {
		const char *endpoint, *bucket, *words;
	} rows[] = {
		{NULL, NULL, "bucket is missing"},
		{NULL, "", "bucket is missing"},
		{NULL, "a/b", "must be made of"},
		{NULL, "..", "must be made of"},
		{NULL, "b\r\nX: y", "must be made of"},
		{"host:9000", "b", "must start with http"},
		{"ftp://host", "b", "must start with http"},
		{"http://", "b", "must name a host"},
		{"http://:9000", "b", "must name a host"},
		{"http://host:0", "b", "must name a host"},
		{"http://host:65536", "b", "must name a host"},
		{"http://host:99999999999999999999", "b", "must name a host"},
		{"http://host:9x", "b", "must name a host"},
		{"http://ho st", "b", "must name a host"},
		{"http://host/?x", "b", "nothing more"},
		{"http://host/\r\nX: y", "b", "nothing more"},
		{"http://user:pw@host", "b", "user name"},
	};

	for (size_t i = 0; i < LENGTH(rows); i++) {
		const struct source_config c = config_of(rows[i].endpoint, rows[i].bucket, "", A);
		struct s3_place place;
		struct err err = {0};
		assert_int_equal(s3_place_init(&place, &c, &err), -EINVAL);
		assert_null(place.origin);
		if (!strstr(err.text, rows[i].words))
			fail_msg("row %zu: \"%s\" does not say \"%s\"", i, err.text, rows[i].words);
		assert_null(strstr(err.text, "pw"));
	}
}

static void queries_of_listings_are_in_canonical_order(void **state)
{
	const struct source_config c = config_of("http://h", "b", "a b/", A);
	struct s3_place place;

	assert_int_equal(s3_place_init(&place, &c, NULL), 0);
	char *first = s3_place_list_query(&place, "c/", NULL, NULL),
	     *next = s3_place_list_query(&place, "", "to/k=n+", "not used");
	assert_string_equal(first, "encoding-type=url&list-type=2&max-keys=1000&prefix=a%20b%2Fc%2F");
	assert_string_equal(next,
			    "continuation-token=to%2Fk%3Dn%2B&encoding-type=url&list-type=2&max-keys=1000&"
			    "prefix=a%20b%2F");
	assert_string_equal(place.bucket_path, "/b");
	mem_free(first);
	mem_free(next);
	s3_place_done(&place);
}

static void running_out_of_memory_leaves_nothing_behind(void **state)
{
	const struct source_config c = config_of(NULL, "b", "p", A);
	struct s3_place place;
	int rc = -ENOMEM;

	for (int n = 0; rc < 0; n++) {
		assert_true(n < 100);
		mem_fail_after(n, 0);
		rc = s3_place_init(&place, &c, NULL);
		mem_fail_after(-1, 0);
		assert_true(rc == 0 || rc == -ENOMEM);
	}
	s3_place_done(&place);
}

static void a_bucket_moves_to_its_region(void **state)
{
	const struct source_config amazon = {.label = "t", .s3 = {.bucket = "Data", .region = "eu-west-1"}},
				   other = {.label = "t",
					    .s3 = {.bucket = "data", .endpoint = "http://h:9000"}};
	struct s3_place p;

	assert_int_equal(s3_place_init(&p, &amazon, NULL), 0);
	assert_int_equal(s3_place_move(&p, "eu-west-1"), -EINVAL);
	assert_int_equal(s3_place_move(&p, ""), -EINVAL);
	assert_int_equal(s3_place_move(&p, "evil.example.org/"), -EINVAL);
	assert_string_equal(p.origin, "https://data.s3.eu-west-1.amazonaws.com");
	assert_int_equal(s3_place_move(&p, "us-west-2"), 0);
	assert_string_equal(p.region, "us-west-2");
	assert_string_equal(p.host, "data.s3.us-west-2.amazonaws.com");
	assert_string_equal(p.origin, "https://data.s3.us-west-2.amazonaws.com");
	s3_place_done(&p);
	assert_int_equal(s3_place_init(&p, &other, NULL), 0);
	assert_int_equal(s3_place_move(&p, "garage"), 0);
	assert_string_equal(p.region, "garage");
	assert_string_equal(p.origin, "http://h:9000");
	CLEANUP(free_str) char *later = s3_place_list_query(&p, "a/", NULL, "a/b c");
	CLEANUP(free_str) char *marker = s3_place_versions_token("a/b c");
	assert_string_equal(later,
			    "encoding-type=url&list-type=2&max-keys=1000&prefix=a%2F&start-after=a%2Fb%20c");
	assert_string_equal(marker, "key-marker=a%2Fb%20c");
	CLEANUP(free_str) char *first = s3_place_versions_query(&p, "a b/", NULL);
	CLEANUP(free_str) char *next = s3_place_versions_query(&p, "a/", "key-marker=k&version-id-marker=v");
	assert_string_equal(first, "encoding-type=url&max-keys=1000&prefix=a%20b%2F&versions=");
	assert_string_equal(
		next,
		"encoding-type=url&key-marker=k&max-keys=1000&prefix=a%2F&version-id-marker=v&versions=");
	s3_place_done(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bucket_moves_to_its_region),
		cmocka_unit_test(urls_are_built_as_the_table_says),
		cmocka_unit_test(what_cannot_be_right_is_refused_with_words),
		cmocka_unit_test(queries_of_listings_are_in_canonical_order),
		cmocka_unit_test(running_out_of_memory_leaves_nothing_behind),
	};
	return cmocka_run_group_tests_name("s3_place", tests, NULL, NULL);
}
