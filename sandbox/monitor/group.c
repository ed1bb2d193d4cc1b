#include "sandbox/monitor/group.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/cleanup.h"

#define PROCESSES_MAX \
	4096 /* looked at in one pass; a kill on v1 takes as many passes as it needs */

static int procs_dir(const struct group *group)
{
	static const enum monitor_fd order[] = { MONITOR_FD_UNIFIED, MONITOR_FD_PIDS,
						 MONITOR_FD_MEMORY, MONITOR_FD_CPU };

	if (group->freezer_fd >= 0)
		return group->freezer_fd;
	for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
		if (group->dirs[order[i]] >= 0)
			return group->dirs[order[i]];
	}
	return -1;
}

static ssize_t read_file(int dir_fd, const char *name, char *buffer, size_t size)
{
	cleanup_fd int fd = dir_fd == -1 ? -1 : openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	size_t length = 0;

	if (fd < 0)
		return -1;
	while (length + 1 < size) {
		ssize_t n = read(fd, buffer + length, size - 1 - length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		length += (size_t)n;
	}
	buffer[length] = '\0';
	return (ssize_t)length;
}

static int write_file(int dir_fd, const char *name, const char *text)
{
	cleanup_fd int fd = dir_fd < 0 ? -1 : openat(dir_fd, name, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		return -errno;
	return 0;
}

/* Up to @max process ids of the group; 0 for those that are not in our pid namespace. */
static size_t read_processes(const struct group *group, pid_t *ret_pids, size_t max)
{
	char buffer[4096];
	size_t count = 0;
	cleanup_fd int fd = -1;
	pid_t pid = 0;
	bool digits = false;
	ssize_t n;

	if (procs_dir(group) < 0)
		return 0;
	fd = openat(procs_dir(group), "cgroup.procs", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	while (count < max && (n = read(fd, buffer, sizeof(buffer))) > 0) {
		for (ssize_t i = 0; i < n && count < max; i++) {
			if (buffer[i] >= '0' && buffer[i] <= '9') {
				pid = pid * 10 + (buffer[i] - '0');
				digits = true;
			} else if (digits) {
				ret_pids[count++] = pid;
				pid = 0;
				digits = false;
			}
		}
	}
	return count;
}

uint32_t group_count(const struct group *group)
{
	pid_t pids[PROCESSES_MAX];

	return (uint32_t)read_processes(group, pids, ARRAY_SIZE(pids));
}

static bool is_member(const struct group *group, pid_t pid)
{
	pid_t pids[PROCESSES_MAX];
	size_t count = read_processes(group, pids, ARRAY_SIZE(pids));

	for (size_t i = 0; i < count; i++) {
		if (pids[i] == pid)
			return true;
	}
	return false;
}

/* The number is looked up again once the descriptor is there: if it is in the group then, the process
 * that the descriptor stands for was, or it is gone and the signal goes nowhere. */
static void signal_member(const struct group *group, pid_t pid, int signal)
{
	cleanup_fd int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);

	if (pidfd >= 0 && is_member(group, pid))
		(void)syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0);
}

void group_signal(const struct group *group, int signal)
{
	pid_t pids[PROCESSES_MAX];
	size_t count = read_processes(group, pids, ARRAY_SIZE(pids));

	for (size_t i = 0; i < count; i++) {
		if (pids[i] > 0)
			signal_member(group, pids[i], signal);
	}
}

void group_kill(const struct group *group)
{
	if (group->kill_by_cgroup) {
		(void)write_file(group->dirs[MONITOR_FD_UNIFIED], "cgroup.kill", "1");
		return;
	}
	(void)write_file(group->freezer_fd, "freezer.state", "FROZEN");
	group_signal(group, SIGKILL);
	(void)write_file(group->freezer_fd, "freezer.state", "THAWED");
}

void group_thaw(const struct group *group)
{
	(void)write_file(group->dirs[MONITOR_FD_UNIFIED], "../cgroup.freeze", "0");
	(void)write_file(group->freezer_fd, "../freezer.state", "THAWED");
}

/* ---- totals ---- */

/* The number after "<key> " at the start of a line; 0 where there is none. */
static uint64_t value_of(const char *text, const char *key)
{
	size_t length = strlen(key);

	while (text) {
		if (!strncmp(text, key, length) && text[length] == ' ')
			return strtoull(text + length + 1, NULL, 10);
		text = strchr(text, '\n');
		if (text)
			text++;
	}
	return 0;
}

/* All numbers after "<key>" anywhere: io.stat has a line for each device. */
static uint64_t sum_of(const char *text, const char *key)
{
	uint64_t sum = 0;

	while ((text = strstr(text, key))) {
		text += strlen(key);
		sum += strtoull(text, NULL, 10);
	}
	return sum;
}

static uint64_t number_in(int dir_fd, const char *name)
{
	char text[32];

	return read_file(dir_fd, name, text, sizeof(text)) > 0 ? strtoull(text, NULL, 10) : 0;
}

static void read_unified(int dir_fd, struct monitor_exited *ret)
{
	char text[16384];

	if (read_file(dir_fd, "cpu.stat", text, sizeof(text)) > 0)
		ret->total_cpu_ns = value_of(text, "usage_usec") * 1000;
	ret->total_memory_peak_bytes = number_in(dir_fd, "memory.peak");
	if (read_file(dir_fd, "memory.events", text, sizeof(text)) > 0)
		ret->total_oom_kills = value_of(text, "oom_kill");
	if (read_file(dir_fd, "io.stat", text, sizeof(text)) > 0) {
		ret->total_io_read_bytes = sum_of(text, "rbytes=");
		ret->total_io_write_bytes = sum_of(text, "wbytes=");
	}
}

static void read_legacy(const struct group *group, struct monitor_exited *ret)
{
	const int32_t *dirs = group->dirs;
	char text[16384];

	if (dirs[MONITOR_FD_CPUACCT] >= 0)
		ret->total_cpu_ns = number_in(dirs[MONITOR_FD_CPUACCT], "cpuacct.usage");
	if (dirs[MONITOR_FD_MEMORY] >= 0) {
		ret->total_memory_peak_bytes = number_in(dirs[MONITOR_FD_MEMORY],
							 "memory.max_usage_in_bytes");
		if (read_file(dirs[MONITOR_FD_MEMORY], "memory.oom_control", text, sizeof(text)) >
		    0)
			ret->total_oom_kills = value_of(text, "oom_kill");
	}
	if (read_file(dirs[MONITOR_FD_IO], "blkio.throttle.io_service_bytes", text, sizeof(text)) >
	    0) {
		ret->total_io_read_bytes = sum_of(text, " Read ");
		ret->total_io_write_bytes = sum_of(text, " Write ");
	}
}

/* In hybrid both have some of it: v1 whatever controller it holds, cgroup2 the rest. */
void group_read_totals(const struct group *group, struct monitor_exited *ret)
{
	if (group->dirs[MONITOR_FD_UNIFIED] >= 0)
		read_unified(group->dirs[MONITOR_FD_UNIFIED], ret);
	read_legacy(group, ret);
}

/* ---- what does not end ---- */

static void read_line(pid_t pid, const char *file, char *line, size_t size)
{
	char path[48];
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
	n = read_file(AT_FDCWD, path, line, size);
	if (n <= 0)
		n = snprintf(line, size, "?");
	for (char *at = line; *at; at++) {
		if (*at == '\n')
			*at = '\0';
		else if (*at < ' ' || *at > '~')
			*at = '?';
		if (!*at)
			break;
	}
}

bool group_describe(const struct group *group, uint32_t index, char *text, size_t size)
{
	char name[32], where[64];
	pid_t pids[PROCESSES_MAX];
	size_t count = read_processes(group, pids, ARRAY_SIZE(pids));

	if (index >= count)
		return false;
	read_line(pids[index], "comm", name, sizeof(name));
	read_line(pids[index], "wchan", where, sizeof(where));
	(void)snprintf(text, size, "process %d (%s) did not end after SIGKILL: it waits in %s",
		       pids[index], name, where);
	return true;
}
