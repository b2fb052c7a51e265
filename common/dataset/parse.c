#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/dataset/assign.h"
#include "common/dataset/secret.h"
#include "common/dataset/yaml.h"

struct parse {
	const char *file;
	struct dataset *d;
	struct secret *s;
	size_t source; /* that is being read */
	size_t source_lines[DATASET_SOURCES_MAX], source_columns[DATASET_SOURCES_MAX];
	struct err *err;
};

/* "file:line:column: ..." at the name of @n, or at its value. */
static int PRINTF(4, 5) fail(const struct parse *p, const struct node *n, int code, const char *fmt, ...)
{
	char words[400];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(words, sizeof words, fmt, args);
	va_end(args);
	return err_set(p->err, code, "%s:%zu:%zu: %s", p->file, n->line, n->column, words);
}

/* Puts place and field before the words of a failed assignment. */
static int fail_value(const struct parse *p, const struct node *n, const char *path, int code,
		      const struct err *why)
{
	return err_set(p->err, code, "%s:%zu:%zu: %s: %s", p->file, n->value_line, n->value_column, path,
		       err_words(why, code));
}

static const char *kind_name(const struct node *n)
{
	return n->kind == NODE_MAP ? "a map" : n->kind == NODE_LIST ? "a list" : "a value";
}

static int expect(const struct parse *p, const struct node *n, enum node_kind kind, const char *path)
{
	static const char *const wants[] = {
		[NODE_SCALAR] = "a value", [NODE_MAP] = "a map", [NODE_LIST] = "a list"};

	if (node_is_null(n))
		return fail(p, n, -EINVAL, "%s has no value; expected %s", path, wants[kind]);
	if (n->kind == kind)
		return 0;
	return fail(p, n, -EINVAL, "%s is %s; expected %s", path, kind_name(n), wants[kind]);
}

/* A plain 1, true or 1.5 is no string, and Kubernetes would refuse it too. */
static bool looks_like_text(const struct node *n)
{
	static const char *const others[] = {"true", "false", "yes", "no", "on", "off"};

	if (!n->plain)
		return true;
	for (size_t i = 0; i < LENGTH(others); i++)
		if (strcasecmp(n->text, others[i]) == 0)
			return false;
	char *end;
	(void)strtod(n->text, &end);
	return *end || !strchr("0123456789+-.", n->text[0]);
}

static int read_scalar(struct parse *p, const struct node *n, enum field_id id, const char *path)
{
	struct err why = {0};
	int r = expect(p, n, NODE_SCALAR, path);
	if (r != 0)
		return r;
	if (field_get(id)->type == FIELD_TYPE_TEXT && !looks_like_text(n))
		return fail(p, n, -EINVAL, "%s is not a string; write \"%.64s\" in quotes", path, n->text);
	r = dataset_assign(p->d, p->source, id, n->text, &why);
	return r == 0 ? 0 : fail_value(p, n, path, r, &why);
}

static int read_list(struct parse *p, const struct node *n, enum field_id id, const char *path)
{
	struct err why = {0};
	int r = expect(p, n, NODE_LIST, path);

	for (const struct node *item = n->first; item && r == 0; item = item->next) {
		r = expect(p, item, NODE_SCALAR, path);
		if (r == 0 && (r = dataset_assign_item(p->d, p->source, id, item->text, &why)) != 0)
			r = fail_value(p, item, path, r, &why);
	}
	return r;
}

/* Labels and annotations: names and strings of somebody else. */
static int read_free(struct parse *p, const struct node *n, const char *path)
{
	int r = expect(p, n, NODE_MAP, path);

	for (const struct node *m = n->first; m && r == 0; m = m->next)
		r = expect(p, m, NODE_SCALAR, path);
	return r;
}

static int read_map(struct parse *p, const struct node *n, const char *parent);

static int read_sources(struct parse *p, const struct node *n)
{
	int r = expect(p, n, NODE_LIST, "spec.sources");

	for (const struct node *item = n->first; item && r == 0; item = item->next) {
		struct err why = {0};
		r = expect(p, item, NODE_MAP, "spec.sources");
		if (r != 0)
			break;
		r = dataset_add_source(p->d, &why);
		if (r != 0)
			return fail_value(p, item, "spec.sources", r, &why);
		p->source = p->d->source_count - 1;
		p->source_lines[p->source] = item->value_line;
		p->source_columns[p->source] = item->value_column;
		r = read_map(p, item, "spec.sources[]");
	}
	return r;
}

static int read_submap(struct parse *p, const struct node *n, enum field_id id, const char *path)
{
	struct err why = {0};
	int r = expect(p, n, NODE_MAP, path);

	if (r == 0 && id == F_PRELOAD)
		p->d->preload.enabled = true;
	if (r == 0 && (id == F_S3 || id == F_HTTP || id == F_FILE) &&
	    (r = dataset_assign_kind(p->d, p->source, id, &why)) != 0)
		return fail_value(p, n, path, r, &why);
	return r == 0 ? read_map(p, n, field_get(id)->path) : r;
}

static int read_field(struct parse *p, const struct node *n, enum field_id id)
{
	const struct field *f = field_get(id);
	char path[FIELD_PATH_MAX];

	field_path(id, p->source, path);
	if (f->state == FIELD_REFUSED)
		return fail(p, n, -ERR_UNSUPPORTED, "%s: not in this version (has: %s)", n->key, f->words);
	if (f->state == FIELD_ACCEPTED && dataset_note_unacted(p->d, path) != 0)
		return fail(p, n, -ENOMEM, "out of memory");
	switch (f->type) {
	case FIELD_TYPE_MAP:
		return read_submap(p, n, id, path);
	case FIELD_TYPE_MAPS:
		return read_sources(p, n);
	case FIELD_TYPE_FREE:
		return read_free(p, n, path);
	case FIELD_TYPE_TEXTS:
	case FIELD_TYPE_ENUMS:
		return read_list(p, n, id, path);
	default:
		return read_scalar(p, n, id, path);
	}
}

static int fail_unknown(const struct parse *p, const struct node *n, const char *parent)
{
	struct nearest nearest = {.name = n->key};
	char words[300], path[FIELD_PATH_MAX];
	const char *list = strstr(parent, "[]");

	nearest_field(&nearest, parent);
	nearest_words(&nearest, words, sizeof words);
	if (list)
		(void)snprintf(path, sizeof path, "%.*s[%zu]%s.", (int)(list - parent), parent, p->source,
			       list + 2);
	else
		(void)snprintf(path, sizeof path, "%s%s", parent, *parent ? "." : "");
	return fail(p, n, -EINVAL, "unknown field \"%s%.64s\"; %s", path, n->key, words);
}

static int read_map(struct parse *p, const struct node *n, const char *parent)
{
	int r = 0;

	for (const struct node *m = n->first; m && r == 0; m = m->next) {
		enum field_id id = field_find(parent, m->key);
		r = id == FIELD_COUNT ? fail_unknown(p, m, parent) : read_field(p, m, id);
	}
	return r;
}

static int read_dataset(struct parse *p, const struct node *doc, struct dataset **ret)
{
	CLEANUP(dataset_free) struct dataset *d = dataset_new();
	struct err why = {0};
	size_t source;

	if (!d)
		return fail(p, doc, -ENOMEM, "out of memory");
	p->d = d;
	p->source = 0;
	int r = read_map(p, doc, "");
	if (r != 0)
		return r;
	r = dataset_check(d, &source, &why);
	if (r != 0) {
		bool known = source < d->source_count;
		return err_set(p->err, r, "%s:%zu:%zu: %s", p->file,
			       known ? p->source_lines[source] : doc->line,
			       known ? p->source_columns[source] : doc->column, why.text);
	}
	*ret = TAKE(d);
	return 0;
}

/* ---- Secrets: Kubernetes' own kind, so few words ---- */

static int read_secret_metadata(struct parse *p, const struct node *n)
{
	struct err why = {0};
	int r = expect(p, n, NODE_MAP, "metadata");

	for (const struct node *m = n->first; m && r == 0; m = m->next) {
		bool is_namespace = strcmp(m->key, "namespace") == 0;
		if (is_namespace || strcmp(m->key, "name") == 0) {
			r = expect(p, m, NODE_SCALAR, m->key);
			if (r == 0 && (r = secret_assign_name(p->s, is_namespace, m->text, &why)) != 0)
				return fail_value(p, m, is_namespace ? "metadata.namespace" : "metadata.name",
						  r, &why);
		} else if (strcmp(m->key, "labels") == 0 || strcmp(m->key, "annotations") == 0) {
			r = read_free(p, m, m->key);
		} else {
			r = fail_unknown(p, m, "metadata");
		}
	}
	return r;
}

static int read_secret_data(struct parse *p, const struct node *n, bool base64)
{
	const char *path = base64 ? "data" : "stringData";
	struct err why = {0};
	int r = expect(p, n, NODE_MAP, path);

	for (const struct node *m = n->first; m && r == 0; m = m->next) {
		r = expect(p, m, NODE_SCALAR, path);
		if (r != 0)
			return r;
		r = base64 ? secret_assign_base64(p->s, m->key, m->text, &why)
			   : secret_assign(p->s, m->key, m->text, strlen(m->text), &why);
		if (r != 0)
			return fail(p, m, r, "%s: %s", path, err_words(&why, r));
	}
	return r;
}

static int read_secret_member(struct parse *p, const struct node *m)
{
	static const char *const known[] = {"apiVersion", "kind", "metadata",  "type",
					    "immutable",  "data", "stringData"};
	struct nearest nearest = {.name = m->key};
	char words[300];
	size_t i = 0;

	while (i < LENGTH(known) && strcmp(m->key, known[i]) != 0)
		nearest_offer(&nearest, known[i++]);
	switch (i) {
	case 0:
	case 1:
	case 3:
	case 4:
		return expect(p, m, NODE_SCALAR, m->key);
	case 2:
		return read_secret_metadata(p, m);
	case 5:
		return read_secret_data(p, m, true);
	case 6:
		return 0; /* after data, over which it wins */
	default:
		nearest_words(&nearest, words, sizeof words);
		return fail(p, m, -EINVAL, "unknown field \"%.64s\"; %s", m->key, words);
	}
}

static int read_secret(struct parse *p, const struct node *doc, struct secret **ret)
{
	CLEANUP(secret_free) struct secret *s = mem_calloc(1, sizeof *s);
	struct err why = {0};
	int r = s ? secret_assign_name(s, true, "default", &why) : -ENOMEM;
	if (r != 0)
		return fail(p, doc, r, "out of memory");
	p->s = s;
	for (const struct node *m = doc->first; m && r == 0; m = m->next)
		r = read_secret_member(p, m);
	for (const struct node *m = doc->first; m && r == 0; m = m->next)
		if (strcmp(m->key, "stringData") == 0)
			r = read_secret_data(p, m, false);
	if (r == 0 && (r = secret_check(s, &why)) != 0)
		return fail(p, doc, r, "%s", err_words(&why, r));
	if (r == 0)
		*ret = TAKE(s);
	return r;
}

/* ---- documents ---- */

/* The text of a top-level field; NULL: it is not there, or no scalar. */
static const struct node *member(const struct node *doc, const char *key)
{
	for (const struct node *m = doc->first; m; m = m->next)
		if (strcmp(m->key, key) == 0)
			return m->kind == NODE_SCALAR ? m : NULL;
	return NULL;
}

static int check_api_version(const struct parse *p, const struct node *doc, const char *right)
{
	const struct node *version = member(doc, "apiVersion");

	if (!version)
		return fail(p, doc, -EINVAL, "apiVersion is missing; expected %s", right);
	if (strcmp(version->text, right) != 0)
		return fail(p, version, -EINVAL, "apiVersion \"%.64s\" is not known; expected %s",
			    version->text, right);
	return 0;
}

static bool same_name(const char *a_space, const char *a, const char *b_space, const char *b)
{
	return strcmp(a_space, b_space) == 0 && strcmp(a, b) == 0;
}

static int add_dataset(struct parse *p, const struct node *doc, struct dataset_file *f)
{
	CLEANUP(dataset_free) struct dataset *d = NULL;
	int r = check_api_version(p, doc, DATASET_API_VERSION);
	if (r == 0)
		r = read_dataset(p, doc, &d);
	if (r != 0)
		return r;
	CHECK(d);
	for (size_t i = 0; i < f->dataset_count; i++)
		if (same_name(f->datasets[i]->namespace_, f->datasets[i]->name, d->namespace_, d->name))
			return fail(p, doc, -EINVAL, "Dataset %s/%s stands in this file twice", d->namespace_,
				    d->name);
	struct dataset **grown = mem_resize(f->datasets, f->dataset_count + 1, sizeof *grown);
	if (!grown)
		return fail(p, doc, -ENOMEM, "out of memory");
	f->datasets = grown;
	f->datasets[f->dataset_count++] = TAKE(d);
	return 0;
}

static int add_secret(struct parse *p, const struct node *doc, struct dataset_file *f)
{
	CLEANUP(secret_free) struct secret *s = NULL;
	int r = check_api_version(p, doc, "v1");
	if (r == 0)
		r = read_secret(p, doc, &s);
	if (r != 0)
		return r;
	CHECK(s);
	for (size_t i = 0; i < f->secret_count; i++)
		if (same_name(f->secrets[i]->namespace_, f->secrets[i]->name, s->namespace_, s->name))
			return fail(p, doc, -EINVAL, "Secret %s/%s stands in this file twice", s->namespace_,
				    s->name);
	struct secret **grown = mem_resize(f->secrets, f->secret_count + 1, sizeof *grown);
	if (!grown)
		return fail(p, doc, -ENOMEM, "out of memory");
	f->secrets = grown;
	f->secrets[f->secret_count++] = TAKE(s);
	return 0;
}

static int read_document(struct parse *p, const struct node *doc, struct dataset_file *f)
{
	if (node_is_null(doc))
		return 0;
	if (doc->kind != NODE_MAP)
		return fail(p, doc, -EINVAL, "the document is %s; expected a Dataset or a Secret",
			    kind_name(doc));
	const struct node *kind = member(doc, "kind");
	if (!kind)
		return fail(p, doc, -EINVAL, "kind is missing; expected Dataset or Secret");
	if (f->dataset_count + f->secret_count >= DATASET_DOCS_MAX)
		return fail(p, doc, -EFBIG, "the file has more than %d documents", DATASET_DOCS_MAX);
	if (strcmp(kind->text, "Dataset") == 0)
		return add_dataset(p, doc, f);
	if (strcmp(kind->text, "Secret") == 0)
		return add_secret(p, doc, f);
	return fail(p, kind, -ERR_UNSUPPORTED, "kind %.64s: not in this version (has: Dataset, Secret)",
		    kind->text);
}

int dataset_file_parse(const char *file, const char *text, size_t len, struct dataset_file **ret,
		       struct err *err)
{
	struct parse p = {.file = file, .err = err};
	CLEANUP(yaml_docs_free) struct yaml_docs *y = NULL;
	CLEANUP(dataset_file_free) struct dataset_file *f = mem_calloc(1, sizeof *f);
	struct node *doc;
	int r = f ? yaml_docs_new(file, text, len, &y, err)
		  : err_set(err, -ENOMEM, "%s: out of memory", file);

	while (r == 0 && (r = yaml_docs_next(y, &doc, err)) == 1) {
		r = read_document(&p, doc, f);
		(void)node_free(doc);
	}
	if (r == 0)
		*ret = TAKE(f);
	return r;
}

struct dataset_file *dataset_file_free(struct dataset_file *f)
{
	if (!f)
		return NULL;
	for (size_t i = 0; i < f->dataset_count; i++)
		(void)dataset_free(f->datasets[i]);
	for (size_t i = 0; i < f->secret_count; i++)
		(void)secret_free(f->secrets[i]);
	(void)mem_free(f->datasets);
	(void)mem_free(f->secrets);
	return mem_free(f);
}
