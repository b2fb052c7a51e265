/*
 * The file source: operations are tasks of the loop's pool, since the calls of a file system block.
 *
 * Life of an operation: submitted -> runs (a read that finds no space returns and stays, without a thread, until it is
 * poked) -> ended: done callback, memory gone. A read checks its file with fstat before the first byte and after every
 * stretch, before the sink hears of it: so bytes of a changed file never get out as those of the listed one.
 */
#include "common/source/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/fd.h"
#include "common/base/mem.h"
#include "common/source/file.h"

enum { STRETCH_BYTES = 1 << 20, RUNNING = 1 };

enum file_kind { FILE_LIST, FILE_STAT, FILE_READ };

struct file_source {
	struct source base;
	int root_fd;
	enum source_symlinks symlinks;
};

struct file_op {
	struct source_op base;
	enum file_kind kind;
	struct pool_task task;
	union {
		struct source_list_request list;
		struct source_stat_request stat;
		struct source_read_request read;
	} want;
	char *key;
	int fd;             /* READ: the open file, or -1 */
	uint64_t delivered; /* READ: bytes given to the sink */
	int64_t start_ns;
	bool canceled;
	struct err err;
};

static int root_of(const struct file_op *op)
{
	return ((struct file_source *)(void *)op->base.source)->root_fd;
}

static enum source_symlinks symlinks_of(const struct file_op *op)
{
	return ((struct file_source *)(void *)op->base.source)->symlinks;
}

/* As the listing resolved it. */
static int open_key(const struct file_op *op, int flags)
{
	return file_open(root_of(op), op->key, flags, symlinks_of(op) == SOURCE_SYMLINKS_FOLLOW);
}

static int fail(struct file_op *op, int code, const char *why)
{
	return err_set(&op->err, code, "%.80s: %.300s: %s", op->base.source->label, op->key, why);
}

static bool canceled(void *ctx)
{
	struct file_op *op = ctx;

	op->canceled |= (atomic_exchange(&op->base.wants, 0) & WANT_CANCEL) != 0;
	return op->canceled;
}

static void finish(struct file_op *op, int status, const struct source_entry *entry)
{
	struct pool *pool = op->base.source->loop->pool; /* outlives the source */

	if (status < 0 && op->err.code != status)
		(void)fail(op, status, err_text(status));
	const struct err *err = status < 0 ? &op->err : NULL;
	op->fd = fd_close(op->fd);
	source_op_count(&op->base, status);
	switch (op->kind) {
	case FILE_LIST:
		op->want.list.done(op->want.list.ctx, status, err);
		break;
	case FILE_STAT:
		op->want.stat.done(op->want.stat.ctx, status, entry, err);
		break;
	case FILE_READ:
		op->want.read.sink->done(op->want.read.ctx, status, err);
		break;
	}
	mem_free(op->key);
	source_op_end(&op->base);
	pool_task_done(pool, &op->task);
	mem_free(op);
}

/* ---- list and stat ---- */

static int pass_entries(void *ctx, const struct source_entry *entries, size_t count)
{
	struct file_op *op = ctx;

	return op->want.list.entries(op->want.list.ctx, entries, count);
}

static void run_list(struct file_op *op)
{
	struct err why = {0};
	const struct file_walk walk = {.root_fd = root_of(op),
				       .prefix = op->key,
				       .symlinks = symlinks_of(op),
				       .canceled = canceled,
				       .entries = pass_entries,
				       .ctx = op};
	uint64_t left_out = 0;
	int rc = file_walk_run(&walk, &left_out, &why);

	atomic_store(&op->base.source->left_out, left_out);

	if (rc < 0)
		(void)err_set(&op->err, rc, "%.80s: %.400s", op->base.source->label, err_words(&why, rc));
	finish(op, rc, NULL);
}

static void run_stat(struct file_op *op)
{
	char target[SOURCE_KEY_MAX];
	struct source_entry e = {.key = op->key, .key_len = strlen(op->key)};
	struct stat st;
	/* O_PATH shows a symbolic link itself, and what may not be read. */
	CLEANUP(fd_close) int fd = open_key(op, O_PATH);

	if (fd < 0 || fstat(fd, &st) < 0) {
		int rc = fd < 0 ? fd : -errno;
		finish(op, fail(op, file_code(rc, -ENOENT), err_text(rc)), NULL);
		return;
	}
	if (!file_entry(&st, &e)) {
		finish(op, fail(op, -ENOENT, "is no file, folder or symbolic link"), NULL);
		return;
	}
	if (e.type == SOURCE_TYPE_SYMLINK) {
		ssize_t n = readlinkat(fd, "", target, sizeof target);
		e.target = target;
		e.target_len = n < 0 ? 0 : (size_t)n;
	}
	finish(op, 0, &e);
}

/* ---- read ---- */

/* The file is still the listed one. 0 or an error with words. */
static int check_file(struct file_op *op)
{
	const struct source_read_request *r = &op->want.read;
	struct stat st;

	if (fstat(op->fd, &st) < 0)
		return fail(op, file_code(-errno, -ESTALE), err_text(errno));
	struct validator now = file_validator(&st);
	if (!S_ISREG(st.st_mode))
		return fail(op, -ESTALE, "is no file any more");
	if ((uint64_t)st.st_size != r->object_size ||
	    (r->validator.kind != VALIDATOR_NONE && !validator_equal(&now, &r->validator)))
		return fail(op, -ESTALE, "the file was changed since it was listed");
	return 0;
}

static int open_file(struct file_op *op)
{
	op->fd = open_key(op, 0);
	if (op->fd < 0)
		return fail(op, file_code(op->fd, -ESTALE), err_text(op->fd));
	atomic_fetch_add(&op->base.source->requests, 1);
	return check_file(op);
}

/* One stretch into @space. The sink hears of it only when the file was still the listed one afterwards. */
static int read_stretch(struct file_op *op, uint8_t *space, size_t len)
{
	const struct source_read_request *r = &op->want.read;
	ssize_t n;

	do
		n = pread(op->fd, space, len, (off_t)(r->offset + op->delivered));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return fail(op, file_code(-errno, -ESTALE), err_text(errno));
	int rc = check_file(op);
	if (rc == 0 && n == 0)
		rc = fail(op, -ERR_CORRUPT, "ends before its size");
	if (rc < 0)
		return rc;
	struct source *s = op->base.source;
	if (op->delivered == 0) {
		atomic_fetch_add(&s->first_byte_count, 1);
		atomic_fetch_add(&s->first_byte_ns_sum, (uint64_t)(clock_mono_ns() - op->start_ns));
	}
	atomic_fetch_add(&s->bytes, (uint64_t)n);
	op->delivered += (uint64_t)n;
	r->sink->filled(r->ctx, (size_t)n);
	return 0;
}

/* RUNNING: it stays, without space; else what it ended with. */
static int read_on(struct file_op *op)
{
	const struct source_read_request *r = &op->want.read;
	int rc = op->fd < 0 ? open_file(op) : 0;

	while (rc == 0 && op->delivered < r->length) {
		size_t room = 0;
		if (canceled(op))
			return -ECANCELED;
		if (r->deadline_ns && clock_mono_ns() >= r->deadline_ns)
			return fail(op, op->delivered ? -ETIMEDOUT : -ERR_UNREACHABLE, "the deadline passed");
		uint8_t *space = r->sink->space(r->ctx, &room);
		if (!space)
			return RUNNING; /* a resume from now on makes the pool run us again */
		CHECK(room > 0);
		rc = read_stretch(op, space,
				  MIN(MIN(room, (size_t)STRETCH_BYTES), r->length - op->delivered));
	}
	return rc;
}

static void on_task(struct pool_task *task)
{
	struct file_op *op = CONTAINER_OF(task, struct file_op, task);

	if (canceled(op)) {
		finish(op, -ECANCELED, NULL);
		return;
	}
	switch (op->kind) {
	case FILE_LIST:
		run_list(op);
		break;
	case FILE_STAT:
		run_stat(op);
		break;
	case FILE_READ: {
		int rc = read_on(op);
		if (rc != RUNNING)
			finish(op, rc, NULL);
		break;
	}
	}
}

/* ---- operations and the source ---- */

static void poke(struct source_op *base)
{
	struct file_op *op = (struct file_op *)(void *)base;

	pool_submit(base->source->loop->pool, &op->task);
}

static struct file_op *op_new(struct source *s, enum file_kind kind, const char *key)
{
	struct file_op *op = mem_calloc(1, sizeof *op);

	if (!op)
		return NULL;
	op->key = mem_strdup(key);
	if (!op->key)
		return mem_free(op);
	op->kind = kind;
	op->fd = -1;
	op->start_ns = clock_mono_ns();
	op->base.source = s;
	pool_task_init(&op->task, on_task);
	return op;
}

static int op_start(struct source *s, struct file_op *op, struct source_op **ret)
{
	*ret = &op->base; /* before a callback can come */
	source_op_begin(s, &op->base);
	pool_submit(s->loop->pool, &op->task);
	return 0;
}

static int file_list(struct source *s, const struct source_list_request *r, struct source_op **ret)
{
	struct file_op *op = op_new(s, FILE_LIST, r->prefix ? r->prefix : "");

	if (!op)
		return -ENOMEM;
	op->want.list = *r;
	return op_start(s, op, ret);
}

static int file_stat(struct source *s, const struct source_stat_request *r, struct source_op **ret)
{
	struct file_op *op = op_new(s, FILE_STAT, r->key);

	if (!op)
		return -ENOMEM;
	op->want.stat = *r;
	return op_start(s, op, ret);
}

static int file_read(struct source *s, const struct source_read_request *r, struct source_op **ret)
{
	struct file_op *op = op_new(s, FILE_READ, r->key);

	if (!op)
		return -ENOMEM;
	op->want.read = *r;
	return op_start(s, op, ret);
}

static int file_set_credential(struct source *s, const struct source_credential *c)
{
	(void)s;
	(void)c; /* the process's own uid reads */
	return 0;
}

static void file_done(struct source *base)
{
	struct file_source *s = (struct file_source *)(void *)base;

	s->root_fd = fd_close(s->root_fd);
}

static const struct source_kind_ops file_ops = {
	.poke = poke,
	.set_credential = file_set_credential,
	.list = file_list,
	.stat = file_stat,
	.read = file_read,
	.done = file_done,
};

int source_file_new(struct source_loop *loop, const struct source_config *config, struct source **ret,
		    struct err *err)
{
	struct stat st;

	(void)loop;
	if (config->file.root_fd < 0 || fstat(config->file.root_fd, &st) < 0 || !S_ISDIR(st.st_mode))
		return err_set(err, -EINVAL, "%s: the path is no folder", config->label);
	struct file_source *s = mem_calloc(1, sizeof *s);
	if (!s)
		return -ENOMEM;
	s->base.kind = &file_ops;
	s->symlinks = config->file.symlinks;
	s->root_fd = fcntl(config->file.root_fd, F_DUPFD_CLOEXEC, 0);
	if (s->root_fd < 0) {
		mem_free(s);
		return -ENOMEM; /* no descriptor left */
	}
	*ret = &s->base;
	return 0;
}
