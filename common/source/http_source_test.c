/* The HTTP source against a small server of the test's own, which answers what the path asks for. */
#include "common/source/testing.h"

#include <microhttpd.h>
#include <netinet/in.h>
#include <stdatomic.h>

#include "common/base/hash.h"

#define LIST_FILES 30000
#define FILE_BYTES 300000

static struct {
	struct MHD_Daemon *daemon;
	char url[64];
	uint8_t bytes[FILE_BYTES];
	atomic_int requests, heads, busy_left, wholes;
	struct source_loop *loop;
} fx;

/* ---- the server ---- */

static enum MHD_Result answer(struct MHD_Connection *c, unsigned status, const void *p, size_t len,
			      const char *name, const char *value)
{
	struct MHD_Response *r =
		MHD_create_response_from_buffer(len, (void *)(uintptr_t)p, MHD_RESPMEM_MUST_COPY);

	(void)MHD_add_response_header(r, "ETag", "\"v1\"");
	if (name)
		(void)MHD_add_response_header(r, name, value);
	enum MHD_Result rc = MHD_queue_response(c, status, r);
	MHD_destroy_response(r);
	return rc;
}

static enum MHD_Result answer_file(struct MHD_Connection *c, bool ranges)
{
	const char *range = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Range");
	unsigned long long first, last;
	char text[100];

	if (!ranges || !range || sscanf(range, "bytes=%llu-%llu", &first, &last) != 2) {
		atomic_fetch_add(&fx.wholes, 1);
		return answer(c, 200, fx.bytes, FILE_BYTES, NULL, NULL);
	}
	snprintf(text, sizeof text, "bytes %llu-%llu/%d", first, last, FILE_BYTES);
	return answer(c, 206, fx.bytes + first, last - first + 1, "Content-Range", text);
}

static enum MHD_Result answer_list(struct MHD_Connection *c)
{
	char *text = mem_alloc(LIST_FILES * 40);
	size_t len = (size_t)snprintf(text, 40, "#larder-list 1\n");

	for (int i = 0; i < LIST_FILES; i++)
		len += (size_t)snprintf(text + len, 40, "%d/%d\tfiles/%d\n", i % 100, i, i);
	enum MHD_Result rc = answer(c, 200, text, len, NULL, NULL);
	mem_free(text);
	return rc;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *c, const char *path, const char *method,
				  const char *version, const char *data, size_t *size, void **state)
{
	bool head = strcmp(method, "HEAD") == 0;

	if (!*state) { /* the head came; the answer may be given once the (empty) body did */
		*state = fx.bytes;
		return MHD_YES;
	}
	atomic_fetch_add(&fx.requests, 1);
	atomic_fetch_add(&fx.heads, head);
	if (head && strncmp(path, "/nohead/", 8) == 0)
		return answer(c, 405, "", 0, NULL, NULL);
	if (strcmp(path, "/nohead/") == 0 || strcmp(path, "/busy/") == 0 || strcmp(path, "/norange/") == 0) {
		if (strcmp(path, "/busy/") == 0 && atomic_fetch_sub(&fx.busy_left, 1) > 0)
			return answer(c, 503, "", 0, "Retry-After", "0");
		return answer(c, 200, "<a href='f'>f</a>", 17, NULL, NULL);
	}
	if (strcmp(path, "/list") == 0)
		return answer_list(c);
	if (strcmp(path, "/lost.list") == 0)
		return answer(c, 200, "#larder-list 1\nlost\n", 20, NULL, NULL);
	if (strncmp(path, "/loop/", 6) == 0)
		return answer(c, 200, "<a href='l/'>l</a>", 18, NULL, NULL);
	if (strcmp(path, "/gone/") == 0)
		return answer(c, 200, "<a href='here'></a><a href='404'></a><a href='404d/'></a>", 57, NULL,
			      NULL);
	if (strncmp(path, "/404/", 5) == 0 || strncmp(path, "/gone/404", 9) == 0 ||
	    strcmp(path, "/lost") == 0)
		return answer(c, 404, "", 0, NULL, NULL);
	if (strcmp(path, "/junk/") == 0)
		return answer(c, 200, "junk", 4, NULL, NULL);
	return answer_file(c, strncmp(path, "/norange/", 9) != 0);
}

static int suite_setup(void **state)
{
	struct sockaddr_in at = {.sin_family = AF_INET};

	unsetenv("http_proxy");
	unsetenv("all_proxy");
	for (size_t i = 0; i < FILE_BYTES; i++)
		fx.bytes[i] = (uint8_t)(i * 7 + (i >> 8));
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	fx.daemon = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, on_request, NULL,
				     MHD_OPTION_SOCK_ADDR, &at, MHD_OPTION_END);
	assert_non_null(fx.daemon);
	snprintf(fx.url, sizeof fx.url, "http://127.0.0.1:%u",
		 MHD_get_daemon_info(fx.daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
	return source_loop_new("test", &fx.loop);
}

static int suite_teardown(void **state)
{
	source_loop_free(fx.loop);
	MHD_stop_daemon(fx.daemon);
	return 0;
}

static struct source *make(const char *path, enum source_index index, uint32_t connections)
{
	CLEANUP(free_str) char *url = mem_printf("%s%s", fx.url, path);
	const struct source_config c = {.kind = SOURCE_HTTP,
					.label = "web",
					.http = {.url = url, .index = index},
					.connections_max = connections};
	struct source *s = NULL;
	struct err err = {0};

	if (source_new(fx.loop, &c, &s, &err) < 0)
		fail_msg("%s", err.text);
	return s;
}

static void lists(const char *path, int code, size_t count, const char *words)
{
	struct source *s = make(path, SOURCE_INDEX_NGINX, 4);
	struct waiter w;

	waiter_init(&w);
	assert_int_equal(list_and_wait(s, "", &w), code);
	if (code == 0)
		assert_int_equal(w.line_count, count);
	else if (!strstr(w.err.text, words))
		fail_msg("%s", w.err.text);
	waiter_clear(&w);
	source_free(s);
}

/* ---- tests ---- */

static void sizes_are_asked_for_by_a_byte_where_head_is_refused(void **state)
{
	struct source *s = make("/nohead/", SOURCE_INDEX_AUTO, 0);
	struct waiter w;

	waiter_init(&w);
	assert_int_equal(list_and_wait(s, "", &w), 0);
	assert_int_equal(w.line_count, 1);
	assert_string_equal(w.lines[0], "f f 300000");
	waiter_clear(&w);
	waiter_init(&w);
	atomic_store(&fx.heads, 0);
	assert_int_equal(stat_and_wait(s, "f", &w), 0);
	assert_int_equal(w.entry.size, FILE_BYTES);
	assert_int_equal(atomic_load(&fx.heads), 0); /* once told, never asked again */
	waiter_clear(&w);
	source_free(s);
}

static void a_busy_server_is_waited_for_and_requests_are_counted(void **state)
{
	struct source *s = make("/busy/", SOURCE_INDEX_AUTO, 0);
	struct source_stats stats;
	struct waiter w;

	atomic_store(&fx.busy_left, 2);
	waiter_init(&w);
	assert_int_equal(list_and_wait(s, "", &w), 0);
	waiter_clear(&w);
	source_stats_get(s, &stats);
	assert_int_equal(stats.requests, 4); /* three for the page, one for its file */
	assert_int_equal(stats.retries, 2);
	source_free(s);
}

static void a_list_longer_than_the_queue_is_read_to_its_end(void **state)
{
	for (uint32_t connections = 1; connections <= 8; connections += 7) {
		struct source *s = make("/list", SOURCE_INDEX_LIST, connections);
		struct source_stats stats;
		struct waiter w;

		waiter_init(&w);
		assert_int_equal(list_and_wait(s, "", &w), 0);
		source_stats_get(s, &stats);
		assert_int_equal(stats.requests, LIST_FILES + 1);
		assert_int_equal(w.pages, LIST_FILES);
		waiter_clear(&w);
		source_free(s);
	}
}

static void a_list_that_names_what_is_not_there_is_refused(void **state)
{
	struct source *s = make("/lost.list", SOURCE_INDEX_LIST, 0);
	struct waiter w;

	waiter_init(&w);
	assert_int_equal(list_and_wait(s, "", &w), -ENOENT);
	assert_non_null(strstr(w.err.text, "/lost"));
	waiter_clear(&w);
	source_free(s);
}

static void a_listing_can_be_canceled_in_its_midst(void **state)
{
	struct source *s = make("/list", SOURCE_INDEX_LIST, 4);
	struct waiter w;

	waiter_init(&w);
	w.stop_after_page = -ENOSPC;
	assert_int_equal(list_and_wait(s, "", &w), -ENOSPC);
	waiter_clear(&w);
	source_free(s);
	s = make("/list", SOURCE_INDEX_LIST, 4);
	waiter_init(&w);
	struct source_op *op = NULL;
	const struct source_list_request r = {
		.prefix = "", .entries = waiter_entries, .done = waiter_list_done, .ctx = &w};
	assert_int_equal(source_list(s, &r, &op), 0);
	source_free(s); /* cancels what runs */
	assert_int_equal(waiter_wait(&w), -ECANCELED);
	waiter_clear(&w);
}

static void folders_in_a_circle_and_pages_that_are_none_end_with_a_sentence(void **state)
{
	lists("/loop/", -ERR_UNSUPPORTED, 0, "over 128 folders deep");
	lists("/junk/", -ERR_CORRUPT, 0, "neither HTML nor JSON");
	lists("/404/", -ENOENT, 0, "HTTP 404 for http://127.0.0.1");
}

static void what_went_between_page_and_question_is_left_out(void **state)
{
	lists("/gone/", 0, 2, NULL); /* the file that is here, and the folder, which had been there */
}

static int read_part(struct source *s, const char *key, uint64_t offset, uint64_t length, struct waiter *w)
{
	const struct source_read_request r = {
		.key = key,
		.offset = offset,
		.length = length,
		.object_size = FILE_BYTES,
		.validator = {.kind = VALIDATOR_STRONG, .len = 2, .bytes = "v1"}};

	waiter_init(w);
	return read_and_wait(s, &r, w);
}

static void ranges_are_cut_out_of_whole_bodies(void **state)
{
	static const char *const paths[] = {"/norange/", "/nohead/"};
	static const struct {
		uint64_t offset, length;
	} rows[] = {{0, 1}, {0, FILE_BYTES}, {1000, 99000}, {FILE_BYTES - 1, 1}, {150000, 150000}};

	for (size_t p = 0; p < LENGTH(paths); p++) {
		struct source *s = make(paths[p], SOURCE_INDEX_AUTO, 0);
		for (size_t i = 0; i < LENGTH(rows); i++) {
			struct waiter w;
			assert_int_equal(read_part(s, "f", rows[i].offset, rows[i].length, &w), 0);
			assert_int_equal(w.len, rows[i].length);
			assert_memory_equal(w.bytes, fx.bytes + rows[i].offset, w.len);
			waiter_clear(&w);
		}
		source_free(s);
	}
}

enum { SPANS = 30, SPAN_BYTES = FILE_BYTES / SPANS };

static struct source_read_request span(const char *key, int i)
{
	return (struct source_read_request){.key = key,
					    .offset = (uint64_t)i * SPAN_BYTES,
					    .length = SPAN_BYTES,
					    .object_size = FILE_BYTES,
					    .validator = {.kind = VALIDATOR_STRONG, .len = 2, .bytes = "v1"}};
}

/* Spans one after the other, then all at once in a mixed order: the object is sent twice more, not thirty times. */
static void a_server_without_ranges_sends_an_object_once_for_all_spans(void **state)
{
	struct source *s = make("/norange/", SOURCE_INDEX_AUTO, 4);
	struct waiter w[SPANS];

	atomic_store(&fx.wholes, 0);
	for (int round = 0; round < 2; round++) {
		for (int k = 0; k < SPANS; k++) {
			int i = round == 0 ? k : k * 7 % SPANS;
			struct source_read_request r = span("f", i);
			waiter_init(&w[i]);
			if (round == 0)
				assert_int_equal(read_and_wait(s, &r, &w[i]), 0);
			else
				start_read(s, &r, &w[i]);
		}
		for (int i = 0; i < SPANS; i++) {
			assert_int_equal(waiter_wait(&w[i]), 0);
			assert_int_equal(w[i].len, SPAN_BYTES);
			assert_memory_equal(w[i].bytes, fx.bytes + i * SPAN_BYTES, SPAN_BYTES);
			waiter_clear(&w[i]);
		}
	}
	/* The first answer taught it, then a stream a round; a read may come when the second has passed it. */
	assert_in_range(atomic_load(&fx.wholes), 3, 6);
	source_free(s);
}

static void a_stream_goes_on_when_a_reader_pauses_is_canceled_or_nobody_reads(void **state)
{
	struct source *s = make("/norange/", SOURCE_INDEX_AUTO, 2);
	struct waiter w[3];

	for (int i = 0; i < 3; i++)
		waiter_init(&w[i]);
	const struct source_read_request teach = span("f", 0), slow = span("f", 2), next = span("f", 5);
	assert_int_equal(read_and_wait(s, &teach, &w[0]), 0);
	w[1].pause_every = SPAN_BYTES / 3;
	start_read(s, &slow, &w[1]);
	start_read(s, &next, &w[2]);
	wait_for_pause(&w[1]);
	pthread_mutex_lock(&w[1].lock);
	source_op_cancel(w[1].op);
	pthread_mutex_unlock(&w[1].lock);
	assert_int_equal(waiter_wait(&w[1]), -ECANCELED);
	assert_int_equal(waiter_wait(&w[2]), 0);
	assert_memory_equal(w[2].bytes, fx.bytes + 5 * SPAN_BYTES, SPAN_BYTES);
	for (int i = 1; i < 3; i++)
		waiter_clear(&w[i]);
	waiter_init(&w[1]);
	w[1].pause_every = SPAN_BYTES / 3;
	const struct source_read_request more = span("f", 20);
	start_read(s, &more, &w[1]);
	assert_int_equal(resume_until_done(&w[1]), 0);
	assert_memory_equal(w[1].bytes, fx.bytes + 20 * SPAN_BYTES, SPAN_BYTES);
	waiter_clear(&w[1]);
	waiter_clear(&w[0]);
	source_free(s); /* while the stream stands still */
}

static void checksums_hold_for_objects_read_in_parts(void **state)
{
	struct source *s = make("/list", SOURCE_INDEX_LIST, 0);
	struct hash256 h = hash256_of(fx.bytes, FILE_BYTES);
	char hex[HASH256_HEX], key[200];
	struct waiter w;

	hash256_hex(&h, hex);
	snprintf(key, sizeof key, "files/1#sha256:%s", hex);
	for (int wrong = 0; wrong < 2; wrong++) {
		for (int i = 0; i < SPANS; i++) {
			const struct source_read_request r = span(key, i);
			int want = wrong && i == SPANS - 1 ? -ERR_CORRUPT : 0;
			waiter_init(&w);
			assert_int_equal(read_and_wait(s, &r, &w), want);
			assert_true((want == 0) == (w.len == SPAN_BYTES));
			if (want)
				assert_non_null(strstr(w.err.text, "checksum"));
			waiter_clear(&w);
		}
		if (wrong) { /* nor does it come by a request of its own */
			const struct source_read_request r = span(key, SPANS - 1);
			waiter_init(&w);
			assert_int_equal(read_and_wait(s, &r, &w), -ERR_CORRUPT);
			waiter_clear(&w);
		}
		key[strlen(key) - 1] ^= 1;
	}
	source_free(s);
}

static void checksums_of_a_list_are_held_against_whole_objects(void **state)
{
	struct source *s = make("/list", SOURCE_INDEX_LIST, 0);
	struct hash256 h = hash256_of(fx.bytes, FILE_BYTES);
	char hex[HASH256_HEX], key[200];
	struct waiter w;

	hash256_hex(&h, hex);
	snprintf(key, sizeof key, "files/1#sha256:%s", hex);
	assert_int_equal(read_part(s, key, 0, FILE_BYTES, &w), 0);
	waiter_clear(&w);
	key[strlen(key) - 1] ^= 1;
	assert_int_equal(read_part(s, key, 0, FILE_BYTES, &w), -ERR_CORRUPT);
	assert_non_null(strstr(w.err.text, "checksum"));
	assert_true(w.len < FILE_BYTES); /* the last bytes are kept back */
	waiter_clear(&w);
	assert_int_equal(read_part(s, key, 0, 100, &w), 0); /* of a part nothing can be said */
	waiter_clear(&w);
	source_free(s);
}

static void what_a_web_server_cannot_be_is_refused(void **state)
{
	static const struct {
		struct source_config c;
		const char *words;
	} rows[] = {
		{{.http = {.url = "gopher://h/"}}, "the URL must start with"},
		{{.http = {.url = NULL}}, "the URL must start with"},
		{{.http = {.url = "http://h/a", .index = SOURCE_INDEX_NGINX}}, "must end in \"/\""},
		{{.http = {.url = "http://h/", .index = SOURCE_INDEX_SINGLE}}, "must end in its name"},
		{{.http = {.url = "http://h/a"}, .credential = {.access_key = "a", .secret_key = "b"}},
		 "keys of S3"},
		{{.http = {.url = "http://h/a"}, .credential = {.username = "a", .token = "b"}},
		 "username and token"},
	};

	for (size_t i = 0; i < LENGTH(rows); i++) {
		struct source_config c = rows[i].c;
		struct source *s = NULL;
		struct err err = {0};
		c.kind = SOURCE_HTTP;
		c.label = "web";
		assert_int_equal(source_new(fx.loop, &c, &s, &err), -EINVAL);
		if (!strstr(err.text, rows[i].words))
			fail_msg("%s", err.text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_are_asked_for_by_a_byte_where_head_is_refused),
		cmocka_unit_test(a_busy_server_is_waited_for_and_requests_are_counted),
		cmocka_unit_test(a_list_longer_than_the_queue_is_read_to_its_end),
		cmocka_unit_test(a_list_that_names_what_is_not_there_is_refused),
		cmocka_unit_test(a_listing_can_be_canceled_in_its_midst),
		cmocka_unit_test(folders_in_a_circle_and_pages_that_are_none_end_with_a_sentence),
		cmocka_unit_test(what_went_between_page_and_question_is_left_out),
		cmocka_unit_test(ranges_are_cut_out_of_whole_bodies),
		cmocka_unit_test(a_server_without_ranges_sends_an_object_once_for_all_spans),
		cmocka_unit_test(a_stream_goes_on_when_a_reader_pauses_is_canceled_or_nobody_reads),
		cmocka_unit_test(checksums_hold_for_objects_read_in_parts),
		cmocka_unit_test(checksums_of_a_list_are_held_against_whole_objects),
		cmocka_unit_test(what_a_web_server_cannot_be_is_refused),
	};
	return cmocka_run_group_tests_name("http_source", tests, suite_setup, suite_teardown);
}
