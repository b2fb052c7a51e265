#include "cli/node_client.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "cli/instance.h"
#include "common/base/fd.h"

int node_connect(const char *instance, char ret_name[NAME_LABEL_MAX + 1], struct rpc_client **ret,
		 struct err *err)
{
	char socket[INSTANCE_PATH_MAX], address[INSTANCE_PATH_MAX + 8];
	CLEANUP(fd_close) int root = instance_root_open();

	int r = instance_choose(root, instance, ret_name, err);
	if (r)
		return r;
	enum instance_state state = instance_look(root, ret_name);
	if (state == INSTANCE_ABSENT)
		return err_set(err, -ENOENT,
			       "instance %s is not running; start it: larder up -f dataset.yaml --mount DIR",
			       ret_name);
	instance_path(ret_name, "node/node.sock", socket);
	if (access(socket, R_OK | W_OK) < 0)
		return errno == EACCES
			       ? err_set(err, -EACCES, "instance %s belongs to root; run this with sudo",
					 ret_name)
			       : err_set(err, -errno,
					 state == INSTANCE_LEFT
						 ? "instance %s was left behind by a larder up that was killed; clean up: "
						   "larder down %s"
						 : "instance %s is starting or stopping",
					 ret_name, ret_name);
	(void)snprintf(address, sizeof address, "unix:%s", socket);
	return rpc_client_new(address, ret, err);
}

int node_status(struct rpc_client *c, const struct dataset_ref *only, struct node_status_more more,
		int64_t timeout_ns, Larder__V1__StatusReply **ret, struct err *err)
{
	Larder__V1__StatusRequest q;
	Larder__V1__DatasetName name;
	struct dataset_ref copy;
	ProtobufCMessage *reply;

	larder__v1__status_request__init(&q);
	q.objects = more.objects;
	q.conflicts = more.conflicts;
	larder__v1__dataset_name__init(&name);
	if (only) {
		copy = *only;
		name.namespace_ = copy.namespace_;
		name.name = copy.name;
		q.dataset = &name;
	}
	int r = rpc_unary(c, "/larder.v1.Node/Status", &q.base, &larder__v1__status_reply__descriptor,
			  timeout_ns, false, &reply, err);
	if (!r)
		*ret = (Larder__V1__StatusReply *)(void *)reply;
	return r;
}

int node_ping(struct rpc_client *c, int64_t timeout_ns, struct err *err)
{
	Larder__V1__Empty q;
	ProtobufCMessage *reply;

	larder__v1__empty__init(&q);
	int r = rpc_unary(c, "/larder.v1.Node/Incarnation", &q.base,
			  &larder__v1__incarnation_reply__descriptor, timeout_ns, true, &reply, err);
	if (!r)
		protobuf_c_message_free_unpacked(reply, NULL);
	return r;
}

int node_publish(struct rpc_client *c, const char *dataset, const char *target, struct node_published *ret,
		 struct err *err)
{
	Larder__V1__PublishRequest q;
	Larder__V1__DatasetName name;
	struct dataset_ref ref;
	char path[PATH_MAX];
	ProtobufCMessage *reply;

	larder__v1__publish_request__init(&q);
	larder__v1__dataset_name__init(&name);
	int r = dataset_ref_parse_name(dataset, &ref, err);
	if (r)
		return r;
	(void)snprintf(path, sizeof path, "%s", target);
	name.namespace_ = ref.namespace_;
	name.name = ref.name;
	q.dataset = &name;
	q.target = path;
	r = rpc_unary(c, "/larder.v1.Node/Publish", &q.base, &larder__v1__publish_reply__descriptor,
		      NODE_CALL_NS, false, &reply, err);
	if (r)
		return r;
	const Larder__V1__PublishReply *p = (const void *)reply;
	*ret = (struct node_published){.version = p->version, .files = p->files, .bytes = p->bytes};
	protobuf_c_message_free_unpacked(reply, NULL);
	return 0;
}

int node_unpublish(struct rpc_client *c, const char *target, bool lazy, struct err *err)
{
	Larder__V1__UnpublishRequest q;
	char path[PATH_MAX];
	ProtobufCMessage *reply;

	larder__v1__unpublish_request__init(&q);
	(void)snprintf(path, sizeof path, "%s", target);
	q.target = path;
	q.lazy = lazy;
	int r = rpc_unary(c, "/larder.v1.Node/Unpublish", &q.base, &larder__v1__empty__descriptor,
			  NODE_UNMOUNT_NS, true, &reply, err);
	if (!r)
		protobuf_c_message_free_unpacked(reply, NULL);
	return r;
}
