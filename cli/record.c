#include "cli/record.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/fd.h"
#include "common/base/mem.h"

#define RECORD_BYTES_MAX (4u << 20)

int record_add(struct record *r, const char *dataset, const char *target, bool made)
{
	if (r->target_count == RECORD_TARGETS_MAX)
		return -ENOSPC;
	if (strlen(dataset) >= RECORD_DATASET_MAX || strlen(target) >= PATH_MAX)
		return -ENAMETOOLONG;
	struct record_target *more = mem_resize(r->targets, r->target_count + 1, sizeof *more);
	if (!more)
		return -ENOMEM;
	r->targets = more;
	struct record_target *t = &more[r->target_count++];
	*t = (struct record_target){.made = made};
	(void)snprintf(t->dataset, sizeof t->dataset, "%s", dataset);
	(void)snprintf(t->target, sizeof t->target, "%s", target);
	return 0;
}

static const char *short_name(const char *full)
{
	const char *slash = strchr(full, '/');
	return slash ? slash + 1 : full;
}

static bool name_is_shared(char (*names)[RECORD_DATASET_MAX], size_t count, size_t which)
{
	for (size_t i = 0; i < count; i++)
		if (i != which && strcmp(short_name(names[i]), short_name(names[which])) == 0)
			return true;
	return false;
}

int record_plan(struct record *r, char (*names)[RECORD_DATASET_MAX], size_t count, struct err *err)
{
	char target[PATH_MAX + RECORD_DATASET_MAX];

	for (size_t i = 0; i < count; i++) {
		const char *below = name_is_shared(names, count, i) ? names[i] : short_name(names[i]);
		(void)snprintf(target, sizeof target, "%s%s%s", r->mount, count > 1 ? "/" : "",
			       count > 1 ? below : "");
		int added = record_add(r, names[i], target, count > 1);
		if (added == -ENOSPC)
			return err_set(err, added, "%d Datasets are the limit of one larder up",
				       RECORD_TARGETS_MAX);
		if (added)
			return err_set(err, added, "mount point of %s: %s", names[i], err_text(added));
	}
	return 0;
}

static bool add_targets(cJSON *root, const struct record *r)
{
	cJSON *list = cJSON_AddArrayToObject(root, "targets");

	for (size_t i = 0; list && i < r->target_count; i++) {
		cJSON *t = cJSON_CreateObject();
		if (!t || !cJSON_AddItemToArray(list, t)) {
			cJSON_Delete(t);
			return false;
		}
		if (!cJSON_AddStringToObject(t, "dataset", r->targets[i].dataset) ||
		    !cJSON_AddStringToObject(t, "target", r->targets[i].target) ||
		    !cJSON_AddBoolToObject(t, "made", r->targets[i].made))
			return false;
	}
	return list;
}

int record_write(const struct record *r, int dir_fd)
{
	cJSON *root = cJSON_CreateObject();
	int64_t started_s = r->started_ns / 1000000000;
	bool good = root && cJSON_AddStringToObject(root, "version", LARDER_VERSION) &&
		    cJSON_AddStringToObject(root, "mount", r->mount) &&
		    cJSON_AddStringToObject(root, "state", r->state) &&
		    cJSON_AddNumberToObject(root, "started", (double)started_s) && add_targets(root, r);
	char *text = good ? cJSON_Print(root) : NULL;
	int e = text ? fd_write_file(dir_fd, "instance.json", text, strlen(text), 0644) : -ENOMEM;

	cJSON_free(text);
	cJSON_Delete(root);
	return e;
}

static bool get_text(const cJSON *object, const char *key, char *out, size_t size)
{
	const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key));

	if (!text || strlen(text) >= size)
		return false;
	(void)snprintf(out, size, "%s", text);
	return true;
}

static int read_targets(const cJSON *root, struct record *r)
{
	const cJSON *list = cJSON_GetObjectItemCaseSensitive(root, "targets"), *item;
	char dataset[RECORD_DATASET_MAX], target[PATH_MAX];

	if (!cJSON_IsArray(list))
		return -EINVAL;
	cJSON_ArrayForEach(item, list)
	{
		if (!get_text(item, "dataset", dataset, sizeof dataset) ||
		    !get_text(item, "target", target, sizeof target) || target[0] != '/')
			return -EINVAL;
		int e = record_add(r, dataset, target,
				   cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(item, "made")));
		if (e)
			return e;
	}
	return 0;
}

int record_read(int dir_fd, struct record *ret)
{
	struct record r = {.targets = NULL};
	char *text;
	size_t len;
	int e = fd_read_file(dir_fd, "instance.json", RECORD_BYTES_MAX, &text, &len);

	if (e)
		return e;
	cJSON *root = cJSON_Parse(text);
	const cJSON *started = cJSON_GetObjectItemCaseSensitive(root, "started");
	(void)mem_free(text);
	e = get_text(root, "mount", r.mount, sizeof r.mount) &&
			    get_text(root, "state", r.state, sizeof r.state) && cJSON_IsNumber(started) &&
			    started->valuedouble >= 0 && started->valuedouble < 9e9
		    ? read_targets(root, &r)
		    : -EINVAL;
	if (e) {
		record_done(&r);
	} else {
		r.started_ns = (int64_t)started->valuedouble * 1000000000;
		*ret = r;
	}
	cJSON_Delete(root);
	return e;
}

void record_done(struct record *r)
{
	r->targets = mem_free(r->targets);
	r->target_count = 0;
}
