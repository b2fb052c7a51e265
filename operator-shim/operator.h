/*
 * operator - the loop of larder-operator: watches a folder, keeps a node told, ends on SIGTERM or SIGINT.
 */
#ifndef OPERATOR_SHIM_OPERATOR_H
#define OPERATOR_SHIM_OPERATOR_H

#include "common/base/attr.h"
#include "common/base/err.h"

/* SIGTERM and SIGINT are blocked and rpc_init() was called. 0 after a signal, -errno with words. */
MUST_CHECK int operator_run(const char *dir, const char *node_address, struct err *err);

#endif
