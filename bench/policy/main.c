/* larder-policy - hit ratios of policies on traces, and how fast the product's core is, as JSON. See usage(). */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/policy/sim.h"

#define ZIPF_OBJECTS 100000
#define ZIPF_READS   1000000
#define STRETCH      20000 /* reads of a scan at a time: twice the smaller room */
#define LOOP_OBJECTS 50000
#define LOOP_ROUNDS  12
#define SPEED        1000000 /* objects */
#define TRACES_MAX   9

static const uint32_t rooms_of_100[] = {10, 50};
struct named {
	const char *name;
	struct trace trace;
};

struct options {
	const char *file;
	uint64_t seed;
	struct policy_config config;
	bool traces, speed;
};

static void usage(FILE *to)
{
	(void)fputs("usage: larder-policy [options]\n"
		    "  --seed N        of the made-up traces (default 1)\n"
		    "  --file FILE     one more trace, \"public\": a number a line\n"
		    "  --small N       the small queue's hundredths (default: the product's)\n"
		    "  --ghost N       the ghosts' hundredths\n"
		    "  --promote N     uses with which an object moves on\n"
		    "  --idle N        hundredths that pass by an unused main queue\n"
		    "  --no-speed      only the hit ratios\n"
		    "  --no-traces     only the speed\n",
		    to);
}

static int take_number(const char *text, uint32_t *ret)
{
	char *end;
	errno = 0;
	unsigned long v = strtoul(text, &end, 10);
	if (errno || end == text || *end || *text == '-' || v > 1000000) {
		(void)fprintf(stderr, "larder-policy: \"%s\" is not a number of 0 to 1000000\n", text);
		return -EINVAL;
	}
	*ret = (uint32_t)v;
	return 0;
}

static int take_option(struct options *o, int option)
{
	uint32_t seed = 0;
	int r;
	switch (option) {
	case 'f':
		o->file = optarg;
		return 0;
	case 't':
		o->traces = false;
		return 0;
	case 'n':
		o->speed = false;
		return 0;
	case 's':
		return take_number(optarg, &o->config.small_of_100);
	case 'g':
		return take_number(optarg, &o->config.ghost_of_100);
	case 'p':
		return take_number(optarg, &o->config.promote_at);
	case 'a':
		return take_number(optarg, &o->config.idle_of_100);
	case 'r':
		r = take_number(optarg, &seed);
		o->seed = seed;
		return r;
	default:
		return -EINVAL;
	}
}

static int parse_options(int argc, char **argv, struct options *ret)
{
	static const struct option options[] = {
		{"seed", required_argument, NULL, 'r'},    {"file", required_argument, NULL, 'f'},
		{"small", required_argument, NULL, 's'},   {"ghost", required_argument, NULL, 'g'},
		{"promote", required_argument, NULL, 'p'}, {"idle", required_argument, NULL, 'a'},
		{"no-speed", no_argument, NULL, 'n'},      {"no-traces", no_argument, NULL, 't'},
		{"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0},
	};
	int c, r = 0;
	*ret = (struct options){.seed = 1, .config = POLICY_DEFAULT, .traces = true, .speed = true};
	while (r == 0 && (c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'h') {
			usage(stdout);
			exit(0);
		}
		r = take_option(ret, c);
	}
	return r == 0 && optind < argc ? -EINVAL : r;
}

/* The made-up traces. */
static const struct made {
	const char *name;
	enum { ZIPF, SIZES, SCAN, LOOP, SHUFFLE, SHIFT } kind;
	double skew;
} made[] = {
	{"zipf-0.6", ZIPF, 0.6},  {"zipf-0.9", ZIPF, 0.9}, {"zipf-1.1", ZIPF, 1.1}, {"sizes", SIZES, 0.9},
	{"zipf-scan", SCAN, 0.9}, {"loop", LOOP, 0},       {"shuffle", SHUFFLE, 0}, {"shift", SHIFT, 0},
};

static int make_trace(const struct made *m, uint64_t seed, struct trace *ret)
{
	switch (m->kind) {
	case ZIPF:
		return trace_zipf(ZIPF_OBJECTS, ZIPF_READS, m->skew, seed, ret);
	case SIZES:
		return trace_sizes(ZIPF_OBJECTS, ZIPF_READS, m->skew, seed, ret);
	case SCAN:
		return trace_zipf_scan(ZIPF_OBJECTS, ZIPF_READS, m->skew, STRETCH, seed, ret);
	case LOOP:
		return trace_loop(LOOP_OBJECTS, LOOP_ROUNDS, ret);
	case SHUFFLE:
		return trace_shuffle(LOOP_OBJECTS, LOOP_ROUNDS, seed, ret);
	case SHIFT:
		return trace_shift(LOOP_OBJECTS, LOOP_ROUNDS, seed, ret);
	default:
		return -EINVAL;
	}
}

/* All traces; those made before a failure are in @ret too. */
static int make_traces(const struct options *o, struct named ret[TRACES_MAX], size_t *ret_count)
{
	struct err err = {0};
	size_t n = 0;
	int r = 0;
	for (; r == 0 && n < LENGTH(made); n++) {
		ret[n].name = made[n].name;
		r = make_trace(&made[n], o->seed, &ret[n].trace);
	}
	if (r == 0 && o->file) {
		ret[n].name = "public";
		r = trace_load(o->file, &ret[n++].trace, &err);
	}
	*ret_count = n;
	if (r)
		(void)fprintf(stderr, "larder-policy: %s\n", err_words(&err, r));
	return r;
}

static int run_kind(const struct sim_kind *kind, const char *name, const struct trace *t, uint64_t room,
		    const struct policy_config *config, const char *before)
{
	struct sim_result s;
	int r = sim_run(kind, t, room, config, &s);
	if (r) {
		(void)fprintf(stderr, "larder-policy: %s: %s\n", name, err_text(r));
		return r;
	}
	(void)printf("%s\"%s\": {\"hit\": %.6f, \"byte_hit\": %.6f}", before, name,
		     (double)s.hits / (double)s.reads, (double)s.hit_units / (double)s.units);
	(void)fflush(stdout); /* whoever waits sees where it is */
	return 0;
}

static int run_trace(const struct named *t, uint32_t room_of_100, const struct options *o, const char *before)
{
	static const struct sim_kind *const others[] = {&sim_fifo, &sim_lru, &sim_s3fifo, &sim_tinylfu,
							&sim_belady};
	uint64_t room = MAX(t->trace.units * room_of_100 / 100, 1);
	(void)printf(
		"%s{\"name\": \"%s\", \"reads\": %u, \"objects\": %u, \"room_of_100\": %u, \"policies\": {",
		before, t->name, t->trace.count, t->trace.objects, room_of_100);
	int r = run_kind(&sim_larder, "larder", &t->trace, room, &o->config, "");
	for (size_t i = 0; r == 0 && i < LENGTH(others); i++)
		r = run_kind(others[i], others[i]->name, &t->trace, room, &o->config, ", ");
	(void)printf("}}");
	return r;
}

static int run_speed(const struct options *o)
{
	struct sim_speed s;
	int r = sim_measure(SPEED, o->seed, &s);
	if (r == 0)
		(void)printf(
			", \"speed\": {\"objects\": %llu, \"lookups_per_s\": %.0f, \"evict_ns\": %.1f, \"restore_s\": %.4f}",
			(unsigned long long)s.objects, s.lookups_per_s, s.evict_ns, s.restore_s);
	return r;
}

int main(int argc, char **argv)
{
	struct named traces[TRACES_MAX] = {{.name = NULL}};
	struct options o;
	size_t count = 0;

	if (parse_options(argc, argv, &o) < 0) {
		usage(stderr);
		return 2;
	}
	int r = o.traces ? make_traces(&o, traces, &count) : 0;
	(void)printf("{\"seed\": %llu, \"small_of_100\": %u, \"ghost_of_100\": %u, \"promote_at\": %u, "
		     "\"idle_of_100\": %u, \"traces\": [",
		     (unsigned long long)o.seed, o.config.small_of_100, o.config.ghost_of_100,
		     o.config.promote_at, o.config.idle_of_100);
	for (size_t i = 0; r == 0 && i < count; i++)
		for (size_t k = 0; r == 0 && k < LENGTH(rooms_of_100); k++)
			r = run_trace(&traces[i], rooms_of_100[k], &o, i || k ? ", " : "");
	(void)printf("]");
	if (r == 0 && o.speed)
		r = run_speed(&o);
	(void)printf("}\n");
	for (size_t i = 0; i < count; i++)
		trace_done(&traces[i].trace);
	return r ? 1 : 0;
}
