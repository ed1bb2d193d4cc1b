/* How a birth ends: the daemon is told, and the monitor becomes the small program. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "proto/cleanup.h"
#include "proto/failpoint.h"
#include "sandbox/launch_birth.h"
#include "sandbox/launch_process.h"

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	(void)clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- the group ---- */

static int open_freezer(const struct hierarchy *hierarchy, const char *path)
{
	int where = hierarchy->where[CONTROLLER_FREEZER];

	if (hierarchy->layout != HIERARCHY_LEGACY || where < 0)
		return -1;
	return openat(hierarchy->mounts[where].base_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

int birth_open_group(struct birth *birth, const struct hierarchy *hierarchy,
		     const struct taskgroup *group, struct err *err)
{
	static const enum monitor_fd kinds[TASKGROUP_DIR_COUNT] = {
		[TASKGROUP_DIR_UNIFIED] = MONITOR_FD_UNIFIED,
		[TASKGROUP_DIR_MEMORY] = MONITOR_FD_MEMORY,
		[TASKGROUP_DIR_CPU] = MONITOR_FD_CPU,
		[TASKGROUP_DIR_CPUACCT] = MONITOR_FD_CPUACCT,
		[TASKGROUP_DIR_IO] = MONITOR_FD_IO,
		[TASKGROUP_DIR_PIDS] = MONITOR_FD_PIDS,
	};
	struct monitor_setup *setup = &birth->setup;
	int dirs[TASKGROUP_DIR_COUNT];
	int r = taskgroup_open_dirs(group, dirs, err);

	if (r < 0)
		return r;
	birth->group = group;
	for (size_t i = 0; i < TASKGROUP_DIR_COUNT; i++)
		setup->dirs[kinds[i]] = dirs[i];
	setup->freezer_fd = open_freezer(hierarchy, taskgroup_name(group));
	setup->kill_by_cgroup = hierarchy->layout != HIERARCHY_LEGACY;
	setup->started.group_id = taskgroup_id(group);
	return 0;
}

/* ---- telling ---- */

/* Into @fds, which setup->started then names; returns how many. */
static size_t list_descriptors(struct monitor_setup *setup, int fds[static MONITOR_FDS_MAX])
{
	struct monitor_started *started = &setup->started;
	size_t count = 0;

	if (setup->child_pidfd >= 0) {
		started->fds[count] = MONITOR_FD_PIDFD;
		fds[count++] = setup->child_pidfd;
	}
	for (uint32_t i = MONITOR_FD_UNIFIED; i < MONITOR_FDS_MAX; i++) {
		if (setup->dirs[i] < 0)
			continue;
		started->fds[count] = i;
		fds[count++] = setup->dirs[i];
	}
	started->fd_count = (uint32_t)count;
	return count;
}

void birth_take_over(struct birth *birth)
{
	int fds[MONITOR_FDS_MAX];

	(void)list_descriptors(&birth->setup, fds);
}

static void tell_descriptors(const struct monitor_setup *setup)
{
	const int kept[MONITOR_KEEP_COUNT] = {
		[MONITOR_KEEP_NONE] = -1,
		[MONITOR_KEEP_STDIN] = setup->stdin_fd,
		[MONITOR_KEEP_STDOUT] = setup->stdout_fd,
		[MONITOR_KEEP_STDERR] = setup->stderr_fd,
		[MONITOR_KEEP_TERMINAL] = setup->terminal_fd,
		[MONITOR_KEEP_LISTENER] = setup->listener_fd,
		[MONITOR_KEEP_ESTATE] = setup->estate_fd,
	};

	(void)monitor_send_streams(setup->control_fd, setup->stdout_fd, setup->stderr_fd,
				   setup->terminal_fd);
	(void)monitor_send_keep(setup->control_fd, kept);
}

void birth_stamp(struct birth *birth)
{
	birth->setup.started.started_wall_ns = clock_ns(CLOCK_REALTIME);
	birth->setup.started.started_boot_ns = clock_ns(CLOCK_BOOTTIME);
}

void birth_tell_started(struct birth *birth)
{
	struct monitor_message message = { 0 };
	struct monitor_started *started = &birth->setup.started;
	int fds[MONITOR_FDS_MAX];
	size_t count = list_descriptors(&birth->setup, fds);

	started->pid = birth->pid;
	started->monitor_pid = getpid();
	message.started = *started;
	message.started.step_count = birth->step_count;
	memcpy(message.started.steps, birth->steps, sizeof(birth->steps));
	(void)monitor_send(birth->setup.control_fd, MONITOR_STARTED, &message, fds, count);
	if (!birth->setup.session)
		tell_descriptors(&birth->setup);
}

void birth_tell_failed(struct birth *birth, const struct err *why)
{
	struct monitor_message message = { 0 };

	memcpy(message.failed.step, birth->step, sizeof(message.failed.step));
	message.failed.err = *why;
	(void)monitor_send(birth->setup.control_fd, MONITOR_START_FAILED, &message, NULL, 0);
}

/* ---- handing over ---- */

#define SETUP_FDS (17 + MONITOR_FDS_MAX)

/* Where the setup holds descriptors; some are -1. */
static void find_descriptors(struct monitor_setup *setup, int32_t *all[static SETUP_FDS])
{
	int32_t *named[SETUP_FDS - MONITOR_FDS_MAX] = {
		&setup->control_fd, &setup->listen_fd, &setup->child_pidfd, &setup->stdin_fd,
		&setup->stdout_fd,  &setup->stderr_fd, &setup->terminal_fd, &setup->listener_fd,
		&setup->image_fd,   &setup->page_fd,   &setup->log_dir_fd,  &setup->run_dir_fd,
		&setup->freezer_fd, &setup->attach_fd, &setup->estate_fd,   &setup->above_fd,
		&setup->layer_fd,
	};

	memcpy(all, named, sizeof(named));
	for (size_t i = 0; i < MONITOR_FDS_MAX; i++)
		all[ARRAY_SIZE(named) + i] = &setup->dirs[i];
}

static void keep(int fd)
{
	if (fd >= 0)
		(void)fcntl(fd, F_SETFD, 0);
}

static void keep_descriptors(struct monitor_setup *setup)
{
	int32_t *all[SETUP_FDS];

	find_descriptors(setup, all);
	for (size_t i = 0; i < SETUP_FDS; i++)
		keep(*all[i]);
}

static int ascending(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* Sorts @kept. */
static void close_all_but(int *kept, size_t count)
{
	unsigned int next = 3;

	qsort(kept, count, sizeof(*kept), ascending);
	for (size_t i = 0; i < count; i++) {
		unsigned int number = (unsigned int)kept[i];

		if (kept[i] < 0 || number < next)
			continue; /* none, or one that stands there twice */
		if (number > next)
			(void)close_range(next, number - 1, 0);
		next = number + 1;
	}
	(void)close_range(next, ~0u, 0);
}

/* What execve(2) would do with all that is close-on-exec. */
static void close_all_others(struct monitor_setup *setup)
{
	int kept[SETUP_FDS];
	int32_t *all[SETUP_FDS];

	find_descriptors(setup, all);
	for (size_t i = 0; i < SETUP_FDS; i++)
		kept[i] = *all[i];
	close_all_but(kept, ARRAY_SIZE(kept));
}

/* ---- what the first process must not reach ---- */

/* Whether a path may go on behind it, or it be executed: not so of sockets, pipes, terminals and events. */
static bool leads_anywhere(int fd)
{
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 &&
	       (S_ISDIR(st.st_mode) || S_ISREG(st.st_mode) || S_ISLNK(st.st_mode));
}

/* What either of the two uses from here on, into @fds; returns how many. Some are -1. */
#define NEEDED_MAX (SETUP_FDS + TASKGROUP_HELD_MAX + 6)
static size_t list_needed(struct birth *birth, int fds[static NEEDED_MAX])
{
	const int own[] = {
		birth->program_fd,      birth->gate.up_fd, birth->gate.down_fd,
		birth->gate.monitor_fd, launch_low_fd(),   birth->gate.page->terminal_fd
	};
	int32_t *all[SETUP_FDS];
	size_t count = ARRAY_SIZE(own);

	memcpy(fds, own, sizeof(own));
	find_descriptors(&birth->setup, all);
	for (size_t i = 0; i < SETUP_FDS; i++)
		fds[count++] = *all[i];
	if (birth->group)
		count += taskgroup_held(birth->group, fds + count);
	return count;
}

int birth_clear_table(struct birth *birth, struct err *err)
{
	int needed[NEEDED_MAX + 2], aside[NEEDED_MAX];
	size_t count = list_needed(birth, needed);
	size_t stay = 0, go = 0;
	int r;

	FAILPOINT_RETURN("monitor.launch.clear", err);
	for (size_t i = 0; i < count; i++) {
		if (leads_anywhere(needed[i]))
			aside[go++] = needed[i];
		else
			needed[stay++] = needed[i];
	}
	r = aside_put(&birth->aside, aside, go, err);
	if (r < 0)
		return r;
	memcpy(needed + stay, birth->aside.socket_fds, sizeof(birth->aside.socket_fds));
	close_all_but(needed, stay + 2);
	FAILPOINT("monitor.launch.cleared");
	return 0;
}

/* ---- becoming the small program ---- */

/* 0, 1 and 2 are the program's streams in our table too: as long as we hold them its pipes never end. */
static void let_go_of_streams(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int i = 0; i < 3; i++) {
		if (fd < 0 || fd == i)
			(void)close(i);
		else
			(void)dup2(fd, i);
	}
	if (fd > 2)
		(void)close(fd);
}

static int write_setup(const struct monitor_setup *setup)
{
	cleanup_fd int fd = memfd_create("monitor-setup", MFD_CLOEXEC);

	if (fd < 0 || write(fd, setup, sizeof(*setup)) != (ssize_t)sizeof(*setup))
		return -errno;
	return take_fd(&fd);
}

/* The number that the small program reads its setup from may be anything of ours: it moves away first. */
static void free_number(struct monitor_setup *setup, int number)
{
	int32_t *all[SETUP_FDS];

	find_descriptors(setup, all);
	for (size_t i = 0; i < SETUP_FDS; i++) {
		if (*all[i] == number)
			*all[i] = fcntl(number, F_DUPFD_CLOEXEC, number + 1);
	}
}

/* The fork of a daemon becomes small by executing the small program. */
static void execute_program(struct birth *birth)
{
	struct monitor_setup *setup = &birth->setup;
	char *const env[] = { failpoint_environment(), NULL };
	char title[160];
	char *argv[] = { title, NULL };
	int program_fd = birth->program_fd;
	int fd;

	(void)snprintf(title, sizeof(title), "berth-monitor: %s", birth->what);
	free_number(setup, MONITOR_SETUP_FD);
	if (program_fd == MONITOR_SETUP_FD)
		program_fd = fcntl(program_fd, F_DUPFD_CLOEXEC, MONITOR_SETUP_FD + 1);
	fd = write_setup(setup);
	if (fd >= 0 && (fd == MONITOR_SETUP_FD || dup2(fd, MONITOR_SETUP_FD) >= 0)) {
		keep_descriptors(setup);
		keep(MONITOR_SETUP_FD);
		(void)syscall(SYS_execveat, program_fd, "", argv, env, AT_EMPTY_PATH);
	}
}

int birth_hand_over(struct birth *birth)
{
	FAILPOINT("monitor.hand-over.begin");
	let_go_of_streams();
	FAILPOINT("monitor.hand-over.exec");
	if (birth->program_fd >= 0)
		execute_program(birth);
	/* The launcher's fork is small. Where there is no program, there is a container that runs: it is watched
	 * all the same. */
	close_all_others(&birth->setup);
	return monitor_run(&birth->setup);
}
