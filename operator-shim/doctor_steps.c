#include "operator-shim/doctor_steps.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/mem.h"

enum { READ_BYTES = 64 * 1024, ENTRIES_ENOUGH = 1000, SEEN_ENOUGH = 1 };
#define PATIENCE_NS (10 * NS_PER_S)

/* ---- waiting for an operation ---- */

struct wait {
	pthread_mutex_t lock;
	pthread_cond_t end;
	bool ended; /* guarded by lock */
	int status;
	struct err err;
	/* Of a listing; the loop's thread until it ended. */
	const struct dataset_source *source;
	uint64_t entries;
	char *key; /* a file to read: the first that has bytes, else the first; NULL: none yet */
	uint64_t size;
	struct validator validator;
	/* Of a read. */
	uint8_t bytes[READ_BYTES];
};

static struct wait *wait_new(void)
{
	struct wait *w = mem_calloc(1, sizeof *w);

	if (!w)
		return NULL;
	(void)pthread_mutex_init(&w->lock, NULL);
	(void)pthread_cond_init(&w->end, NULL);
	return w;
}

static struct wait *wait_free(struct wait *w)
{
	if (!w)
		return NULL;
	(void)pthread_cond_destroy(&w->end);
	(void)pthread_mutex_destroy(&w->lock);
	mem_free(w->key);
	return mem_free(w);
}
DEFINE_CLEANUP(struct wait *, wait_free)

static void on_done(void *ctx, int status, const struct err *err)
{
	struct wait *w = ctx;

	pthread_mutex_lock(&w->lock);
	w->status = status;
	w->err = err ? *err : (struct err){0};
	w->ended = true;
	(void)pthread_cond_signal(&w->end);
	pthread_mutex_unlock(&w->lock);
}

/* The end of an operation whose start answered @started. It may have come before that answer did, so who waits here writes nothing
 * of it but where nothing was started. */
static int wait_for(struct wait *w, int started)
{
	if (started < 0)
		return w->status = started;
	pthread_mutex_lock(&w->lock);
	while (!w->ended)
		(void)pthread_cond_wait(&w->end, &w->lock);
	w->ended = false;
	pthread_mutex_unlock(&w->lock);
	return w->status;
}

/* ---- the server ---- */

static bool try_server(struct source *source, const struct doctor_target *t, struct doctor_report *r)
{
	static const enum doctor_step steps[] = {DOCTOR_DNS, DOCTOR_TCP, DOCTOR_TLS, DOCTOR_TCP};
	struct source_contact c;
	struct err err = {0};
	int rc = source_contact(source, &c, &err);
	enum http_stage reached = rc == 0 ? HTTP_STAGE_ANSWER : c.stage;
	bool secure = strncmp(t->source->kind == SOURCE_HTTP ? t->source->http.url
			      : t->source->s3.endpoint       ? t->source->s3.endpoint
							     : "https:",
			      "https:", 6) == 0;

	if (reached > HTTP_STAGE_NAME)
		(void)doctor_add(r, DOCTOR_DNS, DOCTOR_OK, "", "the host has an address");
	if (reached > HTTP_STAGE_CONNECT && (rc == 0 || reached != HTTP_STAGE_ANSWER))
		(void)doctor_add(r, DOCTOR_TCP, DOCTOR_OK, "", "connected to %s", c.peer);
	if (reached > HTTP_STAGE_TLS && secure && rc == 0)
		(void)doctor_add(r, DOCTOR_TLS, DOCTOR_OK, "", "the certificate is trusted");
	if (rc < 0)
		return doctor_add(r, steps[reached], DOCTOR_FAILED, doctor_contact_remedy(t->source, reached),
				  "%s", err_words(&err, rc));
	if (!c.has_skew)
		return doctor_add(r, DOCTOR_CLOCK, DOCTOR_OK, "", "the server does not say what time it has");
	enum doctor_finding f = doctor_judge_skew(t->source->kind, c.skew_ns);
	return doctor_add(
		r, DOCTOR_CLOCK, f,
		f == DOCTOR_OK ? "" : "one of the two clocks is wrong; set it by chrony or systemd-timesyncd",
		"the server's clock is %.0f s %s", (double)(c.skew_ns < 0 ? -c.skew_ns : c.skew_ns) / 1e9,
		c.skew_ns < 0 ? "behind" : "ahead");
}

/* ---- a folder ---- */

static bool try_root(const struct doctor_target *t, struct doctor_report *r)
{
	const char *path = t->source->file.path;
	struct stat st;

	if (t->root_fd < 0)
		return doctor_add(r, DOCTOR_ROOT, DOCTOR_FAILED,
				  t->root_fd == -ENOENT
					  ? "make it, or mount what belongs there, on every node"
					  : "file.path must be a folder that can be opened",
				  "%.300s: %s", path, err_text(t->root_fd));
	(void)doctor_add(r, DOCTOR_ROOT, DOCTOR_OK, "", "%.300s is a folder", path);
	if (faccessat(t->root_fd, ".", R_OK | X_OK, AT_EACCESS) == 0)
		return doctor_add(r, DOCTOR_PERMISSION, DOCTOR_OK, "", "uid %u may list and enter it",
				  (unsigned)geteuid());
	int rc = -errno;
	if (fstat(t->root_fd, &st) < 0)
		st = (struct stat){0};
	return doctor_add(r, DOCTOR_PERMISSION, DOCTOR_FAILED,
			  "let that uid in: setfacl -m u:UID:rX, chmod o+rx, or larder up --run-as",
			  "uid %u may not list and enter %.200s (uid %u, mode %04o): %s", (unsigned)geteuid(),
			  path, (unsigned)st.st_uid, (unsigned)st.st_mode & 07777, err_text(rc));
}

/* ---- list ---- */

static bool better(const struct wait *w, const struct source_entry *e)
{
	const char *path = e->path ? e->path : e->key;

	return e->type == SOURCE_TYPE_FILE && (!w->key || (w->size == 0 && e->size > 0)) &&
	       dataset_source_takes(w->source, path, e->path ? e->path_len : e->key_len);
}

/* Stops once there is something to read and the source has shown that it can be listed; a tree of millions is not walked. */
static int on_entries(void *ctx, const struct source_entry *entries, size_t count)
{
	struct wait *w = ctx;

	for (size_t i = 0; i < count; i++) {
		if (!better(w, &entries[i]))
			continue;
		char *key = mem_strndup(entries[i].key, entries[i].key_len);
		if (!key)
			return -ENOMEM;
		mem_free(w->key);
		w->key = key;
		w->size = entries[i].size;
		w->validator = entries[i].validator;
	}
	w->entries += count;
	/* Of index pages each file may cost a request. */
	bool enough = w->source->kind == SOURCE_HTTP ? w->size > 0 : w->entries >= ENTRIES_ENOUGH;
	return enough ? SEEN_ENOUGH : 0;
}

/* Adds the row of a failure to the step that it is about. */
static void add_failure(struct source *source, const struct doctor_target *t, bool listing,
			const struct wait *w, struct doctor_report *r)
{
	struct source_refusal refusal;
	const char *remedy;

	source_refusal_take(source, &refusal);
	enum doctor_step step = doctor_judge(t->source, listing, w->status, &refusal, &remedy);
	if (t->source->kind != SOURCE_FILE && step > DOCTOR_CREDENTIALS && listing)
		(void)doctor_add(r, DOCTOR_CREDENTIALS, DOCTOR_OK, "", "%s",
				 t->source->anonymous || (t->source->kind == SOURCE_HTTP && !t->secret)
					 ? "anonymous"
					 : "the server did not refuse them as such");
	(void)doctor_add(r, step, DOCTOR_FAILED, remedy, "%s", err_words(&w->err, w->status));
}

static bool try_list(struct source *source, const struct doctor_target *t, struct wait *w,
		     struct doctor_report *r)
{
	const struct source_list_request request = {
		.prefix = "", .deadline_ns = PATIENCE_NS, .entries = on_entries, .done = on_done, .ctx = w};
	struct source_op *op;

	w->source = t->source;
	if (wait_for(w, source_list(source, &request, &op)) < 0) {
		add_failure(source, t, true, w, r);
		return false;
	}
	if (t->source->kind != SOURCE_FILE)
		(void)doctor_add(r, DOCTOR_CREDENTIALS, DOCTOR_OK, "", "%s",
				 t->source->anonymous || (t->source->kind == SOURCE_HTTP && !t->secret)
					 ? "anonymous"
				 : t->secret ? "the Secret's are taken"
					     : "those that this machine keeps are taken");
	bool more = w->status == SEEN_ENOUGH;
	(void)doctor_add(r, DOCTOR_LIST, DOCTOR_OK, "", "%s%llu entries", more ? "at least " : "",
			 (unsigned long long)w->entries);
	return true;
}

/* ---- get ---- */

static uint8_t *on_space(void *ctx, size_t *ret_len)
{
	struct wait *w = ctx;

	*ret_len = sizeof w->bytes;
	return w->bytes;
}

static void on_filled(void *ctx, size_t len)
{
	(void)ctx;
	(void)len;
}

static void on_stat(void *ctx, int status, const struct source_entry *entry, const struct err *err)
{
	(void)entry;
	on_done(ctx, status, err);
}

static int start_get(struct source *source, struct wait *w)
{
	static const struct source_sink sink = {.space = on_space, .filled = on_filled, .done = on_done};
	int64_t until_ns = clock_mono_ns() + PATIENCE_NS;
	struct source_op *op;

	if (w->size == 0) { /* nothing to read: whether it may be looked at must do */
		const struct source_stat_request request = {
			.key = w->key, .deadline_ns = until_ns, .done = on_stat, .ctx = w};
		return source_stat(source, &request, &op);
	}
	const struct source_read_request request = {.key = w->key,
						    .length = MIN(w->size, (uint64_t)READ_BYTES),
						    .object_size = w->size,
						    .validator = w->validator,
						    .deadline_ns = until_ns,
						    .sink = &sink,
						    .ctx = w};
	return source_read(source, &request, &op);
}

static void try_get(struct source *source, const struct doctor_target *t, struct wait *w,
		    struct doctor_report *r)
{
	struct source_refusal old;

	if (!w->key) {
		(void)doctor_add(r, DOCTOR_GET, DOCTOR_WARNING,
				 "is the prefix, path, include or exclude right?",
				 "among what was listed there is no file to read");
		return;
	}
	source_refusal_take(source, &old); /* what the listing met says nothing of the read */
	if (wait_for(w, start_get(source, w)) < 0)
		add_failure(source, t, false, w, r);
	else if (w->validator.kind == VALIDATOR_NONE)
		(void)doctor_add(r, DOCTOR_GET, DOCTOR_WARNING,
				 "let the server send ETag or Last-Modified, or use a list with checksums",
				 "\"%.200s\" was read; nothing tells when it changes", w->key);
	else
		(void)doctor_add(r, DOCTOR_GET, DOCTOR_OK, "", "\"%.200s\" was read", w->key);
}

/* ---- all of it ---- */

/* Whether the Secrets that the source names were given. */
static bool have_secrets(const struct doctor_target *t, struct doctor_report *r)
{
	const struct dataset_source *s = t->source;
	const char *lost = s->secret && !s->anonymous && !t->secret ? s->secret
			   : s->s3.ca_secret && !t->ca              ? s->s3.ca_secret
								    : NULL;

	return !lost || doctor_add(r, DOCTOR_CREDENTIALS, DOCTOR_FAILED,
				   "give it by --secret NAME=FILE, or as a document of the file",
				   "Secret \"%s\" is in none of these files", lost);
}

void doctor_try(struct source_loop *loop, const struct doctor_target *t, struct doctor_report *r)
{
	CLEANUP(wait_free) struct wait *w = wait_new();
	CLEANUP(source_free) struct source *source = NULL;
	struct source_config config;
	struct err err = {0};
	bool file = t->source->kind == SOURCE_FILE;

	if (file && !try_root(t, r))
		return;
	dataset_source_config(t->source, t->secret, t->ca, &config);
	config.label = r->text;
	config.file.root_fd = t->root_fd;
	int rc = w ? source_new(loop, &config, &source, &err) : -ENOMEM;
	if (rc < 0) {
		(void)doctor_add(r, DOCTOR_SETTINGS, DOCTOR_FAILED, "see the words before this", "%s",
				 err_words(&err, rc));
		return;
	}
	if (!file && (!try_server(source, t, r) || !have_secrets(t, r)))
		return;
	if (try_list(source, t, w, r))
		try_get(source, t, w, r);
}
