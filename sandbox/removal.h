/*
 * Taking away what containers and workloads left on the host. What cannot go yet (a control group with a
 * process that does not die) is handed to sandbox/leftovers.h and does not keep the name taken.
 */
#pragma once

#include <stdbool.h>

#include "proto/err.h"
#include "sandbox/registry.h"

/* One sentence about what is tried again later. */
typedef void removal_pending_func(const char *sentence, void *userdata);

/* The container, which has ended, with its group and run directory; out of the registry. Its log files
 * stay. @pending may be NULL. */
void removal_container(struct container *container, removal_pending_func *pending, void *userdata);

/* The workload, whose containers have all ended, or were never made: also what a half-made one has. */
void removal_workload(struct sandboxd *host, struct workload *workload,
		      removal_pending_func *pending, void *userdata);

/* The log files of the workload @id. No link is followed. ERR_INTERNAL when some are left. */
int removal_logs(struct sandboxd *host, const char *id, struct err *err);

/* "w-1.12": its directory's and its group's name. */
#define REMOVAL_NAME_MAX (NAME_ID_MAX + 24)
void removal_workload_name(const struct workload *workload, char name[static REMOVAL_NAME_MAX]);
void removal_container_name(const struct container *container, char name[static REMOVAL_NAME_MAX]);
