/*
 * larder versions, diff - the versions of a dataset that the node keeps, and what changed between two of them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/commands.h"
#include "cli/human.h"
#include "cli/json.h"
#include "cli/node_client.h"
#include "cli/terminal.h"
#include "common/base/quantity.h"

/* Connects, runs @ask, and ends both. The exit status. */
static int with_node(const struct common_options *o,
		     int (*ask)(void *ctx, struct rpc_client *c, struct err *err), void *ctx)
{
	char name[NAME_LABEL_MAX + 1];
	struct rpc_client *c = NULL;
	struct err err = {0};

	rpc_init();
	int r = node_connect(o->instance, name, &c, &err);
	if (!r)
		r = ask(ctx, c, &err);
	(void)rpc_client_free(c);
	rpc_done();
	if (!r && fflush(stdout) != 0)
		r = err_set(&err, -errno, "writing: %s", err_text(-errno));
	return r ? command_fail(EXIT_FAILED, &err, r) : EXIT_GOOD;
}

struct question {
	struct common_options o;
	struct dataset_ref ref;
	Larder__V1__DatasetName name; /* borrows from ref */
	uint64_t from, to;
};

/* Reads the words. -1: go on; else the exit status. */
static int read_words(struct question *q, const struct command *self, int argc, char **argv, int operands)
{
	struct err err = {0};
	int status = common_options_read(self, argc, argv, operands, operands, &q->o);

	if (status >= 0)
		return status;
	int r = dataset_ref_parse_name(q->o.operand, &q->ref, &err);
	larder__v1__dataset_name__init(&q->name);
	q->name.namespace_ = q->ref.namespace_;
	q->name.name = q->ref.name;
	return r ? command_fail(EXIT_USAGE, &err, r) : -1;
}

/* ---- versions ---- */

static void print_version(const Larder__V1__Version *v)
{
	char files[HUMAN_COUNT_MAX], bytes[16], date[32] = "-", mounts[24] = "";
	time_t seconds = (time_t)(v->committed_ns / NS_PER_S);
	struct tm tm;

	bytes_format(v->bytes, bytes);
	if (localtime_r(&seconds, &tm))
		(void)strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S", &tm);
	if (v->mounts)
		(void)snprintf(mounts, sizeof mounts, ", %u %s", v->mounts,
			       v->mounts == 1 ? "mount" : "mounts");
	(void)printf("%8llu  %s  %12s files  %10s%s%s%s\n", (unsigned long long)v->version, date,
		     human_count(v->files, files), bytes, v->latest ? "  latest" : "",
		     v->pinned ? "  pinned" : "", mounts);
	if (v->message[0]) {
		(void)fputs("          ", stdout);
		term_text(stdout, v->message, strlen(v->message));
		(void)fputc('\n', stdout);
	}
}

static int ask_versions(void *ctx, struct rpc_client *c, struct err *err)
{
	struct question *q = ctx;
	ProtobufCMessage *m;
	int r = rpc_unary(c, "/larder.v1.Node/Versions", &q->name.base,
			  &larder__v1__versions_reply__descriptor, NODE_CALL_NS, false, &m, err);

	if (r)
		return r;
	const Larder__V1__VersionsReply *reply = (const void *)m;
	if (q->o.json) {
		json_message(stdout, m);
		(void)fputc('\n', stdout);
	} else if (!reply->n_versions) {
		(void)puts("no version yet");
	}
	for (size_t i = 0; !q->o.json && i < reply->n_versions; i++)
		print_version(reply->versions[i]);
	protobuf_c_message_free_unpacked(m, NULL);
	return 0;
}

int versions_command(const struct command *self, int argc, char **argv)
{
	struct question q;
	int status = read_words(&q, self, argc, argv, 1);

	return status >= 0 ? status : with_node(&q.o, ask_versions, &q);
}

/* ---- diff ---- */

static int read_version(const char *text, uint64_t *ret, struct err *err)
{
	char *end;

	errno = 0;
	unsigned long long v = strtoull(text, &end, 10);
	if (errno || !v || *end || text[0] < '0' || text[0] > '9')
		return err_set(err, -EINVAL,
			       "\"%.80s\" is no number of a version; larder versions lists them", text);
	*ret = v;
	return 0;
}

/* "+ path", "- path", "~ path (1.0 KiB -> 2.0 KiB)", a folder with a slash at its end. */
static void print_change(const Larder__V1__Change *c)
{
	static const char marks[] = {[LARDER__V1__CHANGE__KIND__ADDED] = '+',
				     [LARDER__V1__CHANGE__KIND__REMOVED] = '-',
				     [LARDER__V1__CHANGE__KIND__CHANGED] = '~'};
	const Larder__V1__Entry *e = c->to ? c->to : c->from;
	char from[16], to[16];

	if (!e)
		return;
	(void)printf("%c ", (unsigned)c->kind < sizeof marks && marks[c->kind] ? marks[c->kind] : '?');
	term_text(stdout, e->path.data, e->path.len);
	if (e->type == LARDER__V1__ENTRY__TYPE__DIR)
		(void)fputc('/', stdout);
	if (c->from && c->to && c->from->size != c->to->size) {
		bytes_format(c->from->size, from);
		bytes_format(c->to->size, to);
		(void)printf(" (%s -> %s)", from, to);
	}
	(void)fputc('\n', stdout);
}

static int ask_diff(void *ctx, struct rpc_client *c, struct err *err)
{
	struct question *q = ctx;
	CLEANUP(rpc_stream_free) struct rpc_stream *s = NULL;
	Larder__V1__DiffRequest request = LARDER__V1__DIFF_REQUEST__INIT;
	ProtobufCMessage *m;
	bool first = true;

	request.dataset = &q->name;
	request.from = q->from;
	request.to = q->to;
	int r = rpc_stream_open(c, "/larder.v1.Node/Diff", &request.base,
				&larder__v1__change_batch__descriptor, 0, false, &s, err);
	if (r)
		return r;
	while ((r = rpc_stream_next(s, &m, err)) > 0) {
		const Larder__V1__ChangeBatch *batch = (const void *)m;
		for (size_t i = 0; i < batch->n_changes; i++, first = false) {
			if (!q->o.json) {
				print_change(batch->changes[i]);
				continue;
			}
			(void)fputs(first ? "[\n" : ",\n", stdout);
			json_message(stdout, &batch->changes[i]->base);
		}
		protobuf_c_message_free_unpacked(m, NULL);
	}
	if (q->o.json && !r)
		(void)fputs(first ? "[]\n" : "\n]\n", stdout);
	return r;
}

int diff_command(const struct command *self, int argc, char **argv)
{
	struct question q;
	struct err err = {0};
	int status = read_words(&q, self, argc, argv, 3);

	if (status >= 0)
		return status;
	int r = read_version(q.o.more[0], &q.from, &err);
	if (!r)
		r = read_version(q.o.more[1], &q.to, &err);
	return r ? command_fail(EXIT_USAGE, &err, r) : with_node(&q.o, ask_diff, &q);
}
