/*
 * Races with the daemon: one side swaps what the other looks at. And the mistakes that they win against, made
 * by hand, to show that they are won.
 */
#include "tests/escape/probe.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double seconds(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* /dir: a directory and a link to "/" change places until somebody kills us. */
static long swap(const char *where)
{
	char dir[PATH_MAX], link[PATH_MAX];

	(void)snprintf(dir, sizeof(dir), "%s/dir", where);
	(void)snprintf(link, sizeof(link), "%s/link", where);
	(void)mkdir(dir, 0755);
	if (symlink("/", link) < 0 && errno != EEXIST)
		return -errno;
	(void)printf("swapping\n");
	(void)fflush(stdout);
	for (;;)
		if (renameat2(AT_FDCWD, dir, AT_FDCWD, link, RENAME_EXCHANGE) < 0)
			return -errno;
}

/* The old way to mount a directory of a volume: look that it is no link, then mount its name. Whether it is the
 * host's root that was mounted, some time in so many seconds. /volume/dir:/target:10 */
static long mount_by_name(const char *argument)
{
	char text[2 * PATH_MAX], *rest = text, *source, *target;
	struct stat top, st;
	double end;
	bool won = false;

	(void)snprintf(text, sizeof(text), "%s", argument);
	source = probe_part(&rest);
	target = probe_part(&rest);
	end = seconds() + atof(rest);
	if (stat("/", &top) < 0)
		return -errno;
	while (!won && seconds() < end) {
		if (lstat(source, &st) < 0 || !S_ISDIR(st.st_mode))
			continue;
		(void)sched_yield(); /* there is always something between the two */
		if (mount(source, target, NULL, MS_BIND, NULL) < 0)
			continue;
		won = stat(target, &st) == 0 && st.st_ino == top.st_ino && st.st_dev == top.st_dev;
		(void)umount2(target, MNT_DETACH);
	}
	probe_find("%s", won ? "escaped" : "contained");
	return 0;
}

/* Whether a program that is not the image's can be had by its process, and then written to. */
static bool take_program(const char *pid)
{
	char path[PATH_MAX], name[PATH_MAX];
	ssize_t length;
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%s/exe", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	length = readlink(path, name, sizeof(name) - 1);
	name[length > 0 ? length : 0] = '\0';
	if (strstr(name, "/berth")) {
		int write_fd = open(path, O_WRONLY | O_CLOEXEC);

		if (write_fd >= 0)
			probe_find("writable,");
		if (write_fd >= 0)
			(void)close(write_fd);
	}
	(void)close(fd);
	return true;
}

/* For so many seconds, all processes, again and again. */
static long watch_programs(const char *duration)
{
	double end = seconds() + atof(duration);
	long births = 0;
	int newest = 0;

	(void)printf("watching\n");
	(void)fflush(stdout);
	while (seconds() < end && !probe_found[0]) {
		DIR *dir = opendir("/proc");
		struct dirent *entry;

		while (dir && (entry = readdir(dir))) {
			int pid = atoi(entry->d_name);

			if (pid <= 0)
				continue;
			if (pid > newest) {
				newest = pid;
				births++;
			}
			(void)take_program(entry->d_name);
		}
		(void)closedir(dir);
	}
	probe_find(births > 3 ? "saw-many" : "saw-few");
	return 0;
}

/* What the daemon's own program would be started with, if the image could have it started: see loader.c. */
const struct probe probe_races[] = {
	{ "swap", swap },
	{ "mount-by-name", mount_by_name },
	{ "watch-programs", watch_programs },
	{ 0 },
};
