/*
 * larder down - asks the running `larder up` to end; where that was killed, does its work.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/proc.h"
#include "cli/up.h"
#include "common/base/clock.h"
#include "common/base/fd.h"

#define STOP_WAIT_MS 60000
#define CHILD_MS     10000

struct down {
	char name[NAME_LABEL_MAX + 1];
	char run[INSTANCE_PATH_MAX];
	int root_fd, run_fd, proc_fd;
	struct record record;
	bool force;
};

/* Opens @pid of that file if it still runs @program for this instance; -1 where not. The descriptor is taken before the look:
 * a pid recycled in between cannot be hit. */
static int open_process(const struct down *d, const char *file, const char *program, const char *argument)
{
	pid_t pid;

	if (instance_pid_read(d->run_fd, file, &pid))
		return -1;
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (fd >= 0 && proc_is(d->proc_fd, pid, program, argument))
		return fd;
	return fd_close(fd);
}

static size_t tell_all_holders(const struct down *d)
{
	size_t count = 0;

	for (size_t i = 0; i < d->record.target_count; i++)
		count += tell_holders(d->proc_fd, d->record.targets[i].target);
	return count;
}

/* ---- up runs ---- */

static int stop_running(const struct down *d, struct err *err)
{
	char lock[INSTANCE_PATH_MAX];
	pid_t pid = 0;

	if (!d->force && tell_all_holders(d))
		return err_set(err, -EBUSY, "%s is in use; end these programs, or: larder down %s --force",
			       d->record.mount, d->name);
	instance_path(d->name, "lock", lock);
	CLEANUP(fd_close) int fd = open_process(d, "up.pid", "larder", NULL);
	if (fd < 0 || instance_pid_read(d->run_fd, "up.pid", &pid) || !proc_has_open(d->proc_fd, pid, lock))
		return err_set(err, -ESRCH, "instance %s is locked, but not by the process in %s/up.pid",
			       d->name, d->run);
	if (syscall(SYS_pidfd_send_signal, fd, d->force ? SIGUSR1 : SIGTERM, NULL, 0) < 0)
		return err_set(err, -errno, "signalling larder up (pid %d): %s", pid, err_text(-errno));
	struct pollfd p = {.fd = fd, .events = POLLIN};
	if (poll(&p, 1, STOP_WAIT_MS) > 0)
		return 0;
	(void)tell_all_holders(d);
	return err_set(err, -ETIMEDOUT,
		       "instance %s is still stopping after %d s; larder down %s --force detaches its mounts",
		       d->name, STOP_WAIT_MS / 1000, d->name);
}

/* ---- up was killed ---- */

static void remove_folders(const struct down *d)
{
	char parent[PATH_MAX];

	for (size_t i = d->record.target_count; i-- > 0;) {
		const struct record_target *t = &d->record.targets[i];
		if (!t->made || rmdir(t->target) < 0)
			continue;
		(void)snprintf(parent, sizeof parent, "%s", t->target);
		*strrchr(parent, '/') = 0;
		if (strcmp(parent, d->record.mount) != 0)
			(void)rmdir(parent);
	}
}

static int clean_up(const struct down *d, struct err *err)
{
	static const struct {
		const char *file, *program;
	} programs[] = {{"operator.pid", "larder-operator"},
			{"node.pid", "larder-node"},
			{"mounter.pid", "larder-mounter"}};
	char dram[INSTANCE_PATH_MAX], argument[INSTANCE_PATH_MAX + 2];
	struct mount_entry m;
	int r = 0;

	(void)fprintf(stderr, "larder: the larder up of instance %s was killed; cleaning up after it\n",
		      d->name);
	for (size_t i = 0; !r && i < d->record.target_count; i++)
		r = unmount_here(d->proc_fd, d->record.targets[i].target, true);
	if (r)
		return err_set(err, r, "unmounting: %s", err_text(r));
	(void)snprintf(argument, sizeof argument, "%s/", d->run);
	for (size_t i = 0; i < LENGTH(programs); i++) {
		int fd = open_process(d, programs[i].file, programs[i].program, argument);
		r = fd < 0 ? 0 : process_stop(fd, CHILD_MS);
		if (r)
			return err_set(err, r, "%s does not end: %s", programs[i].program, err_text(r));
	}
	remove_folders(d);
	instance_path(d->name, "dram", dram);
	if (mount_at(d->proc_fd, dram, &m) == 0 && umount2(dram, UMOUNT_NOFOLLOW | MNT_DETACH) < 0)
		return err_set(err, -errno, "unmounting %s: %s", dram, err_text(-errno));
	r = instance_remove_tree(d->root_fd, d->name);
	return r ? err_set(err, r, "removing %s: %s", d->run, err_text(r)) : 0;
}

static int run(struct down *d, const char *wanted, struct err *err)
{
	int r = instance_choose(d->root_fd, wanted, d->name, err);

	if (r)
		return r;
	instance_path(d->name, NULL, d->run);
	enum instance_state state = instance_look(d->root_fd, d->name);
	if (state == INSTANCE_ABSENT)
		return err_set(err, -ENOENT, "instance %s is not running", d->name);
	d->proc_fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d->run_fd = openat(d->root_fd, d->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (d->proc_fd < 0 || d->run_fd < 0)
		return err_set(err, -errno, "%s: %s", d->run, err_text(-errno));
	r = record_read(d->run_fd, &d->record);
	if (r && r != -ENOENT) /* it may have been killed before it wrote one: then nothing is mounted */
		return err_set(err, r, "%s/instance.json: %s", d->run, err_text(r));
	return state == INSTANCE_RUNNING ? stop_running(d, err) : clean_up(d, err);
}

int down_command(const struct command *self, int argc, char **argv)
{
	struct down d = {.run_fd = -1, .proc_fd = -1};
	struct common_options o;
	struct err err = {0};

	int status = common_options_read(self, argc, argv, 0, 1, &o);
	if (status >= 0)
		return status;
	if (geteuid() != 0) {
		(void)fputs("larder down must be root: it unmounts (run it with sudo)\n", stderr);
		return EXIT_FAILED;
	}
	d.force = o.force;
	d.root_fd = instance_root_open();
	int r = run(&d, o.operand ? o.operand : o.instance, &err);
	record_done(&d.record);
	(void)fd_close(d.run_fd);
	(void)fd_close(d.proc_fd);
	(void)fd_close(d.root_fd);
	return r ? command_fail(r == -EINVAL ? EXIT_USAGE : EXIT_FAILED, &err, r) : EXIT_GOOD;
}
