#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/human.h"
#include "cli/json.h"
#include "cli/node_client.h"
#include "cli/terminal.h"
#include "common/base/quantity.h"

static const char *phase_name(Larder__V1__DatasetStatus__Phase phase)
{
	static const char *const names[] = {"pending", "syncing", "ready", "failed"};
	return (unsigned)phase < LENGTH(names) ? names[phase] : "unknown";
}

static void say(const char *before, const char *text)
{
	(void)fputs(before, stdout);
	term_text(stdout, text, strlen(text));
	(void)fputc('\n', stdout);
}

static const char *const conflict_words[] = {
	[LARDER__V1__CONFLICTS__KIND__COVERED] = "covered by a later source",
	[LARDER__V1__CONFLICTS__KIND__BESIDE] = "beside a folder",
	[LARDER__V1__CONFLICTS__KIND__ESCAPED] = "escaped",
	[LARDER__V1__CONFLICTS__KIND__LEFT_OUT] = "left out",
};

/* "  names: 3 beside a folder, 2 escaped; ..." where there are any. */
static void print_conflicts(const Larder__V1__DatasetStatus *d, bool named)
{
	char count[HUMAN_COUNT_MAX];
	const char *before = "  names: ";
	size_t below = 0;

	for (size_t i = 0; i < d->n_conflicts; i++) {
		const Larder__V1__Conflicts *c = d->conflicts[i];
		if (!c->count || (unsigned)c->kind >= LENGTH(conflict_words))
			continue;
		(void)printf("%s%s %s%s", before, human_count(c->count, count), conflict_words[c->kind],
			     c->earlier ? " (as of the last sync of everything)" : "");
		before = ", ";
		below += c->n_first;
	}
	if (before[0] == ',')
		(void)puts(!named ? "; larder status --conflicts names them" : below ? ":" : "");
	for (size_t i = 0; i < d->n_conflicts; i++)
		for (size_t j = 0; j < d->conflicts[i]->n_first; j++) {
			const Larder__V1__Conflicts *c = d->conflicts[i];
			(void)printf("    %s, source %u: ",
				     (unsigned)c->kind < LENGTH(conflict_words) ? conflict_words[c->kind]
										: "?",
				     c->first[j]->source);
			term_text(stdout, c->first[j]->path.data, c->first[j]->path.len);
			(void)fputc('\n', stdout);
		}
}

static void print_dataset(const Larder__V1__DatasetStatus *d, bool named)
{
	char files[HUMAN_COUNT_MAX], bytes[16], cached[16], source[16];

	bytes_format(d->bytes, bytes);
	bytes_format(d->cached_bytes, cached);
	bytes_format(d->source_bytes, source);
	(void)printf("%s/%s: %s", d->namespace_, d->name, phase_name(d->phase));
	if (d->version)
		(void)printf(", version %llu, %s files, %s, %u%% cached (%s), %s from the source",
			     (unsigned long long)d->version, human_count(d->files, files), bytes,
			     human_percent(d->cached_bytes, d->bytes), cached, source);
	else if (d->sync_objects)
		(void)printf(", %s objects found", human_count(d->sync_objects, files));
	(void)fputc('\n', stdout);
	if (d->message[0])
		say("  ", d->message);
	for (size_t i = 0; i < d->n_warnings; i++)
		say("  warning: ", d->warnings[i]);
	print_conflicts(d, named);
	for (size_t i = 0; i < d->n_unacted; i++)
		say("  not acted on yet: ", d->unacted[i]);
	if (d->denied)
		(void)printf("  %s operations were denied by the source\n", human_count(d->denied, files));
}

static void print_tier(const Larder__V1__TierStatus *t)
{
	char used[16], most[16], objects[HUMAN_COUNT_MAX];

	bytes_format(t->bytes_used, used);
	bytes_format(t->bytes_max, most);
	(void)printf("tier %s %s: %s of %s (%u%%), %s objects", t->kind, t->name, used, most,
		     human_percent(t->bytes_used, t->bytes_max), human_count(t->objects, objects));
	if (t->evicted)
		(void)printf(", %s evicted", human_count(t->evicted, objects));
	(void)puts(t->failed ? ", FAILED: its disk gives errors" : "");
}

/* When, how long not used, how large, and what it is. */
static void print_object(const Larder__V1__CachedObject *o, int64_t now)
{
	char age[16], idle[16], bytes[16];
	int64_t until = o->left_ns ? o->left_ns : now, left = (now - o->left_ns) / NS_PER_S,
		unused = (until - o->used_ns) / NS_PER_S;

	bytes_format(o->bytes, bytes);
	human_seconds(unused > 0 ? (uint64_t)unused : 0, idle);
	if (o->left_ns)
		(void)printf("  %s ago (%s), ", human_seconds(left > 0 ? (uint64_t)left : 0, age), o->cause);
	else
		(void)fputs("  ", stdout);
	(void)printf("%s, last used %s%s, %s%s", bytes, idle, o->left_ns ? " before" : " ago", o->dataset,
		     o->dataset[0] ? ": " : "");
	say("", o->key[0] ? o->key : "(its name is not known)");
}

static void print_left(const Larder__V1__StatusReply *s)
{
	int64_t now = clock_wall_ns();

	(void)puts(s->n_left ? "left the cache:" : "nothing left the cache");
	for (size_t i = 0; i < s->n_left; i++)
		print_object(s->left[i], now);
}

static void print_next(const Larder__V1__TierStatus *t)
{
	int64_t now = clock_wall_ns();

	if (t->n_next)
		(void)puts("  would go next:");
	for (size_t i = 0; i < t->n_next; i++)
		print_object(t->next[i], now);
}

static void print_node(const Larder__V1__NodeStatus *n)
{
	char up[16];
	int64_t seconds = (clock_wall_ns() - n->started_ns) / NS_PER_S;

	(void)printf("node: version %s, up %s, worker pid %u, supervisor pid %u", n->version,
		     human_seconds(seconds > 0 ? (uint64_t)seconds : 0, up), n->worker_pid,
		     n->supervisor_pid);
	if (n->worker_restarts)
		(void)printf(", %u restarts (%u requests answered after one)", n->worker_restarts,
			     n->requests_recovered);
	for (size_t i = 0; i < n->n_without; i++)
		(void)printf("%s%s", i ? ", " : "; without ", n->without[i]);
	(void)fputc('\n', stdout);
}

static void print_status(const Larder__V1__StatusReply *s, bool objects, bool conflicts)
{
	for (size_t i = 0; i < s->n_datasets; i++)
		print_dataset(s->datasets[i], conflicts);
	if (!s->n_datasets)
		(void)puts("no dataset");
	for (size_t i = 0; i < s->n_mounts; i++)
		(void)printf("mount %s: %s, version %llu, %s, %u files open\n", s->mounts[i]->target,
			     s->mounts[i]->dataset, (unsigned long long)s->mounts[i]->version,
			     s->mounts[i]->passthrough ? "passthrough" : "without passthrough",
			     s->mounts[i]->opens);
	for (size_t i = 0; i < s->n_tiers; i++) {
		print_tier(s->tiers[i]);
		print_next(s->tiers[i]);
	}
	if (objects)
		print_left(s);
	if (s->node)
		print_node(s->node);
}

static int show(const struct common_options *o, const struct dataset_ref *only, struct err *err)
{
	char name[NAME_LABEL_MAX + 1];
	CLEANUP(rpc_client_free) struct rpc_client *c = NULL;
	Larder__V1__StatusReply *reply;

	int r = node_connect(o->instance, name, &c, err);
	if (!r)
		r = node_status(c, only, (struct node_status_more){o->objects, o->conflicts}, NODE_CALL_NS,
				&reply, err);
	if (r)
		return r;
	if (o->json) {
		json_message(stdout, &reply->base);
		(void)fputc('\n', stdout);
	} else {
		print_status(reply, o->objects, o->conflicts);
	}
	larder__v1__status_reply__free_unpacked(reply, NULL);
	return fflush(stdout) ? err_set(err, -errno, "writing: %s", err_text(-errno)) : 0;
}

int status_command(const struct command *self, int argc, char **argv)
{
	struct common_options o;
	struct dataset_ref only;
	struct err err = {0};

	int status = common_options_read(self, argc, argv, 0, 1, &o);
	if (status >= 0)
		return status;
	int r = o.operand ? dataset_ref_parse_name(o.operand, &only, &err) : 0;
	if (r)
		return command_fail(EXIT_USAGE, &err, r);
	rpc_init();
	r = show(&o, o.operand ? &only : NULL, &err);
	rpc_done();
	return r ? command_fail(EXIT_FAILED, &err, r) : EXIT_GOOD;
}

int version_command(const struct command *self, int argc, char **argv)
{
	struct common_options o;
	int status = common_options_read(self, argc, argv, 0, 0, &o);

	if (status >= 0)
		return status;
	if (o.json)
		(void)puts("{\"version\": \"" LARDER_VERSION "\"}");
	else
		(void)puts("larder " LARDER_VERSION);
	return EXIT_GOOD;
}
