#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "proto/cleanup.h"
#include "sandbox/launch.h"
#include "sandbox/path.h"

static int write_sysctl(int proc_fd, const char *path, const char *value, struct err *err)
{
	return path_write_proc(proc_fd, path, value, strlen(value), err);
}

/*
 * Only user namespaces are forbidden by their count: without one of its own nothing in the workload can
 * make the others, while Berth itself makes a mount, pid and cgroup namespace in this user
 * namespace for every container.
 */
int launch_forbid_nested(int proc_fd, struct err *err)
{
	return write_sysctl(proc_fd, "sys/user/max_user_namespaces", "0", err);
}

static int apply_sysctl(int proc_fd, const struct launch_sysctl *sysctl, struct err *err)
{
	char path[160];
	size_t at;
	int r;

	if ((size_t)snprintf(path, sizeof(path), "sys/%s", sysctl->name) >= sizeof(path))
		return err_set(err, ERR_INVALID, ENAMETOOLONG, "sysctl %s: its name is too long",
			       sysctl->name);
	for (at = strlen("sys/"); path[at]; at++) {
		if (path[at] == '/')
			return err_set(err, ERR_INVALID, EINVAL, "sysctl %s: no such sysctl",
				       sysctl->name);
		if (path[at] == '.')
			path[at] = '/';
	}
	r = write_sysctl(proc_fd, path, sysctl->value, err);
	return r < 0 ? err_prefix(err, r, "sysctl %s", sysctl->name) : 0;
}

int launch_prepare_workload(int proc_fd, const char *hostname, const struct launch_sysctl *sysctls,
			    size_t sysctl_count, struct err *err)
{
	int r;

	if (hostname && sethostname(hostname, strlen(hostname)) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot set the hostname to %s: %m",
			       hostname);
	for (size_t i = 0; i < sysctl_count; i++) {
		r = apply_sysctl(proc_fd, &sysctls[i], err);
		if (r < 0)
			return r;
	}
	return 0;
}
