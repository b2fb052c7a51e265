/* larder-reader - reads a file as a benchmark does and prints what it measured as JSON. See usage(). */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/reader/reads.h"
#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/base/fd.h"

enum { JOBS_MAX = 256 };

struct options {
	struct reads_config reads;
	const char *file;
	uint64_t jobs;
	bool drop, direct, hold;
};

/* One for each job, in memory shared with its process. */
struct job {
	int status; /* 0 or -errno */
	struct reads_result result;
};

static void usage(FILE *to)
{
	(void)fputs("usage: larder-reader --file FILE [options]\n"
		    "  --mode MODE      seq (default), rand, mmapseq or mmaprand\n"
		    "  --block N        bytes a read (default 1048576; 4096 where random)\n"
		    "  --bytes N        stop after so many bytes (default: the file once)\n"
		    "  --seconds S      stop after so long, going through the file again as needed\n"
		    "  --seed N         of the random order\n"
		    "  --jobs N         processes that read the same at once\n"
		    "  --crc            print the CRC32C of what was read\n"
		    "  --drop           first ask the kernel to forget the file's pages\n"
		    "  --direct         open with O_DIRECT\n"
		    "  --hold           open, say \"ready\", read once a line came on stdin\n",
		    to);
}

static int bad(const char *option, const char *value)
{
	(void)fprintf(stderr, "larder-reader: --%s \"%s\" is not valid\n", option, value);
	return -EINVAL;
}

static int take_number(const char *option, const char *text, uint64_t max, uint64_t *ret)
{
	char *end;

	errno = 0;
	uint64_t v = strtoull(text, &end, 10);
	if (errno || end == text || *end || *text == '-' || v > max)
		return bad(option, text);
	*ret = v;
	return 0;
}

static int take_seconds(const char *text, int64_t *ret_ns)
{
	char *end;
	double v = strtod(text, &end);

	if (end == text || *end || !isfinite(v) || v < 0 || v > 86400)
		return bad("seconds", text);
	*ret_ns = (int64_t)(v * (double)NS_PER_S);
	return 0;
}

static int take_mode(const char *text, enum reads_mode *ret)
{
	static const char *const names[] = {"seq", "rand", "mmapseq", "mmaprand"};

	for (size_t i = 0; i < LENGTH(names); i++) {
		if (strcmp(text, names[i]) == 0) {
			*ret = (enum reads_mode)i;
			return 0;
		}
	}
	return bad("mode", text);
}

static int take_option(struct options *o, int c, uint64_t *bytes)
{
	uint64_t n = 0;
	int rc;

	switch (c) {
	case 'f':
		o->file = optarg;
		return 0;
	case 'm':
		return take_mode(optarg, &o->reads.mode);
	case 'b':
		rc = take_number("block", optarg, READS_BLOCK_MAX, &n);
		o->reads.block = (uint32_t)n;
		return rc;
	case 'n':
		return take_number("bytes", optarg, UINT64_MAX / 2, bytes);
	case 't':
		return take_seconds(optarg, &o->reads.time_ns);
	case 's':
		return take_number("seed", optarg, UINT64_MAX, &o->reads.seed);
	case 'j':
		return take_number("jobs", optarg, JOBS_MAX, &o->jobs);
	case 'c':
		o->reads.checksum = true;
		return 0;
	case 'd':
		o->drop = true;
		return 0;
	case 'D':
		o->direct = true;
		return 0;
	case 'H':
		o->hold = true;
		return 0;
	default:
		return -EINVAL;
	}
}

static int parse_options(int argc, char **argv, struct options *ret)
{
	static const struct option options[] = {
		{"file", required_argument, NULL, 'f'},
		{"mode", required_argument, NULL, 'm'},
		{"block", required_argument, NULL, 'b'},
		{"bytes", required_argument, NULL, 'n'},
		{"seconds", required_argument, NULL, 't'},
		{"seed", required_argument, NULL, 's'},
		{"jobs", required_argument, NULL, 'j'},
		{"crc", no_argument, NULL, 'c'},
		{"drop", no_argument, NULL, 'd'},
		{"direct", no_argument, NULL, 'D'},
		{"hold", no_argument, NULL, 'H'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	uint64_t bytes = 0;
	int c, rc = 0;

	*ret = (struct options){.jobs = 1};
	while (rc == 0 && (c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'h') {
			usage(stdout);
			exit(0);
		}
		rc = take_option(ret, c, &bytes);
	}
	if (!ret->reads.block)
		ret->reads.block =
			ret->reads.mode == READS_RAND || ret->reads.mode == READS_MMAPRAND ? 4096 : 1 << 20;
	ret->reads.ops_max = (bytes + ret->reads.block - 1) / ret->reads.block;
	return rc == 0 && (!ret->file || optind < argc || ret->jobs == 0) ? -EINVAL : rc;
}

/* Waits for the start: the end of @start_fd, which all jobs share, or a line where it is stdin. */
static int wait_for_start(int start_fd)
{
	char c = 0;

	while (c != '\n') {
		ssize_t n = read(start_fd, &c, 1);
		if (n == 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
	return 0;
}

static int read_file(const struct options *o, int start_fd, struct reads_result *ret)
{
	CLEANUP(fd_close) int fd = open(o->file, O_RDONLY | O_CLOEXEC | (o->direct ? O_DIRECT : 0));
	CLEANUP(reads_free) struct reads *reads = NULL;

	if (fd < 0)
		return -errno;
	if (o->drop)
		(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* a wish */
	int rc = reads_new(fd, &o->reads, &reads);
	if (rc == 0 && o->hold) {
		(void)puts("ready");
		(void)fflush(stdout);
	}
	if (rc == 0)
		rc = wait_for_start(start_fd);
	if (rc == 0)
		rc = reads_run(reads, ret);
	if (o->hold)
		(void)fd_take(
			&fd); /* closing asks the file system, which may be stopped: the result comes first */
	return rc;
}

static void print_crcs(const struct job *jobs, uint64_t count)
{
	(void)printf(", \"crc\": [");
	for (uint64_t i = 0; i < count; i++)
		(void)printf("%s\"%08x\"", i ? ", " : "", jobs[i].result.crc);
	(void)printf("]");
}

/* The latencies of all jobs are added to those of the first. */
static void print_result(const struct options *o, struct job *jobs)
{
	struct reads_result *first = &jobs[0].result;
	uint64_t ops = 0, bytes = 0;
	int64_t start_ns = INT64_MAX, end_ns = 0, cpu_ns = 0;

	for (uint64_t i = 0; i < o->jobs; i++) {
		const struct reads_result *r = &jobs[i].result;
		ops += r->ops;
		bytes += r->bytes;
		cpu_ns += r->cpu_ns;
		start_ns = MIN(start_ns, r->start_ns);
		end_ns = MAX(end_ns, r->end_ns);
		if (i > 0)
			latency_merge(&first->latency, &r->latency);
	}
	(void)printf(
		"{\"bytes\": %llu, \"ops\": %llu, \"seconds\": %.6f, \"cpu_seconds\": %.6f, \"p50_us\": %.2f, "
		"\"p99_us\": %.2f",
		(unsigned long long)bytes, (unsigned long long)ops, (double)(end_ns - start_ns) / 1e9,
		(double)cpu_ns / 1e9, (double)latency_at(&first->latency, 0.5) / 1e3,
		(double)latency_at(&first->latency, 0.99) / 1e3);
	if (o->reads.checksum)
		print_crcs(jobs, o->jobs);
	(void)printf("}\n");
	(void)fflush(stdout);
}

/* Starts the jobs; those that run wait for the pipe's end. Their number; fewer than asked for when fork() fails. */
static uint64_t start_jobs(const struct options *o, struct job *jobs, const int pipe_fds[2])
{
	for (uint64_t i = 0; i < o->jobs; i++) {
		pid_t pid = fork();
		if (pid < 0)
			return i;
		if (pid == 0) {
			(void)close(pipe_fds[1]);
			jobs[i].status = read_file(o, pipe_fds[0], &jobs[i].result);
			_exit(0);
		}
	}
	return o->jobs;
}

static int run_jobs(const struct options *o, struct job *jobs)
{
	int fds[2], rc = 0;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	for (uint64_t i = 0; i < o->jobs; i++)
		jobs[i].status = -ECHILD; /* what stays where a job dies */
	uint64_t started = start_jobs(o, jobs, fds);
	(void)close(fds[0]);
	(void)close(fds[1]);
	while (wait(NULL) > 0)
		;
	for (uint64_t i = 0; i < o->jobs && rc == 0; i++)
		rc = jobs[i].status;
	return started < o->jobs ? -EAGAIN : rc;
}

/* One job without --hold starts at once: there is nothing on its way to start. */
static int run(const struct options *o, struct job *jobs)
{
	CLEANUP(fd_close) int empty = open("/dev/null", O_RDONLY | O_CLOEXEC);

	if (o->jobs > 1)
		return run_jobs(o, jobs);
	return empty < 0 ? -errno : read_file(o, o->hold ? STDIN_FILENO : empty, &jobs[0].result);
}

int main(int argc, char **argv)
{
	struct options o;

	if (parse_options(argc, argv, &o) < 0 || (o.hold && o.jobs > 1)) {
		usage(stderr);
		return 2;
	}
	size_t size = o.jobs * sizeof(struct job);
	struct job *jobs = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int rc = jobs == MAP_FAILED ? -errno : run(&o, jobs);
	if (rc < 0) {
		(void)fprintf(stderr, "larder-reader: %s: %s\n", o.file, err_text(rc));
		return 1;
	}
	print_result(&o, jobs);
	return 0;
}
