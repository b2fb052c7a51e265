/*
 * prepare -> read datasets -> start programs -> mount -> (daemon: let the first process go) -> supervise -> unmount ->
 * stop -> clean. Whatever step fails, the same undoing runs: each part of it looks at what there is.
 */
#include "cli/up.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/commands.h"
#include "common/base/clock.h"
#include "common/base/fd.h"
#include "common/base/log.h"
#include "common/base/mem.h"

static int open_signals(struct up *u, struct err *err)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGHUP);
	(void)sigaddset(&set, SIGUSR1);
	(void)sigaddset(&set, SIGCHLD);
	(void)signal(SIGPIPE, SIG_IGN);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return err_set(err, -errno, "blocking signals: %s", err_text(-errno));
	u->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return u->signal_fd < 0 ? err_set(err, -errno, "signalfd: %s", err_text(-errno)) : 0;
}

static int set_programs(struct up *u, struct err *err)
{
	static const struct {
		const char *name, *pid_file;
	} programs[UP_CHILDREN] = {[UP_MOUNTER] = {"larder-mounter", "mounter.pid"},
				   [UP_NODE] = {"larder-node", "node.pid"},
				   [UP_OPERATOR] = {"larder-operator", "operator.pid"}};
	char folder[PATH_MAX];
	int r = libexec_folder(folder, err);

	for (size_t i = 0; !r && i < UP_CHILDREN; i++) {
		struct child *c = &u->children[i];
		*c = (struct child){
			.name = programs[i].name, .pid_file = programs[i].pid_file, .error_fd = -1};
		if (snprintf(c->program, sizeof c->program, "%s/%s", folder, c->name) >=
		    (int)sizeof c->program)
			return err_set(err, -ENAMETOOLONG, "the path of this program is too long");
		child_arg(c, "%s", c->program);
	}
	return r;
}

static int begin(struct up *u, struct err *err)
{
	(void)snprintf(u->record.mount, sizeof u->record.mount, "%s", u->o->mount);
	(void)snprintf(u->record.state, sizeof u->record.state, "%s", u->o->state);
	u->record.started_ns = clock_wall_ns();
	u->line = progress_line_on(stderr);
	u->starting = true;
	u->proc_fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (u->proc_fd < 0)
		return err_set(err, -errno, "/proc: %s", err_text(-errno));
	int r = open_signals(u, err);
	if (!r)
		r = set_programs(u, err);
	if (!r)
		r = up_prepare(u, err);
	if (!r)
		r = up_read_datasets(u, err);
	if (r)
		return r;
	u->published = mem_calloc(u->record.target_count, sizeof *u->published);
	r = u->published ? record_write(&u->record, u->run_fd) : -ENOMEM;
	if (r)
		return err_set(err, r, "writing %s/instance.json: %s", u->run, err_text(r));
	rpc_init();
	r = up_start(u, err);
	return r ? r : up_mount_all(u, err);
}

static void undo(struct up *u, bool lazy)
{
	up_unmount_all(u, lazy);
	up_stop(u);
	if (u->node) {
		u->node = rpc_client_free(u->node);
		rpc_done();
	}
	for (size_t i = 0; i < u->record.target_count; i++)
		if (unmount_here(u->proc_fd, u->record.targets[i].target,
				 true)) /* of a node that died early */
			(void)fprintf(stderr, "larder: %s stays mounted\n", u->record.targets[i].target);
	up_clean(u);
}

static void done(struct up *u)
{
	for (size_t i = 0; i < UP_CHILDREN; i++)
		child_done(&u->children[i]);
	record_done(&u->record);
	(void)mem_free(u->published);
	const int fds[] = {u->lock_fd, u->run_fd, u->root_fd, u->proc_fd, u->signal_fd, u->log_fd};
	for (size_t i = 0; i < LENGTH(fds); i++)
		(void)fd_close(fds[i]);
}

/* From here on nobody looks at our terminal. */
static void leave_terminal(const struct up *u, int ready_fd)
{
	CLEANUP(fd_close) int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)setsid();
	if (chdir("/") < 0 || null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
	    dup2(u->log_fd, STDERR_FILENO) < 0)
		log_write(LOG_WARN, "the terminal stays open", LOG_STR("error", err_text(-errno)), NULL);
	(void)!write(ready_fd, "", 1); /* a parent that was killed needs no word */
}

static void supervise(struct up *u, int ready_fd)
{
	u->starting = false;
	if (ready_fd >= 0) {
		(void)printf("ready; larder down%s%s unmounts\n",
			     strcmp(u->o->name, INSTANCE_DEFAULT) != 0 ? " " : "",
			     strcmp(u->o->name, INSTANCE_DEFAULT) != 0 ? u->o->name : "");
		(void)fflush(stdout);
		leave_terminal(u, ready_fd);
	} else {
		(void)puts("ready; Ctrl-C unmounts");
		(void)fflush(stdout);
	}
	while (!u->stops)
		(void)!up_turn(u, -1, NULL); /* while not starting it has nothing to say but by u->stops */
}

static int run(struct up_options *o, int ready_fd)
{
	struct up u = {.o = o,
		       .root_fd = -1,
		       .run_fd = -1,
		       .lock_fd = -1,
		       .proc_fd = -1,
		       .signal_fd = -1,
		       .log_fd = -1};
	struct err err = {0};

	log_setup("larder", LOG_INFO, o->json_log);
	instance_path(o->name, NULL, u.run);
	int r = begin(&u, &err);
	if (r) {
		progress_line_clear(&u.line);
		if (err.text[0])
			(void)command_fail(EXIT_FAILED, &err, r);
	} else {
		supervise(&u, ready_fd);
	}
	undo(&u, r || u.stops > 1);
	done(&u);
	return r ? EXIT_FAILED : EXIT_GOOD;
}

/* The parent ends when all is mounted or nothing is. Until then the daemon stays in our process group: Ctrl-C reaches it. */
static int run_daemon(struct up_options *o)
{
	int fds[2];
	char byte;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return command_fail(EXIT_FAILED, NULL, -errno);
	pid_t pid = fork();
	if (pid < 0)
		return command_fail(EXIT_FAILED, NULL, -errno);
	if (pid == 0) {
		(void)fd_close(fds[0]);
		int status = run(o, fds[1]);
		(void)mem_free(o);
		exit(status);
	}
	(void)fd_close(fds[1]);
	(void)signal(SIGINT, SIG_IGN); /* the daemon undoes what it began and says so; we wait for that */
	ssize_t n;
	do
		n = read(fds[0], &byte, 1);
	while (n < 0 && errno == EINTR);
	(void)fd_close(fds[0]);
	return n == 1 ? EXIT_GOOD : EXIT_FAILED;
}

int up_command(const struct command *self, int argc, char **argv)
{
	struct up_options *o;
	struct err err = {0};

	int r = up_options_parse(argc, argv, &o, &err);
	if (r)
		return command_fail(r == -ENOMEM ? EXIT_FAILED : EXIT_USAGE, &err, r);
	int status = EXIT_GOOD;
	if (o->help) {
		command_help(self);
	} else if (geteuid() != 0) {
		(void)fputs("larder up must be root: it mounts (run it with sudo)\n", stderr);
		status = EXIT_FAILED;
	} else {
		status = o->daemon ? run_daemon(o) : run(o, -1);
	}
	(void)mem_free(o);
	return status;
}
