/* The S3 source against larder-origin, started here as a child on a free port: every fault it can be told to make. */
#include "common/source/testing.h"
#include "common/source/testing_origin.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "bench/origin/synthetic.h"
#include "common/base/fd.h"

#define BIG_SIZE (40u << 20)
#define BIG_SPEC "bench/data/big:40M"

struct fixture {
	pid_t pid;
	unsigned port;
	char endpoint[64], root[64];
	uint8_t *pattern;
	struct source_loop *loop;
	struct source *s;
	struct validator etag; /* of data/big */
};

static struct fixture fx;

static void start_origin_at(const char *listen, const char *extra, const char *value, pid_t *ret_pid,
			    unsigned *ret_port)
{
	const char *const words[] = {"--root",      fx.root,
				     "--synthetic", BIG_SPEC,
				     "--synthetic", "bench/many/x:100x2500",
				     "--synthetic", "vast/o:5497558138880",
				     extra,         value,
				     NULL};

	origin_start(listen, words, ret_pid, ret_port);
}

static void start_origin(const char *extra, const char *value, pid_t *ret_pid, unsigned *ret_port)
{
	start_origin_at("127.0.0.1:0", extra, value, ret_pid, ret_port);
}

static int ask(const char *method, const char *path, const char *body, char *ret, size_t size)
{
	return origin_ask(fx.port, method, path, body, ret, size);
}

static void fault(const char *json)
{
	assert_int_equal(ask("PUT", "/_control/fault", json, NULL, 0), 200);
}

static unsigned long long stat_of_origin(const char *name)
{
	return origin_stat(fx.port, name);
}

/* ---- fixture ---- */

static struct source_config config_of(void)
{
	return (struct source_config){
		.kind = SOURCE_S3,
		.label = "test",
		.s3 = {.bucket = "bench", .endpoint = fx.endpoint, .region = "eu-west-1"},
		.connect_timeout_ns = 300 * NS_PER_MS,
	};
}

static struct source *make_source(const struct source_config *c)
{
	struct source *s = NULL;
	struct err err = {0};
	int rc = source_new(fx.loop, c, &s, &err);

	if (rc < 0)
		print_error("%s\n", err.text);
	assert_int_equal(rc, 0);
	return s;
}

static struct source_read_request read_of(uint64_t offset, uint64_t length)
{
	return (struct source_read_request){.key = "data/big",
					    .offset = offset,
					    .length = length,
					    .object_size = BIG_SIZE,
					    .validator = fx.etag,
					    .deadline_ns = clock_mono_ns() + 20 * NS_PER_S};
}

static void learn_etag(void)
{
	struct waiter w;

	waiter_init(&w);
	assert_int_equal(stat_and_wait(fx.s, "data/big", &w), 0);
	assert_int_equal(w.entry.size, BIG_SIZE);
	assert_int_equal(w.entry.validator.kind, VALIDATOR_STRONG);
	fx.etag = w.entry.validator;
	waiter_clear(&w);
}

static int suite_setup(void **state)
{
	static const char *const proxies[] = {"http_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"};

	for (size_t i = 0; i < LENGTH(proxies); i++)
		unsetenv(proxies[i]);
	(void)snprintf(fx.root, sizeof fx.root, "/tmp/larder-s3-test-XXXXXX");
	assert_non_null(mkdtemp(fx.root));
	char path[128];
	snprintf(path, sizeof path, "%s/files", fx.root);
	assert_int_equal(mkdir(path, 0755), 0);
	start_origin(NULL, NULL, &fx.pid, &fx.port);
	snprintf(fx.endpoint, sizeof fx.endpoint, "http://127.0.0.1:%u", fx.port);
	fx.pattern = mem_alloc(SYNTHETIC_BYTES);
	synthetic_fill_pattern(fx.pattern);
	assert_int_equal(source_loop_new("test", &fx.loop), 0);
	const struct source_config c = config_of();
	fx.s = make_source(&c);
	learn_etag();
	return 0;
}

static int suite_teardown(void **state)
{
	source_free(fx.s);
	source_loop_free(fx.loop);
	mem_free(fx.pattern);
	origin_stop(fx.pid);
	return remove_tree(fx.root);
}

static int test_setup(void **state)
{
	ask("DELETE", "/_control/fault", "", NULL, 0);
	ask("POST", "/_control/reset", "", NULL, 0);
	return 0;
}

static void assert_bytes(const struct waiter *w, uint64_t offset)
{
	assert_int_equal(w->len, w->room);
	assert_true(synthetic_equal(fx.pattern, synthetic_key("bench/data/big"), offset, w->bytes, w->len));
}

/* Reads a range that must come whole and right in spite of what was set up. */
static void assert_reads(uint64_t offset, uint64_t length)
{
	struct waiter w;
	const struct source_read_request r = read_of(offset, length);

	waiter_init(&w);
	int rc = read_and_wait(fx.s, &r, &w);
	if (rc < 0)
		print_error("%s\n", w.err.text);
	assert_int_equal(rc, 0);
	assert_bytes(&w, offset);
	waiter_clear(&w);
}

/* Reads a range that must fail with @code and words that hold @words. */
static void assert_fails(const struct source_read_request *r, int code, const char *words)
{
	struct waiter w;

	waiter_init(&w);
	int rc = read_and_wait(fx.s, r, &w);
	assert_int_equal(rc, code);
	if (!strstr(w.err.text, words))
		fail_msg("\"%s\" does not say \"%s\"", w.err.text, words);
	waiter_clear(&w);
}

/* ---- tests ---- */

static void a_range_comes_whole_and_right(void **state)
{
	assert_reads(0, 1);
	assert_reads(BIG_SIZE - 1, 1);
	assert_reads(4095, 8194);
	assert_reads(12345, 10 << 20);
	assert_reads(0, BIG_SIZE);
}

/* 5 TiB, the most that S3 keeps in one object: no size or offset on the way is too small for it. */
static void the_largest_object_is_listed_and_read_to_its_last_byte(void **state)
{
	const uint64_t size = 5ULL << 40, offsets[] = {0, (1ULL << 32) - 50, (1ULL << 42) - 1, size - 5000};
	const struct source_config c = {
		.kind = SOURCE_S3, .label = "vast", .s3 = {.bucket = "vast", .endpoint = fx.endpoint}};
	struct source *s = NULL;
	struct err err = {0};
	struct waiter w;

	assert_int_equal(source_new(fx.loop, &c, &s, &err), 0);
	waiter_init(&w);
	assert_int_equal(list_and_wait(s, "", &w), 0);
	assert_int_equal(w.line_count, 1);
	assert_string_equal(w.lines[0], "f o 5497558138880");
	waiter_clear(&w);
	for (size_t i = 0; i < LENGTH(offsets); i++) {
		const struct source_read_request r = {
			.key = "o", .offset = offsets[i], .length = 5000, .object_size = size};
		waiter_init(&w);
		assert_int_equal(read_and_wait(s, &r, &w), 0);
		assert_true(synthetic_equal(fx.pattern, synthetic_key("vast/o"), offsets[i], w.bytes, w.len));
		waiter_clear(&w);
	}
	source_free(s);
}

static void a_sink_that_pauses_gets_every_byte_once(void **state)
{
	struct waiter w;
	const struct source_read_request r = read_of(777, 3 << 20);

	waiter_init(&w);
	w.pause_every = 100001;
	w.stretch = 7000;
	start_read(fx.s, &r, &w);
	assert_int_equal(resume_until_done(&w), 0);
	assert_true(w.pauses >= 31);
	assert_bytes(&w, 777);
	waiter_clear(&w);
}

static void a_paused_read_can_be_canceled(void **state)
{
	struct waiter w;
	const struct source_read_request r = read_of(0, 1 << 20);

	waiter_init(&w);
	w.pause_every = 50000;
	start_read(fx.s, &r, &w);
	wait_for_pause(&w);
	source_op_cancel(w.op);
	assert_int_equal(waiter_wait(&w), -ECANCELED);
	assert_int_equal(w.len, 50000);
	waiter_clear(&w);
}

static void freeing_a_source_cancels_its_reads(void **state)
{
	struct waiter w[8];
	struct source_config c = config_of();
	struct source_read_request r = read_of(0, BIG_SIZE);

	c.connections_max = 2;
	fault("{\"match\": \"data/big\", \"stall\": true}");
	struct source *s = make_source(&c);
	for (size_t i = 0; i < LENGTH(w); i++) {
		waiter_init(&w[i]);
		start_read(s, &r, &w[i]);
	}
	source_free(s);
	for (size_t i = 0; i < LENGTH(w); i++) {
		assert_int_equal(waiter_wait(&w[i]), -ECANCELED);
		waiter_clear(&w[i]);
	}
}

static void no_more_connections_than_allowed_are_used(void **state)
{
	enum { READS = 24 };
	struct waiter w[READS];
	struct source_config c = config_of();

	c.connections_max = 3;
	fault("{\"match\": \"data/big\", \"delay_ms\": 10}");
	struct source *s = make_source(&c);
	for (size_t i = 0; i < READS; i++) {
		struct source_read_request r = read_of(i << 20, 1 << 20);
		waiter_init(&w[i]);
		start_read(s, &r, &w[i]);
	}
	for (size_t i = 0; i < READS; i++) {
		assert_int_equal(waiter_wait(&w[i]), 0);
		assert_bytes(&w[i], i << 20);
		waiter_clear(&w[i]);
	}
	assert_int_equal(stat_of_origin("inflight_max"), 3);
	source_free(s);
}

static void requests_and_bytes_a_second_are_limited(void **state)
{
	struct source_config c = config_of();
	int64_t start_ns = clock_mono_ns();

	c.requests_per_second = 20;
	struct source *s = make_source(&c);
	for (uint64_t i = 0; i < 12; i++) { /* two at once, then one each 50 ms */
		struct waiter w;
		const struct source_read_request r = read_of(i, 1);
		waiter_init(&w);
		assert_int_equal(read_and_wait(s, &r, &w), 0);
		waiter_clear(&w);
	}
	assert_in_range((clock_mono_ns() - start_ns) / NS_PER_MS, 450, 3000);
	source_free(s);
	c.requests_per_second = 0;
	c.bandwidth = 8 << 20;
	s = make_source(&c);
	start_ns = clock_mono_ns();
	struct waiter w;
	const struct source_read_request r = read_of(0, 6 << 20);
	waiter_init(&w);
	assert_int_equal(read_and_wait(s, &r, &w), 0);
	assert_bytes(&w, 0);
	assert_in_range((clock_mono_ns() - start_ns) / NS_PER_MS, 500, 5000);
	waiter_clear(&w);
	source_free(s);
}

static void a_store_that_says_slow_down_gets_fewer_requests_at_once(void **state)
{
	enum { READS = 16 };
	struct waiter w[READS];
	struct source_config c = config_of();

	c.connections_max = READS;
	struct source *s = make_source(&c);
	/* All sixteen of the first flight are refused; what comes after is counted alone. */
	fault("{\"match\": \"data/big\", \"status\": 503, \"code\": \"SlowDown\", \"times\": 16}");
	for (size_t i = 0; i < READS; i++) {
		const struct source_read_request r = read_of(i, 1);
		waiter_init(&w[i]);
		start_read(s, &r, &w[i]);
	}
	for (size_t i = 0; i < READS; i++) {
		assert_int_equal(waiter_wait(&w[i]), 0);
		waiter_clear(&w[i]);
	}
	ask("POST", "/_control/reset", "", NULL, 0);
	fault("{\"match\": \"data/big\", \"delay_ms\": 50}");
	for (size_t i = 0; i < READS; i++) {
		const struct source_read_request r = read_of(i, 1);
		waiter_init(&w[i]);
		start_read(s, &r, &w[i]);
	}
	for (size_t i = 0; i < READS; i++) {
		assert_int_equal(waiter_wait(&w[i]), 0);
		waiter_clear(&w[i]);
	}
	assert_in_range(stat_of_origin("inflight_max"), 1, 10); /* 8, and what it grew since */
	source_free(s);
}

static void a_slow_answer_gets_a_second_request_within_the_budget(void **state)
{
	struct source *s;
	const struct source_config c = config_of();
	struct source_stats stats;

	s = make_source(&c);
	for (uint64_t i = 0; i < 200; i++) { /* four second requests are earned */
		struct waiter w;
		const struct source_read_request r = read_of(i, 1);
		waiter_init(&w);
		assert_int_equal(read_and_wait(s, &r, &w), 0);
		waiter_clear(&w);
	}
	source_stats_get(s, &stats);
	uint64_t before = stats.hedges;
	fault("{\"match\": \"data/big\", \"delay_ms\": 5000, \"times\": 1}");
	int64_t start_ns = clock_mono_ns();
	struct waiter w;
	const struct source_read_request r = read_of(12345, 3 << 20);
	waiter_init(&w);
	assert_int_equal(read_and_wait(s, &r, &w), 0);
	assert_bytes(&w, 12345);
	waiter_clear(&w);
	assert_true(clock_mono_ns() - start_ns < 500 * NS_PER_MS);
	source_stats_get(s, &stats);
	assert_int_equal(stats.hedges, before + 1);
	fault("{\"match\": \"data/big\", \"delay_ms\": 30}");
	for (uint64_t i = 0; i < 40; i++) {
		waiter_init(&w);
		const struct source_read_request slow = read_of(i, 1);
		assert_int_equal(read_and_wait(s, &slow, &w), 0);
		waiter_clear(&w);
	}
	source_stats_get(s, &stats);
	assert_in_range(stats.hedges, 2, 5); /* 2 % of 241 */
	source_free(s);
}

/* ---- a name that leads elsewhere ---- */

static void write_hosts(const char *path, const char *address)
{
	char text[64];
	int n = snprintf(text, sizeof text, "%s store.test\n", address);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(fd_write_full(fd, text, (size_t)n), 0);
	close(fd);
}

/* Reads one byte of data/big each time a byte comes on stdin; "y" or "n" to stdout. With an /etc/hosts of its own. */
static int read_in_namespace(const char *hosts, const char *endpoint)
{
	struct source_loop *loop = NULL;
	struct source *s = NULL;
	struct source_config config = config_of();
	char c;

	if (unshare(geteuid() == 0 ? CLONE_NEWNS : CLONE_NEWUSER | CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount(hosts, "/etc/hosts", NULL, MS_BIND, NULL) < 0)
		return 77;
	unsetenv("http_proxy");
	unsetenv("all_proxy");
	config.s3.endpoint = endpoint;
	if (source_loop_new("dns", &loop) < 0 || source_new(loop, &config, &s, NULL) < 0)
		return 1;
	while (read(STDIN_FILENO, &c, 1) == 1) {
		struct waiter w;
		const struct source_read_request r = read_of(0, 1);
		waiter_init(&w);
		c = read_and_wait(s, &r, &w) == 0 ? 'y' : 'n';
		waiter_clear(&w);
		if (write(STDOUT_FILENO, &c, 1) != 1)
			return 1;
	}
	source_free(s);
	source_loop_free(loop);
	return 0;
}

static char ask_reader(int in, int out)
{
	char c = 'r';

	if (write(in, &c, 1) != 1 || read(out, &c, 1) != 1)
		c = '-';
	return c;
}

static void a_store_that_moves_to_another_address_is_found(void **state)
{
	char hosts[128], endpoint[64];
	int in[2], out[2], status;
	pid_t first;
	unsigned port;

	(void)signal(SIGPIPE, SIG_IGN);

	snprintf(hosts, sizeof hosts, "%s/hosts", fx.root);
	write_hosts(hosts, "127.0.0.1");
	start_origin(NULL, NULL, &first, &port);
	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	snprintf(endpoint, sizeof endpoint, "http://store.test:%u", port);
	pid_t reader = fork();
	if (reader == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(in[0], STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		execl("/proc/self/exe", "s3_test", hosts, endpoint, NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	char before = ask_reader(in[1], out[0]);
	if (before == 'y') {
		/* The old address goes dead, the name leads to the new one: the next read must find it by itself. */
		origin_stop(first);
		char moved_listen[32];
		snprintf(moved_listen, sizeof moved_listen, "127.0.0.2:%u", port);
		start_origin_at(moved_listen, NULL, NULL, &first, &port);
		write_hosts(hosts, "127.0.0.2");
		assert_int_equal(ask_reader(in[1], out[0]), 'y');
	}
	close(in[1]);
	close(out[0]);
	assert_int_equal(waitpid(reader, &status, 0), reader);
	origin_stop(first);
	if (WEXITSTATUS(status) == 77) {
		print_message("needs a mount namespace of its own\n");
		skip();
	}
	assert_int_equal(before, 'y');
}

static void a_bucket_of_another_region_is_followed_there(void **state)
{
	struct source_config c = config_of();
	struct source_stats stats;
	struct waiter w;
	const struct source_read_request r = read_of(0, 1);

	struct source *s = make_source(&c);
	fault("{\"match\": \"data/big\", \"status\": 400, \"times\": 1, \"body\": "
	      "\"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-north-1</Region></Error>\"}");
	waiter_init(&w);
	assert_int_equal(read_and_wait(s, &r, &w), 0);
	waiter_clear(&w);
	source_stats_get(s, &stats);
	assert_int_equal(stats.requests, 2);
	assert_int_equal(stats.retries, 0);
	/* Told the region that it has already, or no region: it ends with words. */
	fault("{\"match\": \"data/big\", \"status\": 301, \"body\": "
	      "\"<Error><Code>PermanentRedirect</Code><Region>eu-north-1</Region></Error>\"}");
	waiter_init(&w);
	assert_int_equal(read_and_wait(s, &r, &w), -ERR_UNREACHABLE);
	assert_non_null(strstr(w.err.text, "the bucket is in region eu-north-1"));
	waiter_clear(&w);
	source_free(s);
}

static void throttling_is_waited_out(void **state)
{
	struct source_stats before, after;

	source_stats_get(fx.s, &before);
	fault("{\"match\": \"data/big\", \"status\": 503, \"code\": \"SlowDown\", \"times\": 3}");
	assert_reads(100, 1000);
	source_stats_get(fx.s, &after);
	assert_int_equal(after.requests - before.requests, 4);
	assert_int_equal(after.retries - before.retries, 3);
	assert_int_equal(after.errors, before.errors);
	assert_int_equal(after.bytes - before.bytes, 1000);
}

static void retry_after_is_honoured(void **state)
{
	int64_t start_ns = clock_mono_ns();

	fault("{\"match\": \"data/big\", \"status\": 503, \"code\": \"SlowDown\", \"retry_after\": 1, \"times\": 1}");
	assert_reads(0, 10);
	assert_true(clock_mono_ns() - start_ns >= NS_PER_S);
}

static void a_cut_body_is_continued_after_the_bytes_that_came(void **state)
{
	fault("{\"match\": \"data/big\", \"truncate_at\": 1000000, \"times\": 5}");
	assert_reads(4321, 6000000);
	assert_int_equal(stat_of_origin("bytes"), 6000000);
}

static void a_closed_connection_is_tried_again(void **state)
{
	fault("{\"match\": \"data/big\", \"close\": true, \"times\": 2}");
	assert_reads(0, 100);
}

static void a_silent_connection_is_given_up_and_the_read_goes_on(void **state)
{
	int64_t start_ns = clock_mono_ns();

	fault("{\"match\": \"data/big\", \"stall\": true, \"truncate_at\": 5000, \"times\": 1}");
	assert_reads(0, 200000);
	assert_true(clock_mono_ns() - start_ns >= 600 * NS_PER_MS); /* twice the connect timeout */
	assert_int_equal(stat_of_origin("bytes"), 200000);
}

static void a_changed_object_is_stale_even_if_if_match_is_ignored(void **state)
{
	const struct source_read_request r = read_of(0, 100);

	fault("{\"match\": \"data/big\", \"wrong_etag\": true}");
	assert_fails(&r, -ESTALE, "changed since it was listed");
}

static void a_changed_object_is_stale_by_if_match(void **state)
{
	struct source_read_request r = read_of(0, 100);

	r.validator.bytes[0] ^= 1;
	assert_fails(&r, -ESTALE, "412 PreconditionFailed");
}

static void another_size_is_stale(void **state)
{
	struct source_read_request r = read_of(0, 100);

	fault("{\"match\": \"data/big\", \"wrong_size\": true}");
	assert_fails(&r, -ESTALE, "bytes, not 41943040");
	r.object_size = 100; /* a whole object is asked for without a range */
	assert_fails(&r, -ESTALE, "41943040 bytes, not 100");
}

static void a_wrong_range_is_refused(void **state)
{
	const struct source_read_request r = read_of(1000, 100);

	fault("{\"match\": \"data/big\", \"wrong_range\": true, \"times\": 1}");
	assert_fails(&r, -ERR_CORRUPT, "asked for bytes 1000-1099, the store sent 1001-1100");
	fault("{\"match\": \"data/big\", \"ignore_range\": true}");
	assert_fails(&r, -ERR_CORRUPT, "the whole object");
}

static void a_whole_object_may_come_as_200(void **state)
{
	fault("{\"match\": \"data/big\", \"ignore_range\": true}");
	assert_reads(0, BIG_SIZE);
}

static void a_missing_object_is_stale_for_reads_and_enoent_for_stat(void **state)
{
	struct source_read_request r = read_of(0, 100);
	struct waiter w;

	r.key = "data/none";
	assert_fails(&r, -ESTALE, "HTTP 404 NoSuchKey");
	waiter_init(&w);
	assert_int_equal(stat_and_wait(fx.s, "data/none", &w), -ENOENT);
	assert_non_null(strstr(w.err.text, "data/none"));
	waiter_clear(&w);
}

static void a_refusal_names_status_code_key_and_request_id(void **state)
{
	const struct source_read_request r = read_of(0, 100);
	struct source_stats stats;

	fault("{\"match\": \"data/big\", \"status\": 403, \"code\": \"InvalidAccessKeyId\"}");
	assert_fails(&r, -EACCES,
		     "test: HTTP 403 InvalidAccessKeyId for data/big: as was asked for; the store");
	assert_fails(&r, -EACCES, "(request id 00000000");
	source_stats_get(fx.s, &stats);
	assert_true(stats.denied >= 2);
}

static void an_error_page_that_is_no_xml_still_gives_the_status(void **state)
{
	const struct source_read_request r = read_of(0, 100);

	fault("{\"match\": \"data/big\", \"status\": 403, \"body\": \"<!DOCTYPE html><html>no\"}");
	assert_fails(&r, -EACCES, "HTTP 403");
}

static void a_store_that_stays_broken_is_unreachable_at_the_deadline(void **state)
{
	struct source_read_request r = read_of(0, 100);
	int64_t start_ns = clock_mono_ns();

	fault("{\"match\": \"data/big\", \"status\": 500}");
	r.deadline_ns = start_ns + 700 * NS_PER_MS;
	assert_fails(&r, -ERR_UNREACHABLE, "HTTP 500 InternalError");
	assert_true(clock_mono_ns() - start_ns < 5 * NS_PER_S);
}

static void a_refused_connection_is_unreachable_at_the_deadline(void **state)
{
	struct source_config c = config_of();
	struct source_read_request r = read_of(0, 100);
	struct waiter w;

	c.s3.endpoint = "http://127.0.0.1:1";
	struct source *s = make_source(&c);
	r.deadline_ns = clock_mono_ns() + 300 * NS_PER_MS;
	waiter_init(&w);
	assert_int_equal(read_and_wait(s, &r, &w), -ERR_UNREACHABLE);
	assert_non_null(strstr(w.err.text, "onnect"));
	waiter_clear(&w);
	source_free(s);
}

static void a_deadline_while_bytes_flow_is_a_timeout(void **state)
{
	struct source_read_request r = read_of(0, BIG_SIZE);
	struct waiter w;
	struct source_config c = config_of();
	char endpoint[64];
	unsigned port;
	pid_t pid;

	start_origin("--rate", "2000000", &pid, &port);
	snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%u", port);
	c.s3.endpoint = endpoint;
	struct source *s = make_source(&c);
	r.deadline_ns = clock_mono_ns() + NS_PER_S;
	waiter_init(&w);
	assert_int_equal(read_and_wait(s, &r, &w), -ETIMEDOUT);
	assert_true(w.len > 100000 && w.len < 8000000);
	waiter_clear(&w);
	source_free(s);
	origin_stop(pid);
}

static void a_listing_goes_through_all_pages_in_order(void **state)
{
	struct waiter w;

	waiter_init(&w);
	assert_int_equal(list_and_wait(fx.s, "", &w), 0);
	assert_int_equal(w.line_count, 2501);
	assert_int_equal(w.pages, 3);
	assert_string_equal(w.lines[0], "f data/big 41943040");
	assert_string_equal(w.lines[1], "f many/x-0000000 100");
	assert_string_equal(w.lines[2500], "f many/x-0002499 100");
	waiter_clear(&w);
}

static void a_listing_of_a_prefix_below_a_prefix_cuts_off_the_sources_own(void **state)
{
	struct source_config c = config_of();
	struct waiter w;

	c.s3.bucket = "files";
	c.s3.prefix = "top";
	assert_int_equal(ask("PUT", "/files/top/sub/a%20%2B%25%26%3C%3Eb%C3%A9", "x", NULL, 0), 200);
	assert_int_equal(ask("PUT", "/files/top/sub/marker/", "", NULL, 0), 200);
	assert_int_equal(ask("PUT", "/files/top/other", "yy", NULL, 0), 200);
	assert_int_equal(ask("PUT", "/files/topmost", "zzz", NULL, 0), 200);
	struct source *s = make_source(&c);
	waiter_init(&w);
	assert_int_equal(list_and_wait(s, "sub/", &w), 0);
	assert_int_equal(w.line_count, 2);
	assert_string_equal(w.lines[0], "f sub/a +%&<>b\xc3\xa9 1");
	assert_string_equal(w.lines[1], "d sub/marker 0");
	waiter_clear(&w);
	waiter_init(&w);
	assert_int_equal(list_and_wait(s, "", &w), 0);
	assert_int_equal(w.line_count, 3);
	waiter_clear(&w);
	struct waiter r;
	waiter_init(&r);
	const struct source_read_request request = {
		.key = "sub/a +%&<>b\xc3\xa9", .length = 1, .object_size = 1, .deadline_ns = 0};
	assert_int_equal(read_and_wait(s, &request, &r), 0);
	assert_int_equal(r.bytes[0], 'x');
	waiter_clear(&r);
	source_free(s);
}

static void an_object_replaced_after_the_listing_is_stale(void **state)
{
	struct source_config c = config_of();
	struct waiter w;

	c.s3.bucket = "files";
	assert_int_equal(ask("PUT", "/files/replaced", "old", NULL, 0), 200);
	struct source *s = make_source(&c);
	waiter_init(&w);
	assert_int_equal(stat_and_wait(s, "replaced", &w), 0);
	struct source_read_request r = {
		.key = "replaced", .length = 3, .object_size = 3, .validator = w.entry.validator};
	waiter_clear(&w);
	waiter_init(&w);
	assert_int_equal(read_and_wait(s, &r, &w), 0);
	assert_memory_equal(w.bytes, "old", 3);
	waiter_clear(&w);
	assert_int_equal(ask("PUT", "/files/replaced", "new", NULL, 0), 200);
	waiter_init(&w);
	assert_int_equal(read_and_wait(s, &r, &w), -ESTALE);
	assert_int_equal(w.len, 0);
	waiter_clear(&w);
	source_free(s);
}

static void a_page_that_fails_is_asked_for_again_and_no_entry_comes_twice(void **state)
{
	struct waiter w;

	fault("{\"match\": \"continuation-token\", \"status\": 500, \"times\": 2}");
	waiter_init(&w);
	assert_int_equal(list_and_wait(fx.s, "many/", &w), 0);
	assert_int_equal(w.line_count, 2500);
	waiter_clear(&w);
}

static void an_error_under_a_200_of_a_listing_is_tried_again(void **state)
{
	struct waiter w;

	fault("{\"match\": \"list-type\", \"status\": 200, \"times\": 1, "
	      "\"body\": \"<Error><Code>InternalError</Code><Message>late</Message></Error>\"}");
	waiter_init(&w);
	assert_int_equal(list_and_wait(fx.s, "data/", &w), 0);
	assert_int_equal(w.line_count, 1);
	waiter_clear(&w);
}

static void a_listing_of_a_missing_bucket_says_so(void **state)
{
	struct source_config c = config_of();
	struct waiter w;

	c.s3.bucket = "nobody";
	struct source *s = make_source(&c);
	waiter_init(&w);
	assert_int_equal(list_and_wait(s, "", &w), -ENOENT);
	assert_non_null(strstr(w.err.text, "HTTP 404 NoSuchBucket"));
	assert_non_null(strstr(w.err.text, "check bucket and endpoint"));
	waiter_clear(&w);
	source_free(s);
}

static void a_callback_can_end_a_listing(void **state)
{
	struct waiter w;

	waiter_init(&w);
	w.stop_after_page = -ENOSPC;
	assert_int_equal(list_and_wait(fx.s, "", &w), -ENOSPC);
	assert_int_equal(w.pages, 1);
	waiter_clear(&w);
}

static void signed_requests_are_accepted_and_wrong_secrets_are_not(void **state)
{
	struct source_config c = config_of();
	struct waiter w;
	char endpoint[64];
	unsigned port;
	pid_t pid;

	start_origin("--require-auth", "AKID:s3cr3t/+x", &pid, &port);
	snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%u", port);
	c.s3.endpoint = endpoint;
	c.credential.access_key = "AKID";
	c.credential.secret_key = "s3cr3t/+x\n"; /* as `echo` leaves it in a secret */
	c.credential.session_token = "token";
	struct source *s = make_source(&c);
	waiter_init(&w);
	assert_int_equal(list_and_wait(s, "", &w), 0);
	assert_int_equal(w.line_count, 2501);
	waiter_clear(&w);
	waiter_init(&w);
	assert_int_equal(stat_and_wait(s, "data/big", &w), 0);
	waiter_clear(&w);
	c.credential.secret_key = "another";
	assert_int_equal(source_set_credential(s, &c.credential), 0);
	const struct source_credential half = {.access_key = "AKID"},
				       broken = {.access_key = "A\nB", .secret_key = "x"};
	assert_int_equal(source_set_credential(s, &half), -EINVAL);
	assert_int_equal(source_set_credential(s, &broken), -EINVAL);
	waiter_init(&w);
	assert_int_equal(list_and_wait(s, "", &w), -EACCES);
	assert_non_null(strstr(w.err.text, "SignatureDoesNotMatch"));
	assert_null(strstr(w.err.text, "another"));
	waiter_clear(&w);
	source_free(s);
	origin_stop(pid);
}

int main(int argc, char **argv)
{
	if (argc == 3)
		return read_in_namespace(argv[1], argv[2]);
#define TEST(f) cmocka_unit_test_setup(f, test_setup)
	const struct CMUnitTest tests[] = {
		TEST(a_range_comes_whole_and_right),
		TEST(the_largest_object_is_listed_and_read_to_its_last_byte),
		TEST(a_sink_that_pauses_gets_every_byte_once),
		TEST(a_paused_read_can_be_canceled),
		TEST(freeing_a_source_cancels_its_reads),
		TEST(no_more_connections_than_allowed_are_used),
		TEST(requests_and_bytes_a_second_are_limited),
		TEST(a_store_that_says_slow_down_gets_fewer_requests_at_once),
		TEST(a_slow_answer_gets_a_second_request_within_the_budget),
		TEST(a_store_that_moves_to_another_address_is_found),
		TEST(a_bucket_of_another_region_is_followed_there),
		TEST(throttling_is_waited_out),
		TEST(retry_after_is_honoured),
		TEST(a_cut_body_is_continued_after_the_bytes_that_came),
		TEST(a_closed_connection_is_tried_again),
		TEST(a_silent_connection_is_given_up_and_the_read_goes_on),
		TEST(a_changed_object_is_stale_even_if_if_match_is_ignored),
		TEST(a_changed_object_is_stale_by_if_match),
		TEST(another_size_is_stale),
		TEST(a_wrong_range_is_refused),
		TEST(a_whole_object_may_come_as_200),
		TEST(a_missing_object_is_stale_for_reads_and_enoent_for_stat),
		TEST(a_refusal_names_status_code_key_and_request_id),
		TEST(an_error_page_that_is_no_xml_still_gives_the_status),
		TEST(a_store_that_stays_broken_is_unreachable_at_the_deadline),
		TEST(a_refused_connection_is_unreachable_at_the_deadline),
		TEST(a_deadline_while_bytes_flow_is_a_timeout),
		TEST(a_listing_goes_through_all_pages_in_order),
		TEST(a_listing_of_a_prefix_below_a_prefix_cuts_off_the_sources_own),
		TEST(an_object_replaced_after_the_listing_is_stale),
		TEST(a_page_that_fails_is_asked_for_again_and_no_entry_comes_twice),
		TEST(an_error_under_a_200_of_a_listing_is_tried_again),
		TEST(a_listing_of_a_missing_bucket_says_so),
		TEST(a_callback_can_end_a_listing),
		TEST(signed_requests_are_accepted_and_wrong_secrets_are_not),
	};
	return cmocka_run_group_tests_name("s3", tests, suite_setup, suite_teardown);
}
