/*
 * larder-sim --seed S [--profile P] [--steps N] [--seeds K | --seconds T] - simulates groups of masters, one seed after the
 * other, until K seeds or T seconds are over. The first failure ends it, with the line that repeats it.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/mem.h"
#include "metadata/sim/sim.h"

struct options {
	uint64_t seed, steps, seeds, seconds, trace_from;
	const char *profile;
};

/* For the handler: an assertion of the core ends the process. */
static char repeat[256];
static const struct sim *running;

static void on_abort(int sig)
{
	char text[32] = "step ";
	size_t len = 24;

	(void)sig;
	text[len - 1] = '\n';
	for (uint64_t n = running->steps, at = len - 1; at-- > 5; n /= 10)
		text[at] = (char)('0' + n % 10);
	ssize_t done = write(STDOUT_FILENO, text, len);
	done += write(STDOUT_FILENO, repeat, strlen(repeat));
	_exit(done < 0 ? 2 : 1);
}

static int parse(int argc, char **argv, struct options *o)
{
	for (int i = 1; i + 1 < argc; i += 2) {
		uint64_t *number = strcmp(argv[i], "--seed") == 0         ? &o->seed
				   : strcmp(argv[i], "--steps") == 0      ? &o->steps
				   : strcmp(argv[i], "--seeds") == 0      ? &o->seeds
				   : strcmp(argv[i], "--seconds") == 0    ? &o->seconds
				   : strcmp(argv[i], "--trace-from") == 0 ? &o->trace_from
									  : NULL;
		char *end = NULL;
		if (number)
			*number = strtoull(argv[i + 1], &end, 10);
		else if (strcmp(argv[i], "--profile") == 0)
			o->profile = argv[i + 1];
		else
			return -1;
		if (number && (*end || end == argv[i + 1]))
			return -1;
	}
	return argc % 2 == 1 && profile_find(o->profile) ? 0 : -1;
}

/* One seed. True: all is well. */
static bool run_one(struct sim *s, const char *program, const struct options *o, uint64_t seed)
{
	(void)snprintf(repeat, sizeof repeat,
		       "FAILED  repeat: %s --seed %" PRIu64 " --profile %s --steps %" PRIu64 "\n", program,
		       seed, o->profile, o->steps);
	sim_run(s, seed, profile_find(o->profile), o->steps, o->trace_from);
	if (sim_failed(s)) {
		(void)printf("%s\n%s", s->failure, repeat);
		return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	struct options o = {
		.seed = 1, .steps = 100000, .seeds = 1, .profile = "mixed", .trace_from = UINT64_MAX};

	if (parse(argc, argv, &o) != 0) {
		(void)fprintf(
			stderr,
			"usage: %s --seed S [--profile P] [--steps N] [--seeds K | --seconds T] [--trace-from STEP]\n"
			"profiles: %s\n",
			argv[0], profile_names());
		return 2;
	}
	struct sim *s = mem_calloc(1, sizeof *s);
	if (!s)
		return 2;
	running = s;
	(void)signal(SIGABRT, on_abort);
	int64_t started = clock_mono_ns();
	uint64_t steps = 0, seeds = 0, writes = 0, reads = 0, elections = 0, changes = 0, wounds = 0,
		 crashes = 0, snapshots = 0;
	bool well = true;
	for (uint64_t seed = o.seed; well; seed++) {
		double passed = (double)(clock_mono_ns() - started) / 1e9;
		if (o.seconds ? passed >= (double)o.seconds : seeds >= o.seeds)
			break;
		well = run_one(s, argv[0], &o, seed);
		seeds++;
		steps += s->steps;
		writes += s->acked_writes;
		reads += s->answered_reads;
		elections += s->elections;
		changes += s->changes;
		wounds += s->wounds;
		crashes += s->crashes;
		snapshots += s->snapshots_sent;
		sim_done(s);
	}
	double took = (double)(clock_mono_ns() - started) / 1e9;
	(void)printf("seeds %" PRIu64 "-%" PRIu64 " profile %s: %" PRIu64
		     " steps in %.1f s, %.0f steps/s; %" PRIu64 " writes, %" PRIu64 " reads, %" PRIu64
		     " elections, %" PRIu64 " changes, %" PRIu64 " snapshots sent, %" PRIu64
		     " crashes, %" PRIu64 " damaged disks\n",
		     o.seed, o.seed + seeds - 1, o.profile, steps, took, (double)steps / took, writes, reads,
		     elections, changes, snapshots, crashes, wounds);
	(void)mem_free(s);
	return well ? 0 : 1;
}
