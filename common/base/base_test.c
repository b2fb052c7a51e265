#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/base/fd.h"
#include "common/base/hash.h"
#include "common/base/list.h"
#include "common/base/mem.h"
#include "common/base/rng.h"

static void crc32c_matches_rfc3720_vectors(void **state)
{
	uint8_t buf[32];

	memset(buf, 0, sizeof buf);
	assert_int_equal(crc32c(0, buf, 32), 0x8a9136aa);
	memset(buf, 0xff, sizeof buf);
	assert_int_equal(crc32c(0, buf, 32), 0x62a8ab43);
	for (size_t i = 0; i < sizeof buf; i++)
		buf[i] = (uint8_t)i;
	assert_int_equal(crc32c(0, buf, 32), 0x46dd794e);
}

static void crc32c_of_long_input_equals_that_of_its_parts(void **state)
{
	enum { N = 100003 };
	struct rng r = rng_seeded(7);
	uint8_t *p = malloc(N);

	for (size_t i = 0; i < N; i++)
		p[i] = (uint8_t)rng_next(&r);
	uint32_t whole = crc32c(0, p, N), parts = 0;
	for (size_t at = 0, n; at < N;
	     at += n) { /* short parts take the byte path, the whole takes three streams */
		n = MIN((size_t)rng_below(&r, 500) + 1, N - at);
		parts = crc32c(parts, p + at, n);
	}
	assert_int_equal(whole, parts);
	free(p);
}

static void siphash_matches_the_papers_vector(void **state)
{
	uint8_t key[16], in[15];

	for (size_t i = 0; i < 16; i++)
		key[i] = (uint8_t)i;
	for (size_t i = 0; i < 15; i++)
		in[i] = (uint8_t)i;
	assert_true(siphash24(key, in, 15) == 0xa129ca6149be45e5ULL);
}

static void varints_round_trip_and_refuse_overlong_forms(void **state)
{
	const uint64_t values[] = {0, 1, 127, 128, 300, UINT32_MAX, UINT64_MAX};

	for (size_t i = 0; i < LENGTH(values); i++) {
		uint8_t buf[VARINT_MAX];
		size_t n = put_varint(buf, values[i]);
		struct reader r = reader_over(buf, n), cut = reader_over(buf, n - 1);
		assert_true(read_varint(&r) == values[i]);
		assert_false(r.bad);
		(void)read_varint(&cut);
		assert_true(cut.bad);
	}
	struct reader overlong = reader_over("\x80\x00", 2),
		      huge = reader_over("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10);
	(void)read_varint(&overlong);
	assert_true(overlong.bad);
	(void)read_varint(&huge);
	assert_true(huge.bad);
}

static void reader_stays_bad_and_never_passes_the_end(void **state)
{
	struct reader r = reader_over("abc", 3);

	assert_int_equal(read_le16(&r), 'a' | 'b' << 8);
	assert_ptr_equal(read_bytes(&r, 2), NULL);
	assert_int_equal(read_u8(&r), 0);
	assert_true(r.bad);
}

static void hex_decodes_what_it_encodes(void **state)
{
	char text[2 * 3 + 1];
	uint8_t back[3];

	hex_encode((const uint8_t *)"\x00\xaf\xff", 3, text);
	assert_string_equal(text, "00afff");
	assert_int_equal(hex_decode(text, back, 3), 0);
	assert_memory_equal(back, "\x00\xaf\xff", 3);
	assert_int_equal(hex_decode("00afg0", back, 3), -EINVAL);
	assert_int_equal(hex_decode("00afff00", back, 3), -EINVAL);
}

static void errors_wrap_from_the_inside_out(void **state)
{
	struct err e = {0};

	assert_int_equal(err_set(&e, -ENOENT, "no \"%s\"", "x"), -ENOENT);
	assert_int_equal(err_wrap(&e, -ENOENT, "reading y"), -ENOENT);
	assert_string_equal(e.text, "reading y: no \"x\"");
	assert_int_equal(err_to_errno(-ERR_UNREACHABLE), EIO);
	assert_int_equal(err_from_grpc(err_to_grpc(-EACCES)), -EACCES);
	assert_int_equal(err_from_grpc(err_to_grpc(-EINVAL)), -EINVAL);
	assert_string_equal(err_words(NULL, -ERR_CORRUPT), "corrupt data");
}

static void allocation_fails_where_the_test_says(void **state)
{
	mem_fail_after(1, 0);
	void *a = mem_alloc(1), *b = mem_alloc(1), *c = mem_alloc(1);
	mem_fail_after(-1, 0);
	assert_non_null(a);
	assert_null(b);
	assert_non_null(c);
	mem_free(a);
	mem_free(c);
}

static void lists_keep_order_through_splice_and_removal(void **state)
{
	struct list a, b, n[4];

	list_init(&a);
	list_init(&b);
	list_push_back(&a, &n[1]);
	list_push_front(&a, &n[0]);
	list_push_back(&b, &n[2]);
	list_push_back(&b, &n[3]);
	list_splice(&a, &b);
	assert_true(list_empty(&b));
	list_remove(&n[2]);
	struct list *want[] = {&n[0], &n[1], &n[3]};
	size_t i = 0;
	list_for_each (p, &a) {
		CHECK(i < LENGTH(want));
		assert_ptr_equal(p, want[i++]);
	}
	assert_int_equal(i, 3);
}

static void descriptors_pass_over_a_socket_and_cut_messages_leak_none(void **state)
{
	int pair[2], fds[FD_PASS_MAX], pipe_fds[2];
	size_t count;
	char buf[4];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	assert_int_equal(fd_send(pair[0], "abcd", 4, pipe_fds, 2), 0);
	assert_int_equal(fd_recv(pair[1], buf, sizeof buf, fds, &count), 4);
	assert_int_equal(count, 2);
	fd_close(fds[0]);
	fd_close(fds[1]);
	assert_int_equal(fd_send(pair[0], "abcdef", 6, pipe_fds, 1), 0);
	assert_int_equal(fd_recv(pair[1], buf, sizeof buf, fds, &count), -EMSGSIZE);
	assert_int_equal(count, 0);
	for (int i = 0; i < 2; i++) {
		fd_close(pair[i]);
		fd_close(pipe_fds[i]);
	}
}

static void files_are_replaced_whole(void **state)
{
	char dir[] = "/tmp/larder-base-XXXXXX";
	char *text;
	size_t len;

	assert_non_null(mkdtemp(dir));
	int d = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(fd_write_file(d, "f", "one", 3, 0600), 0);
	assert_int_equal(fd_write_file(d, "f", "two!", 4, 0600), 0);
	assert_int_equal(fd_read_file(d, "f", 4, &text, &len), 0);
	assert_string_equal(text, "two!");
	mem_free(text);
	assert_int_equal(fd_read_file(d, "f", 3, &text, &len), -EFBIG);
	assert_int_equal(fd_read_file(d, "g", 3, &text, &len), -ENOENT);
	assert_int_equal(unlinkat(d, "f", 0), 0);
	fd_close(d);
	assert_int_equal(rmdir(dir), 0);
}

static void *write_again_and_again(void *arg)
{
	int d = *(int *)arg;
	intptr_t bad = 0;

	for (int i = 0; i < 200; i++)
		bad |= fd_write_file(d, "same", "bytes", 5, 0400) != 0;
	return (void *)bad;
}

static void two_threads_that_write_one_file_at_once_both_succeed(void **state)
{
	char path[] = "/tmp/larder-base-XXXXXX";
	pthread_t thread;
	void *bad;

	assert_non_null(mkdtemp(path));
	int d = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(d >= 0);
	assert_int_equal(pthread_create(&thread, NULL, write_again_and_again, &d), 0);
	assert_null(write_again_and_again(&d));
	assert_int_equal(pthread_join(thread, &bad), 0);
	assert_null(bad);
	assert_int_equal(unlinkat(d, "same", 0), 0);
	assert_int_equal(rmdir(path), 0); /* no temporary name is left */
	fd_close(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crc32c_matches_rfc3720_vectors),
		cmocka_unit_test(crc32c_of_long_input_equals_that_of_its_parts),
		cmocka_unit_test(siphash_matches_the_papers_vector),
		cmocka_unit_test(varints_round_trip_and_refuse_overlong_forms),
		cmocka_unit_test(reader_stays_bad_and_never_passes_the_end),
		cmocka_unit_test(hex_decodes_what_it_encodes),
		cmocka_unit_test(errors_wrap_from_the_inside_out),
		cmocka_unit_test(allocation_fails_where_the_test_says),
		cmocka_unit_test(lists_keep_order_through_splice_and_removal),
		cmocka_unit_test(descriptors_pass_over_a_socket_and_cut_messages_leak_none),
		cmocka_unit_test(files_are_replaced_whole),
		cmocka_unit_test(two_threads_that_write_one_file_at_once_both_succeed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
