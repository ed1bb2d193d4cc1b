/*
 * The control group of a workload, and that of one launch of one of its containers:
 *
 *	workloads/<band>/<workload-id>.<n>                      TASKGROUP_WORKLOAD
 *	workloads/<band>/<workload-id>.<n>/<container>.<m>      TASKGROUP_CONTAINER, holds the processes
 *
 * A taskgroup is one directory in every hierarchy that the host uses (sandbox/hierarchy.h): made with
 * its limits before a process can enter, emptied by killing, removed last. It is never shared and
 * never used twice: some kernels kill whatever is cloned into a group that was killed once, and what
 * an earlier occupant did must not count for a later one.
 *
 * A new process is born inside with clone3(CLONE_INTO_CGROUP) on taskgroup_clone_fd(), and before all
 * else moves itself into the hierarchies that this does not reach by taskgroup_enter(). Its limits hold
 * from then on.
 *
 * Nothing here keeps state beside the object, except that libcgroup was initialised by
 * hierarchy_discover(): all of it works in a forked monitor. Nothing blocks, except where it says so.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/cleanup.h"
#include "proto/err.h"
#include "proto/ranges.h"
#include "sandbox/hierarchy.h"

#define TASKGROUP_UNSET     UINT64_MAX       /* leave what the kernel has */
#define TASKGROUP_UNLIMITED (UINT64_MAX - 1) /* "max" */

#define TASKGROUP_PATH_MAX      512
#define TASKGROUP_CPU_PERIOD_US 100000
#define TASKGROUP_IO_LIMITS_MAX RANGE_IO_LIMITS_MAX
#define TASKGROUP_CPUSET_MAX    (RANGE_CPUSET_LENGTH_MAX + 1)

/* A block device's caps; each may be TASKGROUP_UNSET or TASKGROUP_UNLIMITED. */
struct taskgroup_io_limit {
	uint32_t major;
	uint32_t minor;
	uint64_t read_bytes_per_s;
	uint64_t write_bytes_per_s;
	uint64_t read_ops_per_s;
	uint64_t write_ops_per_s;
};

/*
 * What a group may use, in words of neither cgroup version. Start from taskgroup_limits_init(), which
 * makes every value TASKGROUP_UNSET: zero is a limit. proto/ranges.h says what they may be. An update leaves unset values as they are.
 * TASKGROUP_UNLIMITED is allowed for cpu_millis, memory_*, and pids_max.
 */
struct taskgroup_limits {
	uint64_t cpu_millis;       /* cpu time per 100 ms period; 1000 is one cpu */
	uint64_t cpu_burst_us;     /* saved up from idle periods; at most the quota of one period */
	uint64_t cpu_weight;       /* under contention; 1 to 10000, 100 is everyone's default */
	uint64_t memory_max_bytes; /* killed above it */
	uint64_t memory_high_bytes; /* throttled above it; v2 */
	uint64_t memory_low_bytes;  /* not reclaimed below it; v2, where <base> protects too */
	uint64_t
		memory_swap_bytes; /* swap alone; 0 is a limit, so refused where swap is not counted */
	uint64_t memory_oom_group; /* 1: an out-of-memory kill takes the whole group; v2 */
	uint64_t pids_max;         /* processes and threads */
	uint64_t io_weight;        /* 1 to 10000, 100 is everyone's default */
	char cpuset_cpus[TASKGROUP_CPUSET_MAX]; /* "0-3,7"; "" is unset */
	char cpuset_mems[TASKGROUP_CPUSET_MAX];
	size_t io_limit_count;
	struct taskgroup_io_limit io_limits[TASKGROUP_IO_LIMITS_MAX];
};

void taskgroup_limits_init(struct taskgroup_limits *limits);

/*
 * Whether this host can enforce all of @limits: what admission asks. Touches no file, so it says the
 * same wherever it is called.
 *
 *   ERR_UNSUPPORTED  the sentence names the resource and why this host cannot
 *   ERR_INVALID      a value is out of the kernel's range, or cpus or nodes are not this host's
 */
int taskgroup_limits_check(const struct hierarchy *hierarchy, const struct taskgroup_limits *limits,
			   struct err *err);

enum taskgroup_level {
	TASKGROUP_WORKLOAD,  /* holds groups; never processes */
	TASKGROUP_CONTAINER, /* holds processes; never groups */
};

struct taskgroup;

/*
 * Write the path of a group into @path: of a workload where @container is NULL. @workload and
 * @container are single components: 1 to 128 characters of [a-z0-9.-], starting with a letter or
 * digit, without "..". Returns 0, or -EINVAL with @err filled in (ERR_INVALID).
 */
int taskgroup_path(char path[static TASKGROUP_PATH_MAX], enum hierarchy_band band,
		   const char *workload, const char *container, struct err *err);

/*
 * Create the group @path (as taskgroup_path() writes it) in every hierarchy with @limits in force.
 * The group above it must exist. The arguments stay the caller's, and @hierarchy must outlive the
 * group. On success *ret_group is the caller's too, to end with taskgroup_free(); on failure it is
 * untouched and no directory is left.
 *
 *   ERR_EXISTS       @path is there in some hierarchy: by a live launch or one that died uncleanly
 *   ERR_NOT_FOUND    the group above it is not there
 *   ERR_INVALID, ERR_UNSUPPORTED  as taskgroup_limits_check() says
 *   ERR_INTERNAL     the kernel refused; the sentence has the file and the value
 */
int taskgroup_create(const struct hierarchy *hierarchy, const char *path,
		     enum taskgroup_level level, const struct taskgroup_limits *limits,
		     struct taskgroup **ret_group, struct err *err);

/*
 * The group that an earlier process made. @id is what taskgroup_id() gave then, on this boot; 0 takes
 * whatever is there. A group that is half made or half removed opens too, so that it can be removed.
 *
 *   ERR_NOT_FOUND     no hierarchy has @path
 *   ERR_PRECONDITION  another directory has the name now: @id does not match
 */
int taskgroup_open(const struct hierarchy *hierarchy, const char *path, enum taskgroup_level level,
		   uint64_t id, struct taskgroup **ret_group, struct err *err);

/* Whether the group was made by taskgroup_create(), of whatever daemon, and is not only called as one that was;
 * and mark one as such that was found to be the recorded one, and may be an earlier release's. */
bool taskgroup_is_marked(const struct taskgroup *group);
void taskgroup_mark(const struct taskgroup *group);

/* Accepts NULL. Closes; the kernel's group stays. */
void taskgroup_free(struct taskgroup *group);
DEFINE_CLEANUP(struct taskgroup *, taskgroup_free)

const char *taskgroup_name(const struct taskgroup *group); /* its path below <base> */

/* Never 0; unique on this host until it reboots (the inode of the directory in the cgroup2 mount, in
 * legacy in that of memory). */
uint64_t taskgroup_id(const struct taskgroup *group);

/* The directory in cgroup2, for clone3(CLONE_INTO_CGROUP) and BPF; the group's own, not the caller's.
 * -1 in legacy. */
int taskgroup_clone_fd(const struct taskgroup *group);

/* Write to @fds what the group and its hierarchy hold open; returns how many. They stay theirs. */
#define TASKGROUP_HELD_MAX (2 * HIERARCHY_MOUNTS_MAX)
size_t taskgroup_held(const struct taskgroup *group, int fds[static TASKGROUP_HELD_MAX]);

/*
 * In a new process with one thread, before all else: move it into the group in every v1 hierarchy; in
 * legacy that is all of them. Nothing to do in unified. System calls only. Where another process does
 * this to it, the kernel first holds off every fork and exit of the host, which takes a grace period, 6 ms
 * and more (cgroup_procs_write_start() in kernel/cgroup/cgroup.c).
 *
 * On failure it may be in some of the hierarchies: it must end.
 */
int taskgroup_enter(const struct taskgroup *group, struct err *err);

/*
 * Change the limits that @limits sets, in an order in which each step is permitted. If one is refused
 * those before it are set back, so that all or none hold; should setting back fail too, the sentence
 * says so (ERR_INTERNAL). ERR_PRECONDITION: what the group uses now does not fit under the new limit.
 */
int taskgroup_update(const struct taskgroup *group, const struct taskgroup_limits *limits,
		     struct err *err);

/*
 * Send SIGKILL to every process in the group and in those below it. They may take a moment to be
 * gone: wait as below. One call is final on cgroup2. In legacy a call freezes, signals and thaws once,
 * for which it may take 20 ms, and a process that was just being made may have escaped it: call again,
 * every 10 ms, until the group is empty. Never signals by a bare pid, never a process outside.
 */
int taskgroup_kill(const struct taskgroup *group, struct err *err);

/* Ask for the group to be stopped or to go on. Complete when taskgroup_is_frozen() says so. */
int taskgroup_freeze(const struct taskgroup *group, bool freeze, struct err *err);

/* Write 1 or 0; -errno. A group that is gone is neither frozen nor populated. */
int taskgroup_is_frozen(const struct taskgroup *group, bool *ret_frozen);
int taskgroup_is_populated(const struct taskgroup *group, bool *ret_populated);

/*
 * A new descriptor, the caller's, that polls with POLLPRI (EPOLLPRI) when the group becomes empty,
 * populated, frozen or thawed. It is ready at once and stays ready until taskgroup_read_events() is
 * called on it. The kernel wakes at most once in 10 ms, so that a change right after another is told
 * late; asking says it at once. -EOPNOTSUPP in legacy, where the kernel tells nobody: ask every 10 ms.
 */
int taskgroup_wait_fd(const struct taskgroup *group);

/* The directory of the memory controller, a new descriptor; -errno, and -EOPNOTSUPP where there is none. */
int taskgroup_open_memory_dir(const struct taskgroup *group);

/* What holds the group back now: whether it was asked to be frozen, and its memory.high (0: none). */
void taskgroup_read_hold(const struct taskgroup *group, bool *ret_frozen, uint64_t *ret_high_bytes);

/* What holds now, and be told of the next change: 0, or -errno; -ENODEV once the group is removed. */
int taskgroup_read_events(int wait_fd, bool *ret_populated, bool *ret_frozen);

enum taskgroup_condition { TASKGROUP_EMPTY, TASKGROUP_FROZEN, TASKGROUP_THAWED };

/* Block until the condition holds: 0, or -ETIME after @timeout_ms, or another negative errno. For
 * programs without an event loop. */
int taskgroup_wait(const struct taskgroup *group, enum taskgroup_condition condition,
		   unsigned int timeout_ms);

/*
 * A group for processes of a container that are to be killed by themselves: a directory @name (a single
 * component) below @group where processes are seen and killed, in cgroup2, in legacy in the freezer. In all
 * else they are the container's: its limits hold, and its figures count them.
 * @ret_fds are the caller's: [0] the new directory, for clone3(CLONE_INTO_CGROUP) in cgroup2, [1] the
 * one above it, for its removal with unlinkat(2).
 */
int taskgroup_make_below(const struct taskgroup *group, const char *name, int ret_fds[static 2],
			 struct err *err);
/* As taskgroup_enter(), after it: into such a directory, where clone3 does not reach it. */
int taskgroup_enter_below(const struct taskgroup *group, int dir_fd, struct err *err);
/* Remove such directories that are empty; how many. taskgroup_remove() does it. */
size_t taskgroup_remove_below(const struct taskgroup *group);

/* Where telemetry reads. In unified only TASKGROUP_DIR_UNIFIED is there and has every file. */
enum taskgroup_dir {
	TASKGROUP_DIR_UNIFIED, /* cgroup.events, *.pressure, cpu.stat, and all of v2 */
	TASKGROUP_DIR_MEMORY,
	TASKGROUP_DIR_CPU,
	TASKGROUP_DIR_CPUACCT,
	TASKGROUP_DIR_IO,
	TASKGROUP_DIR_PIDS,
	TASKGROUP_DIR_COUNT,
};

/*
 * Fill @ret_fds with directories, O_RDONLY and the caller's; -1 where this host has none, and for a v1
 * controller that shares its mount with an earlier row its own descriptor of the same directory.
 * They open files for reading only in the hands of an unprivileged process.
 */
int taskgroup_open_dirs(const struct taskgroup *group, int ret_fds[static TASKGROUP_DIR_COUNT],
			struct err *err);

/* What the group used in all its life. TASKGROUP_UNSET where this host does not count it. */
struct taskgroup_totals {
	uint64_t cpu_usage_ns;
	uint64_t cpu_user_ns;
	uint64_t cpu_system_ns;
	uint64_t memory_peak_bytes;
	uint64_t memory_limit_bytes; /* in force now; TASKGROUP_UNLIMITED */
	uint64_t oom_kills;          /* processes of this group that the OOM killer ended */
	uint64_t io_read_bytes;
	uint64_t io_write_bytes;
	uint64_t pids_refused; /* forks that pids_max refused */
};

/* For exit records: read it after the last process is gone and before taskgroup_remove(). */
int taskgroup_read_totals(const struct taskgroup *group, struct taskgroup_totals *ret_totals,
			  struct err *err);

/*
 * Remove the group's directories. Returns 0 when none is left, also if they were gone before; -EBUSY,
 * with none removed that holds a process or a group, when it is not empty (a zombie holds its group in
 * v1 until it is reaped): wait and call again. The object stays the caller's.
 */
int taskgroup_remove(const struct taskgroup *group, struct err *err);
