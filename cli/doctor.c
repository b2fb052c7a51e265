/*
 * larder doctor - asks the kernel itself where it can be asked; a version number only where it cannot.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/doctor_sources.h"
#include "cli/fuse_probe.h"
#include "cli/json.h"
#include "common/base/fd.h"
#include "common/base/mem.h"
#include "common/base/quantity.h"

#define FILES_WANTED (1u << 16)
#define FREE_WANTED  (10ULL << 30)
#define PAGES_WANTED 256u /* 1 MiB in one request */

enum finding { FINDING_OK, FINDING_LIMITED, FINDING_MISSING };

struct finding_row {
	const char *name;
	bool required;
	enum finding finding;
	char detail[96];
	const char *cost; /* what is lost and how to get it; shown when not ok */
};

static void set(struct finding_row *r, enum finding f, const char *fmt, ...) PRINTF(3, 4);
static void set(struct finding_row *r, enum finding f, const char *fmt, ...)
{
	va_list args;

	r->finding = f;
	va_start(args, fmt);
	(void)vsnprintf(r->detail, sizeof r->detail, fmt, args);
	va_end(args);
}

/* ---- FUSE ---- */

static void look_fuse(struct finding_row *r)
{
	struct stat st;

	if (stat("/dev/fuse", &st) == 0 && S_ISCHR(st.st_mode))
		set(r, FINDING_OK, "/dev/fuse is there");
	else
		set(r, FINDING_MISSING, "no /dev/fuse");
}

/* Whether the kernel is at least that new: only where it could not be asked. */
static bool kernel_at_least(unsigned major, unsigned minor)
{
	struct utsname u;
	unsigned a = 0, b = 0;

	return uname(&u) == 0 && sscanf(u.release, "%u.%u", &a, &b) == 2 &&
	       (a > major || (a == major && b >= minor));
}

static void set_fuse_feature(struct finding_row *r, const struct fuse_offer *offer, bool offered,
			     bool new_enough)
{
	if (offer->asked)
		set(r, offered ? FINDING_OK : FINDING_MISSING,
		    offered ? "offered by the kernel" : "not offered by the kernel");
	else if (new_enough)
		set(r, FINDING_LIMITED, "likely by the kernel's version; needs root to be sure");
	else
		set(r, FINDING_MISSING, "this kernel is older");
}

static void look_max_pages(struct finding_row *r)
{
	char *text;
	size_t len;

	if (fd_read_file(AT_FDCWD, "/proc/sys/fs/fuse/max_pages_limit", 64, &text, &len)) {
		set(r, FINDING_OK,
		    "1 MiB"); /* the constant of kernels before 6.13, and what Larder asks for */
		return;
	}
	unsigned long pages = strtoul(text, NULL, 10);
	(void)mem_free(text);
	set(r, pages >= PAGES_WANTED ? FINDING_OK : FINDING_LIMITED, "fs.fuse.max_pages_limit is %lu", pages);
}

/* ---- the rest of the kernel ---- */

static void look_openat2(struct finding_row *r)
{
	struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_BENEATH};
	long fd = syscall(SYS_openat2, AT_FDCWD, ".", &how, sizeof how);

	if (fd >= 0)
		(void)close((int)fd);
	set(r, fd >= 0 ? FINDING_OK : FINDING_MISSING, "%s", fd >= 0 ? "works" : err_text(-errno));
}

static void look_huge_pages(struct finding_row *r)
{
	char *text;
	size_t len;

	if (fd_read_file(AT_FDCWD, "/sys/kernel/mm/transparent_hugepage/shmem_enabled", 256, &text, &len)) {
		set(r, FINDING_MISSING, "no transparent huge pages for tmpfs");
		return;
	}
	bool denied = strstr(text, "[deny]") != NULL;
	(void)mem_free(text);
	set(r, denied ? FINDING_MISSING : FINDING_OK,
	    denied ? "switched off" : "huge=within_size is possible");
}

/* ---- limits ---- */

static void look_files(struct finding_row *r)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) < 0)
		set(r, FINDING_MISSING, "%s", err_text(-errno));
	else
		set(r, l.rlim_max >= FILES_WANTED ? FINDING_OK : FINDING_LIMITED, "%llu open files",
		    (unsigned long long)l.rlim_max);
}

static void look_disk(struct finding_row *r)
{
	struct statvfs fs;
	char size[16];

	if (statvfs("/var/lib", &fs) < 0) {
		set(r, FINDING_MISSING, "/var/lib: %s", err_text(-errno));
		return;
	}
	uint64_t left = (uint64_t)fs.f_bavail * fs.f_frsize;
	bytes_format(left, size);
	set(r, left >= FREE_WANTED ? FINDING_OK : FINDING_LIMITED, "%s free in /var/lib", size);
}

/* ---- the table ---- */

#define ROWS 7

static void look(struct finding_row rows[ROWS])
{
	const struct finding_row names[ROWS] = {
		{.name = "FUSE",
		 .required = true,
		 .cost = "nothing can be mounted; modprobe fuse, in a container --device /dev/fuse"},
		{.name = "openat2",
		 .required = true,
		 .cost = "mount points cannot be resolved safely; Linux 5.6 or newer is needed"},
		{.name = "FUSE passthrough",
		 .cost = "hot reads pass through the daemon at a fraction of the speed; Linux 6.9 or newer"},
		{.name = "large FUSE requests",
		 .cost = "cold reads take more round trips; sysctl fs.fuse.max_pages_limit=256"},
		{.name = "huge pages in tmpfs",
		 .cost = "the DRAM tier needs more TLB entries; echo advise > "
			 "/sys/kernel/mm/transparent_hugepage/shmem_enabled"},
		{.name = "open files", .cost = "fewer files stay open for passthrough; ulimit -Hn 1048576"},
		{.name = "free disk",
		 .cost = "the default cache is half of it; give a larger folder with --disk"},
	};
	struct fuse_offer offer;

	memcpy(rows, names, sizeof names);
	fuse_probe(&offer);
	look_fuse(&rows[0]);
	look_openat2(&rows[1]);
	set_fuse_feature(&rows[2], &offer, offer.passthrough, kernel_at_least(6, 9));
	look_max_pages(&rows[3]);
	look_huge_pages(&rows[4]);
	look_files(&rows[5]);
	look_disk(&rows[6]);
}

static const char *finding_name(enum finding f)
{
	static const char *const names[] = {"ok", "limited", "missing"};
	return names[f];
}

static void print_json(const struct finding_row rows[ROWS])
{
	(void)putchar('[');
	for (size_t i = 0; i < ROWS; i++) {
		(void)printf("%s\n{\"name\": \"%s\", \"required\": %s, \"finding\": \"%s\", \"detail\": ",
			     i ? "," : "", rows[i].name, rows[i].required ? "true" : "false",
			     finding_name(rows[i].finding));
		json_string(stdout, rows[i].detail, strlen(rows[i].detail));
		(void)fputs(", \"cost\": ", stdout);
		const char *cost = rows[i].finding == FINDING_OK ? "" : rows[i].cost;
		json_string(stdout, cost, strlen(cost));
		(void)putchar('}');
	}
	(void)puts("\n]");
}

static void print_table(const struct finding_row rows[ROWS])
{
	for (size_t i = 0; i < ROWS; i++) {
		(void)printf("%-8s %-23s %s\n", finding_name(rows[i].finding), rows[i].name, rows[i].detail);
		if (rows[i].finding != FINDING_OK)
			(void)printf("%-32s -> %s\n", "", rows[i].cost);
	}
}

static int doctor_machine(bool json)
{
	struct finding_row rows[ROWS];

	look(rows);
	if (json)
		print_json(rows);
	else
		print_table(rows);
	for (size_t i = 0; i < ROWS; i++)
		if (rows[i].required && rows[i].finding == FINDING_MISSING)
			return EXIT_FAILED;
	return EXIT_GOOD;
}

int doctor_command(const struct command *self, int argc, char **argv)
{
	struct doctor_words *words = NULL;
	struct err err = {0};
	int r = doctor_words_parse(argc, argv, &words, &err);

	if (r)
		return command_fail(EXIT_USAGE, &err, r);
	int status = EXIT_GOOD;
	if (words->help)
		command_help(self);
	else if (!words->file_count)
		status = doctor_machine(words->json);
	else if ((r = doctor_sources(words, &err)) < 0)
		status = command_fail(EXIT_FAILED, &err, r);
	(void)mem_free(words);
	return status;
}
