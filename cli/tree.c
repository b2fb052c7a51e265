/*
 * larder ls, stat, cat - the tree of a dataset as the node knows it, without a mount.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/human.h"
#include "cli/json.h"
#include "cli/node_client.h"
#include "cli/terminal.h"
#include "common/base/fd.h"
#include "common/base/quantity.h"

struct tree {
	struct common_options o;
	struct dataset_ref ref;
	struct rpc_client *client;
};

/* Reads the words and connects. -1: go on; else the exit status. rpc_init() is done after -1. */
static int tree_open(struct tree *t, const struct command *self, int argc, char **argv)
{
	char name[NAME_LABEL_MAX + 1];
	struct err err = {0};
	int status = common_options_read(self, argc, argv, 1, 1, &t->o);

	t->client = NULL;
	if (status >= 0)
		return status;
	int r = dataset_ref_parse(t->o.operand, &t->ref, &err);
	if (r)
		return command_fail(EXIT_USAGE, &err, r);
	rpc_init();
	r = node_connect(t->o.instance, name, &t->client, &err);
	if (!r)
		return -1;
	rpc_done();
	return command_fail(EXIT_FAILED, &err, r);
}

static int tree_close(struct tree *t, int r, struct err *err)
{
	(void)rpc_client_free(t->client);
	rpc_done();
	if (!r && fflush(stdout) != 0)
		r = err_set(err, -errno, "writing: %s", err_text(-errno));
	return r ? command_fail(EXIT_FAILED, err, r) : EXIT_GOOD;
}

static void fill_path(struct tree *t, Larder__V1__DatasetName *name, Larder__V1__PathRequest *q)
{
	larder__v1__dataset_name__init(name);
	larder__v1__path_request__init(q);
	name->namespace_ = t->ref.namespace_;
	name->name = t->ref.name;
	q->dataset = name;
	q->path.data = (uint8_t *)(uintptr_t)t->ref.path; /* only read */
	q->path.len = strlen(t->ref.path);
	while (q->path.len && q->path.data[q->path.len - 1] == '/')
		q->path.len--;
	q->glob = path_is_glob(t->ref.path);
	q->recursive = t->o.recursive;
}

/* ---- ls ---- */

static void print_long(const Larder__V1__Entry *e)
{
	static const char kinds[] = {[LARDER__V1__ENTRY__TYPE__FILE] = '-',
				     [LARDER__V1__ENTRY__TYPE__DIR] = 'd',
				     [LARDER__V1__ENTRY__TYPE__SYMLINK] = 'l'};
	char mode[11] = "?rwxrwxrwx", date[32] = "-", size[HUMAN_COUNT_MAX];
	time_t seconds = (time_t)(e->mtime_ns / NS_PER_S);
	struct tm tm;

	if ((unsigned)e->type < sizeof kinds && kinds[e->type])
		mode[0] = kinds[e->type];
	for (unsigned i = 0; i < 9; i++)
		if (!(e->mode & 0400u >> i))
			mode[i + 1] = '-';
	if (e->mtime_ns && localtime_r(&seconds, &tm))
		(void)strftime(date, sizeof date, "%Y-%m-%d %H:%M", &tm);
	(void)printf("%s %15s %16s %3u%% ", mode, human_count(e->size, size), date,
		     e->type == LARDER__V1__ENTRY__TYPE__FILE ? human_percent(e->cached_bytes, e->size) : 0);
}

/* Paths are shown below the folder asked for; those a glob found, in full. */
static void print_entry(const struct tree *t, const Larder__V1__PathRequest *q, const Larder__V1__Entry *e)
{
	size_t skip = q->glob || e->path.len <= q->path.len || !q->path.len ? 0 : q->path.len + 1;

	if (t->o.long_form)
		print_long(e);
	term_text(stdout, e->path.data + skip, e->path.len - skip);
	if (e->type == LARDER__V1__ENTRY__TYPE__DIR)
		(void)fputc('/', stdout);
	if (t->o.long_form && e->type == LARDER__V1__ENTRY__TYPE__SYMLINK) {
		(void)fputs(" -> ", stdout);
		term_text(stdout, e->target.data, e->target.len);
	}
	(void)fputc('\n', stdout);
}

static int list(struct tree *t, struct err *err)
{
	Larder__V1__DatasetName name;
	Larder__V1__PathRequest q;
	CLEANUP(rpc_stream_free) struct rpc_stream *s = NULL;
	ProtobufCMessage *m;
	bool first = true;

	fill_path(t, &name, &q);
	int r = rpc_stream_open(t->client, "/larder.v1.Node/List", &q.base,
				&larder__v1__entry_batch__descriptor, 0, false, &s, err);
	if (r)
		return r;
	if (t->o.json)
		(void)fputc('[', stdout);
	while ((r = rpc_stream_next(s, &m, err)) > 0) {
		const Larder__V1__EntryBatch *batch = (const void *)m;
		for (size_t i = 0; i < batch->n_entries; i++) {
			if (t->o.json) {
				(void)fputs(first ? "\n" : ",\n", stdout);
				json_message(stdout, &batch->entries[i]->base);
			} else {
				print_entry(t, &q, batch->entries[i]);
			}
			first = false;
		}
		protobuf_c_message_free_unpacked(m, NULL);
	}
	if (t->o.json && !r)
		(void)fputs("\n]\n", stdout);
	return !r && first && q.glob && !t->o.json ? err_set(err, -ENOENT, "nothing matches /%s", t->ref.path)
						   : r;
}

int ls_command(const struct command *self, int argc, char **argv)
{
	struct tree t;
	struct err err = {0};
	int status = tree_open(&t, self, argc, argv);

	return status >= 0 ? status : tree_close(&t, list(&t, &err), &err);
}

/* ---- stat ---- */

static void print_stat(const Larder__V1__Entry *e)
{
	static const char *const kinds[] = {"unknown", "file", "folder", "symbolic link"};
	char size[16], cached[16], count[HUMAN_COUNT_MAX], date[40] = "unknown";
	time_t seconds = (time_t)(e->mtime_ns / NS_PER_S);
	struct tm tm;

	bytes_format(e->size, size);
	bytes_format(e->cached_bytes, cached);
	if (e->mtime_ns && gmtime_r(&seconds, &tm))
		(void)strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &tm);
	(void)fputs("path:      /", stdout);
	term_text(stdout, e->path.data, e->path.len);
	(void)printf(
		"\ntype:      %s\nsize:      %s (%s bytes)\nmode:      %04o\nmodified:  %s\ninode:     %llu\nversion:   %llu\n",
		(unsigned)e->type < LENGTH(kinds) ? kinds[e->type] : kinds[0], size,
		human_count(e->size, count), e->mode & 07777, date, (unsigned long long)e->inode,
		(unsigned long long)e->version);
	if (e->type != LARDER__V1__ENTRY__TYPE__FILE)
		return;
	(void)printf("source:    %u\nkey:       ", e->source);
	term_text(stdout, e->key.data, e->key.len);
	(void)fputs("\nvalidator: ", stdout);
	term_text(stdout, e->validator.data, e->validator.len);
	(void)printf(" (%s)\ncached:    %s, %s%s%s\n", e->validator_kind, e->cache_state, cached,
		     e->tier[0] ? " in " : "", e->tier);
}

static int stat_path(struct tree *t, struct err *err)
{
	Larder__V1__DatasetName name;
	Larder__V1__PathRequest q;
	ProtobufCMessage *m;

	fill_path(t, &name, &q);
	int r = rpc_unary(t->client, "/larder.v1.Node/Stat", &q.base, &larder__v1__entry__descriptor,
			  NODE_CALL_NS, false, &m, err);
	if (r)
		return r;
	if (t->o.json) {
		json_message(stdout, m);
		(void)fputc('\n', stdout);
	} else {
		print_stat((const void *)m);
	}
	protobuf_c_message_free_unpacked(m, NULL);
	return 0;
}

/* Whether the operand names one path; otherwise the exit status after saying so. -1: it does. */
static int need_one_path(struct tree *t, const struct command *self)
{
	struct err err = {0};

	if (!path_is_glob(t->ref.path))
		return -1;
	int r = err_set(&err, -EINVAL, "%s takes one path, not a glob; larder ls lists what matches",
			self->name);
	(void)tree_close(t, r, &err);
	return EXIT_USAGE;
}

int stat_command(const struct command *self, int argc, char **argv)
{
	struct tree t;
	struct err err = {0};
	int status = tree_open(&t, self, argc, argv);

	if (status < 0)
		status = need_one_path(&t, self);
	return status >= 0 ? status : tree_close(&t, stat_path(&t, &err), &err);
}

/* ---- cat ---- */

static int cat(struct tree *t, struct err *err)
{
	Larder__V1__DatasetName name;
	Larder__V1__PathRequest path;
	Larder__V1__CatRequest q;
	CLEANUP(rpc_stream_free) struct rpc_stream *s = NULL;
	ProtobufCMessage *m;

	larder__v1__cat_request__init(&q);
	fill_path(t, &name, &path);
	q.dataset = &name;
	q.path = path.path;
	int r = rpc_stream_open(t->client, "/larder.v1.Node/Cat", &q.base,
				&larder__v1__data_chunk__descriptor, 0, false, &s, err);
	while (!r && (r = rpc_stream_next(s, &m, err)) > 0) {
		const Larder__V1__DataChunk *chunk = (const void *)m;
		r = fd_write_full(STDOUT_FILENO, chunk->data.data, chunk->data.len);
		if (r)
			(void)err_set(err, r, "writing: %s", err_text(r));
		protobuf_c_message_free_unpacked(m, NULL);
	}
	return r;
}

int cat_command(const struct command *self, int argc, char **argv)
{
	struct tree t;
	struct err err = {0};
	int status = tree_open(&t, self, argc, argv);

	if (status < 0)
		status = need_one_path(&t, self);
	return status >= 0 ? status : tree_close(&t, cat(&t, &err), &err);
}
