#include "cli/checks.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/mountinfo.h"
#include "common/base/fd.h"
#include "common/base/mem.h"
#include "common/base/quantity.h"

#define STAT_TIMEOUT_MS 1000

/* ---- paths ---- */

static int append_part(char *out, size_t *len, const char *part, size_t part_len)
{
	if (part_len == 0 || (part_len == 1 && part[0] == '.'))
		return 0;
	if (part_len == 2 && part[0] == '.' && part[1] == '.') {
		while (*len && out[*len - 1] != '/')
			--*len;
		*len -= *len > 0;
		return 0;
	}
	if (*len + 1 + part_len >= PATH_MAX)
		return -ENAMETOOLONG;
	out[(*len)++] = '/';
	memcpy(out + *len, part, part_len);
	*len += part_len;
	return 0;
}

static int append_all(char *out, size_t *len, const char *path)
{
	while (*path) {
		size_t n = strcspn(path, "/");
		int r = append_part(out, len, path, n);
		if (r)
			return r;
		path += n + (path[n] == '/');
	}
	return 0;
}

int path_absolute(const char *path, char ret[PATH_MAX], struct err *err)
{
	char out[PATH_MAX], cwd[PATH_MAX];
	size_t len = 0;

	if (!path[0])
		return err_set(err, -EINVAL, "a path is empty");
	if (path[0] != '/' && !getcwd(cwd, sizeof cwd))
		return err_set(err, -errno, "the working folder: %s", err_text(-errno));
	int r = path[0] == '/' ? 0 : append_all(out, &len, cwd);
	if (!r)
		r = append_all(out, &len, path);
	if (r)
		return err_set(err, r, "%.100s...: the path is too long", path);
	out[len] = 0;
	(void)snprintf(ret, PATH_MAX, "%s", len ? out : "/");
	return 0;
}

int path_resolve_parent(const char *path, char ret[PATH_MAX], struct err *err)
{
	char whole[PATH_MAX];
	int r = path_absolute(path, whole, err);

	if (r)
		return r;
	char *slash = strrchr(whole, '/');
	if (!slash[1])
		return err_set(err, -EINVAL, "/ cannot be a mount point");
	*slash = 0;
	CLEANUP(free_str) char *parent = realpath(slash == whole ? "/" : whole, NULL);
	*slash = '/';
	int n = parent ? snprintf(ret, PATH_MAX, "%s%s", parent[1] ? parent : "", slash)
		       : snprintf(ret, PATH_MAX, "%s", whole);
	return n < PATH_MAX ? 0 : err_set(err, -ENAMETOOLONG, "%.100s...: the path is too long", path);
}

/* ---- mount points ---- */

/* What stat says of a FUSE mount, asked by a child that may hang: its -errno, or -ETIMEDOUT. */
static int stat_in_child(const char *path)
{
	struct statx sx;
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid == 0)
		_exit(statx(AT_FDCWD, path, AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &sx) < 0 ? errno : 0);
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	int status = 0, ready = pidfd < 0 ? 0 : poll(&p, 1, STAT_TIMEOUT_MS);
	(void)fd_close(pidfd);
	if (ready <= 0) {
		(void)kill(pid,
			   SIGKILL); /* if it hangs for good, it ends when the mount does; we do not wait */
		return -ETIMEDOUT;
	}
	if (waitpid(pid, &status, 0) < 0 || !WIFEXITED(status))
		return -EIO;
	return -WEXITSTATUS(status);
}

static int check_mounted(int proc_fd, const char *path, struct err *err)
{
	struct mount_entry m;
	int r = mount_at(proc_fd, path, &m);

	if (r == -ENOENT)
		return 0;
	if (r)
		return err_set(err, r, "/proc/self/mountinfo: %s", err_text(r));
	r = mount_is_fuse(&m) ? stat_in_child(path) : 0;
	if (r == -ENOTCONN)
		return err_set(err, -ENOTCONN,
			       "%s is a stale mount of %s, whose server is gone; remove it: umount -l %s",
			       path, mount_is_larder(&m) ? "Larder" : m.type, path);
	if (r == -ETIMEDOUT)
		return err_set(err, -ETIMEDOUT,
			       "%s is a mount of %s that does not answer; remove it: umount -l %s", path,
			       mount_is_larder(&m) ? "Larder" : m.type, path);
	return err_set(err, -EBUSY, "%s is a mount point already (%s); unmount it or choose another folder",
		       path, mount_is_larder(&m) ? "of Larder" : m.type);
}

static int check_empty(const char *path, struct err *err)
{
	DIR *d = opendir(path);
	bool empty = true;

	if (!d)
		return err_set(err, -errno, "mount point %s: %s", path, err_text(-errno));
	for (struct dirent *e; empty && (e = readdir(d));)
		empty = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
	(void)closedir(d);
	return empty ? 0
		     : err_set(err, -ENOTEMPTY,
			       "mount point %s is not empty; its files would be hidden: choose an empty folder",
			       path);
}

int check_mount_point(int proc_fd, const char *path, struct err *err)
{
	struct stat st;
	int r = check_mounted(proc_fd, path, err);

	if (r)
		return r;
	if (lstat(path, &st) < 0)
		return errno == ENOENT
			       ? err_set(err, -ENOENT, "mount point %s does not exist; make it: mkdir -p %s",
					 path, path)
			       : err_set(err, -errno, "mount point %s: %s", path, err_text(-errno));
	if (S_ISLNK(st.st_mode))
		return err_set(err, -ELOOP, "mount point %s is a symbolic link; name the folder itself",
			       path);
	if (!S_ISDIR(st.st_mode))
		return err_set(err, -ENOTDIR, "mount point %s is not a folder", path);
	return check_empty(path, err);
}

int check_fuse_device(const char *path, struct err *err)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return err_set(err, -errno,
			       errno == ENOENT
				       ? "%s is missing; load it: modprobe fuse (in a container: --device "
					 "/dev/fuse)"
				       : "%s cannot be looked at",
			       path);
	return S_ISCHR(st.st_mode) ? 0 : err_set(err, -ENODEV, "%s is not a device", path);
}

/* ---- disks ---- */

int check_disk(const char *path, struct err *err)
{
	struct statvfs fs;
	struct stat st;
	char free_text[16];

	if (stat(path, &st) < 0)
		return errno == ENOENT
			       ? err_set(err, -ENOENT, "disk tier %s does not exist; make it: mkdir -p %s",
					 path, path)
			       : err_set(err, -errno, "disk tier %s: %s", path, err_text(-errno));
	if (!S_ISDIR(st.st_mode))
		return err_set(err, -ENOTDIR, "disk tier %s is not a folder", path);
	if (statvfs(path, &fs) < 0)
		return err_set(err, -errno, "disk tier %s: %s", path, err_text(-errno));
	if ((fs.f_flag & ST_RDONLY) || access(path, W_OK) < 0)
		return err_set(err, (fs.f_flag & ST_RDONLY) || errno == EROFS ? -EROFS : -EACCES,
			       (fs.f_flag & ST_RDONLY) || errno == EROFS
				       ? "disk tier %s is on a read-only file system"
				       : "disk tier %s cannot be written to",
			       path);
	uint64_t left = (uint64_t)fs.f_bavail * fs.f_frsize;
	bytes_format(left, free_text);
	return left >= CHECK_DISK_LEAST
		       ? 0
		       : err_set(err, -ENOSPC, "disk tier %s is full: %s free, at least 64 MiB are needed",
				 path, free_text);
}

/* ---- ports ---- */

static int parse_address(const char *text, struct sockaddr_storage *ret, socklen_t *ret_len)
{
	char host[64], *end;
	const char *colon = strrchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : 0;
	bool bracket = len >= 2 && text[0] == '[' && text[len - 1] == ']';
	struct sockaddr_in *v4 = (void *)ret;
	struct sockaddr_in6 *v6 = (void *)ret;

	if (!len || len >= sizeof host)
		return -EINVAL;
	(void)snprintf(host, sizeof host, "%.*s", (int)(bracket ? len - 2 : len), text + bracket);
	unsigned long port = strtoul(colon + 1, &end, 10);
	if (*end || end == colon + 1 || port == 0 || port > 65535)
		return -EINVAL;
	memset(ret, 0, sizeof *ret);
	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)port);
		*ret_len = sizeof *v4;
		return 0;
	}
	if (inet_pton(AF_INET6, host, &v6->sin6_addr) != 1)
		return -EINVAL;
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons((uint16_t)port);
	*ret_len = sizeof *v6;
	return 0;
}

int check_port(const char *option, const char *address, struct err *err)
{
	struct sockaddr_storage a;
	socklen_t len;
	int one = 1;

	if (parse_address(address, &a, &len))
		return err_set(err, -EINVAL,
			       "--%s \"%.80s\" must be an address and a port, like 127.0.0.1:9100", option,
			       address);
	CLEANUP(fd_close) int fd = socket(a.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set(err, -errno, "--%s %s: %s", option, address, err_text(-errno));
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one,
			 sizeof one); /* old connections do not count as taken */
	if (bind(fd, (struct sockaddr *)&a, len) == 0 && listen(fd, 1) == 0)
		return 0;
	return errno == EADDRINUSE ? err_set(err, -EADDRINUSE,
					     "--%s %s: the port is taken by another program; choose another",
					     option, address)
				   : err_set(err, -errno, "--%s %s: %s", option, address, err_text(-errno));
}
