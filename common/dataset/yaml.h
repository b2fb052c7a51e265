/*
 * yaml - documents as trees of nodes that know where they stood. Limits: bytes, depth, nodes; anchors, aliases and tags
 * are refused, so that a small file stays small. (The prefix is not "yaml_": libyaml exports its own yaml_free.)
 */
#ifndef COMMON_DATASET_YAML_H
#define COMMON_DATASET_YAML_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/attr.h"
#include "common/base/err.h"

#define YAML_DEPTH_MAX 16
#define YAML_NODES_MAX 100000

enum node_kind { NODE_SCALAR, NODE_MAP, NODE_LIST };

struct node {
	enum node_kind kind;
	char *key;           /* of a member of a map, else NULL */
	char *text;          /* SCALAR */
	bool plain;          /* SCALAR: written without quotes */
	size_t line, column; /* from 1; of the key where there is one, else of the value */
	size_t value_line, value_column;
	struct node *first, *last, *next; /* members or items; the next one beside */
};

struct yaml_docs;

/* Starts reading; @file and @text are borrowed until yaml_docs_free(). 0, -EFBIG, -ENOMEM. */
MUST_CHECK int yaml_docs_new(const char *file, const char *text, size_t len, struct yaml_docs **ret,
			     struct err *err);
struct yaml_docs *yaml_docs_free(struct yaml_docs *y);
DEFINE_CLEANUP(struct yaml_docs *, yaml_docs_free)

/* The next document's node, owned by the caller. 1, 0 at the end, -EINVAL or -EFBIG with words, -ENOMEM. */
MUST_CHECK int yaml_docs_next(struct yaml_docs *y, struct node **ret, struct err *err);
struct node *node_free(struct node *n); /* with all below it, wiped: it may have held secrets */
DEFINE_CLEANUP(struct node *, node_free)

/* Whether the scalar is plain and empty, "~" or "null". */
bool node_is_null(const struct node *n);

#endif
