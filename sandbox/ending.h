/*
 * The end of containers as far as it is the daemon's: killing on request, saying so when a process does
 * not end, and the exit record where there is no monitor left to write it.
 */
#pragma once

#include "proto/err.h"
#include "sandbox/registry.h"

/* SIGKILL to all processes of the container; from then on it is looked after until they are gone. */
int ending_kill_container(struct container *container, struct err *err);
/* The same for the whole workload, in one step of the kernel. */
int ending_kill_workload(struct workload *workload, struct err *err);

/* The container's first process has ended as @code and @status say (0 and @why: nobody knows how), and
 * there is no monitor: end the rest of it, then record and tell. */
void ending_without_monitor(struct container *container, int code, int status, const char *why);

/* MONITOR_EXITED, or what stands for it: the registry's state and the fact. */
void ending_record(struct container *container, const struct monitor_exited *exited,
		   const char *unknown_reason);

/* It was never started: the registry's state and the fact. */
void ending_start_failed(struct container *container, const struct monitor_failed *failed);

/* It finished now. */
void ending_stamp(struct monitor_exited *exited);
