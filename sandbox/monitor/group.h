/*
 * The container's cgroup in the monitor's hands: a few descriptors of its directories, and no library. Either
 * the cgroup2 one (with cgroup.kill and cgroup.events) or, on hosts without, those of v1.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sandbox/monitor/setup.h"

struct group {
	const int32_t *dirs; /* by enum monitor_fd; -1 */
	int freezer_fd;      /* -1 */
	bool kill_by_cgroup;
};

/* How many processes are in it; 0 also where it is gone. */
uint32_t group_count(const struct group *group);

/* Send @signal to each of them, by descriptor and only to what is still in the group. */
void group_signal(const struct group *group, int signal);

/* SIGKILL to all. On v1 one call may miss what is just being made: call until group_count() is 0. */
void group_kill(const struct group *group);

/* Let go on what was frozen together with its workload, whose group is the one above. */
void group_thaw(const struct group *group);

/* What it used in all its life, into the fields of @ret that begin with total_. */
void group_read_totals(const struct group *group, struct monitor_exited *ret);

/* "process 4711 (dd) does not end: waits in io_schedule", of the @index'th process. False: there is none. */
bool group_describe(const struct group *group, uint32_t index, char *text, size_t size);
