/*
 * larder-node - the cache of one node: a supervisor that holds the mounts, and a worker that serves them.
 */
#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cache-node/node_config.h"
#include "cache-node/supervisor/supervisor.h"
#include "cache-node/worker.h"

/* Nothing here needs a privilege: what does is the mounter's. */
static int drop_privileges(const struct node_config *c)
{
	if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setresgid(c->gid, c->gid, c->gid) < 0 ||
			       setresuid(c->uid, c->uid, c->uid) < 0))
		return -errno;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

static void raise_limits(void)
{
	struct rlimit files, no_core = {0, 0};

	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files); /* fewer files fit without it, no harm else */
	}
	(void)setrlimit(RLIMIT_CORE, &no_core); /* credentials must not land on a disk */
}

int main(int argc, char **argv)
{
	struct node_config config;

	int r = node_config_parse(argc, argv, &config);
	if (r)
		return r == 1 ? 0 : 2;
	log_setup("larder-node", config.level, config.json);
	raise_limits();
	r = drop_privileges(&config);
	if (r) {
		(void)fprintf(stderr, "larder-node: cannot become uid %u: %s\n", config.uid,
			      strerrordesc_np(-r));
		return 1;
	}
	return supervisor_run(&config, worker_main);
}
