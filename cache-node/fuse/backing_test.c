/* Passing files through: the mounter is played by the test, so that it can be slow, hang, or refuse. */
#include <poll.h>
#include <sys/un.h>

#include "cache-node/fuse/test_rig.h"
#include "common/base/clock.h"
#include "common/fuse_kernel.h"

#define BACKING_ID 7

struct fake {
	struct rig *rig;
	char socket[PATH_MAX];
	int listener, stop[2];
	pthread_t thread;
	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t changed;
	bool hang;
	int refuse; /* answer to BACKING_OPEN, when not 0 */
	int opens, closes;
	int32_t last_closed;
};

static void answer(struct fake *f, const struct mounter_request *q, struct mounter_reply *r)
{
	pthread_mutex_lock(&f->lock);
	if (q->op == MOUNTER_BACKING_OPEN) {
		f->opens++;
		r->status = f->refuse;
		r->value = BACKING_ID + (uint64_t)f->opens - 1;
	} else if (q->op == MOUNTER_BACKING_CLOSE) {
		f->closes++;
		f->last_closed = (int32_t)q->arg;
	}
	pthread_cond_broadcast(&f->changed);
	while (f->hang)
		pthread_cond_wait(&f->changed, &f->lock);
	pthread_mutex_unlock(&f->lock);
}

static bool serve(struct fake *f, int peer)
{
	struct mounter_request q;
	struct mounter_reply r = {.version = MOUNTER_VERSION};
	int in[FD_PASS_MAX];
	size_t count;

	if (fd_recv(peer, &q, sizeof q, in, &count) != (ssize_t)sizeof q)
		return false;
	for (size_t i = 0; i < count; i++)
		fd_close(in[i]);
	r.sequence = q.sequence;
	answer(f, &q, &r);
	return fd_send(peer, &r, sizeof r, NULL, 0) == 0;
}

static void *fake_main(void *arg)
{
	struct fake *f = arg;
	int peer = -1;

	for (;;) {
		struct pollfd p[] = {{.fd = f->stop[0], .events = POLLIN},
				     {.fd = peer < 0 ? f->listener : peer, .events = POLLIN}};
		(void)poll(p, 2, -1);
		if (p[0].revents)
			break;
		if (peer < 0)
			peer = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
		else if (!serve(f, peer))
			peer = fd_close(peer);
	}
	fd_close(peer);
	return NULL;
}

static struct fake *fake_new(void)
{
	struct fake *f = calloc(1, sizeof *f);
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	f->rig = rig_new();
	snprintf(f->socket, sizeof f->socket, "%s/mounter.sock", f->rig->dir);
	assert_true(strlen(f->socket) < sizeof a.sun_path);
	memcpy(a.sun_path, f->socket, strlen(f->socket) + 1);
	f->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(f->listener, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(listen(f->listener, 4), 0);
	assert_int_equal(pipe2(f->stop, O_CLOEXEC), 0);
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->changed, NULL);
	assert_int_equal(pthread_create(&f->thread, NULL, fake_main, f), 0);
	return f;
}

static void set_hang(struct fake *f, bool hang)
{
	pthread_mutex_lock(&f->lock);
	f->hang = hang;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
}

static void set_refuse(struct fake *f, int status)
{
	pthread_mutex_lock(&f->lock);
	f->refuse = status;
	pthread_mutex_unlock(&f->lock);
}

static int count_opens(struct fake *f)
{
	pthread_mutex_lock(&f->lock);
	int n = f->opens;
	pthread_mutex_unlock(&f->lock);
	return n;
}

static void fake_free(struct fake *f)
{
	set_hang(f, false);
	fd_close(f->stop[1]);
	pthread_join(f->thread, NULL);
	fd_close(f->stop[0]);
	fd_close(f->listener);
	rig_free(f->rig);
	free(f);
}

static int object(struct kernel *k, const struct manifest_found *entry, struct cache_object **ret)
{
	struct fake *f = k->ctx;

	return rig_get(f->rig, entry, ret);
}

static const char *const files[] = {"a=1", "small=3:5"};

/* A session whose file "small" is complete. */
static int setup(void **state)
{
	struct fake *f = fake_new();
	struct kernel_config c = {.object = object, .ctx = f, .features = SHM_PASSTHROUGH};
	struct fuse_read_in in = {.size = 4096};
	uint8_t reply[8192];
	uint64_t node;
	size_t len;

	assert_int_equal(mounter_client_new(f->socket, &c.mounter), 0);
	struct kernel *k = kernel_new(files, LENGTH(files), &c);
	k->ignores_notices = true; /* pages of a file that is passed through now are dropped */
	in.fh = open_file(k, "small", &node);
	assert_int_equal(ask(k, FUSE_READ, node, &in, sizeof in, reply, &len), 0);
	assert_int_equal(len, 5);
	struct fuse_release_in release = {.fh = in.fh};
	assert_int_equal(ask(k, FUSE_RELEASE, node, &release, sizeof release, reply, &len), 0);
	rig_wait_complete(f->rig);
	*state = k;
	return 0;
}

static int teardown(void **state)
{
	struct kernel *k = *state;
	struct fake *f = k->ctx;
	struct mounter_client *mounter = k->mounter;

	kernel_free(k);
	mounter_client_free(mounter);
	fake_free(f);
	return 0;
}

/* Opens "small": whether it is passed through, and with which id. */
static int32_t open_small(struct kernel *k, uint64_t *ret_node, uint64_t *ret_fh)
{
	struct fuse_entry_out e = {0};
	struct fuse_open_in in = {0};
	struct fuse_open_reply out;
	uint8_t reply[8192];
	size_t len;

	assert_int_equal(lookup(k, 1, "small", &e), 0);
	assert_int_equal(ask(k, FUSE_OPEN, e.nodeid, &in, sizeof in, reply, &len), 0);
	assert_int_equal(len, sizeof out);
	memcpy(&out, reply, sizeof out);
	*ret_node = e.nodeid;
	*ret_fh = out.fh;
	return out.open_flags & FOPEN_PASSTHROUGH ? out.backing_id : 0;
}

static void release(struct kernel *k, uint64_t node, uint64_t fh)
{
	struct fuse_release_in in = {.fh = fh};
	uint8_t reply[8192];
	size_t len;

	assert_int_equal(ask(k, FUSE_RELEASE, node, &in, sizeof in, reply, &len), 0);
}

/* Waits for the first close: which id it was. */
static int32_t wait_closed(struct fake *f)
{
	pthread_mutex_lock(&f->lock);
	while (!f->closes)
		pthread_cond_wait(&f->changed, &f->lock);
	int32_t id = f->last_closed;
	pthread_mutex_unlock(&f->lock);
	return id;
}

static void a_complete_file_is_registered_once_and_closed_with_its_last_open(void **state)
{
	struct kernel *k = *state;
	struct fake *f = k->ctx;
	uint64_t node, first, second;

	assert_int_equal(open_small(k, &node, &first), BACKING_ID);
	assert_int_equal(open_small(k, &node, &second), BACKING_ID);
	assert_int_equal(count_opens(f), 1);
	release(k, node, first);
	release(k, node, second);
	assert_int_equal(wait_closed(f), BACKING_ID);
}

static void a_refusal_is_not_asked_for_at_every_open(void **state)
{
	struct kernel *k = *state;
	struct fake *f = k->ctx;
	uint64_t node, fh;

	set_refuse(f, -EACCES);
	assert_int_equal(open_small(k, &node, &fh), 0);
	release(k, node, fh);
	assert_int_equal(open_small(k, &node, &fh), 0);
	release(k, node, fh);
	assert_int_equal(count_opens(f), 1);
}

static void a_mounter_that_hangs_costs_one_open_a_second_and_names_nothing(void **state)
{
	struct kernel *k = *state;
	struct fake *f = k->ctx;
	struct fuse_entry_out e = {0};
	struct fuse_open_in in = {0};
	struct fuse_open_reply out;
	uint8_t buf[8192];
	uint64_t fh, node;

	set_hang(f, true);
	assert_int_equal(lookup(k, 1, "small", &e), 0);
	int64_t begin = clock_mono_ns();
	size_t n = make_request(k, buf, FUSE_OPEN, e.nodeid, &in, sizeof in);
	uint64_t opening = k->unique;
	assert_int_equal(send(k->kernel, buf, n, 0), n);
	pthread_mutex_lock(&f->lock);
	while (f->opens < 1)
		pthread_cond_wait(&f->changed, &f->lock);
	pthread_mutex_unlock(&f->lock);
	/* The open is with the mounter. Another file is opened and closed, which needs the same lock. */
	uint64_t other;
	fh = open_file(k, "a", &other);
	release(k, other, fh);
	assert_true(recv(k->kernel, buf, sizeof buf, 0) > 0); /* the open, after all */
	struct fuse_out_header h;
	memcpy(&h, buf, sizeof h);
	assert_int_equal(h.unique, opening);
	assert_int_equal(h.error, 0);
	memcpy(&out, buf + sizeof h, sizeof out);
	assert_false(out.open_flags & FOPEN_PASSTHROUGH);
	assert_true(clock_mono_ns() - begin < 4 * NS_PER_S);
	release(k, e.nodeid, out.fh);
	/* Then nobody waits for it, for a while. */
	begin = clock_mono_ns();
	for (int i = 0; i < 20; i++) {
		assert_int_equal(open_small(k, &node, &fh), 0);
		release(k, node, fh);
	}
	assert_true(clock_mono_ns() - begin < 10 * NS_PER_S); /* a second each would be 20 */
	assert_int_equal(count_opens(f), 1);
}

static void a_mounter_that_hangs_while_an_id_is_closed_holds_up_nobody(void **state)
{
	struct kernel *k = *state;
	struct fake *f = k->ctx;
	struct fuse_entry_out e = {0};
	uint64_t node, fh;

	assert_int_equal(open_small(k, &node, &fh), BACKING_ID);
	set_hang(f, true);
	int64_t begin = clock_mono_ns();
	release(k, node, fh);
	for (int i = 0; i < 20; i++)
		assert_int_equal(lookup(k, 1, "a", &e), 0);
	assert_int_equal(open_small(k, &node, &fh), 0);
	release(k, node, fh);
	assert_true(clock_mono_ns() - begin < 4 * NS_PER_S);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(a_complete_file_is_registered_once_and_closed_with_its_last_open),
		T(a_refusal_is_not_asked_for_at_every_open),
		T(a_mounter_that_hangs_costs_one_open_a_second_and_names_nothing),
		T(a_mounter_that_hangs_while_an_id_is_closed_holds_up_nobody),
#undef T
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
