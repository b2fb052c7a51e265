#include "common/dataset/yaml.h"

#include <errno.h>
#include <string.h>
#include <yaml.h>

#include "common/base/mem.h"
#include "common/dataset.h"

struct yaml_docs {
	yaml_parser_t parser;
	const char *file;
	size_t nodes;
};

int yaml_docs_new(const char *file, const char *text, size_t len, struct yaml_docs **ret, struct err *err)
{
	if (len > DATASET_TEXT_MAX)
		return err_set(err, -EFBIG, "%s: is over %u MiB", file, DATASET_TEXT_MAX >> 20);
	struct yaml_docs *y = mem_calloc(1, sizeof *y);
	if (!y || !yaml_parser_initialize(&y->parser)) {
		(void)mem_free(y);
		return err_set(err, -ENOMEM, "%s: out of memory", file);
	}
	y->file = file;
	yaml_parser_set_input_string(&y->parser, (const unsigned char *)text, len);
	yaml_parser_set_encoding(&y->parser, YAML_UTF8_ENCODING);
	*ret = y;
	return 0;
}

struct yaml_docs *yaml_docs_free(struct yaml_docs *y)
{
	if (!y)
		return NULL;
	yaml_parser_delete(&y->parser);
	return mem_free(y);
}

struct node *node_free(struct node *n)
{
	while (n) {
		struct node *next = n->next;
		(void)node_free(n->first);
		if (n->text)
			explicit_bzero(n->text, strlen(n->text));
		(void)mem_free(n->text);
		(void)mem_free(n->key);
		(void)mem_free(n);
		n = next;
	}
	return NULL;
}

bool node_is_null(const struct node *n)
{
	return n->kind == NODE_SCALAR && n->plain &&
	       (!*n->text || strcmp(n->text, "~") == 0 || strcmp(n->text, "null") == 0);
}

static int event_next(struct yaml_docs *y, yaml_event_t *ev, struct err *err)
{
	if (yaml_parser_parse(&y->parser, ev))
		return 0;
	const yaml_parser_t *p = &y->parser;
	if (p->error == YAML_MEMORY_ERROR)
		return err_set(err, -ENOMEM, "%s: out of memory", y->file);
	return err_set(err, -EINVAL, "%s:%zu:%zu: not YAML: %s", y->file, p->problem_mark.line + 1,
		       p->problem_mark.column + 1, p->problem ? p->problem : "cannot be read");
}

static int refuse(const struct yaml_docs *y, const yaml_event_t *ev, int code, const char *why,
		  struct err *err)
{
	return err_set(err, code, "%s:%zu:%zu: %s", y->file, ev->start_mark.line + 1,
		       ev->start_mark.column + 1, why);
}

/* What is allowed in YAML but not here. */
static int check_event(const struct yaml_docs *y, const yaml_event_t *ev, struct err *err)
{
	const yaml_char_t *anchor = NULL, *tag = NULL;

	if (ev->type == YAML_ALIAS_EVENT)
		return refuse(y, ev, -EINVAL, "aliases (*name) are not taken; write the value out", err);
	if (ev->type == YAML_SCALAR_EVENT) {
		anchor = ev->data.scalar.anchor;
		tag = ev->data.scalar.tag;
		if (strlen((const char *)ev->data.scalar.value) != ev->data.scalar.length)
			return refuse(y, ev, -EINVAL, "holds a NUL byte", err);
	} else if (ev->type == YAML_MAPPING_START_EVENT) {
		anchor = ev->data.mapping_start.anchor;
		tag = ev->data.mapping_start.tag;
	} else if (ev->type == YAML_SEQUENCE_START_EVENT) {
		anchor = ev->data.sequence_start.anchor;
		tag = ev->data.sequence_start.tag;
	}
	if (anchor)
		return refuse(y, ev, -EINVAL, "anchors (&name) are not taken; write the value out", err);
	return tag ? refuse(y, ev, -EINVAL, "tags (!name) are not taken", err) : 0;
}

static int make_node(struct yaml_docs *y, const yaml_event_t *ev, struct node **ret, struct err *err)
{
	if (++y->nodes > YAML_NODES_MAX)
		return refuse(y, ev, -EFBIG, "the file has too many values", err);
	CLEANUP(node_free) struct node *n = mem_calloc(1, sizeof *n);
	if (!n)
		return err_set(err, -ENOMEM, "%s: out of memory", y->file);
	n->line = n->value_line = ev->start_mark.line + 1;
	n->column = n->value_column = ev->start_mark.column + 1;
	n->kind = ev->type == YAML_MAPPING_START_EVENT    ? NODE_MAP
		  : ev->type == YAML_SEQUENCE_START_EVENT ? NODE_LIST
							  : NODE_SCALAR;
	if (n->kind == NODE_SCALAR) {
		n->plain = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
		n->text = mem_strdup((const char *)ev->data.scalar.value);
		if (!n->text)
			return err_set(err, -ENOMEM, "%s: out of memory", y->file);
	}
	*ret = TAKE(n);
	return 0;
}

static int read_value(struct yaml_docs *y, const yaml_event_t *ev, unsigned depth, struct node **ret,
		      struct err *err);

static void append(struct node *parent, struct node *child)
{
	if (parent->last)
		parent->last->next = child;
	else
		parent->first = child;
	parent->last = child;
}

/* The value behind the key that @ev holds. */
static int read_member(struct yaml_docs *y, const yaml_event_t *ev, struct node *map, unsigned depth,
		       struct err *err)
{
	yaml_event_t value;
	struct node *n;
	int r = check_event(y, ev, err);
	if (r != 0)
		return r;
	if (ev->type != YAML_SCALAR_EVENT)
		return refuse(y, ev, -EINVAL, "a name was expected here", err);
	const char *key = (const char *)ev->data.scalar.value;
	for (const struct node *m = map->first; m; m = m->next)
		if (strcmp(m->key, key) == 0)
			return err_set(err, -EINVAL,
				       "%s:%zu:%zu: \"%.64s\" stands here a second time (first in line %zu)",
				       y->file, ev->start_mark.line + 1, ev->start_mark.column + 1, key,
				       m->line);
	r = event_next(y, &value, err);
	if (r != 0)
		return r;
	r = read_value(y, &value, depth, &n, err);
	yaml_event_delete(&value);
	if (r != 0)
		return r;
	append(map, n);
	n->line = ev->start_mark.line + 1;
	n->column = ev->start_mark.column + 1;
	n->key = mem_strdup(key);
	return n->key ? 0 : err_set(err, -ENOMEM, "%s: out of memory", y->file);
}

/* Members of a map, items of a list, to its end. */
static int read_children(struct yaml_docs *y, struct node *parent, unsigned depth, struct err *err)
{
	yaml_event_t ev;
	int r;

	while ((r = event_next(y, &ev, err)) == 0) {
		struct node *item = NULL;
		bool end = ev.type == YAML_MAPPING_END_EVENT || ev.type == YAML_SEQUENCE_END_EVENT;
		if (!end && parent->kind == NODE_MAP)
			r = read_member(y, &ev, parent, depth, err);
		else if (!end && (r = read_value(y, &ev, depth, &item, err)) == 0)
			append(parent, item);
		yaml_event_delete(&ev);
		if (end || r != 0)
			break;
	}
	return r;
}

static int read_value(struct yaml_docs *y, const yaml_event_t *ev, unsigned depth, struct node **ret,
		      struct err *err)
{
	CLEANUP(node_free) struct node *n = NULL;
	int r = check_event(y, ev, err);
	if (r == 0 && depth == YAML_DEPTH_MAX)
		r = refuse(y, ev, -EFBIG, "is nested too deeply", err);
	if (r == 0)
		r = make_node(y, ev, &n, err);
	if (r == 0 && n && n->kind != NODE_SCALAR)
		r = read_children(y, n, depth + 1, err);
	if (r == 0)
		*ret = TAKE(n);
	return r;
}

int yaml_docs_next(struct yaml_docs *y, struct node **ret, struct err *err)
{
	yaml_event_t ev;
	int r;

	while ((r = event_next(y, &ev, err)) == 0) {
		yaml_event_type_t type = ev.type;
		bool value = type == YAML_SCALAR_EVENT || type == YAML_MAPPING_START_EVENT ||
			     type == YAML_SEQUENCE_START_EVENT || type == YAML_ALIAS_EVENT;
		if (value)
			r = read_value(y, &ev, 0, ret, err);
		yaml_event_delete(&ev);
		if (value || r != 0)
			return r == 0 ? 1 : r;
		if (type == YAML_STREAM_END_EVENT || type == YAML_NO_EVENT)
			return 0;
	}
	return r;
}
