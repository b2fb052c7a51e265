/* The modules of the origin by themselves; the whole of it is tested by common/source/s3_test. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "bench/origin/fault.h"
#include "bench/origin/pace.h"
#include "bench/origin/request.h"
#include "bench/origin/store.h"
#include "bench/origin/synthetic.h"
#include "common/base/clock.h"
#include "common/base/hash.h"
#include "common/base/mem.h"

static void made_up_content_never_changes(void **state)
{
	uint8_t *pattern = mem_alloc(SYNTHETIC_BYTES), bytes[10000];
	uint64_t key = synthetic_key("bench/big");

	synthetic_fill_pattern(pattern);
	/* Other parts, and tests in other languages, make the same bytes: these numbers are a contract. */
	assert_int_equal(crc32c(0, pattern, SYNTHETIC_BYTES), 0x7663f7ec);
	assert_int_equal(synthetic_place(key, 0), 550790);
	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = pattern[synthetic_place(key, 5000 + i)];
	assert_true(synthetic_equal(pattern, key, 5000, bytes, sizeof bytes));
	assert_false(synthetic_equal(pattern, key, 5001, bytes, sizeof bytes));
	assert_false(synthetic_equal(pattern, key + 1, 5000, bytes, sizeof bytes));
	bytes[9999] ^= 1;
	assert_false(synthetic_equal(pattern, key, 5000, bytes, sizeof bytes));
	mem_free(pattern);
}

static void specifications_of_objects_are_checked(void **state)
{
	static const char *const bad[] = {"",
					  "b/k",
					  "b:1",
					  "/k:1",
					  "b/:1",
					  "b/k:",
					  "b/k:-1",
					  "b/k:1Q",
					  "b/k:1Kx",
					  "b/k:1Kx2z",
					  "b/k:1x-1",
					  "b/k:99999999T",
					  "b/k:1x99999999999"};
	struct store *s = NULL;
	struct store_object o;

	assert_int_equal(store_new(NULL, false, &s), 0);
	for (size_t i = 0; i < LENGTH(bad); i++)
		assert_int_equal(store_add(s, bad[i]), -EINVAL);
	assert_int_equal(store_add(s, "b/k:3M"), 0);
	assert_int_equal(store_add(s, "b/a:b:7x2"), 0);
	assert_int_equal(store_open(s, "b/k", &o), 0);
	assert_int_equal(o.size, 3 << 20);
	assert_int_equal(store_open(s, "b/a:b-0000001", &o), 0);
	assert_int_equal(o.size, 7);
	assert_int_equal(store_open(s, "b/a:b-0000002", &o), -ENOENT);
	store_free(s);
}

static void take_key(void *ctx, const char *key, const struct store_object *o)
{
	size_t used = strlen(ctx);
	(void)snprintf((char *)ctx + used, 256 - used, "%s ", key);
}

/* All keys below @prefix after @after, in the order of a listing. */
static void list_keys(bool by_folders, const char *prefix, const char *after, const char *want)
{
	static const char *const keys[] = {"b/a-b:1", "b/a/b:1",   "b/a/-:1",
					   "b/a.c:1", "b/a/b/c:1", "b/a/b-c:1"};
	struct store *s = NULL;
	char got[256] = "";
	bool more = true;

	assert_int_equal(store_new(NULL, by_folders, &s), 0);
	for (size_t i = 0; i < LENGTH(keys); i++)
		assert_int_equal(store_add(s, keys[i]), 0);
	const struct store_list list = {
		.bucket = "b", .prefix = prefix, .after = after, .max = 9, .entry = take_key, .ctx = got};
	assert_int_equal(store_list_run(s, &list, &more), 0);
	assert_false(more);
	assert_string_equal(got, want);
	store_free(s);
}

static void a_listing_is_in_the_order_of_bytes_or_folder_by_folder(void **state)
{
	list_keys(false, "", NULL, "a-b a.c a/- a/b a/b-c a/b/c ");
	list_keys(true, "", NULL, "a/- a/b a/b/c a/b-c a-b a.c ");
	list_keys(false, "a/b", "a/b", "a/b-c a/b/c ");
	list_keys(true, "a/b", "a/b", "a/b/c a/b-c ");
	list_keys(true, "", "a/b-c", "a-b a.c ");
}

static void faults_match_count_down_and_refuse_unknown_words(void **state)
{
	static const char good[] =
		"{\"match\": \"k\", \"status\": 503, \"code\": \"SlowDown\", \"times\": 2}";
	static const char *const bad[] = {"",
					  "[]",
					  "{",
					  "{\"what\": 1}",
					  "{\"status\": 42}",
					  "{\"status\": \"x\"}",
					  "{\"times\": -1}",
					  "{\"stall\": 1}",
					  "{\"list\": \"round\"}"};
	struct faults *f = NULL;
	struct fault got;

	assert_int_equal(faults_new(&f), 0);
	for (size_t i = 0; i < LENGTH(bad); i++)
		assert_int_equal(faults_add(f, bad[i], strlen(bad[i])), -EINVAL);
	assert_int_equal(faults_add(f, good, strlen(good)), 0);
	assert_false(faults_take(f, "b/other", &got));
	assert_true(faults_take(f, "b/k", &got));
	assert_int_equal(got.status, 503);
	assert_string_equal(got.code, "SlowDown");
	assert_true(faults_take(f, "b/k", &got));
	assert_false(faults_take(f, "b/k", &got));
	for (int i = 1; i < FAULT_RULES_MAX; i++)
		assert_int_equal(faults_add(f, "{\"stall\": true}", 15), 0);
	assert_int_equal(faults_add(f, "{\"stall\": true}", 15), -ENOSPC);
	faults_clear(f);
	assert_false(faults_take(f, "b/k", &got));
	faults_free(f);
}

static void a_pace_is_kept(void **state)
{
	struct pace p = {.rate = 10000000};
	int64_t start_ns = clock_mono_ns();

	for (size_t left = 2000000; left > 0;) {
		size_t n = pace_slice(&p, left);
		assert_in_range(n, 1, 20000);
		pace_wait(&p, n);
		left -= n;
	}
	assert_true(clock_mono_ns() - start_ns >= 190 * NS_PER_MS); /* less what may be caught up */
}

static struct request_reader reader;

/* What request_read() says to @text; the request is in @ret. */
static int read_text(const char *text, struct request *ret)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(write(fds[1], text, strlen(text)), strlen(text));
	close(fds[1]);
	memset(&reader, 0, sizeof reader);
	reader.fd = fds[0];
	int rc = request_read(&reader, ret);
	close(fds[0]);
	return rc;
}

static void requests_are_parsed_and_bad_ones_refused(void **state)
{
	static const char *const bad[] = {
		"GET\r\n\r\n",
		"\r\n\r\n",
		"GET b HTTP/1.1\r\n\r\n",
		"GET /b HTTP/2\r\n\r\n",
		"GET /%zz HTTP/1.1\r\n\r\n",
		"GET /%00 HTTP/1.1\r\n\r\n",
		"GET / HTTP/1.1\r\nno colon\r\n\r\n",
		"PUT / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
		"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
	};
	struct request q;
	char word[16];

	for (size_t i = 0; i < LENGTH(bad); i++)
		assert_int_equal(read_text(bad[i], &q), -EBADMSG);
	assert_int_equal(read_text("GET / HTTP", &q), -ENODATA);
	assert_int_equal(
		read_text(
			"GET /b/a%20+?x=1&prefix=p%2F HTTP/1.1\r\nRange:  bytes=0-1\r\nConnection: close\r\n\r\n",
			&q),
		0);
	assert_string_equal(q.path, "b/a +");
	assert_true(q.close);
	assert_string_equal(request_header(&q, "range"), "bytes=0-1");
	assert_null(request_header(&q, "host"));
	assert_true(request_param(&q, "prefix", word, sizeof word));
	assert_string_equal(word, "p/");
	assert_false(request_param(&q, "pre", word, sizeof word));
	assert_false(request_param(&q, "prefix", word, 2));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(made_up_content_never_changes),
		cmocka_unit_test(specifications_of_objects_are_checked),
		cmocka_unit_test(a_listing_is_in_the_order_of_bytes_or_folder_by_folder),
		cmocka_unit_test(faults_match_count_down_and_refuse_unknown_words),
		cmocka_unit_test(a_pace_is_kept),
		cmocka_unit_test(requests_are_parsed_and_bad_ones_refused),
	};
	return cmocka_run_group_tests_name("origin", tests, NULL, NULL);
}
