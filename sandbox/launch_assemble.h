/*
 * The first process of a container, before it has anything of its own: into the workload's namespaces,
 * and a root put together from the mounts that the monitor made. Steps for process_run().
 */
#pragma once

#include "sandbox/launch.h"
#include "sandbox/launch_process.h"

struct assemble {
	struct process process;
	const struct launch_spec *spec;
	const struct taskgroup *group;
	int cpus;
	/* detached mounts of the monitor's */
	int root_fd;
	int dev_fd;
	int mask_fd;
	const int *volume_fds;
	/* made on the way */
	int proc_fd;
	int sys_fd;
};

/* Does not return. */
void assemble_run(void *context);
