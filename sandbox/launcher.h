/*
 * The launcher: a small static process (sandbox/monitor/launcher.c in the program berth-monitor) that forks the
 * monitors of launches in the daemon's place, as the daemon's children (CLONE_PARENT). Forking the daemon costs
 * the copy of an address space of a hundred mappings, twice for each launch, then the faults in the copies, and
 * an execve(2) to be rid of it; forking this one costs almost nothing, and its monitors stay what they are.
 *
 * It holds nothing that a container depends on: it ends when the daemon does, and where it is gone or a launch is
 * not for it, launch_fork() does the same. It is started again at the next launch.
 */
#pragma once

#include <stdbool.h>

#include "proto/cleanup.h"
#include "proto/err.h"
#include "sandbox/hierarchy.h"
#include "sandbox/launch.h"
#include "sandbox/reaper.h"

struct launcher;

/*
 * @program_fd (launch_open_monitor_program()), @hierarchy, @monitors_fd and @reaper (NULL: for tests) are borrowed and must
 * outlive it. @device_filters: whether this kernel has them. Starts the process, with the caller's rights of this moment;
 * one that cannot be started is a warning. ERR_INTERNAL without memory.
 */
int launcher_new(int program_fd, const struct hierarchy *hierarchy, int monitors_fd,
		 bool device_filters, struct reaper *reaper, struct launcher **ret_launcher,
		 struct err *err);

/* Ends the process and collects it. Accepts NULL. */
void launcher_free(struct launcher *launcher);
DEFINE_CLEANUP(struct launcher *, launcher_free)

/*
 * As launch_fork(), with ret->pidfd -1: the caller's reaper tells of its end. What the launcher does not do, a
 * launch whose filter is not compiled yet or whose words fill more than a packet, is forked from here.
 *
 *   ERR_EXHAUSTED  no processes, no descriptors, no memory
 *   ERR_INTERNAL   the launcher died over it
 */
int launcher_fork(struct launcher *launcher, const struct launch_spec *spec, struct launched *ret,
		  struct err *err);

/* The process's, 0 where there is none. */
pid_t launcher_pid(const struct launcher *launcher);
