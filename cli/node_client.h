/*
 * node_client - a connection of the CLI to the node of an instance.
 */
#ifndef CLI_NODE_CLIENT_H
#define CLI_NODE_CLIENT_H

#include "api/larder/v1/node.pb-c.h"
#include "cli/names.h"
#include "common/base/clock.h"
#include "common/rpc.h"

#define NODE_CALL_NS    (30 * NS_PER_S)
#define NODE_UNMOUNT_NS (5 * NS_PER_S) /* also waits for a worker that is just being restarted */

/* Connects to the instance chosen by @instance (NULL: see instance_choose()). rpc_init() was called. 0 with *ret owned by the
 * caller (rpc_client_free()) and its name in @ret_name; -ENOENT, -EACCES, -EINVAL with words. */
MUST_CHECK int node_connect(const char *instance, char ret_name[NAME_LABEL_MAX + 1], struct rpc_client **ret,
			    struct err *err);

struct node_status_more {
	bool objects;   /* what left the tiers, and what would go next */
	bool conflicts; /* the first names that are not shown as their store has them */
};

/* 0 with *ret owned by the caller (larder__v1__status_reply__free_unpacked()). @only: NULL, or the dataset
 * wanted. @more: what is not told unless asked for. */
MUST_CHECK int node_status(struct rpc_client *c, const struct dataset_ref *only, struct node_status_more more,
			   int64_t timeout_ns, Larder__V1__StatusReply **ret, struct err *err);

/* Whether the node answers within @timeout_ns. 0 or the error. */
MUST_CHECK int node_ping(struct rpc_client *c, int64_t timeout_ns, struct err *err);

struct node_published {
	uint64_t version, files, bytes;
};

/* @dataset: "namespace/name". */
MUST_CHECK int node_publish(struct rpc_client *c, const char *dataset, const char *target,
			    struct node_published *ret, struct err *err);
MUST_CHECK int node_unpublish(struct rpc_client *c, const char *target, bool lazy, struct err *err);

#endif
