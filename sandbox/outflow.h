/*
 * The output of a container whose monitor has died. The daemon has had the read ends of its pipes, or its
 * terminal's master, since it started: without them the next write would be a SIGPIPE, or the
 * terminal would hang up, and the death of a monitor would be the workload's.
 */
#pragma once

#include "sandbox/registry.h"

/* The descriptors in @fds become the container's: those of before are closed. */
void outflow_keep(struct container *container, int *fds, size_t n_fds);

/* Nobody else reads them any more: from here on the loop does. What is read is counted in the page as
 * dropped, and no faster than a few megabytes a second. */
void outflow_begin(struct container *container);

/* The container has ended: what is still in the pipes is counted, where outflow_begin() was called, and the
 * descriptors are closed. */
void outflow_end(struct container *container);
