/*
 * Life of a session: attach (map the memory, open the manifests it uses, give libfuse its INIT again) -> answer what a
 * former worker left in the slots -> serve until the mount is gone.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "cache-node/fuse/session_impl.h"
#include "common/base/fd.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/fuse_kernel.h"

#define THREADS_DEFAULT 4u
#define REPLAY_UNIQUE   0x7ffffffffffffff1ULL /* odd: never the kernel's, which answers ENOENT to the reply */

void session_reply_error(struct session *s, fuse_req_t req, int code)
{
	if (code != -EINTR)
		atomic_fetch_add(&s->errors, 1);
	(void)fuse_reply_err(req, err_to_errno(code));
}

/* ---- threads ---- */

/* False when the mount is gone. */
static bool serve_one(struct session *s)
{
	uint32_t i = slots_get(s);
	struct shm_slot *slot = &s->shm.slots[i];

	memset(slot->request, 0, sizeof(struct fuse_in_header)); /* a length says that a request came */
	atomic_store(&slot->effect, SHM_EFFECT_NONE);
	atomic_store(&slot->state, SHM_SLOT_READING);
	ssize_t n = read(s->dev_fd, slot->request, SHM_SLOT_BYTES);
	int eno = errno;
	if (n >= (ssize_t)sizeof(struct fuse_in_header)) {
		atomic_fetch_add(&s->requests, 1);
		slots_process(s, i);
		return true;
	}
	slots_free(s, i);
	if (n < 0 &&
	    (eno == EINTR || eno == EAGAIN || eno == ENOENT)) /* ENOENT: interrupted before it was read */
		return true;
	if (n >= 0 || eno != ENODEV)
		log_write(LOG_ERROR, "reading /dev/fuse",
			  LOG_STR("error", n < 0 ? err_text(eno) : "short request"), NULL);
	return false;
}

static void *serve_main(void *arg)
{
	struct session *s = arg;

	(void)prctl(PR_SET_NAME, "fuse");
	while (serve_one(s))
		;
	if (!atomic_exchange(&s->ended, true) && s->view.ended)
		s->view.ended(s->view.ctx, s);
	atomic_fetch_sub(&s->running, 1);
	return NULL;
}

/* ---- libfuse ---- */

static void op_init(void *arg, struct fuse_conn_info *c)
{
	struct session *s = arg;

	c->max_read = s->shm.h->max_read; /* must equal the mount option */
	c->max_write = 4096;
	c->want &= ~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
}

static const struct fuse_lowlevel_ops ops = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.readlink = op_readlink,
	.open = op_open,
	.read = op_read,
	.release = op_release,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.releasedir = op_releasedir,
	.statfs = op_statfs,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
};

/* libfuse never saw the kernel's INIT: it gets a copy, and the kernel ignores its answer. */
static void replay_init(struct session *s)
{
	struct {
		struct fuse_in_header header;
		struct fuse_init_in init;
	} msg = {.header = {.len = sizeof msg, .opcode = FUSE_INIT, .unique = REPLAY_UNIQUE},
		 .init = s->shm.h->offered};
	struct fuse_buf buf = {.size = sizeof msg, .mem = &msg};

	fuse_session_process_buf(s->fuse, &buf);
}

static int attach(struct session *s, struct err *err)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	char max_read[40], path[40];

	(void)snprintf(max_read, sizeof max_read, "-omax_read=%u", s->shm.h->max_read);
	if (fuse_opt_add_arg(&args, "larder") || fuse_opt_add_arg(&args, max_read)) {
		fuse_opt_free_args(&args);
		return err_set(err, -ENOMEM, "out of memory");
	}
	s->fuse = fuse_session_new(&args, &ops, sizeof ops, s);
	fuse_opt_free_args(&args);
	if (!s->fuse)
		return err_set(err, -EIO, "libfuse makes no session");
	int fd = fcntl(s->dev_fd, F_DUPFD_CLOEXEC, 3); /* libfuse closes its own */
	if (fd < 0)
		return err_set(err, -errno, "duplicating /dev/fuse: %s", err_text(errno));
	(void)snprintf(path, sizeof path, "/dev/fd/%d", fd);
	if (fuse_session_mount(s->fuse, path)) {
		(void)fd_close(fd);
		return err_set(err, -EIO, "libfuse does not attach to %s", path);
	}
	replay_init(s);
	return 0;
}

/* ---- versions ---- */

static int open_versions(struct session *s, const struct session_config *c, struct err *err)
{
	struct shm_header *h = s->shm.h;

	if (atomic_load(&h->current) >= SHM_VERSIONS_MAX) { /* a new mount */
		h->versions[0] = (struct shm_version){
			.number = c->version.number, .root = c->version.root, .config = c->version.config};
		nodes_root(s->nodes)->version = 0;
		atomic_store(&h->current, 0);
	}
	for (uint32_t i = 0; i < SHM_VERSIONS_MAX; i++) {
		if (!h->versions[i].number)
			continue;
		int r = s->view.open_version(s->view.ctx, &h->versions[i].root, &s->manifests[i], err);
		if (r && i == atomic_load(&h->current))
			return err_wrap(err, r, "version %llu", (unsigned long long)h->versions[i].number);
		if (r) /* what was open of it answers ESTALE */
			log_write(LOG_ERROR, "an older version in use cannot be opened",
				  LOG_INT("version", h->versions[i].number),
				  LOG_STR("error", err_words(err, r)), NULL);
	}
	return 0;
}

/* ---- life ---- */

static int start_threads(struct session *s, uint32_t wanted, struct err *err)
{
	uint32_t count = wanted ? MIN(wanted, SESSION_THREADS_MAX) : THREADS_DEFAULT;

	for (; s->thread_count < count; s->thread_count++) {
		atomic_fetch_add(&s->running, 1);
		int r = pthread_create(&s->threads[s->thread_count], NULL, serve_main, s);
		if (r) {
			atomic_fetch_sub(&s->running, 1);
			if (s->thread_count == 0)
				return err_set(err, -r, "no thread for a mount: %s", err_text(r));
			break; /* fewer serve as well */
		}
	}
	return 0;
}

static int build(struct session *s, const struct session_config *c, struct err *err)
{
	s->dev_fd = fcntl(c->dev_fd, F_DUPFD_CLOEXEC, 3);
	if (s->dev_fd < 0)
		return err_set(err, -errno, "duplicating /dev/fuse: %s", err_text(errno));
	int r = shm_map(c->memory_fd, &s->shm, err);
	if (r)
		return r;
	s->passthrough = s->shm.h->features & SHM_PASSTHROUGH;
	r = slots_init(s);
	if (!r)
		r = nodes_new(&s->shm, &s->nodes);
	if (r)
		return err_set(err, r, "node table: %s", err_text(r));
	r = open_versions(s, c, err);
	if (!r)
		r = attach(s, err);
	if (r)
		return r;
	r = notify_start(s);
	if (r)
		return err_set(err, r, "no thread for a mount: %s", err_text(r));
	r = opens_init(s);
	if (!r)
		switch_tell_again(s);
	return r;
}

int session_new(const struct session_config *config, struct session **ret, struct err *err)
{
	CLEANUP(session_free) struct session *s = mem_calloc(1, sizeof *s);
	if (!s)
		return err_set(err, -ENOMEM, "out of memory");
	s->dev_fd = -1;
	s->view = config->view;
	s->mounter = config->mounter;
	(void)pthread_rwlock_init(&s->tree, NULL);
	(void)pthread_mutex_init(&s->backing.lock, NULL);
	int r = build(s, config, err);
	if (r)
		return r;
	slots_answer_leftovers(s);
	r = start_threads(s, config->threads, err);
	if (r)
		return r;
	*ret = TAKE(s);
	return 0;
}

struct session *session_free(struct session *s)
{
	if (!s)
		return NULL;
	for (uint32_t i = 0; i < s->thread_count; i++)
		(void)pthread_join(s->threads[i], NULL);
	if (s->notify.started) {
		for (uint32_t i = 0; i < s->parking.high;
		     i++) /* ends the reads that run, passes the others over */
			if (!atomic_load(&s->read_ops[i].done))
				notify_cancel(s, &s->read_ops[i]);
		slots_wait_for_reads(s);
		notify_stop(s);
		opens_done(s);
	}
	if (s->fuse)
		fuse_session_destroy(s->fuse); /* closes its descriptor; the mount is the mounter's */
	for (uint32_t i = 0; i < SHM_VERSIONS_MAX; i++)
		(void)manifest_free(s->manifests[i]);
	(void)nodes_free(s->nodes);
	shm_unmap(&s->shm);
	(void)fd_close(s->dev_fd);
	slots_done(s);
	backing_done(s);
	(void)pthread_rwlock_destroy(&s->tree);
	return mem_free(s);
}

void session_stats_get(struct session *s, struct session_stats *ret)
{
	uint32_t current = atomic_load(&s->shm.h->current);

	*ret = (struct session_stats){
		.passthrough = s->passthrough,
		.recovered = s->recovered,
		.recovered_reads = s->recovered_reads,
		.requests = atomic_load(&s->requests),
		.reads = atomic_load(&s->reads),
		.opens_passthrough = atomic_load(&s->opened_passthrough),
		.opens_cached = atomic_load(&s->opened_cached),
		.errors = atomic_load(&s->errors),
	};
	(void)pthread_rwlock_rdlock(&s->tree);
	if (current < SHM_VERSIONS_MAX)
		ret->version = s->shm.h->versions[current].number;
	(void)pthread_rwlock_unlock(&s->tree);
	memcpy(ret->dataset, s->shm.h->dataset, sizeof ret->dataset);
	memcpy(ret->target, s->shm.h->target, sizeof ret->target);
	memcpy(ret->session, s->shm.h->session, sizeof ret->session);
	nodes_count(s->nodes, &ret->nodes, &ret->opens);
}
