/*
 * Status of a dataset, as the service sends it.
 */
#include <errno.h>
#include <string.h>

#include "cache-node/datasets/internal.h"
#include "common/base/mem.h"

#define CONFLICT_SHOWN_MAX 1024 /* bytes of a path: four hundred of them go into one message */

static void set_text(char **field, const char *text)
{
	char *copy = mem_strdup(text);

	if (copy)
		*field =
			copy; /* else the shared empty string stays: status without a word is better than none */
}

static void copy_list(const struct dataset_list *from, char ***items, size_t *count)
{
	*items = from->count ? mem_calloc(from->count, sizeof **items) : NULL;
	for (size_t i = 0; *items && i < from->count; i++)
		if (((*items)[*count] = mem_strdup(from->items[i])) != NULL)
			++*count;
}

static void warn(Larder__V1__DatasetStatus *s, char *text)
{
	char **more = text ? mem_resize(s->warnings, s->n_warnings + 1, sizeof *more) : NULL;

	if (more) {
		s->warnings = more;
		s->warnings[s->n_warnings++] = text;
	} else {
		(void)mem_free(text);
	}
}

static void add_warnings(const struct node_dataset *d, Larder__V1__DatasetStatus *s)
{
	if (d->stats.no_validator)
		warn(s,
		     mem_printf(
			     "%llu files have no validator: a change while they are read cannot be noticed",
			     (unsigned long long)d->stats.no_validator));
	if (d->stats.skipped)
		warn(s, mem_printf("%llu names are longer than a path may be and were left out",
				   (unsigned long long)d->stats.skipped));
	for (size_t i = 0; i < d->set->spec->source_count; i++) {
		struct source_stats st;
		if (!d->set->read[i])
			continue;
		if (d->set->list[i]) {
			source_stats_get(d->set->list[i], &st);
			if (st.left_out)
				warn(s, mem_printf("%llu special files or links of source %zu were left out",
						   (unsigned long long)st.left_out, i));
		}
		source_stats_get(d->set->read[i], &st);
		s->denied += st.denied;
		if (st.denied)
			warn(s,
			     d->set->spec->sources[i].kind == SOURCE_FILE
				     ? mem_printf(
					       "%llu reads of %s were denied: let uid 65532 read the files, or start "
					       "the node with --run-as of a uid that may",
					       (unsigned long long)st.denied,
					       d->set->spec->sources[i].file.path)
				     : mem_printf("%llu requests to source %zu were denied: check its Secret",
						  (unsigned long long)st.denied, i));
	}
}

/* More is promised than the tiers hold. */
static void warn_floor(Larder__V1__DatasetStatus *s, const struct node_dataset *d,
		       const struct cache_dataset_stats *c)
{
	uint64_t wanted = d->set->spec->cache.floor_bytes;

	if (c->floor < wanted)
		warn(s,
		     mem_printf(
			     "its cache.floor of %llu bytes counts as %llu: all floors together are more than "
			     "the tiers can keep; give the node larger ones, or promise less",
			     (unsigned long long)wanted, (unsigned long long)c->floor));
}

/* ---- conflicts ---- */

static void add_conflict(Larder__V1__Conflicts *to, const struct conflict *from)
{
	Larder__V1__Conflict *c = to->first ? mem_alloc(sizeof *c) : NULL;
	size_t len = MIN(from->len, (size_t)CONFLICT_SHOWN_MAX);

	if (!c)
		return;
	larder__v1__conflict__init(c);
	c->path.data = mem_dup(from->path, MAX(len, (size_t)1));
	c->path.len = c->path.data ? len : 0;
	c->source = from->source;
	to->first[to->n_first++] = c;
}

static Larder__V1__Conflicts *conflicts_message(const struct conflicts *all, int kind, bool named)
{
	static const Larder__V1__Conflicts__Kind kinds[CONFLICT_KINDS] = {
		[CONFLICT_COVERED] = LARDER__V1__CONFLICTS__KIND__COVERED,
		[CONFLICT_BESIDE] = LARDER__V1__CONFLICTS__KIND__BESIDE,
		[CONFLICT_ESCAPED] = LARDER__V1__CONFLICTS__KIND__ESCAPED,
		[CONFLICT_LEFT_OUT] = LARDER__V1__CONFLICTS__KIND__LEFT_OUT,
	};
	const struct conflicts_of_kind *from = &all->of[kind];
	Larder__V1__Conflicts *to = mem_alloc(sizeof *to);

	if (!to)
		return NULL;
	larder__v1__conflicts__init(to);
	to->kind = kinds[kind];
	to->count = from->count;
	to->earlier = from->earlier;
	if (named && from->named)
		to->first = mem_calloc(from->named, sizeof *to->first);
	for (size_t i = 0; named && i < from->named; i++)
		add_conflict(to, &from->first[i]);
	return to;
}

static void add_conflicts(const struct node_dataset *d, bool named, Larder__V1__DatasetStatus *s)
{
	s->conflicts = d->conflicts ? mem_calloc(CONFLICT_KINDS, sizeof *s->conflicts) : NULL;
	for (int i = 0; s->conflicts && i < CONFLICT_KINDS; i++)
		if ((s->conflicts[s->n_conflicts] = conflicts_message(d->conflicts, i, named)) != NULL)
			s->n_conflicts++;
}

int node_dataset_status(struct node_dataset *d, bool named, Larder__V1__DatasetStatus **ret)
{
	Larder__V1__DatasetStatus *s = mem_alloc(sizeof *s);
	struct cache_dataset_stats c;

	if (!s)
		return -ENOMEM;
	larder__v1__dataset_status__init(s);
	cache_dataset_stats_get(d->all->config.cache, d->number, &c);
	(void)pthread_mutex_lock(&d->lock);
	set_text(&s->namespace_, d->set->spec->namespace_);
	set_text(&s->name, d->set->spec->name);
	if (d->message_text[0])
		set_text(&s->message, d->message_text);
	s->phase = d->phase;
	s->version = d->head.version;
	s->committed_ns = d->head.committed_ns;
	s->files = d->stats.files;
	s->bytes = d->stats.bytes;
	s->cached_bytes = c.cached_bytes;
	s->source_bytes = c.source_bytes;
	s->served_bytes = c.served_bytes;
	s->sync_objects = atomic_load(&d->progress.objects);
	s->root.data = mem_dup(d->head.root.bytes, HASH256_BYTES);
	s->root.len = s->root.data ? HASH256_BYTES : 0;
	copy_list(&d->set->spec->unacted, &s->unacted, &s->n_unacted);
	add_warnings(d, s);
	add_conflicts(d, named, s);
	warn_floor(s, d, &c);
	(void)pthread_mutex_unlock(&d->lock);
	*ret = s;
	return 0;
}
