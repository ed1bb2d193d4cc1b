/* Between the taskgroup*.c files only. */
#pragma once

#include "sandbox/lcg.h"
#include "sandbox/taskgroup.h"

struct taskgroup {
	const struct hierarchy *hierarchy;
	enum taskgroup_level level;
	uint64_t id;
	/* As hierarchy->mounts. Always that of taskgroup_main_dir(); the others only in a container's group that
	 * was just made, as each is needed there several times. -1: its files are opened by path. */
	int dir_fds[HIERARCHY_MOUNTS_MAX];
	char path[TASKGROUP_PATH_MAX]; /* below <base> */
};

/* A file of the group in the controller's hierarchy, as sandbox/group_file.h says; -ENOENT where the host has
 * no such controller. */
int taskgroup_file_write(const struct taskgroup *group, enum hierarchy_controller controller,
			 const char *file, const char *value);
ssize_t taskgroup_file_read(const struct taskgroup *group, enum hierarchy_controller controller,
			    const char *file, char *text, size_t size);
int taskgroup_file_read_u64(const struct taskgroup *group, enum hierarchy_controller controller,
			    const char *file, uint64_t *ret_value);

/* The directory by which its processes are seen, killed and frozen: cgroup2's, in legacy freezer's. */
int taskgroup_main_dir(const struct taskgroup *group);

#define SETTINGS_MAX (13 + 4 * TASKGROUP_IO_LIMITS_MAX) /* each value once, a burst twice */

struct settings {
	size_t count;
	struct setting rows[SETTINGS_MAX];
};

/* What v1 has in force, in bytes, for a limit on memory and swap together; UNLIMITED in a new group. */
struct taskgroup_v1_memory {
	uint64_t limit_bytes;
	uint64_t limit_with_swap_bytes;
};

/*
 * The files to write for @limits, in an order in which each write is permitted from the state
 * @memory (NULL: a new group). @limits passed taskgroup_limits_check().
 */
void taskgroup_translate(const struct hierarchy *hierarchy, const struct taskgroup_limits *limits,
			 const struct taskgroup_v1_memory *memory, struct settings *ret_settings);

/* taskgroup_protection.c */

/* Have the groups above protect as much memory as those below them ask for. Needs v2. */
int taskgroup_protect_above(const struct taskgroup *group, struct err *err);

/* Whether the group has memory.low above 0. */
bool taskgroup_is_protected(const struct taskgroup *group);
