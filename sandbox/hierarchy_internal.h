/* Between the hierarchy*.c files only: the steps of hierarchy_discover(). */
#pragma once

#include <stdio.h>

#include "sandbox/hierarchy.h"

#define HIERARCHY_SUPERVISOR "supervisor"
#define HIERARCHY_MONITORS   "monitors"
#define HIERARCHY_WORKLOADS  "workloads"

/* hierarchy_mounts.c */

/*
 * Read @mountinfo (proc(5)) into the mounts of @hierarchy: whole hierarchies only, the first mount of
 * each. *ret_systemd_mount, the caller's, is that of v1's name=systemd, or NULL. Sets where[] and
 * in_use for v1, and unified.
 */
int hierarchy_read_mounts(struct hierarchy *hierarchy, FILE *mountinfo, char **ret_systemd_mount,
			  struct err *err);

/* Give the controllers that are on no v1 mount and in the space-separated @available to cgroup2. */
void hierarchy_take_v2_controllers(struct hierarchy *hierarchy, const char *available);

/* Say which layout it is, and forget the mounts and controllers that it makes no use of. */
void hierarchy_settle_layout(struct hierarchy *hierarchy);

/* Go on as if cgroup2 was not mounted. */
void hierarchy_forget_unified(struct hierarchy *hierarchy);

/* hierarchy_base.c */

/* Fill in base and delegated. @systemd_mount may be NULL. */
int hierarchy_choose_base(struct hierarchy *hierarchy, const struct hierarchy_options *options,
			  const char *systemd_mount, struct err *err);

/* Whether @path is absolute, of the components that hierarchy_options permits. */
bool hierarchy_is_base_path(const char *path);

/* The path of the calling process in @proc_cgroup (the text of /proc/self/cgroup): in cgroup2 where
 * @controller is "", in v1's name=systemd where it is that. A new string, or NULL. */
char *hierarchy_own_group(FILE *proc_cgroup, const char *controller);

/* hierarchy_tree.c */

/* Make <base> in cgroup2, and empty it of processes that may not stay there. */
int hierarchy_make_unified_base(struct hierarchy *hierarchy, struct err *err);

/* Make everything else, with weights, and open the mounts' base_fd. */
int hierarchy_make_tree(struct hierarchy *hierarchy, struct err *err);

/* hierarchy.c */

/* Write "+cpu +memory ..." for the controllers that cgroup2 has for us; false if it has none. */
bool hierarchy_v2_controllers(const struct hierarchy *hierarchy, char text[static 64]);

/* hierarchy_probe.c */

/* Find out what this kernel can do, by looking and by trying, and list it. */
int hierarchy_probe(struct hierarchy *hierarchy, struct err *err);
