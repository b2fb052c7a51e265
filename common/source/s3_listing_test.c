/* Listings of the S3 source against larder-origin: side by side where the store keeps order, and right or refused where it lies. */
#include "common/source/testing_origin.h"

#include <microhttpd.h>
#include <netinet/in.h>

enum { MANY = 30000 };

struct fixture {
	pid_t pid;
	unsigned port;
	char endpoint[64];
	struct source_loop *loop;
};

static struct fixture fx;

/* What a listing gave: how often each of the numbered keys came, and others in words. */
struct got {
	struct waiter w;
	uint8_t times[MANY];
	size_t others, inside, stop_after;
	unsigned calls;
};

/* Seven digits; a key is not ended by NUL. */
static unsigned number_of(const char *digits)
{
	unsigned n = 0;

	for (int i = 0; i < 7; i++)
		n = n * 10 + (unsigned)(digits[i] - '0');
	return n;
}

static int take_entries(void *ctx, const struct source_entry *e, size_t count)
{
	struct got *g = ctx;

	assert_int_equal(g->inside++, 0); /* one call at a time */
	for (size_t i = 0; i < count; i++) {
		unsigned n = MANY;
		if (e[i].key_len == strlen("x-0000000") && memcmp(e[i].key, "x-", 2) == 0)
			n = number_of(e[i].key + 2);
		if (n < MANY)
			g->times[n]++;
		else
			g->others++;
	}
	g->inside--;
	return ++g->calls == g->stop_after ? -ENOSPC : 0;
}

/* After @stop_after calls of its callback that ends it; 0: it does not. */
static void list_start(struct source *s, struct got *g, size_t stop_after)
{
	struct source_op *op = NULL;
	const struct source_list_request r = {
		.prefix = "", .entries = take_entries, .done = waiter_list_done, .ctx = g};

	memset(g, 0, sizeof *g);
	g->stop_after = stop_after;
	waiter_init(&g->w);
	assert_int_equal(source_list(s, &r, &op), 0);
}

static int list_it(struct source *s, struct got *g)
{
	list_start(s, g, 0);
	int status = waiter_wait(&g->w);
	waiter_clear(&g->w);
	return status;
}

static struct source *make_source(unsigned port, const char *bucket, const char *prefix, unsigned connections,
				  uint64_t requests)
{
	char endpoint[64];
	snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%u", port);
	const struct source_config c = {
		.kind = SOURCE_S3,
		.label = "test",
		.s3 = {.bucket = bucket, .prefix = prefix, .endpoint = endpoint, .region = "eu-west-1"},
		.connections_max = connections,
		.requests_per_second = requests,
	};
	struct source *s = NULL;

	assert_int_equal(source_new(fx.loop, &c, &s, NULL), 0);
	return s;
}

static int suite_setup(void **state)
{
	static const char *const words[] = {"--synthetic",
					    "many/p/x:7x30000",
					    "--synthetic",
					    "few/p/x:7x999",
					    "--synthetic",
					    "odd/p/x/y:1",
					    "--synthetic",
					    "odd/p/x-0000001:1",
					    "--synthetic",
					    "odd/p/x.y:1",
					    "--synthetic",
					    "odd/p/x/y/z:1",
					    "--first-byte-ms",
					    "8",
					    NULL};

	unsetenv("http_proxy");
	unsetenv("all_proxy");
	origin_start("127.0.0.1:0", words, &fx.pid, &fx.port);
	return source_loop_new("test", &fx.loop);
}

static int suite_teardown(void **state)
{
	source_loop_free(fx.loop);
	origin_stop(fx.pid);
	return 0;
}

static int test_setup(void **state)
{
	origin_ask(fx.port, "DELETE", "/_control/fault", "", NULL, 0);
	origin_ask(fx.port, "POST", "/_control/reset", "", NULL, 0);
	return 0;
}

static void fault(const char *json)
{
	assert_int_equal(origin_ask(fx.port, "PUT", "/_control/fault", json, NULL, 0), 200);
}

static void assert_all(const struct got *g, size_t count, unsigned least, unsigned most)
{
	assert_int_equal(g->others, 0);
	for (size_t i = 0; i < MANY; i++)
		if (i < count ? g->times[i] < least || g->times[i] > most : g->times[i] > 0)
			fail_msg("key %zu came %u times", i, g->times[i]);
}

static void many_keys_are_listed_side_by_side_each_once(void **state)
{
	struct source *s = make_source(fx.port, "many", "p/", 16, 0);
	struct got g;

	assert_int_equal(list_it(s, &g), 0);
	assert_all(&g, MANY, 1, 1);
	/* One that comes leads on before the next is parsed: how many are on the way depends on how long that takes. */
	assert_in_range(origin_stat(fx.port, "inflight_max"), 3, 16);
	assert_in_range(origin_stat(fx.port, "requests"), 31, 60);
	source_free(s);
}

static void a_tree_of_one_page_costs_one_page(void **state)
{
	struct source *s = make_source(fx.port, "few", "p/", 16, 0);
	struct got g;

	assert_int_equal(list_it(s, &g), 0);
	assert_all(&g, 999, 1, 1);
	assert_int_equal(origin_stat(fx.port, "requests"), 2); /* and whether there are versions */
	source_free(s);
}

static void one_connection_or_few_requests_a_second_are_kept_to(void **state)
{
	struct source *s = make_source(fx.port, "many", "p/", 1, 0);
	struct got g;

	assert_int_equal(list_it(s, &g), 0);
	assert_all(&g, MANY, 1, 1);
	assert_int_equal(origin_stat(fx.port, "inflight_max"), 1);
	source_free(s);
	origin_ask(fx.port, "POST", "/_control/reset", "", NULL, 0);
	s = make_source(fx.port, "many", "p/", 16, 60);
	int64_t start_ns = clock_mono_ns();
	assert_int_equal(list_it(s, &g), 0);
	assert_all(&g, MANY, 1, 1);
	int64_t took_ns = clock_mono_ns() - start_ns;
	assert_true((int64_t)origin_stat(fx.port, "requests") <= 60 * took_ns / NS_PER_S + 8);
	source_free(s);
}

static void slow_down_and_broken_pages_are_waited_out(void **state)
{
	struct source *s = make_source(fx.port, "many", "p/", 16, 0);
	struct got g;

	fault("{\"match\": \"start-after\", \"status\": 503, \"code\": \"SlowDown\", \"times\": 6}");
	fault("{\"match\": \"continuation-token\", \"close\": true, \"times\": 3}");
	assert_int_equal(list_it(s, &g), 0);
	assert_all(&g, MANY, 1, 1);
	source_free(s);
}

static void a_callback_ends_all_that_runs(void **state)
{
	struct source *s = make_source(fx.port, "many", "p/", 16, 0);
	struct got g;

	list_start(s, &g, 9);
	assert_int_equal(waiter_wait(&g.w), -ENOSPC);
	assert_int_equal(g.calls, 9);
	waiter_clear(&g.w);
	source_free(s);
}

static void freeing_the_source_cancels_a_listing_that_runs(void **state)
{
	struct source *s = make_source(fx.port, "many", "p/", 16, 0);
	struct got g;

	list_start(s, &g, 0);
	while (origin_stat(fx.port, "requests") < 4) /* until some run side by side */
		;
	source_free(s);
	assert_int_equal(waiter_wait(&g.w), -ECANCELED);
	waiter_clear(&g.w);
}

/* ---- stores that lie ---- */

/* The listing, asked for again where its entries are to be dropped, as a sync does. */
static int list_as_a_sync(struct source *s, struct got *g)
{
	int status = list_it(s, g);

	return status == -EAGAIN ? list_it(s, g) : status;
}

static void pages_without_order_or_with_keys_twice_end_in_the_right_tree(void **state)
{
	static const char *const rules[] = {
		"{\"match\": \"list-type\", \"list\": \"turned\"}",
		"{\"match\": \"list-type\", \"list\": \"twice\"}",
		"{\"match\": \"continuation-token\", \"list\": \"turned\"}",
		"{\"match\": \"start-after\", \"list\": \"turned\"}",
		"{\"match\": \"start-after\", \"list\": \"endless\", \"times\": 1}", /* as if it knew no start-after */
	};

	for (size_t i = 0; i < LENGTH(rules); i++) {
		struct source *s = make_source(fx.port, "many", "p/", 16, 0);
		struct got g;
		test_setup(NULL);
		fault(rules[i]);
		assert_int_equal(list_as_a_sync(s, &g), 0);
		if (i < 2)
			assert_all(&g, MANY, 1, 2);
		else
			assert_all(&g, MANY, 1, 1);
		assert_int_equal(list_it(s, &g), 0); /* it is not asked side by side again */
		assert_all(&g, MANY, 1, 2);
		source_free(s);
	}
}

static void a_page_without_entries_may_lead_on(void **state)
{
	struct source *s = make_source(fx.port, "many", "p/", 16, 0);
	struct got g;

	fault("{\"match\": \"max-keys=1000&prefix=p%2F\", \"status\": 200, \"times\": 1, \"body\": \"<ListBucketResult>"
	      "<IsTruncated>true</IsTruncated><NextContinuationToken>p/</NextContinuationToken></ListBucketResult>\"}");
	assert_int_equal(list_it(s, &g), 0);
	assert_all(&g, MANY, 1, 1);
	source_free(s);
}

#define PAGE(inside) "\"status\": 200, \"body\": \"<ListBucketResult>" inside "</ListBucketResult>\"}"
#define ONE(key)     "<Contents><Key>" key "</Key><Size>1</Size></Contents>"
#define LEADS(token) "<IsTruncated>true</IsTruncated><NextContinuationToken>" token "</NextContinuationToken>"

/* In one sentence, after a number of pages that does not grow with the lie. */
static void lies_that_have_no_end_are_told(void **state)
{
	static const struct {
		const char *rules[4], *words;
		unsigned requests;
	} rows[] = {
		{{"{\"match\": \"list-type\", \"list\": \"endless\"}"}, "the same keys again and again", 120},
		{{"{\"match\": \"list-type\", \"list\": \"hollow\"}"},
		 "without a new key for over 100 pages",
		 110},
		{{"{\"match\": \"continuation-token\", \"list\": \"hollow\"}"},
		 "without a new key for over 100 pages",
		 2200},
		{{"{\"match\": \"list-type\", " PAGE(ONE("p/x-0000001") LEADS("a"))},
		 "in a circle of 1 pages",
		 20},
		{{"{\"match\": \"token=a\", " PAGE(ONE("p/b") LEADS("b")),
		  "{\"match\": \"token=b\", " PAGE(ONE("p/c") LEADS("c")),
		  "{\"match\": \"token=c\", " PAGE(ONE("p/a") LEADS("a")),
		  "{\"match\": \"list-type\", " PAGE(ONE("p/a") LEADS("a"))},
		 "in a circle of 3 pages",
		 40},
		{{"{\"match\": \"list-type\", " PAGE(ONE("p/a") ONE("q/a"))},
		 "a key that was not asked for: \"q/a\"",
		 8},
		{{"{\"match\": \"list-type\", " PAGE(ONE("p/a") "<IsTruncated>true</IsTruncated>")},
		 "goes on but names no continuation token",
		 8},
	};

	for (size_t i = 0; i < LENGTH(rows); i++) {
		struct source *s = make_source(fx.port, "many", "p/", 16, 0);
		struct got g;
		test_setup(NULL);
		for (size_t k = 0; k < LENGTH(rows[i].rules) && rows[i].rules[k]; k++)
			fault(rows[i].rules[k]);
		int status = list_as_a_sync(s, &g);
		unsigned requests = (unsigned)origin_stat(fx.port, "requests");
		if (status != -ERR_CORRUPT || !strstr(g.w.err.text, rows[i].words) ||
		    requests > rows[i].requests)
			fail_msg("row %zu: %d after %u requests: %s", i, status, requests, g.w.err.text);
		source_free(s);
	}
}

/* Whatever its order: the tree is what it has. */
static void a_store_that_lists_folder_by_folder_gives_the_same_tree(void **state)
{
	static const char *const words[] = {"--synthetic", "many/p/x:7x30000",
					    "--synthetic", "many/p/x-0000100/a:1x1500",
					    "--synthetic", "many/p/x-0000100!:1x1500",
					    "--synthetic", "many/p/x-0000100/a-0000007/q:1",
					    "--order",     "folders",
					    NULL};
	unsigned port;
	struct got g;
	pid_t pid;

	origin_start("127.0.0.1:0", words, &pid, &port);
	struct source *s = make_source(port, "many", "p/", 16, 0);
	for (int turn = 0; turn < 3; turn++) {
		assert_int_equal(list_as_a_sync(s, &g), 0);
		assert_int_equal(g.others, 3001);
		for (size_t i = 0; i < MANY; i++)
			assert_int_equal(g.times[i], 1);
	}
	source_free(s);
	origin_stop(pid);
}

/* ---- a store whose versions cannot be read ---- */

static enum MHD_Result on_request(void *arg, struct MHD_Connection *c, const char *path, const char *method,
				  const char *version, const char *data, size_t *size, void **state)
{
	static const char plain[] =
		"<ListBucketResult>" ONE("p/x-0000000") ONE("p/x-0000001") "</ListBucketResult>";
	const char *text = plain;

	if (!*state) {
		*state = c;
		return MHD_YES;
	}
	if (MHD_lookup_connection_value(c, MHD_GET_ARGUMENT_KIND, "versioning"))
		text = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
	else if (MHD_lookup_connection_value(c, MHD_GET_ARGUMENT_KIND, "list-type") == NULL)
		text = arg;
	struct MHD_Response *r =
		MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_MUST_COPY);
	enum MHD_Result rc = MHD_queue_response(c, 200, r);
	MHD_destroy_response(r);
	return rc;
}

/* Wherever the page breaks. */
static void a_page_of_versions_that_is_broken_leads_to_a_plain_listing(void **state)
{
	static const size_t fills[] = {
		0, 6000, 100000}; /* bytes before the break; the first 4096 are parsed as they come */
	static char page[200000];

	for (size_t i = 0; i < LENGTH(fills); i++) {
		struct sockaddr_in at = {.sin_family = AF_INET};
		struct got g;
		size_t n = (size_t)snprintf(page, sizeof page, "<ListVersionsResult><Name>b</Name>");
		memset(page + n, ' ', fills[i]);
		snprintf(page + n + fills[i], sizeof page - n - fills[i],
			 "<Version><Key>p/x-0000000</Key><VersionId>v</VersionId>"
			 "<IsLatest>true</IsLatest></Version></ListVersionsResult>");
		at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		struct MHD_Daemon *daemon =
			MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, on_request, page,
					 MHD_OPTION_SOCK_ADDR, &at, MHD_OPTION_END);
		assert_non_null(daemon);
		struct source *s = make_source(MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT)->port,
					       "b", "p/", 4, 0);
		int status = list_it(s, &g);
		if (status)
			fail_msg("broken after %zu: %d: %s", fills[i], status, g.w.err.text);
		assert_all(&g, 2, 1, 1);
		source_free(s);
		MHD_stop_daemon(daemon);
	}
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup(f, test_setup)
	const struct CMUnitTest tests[] = {
		TEST(many_keys_are_listed_side_by_side_each_once),
		TEST(a_tree_of_one_page_costs_one_page),
		TEST(one_connection_or_few_requests_a_second_are_kept_to),
		TEST(slow_down_and_broken_pages_are_waited_out),
		TEST(a_callback_ends_all_that_runs),
		TEST(freeing_the_source_cancels_a_listing_that_runs),
		TEST(pages_without_order_or_with_keys_twice_end_in_the_right_tree),
		TEST(a_page_without_entries_may_lead_on),
		TEST(lies_that_have_no_end_are_told),
		TEST(a_store_that_lists_folder_by_folder_gives_the_same_tree),
		TEST(a_page_of_versions_that_is_broken_leads_to_a_plain_listing),
	};
	return cmocka_run_group_tests_name("s3_listing", tests, suite_setup, suite_teardown);
}
