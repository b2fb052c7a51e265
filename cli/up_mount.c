#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/human.h"
#include "cli/node_client.h"
#include "cli/proc.h"
#include "cli/up.h"
#include "common/base/log.h"
#include "common/base/quantity.h"

#define TOLD_NS (30 * NS_PER_S) /* the operator tells a node within a second; its own retries take some */
#define POLL_MS 50
#define BUSY_MS 1000 /* between two attempts to unmount */

/* ---- unmounting ---- */

int unmount_here(int proc_fd, const char *target, bool lazy)
{
	struct mount_entry m;
	int r = mount_at(proc_fd, target, &m);

	if (r)
		return r == -ENOENT ? 0 : r;
	if (!mount_is_larder(&m))
		return 0;
	return umount2(target, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) < 0 ? -errno : 0;
}

size_t tell_holders(int proc_fd, const char *target)
{
	struct mount_entry m;
	struct holder holders[HOLDERS_MAX];
	size_t count = mount_at(proc_fd, target, &m) ? 0 : proc_holders(proc_fd, &m, holders);

	for (size_t i = 0; i < count; i++) {
		(void)fprintf(stderr, "larder: %s is in use by pid %d (%s): ", target, holders[i].pid,
			      holders[i].name);
		term_text(stderr, holders[i].how, strlen(holders[i].how));
		(void)fputc('\n', stderr);
	}
	return count;
}

/* By the node, so that it lets go in order; by ourselves where no node answers. */
static int unmount_one(struct up *u, const char *target, bool lazy)
{
	struct mount_entry m;
	struct err err = {0};

	if (u->node && u->children[UP_NODE].pid > 0) {
		int r = node_unpublish(u->node, target, lazy, &err);
		if (r == 0)
			return 0;
	}
	/* Whatever the answer was: the table of mounts knows. */
	if (mount_at(u->proc_fd, target, &m) || !mount_is_larder(&m))
		return 0;
	return unmount_here(u->proc_fd, target, lazy);
}

static void remove_made(const struct up *u, const struct record_target *t)
{
	char parent[PATH_MAX];

	if (!t->made || rmdir(t->target) < 0)
		return;
	(void)snprintf(parent, sizeof parent, "%s", t->target);
	*strrchr(parent, '/') = 0;
	if (strcmp(parent, u->record.mount) != 0)
		(void)rmdir(parent); /* of a namespace: goes with its last dataset */
}

static void unmount_patiently(struct up *u, const char *target, bool lazy)
{
	int asked = u->stops;
	bool told = false;

	while (unmount_one(u, target, lazy || u->stops > MAX(asked, 1)) == -EBUSY) {
		if (!told) {
			if (!tell_holders(u->proc_fd, target))
				(void)fprintf(stderr, "larder: %s is in use\n", target);
			(void)fprintf(
				stderr,
				"larder: waiting for that to end; Ctrl-C again detaches %s although it is in use\n",
				target);
		}
		told = true;
		(void)!up_turn(u, BUSY_MS, NULL); /* all it can say here is that we are to stop */
	}
}

void up_unmount_all(struct up *u, bool lazy)
{
	u->starting = false; /* the node may be restarted while we wait for a busy mount */
	for (size_t i = u->record.target_count; i-- > 0;) {
		struct record_target *t = &u->record.targets[i];
		if (u->published && u->published[i])
			unmount_patiently(u, t->target, lazy);
		if (u->published)
			remove_made(u, t);
	}
}

/* ---- mounting ---- */

static int make_target(const struct up *u, const struct record_target *t, struct err *err)
{
	char parent[PATH_MAX];

	if (!t->made)
		return 0;
	(void)snprintf(parent, sizeof parent, "%s", t->target);
	*strrchr(parent, '/') = 0;
	if (strcmp(parent, u->record.mount) != 0 && mkdir(parent, 0755) < 0 && errno != EEXIST)
		return err_set(err, -errno, "making %s: %s", parent, err_text(-errno));
	if (mkdir(t->target, 0755) < 0 && errno != EEXIST)
		return err_set(err, -errno, "making %s: %s", t->target, err_text(-errno));
	return 0;
}

static const Larder__V1__DatasetStatus *find_status(const Larder__V1__StatusReply *s, const char *name)
{
	char full[RECORD_DATASET_MAX + 4];

	for (size_t i = 0; i < s->n_datasets; i++) {
		(void)snprintf(full, sizeof full, "%.63s/%.63s", s->datasets[i]->namespace_,
			       s->datasets[i]->name);
		if (strcmp(full, name) == 0)
			return s->datasets[i];
	}
	return NULL;
}

/* 1: has a version; 0: not yet; -EIO with words: its source was asked and said no. */
static int judge(struct up *u, const char *name, const Larder__V1__DatasetStatus *d, struct err *err)
{
	char line[256], count[HUMAN_COUNT_MAX];

	if (d && d->version)
		return 1;
	if (d && d->phase == LARDER__V1__DATASET_STATUS__PHASE__FAILED)
		return strstr(d->message, name) ? err_set(err, -EIO, "%s", d->message) /* it names itself */
						: err_set(err, -EIO, "%s: %s", name, d->message);
	(void)snprintf(line, sizeof line, "listing %s: %s objects", name,
		       human_count(d ? d->sync_objects : 0, count));
	if (d)
		progress_line_show(&u->line, line, clock_mono_ns());
	return 0;
}

static int wait_version(struct up *u, const char *name, struct err *err)
{
	int64_t deadline = clock_mono_ns() + TOLD_NS;

	for (;;) {
		Larder__V1__StatusReply *status;
		int r = up_turn(u, POLL_MS, err);
		if (r)
			return r;
		r = node_status(u->node, NULL, (struct node_status_more){.objects = false}, NODE_CALL_NS,
				&status, err);
		if (r)
			return err_wrap(err, r, "asking larder-node for its status");
		const Larder__V1__DatasetStatus *d = find_status(status, name);
		r = judge(u, name, d, err);
		bool late = !d && clock_mono_ns() > deadline;
		larder__v1__status_reply__free_unpacked(status, NULL);
		if (r)
			return r < 0 ? r : 0;
		if (late)
			return err_set(err, -ETIMEDOUT,
				       "larder-operator could not tell larder-node of %s within %d s", name,
				       (int)(TOLD_NS / NS_PER_S));
	}
}

static int mount_one(struct up *u, size_t i, struct err *err)
{
	const struct record_target *t = &u->record.targets[i];
	struct node_published p;
	char files[HUMAN_COUNT_MAX], bytes[16];

	int r = wait_version(u, t->dataset, err);
	if (!r)
		r = make_target(u, t, err);
	progress_line_clear(&u->line);
	if (r)
		return r;
	u->published[i] = true; /* also when the answer gets lost */
	r = node_publish(u->node, t->dataset, t->target, &p, err);
	if (r)
		return err_wrap(err, r, "mounting %s at %s", t->dataset, t->target);
	bytes_format(p.bytes, bytes);
	(void)printf("%s: version %llu, %s files, %s at %s\n", t->dataset, (unsigned long long)p.version,
		     human_count(p.files, files), bytes, t->target);
	(void)fflush(stdout);
	return 0;
}

int up_mount_all(struct up *u, struct err *err)
{
	int r = 0;

	for (size_t i = 0; !r && i < u->record.target_count; i++)
		r = mount_one(u, i, err);
	progress_line_clear(&u->line);
	return r;
}
